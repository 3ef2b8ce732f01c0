"""The page of all knowledge bases: what there is, a new one, away with one."""

import asyncio
from urllib.parse import quote

from starlette.requests import Request

from dizuo.core.documents import KnowledgeInfo
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm, form_dialog
from dizuo.studio.layout import frame
from dizuo.studio.page import Page


async def knowledge_page(request: Request) -> None:
    """/knowledge"""
    await _Knowledge(Page(request)).open()


def base_path(name: str) -> str:
    """Where a knowledge base has its page."""
    return f"/knowledge/{quote(name, safe='')}"


class _Knowledge:
    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self) -> None:
        page = self.page
        page.title(_("Knowledge"))
        with frame(page, "books"), page.el("div", "column"):
            with page.el("div", "head"):
                with page.el("div"):
                    page.text("h1", "", _("Knowledge"))
                    page.text("p", "muted", _("Collections of your documents. Each answers questions of its own."))
                new = page.button("button primary", _("New knowledge base"), icon="plus")
                new.props["data-open"] = "new-base"
            self._list = page.el("div")
        self._build_dialogs()
        await self._load()

    async def _load(self) -> None:
        bases = await asyncio.to_thread(self.page.house.library.list)
        self._list.clear()
        with self._list:
            if not bases:
                with self.page.el("div", "card empty"):
                    self.page.icon("books")
                    self.page.text("h2", "", _("No knowledge base yet"))
                    self.page.text("p", "", _("Make one, drop your files into it, and ask."))
                return
            with self.page.el("ul", "bases"):
                for base in bases:
                    self._show(base)

    def _show(self, base: KnowledgeInfo) -> None:
        page = self.page
        with page.el("li", "card base"):
            with page.el("div", "base-text"):
                with page.el("h2"):
                    page.el("a", "", base.name, href=base_path(base.name))
                page.text(
                    "p",
                    "muted small",
                    _("{documents} documents · {chunks} chunks · {characters} characters"),
                    documents=page.number(base.documents),
                    chunks=page.number(base.chunks),
                    characters=page.number(base.characters),
                )
                page.text("p", "muted small", _("Made {when}"), when=lambda: page.when(base.created_at))
            with page.el("div", "row"):
                with page.el("a", "button small", href=f"/?knowledge={quote(base.name, safe='')}"):
                    page.icon("ask")
                    page.text("span", "", _("Ask"))
                with page.el("button", "quiet small", type="button") as remove:
                    page.icon("bin")
                page.name(remove, "aria-label", _("Remove {name}"), name=base.name)
                count = page.number(base.documents)
            question = _("Remove the knowledge base {name} with {count} documents?")
            page.on(remove, "click", self._confirm.asker(base.name, question, name=base.name, count=count))

    def _build_dialogs(self) -> None:
        page = self.page
        with (
            form_dialog(page, "new-base", _("New knowledge base"), "base-name", _("Create"), self._create),
            page.el("div"),
        ):
            page.text("label", "label", _("Name")).props["for"] = "base-name"
            field = page.el("input", "field", id="base-name", required=True, maxlength="64", autocomplete="off")
            field.props["aria-describedby"] = "base-name-hint"
            hint = page.text("p", "hint", _("Letters, digits, dots, hyphens and underscores; no spaces."))
            hint.props["id"] = "base-name-hint"
        note = _("Text, index and stored files go with it. The originals you added stay.")
        self._confirm = Confirm(page, "remove-base", _("Remove for good?"), _("Remove"), self._remove, note)

    async def _create(self, name: str) -> None:
        base = await asyncio.to_thread(self.page.house.library.create, name.strip())
        self.page.run("studio.go", base_path(base.name))

    async def _remove(self, name: str) -> None:
        await asyncio.to_thread(self.page.house.library.remove, name)
        self.page.toast("good", _("{name} has been removed."), name=name)
        await self._load()
