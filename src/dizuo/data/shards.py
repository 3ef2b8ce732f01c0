"""Documents as token ids on disk: encoded once, memory-mapped ever after.

A folder holds `tokens-NNNNN.bin` (uint16, or uint32 for more than 65,536 entries, little-endian), `ends-NNNNN.bin`
(int64: where each document of that file ends) and `manifest.json`. In a token file an end-of-text token stands before
the first document and after every one, so document i is `tokens[start:end + 1]` with a mark at both sides:
its inputs are all but the last of these, its targets all but the first.

The manifest is written last, in one rename: without it the folder is no set of shards. A writer that was killed goes
on behind the last finished file, from `progress.json`, when it is started again with the same documents.
"""

import fcntl
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dizuo.core.errors import UserError
from dizuo.data.tokenizer import ENDOFTEXT
from dizuo.nn.chat import without_added_tokens
from dizuo.nn.tokenizer import load_tokenizer

_FORMAT = 1
# Characters encoded at one time. With `_PIECE` it bounds the memory of the writer: about 150 bytes a token are held.
_BATCH_CHARS = 1_000_000
# A longer document is encoded in pieces, cut behind a line end: the regular expression of the tokenizer splits there.
_PIECE = 500_000
SHARD_TOKENS = 1 << 26


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds, and what it was made from."""

    dtype: str
    tokenizer_sha256: str
    vocab_size: int
    end_id: int
    source: dict[str, Any]  # as the writer was told: set, split, licence, sha256 of the files, filters
    files: list[dict[str, Any]]  # name, documents, tokens, bytes_of_text, sha256 of both files
    format: int = _FORMAT

    @property
    def documents(self) -> int:
        return sum(file["documents"] for file in self.files)

    @property
    def tokens(self) -> int:
        """Tokens to be predicted: those of the text, and an end mark a document."""
        return sum(file["tokens"] for file in self.files)

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the text: what bits per byte are counted over."""
        return sum(file["text_bytes"] for file in self.files)


def write_shards(
    documents: Iterable[str | Sequence[int]],
    tokenizer_file: Path,
    folder: Path,
    *,
    source: Mapping[str, Any],
    shard_tokens: int = SHARD_TOKENS,
) -> Manifest:
    """Encodes the documents in order and returns the manifest; at once when the folder is finished already. A document
    that is a sequence of ids is kept as it is.

    Never holds more than a batch of documents. Marks such as `<|im_end|>` inside a document are encoded as the plain
    text that they are. `source` is kept, and says with the tokenizer whether a half-written folder may be gone on with:
    the documents must then come in the same order as before. Empty documents are left out.

    Raises UserError when the folder was made with another tokenizer or from another source.
    """
    with _only_writer(folder):
        writer = _Writer(tokenizer_file, folder, dict(source), shard_tokens)
        if writer.finished:
            return Shards(folder).manifest
        for batch in _batches(itertools.islice(documents, writer.consumed, None)):
            writer.write(batch)
        return writer.finish()


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Waits for another process that writes there, whose work is then taken up or found done. Ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "writer.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _Writer:
    def __init__(self, tokenizer_file: Path, folder: Path, source: dict[str, Any], shard_tokens: int) -> None:
        tokenizer = load_tokenizer(tokenizer_file)
        end_id = tokenizer.token_to_id(ENDOFTEXT)
        if end_id is None:
            raise UserError("The tokenizer {file} has no {token}.", file=tokenizer_file, token=ENDOFTEXT)
        self._encoder = without_added_tokens(tokenizer)
        self._folder, self._shard_tokens, self._end_id = folder, shard_tokens, end_id
        size = tokenizer.get_vocab_size()
        self._dtype = np.dtype("<u2" if size <= 1 << 16 else "<u4")
        source = json.loads(json.dumps(source))
        self._key = {
            "dtype": self._dtype.str,
            "tokenizer_sha256": hashlib.sha256(tokenizer_file.read_bytes()).hexdigest(),
            "vocab_size": size,
            "end_id": end_id,
            "source": source,
            "format": _FORMAT,
        }
        self._files: list[dict[str, Any]] = []
        self.consumed = 0
        self.finished = self._take_up()
        self._open: _File | None = None

    def _take_up(self) -> bool:
        for name in ("manifest.json", "progress.json"):
            file = self._folder / name
            if not file.is_file():
                continue
            known = json.loads(file.read_text("utf-8"))
            for field, value in self._key.items():
                if known.get(field) != value:
                    raise UserError(
                        "{folder} holds shards with another {field}: {found!r}, not {wanted!r}. "
                        "Use another folder, or delete this one.",
                        folder=self._folder, field=field, found=known.get(field), wanted=value,
                    )  # fmt: skip
            if name == "manifest.json":
                return True
            self._files, self.consumed = known["files"], known["consumed"]
        return False

    def write(self, batch: list[str | Sequence[int]]) -> None:
        """Appends documents. A file is closed, and counted as done, at the end of the batch that fills it."""
        self._open = self._open or _File(self._folder, len(self._files), self._dtype, self._end_id)
        pieces = [list(_pieces(one)) if isinstance(one, str) else [] for one in batch]
        encoded = iter(self._encoder.encode_batch_fast([p for one in pieces for p in one], add_special_tokens=False))
        for one, parts in zip(batch, pieces, strict=True):
            if isinstance(one, str):
                ids = [i for encoding in itertools.islice(encoded, len(parts)) for i in encoding.ids]
                text = one
            else:
                ids, text = list(one), self._encoder.decode(list(one))
            if ids:
                self._open.append(ids, len(text.encode()))
        self.consumed += len(batch)
        if self._open.tokens >= self._shard_tokens:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._files.append(self._open.close())
            self._open = None
            _replace(self._folder / "progress.json", {**self._key, "files": self._files, "consumed": self.consumed})

    def finish(self) -> Manifest:
        self._close()
        _replace(self._folder / "manifest.json", {**self._key, "files": self._files})
        (self._folder / "progress.json").unlink(missing_ok=True)
        return Manifest(**self._key, files=self._files)


class _File:
    """One pair of files being written, started over whatever a killed writer left under its names."""

    def __init__(self, folder: Path, number: int, dtype: np.dtype, end_id: int) -> None:
        self._name = f"{number:05d}"
        self._paths = [folder / f"tokens-{self._name}.bin", folder / f"ends-{self._name}.bin"]
        self._out = [path.open("wb") for path in self._paths]
        self._hashes = [hashlib.sha256(), hashlib.sha256()]
        self._dtype, self._end_id = dtype, end_id
        self.documents = self.tokens = self.text_bytes = 0
        self._write(0, np.array([end_id], dtype))

    def append(self, ids: list[int], text_bytes: int) -> None:
        self._write(0, np.array([*ids, self._end_id], self._dtype))
        self.documents += 1
        self.tokens += len(ids) + 1
        self.text_bytes += text_bytes
        self._write(1, np.array([self.tokens], "<i8"))

    def _write(self, which: int, values: np.ndarray) -> None:
        block = values.tobytes()
        self._out[which].write(block)
        self._hashes[which].update(block)

    def close(self) -> dict[str, Any]:
        for out in self._out:
            out.flush()
            os.fsync(out.fileno())
            out.close()
        return {
            "name": self._name,
            "documents": self.documents,
            "tokens": self.tokens,
            "text_bytes": self.text_bytes,
            "tokens_sha256": self._hashes[0].hexdigest(),
            "ends_sha256": self._hashes[1].hexdigest(),
        }


class Shards:
    """A finished folder of shards, memory-mapped: nothing is read before it is asked for."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError when the folder is unfinished, or a file is missing or has another size than written."""
        self.folder = folder
        self.manifest = _read_manifest(folder)
        dtype = np.dtype(self.manifest.dtype)
        self._tokens = [_map(folder / f"tokens-{f['name']}.bin", dtype, f["tokens"] + 1) for f in self.manifest.files]
        self._ends = [
            _map(folder / f"ends-{f['name']}.bin", np.dtype("<i8"), f["documents"]) for f in self.manifest.files
        ]
        self._first = np.cumsum([0] + [f["documents"] for f in self.manifest.files])

    def __len__(self) -> int:
        """The number of documents."""
        return self.manifest.documents

    def document(self, index: int) -> np.ndarray:
        """(n + 2,) ids of one document: end mark, the text's n tokens, end mark. A view of the file."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        file = int(np.searchsorted(self._first, index, "right")) - 1
        start, end = self._bounds(file, index - int(self._first[file]))
        return self._tokens[file][start : end + 1]

    def length(self, index: int) -> int:
        """How many targets a document gives: its tokens and the end mark."""
        file = int(np.searchsorted(self._first, index, "right")) - 1
        start, end = self._bounds(file, index - int(self._first[file]))
        return end - start

    def _bounds(self, file: int, position: int) -> tuple[int, int]:
        ends = self._ends[file]
        return int(ends[position - 1]) if position else 0, int(ends[position])

    @property
    def fingerprint(self) -> str:
        """A short name of exactly these tokens, in this order."""
        told = json.dumps([[f["tokens_sha256"], f["ends_sha256"]] for f in self.manifest.files])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def check(self) -> None:
        """Reads every file. Raises UserError for one that is not as it was written."""
        for file in self.manifest.files:
            for kind in ("tokens", "ends"):
                path = self.folder / f"{kind}-{file['name']}.bin"
                with path.open("rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
                if found != file[f"{kind}_sha256"]:
                    raise UserError("{file} is damaged: it is not as it was written. Delete {folder} and make the "
                                    "shards again.", file=path, folder=self.folder)  # fmt: skip


def _read_manifest(folder: Path) -> Manifest:
    file = folder / "manifest.json"
    if not file.is_file():
        raise UserError(
            "{folder} holds no finished shards: manifest.json is missing. A writer that was stopped goes on when it is "
            "started again.", folder=folder,
        )  # fmt: skip
    try:
        return Manifest(**json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError("{file} cannot be read: {reason}.", file=file, reason=error) from error


def _map(file: Path, dtype: np.dtype, count: int) -> np.ndarray:
    expected = count * dtype.itemsize
    found = file.stat().st_size if file.is_file() else None
    if found != expected:
        raise UserError(
            "{file} should have {expected} bytes and has {found}. Delete {folder} and make the shards again.",
            file=file, expected=expected, found=found or 0, folder=file.parent,
        )  # fmt: skip
    return np.memmap(file, dtype, "r") if count else np.empty(0, dtype)


def _batches(documents: Iterable[str | Sequence[int]]) -> Iterator[list[str | Sequence[int]]]:
    batch: list[str | Sequence[int]] = []
    size = 0
    for text in documents:
        batch.append(text)
        size += len(text) + 64  # a million empty documents are a batch too
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > _PIECE:
        cut = text.rfind("\n", start, start + _PIECE) + 1
        while 0 < cut < len(text) and text[cut].isspace():  # blank lines stay in one piece with what precedes them
            cut += 1
        cut = cut if start < cut < start + 2 * _PIECE else start + _PIECE
        yield text[start:cut]
        start = cut
    yield text[start:]


def _replace(file: Path, value: dict[str, Any]) -> None:
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=False, indent=1)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
