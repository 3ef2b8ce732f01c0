"""The page to search one knowledge base: every hit with why it was found."""

import asyncio
from urllib.parse import quote

from starlette.requests import Request

from dizuo.core.documents import Hit, SearchResult
from dizuo.core.errors import NotFound
from dizuo.platform.catalogue import _
from dizuo.studio.base import base_head, show_counts
from dizuo.studio.knowledge import base_path
from dizuo.studio.layout import frame
from dizuo.studio.missing import show_missing
from dizuo.studio.page import Page, skeleton, value_of
from dizuo.studio.prose import marked, query_spans
from dizuo.studio.source import place

_LIMIT = 10
_TEXT_LENGTH = 700

_LEGS = {"keyword": _("By words"), "dense": _("By meaning")}


async def search_page(request: Request, name: str) -> None:
    """/knowledge/NAME/search?q=…"""
    await _Search(Page(request), name).open(request.query_params.get("q", "")[:1000])


class _Search:
    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self._asked = 0

    async def open(self, query: str) -> None:
        page = self.page
        page.title(_("Search in {name}"), name=self.name)
        try:
            await asyncio.to_thread(page.house.library.get, self.name)
        except NotFound as error:
            show_missing(page, "books", error)
            return
        with frame(page, "books"), page.el("div", "column"):
            counts = base_head(page, self.name, "search")
            with page.el("form", "row search-form", role="search") as form:
                field = page.el(
                    "input", "field grow", type="search", id="query", name="q", data_slash=True, defaultValue=query,
                    maxlength="1000", autocomplete="off",
                )  # fmt: skip
                page.name(field, "placeholder", _("Words or a question"))
                page.name(field, "aria-label", _("Search in {name}"), name=self.name)
                with page.el("button", "button primary", type="submit"):
                    page.icon("search")
                    page.text("span", "", _("Search"))
            page.on(form, "submit", self._search, value_of("query"))
            self._results = page.el("div", "stack", aria_live="polite")
        await show_counts(page, self.name, counts)
        if query.strip():
            await self._look(query)
        else:
            self._show_hint()

    def _show_hint(self) -> None:
        with self._results, self.page.el("div", "empty"):
            self.page.icon("search")
            self.page.text("p", "", _("Passages are found by their words and by their meaning; each hit says how."))

    async def _search(self, query: str = "") -> None:
        if not query.strip():
            return
        self.page.run("studio.address", f"{base_path(self.name)}/search?q={quote(query, safe='')}", False)
        await self._look(query)

    async def _look(self, query: str) -> None:
        self._asked += 1
        asked = self._asked
        self._results.clear()
        with self._results, self.page.el("div", "card stack", aria_hidden="true"):
            skeleton(self.page)
        page, house = self.page, self.page.house
        try:
            with house.traces.traced("search", "studio", app=f"knowledge/{self.name}", user_id=page.user.id):
                result = await asyncio.to_thread(house.library.search, self.name, query, _LIMIT)
        finally:
            if asked == self._asked and not self.page.client.is_deleted:
                self._results.clear()
        if asked == self._asked and not self.page.client.is_deleted:
            with self._results:
                self._show(result, query)

    def _show(self, result: SearchResult, query: str) -> None:
        page = self.page
        with page.el("div", "row weights"):
            found = _("1 passage") if len(result.hits) == 1 else _("{count} passages")
            page.text("h2", "grow", found, count=len(result.hits))
            for leg, weight in result.weights.items():
                percent = round(100 * weight)
                page.text(
                    "span", "badge", _("{leg} counts {percent} %"), leg=lambda leg=leg: self._leg(leg), percent=percent
                )
        for note in result.notes:
            with page.el("div", "notice"):
                page.icon("alert")
                page.text("span", "", note.template, **note.params)
        if not result.hits:
            with page.el("div", "card empty"):
                page.icon("none")
                page.text("p", "", _("Nothing was found. Try other words, or fewer."))
            return
        best = {
            leg: max(h.legs[leg].score for h in result.hits if leg in h.legs) for h in result.hits for leg in h.legs
        }
        with page.el("ol", "stack hits"):
            for number, hit in enumerate(result.hits, start=1):
                self._show_hit(number, hit, query, best)

    def _show_hit(self, number: int, hit: Hit, query: str, best: dict[str, float]) -> None:
        page = self.page
        path = f"{base_path(self.name)}/documents/{quote(hit.document_id, safe='')}?start={hit.start}&end={hit.end}"
        with page.el("li", "card hit"):
            with page.el("div", "hit-head"):
                page.el("span", "hit-number", str(number), aria_hidden="true")
                with page.el("h3", "grow"):
                    page.el("a", "", hit.document, href=path)
                page.text("span", "badge", _("score {score}"), score=f"{hit.score:.3f}")
            place(page, hit.page, hit.heading)
            text = hit.text if len(hit.text) <= _TEXT_LENGTH else hit.text[:_TEXT_LENGTH].rstrip() + "…"
            with page.el("div", "hit-text"):
                marked(page, text, query_spans(text, query))
            with page.name(page.el("dl", "legs"), "aria-label", _("Why it was found")):
                for leg in _LEGS:
                    self._show_leg(leg, hit, best)

    def _show_leg(self, leg: str, hit: Hit, best: dict[str, float]) -> None:
        page = self.page
        with page.el("div", "leg"):
            page.text("dt", "", "{leg}", leg=lambda: self._leg(leg))
            with page.el("dd"):
                seen = hit.legs.get(leg)
                if seen is None:
                    page.text("span", "muted", _("not found this way"))
                    return
                page.text("span", "", _("rank {rank}, score {score}"), rank=seen.rank, score=f"{seen.score:.3f}")
                share = max(0.0, min(1.0, seen.score / best[leg])) if best[leg] > 0 else 0.0
                with page.el("span", "bar", aria_hidden="true"):
                    page.el("span").style(f"width: {round(100 * share)}%")

    def _leg(self, leg: str) -> str:
        return self.page.t(_LEGS[leg]) if leg in _LEGS else leg
