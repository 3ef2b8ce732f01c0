"""Answers and passages as elements: paragraphs, lists, code, citation chips, marked words. Text nodes only.

A model may write Markdown. The little of it that helps reading is shown; HTML, links and pictures stay the
characters they are, so that nothing in an answer or a document can reach out of the page.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from nicegui.element import Element

from dizuo.knowledge import analyze
from dizuo.studio.page import Page

_FENCE = re.compile(r"^\s*```")
_HEADING = re.compile(r"^#{1,6}\s+")
_BULLET = re.compile(r"^\s*[-*•]\s+")
_NUMBER = re.compile(r"^\s*\d{1,3}[.)、]\s+")
# Around the words that answer exactly. For private use, so no text means anything by them.
_OPENS, _CLOSES = "\ue000", "\ue001"
_INLINE = re.compile(rf"({_OPENS}[^{_CLOSES}\n]+{_CLOSES}|\*\*[^*\n]+\*\*|`[^`\n]+`|\[\d{{1,3}}\])")
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]+")
_TOKEN = re.compile(rf"{_HAN.pattern}|(?:(?!{_HAN.pattern})\w)+")

Kind = Literal["paragraph", "heading", "bullets", "numbers", "code"]


@dataclass(frozen=True)
class Block:
    """A paragraph, a heading, a list with its items, or code."""

    kind: Kind
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    """The text cut where its Markdown changes kind. What is no Markdown is paragraphs, line breaks kept."""
    kind: Kind = "paragraph"
    lines: list[str] = []
    in_code = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            if lines:
                yield Block("code" if in_code else kind, tuple(lines))
            in_code, kind, lines = not in_code, "paragraph", []
            continue
        found: Kind = kind
        if in_code:
            lines.append(line)
            continue
        if _HEADING.match(line):
            found, line = "heading", _HEADING.sub("", line)
        elif _BULLET.match(line):
            found, line = "bullets", _BULLET.sub("", line)
        elif _NUMBER.match(line):
            found, line = "numbers", _NUMBER.sub("", line)
        elif kind in ("bullets", "numbers") and line.startswith("  ") and lines:
            lines[-1] += "\n" + line.strip()
            continue
        else:
            found = "paragraph"
        if lines and (found != kind or found == "heading" or not line.strip()):
            yield Block(kind, tuple(lines))
            lines = []
        kind = found
        if line.strip():
            lines.append(line)
    if lines:
        yield Block("code" if in_code else kind, tuple(lines))


class Prose:
    """A text that grows. Only the block that changed is built again, so that focus and selection stay."""

    def __init__(self, page: Page, place: Element, chip: Callable[[int], None]) -> None:
        self._page = page
        self._place = place
        self._chip = chip  # builds the chip of citation number n, or shows the mark as it stands
        self._shown: list[tuple[Block, Element]] = []

    def show(self, text: str, *, exact: tuple[int, int] | None = None, afresh: bool = False) -> None:
        """Shows the text, its characters `exact` marked. `afresh` builds every block again: a chip looks different."""
        if exact is not None:
            start, end = exact
            text = f"{text[:start]}{_OPENS}{text[start:end]}{_CLOSES}{text[end:]}"
        wanted = list(blocks(text))
        same = 0
        while not afresh and same < min(len(wanted), len(self._shown)) and wanted[same] == self._shown[same][0]:
            same += 1
        for _block, element in self._shown[same:]:
            element.delete()
        del self._shown[same:]
        with self._place:
            for block in wanted[same:]:
                self._shown.append((block, self._build(block)))

    def _build(self, block: Block) -> Element:
        el = self._page.el
        match block.kind:
            case "code":
                with el("pre", "code", tabindex="0") as element:
                    el("code", "", _plain("\n".join(block.lines)))
            case "bullets" | "numbers":
                with el("ul" if block.kind == "bullets" else "ol", "list") as element:
                    for line in block.lines:
                        with el("li"):
                            self._inline(line)
            case "heading" | "paragraph":
                with el("p", "strong" if block.kind == "heading" else "") as element:
                    self._inline("\n".join(block.lines))
        return element

    def _inline(self, text: str) -> None:
        for part in _INLINE.split(text):
            if not part:
                continue
            if part.startswith(_OPENS) and part.endswith(_CLOSES):
                self._page.el("mark", "exact", part[1:-1])
            elif part.startswith("**") and part.endswith("**") and len(part) > 4:
                self._page.el("strong", "", part[2:-2])
            elif part.startswith("`") and part.endswith("`") and len(part) > 2:
                self._page.el("code", "", part[1:-1])
            elif part.startswith("[") and part[1:-1].isdecimal():
                self._chip(int(part[1:-1]))
            else:
                self._page.el("span", "", _plain(part))


def _plain(text: str) -> str:
    return text.replace(_OPENS, "").replace(_CLOSES, "")


def marked(
    page: Page,
    text: str,
    spans: Sequence[tuple[int, int]],
    tag: str = "span",
    exact: tuple[int, int] | None = None,
) -> None:
    """The text with its spans in <mark>, and what is `exact` in them set off. Spans are ordered and do not overlap."""
    at = 0
    for start, end in spans:
        if start > at:
            page.el(tag, "", text[at:start])
        if exact and start <= exact[0] and exact[1] <= end:
            with page.el("mark"):
                page.el("span", "", text[start : exact[0]])
                page.el("strong", "exact", text[exact[0] : exact[1]])
                page.el("span", "", text[exact[1] : end])
        else:
            page.el("mark", "", text[start:end])
        at = end
    if at < len(text):
        page.el(tag, "", text[at:])


def query_spans(text: str, query: str) -> list[tuple[int, int]]:
    """Where the terms of a query stand in a text, as the keyword index would see them: neighbours joined."""
    whole, single = analyze.query_terms(query)
    wanted = set(whole)
    found: list[tuple[int, int]] = []

    def add(start: int, end: int) -> None:
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))

    for match in _TOKEN.finditer(text):
        token = match.group()
        if not _HAN.match(token):
            if wanted.intersection(analyze.terms(token)):
                add(*match.span())
            continue
        folded = [analyze.fold(character) for character in token]
        for i, character in enumerate(folded):
            if character in single:
                add(match.start() + i, match.start() + i + 1)
            if "".join(folded[i : i + 2]) in wanted:
                add(match.start() + i, min(match.start() + i + 2, match.end()))
    return found
