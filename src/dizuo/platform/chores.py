"""What the worker of a home does now and then, besides jobs: each chore in a thread of its own.

A chore looks into the database and does what is due. What is due, and when, stands there: nothing is lost with a
process.
"""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

Chore = Callable[[threading.Event], None]
"""Does what is due; returns soon after the event is set."""

_RETRY_S = 10.0  # after a failure, such as a database that is gone for a while


class Chores:
    """Chores by name. Registered before the start."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._chores: dict[str, tuple[Chore, float]] = {}
        self._threads: list[threading.Thread] = []

    def register(self, name: str, chore: Chore, every_s: float) -> None:
        """`every_s`: how long it rests between two looks."""
        self._chores[name] = chore, every_s

    def start(self) -> None:
        for name, (chore, every_s) in self._chores.items():
            thread = threading.Thread(target=self._keep, args=(name, chore, every_s), name=f"dizuo-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """After the event is set: returns when every chore has left off."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _keep(self, name: str, chore: Chore, every_s: float) -> None:
        while not self._stopping.wait(every_s):
            try:
                chore(self._stopping)
            except Exception:
                logger.exception("%s: what is due could not be done; trying again", name)
                self._stopping.wait(_RETRY_S)
