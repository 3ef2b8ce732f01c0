"""Locks of a DIZUO_HOME, each held by one process: who does the jobs, and who serves, with its address.

The kernel lets go of a lock when the process that holds it dies, however it dies.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

_held: "WeakSet[HomeLock]" = WeakSet()


class HomeLock:
    """Held by one process of a home at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    def acquire(self, says: str = "") -> bool:
        """Takes the lock without waiting; False when somebody else has it. `says`: what others may read meanwhile."""
        if self.held:
            return True
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if says:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, says.encode(), 0)
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


class WorkerLock(HomeLock):
    """Held by the process that does the jobs of a home."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / "worker.lock")


@contextmanager
def announced(home: Path, address: str) -> Iterator[None]:
    """Within it others of this home find the server's address; of several servers, that of the first."""
    lock = HomeLock(home / "server.lock")
    lock.acquire(address)
    try:
        yield
    finally:
        lock.release()


def server_address(home: Path) -> str:
    """Where the running server of this home is reached; "" where none runs."""
    file = home / "server.lock"
    return file.read_text("utf-8", "replace").strip() if is_held(file) else ""


def is_held(file: Path) -> bool:
    """Whether some process holds that lock."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _forget_in_child() -> None:
    # A forked child shares the open file: while it lives, the lock would outlive its parent.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
