"""The server: API and studio in one process, with the jobs' worker and a warm embedder behind them."""

import errno
import gc
import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dizuo.core import heap
from dizuo.core.errors import DizuoError, UserError
from dizuo.platform.home_lock import announced
from dizuo.platform.settings import address
from dizuo.platform.traces import PRUNE_EVERY_S
from dizuo.wiring import House

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

_WORKER_RETRY_S = 5.0  # how soon this process takes over when another that did the jobs has died
_GRACE_S = 10  # how long open streams may go on after a stop is asked for
_TRIM_EVERY_S = 60.0
_COLLECT_AFTER = 10_000  # objects more than there were; Python's own 700 are a few requests
# While it starts nearly all that is made stays: to look through it for garbage took a fifth of the processor's time.
_COLLECT_AFTER_IN_START = 100_000


class Backstage:
    """What works behind the server in threads of its own: the jobs' worker, and loading the embedder."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stopped = threading.Event()
        self._worker_runs = False
        self._embedder_ready = house.embedder is None
        self._threads = [
            threading.Thread(target=self._keep_worker, name="dizuo-worker-keeper", daemon=True),
            threading.Thread(target=self._warm_embedder, name="dizuo-embedder-warmer", daemon=True),
            threading.Thread(target=self._keep_tidy, name="dizuo-tidier", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the keeper. The worker itself ends with the house."""
        self._stopped.set()
        if self._threads[0].ident is not None:  # it was started
            self._threads[0].join(timeout=_GRACE_S)

    def missing(self) -> list[str]:
        """What /readyz has to wait for."""
        missing = []
        if not self._worker_runs:
            missing.append("worker")
        if not self._embedder_ready:
            missing.append("embedder")
        return missing

    def _keep_worker(self) -> None:
        while not self._stopped.is_set():
            try:
                # False: another process of this instance is the worker already; it may die before we do.
                self._house.jobs.start()
                self._worker_runs = True
            except Exception:
                self._worker_runs = False
                logger.exception("the jobs' worker does not start; trying again in %.0f s", _WORKER_RETRY_S)
            self._stopped.wait(_WORKER_RETRY_S)

    def _keep_tidy(self) -> None:
        """Lets go of traces that are due, also where no new ones come, and of memory that is free."""
        pruned_s = float("-inf")
        while True:
            if time.monotonic() - pruned_s >= PRUNE_EVERY_S:
                pruned_s = time.monotonic()
                try:
                    self._house.traces.prune()
                except Exception:
                    logger.exception("old traces are not deleted; trying again later")
            heap.trim()
            if self._stopped.wait(_TRIM_EVERY_S):
                return

    def _warm_embedder(self) -> None:
        embedder = self._house.embedder
        try:
            if embedder is not None:
                embedder.embed(["warm"])
            self._embedder_ready = True
        except Exception:
            logger.exception("the embedder does not load; search goes by keywords alone")


def _load_shared_libraries() -> None:
    """Imports what several threads need, before there are any.

    SQLAlchemy's ORM comes with DBOS, its modules import each other, and from the moment it begins to load it takes
    part in every query. A query in another thread at that moment met half of it, and the import that failed so left it
    broken for the life of the process: the worker never started (seen on a busy machine; SQLAlchemy 2.1).
    """
    import dbos  # noqa: F401
    import sqlalchemy.orm  # noqa: F401


def build(house: House, backstage: Backstage) -> "FastAPI":
    """API and studio over one house."""
    from dizuo.api.server import create_app
    from dizuo.studio import pages

    app = create_app(house, backstage.missing)
    pages.mount(app, house)
    return app


def serve(house: House, *, ready: Callable[[str], None] | None = None) -> None:
    """Serves until SIGINT or SIGTERM, then returns. `ready` is called with the address, in a thread, once it answers.

    Raises UserError when the port is taken, and when the host is not loopback while the owner has no password.
    """
    import uvicorn

    settings = house.settings
    _refuse_open_door(house)
    listener = _listen(settings.host, settings.port)
    bound = address(*listener.getsockname()[:2])
    backstage = Backstage(house)
    try:
        with _signals_end_it() as ending, announced(settings.home, bound):
            gc.set_threshold(_COLLECT_AFTER_IN_START, 10, 10)
            _load_shared_libraries()
            app = build(house, backstage)
            server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    log_config=None,  # ours: platform/telemetry.py
                    access_log=False,  # one line per request comes from api/middleware.py
                    server_header=False,
                    timeout_graceful_shutdown=_GRACE_S,
                    lifespan="on",
                )
            )
            ending.watch(server)
            # Whoever follows a job would else hold up the end for as long as the grace lasts.
            app.state.stopping = lambda: server.should_exit
            threading.Thread(target=_when_up, args=(server, backstage, ready, bound), daemon=True).start()
            server.run(sockets=[listener])
            if ending.asked:
                logger.info("asked to stop")
    finally:
        backstage.stop()
        listener.close()


class _Ending:
    """Whether a signal has asked for the end, and the server that is told of it."""

    def __init__(self) -> None:
        self.asked = False
        self._server: uvicorn.Server | None = None

    def watch(self, server: "uvicorn.Server") -> None:
        self._server = server
        if self.asked:
            server.should_exit = True

    def ask(self, *_: object) -> None:
        self.asked = True
        if self._server is not None:
            self._server.should_exit = True


@contextmanager
def _signals_end_it() -> Iterator[_Ending]:
    """Within it SIGTERM and SIGINT ask the server to stop, and interrupt nothing, so that the house gets closed.

    An exception out of a signal's handler can come in the middle of an import and leave the import lock behind: other
    threads then wait for it, and the end for them (seen on a busy machine). uvicorn takes the signals over while it
    runs, and raises them once more when it has shut down.
    """
    ending = _Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before = {one: signal.signal(one, ending.ask) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ending
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _when_up(server: "uvicorn.Server", backstage: Backstage, ready: Callable[[str], None] | None, address: str) -> None:
    """Starts what works behind the server, and calls `ready`, once it has started.

    Not before: NiceGUI's start goes through every object there is (`gc.get_objects`), and whatever another thread
    builds at that moment, such as a tuple in a module that torch imports, may fail with a SystemError (CPython 15108).
    """
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    backstage.start()
    try:
        if ready is not None:
            ready(address)
    except Exception as error:
        if server.should_exit:  # it was stopped meanwhile, and the house closed around it
            logger.debug("what was to be done after the start was cut short", exc_info=True)
        elif isinstance(error, DizuoError):
            logger.error("%s", error)
        else:
            logger.exception("what was to be done after the start failed; the server goes on")
    while backstage.missing():
        if server.should_exit:
            return
        time.sleep(0.2)
    _settle()


def _settle() -> None:
    """Takes what has been loaded by now out of the garbage collector's rounds: it stays, and to go through it took an
    eighth of the processor's time of a request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)


def _refuse_open_door(house: House) -> None:
    if not _is_loopback(house.settings.host) and house.identity.owner_needs_link():
        raise UserError(
            "The host {host} can be reached from other machines, and the owner has no password yet: whoever comes "
            "first could take this instance. Start it on 127.0.0.1, open the one-time link, set a password, then "
            "start again.",
            host=house.settings.host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    if port > 65535:
        raise UserError("{port} is not a TCP port. Choose one from 1 to 65535 with --port.", port=port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                "Port {port} on {host} is taken by another program. Choose another: dizuo up --port {other}",
                port=port,
                host=host,
                other=port + 1,
            ) from None
        raise UserError(
            "The server cannot listen on {host}, port {port}: {reason}. Choose others with --host and --port.",
            host=host,
            port=port,
            reason=error.strerror or error,
        ) from None
