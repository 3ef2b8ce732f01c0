"""The page of one model: what it is, a try of it, its scores, its card."""

import asyncio
from contextlib import aclosing

from nicegui.elements.mixins.text_element import TextElement
from starlette.requests import Request

from dizuo.core.errors import NotFound
from dizuo.core.events import Failed, TextDelta
from dizuo.gateway.models import ModelInfo
from dizuo.gateway.trial import attempt, sample
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm
from dizuo.studio.layout import frame
from dizuo.studio.missing import show_missing
from dizuo.studio.models import facts, what_it_is
from dizuo.studio.page import Page, value_of
from dizuo.studio.prose import Prose

_REFRESH_S = 0.06  # how often a growing text is shown again
_TEXT_LIMIT = 4000


async def model_page(request: Request, name: str) -> None:
    """/models/PROVIDER/NAME"""
    await _Model(Page(request), name).open()


class _Model:
    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        page, models = self.page, self.page.house.models
        try:
            info = await asyncio.to_thread(models.get, self.name)
        except NotFound as error:
            show_missing(page, "model", error)
            return
        card = await asyncio.to_thread(models.card, self.name)
        scores = await asyncio.to_thread(models.scores, self.name)
        page.title("{name}", name=self.name)
        with frame(page, "model"), page.el("div", "column"):
            self._build_head(info)
            if info.problem is None and info.kind not in ("reward", "backbone"):
                self._build_trial(info)
            if scores:
                self._build_scores(scores)
            if card:
                with page.el("section", "card stack"):
                    page.text("h2", "", _("Model card"))
                    # Whoever made the model wrote it: shown as text, with the little of Markdown that answers have.
                    Prose(page, page.el("div", "prose"), self._mark).show(card)
        page.client.on_delete(self._stop)

    def _build_head(self, info: ModelInfo) -> None:
        page = self.page
        with page.el("div", "head"):
            with page.el("div"):
                with page.el("a", "crumb", href="/models"):
                    page.icon("back")
                    page.text("span", "", _("Models"))
                page.el("h1", "", info.name)
                facts(page, info)
                what_it_is(page, info)
            if info.origin in ("trained", "added") and page.visitor.is_owner:
                note = _("Its folder goes with it.")
                confirm = Confirm(page, "remove-model", _("Remove for good?"), _("Remove"), self._remove, note)
                remove = page.button("button danger", _("Remove"), icon="bin")
                page.on(remove, "click", confirm.asker(info.name, _("Remove the model {name}?"), name=info.name))

    def _build_trial(self, info: ModelInfo) -> None:
        page = self.page
        with page.el("section", "card stack"):
            page.text("h2", "", _("Try it"))
            with page.el("form", "stack") as form:
                with page.el("div"):
                    page.text("label", "label", _("Text")).props["for"] = "try-text"
                    page.el(
                        "textarea", "field", sample(info.kind), id="try-text", rows="2", maxlength=str(_TEXT_LIMIT),
                        autocomplete="off", required=True,
                    )  # fmt: skip
                with page.el("div", "row"):
                    with page.el("button", "button primary", type="submit") as self._go:
                        page.text("span", "", _("Try"))
                    self._halt = page.button("button", _("Stop"), self._halted, icon="stop")
                    self._halt.props["hidden"] = True
                    self._status = page.text("span", "muted small", "")
                    self._status.props.update({"role": "status"})
            self._out = page.el("div", "prose", id="tried")
        # Lines of figures keep their columns; what a model writes is prose.
        self._as_lines = info.kind not in ("chat", "completion")
        page.on(form, "submit", self._try, value_of("try-text"))

    async def _try(self, text: str) -> None:
        if self._work is None or self._work.done():
            self._work = self.page.spawn(self._run(text[:_TEXT_LIMIT]))

    async def _run(self, text: str) -> None:
        page = self.page
        self._out.clear()
        self._set_busy(True)
        loaded = (await asyncio.to_thread(page.house.models.get, self.name)).state == "loaded"
        page.say(self._status, _("At work…") if loaded else _("Loading the model…"))
        try:
            with self._out:
                place = page.el("pre", "code", "") if self._as_lines else page.el("div", "plain", "")
            assert isinstance(place, TextElement)
            said, shown_s = "", 0.0
            with page.house.traces.traced("model trial", "studio", user_id=page.user.id):
                async with aclosing(attempt(page.house.gateway, self.name, text)) as events:
                    async for event in events:
                        if isinstance(event, TextDelta):
                            said += event.text
                            now_s = asyncio.get_running_loop().time()
                            if now_s - shown_s > _REFRESH_S:
                                place.text, shown_s = said, now_s
                                page.say(self._status, _("At work…"))
                        elif isinstance(event, Failed):
                            page.toast("bad", "{message}", message=event.message)
            place.text = said
        finally:
            if not page.client.is_deleted:
                page.say(self._status, "")
                self._set_busy(False)

    def _set_busy(self, busy: bool) -> None:
        self._go.props["disabled"] = busy
        self._halt.props["hidden"] = not busy

    async def _halted(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def _mark(self, number: int) -> None:
        self.page.el("span", "", f"[{number}]")

    def _build_scores(self, scores: list[tuple[str, float]]) -> None:
        page = self.page
        with page.el("section", "card table-card"):
            page.text("h2", "", _("Scores"))
            with page.el("table"), page.el("tbody"):
                for name, score in scores:
                    with page.el("tr"):
                        page.el("th", "name", name, scope="row")
                        page.el("td", "number", f"{score:.4g}")

    async def _remove(self, name: str) -> None:
        await asyncio.to_thread(self.page.house.models.remove, name)
        self.page.run("studio.go", "/models")
