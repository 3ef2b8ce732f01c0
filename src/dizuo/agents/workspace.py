"""The folder of a run: files that people give it and tools make, found by paths that cannot lead out of it."""

import errno
import os
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from dizuo.core.errors import Conflict, NotFound, TooLarge, UserError
from dizuo.core.messages import Noun
from dizuo.core.tools import Artifact, ToolContext

MOST_GIVEN = 200  # files at once
MOST_FILES = 2000  # in a folder
MOST_BYTES = 256 << 20  # in a folder: what the sandbox bears, too
_MOST_DEPTH = 16
_MOST_PART_BYTES = 200
_PIECE = 1 << 20
_ITSELF = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link, no wait for a pipe's other end

IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
"""Endings of what is shown as a picture, with its media type."""
TABLES = (".csv", ".tsv")


class RunFile(Noun):
    """A file of a run. `path`: within its folder, with "/"."""

    path: str
    kind: Literal["image", "table", "file"]
    size_bytes: int
    changed_at: datetime


class Workspace:
    """One run's folder. What is in it may have been written by code of strangers: no link is followed. Blocking."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> list[RunFile]:
        """Every file, by path; the first `MOST_FILES`. Left out: what has a name that cannot be shown."""
        found = []
        for path in _walk(self.folder):
            name = path.relative_to(self.folder).as_posix()
            if not _is_name(name):
                continue
            about = path.lstat()
            changed = datetime.fromtimestamp(about.st_mtime, UTC)
            found.append(RunFile(path=name, kind=kind_of(name), size_bytes=about.st_size, changed_at=changed))
            if len(found) >= MOST_FILES:
                break
        return sorted(found, key=lambda one: one.path)

    def path(self, name: str) -> Path:
        """Where a file lies. Raises NotFound, also for a folder and a link."""
        path = self.folder.joinpath(*_parts(name))
        if _linked(self.folder, path) or not path.is_file():
            raise NotFound("The run has no file {path!r}.", path=name)
        return path

    def open(self, name: str) -> BinaryIO:
        """A file to be read. Raises NotFound, also for a folder and a link."""
        *above, last = _parts(name)
        try:
            with self._below(above) as folder:
                handle = os.open(last, os.O_RDONLY | _ITSELF, dir_fd=folder)
        except OSError:
            raise NotFound("The run has no file {path!r}.", path=name) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise NotFound("The run has no file {path!r}.", path=name)
        return os.fdopen(handle, "rb")

    def write(self, name: str, text: str) -> None:
        """Writes a file, with the folders above it; one of that name is replaced. Raises UserError."""
        *above, last = _parts(name)
        with self._making(name, above) as folder:
            handle = os.open(last, os.O_WRONLY | os.O_CREAT | _ITSELF, 0o600, dir_fd=folder)
            with os.fdopen(handle, "wb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise UserError("The path {path!r} is not in the workspace.", path=name)
                file.truncate()
                file.write(text.encode("utf-8", "replace"))

    def make_folder(self, name: str) -> None:
        """Makes a folder, with those above it, where it is not there. Raises UserError."""
        with self._making(name, _parts(name)):
            pass

    def move(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Moves files, each to a path where nothing is yet; the folders above are made. Raises UserError, before
        anything is moved."""
        with ExitStack() as opened:
            ways = []
            for source, target in pairs:
                (*above, old), (*below, new) = _parts(source), _parts(target)
                left = opened.enter_context(self._making(source, above))
                there = opened.enter_context(self._making(target, below))
                ways.append((old, new, left, there))
                with suppress(FileNotFoundError):
                    is_folder = stat.S_ISDIR(os.stat(new, dir_fd=there, follow_symlinks=False).st_mode)
                    raise UserError("{path!r} is a folder" if is_folder else "{path!r} is there already", path=target)
            for old, new, left, there in ways:
                os.rename(old, new, src_dir_fd=left, dst_dir_fd=there)

    def take_all(self, other: "Workspace") -> None:
        """Copies every file of another folder into this one, which is empty."""
        for one in other.files():
            with suppress(NotFound), other.open(one.path) as source:  # it may go meanwhile
                *above, last = _parts(one.path)
                with self._making(one.path, above) as folder:
                    handle = os.open(last, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ITSELF, 0o600, dir_fd=folder)
                    with os.fdopen(handle, "wb") as file:
                        shutil.copyfileobj(source, file, _PIECE)

    def put(self, given: Iterable[tuple[str, BinaryIO]], limit_bytes: int) -> list[str]:
        """Takes files in under their names and returns these. All of them or none; none is replaced.

        Raises UserError for a name that is none, Conflict for one that is there, TooLarge for a file of over
        `limit_bytes`, or where the folder would hold too much.
        """
        there = self.files()
        taken, room = {one.path for one in there}, MOST_BYTES - sum(one.size_bytes for one in there)
        aside = self.folder.parent / f".given-{secrets.token_hex(8)}"
        names: list[str] = []
        try:
            for name, source in given:
                name = normal(name)
                if name in taken:
                    raise Conflict("The run has a file {path!r} already.", path=name)
                if len(names) >= MOST_GIVEN or len(taken) >= MOST_FILES:
                    raise TooLarge("That are too many files: at most {n} at once.", n=MOST_GIVEN)
                taken.add(name)
                room -= _copy(source, aside / str(len(names)), name, min(limit_bytes, room))
                names.append(name)
            for number, name in enumerate(names):
                *above, last = _parts(name)
                with self._making(name, above) as folder:
                    os.replace(aside / str(number), last, dst_dir_fd=folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return names

    @contextmanager
    def _below(self, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """A folder below, held open. Each on the way is opened from the one above and never through a link: code of
        strangers may be at work here, and put one there at any moment. Raises OSError."""
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=handle)
                above, handle = handle, os.open(part, os.O_DIRECTORY | os.O_RDONLY | _ITSELF, dir_fd=handle)
                os.close(above)
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _making(self, name: str, parts: Sequence[str]) -> Iterator[int]:
        """The same to be written in; what is missing is made. Raises UserError where that cannot be."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with self._below(parts, make=True) as handle:
                yield handle
        except NotADirectoryError:
            raise UserError("The path {path!r} leads through a file.", path=name) from None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EEXIST, errno.ENOENT):
                raise
            raise UserError("The path {path!r} is not in the workspace.", path=name) from None


def of(context: ToolContext) -> Workspace:
    """The folder that a call works in. Raises UserError where there is none, or a link in its place."""
    if context.workspace is None:
        raise UserError("This run has no workspace.")
    if context.workspace.is_symlink():  # whoever put it there wants something else to be written to
        raise UserError("The workspace is a link. It must be a folder.")
    context.workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Workspace(context.workspace.resolve())


def artifacts(context: ToolContext, names: Iterable[str]) -> tuple[Artifact, ...]:
    """The files of these names, as things to show; those that are no files and those with
    a name that cannot be shown, are left out."""
    if context.workspace is None:
        return ()
    found = []
    for name in names:
        path = context.workspace / name
        if _is_name(name) and not path.is_symlink() and path.is_file():
            found.append(Artifact(path=name, kind=kind_of(name), size_bytes=path.stat().st_size))
    return tuple(found)


def normal(name: str) -> str:
    """A path as `files` has it, without "./" and the like. Raises UserError for one that leads elsewhere."""
    return "/".join(_parts(name))


def kind_of(name: str) -> Literal["image", "table", "file"]:
    """How a file is shown, by its ending."""
    ending = PurePosixPath(name).suffix.lower()
    return "image" if ending in IMAGES else "table" if ending in TABLES else "file"


def _parts(name: str) -> Sequence[str]:
    """The path part by part. Raises UserError for one that leads elsewhere, or holds what cannot be seen."""
    parts = [one for one in name.split("/") if one not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise UserError("The path {path!r} is not in the workspace.", path=name[:200])
    unseen = any(one == "\\" or unicodedata.category(one)[0] == "C" for one in name)
    if not parts or len(parts) > _MOST_DEPTH or unseen or any(one != one.strip() for one in parts):
        raise UserError("{path!r} cannot be a file's name here.", path=name[:200])
    if any(len(one.encode("utf-8", "replace")) > _MOST_PART_BYTES for one in parts):
        raise UserError("{path!r} cannot be a file's name here.", path=name[:200])
    return parts


def _is_name(name: str) -> bool:
    try:
        return bool(_parts(name))
    except UserError:
        return False


def _linked(folder: Path, path: Path) -> bool:
    """Whether a link lies on the way."""
    return any(one.is_symlink() for one in (path, *path.parents) if one != folder and one.is_relative_to(folder))


def _walk(folder: Path) -> Iterator[Path]:
    """The files below, without following links, the nearest first."""
    left = [folder]
    while left:
        try:
            entries = sorted(os.scandir(left.pop(0)), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _copy(source: BinaryIO, target: Path, name: str, limit_bytes: int) -> int:
    """How many bytes were copied. Raises TooLarge."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    size = 0
    with target.open("wb") as file:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > limit_bytes:
                raise TooLarge("The file {path!r} is too large: there is room for {limit} bytes.", path=name,
                               limit=max(0, limit_bytes))  # fmt: skip
            file.write(piece)
    return size
