"""Rows on their way to where they are kept, written a batch at a time and off the path of whoever adds them."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

FLUSH_S = 0.1  # what a killed process loses
MOST_WAITING = 50_000  # in memory while they cannot be written; the oldest go first
_RETRY_S = 1.0


class Batched(Generic[T]):
    """Hands what is added to `write`, from a thread of its own. Thread-safe; adding never waits for it.

    What `write` raises is logged under the name, and the batch tried again.
    """

    def __init__(self, name: str, write: Callable[[list[T]], None]) -> None:
        self._name = name
        self._write = write
        self._waiting: list[T] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, item: T) -> None:
        with self._lock:
            self._waiting.append(item)
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name=f"dizuo-{self._name}", daemon=True)
                self._thread.start()
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
                    self._waiting = [*items, *self._waiting][-MOST_WAITING:]
                raise

    def close(self) -> None:
        """Writes what is waiting and ends the thread."""
        self._closing.set()
        self._wanted.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            self._closing.wait(FLUSH_S)  # more will have come by then
            self._wanted.clear()
            try:
                self.flush()
            except Exception:
                log.exception("the %s cannot be written; its rows wait", self._name)
                self._wanted.set()
                self._closing.wait(_RETRY_S)
