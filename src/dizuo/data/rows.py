"""Rows of a file: JSON lines, plain or compressed, and plain text, read as a stream and never past a fault."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from dizuo.core.errors import TooLarge, UserError

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".txt", ".md")
_BLOCK = 1 << 16
# A longer line is no row of a data set but a file without line ends; this is the bound on memory.
LONGEST_LINE = 64 << 20
# A text file is one document up to this many characters; a longer one goes on in another document at a blank line.
DOCUMENT_CHARS = 1 << 18


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl file, or of a text file its documents as {"text", "id"}.

    Raises UserError with file and line at a cut-off or damaged file, a line that is no JSON object, text that is not
    UTF-8, and TooLarge at a line of more than 64 MiB.
    """
    if file.name.lower().endswith((".txt", ".md")):
        yield from _documents(file)
        return
    for number, line in _lines(file):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                "Line {line} of {file} is not JSON: {reason}.", line=number, file=file, reason=error
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                "Line {line} of {file} must be a JSON object with fields, and is {found}.",
                line=number, file=file, found=line[:60],
            )  # fmt: skip
        yield row


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    parts: list[str] = []
    size = count = 0
    for _number, line in _lines(file):
        parts.append(line)
        size += len(line) + 1
        if size >= DOCUMENT_CHARS and not line.strip():
            yield {"text": "\n".join(parts).rstrip("\n"), "id": f"{file.name}:{count}"}
            parts, size, count = [], 0, count + 1
    if any(part.strip() for part in parts):
        yield {"text": "\n".join(parts).rstrip("\n"), "id": f"{file.name}:{count}"}


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end)."""
    number, rest = 0, b""
    for block in _blocks(file):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            number += 1
            yield number, _decoded(line, number, file)
        if len(rest) > LONGEST_LINE:
            raise TooLarge("Line {line} of {file} is longer than {limit} MiB; a row must be smaller.",
                           line=number + 1, file=file, limit=LONGEST_LINE >> 20)  # fmt: skip
    if rest:
        yield number + 1, _decoded(rest, number + 1, file)


def _decoded(line: bytes, number: int, file: Path) -> str:
    if number == 1:
        line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        return line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            "Line {line} of {file} is not UTF-8 (byte {byte}). Convert the file, such as with: "
            "iconv -f GB18030 -t UTF-8",
            line=number, file=file, byte=error.start + 1,
        ) from error  # fmt: skip


class _Decompressor(Protocol):
    @property
    def unused_data(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _new_decompressor(file: Path) -> _Decompressor | None:
    if file.suffix.lower() == ".gz":
        return zlib.decompressobj(31)
    if file.suffix.lower() == ".zst":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()
    return None


def _blocks(file: Path) -> Iterator[bytes]:
    """The content of a file, decompressed member by member, to its end.

    The stream readers of both libraries end without a word where a compressed file is cut off; these objects know.
    """
    decompressor = _new_decompressor(file)
    with file.open("rb") as stream:
        if decompressor is None:
            while block := stream.read(_BLOCK):
                yield block
            return
        inside = False
        try:
            while block := stream.read(_BLOCK):
                while block:
                    inside = True
                    yield decompressor.decompress(block)
                    block = b""
                    if decompressor.eof:
                        block, inside = decompressor.unused_data, False
                        decompressor = _new_decompressor(file)
                        assert decompressor is not None
        except Exception as error:  # zlib.error and zstandard.ZstdError have no common base
            if isinstance(error, GeneratorExit | OSError):
                raise
            raise UserError("{file} cannot be decompressed: {reason}. It is damaged or no such file: copy it anew.",
                            file=file, reason=error) from error  # fmt: skip
        if inside:
            raise UserError("{file} is cut off: the compressed data has no end. Copy it anew.", file=file)
