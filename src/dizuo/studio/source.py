"""The panel beside an answer: the source of a citation, with the quoted passage marked and in sight."""

import asyncio
import contextlib
from urllib.parse import quote

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from dizuo.core.documents import Citation, DocumentText
from dizuo.core.errors import NotFound
from dizuo.platform.catalogue import _
from dizuo.studio.page import Page, skeleton
from dizuo.studio.prose import marked

_AROUND = 1500  # characters of the document shown before and after the passage


class SourcePanel:
    """Closed at first; `show` fills and opens it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._asked = 0
        with page.name(page.el("aside", "panel", id="panel", hidden=True), "aria-label", _("Source")) as self._root:
            with page.el("div", "panel-head"):
                with page.el("h2", "", tabindex="-1", data_panel_title=True):
                    page.text("span", "muted small", _("Source"))
                    self._title = TextElement(tag="span", text="")
                close = page.button("quiet small", _("Close the source"), self.close, icon="close", bare=True)
                close.props["data-panel-close"] = True
            self._body = page.el("div", "panel-body", tabindex="0", data_panel_body=True, role="region")
            page.name(self._body, "aria-label", _("Passage"))

    async def close(self) -> None:
        self._asked += 1
        self._root.props["hidden"] = True
        self._page.run("studio.hidePanel")

    async def show(self, knowledge: str, citation: Citation) -> None:
        """Opens the source of a citation. A document that is gone leaves its quote."""
        self._asked += 1
        asked = self._asked
        self._title.text = citation.document
        self._root.props["hidden"] = False
        self._body.clear()
        with self._body:
            skeleton(self._page)
        found: DocumentText | None = None
        with contextlib.suppress(NotFound):
            found = await asyncio.to_thread(self._page.house.library.document, knowledge, citation.document_id)
        if asked != self._asked or self._page.client.is_deleted:
            return  # another one was clicked meanwhile
        self._body.clear()
        with self._body:
            if found is None:
                with self._page.el("div", "notice warn"):
                    self._page.icon("alert")
                    self._page.text("span", "", _("This document has been removed since. What was quoted:"))
                self._page.el("blockquote", "passage", citation.quote)
            else:
                self._build(knowledge, citation, found)
        self._page.run("studio.showPanel")

    def _build(self, knowledge: str, citation: Citation, found: DocumentText) -> None:
        page = self._page
        chunk = next((one for one in found.chunks if one.id == citation.chunk), None)
        place(page, citation.page, chunk.heading if chunk else "")
        if not citation.supported:
            with page.el("div", "notice warn"):
                page.icon("alert")
                page.text("span", "", _("This passage does not bear out what was said."))
        text, start, end = found.text, citation.start, citation.end
        if text[start:end] != citation.quote:
            # The document has changed since: look for the quote itself.
            start = text.find(citation.quote)
            end = start + len(citation.quote)
        if start < 0:
            with page.el("div", "notice warn"):
                page.icon("alert")
                page.text("span", "", _("The document has changed since. What was quoted:"))
            page.el("blockquote", "passage", citation.quote)
        else:
            first, last = _whole_lines(text, start, end)
            with page.el("div", "passage"):
                if first > 0:
                    page.el("span", "muted", "… ")
                shown = text[first:last]
                marked(page, shown, [(start - first, end - first)], exact=citation.exact_at(start - first))
                if last < len(text):
                    page.el("span", "muted", " …")
        base = f"/knowledge/{quote(knowledge, safe='')}/documents/{quote(citation.document_id, safe='')}"
        with page.el("div", "panel-foot"):
            at = f"{base}?start={start}&end={end}" if start >= 0 else base
            with page.el("a", "button small", href=at):
                page.icon("file")
                page.text("span", "", _("Whole document"))
            file = f"/api{base}/file"
            with page.el("a", "button small", href=file, download=True):
                page.icon("download")
                page.text("span", "", _("Original file"))


def place(page: Page, number: int | None, heading: str) -> Element:
    """Where in the document: page and headings."""
    with page.el("p", "place") as element:
        if number is not None:
            page.text("span", "badge", _("page {page}"), page=number)
        if heading:
            page.el("span", "muted small", heading.replace(" > ", " › "))
    return element


def _whole_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch around the passage that begins and ends at line breaks, where there are some near."""
    first, last = max(0, start - _AROUND), min(len(text), end + _AROUND)
    if first > 0 and (line := text.find("\n", first, start)) >= 0:
        first = line + 1
    if last < len(text) and (line := text.rfind("\n", end, last)) >= 0:
        last = line
    return first, last
