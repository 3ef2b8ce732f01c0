"""The page of one knowledge base: files in, jobs at work, the documents."""

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from nicegui.element import Element
from starlette.requests import Request

from dizuo.core.documents import Document
from dizuo.core.errors import NotFound
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm
from dizuo.studio.jobs_view import JobsView
from dizuo.studio.knowledge import base_path
from dizuo.studio.layout import frame
from dizuo.studio.missing import show_missing
from dizuo.studio.page import Handler, Page, table_head, tabs
from dizuo.studio.upload import Upload

_PAGE_SIZE = 50
_VALUE = "(event) => emit(event.target.value)"


async def base_page(request: Request, name: str) -> None:
    """/knowledge/NAME"""
    await _Base(Page(request), name).open()


def base_head(page: Page, name: str, here: str) -> Element:
    """The head that the views of a knowledge base share. Returns the place for its counts."""
    with page.el("div", "head"):
        with page.el("div"):
            with page.el("a", "crumb", href="/knowledge"):
                page.icon("back")
                page.text("span", "", _("Knowledge"))
            page.el("h1", "", name)
            counts = page.el("p", "muted")
        with page.el("a", "button primary", href=f"/?knowledge={quote(name, safe='')}"):
            page.icon("ask")
            page.text("span", "", _("Ask"))
    views = (("documents", base_path(name), _("Documents")), ("search", f"{base_path(name)}/search", _("Search")))
    tabs(page, _("Views of this knowledge base"), here, views)
    return counts


async def show_counts(page: Page, name: str, place: Element) -> None:
    """Fills in how much a knowledge base holds."""
    info = await asyncio.to_thread(page.house.library.get, name)
    place.clear()
    with place:
        page.text(
            "span",
            "",
            _("{documents} documents · {chunks} chunks · {characters} characters"),
            documents=page.number(info.documents),
            chunks=page.number(info.chunks),
            characters=page.number(info.characters),
        )


class _Base:
    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self._query = ""
        self._offset = 0
        self._seen: tuple[Sequence[Document], int, str] | None = None

    async def open(self) -> None:
        page = self.page
        page.title("{name}", name=self.name)
        try:
            await asyncio.to_thread(page.house.library.get, self.name)
        except NotFound as error:
            show_missing(page, "books", error)
            return
        with frame(page, "books"), page.el("div", "column"):
            self._counts = base_head(page, self.name, "documents")
            Upload(page, f"/api{base_path(self.name)}/documents", self._look_at_jobs)
            self._jobs = JobsView(page, self.name, self._reload)
            with page.el("section", "stack"):
                with page.el("div", "row"):
                    page.text("h2", "grow", _("Documents"))
                    with page.el("div", "filter"):
                        page.icon("search")
                        field = page.el("input", "field", type="search", id="filter", data_slash=True)
                        page.name(field, "placeholder", _("Part of a name"))
                        page.name(field, "aria-label", _("Filter documents by name"))
                        self._follow_filter(field)
                self._table = page.el("div")
                self._pager = page.el("div", "row pager")
        self._confirm = Confirm(page, "remove-document", _("Remove for good?"), _("Remove"), self._remove)
        await self._jobs.begin()
        await self._reload()

    async def _look_at_jobs(self) -> None:
        await self._jobs.look()

    def _follow_filter(self, field: Element) -> None:
        async def change(text: str) -> None:
            self._query, self._offset = text.strip(), 0
            await self._load()

        # As one types, but not at every key.
        field.on(
            "input",
            lambda e: self.page.spawn(change(str(e.args))),
            js_handler=_VALUE,
            throttle=0.25,
            leading_events=False,
        )

    # --- documents --------------------------------------------------------------------------------------------

    async def _reload(self) -> None:
        await show_counts(self.page, self.name, self._counts)
        await self._load()

    async def _load(self) -> None:
        library, offset, query = self.page.house.library, self._offset, self._query
        found = await asyncio.to_thread(library.documents, self.name, _PAGE_SIZE + 1, offset, query)
        if (offset, query) != (self._offset, self._query):
            return  # one typed on, or turned the page: a newer look is under way
        if offset and not found:  # the last page has emptied
            self._offset = max(0, offset - _PAGE_SIZE)
            await self._load()
            return
        seen = (found, offset, query)
        # While files come in, this runs every second; rows that stay the same keep the focus that is in them.
        if not self.page.client.is_deleted and seen != self._seen:
            self._seen = seen
            self._show(found[:_PAGE_SIZE], more=len(found) > _PAGE_SIZE)

    def _show(self, documents: Sequence[Document], more: bool) -> None:
        page = self.page
        self._table.clear()
        self._pager.clear()
        with self._table:
            if not documents:
                with page.el("div", "card empty"):
                    page.icon("file")
                    if self._query:
                        page.text("p", "", _("No document's name holds {query}."), query=f"“{self._query}”")
                    else:
                        page.text("p", "", _("No documents yet. Drop some above."))
                return
            with page.el("div", "card table-card"), page.el("table"):
                head = table_head(
                    page,
                    (_("Name"), ""),
                    (_("Format"), "wide"),
                    (_("Size"), "number wide"),
                    (_("Pages"), "number wide"),
                    (_("Chunks"), "number wide"),
                    (_("Changed"), "wide"),
                )
                with head, page.el("th", "", scope="col"):
                    page.text("span", "unseen", _("Remove"))
                with page.el("tbody"):
                    for document in documents:
                        self._show_row(document)
        with self._pager:
            if self._offset:
                page.button("button small", _("Previous page"), self._turner(-_PAGE_SIZE), icon="back")
            if self._offset or more:
                page.text(
                    "span",
                    "muted small",
                    _("{first} to {last}"),
                    first=self._offset + 1,
                    last=self._offset + len(documents),
                )
            if more:
                page.button("button small", _("Next page"), self._turner(_PAGE_SIZE), icon="next")

    def _show_row(self, document: Document) -> None:
        page, report = self.page, document.report
        path = f"{base_path(self.name)}/documents/{quote(document.id, safe='')}"
        with page.el("tr"):
            with page.el("th", "name", scope="row"):
                page.el("a", "", document.name, href=path)
                page.el("span", "narrow muted small", f"{report.format} · {page.size(document.size_bytes)}")
                if report.lost:
                    with page.el("span", "badge warn"):
                        page.icon("alert")
                        page.text(
                            "span", "", _("1 note") if len(report.lost) == 1 else _("{n} notes"), n=len(report.lost)
                        )
            page.el("td", "wide", report.format)
            page.el("td", "number wide", page.size(document.size_bytes))
            page.el("td", "number wide", str(report.pages or "–"))
            page.el("td", "number wide", page.number(report.chunks))
            changed = page.text("td", "wide", "{when}", when=lambda: page.when(document.changed_at))
            changed.classes("nowrap")
            with page.el("td", "tools"), page.el("button", "quiet small", type="button") as remove:
                page.icon("bin")
            page.name(remove, "aria-label", _("Remove {name}"), name=document.name)
            question = _("Remove {document} from {name}?")
            page.on(remove, "click", self._confirm.asker(document, question, document=document.name, name=self.name))

    def _turner(self, by: int) -> Handler:
        async def turn() -> None:
            self._offset = max(0, self._offset + by)
            await self._load()

        return turn

    async def _remove(self, document: Document) -> None:
        page = self.page
        await asyncio.to_thread(page.house.library.remove, self.name, document.id)
        page.toast("good", _("Removed {document} from {name}."), document=document.name, name=self.name)
        await self._reload()
