"""The file that a backup is: a gzip'd tar of rows as JSON lines and of stored files, every byte of it checked.

    head.json                      what it is, which schema, the columns of each table
    tables/NAME/000001.jsonl …     rows, a JSON array a line, bytes as base64; in parts, so that memory stays flat
    files/SHA256                   the stored files; a snapshot's lie in a folder beside it instead
    manifest.json                  the SHA-256 of each part and of the head, and how many rows and files there are

Nothing is ever extracted by the name that a member bears.
"""

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

from pydantic import Field, ValidationError

from dizuo.core.errors import UserError
from dizuo.core.messages import Noun

FORMAT = 2  # 1 knew no files of folders (backup_folders.py)

_HEAD, _MANIFEST = "head.json", "manifest.json"
_MEMBER = re.compile(
    r"head\.json|manifest\.json|tables/(?P<table>[a-z0-9_]+)/\d{6}\.jsonl|files/(?P<file>[0-9a-f]{64})"
)
_PART_BYTES = 4 << 20
_MAX_ROW_BYTES = 1 << 30  # a document's whole text is one row
_MAX_JSON_BYTES = 64 << 20
# Most of a backup is compressed already (PDF, Office) or does not compress (vectors): speed counts.
_GZIP_LEVEL = 1


class Head(Noun):
    """What a backup says of itself before anything else."""

    format: int
    dizuo: str  # the version that wrote it
    revision: str = Field(pattern=r"^\d{4}$")  # of the database's schema
    created_at: datetime
    label: str = ""  # of a snapshot: what it was made before
    files: Literal["inside", "beside"]
    tables: dict[str, tuple[str, ...]]  # the columns of each, in the order of the rows' values


class Manifest(Noun):
    """What a backup holds, counted, and the SHA-256 of its parts. A file's SHA-256 is its name."""

    head: str
    parts: dict[str, str]
    rows: dict[str, int]
    files: int
    missing_files: int  # that documents refer to and that were gone already


class BackupWriter:
    """Writes head, then rows, then files, then the manifest, in that order, into an open file."""

    def __init__(self, target: BinaryIO, head: Head) -> None:
        self._gzip = gzip.GzipFile(fileobj=target, mode="wb", compresslevel=_GZIP_LEVEL, filename="")
        self._tar = tarfile.open(fileobj=self._gzip, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  # finish() closes it
        self._parts: dict[str, str] = {}
        self._rows: Counter[str] = Counter()
        self._files = 0
        self._head = self._add(_HEAD, head.model_dump_json().encode())

    def add_rows(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """The rows of a table, as values that JSON knows."""
        lines: list[bytes] = []
        n_bytes = n_parts = 0

        def flush() -> None:
            nonlocal n_bytes, n_parts
            n_parts += 1
            name = f"tables/{table}/{n_parts:06d}.jsonl"
            self._parts[name] = self._add(name, b"".join(lines))
            lines.clear()
            n_bytes = 0

        for row in rows:
            line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
            lines.append(line)
            n_bytes += len(line)
            self._rows[table] += 1
            if n_bytes >= _PART_BYTES:
                flush()
        if lines:
            flush()

    def add_file(self, name: str, path: Path) -> None:
        """A stored file. Raises OSError."""
        with path.open("rb") as file:
            member = tarfile.TarInfo(f"files/{name}")
            member.size = path.stat().st_size
            self._tar.addfile(member, file)
            _forget_members(self._tar)
        self.count_file()

    def count_file(self) -> None:
        """Counts a file that lies beside the backup."""
        self._files += 1

    def finish(self, missing_files: int) -> Manifest:
        """Writes the end. The target stays open."""
        manifest = Manifest(
            head=self._head, parts=self._parts, rows=self._rows, files=self._files, missing_files=missing_files
        )
        self._add(_MANIFEST, manifest.model_dump_json().encode())
        self._tar.close()
        self._gzip.close()
        return manifest

    def _add(self, name: str, content: bytes) -> str:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))
        _forget_members(self._tar)
        return hashlib.sha256(content).hexdigest()


class BackupReader:
    """Reads a backup from an open file, as often as asked. Every method raises UserError for a file that is no good."""

    def __init__(self, source: BinaryIO, path: Path) -> None:
        self._source = source
        self.path = path

    def head(self) -> Head:
        """What the backup says of itself. Raises UserError when it is none, or a newer Dizuo has written it."""
        with self._damage():
            for name, stream in self._members():
                if name != _HEAD:
                    break
                return self._parsed_head(_json(stream.read(_MAX_JSON_BYTES)))
        raise self._foreign()

    def check(self) -> tuple[Head, Manifest]:
        """Reads the whole file and holds it against its own hashes and counts."""
        head, head_hash, manifest = None, "", None
        parts: dict[str, str] = {}
        rows: Counter[str] = Counter()
        files = 0
        with self._damage():
            for name, stream in self._members():
                if manifest is not None:
                    raise self._damaged(name)
                match = _MEMBER.fullmatch(name)
                if name == _HEAD:
                    content = stream.read(_MAX_JSON_BYTES)
                    head, head_hash = self._parsed_head(_json(content)), hashlib.sha256(content).hexdigest()
                elif head is None:
                    raise self._foreign()
                elif name == _MANIFEST:
                    manifest = Manifest.model_validate(_json(stream.read(_MAX_JSON_BYTES)))
                elif match and (table := match["table"]):
                    if files:
                        raise self._damaged(name)  # `rows` stops at the first file
                    digest = hashlib.sha256()
                    columns = head.tables.get(table, ())
                    for line in self._lines(stream):
                        digest.update(line)
                        row = _json(line)
                        if not isinstance(row, list) or len(row) != len(columns):
                            raise self._damaged(name)
                        rows[table] += 1
                    parts[name] = digest.hexdigest()
                else:
                    if hashlib.file_digest(stream, "sha256").hexdigest() != name.removeprefix("files/"):  # type: ignore[arg-type]
                        raise self._damaged(name)
                    files += 1
        if head is None or manifest is None:
            raise self._cut_off()
        if manifest.head != head_hash:
            raise self._damaged(_HEAD)
        for name in sorted(parts.keys() | manifest.parts.keys()):
            if parts.get(name) != manifest.parts.get(name):
                raise self._damaged(name)
        if manifest.rows != rows or (head.files == "inside" and manifest.files != files):
            raise self._damaged(_MANIFEST)
        return head, manifest

    def rows(self) -> Iterator[tuple[str, Sequence[Any], int]]:
        """Every row, as (table, values, length in bytes), tables in the order they were written."""
        with self._damage():
            for name, stream in self._members():
                match = _MEMBER.fullmatch(name)
                if match and (table := match["table"]):
                    for line in self._lines(stream):
                        yield table, _json(line), len(line)
                elif name != _HEAD:
                    return

    def files(self) -> Iterator[tuple[str, IO[bytes]]]:
        """The stored files inside, as (SHA-256, stream)."""
        with self._damage():
            for name, stream in self._members():
                if name.startswith("files/"):
                    yield name.removeprefix("files/"), stream

    def _members(self) -> Iterator[tuple[str, IO[bytes]]]:
        self._source.seek(0)
        with gzip.GzipFile(fileobj=self._source, mode="rb") as unpacked:
            with tarfile.open(fileobj=unpacked, mode="r|", bufsize=1 << 20) as tar:
                while (member := tar.next()) is not None:
                    _forget_members(tar)
                    stream = tar.extractfile(member) if member.isreg() else None
                    if stream is None or not _MEMBER.fullmatch(member.name):
                        raise self._damaged(member.name[:80])
                    yield member.name, stream
            while unpacked.read(1 << 20):  # gzip compares its checksum when the end is read
                pass

    def _lines(self, stream: IO[bytes]) -> Iterator[bytes]:
        while line := stream.readline(_MAX_ROW_BYTES):
            if not line.endswith(b"\n"):
                raise self._damaged("tables")
            yield line

    def _parsed_head(self, content: Any) -> Head:
        found = content.get("format") if isinstance(content, Mapping) else None
        if isinstance(found, int) and found > FORMAT:
            raise UserError(
                "{file} was written by a newer Dizuo (backup format {found}; this one knows {known}). Install that "
                "version to restore it.",
                file=self.path,
                found=found,
                known=FORMAT,
            )
        return Head.model_validate(content)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """What a broken file makes the libraries raise, as one clear error."""
        try:
            yield
        except ValidationError:
            raise self._damaged(_HEAD) from None
        except EOFError:
            raise self._cut_off() from None
        except (gzip.BadGzipFile, tarfile.TarError, zlib.error, ValueError, RecursionError):
            if not self._is_gzip():
                raise self._foreign() from None
            raise self._damaged("gzip") from None

    def _is_gzip(self) -> bool:
        self._source.seek(0)
        return self._source.read(2) == b"\x1f\x8b"

    def _foreign(self) -> UserError:
        return UserError("{file} is not a Dizuo backup. Nothing was changed.", file=self.path)

    def _cut_off(self) -> UserError:
        return UserError(
            "{file} is cut off: its end is missing. Nothing was changed; use another copy.", file=self.path
        )

    def _damaged(self, part: str) -> UserError:
        return UserError(
            "{file} is damaged: {part} is not as it was written. Nothing was changed; use another copy.",
            file=self.path,
            part=part,
        )


def _forget_members(tar: tarfile.TarFile) -> None:
    """tarfile remembers every member, and there may be a million."""
    tar.members = []  # type: ignore[attr-defined]


def _json(content: bytes) -> Any:
    return json.loads(content)
