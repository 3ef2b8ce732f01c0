"""Where raw text comes from: a set of the catalogue, a file of the user's, or what ships with the package itself.

Conversations made by a program may stand among it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dizuo.data.overlap import evaluation_texts
from dizuo.data.sources import DataFile, data_sets, described, find, locate, own_path, read

# Texts that are there without any download: the guide in both languages, and all that Dizuo is written in.
GUIDE = "guide"
OWN = "dizuo"
# Of a text without a held-out part of its own, every so many documents are held out.
_HELD_OUT_EVERY = 12
# Such a text is cut to documents of about so many characters, at blank lines if they come in time.
_DOCUMENT_CHARS = 2_000


@dataclass(frozen=True)
class TextSource:
    """Documents to learn from, and others to measure on."""

    name: str
    sha256: str  # of the content: what is made from the text is named by it
    documents: Callable[[], Iterator[Any]]
    held_out: Callable[[], Iterator[Any]]
    facts: dict[str, Any] = field(default_factory=dict)  # for the model card
    clean: bool = False  # no part of any evaluation set, by how it was made
    conversations: bool = False  # a document is a row with `messages` and `tools`, not a text


def data_folder() -> Path | None:
    """The folder that serves instead of downloads, from DIZUO_DATA; None when it is not set."""
    folder = os.environ.get("DIZUO_DATA")
    return Path(folder) if folder else None


def open_text(name: str, split: str) -> TextSource:
    """The text of that name. Raises UserError when there is none, or its files are missing or damaged."""
    package = Path(__file__).parents[1]
    if name == GUIDE:
        return _shipped(name, sorted((package / "guide").rglob("*.md")))
    if name == OWN:
        return _shipped(
            name, [file for ending in ("md", "json", "py") for file in sorted(package.rglob(f"*.{ending}"))]
        )
    data = data_folder()
    files, facts = locate(name, split, data), described(name, split, data)
    if own_path(name, data) is None and "val" in find(name, data).splits:
        files = [*files, *locate(name, "val", data)]
        return TextSource(name, _sha256(files), lambda: _texts(name, split), lambda: _texts(name, "val"), facts)
    return _split(name, files, lambda: _texts(name, split), facts)


def present_evaluation_texts(data: Path | None) -> dict[str, Iterator[str]]:
    """The texts of those evaluation sets whose files are here."""
    here = {name for name, files in _evaluation_files(data).items() if files}
    return {name: texts for name, texts in evaluation_texts(data).items() if name in here}


def evaluation_sha256(data: Path | None) -> str:
    """Names the content of `present_evaluation_texts` without reading it; files are checked when they are read."""
    files = [[file.path, file.sha256] for found in _evaluation_files(data).values() for file in found]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _evaluation_files(data: Path | None) -> dict[str, list[DataFile]]:
    """By set, its files; an empty list where one of them is not here."""
    sets = data_sets(data)
    return {
        name: list(sets[name].files) if data and all((data / one.path).is_file() for one in sets[name].files) else []
        for name in evaluation_texts(data)
    }


def _texts(name: str, split: str) -> Iterator[str]:
    return (row["text"] for row in read(name, split, data_folder()) if row.get("text"))


def _shipped(name: str, files: list[Path]) -> TextSource:
    source = _split(name, files, lambda: (file.read_text("utf-8") for file in files), {"licence": "Apache-2.0"})
    return replace(source, clean=True)


def _split(name: str, files: list[Path], texts: Callable[[], Iterable[str]], facts: dict[str, Any]) -> TextSource:
    def part(held_out: bool) -> Iterator[str]:
        for number, text in enumerate(piece for whole in texts() for piece in pieces(whole)):
            if (number % _HELD_OUT_EVERY == _HELD_OUT_EVERY // 2) == held_out:
                yield text

    return TextSource(name, _sha256(files), lambda: part(False), lambda: part(True), facts)


def pieces(text: str) -> Iterator[str]:
    """A long text in pieces of whole lines; together they are the text, but for blank lines where it was cut."""
    held = ""
    for line in text.splitlines(keepends=True):
        held += line
        if len(held) >= _DOCUMENT_CHARS and (not line.strip() or len(held) >= 2 * _DOCUMENT_CHARS):
            yield held.strip("\n")
            held = ""
    if held.strip():
        yield held.strip("\n")


def _sha256(files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()
