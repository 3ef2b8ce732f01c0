"""The page of one trace: its steps as bars on a line of time, what is known of each, and the same as a table."""

import asyncio
import json

from starlette.requests import Request

from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _
from dizuo.platform.traces import SpanInfo, TraceRecord, seen_by, step_label
from dizuo.studio.layout import frame
from dizuo.studio.missing import show_missing
from dizuo.studio.page import Page, table_head
from dizuo.studio.traces import duration, outcome, style

_DEEPEST = 6  # further in, the names would leave no room for the bars
_TICKS = 4
_TEXTS = ("gen_ai.input.messages", "gen_ai.output.messages")


async def trace_page(request: Request, trace_id: str) -> None:
    """/traces/ID"""
    page = Page(request)
    try:
        trace = await asyncio.to_thread(page.house.traces.get, trace_id, user_id=seen_by(page.user))
    except UserError as error:
        show_missing(page, "trace", error)
        return
    page.title(step_label(trace.name), name=trace.name)
    style()
    with frame(page, "trace"), page.el("div", "column"):
        _head(page, trace)
        with page.el("section", "card stack"):
            page.text("h2", "", _("Steps of the request"))
            _axis(page, trace)
            with page.el("ol", "waterfall"):
                for number, span in enumerate(trace.spans):
                    _step(page, trace, span, trace.depth(number))
        _table(page, trace)


def _head(page: Page, trace: TraceRecord) -> None:
    with page.el("div", "head"), page.el("div"):
        with page.el("a", "crumb", href="/traces"):
            page.icon("back")
            page.text("span", "", _("Traces"))
        page.text("h1", "", step_label(trace.name), name=trace.name)
        with page.el("p", "row trace-facts"):
            outcome(page, trace)
            page.el("span", "muted", duration(trace.total_s))
            if trace.model:
                page.el("span", "muted", trace.model)
            if trace.prompt_tokens or trace.completion_tokens:
                page.text(
                    "span",
                    "muted",
                    _("{read} tokens read, {written} written"),
                    read=page.number(trace.prompt_tokens),
                    written=page.number(trace.completion_tokens),
                )
        with page.el("p", "muted small trace-facts row"):
            page.text("span", "", "{when}", when=lambda: page.when(trace.at))
            for told in (trace.user, trace.app):
                if told:
                    page.el("span", "", told)
            page.el("code", "", trace.id, id="trace-id")
            copy = page.button("quiet small", _("Copy the id"), icon="copy", bare=True)
            copy.props["data-copy"] = "#trace-id"


def _axis(page: Page, trace: TraceRecord) -> None:
    with page.el("div", "trace-axis muted small", aria_hidden="true"), page.el("div", "trace-ticks"):
        for tick in range(_TICKS + 1):
            share = tick / _TICKS
            page.el("span", "", duration(trace.total_s * share)).style(f"left: {share:.0%}")


def _step(page: Page, trace: TraceRecord, span: SpanInfo, depth: int) -> None:
    """One bar. It opens by a click or by the keyboard, and shows what is known of the step."""
    total_s = max(trace.total_s, 1e-9)
    left = min(100.0, 100 * span.start_s / total_s)
    width = max(0.0, min(100.0 - left, 100 * span.seconds / total_s))
    failed = span.error not in ("", "cancelled")
    kind = "bad" if failed else "model" if "gen_ai.request.model" in span.attributes else ""
    with page.el("li", ""), page.el("details", "step"):
        with page.el("summary"):
            with page.el("span", "step-name").style(f"padding-left: {min(depth, _DEEPEST) * 14}px"):
                page.text("span", "", step_label(span.name), name=span.name).props["title"] = span.name
                if span.error:
                    page.el("code", "bad-text small" if failed else "muted small", span.error)
            with page.el("span", "step-track", aria_hidden="true"):
                page.el("span", f"step-bar {kind}").style(f"left: {left:.3f}%; width: {width:.3f}%")
            page.el("span", "step-time", duration(span.seconds))
        with page.el("dl", "fact-list small"):
            _fact(page, _("Begins after"), duration(span.start_s))
            for name, value in span.attributes.items():
                with page.el("div"):
                    page.el("dt", "", name)
                    page.el("dd", "", _said(str(value)) if name in _TEXTS else str(value))


def _said(messages: str) -> str:
    """Messages as they are kept, for reading: who said what."""
    try:
        return "\n\n".join(
            "\n".join(f"{one['role']}: {part.get('content') or part.get('arguments', '')}" for part in one["parts"])
            for one in json.loads(messages)
        )
    except (ValueError, TypeError, LookupError, AttributeError):  # cut off, or not ours
        return messages


def _fact(page: Page, label: str, value: str) -> None:
    with page.el("div"):
        page.text("dt", "", label)
        page.el("dd", "", value)


def _table(page: Page, trace: TraceRecord) -> None:
    with page.el("details", "card trace-table"):
        page.text("summary", "", _("The steps as a table"))
        with page.el("div", "scrolls", tabindex="0", role="region") as region, page.el("table"):
            page.name(region, "aria-label", _("The steps as a table"))
            table_head(
                page,
                (_("No."), "number"),
                (_("Step"), ""),
                (_("Within"), "number"),
                (_("Begins after"), "number"),
                (_("Time"), "number"),
                (_("Error"), ""),
            )
            with page.el("tbody"):
                for number, span in enumerate(trace.spans):
                    with page.el("tr"):
                        page.el("td", "number", str(number))
                        name = page.text("th", "name", step_label(span.name), name=span.name)
                        name.props.update({"scope": "row", "title": span.name})
                        page.el("td", "number", "–" if span.parent is None else str(span.parent))
                        page.el("td", "number", duration(span.start_s))
                        page.el("td", "number", duration(span.seconds))
                        page.el("td", "", span.error or "–")
