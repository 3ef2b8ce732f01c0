"""Readers of plain text: Markdown, text, source code and CSV. They run in the process itself."""

import csv
import io
import re
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.knowledge.encoding import decode
from dizuo.knowledge.formats import Format
from dizuo.knowledge.parse import Parsed, clean, require_text
from dizuo.knowledge.tables import markdown_row

_FRONT_MATTER = re.compile(r"---\n(.*?)\n(?:---|\.\.\.)\n", re.DOTALL)
_META_LINE = re.compile(r"(title|author|date|lang|language)\s*:\s*(.+)", re.I)


def parse_text(path: Path, name: str, format: Format) -> Parsed:
    """A text file, decoded. Raises UserError for binary data and for a file without text."""
    decoded = decode(path.read_bytes())
    text = clean(decoded.text)
    lost = decoded.lost
    meta: dict[str, Any] = {}
    if format.family == "markdown":
        meta = _front_matter(text)
    elif format.family == "csv":
        text, notes = _table(text, name)
        lost += notes
    parsed = Parsed(text, format.name, format.media_type, decoded.encoding, lost=lost, meta=meta)
    return require_text(parsed)


def _front_matter(text: str) -> dict[str, Any]:
    """Title, author, date and language of a Markdown file's YAML header, where they are plain values."""
    meta: dict[str, Any] = {}
    if match := _FRONT_MATTER.match(text[:20_000]):
        for line in match[1].splitlines():
            if found := _META_LINE.fullmatch(line.rstrip()):
                key = "language" if found[1].lower() == "lang" else found[1].lower()
                meta[key] = found[2].strip().strip("\"'")
    return meta


def _table(text: str, name: str) -> tuple[str, tuple[Note, ...]]:
    """The rows as a Markdown table, whose first row is the header."""
    delimiter = _delimiter(text[:64_000], name)
    csv.field_size_limit(1 << 26)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    lines: list[str] = []
    width = 0
    uneven = 0
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if not lines:
                width = len(row)
                lines += [markdown_row(row), "|" + " --- |" * width]
                continue
            uneven += len(row) != width
            lines.append(markdown_row(row))
    except csv.Error:
        # Not CSV after all (a quote that never ends): the lines as they are.
        return text, (Note(template="The rows could not be told apart; the file was read as plain text."),)
    note = Note(template="Rows have more or fewer cells than the header: {count}.", params={"count": uneven})
    return "\n".join(lines) + "\n", (note,) if uneven else ()


def _delimiter(sample: str, name: str) -> str:
    """The character that stands equally often, and most often, in the first lines."""
    if name.lower().endswith(".tsv"):
        return "\t"
    lines = [line for line in sample.splitlines()[:50] if line.strip()]
    best = (0.0, 0, ",")
    for candidate in ",;\t|":
        counts = [line.count(candidate) for line in lines]
        if counts and counts[0]:
            best = max(best, (counts.count(counts[0]) / len(counts), counts[0], candidate))
    return best[2]
