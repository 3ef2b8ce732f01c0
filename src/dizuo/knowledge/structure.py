"""The blocks of an extracted text: headings, paragraphs, list items, table rows, code, each with its heading path.

One pass over the lines. Markdown is what every reader of a format with structure gives; in plain text, JSON and PDF
only blank lines and Chinese chapter headings are structure; in source code, definitions at the left margin.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from dizuo.core.documents import ChunkKind
from dizuo.knowledge.formats import family_of
from dizuo.knowledge.sentences import stripped


class Block(NamedTuple):
    """A stretch of text without blank edges. `heading` is the path of headings above it, itself included; `columns`
    names a table's columns for the rows that stand below its header."""

    start: int
    end: int
    kind: ChunkKind
    heading: tuple[str, ...]
    is_heading: bool = False
    columns: str = ""


def blocks_of(text: str, format: str) -> Iterator[Block]:
    """Blocks in order; between them there is nothing but white space."""
    family = family_of(format)
    if family == "code":
        return _code_blocks(text, ())
    if family in ("text", "pdf", "json"):
        return _paragraphs(text, bookmarks=family == "pdf")
    return _markdown_blocks(text)


def _lines(text: str, at: int = 0, end: int | None = None) -> Iterator[tuple[int, int, str]]:
    """(start, end without the newline, line)."""
    end = len(text) if end is None else end
    while at < end:
        stop = text.find("\n", at, end)
        stop = end if stop < 0 else stop
        yield at, stop, text[at:stop]
        at = stop + 1


_LONGEST_TITLE = 1000  # characters of a line that are looked at for a title


class _Path:
    """The headings above the present line."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        while self._levels and self._levels[-1][0] >= level:
            self._levels.pop()
        if title:
            self._levels.append((level, title[:200]))

    @property
    def titles(self) -> tuple[str, ...]:
        return tuple(title for _level, title in self._levels)


# --- plain text and PDF -----------------------------------------------------------------------------------------

_CHAPTER = re.compile(r"\s*第[〇零一二三四五六七八九十百千\d]{1,6}([编篇部]|章|节)(?![，。；])[^。！？；]{0,40}")
_CHAPTER_LEVEL = {"编": 1, "篇": 1, "部": 1, "章": 2, "节": 3}


def _paragraphs(text: str, *, bookmarks: bool) -> Iterator[Block]:
    """Paragraphs between blank lines; `bookmarks`: lines that the PDF reader marked with `#` are headings."""
    path = _Path()
    start, end = -1, -1
    for at, stop, line in _lines(text):
        chapter = _CHAPTER.fullmatch(line)
        marked = _ATX.fullmatch(line) if bookmarks and line.startswith("#") else None
        if (not line.strip() or chapter or marked) and start >= 0:
            yield _block(text, start, end, "text", path.titles)
            start = -1
        if marked or chapter:
            if marked:
                path.enter(len(marked[1]), _title(marked))
            elif chapter:
                path.enter(_CHAPTER_LEVEL[chapter[1]], line.strip())
            yield _block(text, at, stop, "text", path.titles, is_heading=True)
        elif line.strip():
            start, end = (at if start < 0 else start), stop
    if start >= 0:
        yield _block(text, start, end, "text", path.titles)


def _block(
    text: str, start: int, end: int, kind: ChunkKind, heading: tuple[str, ...], *, is_heading: bool = False
) -> Block:
    return Block(*stripped(text, start, end), kind, heading, is_heading)


# --- source code ------------------------------------------------------------------------------------------------

_DEFINITION = re.compile(
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\([a-z]+\))?|unsafe|extern"
    r"|inline|virtual|override|open|data|sealed|local)\s+)*"
    r"(?:def|class|function|func|fn|struct|enum|trait|impl|interface|type|module|namespace|object|protocol|extension"
    r"|create\s+(?:table|view|function))\s+(?:\([^)]*\)\s*)?([\w$]+(?:(?:::|\.)[\w$]+)*)",
    re.I,
)


def _code_blocks(text: str, above: tuple[str, ...], at: int = 0, end: int | None = None) -> Iterator[Block]:
    """Stretches between blank lines; a line at the left margin that defines something is the heading from there on."""
    heading = above
    start, stop = -1, -1
    for line_start, line_end, line in _lines(text, at, end):
        if not line.strip():
            if start >= 0:
                yield _block(text, start, stop, "code", heading)
                start = -1
            continue
        if not line[0].isspace() and (found := _DEFINITION.match(line)):
            if start >= 0:
                # Decorators, attributes and comments straight above belong to the definition.
                above_it = text[start:stop].lstrip()
                if not above_it.startswith(("@", "#", "//", "/*", "///", "[")):
                    yield _block(text, start, stop, "code", heading)
                    start = -1
            heading = (*above, found[1])
        start, stop = (line_start if start < 0 else start), line_end
    if start >= 0:
        yield _block(text, start, stop, "code", heading)


# --- Markdown ---------------------------------------------------------------------------------------------------

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*")


class _Markdown:
    """The state of the pass: the block that is open, and the headings above it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.path = _Path()
        self.start, self.end = -1, -1
        self.lines = 0  # of the paragraph that is open
        self.columns = ""  # of the table that is open
        self.rows = 0

    def close(self) -> Iterator[Block]:
        if self.start >= 0:
            yield _block(self.text, self.start, self.end, "text", self.path.titles)
        self.start = -1


def _markdown_blocks(text: str) -> Iterator[Block]:
    state = _Markdown(text)
    fence = ""
    fence_start = 0
    for at, stop, line in _lines(text):
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                yield _block(text, fence_start, stop, "code", state.path.titles)
                fence = ""
            continue
        if not line.strip():
            yield from state.close()
            state.rows = 0
            continue
        if opened := _FENCE.match(line):
            yield from state.close()
            fence, fence_start = opened[1], at
        elif _ROW.fullmatch(line):
            yield from state.close()
            yield from _row(state, at, stop, line)
        elif found := _ATX.fullmatch(line):
            yield from state.close()
            state.rows = 0
            state.path.enter(len(found[1]), _plain(_title(found)))
            yield _block(text, at, stop, "text", state.path.titles, is_heading=True)
        elif state.start >= 0 and state.lines == 1 and _SETEXT.fullmatch(line):
            state.path.enter(1 if "=" in line else 2, _plain(text[state.start : state.end]))
            yield _block(text, state.start, stop, "text", state.path.titles, is_heading=True)
            state.start = -1
        else:
            state.rows = 0
            if _ITEM.match(line):
                yield from state.close()
            state.lines = 1 if state.start < 0 else state.lines + 1
            state.start, state.end = (at if state.start < 0 else state.start), stop
    if fence:
        yield _block(text, fence_start, len(text), "code", state.path.titles)
    yield from state.close()


def _row(state: _Markdown, at: int, stop: int, line: str) -> Iterator[Block]:
    """A row of a table is a block, so that no row is cut and a long table can be."""
    state.rows += 1
    if state.rows == 1:
        state.columns = " | ".join(_plain(cell) for cell in line.strip().strip("|").split("|"))[:200]
    block = _block(state.text, at, stop, "table", state.path.titles)
    yield block if state.rows <= 2 else block._replace(columns=state.columns)


def _title(found: re.Match[str]) -> str:
    """The text of a heading that begins with hashes, without those that close it."""
    # Searched for from the end: one expression for the whole line takes quadratic time on a line of blanks.
    title = (found[2] or "").strip()
    closing = len(title) - len(title.rstrip("#"))
    return title[:-closing].rstrip() if closing and title[:-closing][-1:] in ("", " ", "\t") else title


def _plain(title: str) -> str:
    """A heading without Markdown's marks."""
    title = title[:_LONGEST_TITLE]  # a line of brackets alone would take quadratic time
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    title = re.sub(r"<[^>]+>|[*`]+|(?<!\w)_+|_+(?!\w)", "", title)
    return " ".join(title.split())
