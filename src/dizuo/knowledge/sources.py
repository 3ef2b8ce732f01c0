"""Where documents come from: files, folders and archives, walked so that nothing hostile or useless comes along.

Order is by name, so that the same folder gives the same job. Names are made fit for the database here: a file name
that is not UTF-8 is shown as GB18030 if it can be, and its exact bytes are kept in `source` as `\\xNN`.
"""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dizuo.core.documents import Note
from dizuo.core.errors import NotFound, UserError
from dizuo.knowledge.archives import archive_kind
from dizuo.knowledge.formats import extension_of, is_clutter, is_worth_reading
from dizuo.platform.catalogue import _

_VENV_MARK = "pyvenv.cfg"
_NAMED = 5  # things passed over that a note tells by name


@dataclass(frozen=True)
class Source:
    """A file to read. `source` is its lasting identity, `name` what people see."""

    source: str
    name: str
    path: Path
    is_archive: bool


@dataclass(frozen=True)
class Found:
    """What a walk came back with. `refused` are files that would be read if they could be; `passed_over` says, for
    each folder by its path, what was left out on purpose."""

    sources: Sequence[Source]
    refused: Sequence[tuple[str, UserError]]
    passed_over: Sequence[tuple[str, tuple[Note, ...]]]


def absolute(path: str | Path) -> Path:
    """The path from the root, without `..` and `~`, links left as they are: the same file has one spelling."""
    return Path(os.path.abspath(Path(path).expanduser()))


def is_archive_name(name: str) -> bool:
    """Whether a file of this name is unpacked rather than read."""
    return archive_kind(name) is not None


def discover(paths: Sequence[str | Path]) -> Found:
    """The files under the paths, each once, in the order of their names. Raises NotFound for a path that is not there.

    A file that is named outright is taken whatever its kind; a folder gives the files that may hold text. Links to
    files are followed, links to folders are not: what they point to is read where it lies, and loops end nothing.
    """
    walk = _Walk()
    for path in map(absolute, paths):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            if not path.is_symlink():
                raise NotFound("{path} does not exist.", path=readable(str(path))) from None
            walk.refuse(path, UserError("The link points to nothing."))
            continue
        except OSError as error:
            walk.refuse(path, _unreadable(error))
            continue
        if stat.S_ISDIR(mode):
            walk.folder(path)
        else:
            walk.file(path, path.name, mode)
    return Found(list(walk.sources.values()), walk.refused, walk.passed_over)


class _Walk:
    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.refused: list[tuple[str, UserError]] = []
        self.passed_over: list[tuple[str, tuple[Note, ...]]] = []

    def refuse(self, path: Path, error: UserError) -> None:
        self.refused.append((exact(str(path)), error))

    def file(self, path: Path, name: str, mode: int) -> None:
        if not stat.S_ISREG(mode):
            self.refuse(path, UserError("This is a device, a pipe or a socket, not a file."))
            return
        source = exact(str(path))
        if source not in self.sources:
            self.sources[source] = Source(source, readable(name), path, is_archive_name(path.name))

    def folder(self, root: Path) -> None:
        """Walks with a list of its own: folders may be nested deeper than Python's stack."""
        clutter: list[str] = []
        links: list[str] = []
        unread: Counter[str] = Counter()
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.refuse(folder, _unreadable(error))
                continue
            if folder != root and any(entry.name == _VENV_MARK for entry in listed):
                clutter.append(_under(folder, root) + "/")
                continue
            inner: list[Path] = []
            for entry in listed:
                path = Path(entry.path)
                try:
                    mode = entry.stat(follow_symlinks=True).st_mode
                except OSError as error:
                    self.refuse(path, _unreadable(error))
                    continue
                is_folder = stat.S_ISDIR(mode)
                if is_clutter(entry.name):
                    clutter.append(_under(path, root) + ("/" if is_folder else ""))
                elif is_folder and entry.is_symlink():
                    links.append(_under(path, root))
                elif is_folder:
                    inner.append(path)
                elif stat.S_ISREG(mode) and not (is_archive_name(entry.name) or is_worth_reading(entry.name)):
                    unread["." + extension_of(entry.name)] += 1
                else:
                    self.file(path, _under(path, root), mode)
            waiting += reversed(inner)
        if notes := _passed_over(clutter, links, unread):
            self.passed_over.append((exact(str(root)), notes))


def _passed_over(clutter: Sequence[str], links: Sequence[str], unread: Counter[str]) -> tuple[Note, ...]:
    notes: list[Note] = []
    if clutter:
        template = _("Hidden files, caches and the like were passed over: {names} ({count})")
        notes.append(Note(template=template, params={"count": len(clutter), "names": _some(clutter)}))
    if links:
        template = _("Links to folders were not followed: {names} ({count})")
        notes.append(Note(template=template, params={"count": len(links), "names": _some(links)}))
    if unread:
        kinds = ", ".join(f"{extension} ({count})" for extension, count in sorted(unread.items()))
        template = _("Files of kinds that Dizuo does not read were passed over: {kinds}")
        notes.append(Note(template=template, params={"count": unread.total(), "kinds": kinds}))
    return tuple(notes)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _under(path: Path, root: Path) -> str:
    return readable(path.relative_to(root).as_posix())


def _unreadable(error: OSError) -> UserError:
    return UserError("It cannot be read: {reason}", reason=error.strerror or error)


# --- names that are not UTF-8 -----------------------------------------------------------------------------------


def exact(path: str) -> str:
    """The path as text that a database holds, bytes that are not UTF-8 written as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def readable(name: str) -> str:
    """The name as people would read it; Chinese names from old systems are in GB18030."""
    raw = os.fsencode(name)
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return exact(name)
