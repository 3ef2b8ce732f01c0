"""Connections to providers: kept open, shared by all endpoints of an event loop, closed with it.

aiohttp rather than httpx: a request costs a quarter of the processor time.
"""

import asyncio
import atexit
import ssl
import threading
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
import certifi

from dizuo import __version__

T = TypeVar("T")

_IDLE_S = 30.0  # a connection is kept open without use
_AFTER_END_S = 1.0  # what a server may take to close a stream that it called done, if its connection is to be kept


@dataclass
class Kept:
    """Whether a request went over a connection that was open already (its `trace_request_ctx`)."""

    used: bool = False


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
_closers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None]] = WeakKeyDictionary()
_draining: set[asyncio.Future[None]] = set()


async def connections() -> aiohttp.ClientSession:
    """The connections of this event loop."""
    loop = asyncio.get_running_loop()
    if (session := _sessions.get(loop)) is not None:
        return session
    for other in [one for one in list(_sessions) if one.is_closed()]:  # closed without its generators
        _sessions.pop(other, None)
        _closers.pop(other, None)
    traces = aiohttp.TraceConfig()
    traces.on_connection_reuseconn.append(_note_reuse)
    session = _sessions[loop] = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, ssl=_ssl_context()),
        cookie_jar=aiohttp.DummyCookieJar(),  # what one provider sets is no other's business
        headers={
            "User-Agent": f"dizuo/{__version__}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",  # some servers hold a compressed stream back until there is more of it
        },
        trace_configs=[traces],
    )
    closer = _closers[loop] = _until_loop_ends(loop, session)
    await anext(closer)
    return session


def let_go(response: aiohttp.ClientResponse) -> None:
    """Lets a stream that has said all end by itself, so that its connection can serve again."""
    if response.content.is_eof():
        return

    async def read_on() -> None:
        try:
            async with asyncio.timeout(_AFTER_END_S):
                await response.content.readany()  # one that goes on after its end is closed
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass
        finally:
            response.close()  # nothing, where it has ended

    task = asyncio.ensure_future(read_on())
    _draining.add(task)
    task.add_done_callback(_draining.discard)


async def _until_loop_ends(loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    """Closes the connections when the loop shuts down its generators, as `asyncio.run` does before it closes."""
    try:
        yield
    finally:
        _sessions.pop(loop, None)
        _closers.pop(loop, None)
        await session.close()


async def _note_reuse(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
    context.trace_request_ctx.used = True


@cache
def _ssl_context() -> ssl.SSLContext:
    """The authorities that this machine trusts, read once: that takes tens of milliseconds."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # some Pythons for macOS and Windows find none by themselves
    return context


# --- calls from threads ---------------------------------------------------------------------------------------


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """The result of work on a provider, for a thread without an event loop of its own."""
    with _starting:
        loop = _background()
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


_starting = threading.Lock()


@cache
def _background() -> asyncio.AbstractEventLoop:
    """One event loop for all threads, so that they share connections too. It ends with the process."""
    loops: list[asyncio.AbstractEventLoop] = []
    begun, ended = threading.Event(), asyncio.Event()

    async def until_exit() -> None:
        loops.append(asyncio.get_running_loop())
        begun.set()
        await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(until_exit()), name="dizuo-remote", daemon=True)
    thread.start()
    begun.wait()

    def end() -> None:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join(timeout=1)

    atexit.register(end)
    return loops[0]
