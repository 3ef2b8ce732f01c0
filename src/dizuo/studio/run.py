"""The page of one run: how it stands, its plan, its steps as they come, and what one says to it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from starlette.requests import Request

from dizuo.agents.runs import Run
from dizuo.agents.state import State
from dizuo.agents.steps import Ended, Step
from dizuo.apps.app import called
from dizuo.core.errors import NotFound
from dizuo.gateway.models import SMALL
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm, form_dialog
from dizuo.studio.layout import frame
from dizuo.studio.missing import show_missing
from dizuo.studio.page import Page, PageTimer, badge, progress_bar, set_badge, set_progress, value_of
from dizuo.studio.run_files import Artifacts, FileList, last_made
from dizuo.studio.run_plan import PlanView
from dizuo.studio.run_replay import Replay
from dizuo.studio.run_steps import REASONS, Steps, prose, why_ended
from dizuo.studio.run_texts import one_line
from dizuo.studio.runs import run_badge, style
from dizuo.studio.traces import duration

_BUSY_S = 0.6
_IDLE_S = 3.0  # others may answer or steer: the command line, the API, another tab
_TITLE_CHARACTERS = 120
_TABLE_ROWS = 20  # of what is shown with the answer


async def run_page(request: Request, run_id: str) -> None:
    """/runs/ID"""
    page = Page(request)
    try:
        run = await asyncio.to_thread(page.house.runs.get, run_id, page.user.id)
    except NotFound as error:
        show_missing(page, "run", error)
        return
    await _RunPage(page, run).open()


class _RunPage:
    def __init__(self, page: Page, run: Run) -> None:
        self.page = page
        self.run = run
        self._all: list[Step] = []
        self._state = State()
        self._seen_s = time.monotonic()  # when the last step was seen
        self._state_shown: tuple[str, str] | None = None
        self._asks_elsewhere = ""  # a run that was called and waits for an answer
        self._made = Artifacts(page, run.id)
        self._looking = asyncio.Lock()
        self._timer: PageTimer | None = None

    async def open(self) -> None:
        page = self.page
        page.title("{goal}", goal=one_line(self.run.goal, 60))
        style()
        with frame(page, "run"), page.el("div", "column"):
            self._head()
            self._end = page.el("section", "card stack", hidden=True, id="end")
            with page.el("p", "notice warn", role="status", hidden=True) as self._waits:
                page.icon("hand")
                self._question = page.text("a", "", _("It waits for you: to the question"))
            self._counters()
            self._plan = PlanView(page, self.run.id, self.look)
            self._files = FileList(page, self.run.id, self.look)
            with page.el("section", "stack"):
                with page.el("div", "row"):
                    page.text("h2", "grow", _("The steps"))
                    self._again = page.button("button small", _("Replay"), self._replay_open, icon="play")
                    self._again.props["id"] = "replay-open"
                self._steps = Steps(page, self.run.id, self._made, self._fork_open, self.look)
                with page.el("p", "thinking", role="status", hidden=True) as self._thinking:
                    page.el("span", "dot", aria_hidden="true")
                    self._doing: TextElement = page.text("span", "", "")
            self._build_steer()
            self._replay = Replay(page, self._show_at)
        self._build_dialogs()
        await self.look()
        with page.client.content:
            self._timer = PageTimer(_IDLE_S, self.look, immediate=False)
        self._pace()

    # --- building ---------------------------------------------------------------------------------------------

    def _head(self) -> None:
        page, run = self.page, self.run
        with page.el("div", "head"):
            with page.el("div"):
                with page.el("a", "crumb", href="/runs"):
                    page.icon("back")
                    page.text("span", "", _("Runs"))
                page.el("h1", "run-goal", one_line(run.goal, _TITLE_CHARACTERS))
                with page.el("p", "row run-facts"):
                    self._badge = page.el("span", "badge", role="status")
                    if run.app:
                        page.el("span", "strong", called(run.app))
                    page.el("span", "muted", run.model)
                    if page.house.models.is_small(run.model):
                        page.text("span", "badge warn", SMALL)
                    if run.knowledge:
                        page.el("a", "", run.knowledge, href=f"/knowledge/{quote(run.knowledge, safe='')}")
                    page.text("span", "muted small", "{when}", when=lambda: page.when(run.created_at))
                    page.el("code", "muted small", run.id)
                    if run.parent_id:
                        link = page.text("a", "small", _("called by another run"))
                        link.props["href"] = f"/runs/{quote(run.parent_id, safe='')}"
                    if run.forked_from:
                        link = page.text("a", "small", _("forked from another run"))
                        link.props["href"] = f"/runs/{quote(run.forked_from, safe='')}"
            with page.el("div", "row run-buttons"):
                self._pause = page.button("button", _("Pause"), self._pause_it, icon="pause")
                self._resume = page.button("button primary", _("Resume"), self._resume_it, icon="play")
                self._cancel = page.button("button danger", _("Cancel"), icon="stop")

    def _counters(self) -> None:
        """What is used of each budget."""
        page = self.page
        self._counts: dict[str, tuple[TextElement, Element]] = {}
        with page.el("dl", "card run-counters"):
            for name, label in (
                ("steps", _("Model calls")),
                ("tokens", _("Tokens")),
                ("money", _("Cost")),
                ("seconds", _("Work")),
                ("tool_calls", _("Tool calls")),
            ):
                with page.el("div"):
                    page.text("dt", "", label)
                    with page.el("dd"):
                        said = page.text("span", "", "")
                        self._counts[name] = said, progress_bar(page, 0, label)

    def _build_steer(self) -> None:
        page = self.page
        with page.el("form", "card stack", hidden=True) as self._steer:
            with page.el("div"):
                page.text("label", "label", _("Say something to it")).props["for"] = "steer"
                area = page.el("textarea", "field plain", id="steer", rows="2", maxlength="20000", required=True)
                area.props["aria-describedby"] = "steer-hint"
                page.text("p", "hint", _("It reads this before its next step.")).props["id"] = "steer-hint"
            with page.el("div", "row"), page.el("button", "button", type="submit"):
                page.icon("send")
                page.text("span", "", _("Send"))
        page.on(self._steer, "submit", self._steer_it, value_of("steer"))

    def _build_dialogs(self) -> None:
        page = self.page
        confirm = Confirm(page, "cancel-run", _("Cancel this run?"), _("Cancel the run"), self._cancel_it)
        said = _("It ends with the best answer so far. You can fork it later from any step.")
        page.on(self._cancel, "click", confirm.asker(self.run.id, said))
        self._fork_from = 1
        with form_dialog(page, "fork-run", _("Fork"), "fork-text", _("Fork"), self._fork_it), page.el("div", "stack"):
            self._fork_said = page.text("p", "muted", "")
            with page.el("div"):
                page.text("label", "label", _("Say something to the new run (may be empty)")).props["for"] = "fork-text"
                page.el("textarea", "field plain", id="fork-text", rows="3", maxlength="20000")

    # --- following --------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Fetches what has come and shows it; nothing that stands is built anew."""
        page, runs = self.page, self.page.house.runs
        async with self._looking:
            run = await asyncio.to_thread(runs.get, self.run.id, page.user.id)
            steps = await asyncio.to_thread(runs.steps, self.run.id, len(self._all))
            # A run that it has called may ask as well: that is answered there.
            asking = await asyncio.to_thread(runs.asking, self.run.id) if run.status == "waiting" else ()
            self._asks_elsewhere = next((one.run_id for one in asking if one.run_id != run.id), "")
            if page.client.is_deleted:
                return
            self.run = run
            if steps:
                first = not self._all
                self._all += steps
                for step in steps:
                    self._state.take(step)
                self._seen_s = time.monotonic()
                self._steps.add(steps)
                if not first and run.status != "ended":
                    page.run("studio.keepUp", False)
            self._show()
            if steps:
                await self._files.look(ended=self._state.ended is not None)
                await self._made.fill()
        self._pace()

    def _pace(self) -> None:
        if self._timer is not None:
            self._timer.interval = _BUSY_S if self.run.status == "active" else _IDLE_S
            self._timer.active = self._state.ended is None or self.run.status != "ended"

    def _show(self) -> None:
        run, state = self.run, self._state
        ended = state.ended is not None
        waiting = [] if ended else state.waiting
        shown = ("ended" if ended else run.status, state.ended.reason if state.ended else "")
        if shown != self._state_shown:
            self._state_shown = shown
            set_badge(self.page, self._badge, run_badge(*shown))
            self._pause.props["hidden"] = shown[0] not in ("active", "waiting")
            self._resume.props["hidden"] = shown[0] != "paused"
            self._cancel.props["hidden"] = ended
            self._steer.props["hidden"] = ended
            self._again.props["hidden"] = not ended
            if state.ended is not None:
                self._show_end(state.ended)
        self._resume.props["disabled"] = bool(waiting)
        self._waits.props["hidden"] = not waiting and not self._asks_elsewhere
        if self._asks_elsewhere and not waiting:
            self._question.props["href"] = f"/runs/{quote(self._asks_elsewhere, safe='')}"
        if waiting:
            asked = next(n for n in range(len(self._all), 0, -1) if self._all[n - 1] == waiting[0])
            self._question.props["href"] = f"#step-{asked}"
        self._steps.ask(waiting)
        self._show_work(ended)
        self._plan.show(state.plan, can_change=not ended)
        working = run.status == "active" and not ended
        self._show_counters(state, time.monotonic() - self._seen_s if working and not waiting else 0.0)

    def _show_work(self, ended: bool) -> None:
        page, state = self.page, self._state
        self._thinking.props["hidden"] = ended or self.run.status != "active"
        going = [call.name for call in state.open.values() if call.id not in {one.call_id for one in state.waiting}]
        if going:
            page.say(self._doing, _("Calling {tools}…"), tools=one_line(", ".join(going), 80))
        else:
            page.say(self._doing, _("The model is thinking…"))

    def _show_end(self, ended: Ended) -> None:
        page = self.page
        self._end.clear()
        self._end.props["hidden"] = False
        with self._end:
            with page.el("div", "row"):
                page.text("h2", "grow", _("Answer") if ended.reason == "done" else _("The best answer so far"))
                badge(page, REASONS[ended.reason])
            if ended.text.strip():
                with page.el("div", id="answer"):
                    prose(page, ended.text)
            else:
                page.text("p", "muted", _("It left no answer."))
            why_ended(page, ended)
            if made := last_made(self._all):
                self._made.add(made, _TABLE_ROWS)
            if ended.text.strip():
                with page.el("div", "row"):
                    copy = page.button("quiet small", _("Copy"), icon="copy")
                    copy.props["data-copy"] = "#answer"

    def _show_counters(self, state: State, more_s: float) -> None:
        page, budget = self.page, state.budget
        work_s, currency = state.seconds + more_s, page.house.limits.currency
        for name, used, most, said, of in (
            ("steps", state.model_calls, budget.steps, page.number(state.model_calls), page.number(budget.steps)),
            ("tokens", state.tokens, budget.tokens, page.number(state.tokens), page.number(budget.tokens)),
            ("money", state.cost, budget.money, f"{state.cost:,.4f}", f"{budget.money:g} {currency}"),
            ("seconds", work_s, budget.seconds, duration(work_s), f"{budget.seconds:,.0f} s"),
            ("tool_calls", state.tool_calls, budget.tool_calls, str(state.tool_calls), page.number(budget.tool_calls)),
        ):
            text, bar = self._counts[name]
            page.say(text, _("{used} of {most}"), used=said, most=of)
            set_progress(bar, used / most if most else float(used > 0))

    # --- replay -----------------------------------------------------------------------------------------------

    async def _replay_open(self) -> None:
        await self._replay.open(len(self._all))

    async def _show_at(self, number: int) -> None:
        """The run as it was after that many steps."""
        self._steps.play(number)
        state = State(self._all[:number])
        self._plan.show(state.plan, can_change=False)
        self._show_counters(state, 0.0)

    # --- what one does ----------------------------------------------------------------------------------------

    async def _do(self, act: Callable[..., Any], *given: Any) -> None:
        await asyncio.to_thread(act, self.run.id, *given, self.page.user.id)
        await self.look()

    async def _pause_it(self) -> None:
        await self._do(self.page.house.runs.pause)
        self.page.run("studio.refocus")

    async def _resume_it(self) -> None:
        await self._do(self.page.house.runs.resume)
        self.page.run("studio.refocus")

    async def _cancel_it(self, _run_id: str) -> None:
        await self._do(self.page.house.runs.cancel)
        self.page.run("studio.toTop")

    async def _steer_it(self, text: str = "") -> None:
        await asyncio.to_thread(self.page.house.runs.steer, self.run.id, text, self.page.user.id)
        self.page.run("studio.sent", "steer", text)
        await self.look()

    async def _fork_open(self, number: int) -> None:
        self._fork_from = number
        said = _("A new run shares steps 1 to {n} and goes its own way from there.")
        self.page.say(self._fork_said, said, n=number)
        self.page.run("studio.open", "fork-run")

    async def _fork_it(self, text: str = "") -> None:
        page = self.page
        made = await asyncio.to_thread(page.house.run_files.fork, self.run.id, self._fork_from, text, page.user.id)
        page.run("studio.go", f"/runs/{made.id}")
