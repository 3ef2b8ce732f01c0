"""The page of usage: what the calls of models took by day, in a table, and beside the budgets. What it shows stands in
its address, so that it can be kept and sent."""

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from nicegui import ui
from starlette.requests import Request

from dizuo.gateway.limit_table import Limit
from dizuo.gateway.limits import Standing
from dizuo.gateway.usage import BYS, Sums, UsagePoint, UsageReport
from dizuo.platform.catalogue import _
from dizuo.studio.assets import asset
from dizuo.studio.layout import frame
from dizuo.studio.limit_form import LimitForm
from dizuo.studio.page import Page, progress_bar, segments, table_head, tabs
from dizuo.studio.usage_chart import show_chart

_DAYS = {"7": _("7 days"), "30": _("30 days"), "90": _("90 days")}
_SHOWS = {"cost": _("Cost"), "tokens": _("Tokens"), "calls": _("Calls"), "cpu": _("CPU seconds")}
_TITLES = {
    "cost": _("Cost by day"),
    "tokens": _("Tokens by day"),
    "calls": _("Calls by day"),
    "cpu": _("Processor time by day"),
}
_BY = {"model": _("Model"), "user": _("User"), "key": _("Key"), "app": _("App"), "day": _("Day")}
_PERIODS = {"day": _("a day"), "month": _("a month"), "total": _("in all")}


async def usage_page(request: Request) -> None:
    """/usage"""
    asked = request.query_params
    chosen = {
        "days": asked.get("days") if asked.get("days") in _DAYS else "30",
        "show": asked.get("show") if asked.get("show") in _SHOWS else "cost",
        "by": asked.get("by") if asked.get("by") in BYS else "model",
    }
    await _Usage(Page(request), {name: str(value) for name, value in chosen.items()}).open()


def usage_head(page: Page, here: str) -> None:
    """The head that the pages of usage and of prices share."""
    ui.add_head_html(f'<link rel="stylesheet" href="{asset("usage.css")}">')
    with page.el("div", "head"), page.el("div"):
        page.text("h1", "", _("Usage"))
        page.text("p", "muted", _("What the calls of models took: tokens, money, and this machine's processor time."))
    views = (("usage", "/usage", _("Calls")), ("prices", "/usage/prices", _("Prices")))
    tabs(page, _("Views of usage"), here, (*views, ("cache", "/usage/cache", _("Cache"))))


class _Usage:
    def __init__(self, page: Page, chosen: Mapping[str, str]) -> None:
        self.page = page
        self._chosen = chosen
        self._currency = page.house.limits.currency
        self._user_id = None if page.visitor.is_owner else page.user.id

    async def open(self) -> None:
        page, house = self.page, self.page.house
        page.title(_("Usage"))
        days, by = int(self._chosen["days"]), self._chosen["by"]
        report = await asyncio.to_thread(house.usage.report, by, days, self._user_id)
        points = await asyncio.to_thread(house.usage.points, days, self._user_id)
        standings = await asyncio.to_thread(house.limits.standings_for, page.user)
        with frame(page, "usage"), page.el("div", "column"):
            usage_head(page, "usage")
            self._notices(standings)
            with page.el("div", "usage-filters"):
                self._choices("days", _DAYS, _("Days"))
                self._choices("show", _SHOWS, _("What is drawn"))
            self._totals(report.total)
            show = self._chosen["show"]
            unit = self._currency if show == "cost" else ""
            labels = _TITLES[show], _SHOWS[show], unit
            show_chart(page, points, report.since, report.until, self._measure, labels)
            self._table(report)
            self._budgets(standings)

    def _notices(self, standings: Sequence[Standing]) -> None:
        page = self.page
        for one in standings:
            if one.warned:
                with page.el("div", "notice bad" if one.share >= 1 else "notice warn", role="status"):
                    page.icon("alert")
                    page.text(
                        "span",
                        "",
                        _("{share} of the budget for {name} is spent."),
                        share=f"{one.share:.0%}",
                        name=lambda one=one: self._name(one),
                    )

    def _choices(self, name: str, labels: Mapping[str, str], title: str) -> None:
        views = [(one, "/usage?" + urlencode({**self._chosen, name: one}), label) for one, label in labels.items()]
        segments(self.page, "", title, self._chosen[name], views)

    def _totals(self, total: Sums) -> None:
        page = self.page
        with page.el("dl", "card usage-totals"):
            for label, value in (
                (_("Calls"), page.number(total.calls)),
                (_("Tokens read"), page.number(total.prompt_tokens)),
                (_("Tokens written"), page.number(total.completion_tokens)),
                (_("Cost"), money(total)),
                (_("CPU seconds"), f"{total.cpu_s:,.1f}"),
                (_("Answered from the cache"), page.number(total.kept)),
            ):
                with page.el("div"):
                    page.text("dt", "", label)
                    page.el("dd", "", value)
        with page.el("div", "muted small"):
            if total.unpriced:
                page.text("p", "", _("No price is known for {n} calls."), n=page.number(total.unpriced))
            if total.estimated:
                page.text(
                    "p",
                    "",
                    _("The tokens of {n} calls are estimated: nobody reported them, or the answer was broken off."),
                    n=page.number(total.estimated),
                )

    def _measure(self, point: UsagePoint) -> float:
        match self._chosen["show"]:
            case "tokens":
                return point.tokens
            case "calls":
                return point.calls
            case "cpu":
                return point.cpu_s
            case _:
                limits = self.page.house.limits
                return sum(limits.converted(cost, currency) for currency, cost in point.costs.items())

    def _table(self, report: UsageReport) -> None:
        page = self.page
        with page.el("div", "usage-filters"):
            self._choices("by", _BY, _("What the table is by"))
            query = urlencode({"by": self._chosen["by"], "days": self._chosen["days"]})
            with page.el("a", "button small", href=f"/api/usage.csv?{query}", download=""):
                page.icon("download")
                page.text("span", "", _("CSV"))
        with page.el("section", "card table-card"), page.el("div", "usage-table", tabindex="0", role="region") as box:
            page.name(box, "aria-label", _("Usage in a table"))
            with page.el("table"):
                table_head(
                    page,
                    (_BY[report.by], ""),
                    (_("Calls"), "number"),
                    (_("Tokens read"), "number wide"),
                    (_("Tokens written"), "number wide"),
                    (_("Cost"), "number"),
                    (_("CPU seconds"), "number wide"),
                    (_("Failed"), "number wide"),
                    (_("Refused"), "number wide"),
                )
                with page.el("tbody"):
                    for row in report.rows:
                        with page.el("tr"):
                            if row.name:
                                page.el("th", "", row.name, scope="row")
                            elif row.id:
                                page.text("th", "", _("gone ({id})"), id=row.id).props["scope"] = "row"
                            else:
                                page.text("th", "muted", _("none")).props["scope"] = "row"
                            page.el("td", "number", page.number(row.calls))
                            page.el("td", "number wide", page.number(row.prompt_tokens))
                            page.el("td", "number wide", page.number(row.completion_tokens))
                            page.el("td", "number usage-cost", money(row, "\n"))
                            page.el("td", "number wide", f"{row.cpu_s:,.1f}")
                            page.el("td", "number wide", page.number(row.failed))
                            page.el("td", "number wide", page.number(row.refused))
            if not report.rows:
                page.text("p", "empty", _("No call of a model in these days."))

    def _budgets(self, standings: Sequence[Standing]) -> None:
        page = self.page
        with page.el("section", "card stack"):
            with page.el("div", "row"):
                page.text("h2", "grow", _("Limits and budgets"))
                form = LimitForm(page) if page.visitor.is_owner else None
            if not standings:
                page.text("p", "muted", _("None are set. Each call may take what it likes."))
                return
            with page.el("ul", "usage-budgets"):
                for one in standings:
                    state = "spent" if one.share >= 1 else "warned" if one.warned else ""
                    with page.el("li", state):
                        with page.el("div", "row"):
                            page.text("span", "strong grow", "{name}", name=lambda one=one: self._name(one))
                            page.text("span", "muted small", "{what}", what=lambda one=one: self._what(one.limit))
                            if form is not None:
                                change = page.button("button small", _("Change"), form.changer(one), icon="pencil")
                                page.name(change, "aria-label", _("Change the limit for {name}"),
                                          name=lambda one=one: self._name(one))  # fmt: skip
                        if one.limit.budget is not None:
                            bar = progress_bar(page, one.share, _("Spent"))
                            page.name(bar, "aria-label", _("Spent of the budget for {name}"),
                                      name=lambda one=one: self._name(one))  # fmt: skip
                            page.text(
                                "p",
                                "small",
                                _("{spent} of {budget} {period}"),
                                spent=f"{one.spent:,.4g}",
                                budget=f"{one.limit.budget:g} {one.limit.currency}",
                                period=lambda one=one: page.t(_PERIODS[one.limit.period]),
                            )

    def _name(self, one: Standing) -> str:
        name = one.name or one.limit.subject_id
        match one.limit.subject:
            case "user":
                return self.page.t(_("the user {name}"), name=name)
            case "key":
                return self.page.t(_("the key {name}"), name=name)
            case "app":
                return self.page.t(_("the app {name}"), name=name)
            case _:
                return self.page.t(_("everyone"))

    def _what(self, limit: Limit) -> str:
        t, parts = self.page.t, []
        if limit.requests_per_minute is not None:
            parts.append(t(_("{n} requests a minute"), n=f"{limit.requests_per_minute:,}"))
        if limit.tokens_per_minute is not None:
            parts.append(t(_("{n} tokens a minute"), n=f"{limit.tokens_per_minute:,}"))
        if limit.concurrency is not None:
            parts.append(t(_("{n} at once"), n=f"{limit.concurrency:,}"))
        return " · ".join(parts)


def money(sums: Sums, between: str = " + ") -> str:
    """The costs of each currency."""
    return between.join(f"{cost:,.4f} {currency}" for currency, cost in sums.costs.items()) or "0"
