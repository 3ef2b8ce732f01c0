"""The page of all runs: what waits for one, a goal to give, the runs there are."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import get_args

from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from dizuo.agents.journal import RunStatus
from dizuo.agents.runs import Run, Used
from dizuo.agents.steps import ApprovalAsked
from dizuo.apps.app import called
from dizuo.platform.catalogue import _
from dizuo.studio.assets import asset
from dizuo.studio.layout import frame
from dizuo.studio.page import Badge, Page, PageTimer, badge, segments, table_head, tabs
from dizuo.studio.run_approval import ApprovalCard
from dizuo.studio.run_form import RunForm
from dizuo.studio.run_steps import REASONS
from dizuo.studio.run_texts import one_line

_LISTED = 100
_LOOK_S = 3.0
_STATES = {
    "active": ("spark", "", _("at work")),
    "waiting": ("hand", "warn", _("waits for you")),
    "paused": ("pause", "", _("rests")),
}
_FILTERS = {
    "": _("All"),
    "waiting": _("Waits for you"),
    "active": _("At work"),
    "paused": _("Rests"),
    "ended": _("Ended"),
}


async def runs_page(request: Request) -> None:
    """/runs"""
    await _Runs(Page(request)).open(request.query_params.get("status", ""))


def style() -> None:
    """What the pages of runs look like."""
    ui.add_head_html(f'<link rel="stylesheet" href="{asset("runs.css")}">')


def runs_head(page: Page, here: str, title: str, lead: str) -> Element:
    """The head that the pages of runs, questions, tools and memory share. Returns it, for buttons."""
    style()
    with page.el("div", "head") as head, page.el("div"):
        page.text("h1", "", title)
        page.text("p", "muted", lead)
    views = (("runs", "/runs", _("Runs")), ("approvals", "/runs/approvals", _("Questions")))
    more = (("tools", "/tools", _("Tools")), ("memory", "/memory", _("Memories")))
    tabs(page, _("What belongs to runs"), here, views + more)
    return head


def run_badge(status: str, reason: str) -> Badge:
    """How a run stands."""
    return REASONS[reason] if status == "ended" else _STATES[status]


class _Runs:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._status: RunStatus | None = None
        self._cards: dict[tuple[str, str], Element] = {}
        self._shown: object = None
        self._used: dict[str, Used] = {}
        self._asked: dict[str, tuple[int, Sequence[ApprovalAsked]]] = {}  # run -> how many steps it had, its questions
        self._looking = asyncio.Lock()

    async def open(self, status: str) -> None:
        page = self.page
        self._status = next((one for one in get_args(RunStatus) if one == status), None)
        page.title(_("Runs"))
        with frame(page, "run"), page.el("div", "column"):
            lead = _("Give an agent a goal. It goes on when you leave, and asks before it does harm.")
            runs_head(page, "runs", _("Runs"), lead)
            with page.el("section", "stack inbox", hidden=True, aria_labelledby="inbox") as self._inbox:
                page.text("h2", "", _("Waits for you")).props["id"] = "inbox"
                self._questions = page.el("ul", "stack")
            form = RunForm(page)
            views = [(one, f"/runs?status={one}" if one else "/runs", label) for one, label in _FILTERS.items()]
            segments(page, "run-filters", _("Which runs"), self._status or "", views)
            self._table = page.el("div", "stack")
        await form.build()
        await self.look()
        with page.client.content:
            PageTimer(_LOOK_S, self.look, immediate=False)

    async def look(self) -> None:
        """Fetches the runs and shows what has changed."""
        page = self.page
        async with self._looking:
            waiting, runs, used = await asyncio.to_thread(self._fetch)
            if page.client.is_deleted:
                return
            self._show_questions(waiting)
            seen = [(run.id, run.status, run.reason, used[run.id]) for run in runs]
            if seen != self._shown:
                self._shown = seen
                self._table.clear()
                with self._table:
                    self._show(runs, used)

    def _fetch(self) -> tuple[list[tuple[Run, ApprovalAsked]], Sequence[Run], Mapping[str, Used]]:
        runs, user_id = self.page.house.runs, self.page.user.id
        waiting = runs.list(user_id, "waiting", _LISTED)
        if self._status == "waiting":
            found = list(waiting)
        else:
            rest = runs.list(user_id, self._status, _LISTED)
            first = list(waiting) if self._status is None else []
            known = {run.id for run in first}
            found = [*first, *(run for run in rest if run.id not in known)][:_LISTED]
        # What has ended stays as it is; and the questions of a run, as long as no step has come.
        moving = {run.id for run in (*waiting, *found) if run.status != "ended" or run.id not in self._used}
        self._used |= runs.used([*moving])
        asked: dict[str, tuple[int, Sequence[ApprovalAsked]]] = {}
        for run in waiting:
            steps = self._used[run.id].steps
            known_at, questions = self._asked.get(run.id, (0, ()))
            asked[run.id] = (steps, questions if known_at == steps else runs.waiting(run.id))
        self._asked = asked
        return [(run, one) for run in waiting for one in asked[run.id][1]], found, self._used

    # --- what waits -------------------------------------------------------------------------------------------

    def _show_questions(self, waiting: Sequence[tuple[Run, ApprovalAsked]]) -> None:
        """What stays, stays as it is: somebody may be writing in it."""
        page = self.page
        wanted = {(run.id, asked.call_id): (run, asked) for run, asked in waiting}
        for key in [known for known in self._cards if known not in wanted]:
            self._cards.pop(key).delete()
        for key, (run, asked) in wanted.items():
            if key not in self._cards:
                with self._questions, page.el("li", "card stack") as card:
                    page.el("a", "strong", one_line(run.goal, 120), href=f"/runs/{run.id}")
                    ApprovalCard(page, run.id, asked, self.look)
                self._cards[key] = card
        self._inbox.props["hidden"] = not wanted

    # --- the list ---------------------------------------------------------------------------------------------

    def _show(self, runs: Sequence[Run], used: Mapping[str, Used]) -> None:
        page = self.page
        if not runs:
            with page.el("div", "card empty"):
                page.icon("run")
                page.text(
                    "p", "", _("No run is like that.") if self._status else _("No runs yet. Give it a goal above.")
                )
            return
        with page.el("div", "card table-card"), page.el("table", "runs-table"):
            table_head(
                page,
                (_("Goal"), ""),
                (_("Status"), ""),
                (_("Steps"), "number wide"),
                (_("Tokens"), "number wide"),
                (_("Cost"), "number wide"),
                (_("When"), "wide"),
            )
            with page.el("tbody"):
                for run in runs:
                    self._show_row(run, used[run.id])
        if len(runs) == _LISTED:
            page.text("p", "muted small", _("The latest {n}. Earlier ones: dizuo run list"), n=_LISTED)

    def _show_row(self, run: Run, used: Used) -> None:
        page = self.page
        with page.el("tr"):
            with page.el("th", "name", scope="row"):
                page.el("a", "", one_line(run.goal, 140), href=f"/runs/{run.id}")
                with page.el("span", "run-model muted small"):
                    if run.parent_id:
                        page.text("span", "", _("called by another run"))
                        page.el("span", "", " · ")
                    page.el("span", "", f"{called(run.app)} · {run.model}" if run.app else run.model)
                page.text("span", "narrow muted small", "{when}", when=lambda: page.when(run.created_at))
            with page.el("td"):
                badge(page, run_badge(run.status, run.reason))
            page.el("td", "number wide", page.number(used.steps))
            page.el("td", "number wide", page.number(used.tokens) if used.tokens else "–")
            page.el("td", "number wide", f"{used.cost:,.4f}" if used.cost else "–")
            page.text("td", "wide nowrap", "{when}", when=lambda: page.when(run.created_at))
