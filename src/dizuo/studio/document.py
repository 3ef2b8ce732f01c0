"""The page of one document: what was read and lost, and its text by chunks, with a passage marked."""

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request

from dizuo.core.documents import Chunk, DocumentText
from dizuo.core.errors import NotFound
from dizuo.platform.catalogue import _
from dizuo.studio.jobs_view import report_line
from dizuo.studio.knowledge import base_path
from dizuo.studio.layout import frame
from dizuo.studio.missing import show_missing
from dizuo.studio.page import Handler, Page
from dizuo.studio.prose import marked
from dizuo.studio.source import place

_PAGE_SIZE = 40  # chunks shown at once
_KINDS = {"text": _("text"), "table": _("table"), "code": _("code")}


async def document_page(request: Request, name: str, document_id: str) -> None:
    """/knowledge/NAME/documents/ID?start=…&end=…: the passage between these characters is marked."""
    page = Page(request)
    try:
        found = await asyncio.to_thread(page.house.library.document, name, document_id)
    except NotFound as error:
        page.title(_("Not found"))
        show_missing(page, "books", error)
        return
    query = request.query_params
    await _Document(page, name, found).open(_number(query.get("start")), _number(query.get("end")))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 16 else None


class _Document:
    def __init__(self, page: Page, name: str, found: DocumentText) -> None:
        self.page = page
        self.name = name
        self.found = found
        self._offset = 0
        self._passage: tuple[int, int] | None = None

    async def open(self, start: int | None, end: int | None) -> None:
        page, document = self.page, self.found.document
        page.title("{name}", name=document.name)
        if start is not None and end is not None and start < end <= len(self.found.text):
            self._passage = (start, end)
            first = next((i for i, chunk in enumerate(self.found.chunks) if chunk.end > start), 0)
            self._offset = first // _PAGE_SIZE * _PAGE_SIZE
        with frame(page, "books"), page.el("div", "column"):
            with page.el("div", "head"):
                with page.el("div"):
                    with page.el("a", "crumb", href=base_path(self.name)):
                        page.icon("back")
                        page.el("span", "", self.name)
                    page.el("h1", "", document.name)
                    report_line(page, document.report)
                with page.el("div", "row"):
                    file = f"/api{base_path(self.name)}/documents/{quote(document.id, safe='')}/file"
                    with page.el("a", "button", href=file, download=True):
                        page.icon("download")
                        page.text("span", "", _("Original file"))
            self._show_facts()
            with page.el("section", "stack"):
                page.text("h2", "", _("What was read, by chunks"))
                self._chunks = page.el("div", "stack")
                self._pager = page.el("div", "row pager")
        self._show_chunks()
        if self._passage is not None:
            page.run("studio.showMark")

    def _show_facts(self) -> None:
        page, document = self.page, self.found.document
        with page.el("details", "card"):
            page.text("summary", "", _("About this document"))
            with page.el("dl", "fact-list"):
                self._fact(_("Source"), document.source)
                self._fact(_("ID"), document.id)
                self._fact(_("Type"), document.media_type)
                self._fact(_("Size"), page.size(document.size_bytes))
                with page.el("div"):
                    page.text("dt", "", _("Added"))
                    page.text("dd", "", "{when}", when=lambda: page.when(document.added_at))
                with page.el("div"):
                    page.text("dt", "", _("Changed"))
                    page.text("dd", "", "{when}", when=lambda: page.when(document.changed_at))
                for key, value in document.meta.items():
                    with page.el("div"):
                        page.el("dt", "", str(key))
                        page.el("dd", "", str(value))

    def _fact(self, label: str, value: str) -> None:
        with self.page.el("div"):
            self.page.text("dt", "", label)
            self.page.el("dd", "", value)

    def _show_chunks(self) -> None:
        page, chunks = self.page, self.found.chunks
        shown = chunks[self._offset : self._offset + _PAGE_SIZE]
        self._chunks.clear()
        self._pager.clear()
        with self._chunks:
            if not chunks:
                with page.el("div", "card empty"):
                    page.icon("file")
                    page.text("p", "", _("No text was read from this document."))
            for number, chunk in enumerate(shown, start=self._offset + 1):
                self._show_chunk(number, chunk)
        with self._pager:
            if self._offset:
                page.button("button small", _("Previous page"), self._turner(-_PAGE_SIZE), icon="back")
            if len(chunks) > _PAGE_SIZE:
                page.text(
                    "span",
                    "muted small",
                    _("{first} to {last} of {total}"),
                    first=self._offset + 1,
                    last=self._offset + len(shown),
                    total=page.number(len(chunks)),
                )
            if self._offset + _PAGE_SIZE < len(chunks):
                page.button("button small", _("Next page"), self._turner(_PAGE_SIZE), icon="next")

    def _show_chunk(self, number: int, chunk: Chunk) -> None:
        page = self.page
        with page.el("article", "card chunk"):
            with page.el("div", "row chunk-head"):
                page.text("h3", "", _("Chunk {number}"), number=number)
                page.text("span", "badge", _KINDS[chunk.kind])
                page.text(
                    "span",
                    "muted small",
                    _("characters {start} to {end}"),
                    start=page.number(chunk.start),
                    end=page.number(chunk.end),
                )
            place(page, chunk.page, chunk.heading)
            text = self.found.text[chunk.start : chunk.end]
            tag = "pre" if chunk.kind in ("code", "table") else "div"
            with page.el(tag, f"chunk-text {chunk.kind}", tabindex="0" if tag == "pre" else None):
                marked(page, text, self._spans(chunk))

    def _spans(self, chunk: Chunk) -> Sequence[tuple[int, int]]:
        if self._passage is None:
            return ()
        start, end = max(self._passage[0], chunk.start), min(self._passage[1], chunk.end)
        return ((start - chunk.start, end - chunk.start),) if start < end else ()

    def _turner(self, by: int) -> Handler:
        async def turn() -> None:
            self._offset = max(0, self._offset + by)
            self._show_chunks()
            self.page.run("studio.toTop")

        return turn
