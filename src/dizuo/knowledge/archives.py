"""Zip and tar archives, unpacked member by member into a store, never onto paths that they name.

Defended against: bombs (declared sizes and ratio before anything is unpacked, real bytes while it is), members that
point outside, links, devices, headers of absurd length, more members than anyone has files. An archive inside an
archive is not opened.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from dizuo.core.errors import TooLarge, UserError
from dizuo.knowledge.formats import extension_of, is_clutter, is_worth_reading
from dizuo.platform.catalogue import _

Kind = Literal["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
Put = Callable[[Any, int], tuple[str, int]]  # (stream, most bytes) -> (blob, size in bytes)


@dataclass(frozen=True)
class Member:
    """A file that is in the store now."""

    name: str  # its path inside the archive
    source: str
    blob: str


@dataclass(frozen=True)
class Refused:
    """A file that was not taken, and why."""

    name: str
    error: UserError


_ENDINGS: dict[str, Kind] = {
    ".zip": "zip", ".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar.bz2": "tar.bz2", ".tbz2": "tar.bz2",
    ".tar.xz": "tar.xz", ".txz": "tar.xz",
}  # fmt: skip
_OTHER_ARCHIVES = frozenset(("7z", "rar", "gz", "bz2", "xz", "zst", "cab", "lzh"))
_MAX_MEMBERS = 100_000
# Text packs to a tenth, repetitive logs to a hundredth, zeros to a thousandth.
_MAX_RATIO = 200
_RATIO_MATTERS_FROM = 50 << 20
_MAX_HEADER = 1 << 20
# Other ways of packing give zipfile all that comes of the bytes it reads at once: 600 bytes of bzip2 can be 600 MB,
# whatever size the member claims.
_UNPACKED_BIT_BY_BIT = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def archive_kind(name: str) -> Kind | None:
    """What a file's name says about how it is packed; None when it is no archive that can be unpacked."""
    lower = name.lower()
    return next((kind for ending, kind in _ENDINGS.items() if lower.endswith(ending)), None)


def is_other_archive(name: str) -> bool:
    """Whether the name is of a packed file that Dizuo cannot unpack."""
    return extension_of(name) in _OTHER_ARCHIVES


def unpack(
    path: Path, source: str, put: Put, *, max_total_bytes: int, max_file_bytes: int
) -> Iterator[Member | Refused]:
    """The files in an archive, put into the store one after the other.

    Raises UserError when the archive as a whole cannot be read or is a bomb; what was yielded before then is void.
    """
    try:
        if zipfile.is_zipfile(path):
            yield from _unzip(path, source, put, max_total_bytes, max_file_bytes)
        else:
            yield from _untar(path, source, put, max_total_bytes, max_file_bytes)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UserError(
            "The archive is damaged or cut off: {reason}", reason=str(error) or type(error).__name__
        ) from None


def _too_large(max_total_bytes: int) -> TooLarge:
    return TooLarge(
        "The archive unpacks to more than {limit_mb} MiB. Split it, or raise the setting max_archive_mb.",
        limit_mb=max_total_bytes >> 20,
    )


def _inner_name(raw: str) -> str:
    """A member's name as a relative path. Raises UserError when it points outside of the archive."""
    name = unicodedata.normalize("NFC", raw.replace("\\", "/"))
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise UserError("The name points outside of the archive; the file was not taken.")
    clean = "".join(c if c.isprintable() else "_" for c in str(path))
    return clean.encode("utf-8", "backslashreplace").decode("utf-8")[-500:]


def _is_clutter(name: str) -> bool:
    return any(is_clutter(part) for part in PurePosixPath(name).parts)


def _take(name: str, source: str, stream: Any, put: Put, limit: int, max_file_bytes: int) -> Member | Refused:
    """One member into the store. A refusal of the member is part of the answer."""
    if archive_kind(name) or is_other_archive(name):
        error = _("An archive inside an archive is not opened. Unpack it and add what is in it.")
        return Refused(name, UserError(error))
    if not is_worth_reading(name):
        return Refused(name, UserError("Dizuo does not read {extension} files.", extension="." + extension_of(name)))
    try:
        blob, _size = put(stream, min(limit, max_file_bytes))
    except TooLarge:
        if limit < max_file_bytes:
            raise
        return Refused(name, _file_too_large(max_file_bytes))
    return Member(name, f"{source}!/{name}", blob)


def _file_too_large(max_file_bytes: int) -> TooLarge:
    return TooLarge(
        "The file is larger than {limit_mb} MiB. Split it, or raise the setting max_file_mb.",
        limit_mb=max_file_bytes >> 20,
    )


# --- zip --------------------------------------------------------------------------------------------------------


def check_zip(archive: zipfile.ZipFile, max_total_bytes: int) -> None:
    """Raises UserError for a bomb, by what the archive says of itself. zipfile holds members to it when it reads."""
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > _MAX_MEMBERS:
        raise UserError("It holds more than {limit} files.", limit=_MAX_MEMBERS)
    if total > _RATIO_MATTERS_FROM and total > _MAX_RATIO * max(packed, 1):
        raise UserError(
            "It would unpack to {ratio} times its size, as only an archive made to do harm does. It was not unpacked.",
            ratio=total // max(packed, 1),
        )
    if total > max_total_bytes:
        raise _too_large(max_total_bytes)


def _unzip(path: Path, source: str, put: Put, max_total_bytes: int, max_file_bytes: int) -> Iterator[Member | Refused]:
    with zipfile.ZipFile(path) as archive:
        check_zip(archive, max_total_bytes)
        left = max_total_bytes
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            raw = _zip_name(member)
            if member.is_dir():
                continue
            try:
                name = _inner_name(raw)
                if _is_clutter(name):
                    continue
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG):
                    raise UserError("It is a link or a device, not a file.")
                if member.flag_bits & 1:
                    raise UserError("It is protected by a password. Unpack the archive and add what is in it.")
                if member.compress_type not in _UNPACKED_BIT_BY_BIT:
                    method = zipfile.compressor_names.get(member.compress_type, "?")  # type: ignore[attr-defined]
                    raise UserError(
                        "It is packed in a way that Dizuo does not unpack ({method}). Unpack the archive and add what "
                        "is in it.",
                        method=method,
                    )
                if member.file_size > max_file_bytes:
                    raise _file_too_large(max_file_bytes)
                with archive.open(member) as stream:
                    taken = _take(name, source, stream, put, left, max_file_bytes)
            except UserError as error:
                yield Refused(raw.encode("utf-8", "backslashreplace").decode(), error)
                continue
            except (NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                yield Refused(raw, UserError("It cannot be unpacked: {reason}", reason=str(error)))
                continue
            left -= member.file_size
            yield taken


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name as it was meant. Chinese Windows writes GBK without saying so, which zipfile takes for code page 437."""
    if member.flag_bits & 0x800 or member.filename.isascii():
        return member.filename
    try:
        raw = member.filename.encode("cp437")
    except UnicodeEncodeError:
        return member.filename
    for encoding in ("utf-8", "gb18030", "cp932"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return member.filename


# --- tar --------------------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """Refuses extended headers (long names, pax records) that would be read into memory whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if not self.isreg() and not self.issparse() and self.size > _MAX_HEADER:
            raise tarfile.ReadError("a header is larger than any honest one")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Counted:
    """A stream that ends in TooLarge once more has been read than an archive may unpack to."""

    def __init__(self, stream: IO[bytes], max_total_bytes: int) -> None:
        self._stream = stream
        self._max_total_bytes = max_total_bytes
        self._left = max_total_bytes + max_total_bytes // 10 + (1 << 20)  # headers and padding

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise _too_large(self._max_total_bytes)
        return piece


def _open_tar(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path)  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        return bz2.open(path)  # type: ignore[return-value]
    if head == b"\xfd7zXZ\x00":
        return lzma.open(path)  # type: ignore[return-value]
    return path.open("rb")


def _untar(path: Path, source: str, put: Put, max_total_bytes: int, max_file_bytes: int) -> Iterator[Member | Refused]:
    left = max_total_bytes
    with (
        _open_tar(path) as packed,
        tarfile.open(
            fileobj=_Counted(packed, max_total_bytes),  # type: ignore[arg-type]
            mode="r|",
            tarinfo=_Header,
            encoding="utf-8",
        ) as archive,
    ):
        for count, member in enumerate(archive):
            if count >= _MAX_MEMBERS:
                raise UserError("It holds more than {limit} files.", limit=_MAX_MEMBERS)
            archive.members = []  # type: ignore[attr-defined]  # or it remembers every member
            raw = member.name
            if member.isdir() or member.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):
                continue
            try:
                name = _inner_name(_tar_name(raw))
                if _is_clutter(name):
                    continue
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise UserError("It is a link or a device, not a file.")
                if member.size > left:
                    raise _too_large(max_total_bytes)
                if member.size > max_file_bytes:
                    raise _file_too_large(max_file_bytes)
            except UserError as error:
                if member.isreg() and member.size > left:
                    raise
                yield Refused(raw.encode("utf-8", "backslashreplace").decode(), error)
                continue
            left -= member.size
            yield _take(name, source, stream, put, max_total_bytes, max_file_bytes)


def _tar_name(raw: str) -> str:
    """The name as it was meant: bytes that are not UTF-8 come as lone surrogates, and are GB18030 if they can be."""
    try:
        return raw.encode("utf-8", "surrogateescape").decode("gb18030") if not _is_clean(raw) else raw
    except UnicodeError:
        return raw.encode("utf-8", "backslashreplace").decode()


def _is_clean(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)
