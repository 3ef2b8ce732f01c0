"""Which process of a DIZUO_HOME does the jobs: the one that holds the lock on `worker.lock`."""

import fcntl
import os
from pathlib import Path
from weakref import WeakSet

_held: "WeakSet[WorkerLock]" = WeakSet()


class WorkerLock:
    """Held by one process of a home at a time; the kernel lets go of it when that process dies, however it dies."""

    def __init__(self, home: Path) -> None:
        self._file = home / "worker.lock"
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Takes the lock without waiting; False when somebody else has it."""
        if self.held:
            return True
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        _held.add(self)
        return True

    def release(self) -> None:
        """Lets go of it. Nothing happens where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(self)


def _forget_in_child() -> None:
    # A forked child shares the open file: while it lives, the lock would outlive its parent.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
