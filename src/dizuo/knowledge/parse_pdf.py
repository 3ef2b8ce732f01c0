"""Reader of PDF, page by page, so that a citation can name its page. Runs in the parser's child."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.knowledge.formats import Format
from dizuo.knowledge.parse import Parsed, clean, locked
from dizuo.platform.catalogue import _

_SENTENCE_END = re.compile(r"[.!?:;。！？：；…]['\"”’)）」』】]*$")
_ITEM_START = re.compile(
    r"(?:[•·▪●○■□◆◇※\-–—*]|\(?\d{1,3}[.)、．)]|[（(][\d一二三四五六七八九十]+[)）]|[一二三四五六七八九十]+、|第.{1,6}[章节条款编])\s*"
)
_BULLET = re.compile(r"^[ \t]*[\uf000-\uf0ff](?=\s)", re.MULTILINE)  # of the fonts Symbol and Wingdings
_HEADING = re.compile(r"#{1,6} ")
_HYPHEN = re.compile(r"(?<=[a-z])[-\u00ad\u2010]$")
_MOST_BOOKMARKS = 5000
_RunningLine = tuple[str, int | None]
_FEW_PAGES = 4
_FULL_PAGE = 8  # lines of a page from which on a header may have two
_FULL_LINE = 0.8  # of the page's usual width: a line this long goes on in the next


def parse_pdf(path: Path, name: str, format: Format) -> Parsed:
    """The text of a PDF with its page starts. Raises UserError when it is broken, locked, or only pictures."""
    import pypdf
    from pypdf.errors import PyPdfError

    try:
        reader = pypdf.PdfReader(path, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise locked()
        total = len(reader.pages)
        meta = _meta(reader)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError) as error:
        raise UserError("The PDF is damaged and cannot be read: {reason}", reason=_reason(error)) from None
    pages: list[list[str]] = []
    unread: list[int] = []
    pictures: list[int] = []
    comments = 0
    for number in range(total):
        lines: list[str] = []
        try:
            page = reader.pages[number]
            lines = _BULLET.sub("•", clean(page.extract_text())).split("\n")
            comments += _comments(page)
            if not any(line.strip() for line in lines) and _has_pictures(page):
                pictures.append(number + 1)
        except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            del error
            unread.append(number + 1)
        pages.append([f" {line}" if line.startswith("#") else line.rstrip() for line in lines])
    if not any(line.strip() for lines in pages for line in lines):
        raise _nothing(total, pictures, unread)
    _mark_headings(pages, _outline(reader))
    running = _running_lines(pages)
    text, page_starts = _join(pages, running)
    lost = _lost(text, total, unread, pictures, comments, running)
    return Parsed(text, format.name, format.media_type, None, page_starts, lost, meta)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]


def _nothing(total: int, pictures: Sequence[int], unread: Sequence[int]) -> UserError:
    if pictures:
        return UserError(
            "All {total} pages are pictures (a scan); Dizuo has no text recognition (OCR). Run OCR on the file first, "
            "for example: ocrmypdf IN.pdf OUT.pdf",
            total=total,
        )
    if unread:
        return UserError("The PDF is damaged and cannot be read: {reason}", reason="no page could be read")
    return UserError("There is no text in the file.")


def _lost(
    text: str,
    total: int,
    unread: Sequence[int],
    pictures: Sequence[int],
    comments: int,
    running: frozenset[_RunningLine],
) -> tuple[Note, ...]:
    lost: list[Note] = []
    if pictures:
        template = _("Pages that hold only pictures were not read (no OCR): {pages} ({count} of {total}).")
        lost.append(Note(template=template, params={"count": len(pictures), "total": total, "pages": _some(pictures)}))
    if unread:
        template = _("Damaged pages were not read: {pages} ({count} of {total}).")
        lost.append(Note(template=template, params={"count": len(unread), "total": total, "pages": _some(unread)}))
    if comments:
        lost.append(Note(template="Comments were not read: {count}.", params={"count": comments}))
    if running:
        template = _("Lines repeated at the top or bottom of the pages were left out: {lines}")
        lost.append(Note(template=template, params={"lines": " / ".join(sorted({line for line, _n in running})[:4])}))
    strange = sum(c == "\ufffd" or unicodedata.category(c) == "Co" for c in text[:200_000])
    if strange * 20 > len(text[:200_000]):
        lost.append(
            Note(template="Many characters could not be read: the file's fonts do not say which letters they draw.")
        )
    return tuple(lost)


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")


def _meta(reader: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    info = reader.metadata
    if info is not None:
        for key, value in (("title", info.title), ("author", info.author)):
            if value and str(value).strip():
                meta[key] = clean(str(value)).strip()
        try:
            if info.creation_date:
                meta["date"] = info.creation_date.date().isoformat()
        except ValueError:
            pass
    language = reader.trailer["/Root"].get("/Lang")
    if language:
        meta["language"] = str(language)
    return meta


def _has_pictures(page: Any) -> bool:
    resources = page.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources else None
    if not objects:
        return False
    return any(o.get_object().get("/Subtype") in ("/Image", "/Form") for o in objects.get_object().values())


def _comments(page: Any) -> int:
    annotations = page.get("/Annots")
    if not annotations:
        return 0
    notes = (annotation.get_object() for annotation in annotations.get_object())
    kinds = ("/Text", "/FreeText", "/Highlight", "/Underline", "/StrikeOut")
    return sum(note.get("/Subtype") in kinds and bool(note.get("/Contents")) for note in notes if note)


# --- headings ---------------------------------------------------------------------------------------------------


def _outline(reader: Any) -> Iterator[tuple[int, int, str]]:
    """(page from 0, level from 1, title) of the bookmarks, which are the headings where a program wrote the file."""
    try:
        waiting = [(1, entry) for entry in reversed(reader.outline)]
        for _n in range(_MOST_BOOKMARKS):
            if not waiting:
                return
            level, entry = waiting.pop()
            if isinstance(entry, list):
                waiting += [(level + 1, inner) for inner in reversed(entry)]
            elif (page := reader.get_destination_page_number(entry)) is not None and page >= 0:
                yield page, min(level, 6), str(entry.title)
    except Exception:
        return  # bookmarks are a help, and often broken where the pages are not


def _mark_headings(pages: Sequence[list[str]], outline: Iterable[tuple[int, int, str]]) -> None:
    """Puts Markdown's marks before the lines that are bookmarked, and blank lines around them."""
    for page, level, title in outline:
        if page >= len(pages):
            continue
        wanted = _letters(title)
        lines = pages[page]
        for n, line in enumerate(lines):
            if wanted and _letters(line) == wanted and not line.startswith("#"):
                lines[n : n + 1] = ["", f"{'#' * level} {line.strip()}", ""]
                break


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


# --- from lines to paragraphs -----------------------------------------------------------------------------------


def _running_lines(pages: Sequence[Sequence[str]]) -> frozenset[_RunningLine]:
    """First and last lines that most pages share, digits apart, or that count along with four pages or more."""
    seen: Counter[_RunningLine] = Counter()
    for page, lines in enumerate(pages):
        seen.update({key for n in _edges(lines) for key in _keys(lines[n], page)})
    most = max(_FEW_PAGES, 0.6 * len(pages))
    return frozenset(key for key, count in seen.items() if count >= (most if key[1] is None else _FEW_PAGES))


def _edges(lines: Sequence[str]) -> set[int]:
    """Which lines of a page may be a header or a footer: outermost, and no end of a sentence."""
    filled = [n for n, line in enumerate(lines) if line.strip()]
    depth = 2 if len(filled) >= _FULL_PAGE else 1
    return {n for n in (*filled[:depth], *filled[-depth:]) if not _SENTENCE_END.search(lines[n])}


def _keys(line: str, page: int) -> Iterator[_RunningLine]:
    """A line without its digits; and once more with how far its last number is from the page's."""
    shape = re.sub(r"\d+", "#", line.strip())
    if any(c.isalpha() for c in shape):
        yield shape, None
    if numbers := re.findall(r"\d{1,5}", line):
        yield shape, int(numbers[-1]) - page


def _join(pages: Sequence[Sequence[str]], running: frozenset[_RunningLine]) -> tuple[str, Sequence[int]]:
    """All pages as one text; a paragraph that goes on over a page break is not cut by it."""
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    ended = True
    for page, lines in enumerate(pages):
        dropped = {n for n in _edges(lines) if not running.isdisjoint(_keys(lines[n], page))}
        kept = [line for n, line in enumerate(lines) if n not in dropped]
        text, open_end = _paragraphs(kept)
        if parts and text:
            separator = "\n\n" if ended or _ITEM_START.match(text) else "\n"
            parts.append(separator)
            length += len(separator)
        starts.append(length)
        if text:
            parts.append(text)
            length += len(text)
            ended = not open_end
    return "".join(parts), starts


def _paragraphs(lines: Sequence[str]) -> tuple[str, bool]:
    """Lines put together into paragraphs, and whether the last one seems to go on.

    A line goes on in the next when it is about as long as the page's lines are and no sentence ends with it.
    """
    widths = sorted(_width(line) for line in lines if line.strip())
    usual = widths[int(len(widths) * 0.9)] if widths else 0
    text = ""
    open_end = False
    for line in lines:
        stripped = line.strip()
        if not stripped:
            if text and not open_end:
                text = text.rstrip("\n") + "\n\n"
            continue
        if _HEADING.match(line):
            text = (text.rstrip("\n") + "\n\n" if text else "") + stripped + "\n\n"
            open_end = False
            continue
        if stripped.startswith("#"):
            stripped = f" {stripped}"  # a line of the page's own, and no heading of ours
        if not text:
            text = stripped
        elif open_end and not _ITEM_START.match(stripped):
            text = _glue(text, stripped)
        else:
            text += ("" if text.endswith("\n") else "\n") + stripped
        full = usual > 20 and _width(stripped) >= _FULL_LINE * usual
        open_end = full and not _SENTENCE_END.search(stripped)
    return text.rstrip(), open_end


def _glue(text: str, line: str) -> str:
    """Two lines of one paragraph: no space between Chinese, a word cut by a hyphen made whole."""
    if _HYPHEN.search(text) and line[:1].islower():
        return _HYPHEN.sub("", text) + line
    if _is_wide(text[-1]) or _is_wide(line[0]):
        return text + line
    return f"{text} {line}"


def _width(line: str) -> int:
    return sum(2 if _is_wide(c) else 1 for c in line)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
