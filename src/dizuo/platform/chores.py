"""What the worker of a home does now and then, besides jobs: each chore in a thread of its own.

A chore looks into the database, does what is due, and says when something will be due again. Until then it is not
called while nothing is written, where the database can say so at once.
"""

import logging
import threading
import time
from collections.abc import Callable

from dizuo.platform.database import Database

logger = logging.getLogger(__name__)

Chore = Callable[[threading.Event], float | None]
"""Does what is due; returns soon after the event is set. Seconds until something is due again; None: nothing is."""

_RETRY_S = 10.0  # after a failure, such as a database that is gone for a while


class Chores:
    """Chores by name. Registered before the start."""

    def __init__(self, database: Database, stopping: threading.Event) -> None:
        self._database = database
        self._stopping = stopping
        self._chores: dict[str, tuple[Chore, float]] = {}
        self._threads: list[threading.Thread] = []

    def register(self, name: str, chore: Chore, every_s: float) -> None:
        """`every_s`: how soon it sees what has been written."""
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
        seen: int | None = None
        due_s = 0.0  # by the clock on the wall: a laptop that slept has missed something
        while not self._stopping.wait(every_s):
            try:
                version = self._database.version()  # before the look: what is written meanwhile is looked at next time
                if version is not None and version == seen and time.time() < due_s:
                    continue
                later_s = chore(self._stopping)
                seen, due_s = version, float("inf") if later_s is None else time.time() + later_s
            except Exception:
                logger.exception("%s: what is due could not be done; trying again", name)
                seen = None
                self._stopping.wait(_RETRY_S)
