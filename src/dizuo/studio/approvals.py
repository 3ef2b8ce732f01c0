"""The page of all that runs have asked: what waits, what was answered, by whom, when. As JSON by a link."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request

from dizuo.agents.approvals import ALL, Approval, ApprovalState
from dizuo.platform.catalogue import _
from dizuo.studio.layout import frame
from dizuo.studio.page import Page, badge, segments, table_head
from dizuo.studio.run_texts import one_line, storable
from dizuo.studio.runs import runs_head

_LISTED = 200
_STATES = {
    "waiting": ("hand", "warn", _("waits for you")),
    "approved": ("check", "good", _("approved")),
    "rejected": ("close", "bad", _("rejected")),
    "expired": ("clock", "warn", _("not answered in time")),
    "dropped": ("stop", "", _("needed no more")),
}
_FILTERS = {
    "": _("All"),
    "waiting": _("Waits for you"),
    "approved": _("Approved"),
    "rejected": _("Rejected"),
    "expired": _("Not answered in time"),
}


async def approvals_page(request: Request) -> None:
    """/runs/approvals"""
    page, asked = Page(request), request.query_params.get("state", "")
    state: ApprovalState | None = next((one for one in ALL if one == asked), None)
    page.title(_("Questions"))
    states: Sequence[ApprovalState] = ALL if state is None else (state,)
    found = await asyncio.to_thread(lambda: page.house.approvals.list(page.user.id, states=states, limit=_LISTED))
    with frame(page, "run"), page.el("div", "column"):
        lead = _("All that your runs have asked, and what was answered: by whom, when, how.")
        with runs_head(page, "approvals", _("Questions"), lead), page.el("div", "row"):
            query = urlencode({"state": [*states], "limit": 10_000}, doseq=True)
            with page.el("a", "button", href=f"/api/approvals?{query}", download="approvals.json"):
                page.icon("download")
                page.text("span", "", _("Download as JSON"))
        here = "/runs/approvals"
        views = [(one, f"{here}?state={one}" if one else here, label) for one, label in _FILTERS.items()]
        segments(page, "run-filters", _("Which questions"), state or "", views)
        _show(page, found)


def _show(page: Page, found: Sequence[Approval]) -> None:
    if not found:
        with page.el("div", "card empty"):
            page.icon("hand")
            page.text("p", "", _("Nothing was asked."))
        return
    with page.el("div", "card table-card"), page.el("table", "runs-table"):
        table_head(
            page,
            (_("Question"), ""),
            (_("What came of it"), ""),
            (_("By"), "wide"),
            (_("Asked"), "wide"),
            (_("Answered"), "wide"),
        )
        with page.el("tbody"):
            for one in found:
                _row(page, one)
    if len(found) == _LISTED:
        page.text("p", "muted small", _("The latest {n}. Earlier ones: dizuo run audit"), n=_LISTED)


def _row(page: Page, one: Approval) -> None:
    with page.el("tr"):
        with page.el("th", "name", scope="row"):
            page.el("a", "", one_line(one.goal, 100), href=f"/runs/{one.run_id}#step-{one.step}")
            given = one.new_arguments or one.arguments
            page.el("span", "run-model muted small", f"{storable(one.tool)} {one_line(given, 160)}")
            if one.new_arguments is not None:
                page.text("span", "run-model muted small", _("With other arguments than the agent's"))
            page.text("span", "narrow muted small", "{when}", when=lambda: page.when(one.asked_at))
        with page.el("td"):
            badge(page, _STATES[one.state])
            if one.reason and one.by != "timeout":
                page.el("span", "run-model small", one_line(one.reason, 160))
            if one.state == "waiting" and one.expires_at is not None:
                until = one.expires_at
                page.text("span", "run-model muted small", _("until {when}"), when=lambda: page.when(until))
        if one.by == "agent":
            page.text("td", "wide", _("an agent of others"))
        else:
            page.el("td", "wide", one.answered_by or "–")
        page.text("td", "wide nowrap", "{when}", when=lambda: page.when(one.asked_at))
        answered = one.answered_at
        if answered is None:
            page.el("td", "wide", "–")
        else:
            page.text("td", "wide nowrap", "{when}", when=lambda: page.when(answered))
