"""Rows on their way to where they are kept, written a batch at a time and off the path of whoever adds them."""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

FLUSH_S = 0.1  # what a killed process loses
MOST_WAITING = 50_000  # in memory while they cannot be written; the oldest go first
_RETRY_S = 1.0


class Batched(Generic[T]):
    """Hands what is added to `write`, from a thread of its own. Thread-safe; adding never waits for it.

    A batch that `write` raises at is tried again; an outage is logged when it begins and when it is over. The thread
    ends with `close`, and where nobody closed it, when nobody has this any more.
    """

    def __init__(self, name: str, write: Callable[[list[T]], None]) -> None:
        self._name = name
        self._write = write
        self._waiting: list[T] = []
        self._lost = 0  # of the present outage
        self._failing_since_s: float | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, item: T) -> None:
        with self._lock:
            self._waiting.append(item)
            if self._thread is None and not self._closing.is_set():
                self._thread = self._started()
        if not self._wanted.is_set():
            self._wanted.set()

    def flush(self) -> None:
        """Writes what is waiting. Whoever reads where it goes calls it first. Raises what `write` raises."""
        with self._writing:
            with self._lock:
                items, self._waiting = self._waiting, []
            if not items:
                return
            try:
                self._write(items)
            except BaseException:
                with self._lock:
                    waiting = [*items, *self._waiting]
                    self._waiting = waiting[-MOST_WAITING:]
                    self._lost += len(waiting) - len(self._waiting)
                raise

    def close(self) -> None:
        """Writes what is waiting and ends the thread. What is added later is written by `flush` alone."""
        self._closing.set()
        self._wanted.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush()

    def _started(self) -> threading.Thread:
        wanted, closing = self._wanted, self._closing

        def end(_gone: object) -> None:
            closing.set()
            wanted.set()

        # Held by the thread only while it writes: through `write` it would else hold a whole instance for ever.
        ref = weakref.ref(self, end)
        thread = threading.Thread(target=_run, args=(ref, wanted, closing), name=f"dizuo-{self._name}", daemon=True)
        thread.start()
        return thread

    def _flush_or_tell(self) -> bool:
        """Writes what is waiting; whether that went well. Tells of an outage once, and of its end."""
        try:
            self.flush()
        except Exception:
            if self._failing_since_s is None:
                self._failing_since_s = time.monotonic()
                log.exception("the %s cannot be written; %d rows wait", self._name, len(self._waiting))
            return False
        if self._failing_since_s is not None:
            seconds = time.monotonic() - self._failing_since_s
            log.warning("the %s can be written again after %.0f s; rows lost: %d", self._name, seconds, self._lost)
            self._failing_since_s, self._lost = None, 0
        return True


def _run(ref: "weakref.ref[Batched[T]]", wanted: threading.Event, closing: threading.Event) -> None:
    while not closing.is_set():
        wanted.wait()
        closing.wait(FLUSH_S)  # more will have come by then
        wanted.clear()
        batched = ref()
        if batched is None:
            return
        written = batched._flush_or_tell()
        del batched
        if not written:
            wanted.set()
            closing.wait(_RETRY_S)
