"""Data sets by name: where they come from, what their files must be, and their rows one at a time.

`sources.json` describes each set: documented source, licence, whom to credit, whether weights trained on it may ship,
and of every file the split, rows, bytes and SHA-256. The files lie in the folder that `DIZUO_DATA` names; a folder may
describe sets of its own in a `sources.json` in the same form, with a `url` where a file can be fetched. Whatever else
is given as a name is the path of a person's own file or folder.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from dizuo.core.errors import NotFound, UserError
from dizuo.data.download import fetch
from dizuo.data.rows import SUFFIXES, read_rows

_OWN = "sources.json"


@dataclass(frozen=True)
class DataFile:
    path: str  # below the data folder
    split: str
    rows: int
    bytes: int
    sha256: str
    evaluation: bool  # kept for scores: never to be trained on
    url: str | None = None


@dataclass(frozen=True)
class DataSet:
    name: str
    language: tuple[str, ...]
    serves: str
    licence: str
    sources: tuple[str, ...]  # "github.com/owner/name@commit path"
    attribution: str
    may_ship: bool  # whether weights trained on it may be given away
    files: tuple[DataFile, ...]
    why_not_ship: str = ""

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(file.split for file in self.files))

    def of(self, split: str) -> list[DataFile]:
        """The files of a split. Raises NotFound with those there are."""
        files = [file for file in self.files if file.split == split]
        if not files:
            raise NotFound(
                "The data set {name} has no split {split!r}. There are: {splits}.",
                name=self.name, split=split, splits=", ".join(self.splits),
            )  # fmt: skip
        return files


def data_sets(data: Path | None = None) -> Mapping[str, DataSet]:
    """Every set that is described: Dizuo's, and those of the data folder's own `sources.json`."""
    shipped = _read_catalogue(Path(__file__).parent / _OWN)
    own = data / _OWN if data is not None else None
    return {**shipped, **_read_catalogue(own)} if own and own.is_file() else shipped


def find(name: str, data: Path | None = None) -> DataSet:
    """The set of that name. Raises NotFound with the names that come near."""
    sets = data_sets(data)
    if name not in sets:
        near = get_close_matches(name, sets, n=3, cutoff=0.4) or sorted(sets)
        raise NotFound(
            "No data set and no file is named {name!r}. Sets with a similar name: {near}. For texts of your own, give "
            "the path of a file or folder.", name=name, near=", ".join(near),
        )  # fmt: skip
    return sets[name]


def locate(name: str, split: str, data: Path | None, cache_folder: Path | None = None) -> list[Path]:
    """The files of a split, checked by size and SHA-256 (once a process, while size and time stay the same).

    A file that the data folder lacks is fetched into `cache_folder` where the catalogue knows its address.
    Raises UserError (NotFound, Unavailable) that names the file, what was expected and what to do.
    """
    path = own_path(name, data)
    if path is not None:
        return _own_files(path, split)
    found = find(name, data)
    return [_located(found, file, data, cache_folder) for file in found.of(split)]


def read(name: str, split: str, data: Path | None, cache_folder: Path | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a split in the order of the files, never more than one in memory.

    Raises UserError, besides those of `locate`, at a file that is cut off or damaged, a line that is no JSON object,
    and text that is not UTF-8: each with file and line.
    """
    for file in locate(name, split, data, cache_folder):
        yield from read_rows(file)


def described(name: str, split: str, data: Path | None, cache_folder: Path | None = None) -> dict[str, Any]:
    """What a checkpoint or a folder of shards says about the data that it was made from. JSON-able."""
    if own_path(name, data) is not None:
        files = [
            {"path": file.name, "bytes": file.stat().st_size, "sha256": _sha256(file)}
            for file in locate(name, split, data)
        ]
        return {"name": name, "split": split, "licence": "", "attribution": "", "may_ship": True, "files": files}
    found = find(name, data)
    files = [
        {"path": file.path, "rows": file.rows, "bytes": file.bytes, "sha256": file.sha256} for file in found.of(split)
    ]
    return {
        "name": name,
        "split": split,
        "licence": found.licence,
        "attribution": found.attribution,
        "sources": list(found.sources),
        "may_ship": found.may_ship,
        "rows": sum(file.rows for file in found.of(split)),
        "files": files,
    }


def own_path(name: str, data: Path | None) -> Path | None:
    """The file or folder that a name means, when it is no set: after `file:`, or as it stands."""
    if name.startswith("file:"):
        return Path(name.removeprefix("file:")).expanduser()
    path = Path(name).expanduser()
    return path if name not in data_sets(data) and path.exists() else None


def _own_files(path: Path, split: str) -> list[Path]:
    if split != "train":
        raise NotFound("{path} has the split 'train' only, not {split!r}. Give held-out texts a path of their own.",
                       path=path, split=split)  # fmt: skip
    if not path.exists():
        raise NotFound("There is no file or folder {path}.", path=path)
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    readable = [file for file in files if file.name.lower().endswith(SUFFIXES)]
    if not readable:
        raise UserError("{path} holds no text that can be trained on. These endings are read: {endings}.",
                        path=path, endings=" ".join(SUFFIXES))  # fmt: skip
    return readable


def _located(found: DataSet, file: DataFile, data: Path | None, cache_folder: Path | None) -> Path:
    if data is not None:
        if not data.is_dir():
            raise NotFound("The data folder {folder} does not exist. Set DIZUO_DATA to the folder that holds the data "
                           "sets.", folder=data)  # fmt: skip
        path = data / file.path
        if path.is_file():
            _check(path, file)
            return path
    if file.url and cache_folder is not None:
        return fetch(file.url, cache_folder / file.path, n_bytes=file.bytes, sha256=file.sha256)
    if data is None:
        raise NotFound(
            "Nothing says where the data set {name} is. Set DIZUO_DATA to the folder that holds {file}. The set comes "
            "from {source}.", name=found.name, file=file.path, source="; ".join(found.sources),
        )  # fmt: skip
    raise NotFound(
        "{file} is missing: {n_bytes} bytes with the SHA-256 {sha256} were expected. Put it there, or set DIZUO_DATA "
        "to the folder that holds it. The set {name} comes from {source}.",
        file=data / file.path, n_bytes=file.bytes, sha256=file.sha256, name=found.name,
        source="; ".join(found.sources),
    )  # fmt: skip


_checked: dict[tuple[str, int, int], str] = {}


def _sha256(path: Path) -> str:
    about = path.stat()
    key = (str(path), about.st_size, about.st_mtime_ns)
    if key not in _checked:
        with path.open("rb") as stream:
            _checked[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _checked[key]


def _check(path: Path, expected: DataFile) -> None:
    size = path.stat().st_size
    if size != expected.bytes:
        raise UserError(
            "{file} has {found} bytes; {expected} were expected. It is cut off or another version: copy it anew.",
            file=path, found=size, expected=expected.bytes,
        )  # fmt: skip
    if (found := _sha256(path)) != expected.sha256:
        raise UserError(
            "{file} is damaged or another version: its SHA-256 is {found}, not {expected}. Copy it anew.",
            file=path, found=found, expected=expected.sha256,
        )  # fmt: skip


def _read_catalogue(file: Path) -> Mapping[str, DataSet]:
    return _parsed(file, file.stat().st_mtime_ns)


@cache
def _parsed(file: Path, _mtime_ns: int) -> Mapping[str, DataSet]:
    try:
        raw: dict[str, dict[str, Any]] = json.loads(file.read_text("utf-8"))
        return {name: _data_set(name, about) for name, about in raw.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError("{file} does not describe data sets: {reason}.", file=file, reason=error) from error


def _data_set(name: str, about: dict[str, Any]) -> DataSet:
    files = tuple(DataFile(**{"evaluation": False, **file}) for file in about["files"])
    for file in files:
        if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
            raise ValueError(f"{file.path!r} leads out of the folder")
    return DataSet(
        name=name,
        language=tuple(about["language"]),
        serves=about.get("serves", ""),
        licence=about["licence"],
        sources=tuple(about["sources"]),
        attribution=about.get("attribution", ""),
        may_ship=about.get("may_ship", False),  # of a set that does not say, nothing is given away
        why_not_ship=about.get("why_not_ship", ""),
        files=files,
    )
