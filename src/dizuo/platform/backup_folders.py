"""Folders of the home whose files go along in a backup: what runs of agents were given and have made.

Their contents are stored files like any other; which of them lies where stands in rows of a table that no database has
(`TABLE`). A snapshot leaves the folders out: nothing that it is made before changes them, but for a restore, which puts
them aside whole.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from dizuo.core.errors import UserError
from dizuo.platform.blobs import Blobs

FOLDERS = ("runs",)
TABLE = "_files"  # of a backup: no table of a database begins so
COLUMNS = ("folder", "path", "sha256")
_PIECE = 1 << 20

Placed = tuple[str, str, str]  # of a file: its folder, its path within, the SHA-256 of its content


def hold(home: Path, holding: Path) -> list[Placed]:
    """Copies every file of the folders into `holding`, under the SHA-256 of its content; returns where each lies.

    Links are left out, and what goes away meanwhile: code of strangers may be at work there.
    """
    placed = []
    for folder in FOLDERS:
        for path in _files(home / folder):
            with contextlib.suppress(FileNotFoundError):
                name = path.relative_to(home / folder).as_posix()
                placed.append((folder, name, _copy(path, holding)))
    return placed


def stage(place: Path, placed: Iterable[Sequence[str]], blobs: Blobs) -> Path:
    """A new folder in `place` with the files where they were. Raises UserError for a path that leads elsewhere."""
    with _staged(place) as staged:
        for folder, name, content in placed:
            parts = PurePosixPath(name).parts
            tame = parts and not any(part in ("..", "/") or "\\" in part or "\0" in part for part in parts)
            if folder not in FOLDERS or not tame:
                raise UserError("The backup names a file {path!r}, which leads out of its folder.", path=name[:200])
            target = staged.joinpath(folder, *parts)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(blobs.path(content), target)
            target.chmod(0o600)
    return staged


def stage_again(place: Path, aside: Path) -> Path:
    """A new folder in `place` with a copy of what `swapped` has put aside. Links stay links."""
    with _staged(place) as staged:
        shutil.copytree(aside, staged, symlinks=True)
    return staged


@contextlib.contextmanager
def _staged(place: Path) -> Iterator[Path]:
    """A name for a new folder, which has all of the folders at the end; nothing is left of it after an exception."""
    staged = place / f".restoring-{secrets.token_hex(8)}"
    try:
        yield staged
        for folder in FOLDERS:
            (staged / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


@contextlib.contextmanager
def swapped(home: Path, staged: Path, aside: Path) -> Iterator[None]:
    """Puts the staged folders in place of the present ones, which go `aside`. An exception takes it back."""
    aside.mkdir(mode=0o700)
    moved: list[str] = []
    try:
        for folder in FOLDERS:
            with contextlib.suppress(FileNotFoundError):
                os.rename(home / folder, aside / folder)
            moved.append(folder)
            os.rename(staged / folder, home / folder)
        yield
    except BaseException:
        for folder in moved:
            with contextlib.suppress(FileNotFoundError):
                os.rename(home / folder, staged / folder)
            with contextlib.suppress(FileNotFoundError):
                os.rename(aside / folder, home / folder)
        aside.rmdir()
        raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    """The files below, in order. No link is followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _copy(path: Path, holding: Path) -> str:
    """Copies a file under the SHA-256 of what was copied, which is returned. Raises FileNotFoundError, also for what is
    no file any more."""
    digest = hashlib.sha256()
    passing = holding / f".{secrets.token_hex(8)}"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileNotFoundError(path) from error
    with os.fdopen(handle, "rb") as source:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FileNotFoundError(path)
        with passing.open("wb") as target:
            while piece := source.read(_PIECE):
                digest.update(piece)
                target.write(piece)
    os.replace(passing, holding / digest.hexdigest())
    return digest.hexdigest()
