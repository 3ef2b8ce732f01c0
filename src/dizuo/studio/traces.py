"""The page of all traces: what was asked lately, by which model, how long it took, how it ended."""

import asyncio
from collections.abc import Sequence
from typing import get_args
from urllib.parse import urlencode

from nicegui import ui
from starlette.requests import Request

from dizuo.core.traces import Status
from dizuo.platform.catalogue import _
from dizuo.platform.traces import TraceInfo, seen_by, step_label
from dizuo.studio.assets import asset
from dizuo.studio.layout import frame
from dizuo.studio.page import Badge, Handler, Page, badge, table_head

_PAGE_SIZE = 50
_STATUS: dict[Status, Badge] = {
    "ok": ("check", "good", _("ok")),
    "failed": ("alert", "bad", _("failed")),
    "refused": ("alert", "warn", _("refused")),
    "cancelled": ("stop", "", _("cancelled")),
}
_SLOW_S = (1, 5, 30, 120)


async def traces_page(request: Request) -> None:
    """/traces"""
    await _Traces(Page(request)).open(request)


class _Traces:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._wanted: dict[str, str] = {}
        self._asked = 0

    async def open(self, request: Request) -> None:
        page = self.page
        self._wanted = {name: request.query_params.get(name, "") for name in ("model", "status", "slow")}
        page.title(_("Traces"))
        style()
        with frame(page, "trace"), page.el("div", "column"):
            with page.el("div", "head"), page.el("div"):
                page.text("h1", "", _("Traces"))
                page.text("p", "muted", _("Where the time of each request went, from the face to the model."))
            self._build_filters()
            self._table = page.el("div", "stack")
        await self._load()

    def _build_filters(self) -> None:
        page = self.page
        with page.el("form", "row trace-filters"):
            with page.el("div"):
                page.text("label", "label", _("Model")).props["for"] = "trace-model"
                field = page.el(
                    "input", "field", id="trace-model", type="search", maxlength="128", data_slash=True,
                    autocomplete="off",
                )  # fmt: skip
                if self._wanted["model"]:
                    page.run("studio.fill", "trace-model", self._wanted["model"])
                page.on(field, "change", self._filter("model"), "(event) => emit(event.target.value)")
            with page.el("div"):
                page.text("label", "label", _("Status")).props["for"] = "trace-status"
                with page.el("select", "field", id="trace-status") as status:
                    page.text("option", "", _("any")).props["value"] = ""
                    for name, (_icon, _kind, label) in _STATUS.items():
                        option = page.text("option", "", label)
                        option.props.update({"value": name, "selected": name == self._wanted["status"]})
                page.on(status, "change", self._filter("status"), "(event) => emit(event.target.value)")
            with page.el("div"):
                page.text("label", "label", _("Time")).props["for"] = "trace-slow"
                with page.el("select", "field", id="trace-slow") as slow:
                    page.text("option", "", _("any")).props["value"] = ""
                    for seconds in _SLOW_S:
                        option = page.text("option", "", _("longer than {n} s"), n=seconds)
                        option.props.update({"value": str(seconds), "selected": str(seconds) == self._wanted["slow"]})
                page.on(slow, "change", self._filter("slow"), "(event) => emit(event.target.value)")

    def _filter(self, name: str) -> Handler:
        async def choose(value: str = "") -> None:
            self._wanted[name] = value.strip()
            chosen = {key: said for key, said in self._wanted.items() if said}
            self.page.run("studio.address", "/traces" + ("?" + urlencode(chosen) if chosen else ""), False)
            await self._load()

        return choose

    async def _load(self, before: str | None = None) -> None:
        page, wanted = self.page, self._wanted
        self._asked += 1
        asked = self._asked
        found = await asyncio.to_thread(
            page.house.traces.list,
            user_id=seen_by(page.user),
            status=[one for one in get_args(Status) if one == wanted["status"]],
            model=wanted["model"],
            slower_than_s=float(wanted["slow"]) if wanted["slow"].isdecimal() else 0,
            before=before,
            limit=_PAGE_SIZE + 1,
        )
        if asked != self._asked or page.client.is_deleted:
            return
        self._table.clear()
        with self._table:
            self._show(found[:_PAGE_SIZE])
            with page.el("div", "row"):
                if before is not None:
                    page.button("button small", _("Latest"), self._pager(None), icon="back")
                if len(found) > _PAGE_SIZE:
                    page.button("button small", _("Earlier"), self._pager(found[_PAGE_SIZE - 1].id), icon="next")

    def _pager(self, before: str | None) -> Handler:
        async def turn() -> None:
            await self._load(before)
            self.page.run("studio.toTop")

        return turn

    def _show(self, found: Sequence[TraceInfo]) -> None:
        page = self.page
        if not found:
            with page.el("div", "card empty"):
                page.icon("trace")
                if any(self._wanted.values()):
                    page.text("p", "", _("No trace is like that. Choose less narrowly."))
                else:
                    page.text("p", "", _("No traces yet. Ask something, here or through the API."))
            return
        with page.el("div", "card table-card"), page.el("table", "traces-table"):
            table_head(
                page,
                (_("Request"), ""),
                (_("Status"), ""),
                (_("Time"), "number"),
                (_("Tokens"), "number wide"),
                (_("User"), "wide"),
                (_("When"), "wide"),
            )
            with page.el("tbody"):
                for trace in found:
                    self._show_row(trace)

    def _show_row(self, trace: TraceInfo) -> None:
        page = self.page
        tokens = trace.prompt_tokens + trace.completion_tokens
        with page.el("tr"):
            with page.el("th", "name", scope="row"):
                page.text("a", "", step_label(trace.name), name=trace.name).props["href"] = f"/traces/{trace.id}"
                if trace.model:
                    page.el("span", "trace-model muted small", trace.model)
                page.text("span", "narrow muted small", "{when}", when=lambda: page.when(trace.at))
            with page.el("td"):
                outcome(page, trace)
            page.el("td", "number", duration(trace.total_s))
            page.el("td", "number wide", page.number(tokens) if tokens else "–")
            page.el("td", "wide", trace.user or "–")
            page.text("td", "wide nowrap", "{when}", when=lambda: page.when(trace.at))


def style() -> None:
    """What the pages of traces look like."""
    ui.add_head_html(f'<link rel="stylesheet" href="{asset("traces.css")}">')


def outcome(page: Page, trace: TraceInfo) -> None:
    """How a request ended, and why where that is known."""
    badge(page, _STATUS[trace.status])
    if trace.error not in ("", trace.status):
        page.el("code", "small trace-error", trace.error)


def duration(seconds: float) -> str:
    """1.2 ms, 340 ms, 2.50 s."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
