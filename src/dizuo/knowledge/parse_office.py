"""Readers of Word, PowerPoint, EPUB and notebooks by markitdown, and of Excel. They run in the parser's child."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.knowledge.archives import check_zip
from dizuo.knowledge.encoding import decode
from dizuo.knowledge.formats import Format
from dizuo.knowledge.parse import Parsed, clean, damaged, pictures_lost, require_text
from dizuo.knowledge.parse_html import tidy
from dizuo.knowledge.parse_sheets import parse_sheets

_MAX_UNPACKED = 1 << 30
_SLIDE = re.compile(r"<!-- Slide number: \d+ -->\n?")


def parse_office(path: Path, name: str, format: Format) -> Parsed:
    """An office document as Markdown. Raises UserError when it is a bomb or damaged."""
    if format.name not in ("xls", "notebook"):
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, _MAX_UNPACKED)
            names = archive.namelist()
    else:
        names = []
    if format.name in ("xlsx", "xls"):
        return parse_sheets(path, format)
    reader = {"docx": _word, "pptx": _slides, "epub": _epub, "notebook": _notebook}[format.name]
    return require_text(reader(path, format, names))


def _convert(converter: Any, path: Path, extension: str) -> Any:
    from markitdown import StreamInfo

    # For markdownify, to which markitdown hands them on: the first row of a table is its header, and no backslashes
    # in names and numbers that people search for.
    options = {"table_infer_header": True, "escape_asterisks": False, "escape_underscores": False, "escape_misc": False}
    with path.open("rb") as file:
        return converter.convert(file, StreamInfo(extension=extension), **options)


def _word(path: Path, format: Format, names: Sequence[str]) -> Parsed:
    from markitdown.converters import DocxConverter

    result = _convert(DocxConverter(), path, ".docx")
    lost = list(pictures_lost(sum(name.startswith("word/media/") for name in names)))
    with zipfile.ZipFile(path) as archive:
        if "word/comments.xml" in names and (count := archive.read("word/comments.xml").count(b"<w:comment ")):
            lost.append(Note(template="Comments were not read: {count}.", params={"count": count}))
        margins = [n for n in names if re.fullmatch(r"word/(header|footer)\d*\.xml", n)]
        if any(re.search(rb"<w:t[ >]", archive.read(n)) for n in margins):
            lost.append(Note(template="Headers and footers of the pages were not read."))
        meta = _core_properties(archive)
    text = clean(tidy(result.markdown))
    return Parsed(text, format.name, format.media_type, None, (), tuple(lost), meta)


def _slides(path: Path, format: Format, names: Sequence[str]) -> Parsed:
    from markitdown.converters import PptxConverter

    result = _convert(PptxConverter(), path, ".pptx")
    pieces = _SLIDE.split(result.markdown)[1:]
    text = ""
    starts: list[int] = []
    for piece in pieces:
        body = clean(tidy(re.sub(r"!\[([^\]]*)\]\([^)]*\)", "", piece))).strip()
        text += "\n\n" if text and body else ""
        starts.append(len(text))
        text += body
    lost = list(pictures_lost(sum(name.startswith("ppt/media/") for name in names)))
    with zipfile.ZipFile(path) as archive:
        meta = _core_properties(archive)
        if comments := sum(n.startswith("ppt/comments/") for n in names):
            lost.append(Note(template="Comments on slides were not read: {count}.", params={"count": comments}))
    return Parsed(text + "\n", format.name, format.media_type, None, starts, tuple(lost), meta)


def _core_properties(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Title, author, date and language, as Office writes them into docProps/core.xml."""
    from defusedxml import ElementTree

    meta: dict[str, Any] = {}
    try:
        root = ElementTree.fromstring(archive.read("docProps/core.xml"))
    except (KeyError, ElementTree.ParseError):
        return meta
    keys = {"title": "title", "creator": "author", "created": "date", "language": "language"}
    for element in root:
        key = keys.get(element.tag.rpartition("}")[2])
        if key and element.text and element.text.strip():
            meta[key] = clean(element.text.strip())[: 10 if key == "date" else 500]
    return meta


def _epub(path: Path, format: Format, names: Sequence[str]) -> Parsed:
    from markitdown.converters import EpubConverter

    if "META-INF/encryption.xml" in names and "META-INF/rights.xml" in names:
        raise UserError("The book is locked by copy protection (DRM) and cannot be read.")
    result = _convert(EpubConverter(), path, ".epub")
    head, _blank, body = result.markdown.partition("\n\n")
    meta: dict[str, Any] = {}
    keys = {"Title": "title", "Authors": "author", "Date": "date", "Language": "language"}
    for name, value in re.findall(r"^\*\*(\w+):\*\* (.+)$", head, re.MULTILINE):
        if name in keys:
            meta[keys[name]] = clean(value)
    pictures = sum(name.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")) for name in names)
    text = clean(tidy(body)) + "\n"
    return Parsed(text, format.name, format.media_type, None, (), pictures_lost(pictures), meta)


def _notebook(path: Path, format: Format, names: Sequence[str]) -> Parsed:
    import json

    decoded = decode(path.read_bytes())
    try:
        notebook = json.loads(decoded.text)
        cells = notebook["cells"]
    except (ValueError, KeyError, TypeError):
        raise damaged("ipynb") from None
    language = str(notebook.get("metadata", {}).get("kernelspec", {}).get("language") or "python")
    parts: list[str] = []
    pictures = 0
    for cell in cells:
        source = "".join(cell.get("source", ""))
        if not source.strip():
            continue
        parts.append(source if cell.get("cell_type") == "markdown" else f"```{language}\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            printed = "".join(output.get("text") or data.get("text/plain") or "")
            pictures += any(kind.startswith("image/") for kind in data)
            if printed.strip():
                parts.append(f"```\n{printed.rstrip()}\n```")
    text = clean("\n\n".join(parts)) + "\n"
    return Parsed(text, format.name, format.media_type, decoded.encoding, (), (*decoded.lost, *pictures_lost(pictures)))
