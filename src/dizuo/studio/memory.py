"""The page of memory: what agents remember of the reader, to be found, changed, taken along and forgotten."""

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from dizuo.agents.memory import MOST_CHARACTERS, MOST_MEMORIES, Memory
from dizuo.core.errors import DizuoError
from dizuo.platform.catalogue import _
from dizuo.studio.assets import asset
from dizuo.studio.dialogs import Confirm, Problem
from dizuo.studio.layout import frame
from dizuo.studio.page import FORM_VALUES, Handler, Page, value_of
from dizuo.studio.run_texts import folded, storable
from dizuo.studio.runs import runs_head

_FOUND = 20  # by a search
_SHOWN = 50  # at once; more when they are asked for
_KINDS = {"fact": _("a fact"), "episode": _("how a run went")}


async def memory_page(request: Request) -> None:
    """/memory?q=…"""
    await _Memory(Page(request)).open(request.query_params.get("q", "")[:1000])


class _Memory:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._query = ""
        self._most = _SHOWN
        self._rows: dict[int, Element] = {}
        self._all: Sequence[Memory] = ()

    async def open(self, query: str) -> None:
        page = self.page
        page.title(_("Memories"))
        ui.add_head_html(f'<link rel="stylesheet" href="{asset("tools.css")}">')
        lead = _("What agents remember of you for later runs. Nobody else sees it; what you delete is gone.")
        with frame(page, "run"), page.el("div", "column"):
            with runs_head(page, "memory", _("Memories"), lead), page.el("div", "row"):
                with page.el("a", "button", href=f"/api/memories?limit={MOST_MEMORIES}") as export:
                    page.icon("download")
                    page.text("span", "", _("Export"))
                export.props["download"] = "dizuo-memories.json"
                self._clear = page.button("button danger", _("Forget all"), icon="bin")
            self._build_form()
            with page.el("form", "row search-form", role="search") as search:
                field = page.el("input", "field grow", type="search", id="memory-query", maxlength="1000")
                field.props.update({"autocomplete": "off", "data-slash": True, "defaultValue": query})
                page.name(field, "placeholder", _("Words or a question"))
                page.name(field, "aria-label", _("Search what is remembered"))
                with page.el("button", "button", type="submit"):
                    page.icon("search")
                    page.text("span", "", _("Search"))
            page.on(search, "submit", self._search, value_of("memory-query"))
            self._list = page.el("div", "stack", aria_live="polite")
        note = _("It is deleted with all that was made of it. Backups keep what they had.")
        forget = _("Forget this?"), _("Forget"), self._forget, note
        self._ask_forget = Confirm[Memory](page, "forget-memory", *forget)
        forget_all = _("Forget everything?"), _("Forget all"), self._forget_all, note
        ask_all = Confirm[str](page, "forget-all", *forget_all)
        page.on(self._clear, "click", ask_all.asker("all", _("Delete everything that agents remember of you?")))
        self._query = query.strip()
        await self._load()

    # --- a new one --------------------------------------------------------------------------------------------

    def _build_form(self) -> None:
        page = self.page
        with page.el("details", "card"):
            page.text("summary", "", _("Tell it something to remember"))
            with page.el("form", "stack", id="memory-form") as form:
                with page.el("div"):
                    page.text("label", "label", _("About")).props["for"] = "memory-about"
                    field = page.el("input", "field", id="memory-about", name="about", maxlength="100", required=True)
                    field.props.update({"autocomplete": "off", "aria-describedby": "memory-about-hint"})
                    hint = _("In a few words, such as home. A new fact about the same takes its place.")
                    page.text("p", "hint", hint).props["id"] = "memory-about-hint"
                with page.el("div"):
                    page.text("label", "label", _("What")).props["for"] = "memory-text"
                    area = page.el("textarea", "field plain", id="memory-text", name="text", rows="2", required=True)
                    area.props["maxlength"] = str(MOST_CHARACTERS)
                self._problem = Problem(page)
                with page.el("div", "row"), page.el("button", "button primary", type="submit"):
                    page.icon("plus")
                    page.text("span", "", _("Remember"))
        page.on(form, "submit", self._remember, FORM_VALUES)

    async def _remember(self, given: Mapping[str, str]) -> None:
        page, memories = self.page, self.page.house.memories
        self._problem.hide()
        about, text = str(given.get("about", "")), str(given.get("text", ""))
        try:
            await asyncio.to_thread(lambda: memories.remember(page.user.id, text, about=about))
        except DizuoError as error:
            self._problem.say(error)
            return
        for field in ("about", "text"):
            page.run("studio.select", f"memory-{field}", "")
        page.run("studio.focus", "#memory-about")
        await self._show_all()

    # --- those there are --------------------------------------------------------------------------------------

    async def _search(self, query: str = "") -> None:
        self._query, self._most = query.strip(), _SHOWN
        path = f"/memory?q={quote(self._query, safe='')}" if self._query else "/memory"
        self.page.run("studio.address", path, False)
        await self._load()

    async def _show_all(self) -> None:
        """Leaves a search, which may not find what has just come."""
        self.page.run("studio.select", "memory-query", "")
        await self._search()

    async def _load(self) -> None:
        page, memories, query = self.page, self.page.house.memories, self._query
        if query:
            found = await asyncio.to_thread(memories.recall, page.user.id, query, _FOUND)
        else:
            found = await asyncio.to_thread(memories.list, page.user.id, MOST_MEMORIES)
        if page.client.is_deleted or query != self._query:
            return
        self._all = found
        self._show()

    def _show(self) -> None:
        page = self.page
        self._rows.clear()
        self._list.clear()
        if not self._query:
            self._clear.props["hidden"] = not self._all
        with self._list:
            if not self._all:
                self._show_none()
                return
            if self._query:
                page.text("p", "muted small", _("{n} found, the best first"), n=len(self._all))
            else:
                page.text("p", "muted small", _("{n} remembered, the latest first"), n=page.number(len(self._all)))
            with page.el("ul", "card lines memories"):
                for memory in self._all[: self._most]:
                    self._rows[memory.id] = page.el("li", "line stack", data_memory=memory.id)
                    self._show_row(memory)
            if len(self._all) > self._most:
                with page.el("div", "row"):
                    page.button("button", _("Show more"), self._more)

    def _show_none(self) -> None:
        page = self.page
        with page.el("div", "card empty"):
            page.icon("none" if self._query else "person")
            if self._query:
                page.text("h2", "", _("Nothing is remembered of that"))
                page.text("p", "", _("Ask in other words, or empty the field to see everything."))
            else:
                page.text("h2", "", _("Nothing is remembered yet"))
                page.text(
                    "p", "", _("Runs keep facts and how they went, by themselves. You may tell it something above.")
                )
                page.text("a", "button", _("Start a run")).props["href"] = "/runs"

    async def _more(self) -> None:
        self._most += _SHOWN
        self._show()
        self.page.run("studio.refocus")

    def _show_row(self, memory: Memory) -> None:
        page, row = self.page, self._rows[memory.id]
        row.clear()
        with row:
            with page.el("div", "memory-row"):
                with page.el("div", "grow memory-head"):
                    if memory.about:
                        page.el("span", "strong", storable(memory.about))
                    page.text("span", "badge", _KINDS[memory.kind])
                with page.el("div", "memory-tools"):
                    named = storable(memory.about or memory.text[:60])
                    edit = page.button("quiet small", _("Edit"), self._editor(memory), icon="pencil", bare=True)
                    page.name(edit, "aria-label", _("Edit {name}"), name=named)
                    asker = self._ask_forget.asker(memory, "{text}", text=storable(memory.text[:500]))
                    forget = page.button("quiet small", _("Forget"), asker, icon="bin", bare=True)
                    page.name(forget, "aria-label", _("Forget {name}"), name=named)
            folded(page, memory.text)
            self._facts(memory)

    def _facts(self, memory: Memory) -> None:
        page = self.page
        with page.el("p", "muted small facts"):
            page.text("span", "", "{when}", when=lambda: page.when(memory.created_at))
            if memory.source:
                page.text("a", "", _("from a run")).props["href"] = f"/runs/{quote(memory.source, safe='')}"
            else:
                page.text("span", "", _("told by you"))
            page.text("span", "", _("{share} sure"), share=f"{memory.confidence:.0%}")

    def _editor(self, memory: Memory) -> Handler:
        async def edit() -> None:
            page, row, field = self.page, self._rows[memory.id], f"memory-{memory.id}"
            row.clear()
            with row, page.el("form", "stack") as form:
                label = storable(memory.about) or page.t(_KINDS[memory.kind])
                page.el("label", "label", label, for_=field)
                # The text within is what it begins with; the page never sets it again.
                area = page.el("textarea", "field plain", storable(memory.text), id=field, rows="3", required=True)
                area.props["maxlength"] = str(MOST_CHARACTERS)
                problem = Problem(page)
                with page.el("div", "row"):
                    with page.el("button", "button primary", type="submit"):
                        page.text("span", "", _("Save"))
                    page.button("button", _("Cancel"), cancel)
            page.on(form, "submit", saver(problem), value_of(field))
            page.run("studio.focus", f"#{field}")

        async def cancel() -> None:
            self._show_row(memory)
            self.page.run("studio.focus", f"[data-memory='{memory.id}'] button")

        def saver(problem: Problem) -> Handler:
            async def save(text: str = "") -> None:
                page = self.page
                problem.hide()
                try:
                    kept = await asyncio.to_thread(page.house.memories.edit, page.user.id, memory.id, text)
                except DizuoError as error:
                    problem.say(error)
                    return
                self._all = [kept if one.id == kept.id else one for one in self._all]
                self._show_row(kept)
                page.run("studio.focus", f"[data-memory='{memory.id}'] button")

            return save

        return edit

    async def _forget(self, memory: Memory) -> None:
        await asyncio.to_thread(self.page.house.memories.forget, self.page.user.id, memory.id)
        await self._load()

    async def _forget_all(self, _all: str) -> None:
        gone = await asyncio.to_thread(self.page.house.memories.forget_all, self.page.user.id)
        self.page.toast("good", _("{n} memories are deleted."), n=gone)
        await self._show_all()
