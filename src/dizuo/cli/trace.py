"""`dizuo trace …`: what happened to requests on their way, from face to model."""

from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal, clean
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dizuo.core.traces import Status
    from dizuo.platform.traces import SpanInfo, TraceInfo, TraceRecord

app = group(_("Traces: where the time of a request went."))

_STYLES = {"ok": "green", "failed": "red", "refused": "yellow", "cancelled": "dim"}
_BAR = 40  # columns


@command(app, "list", _("List the latest requests, and how they ended."))
def list_(
    terminal: Terminal,
    failed: Annotated[bool, typer.Option("--failed", help=_("Only those that did not end well."))] = False,
    slow: Annotated[
        float, typer.Option("--slow", min=0, metavar="SECONDS", help=_("Only those that took longer."))
    ] = 0,
    model: Annotated[str, typer.Option("--model", metavar="TEXT", help=_("Only models whose name holds that."))] = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help=_("Most traces to show."))] = 50,
) -> None:
    from dizuo.cli.table import show_table, when
    from dizuo.platform.traces import step_label

    status: tuple[Status, ...] = ("failed", "refused") if failed else ()
    with terminal.house() as house:
        found = house.traces.list(status=status, slower_than_s=slow, model=model, limit=limit)
    if terminal.as_json:
        terminal.show_json({"traces": [trace.model_dump(mode="json") for trace in found]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("ID"), t("When"), t("Request"), t("Model"), t("Status"), t("Time"), t("Tokens"), t("User")),
        [
            (
                trace.id[:12],
                when(trace.at),
                t(step_label(trace.name), name=trace.name),
                trace.model or "-",
                _ended(terminal, trace),
                duration(trace.total_s),
                trace.prompt_tokens + trace.completion_tokens or "-",
                trace.user or "-",
            )
            for trace in found
        ],
        right=(5, 6),
        whole=(0,),
    )


@command(app, "show", _("Show one request: every step of it on a line of time."))
def show(
    terminal: Terminal,
    trace: Annotated[str, typer.Argument(metavar="TRACE", help=_("The trace's id, or how it begins."))],
) -> None:
    from dizuo.cli.table import when
    from dizuo.platform.traces import step_label

    with terminal.house() as house:
        found = house.traces.get(trace)
    if terminal.as_json:
        terminal.show_json(found.model_dump(mode="json"))
        return
    terminal.show(terminal.t(step_label(found.name), name=found.name), style="bold")
    told = [found.id, when(found.at), found.user, found.app, found.model, duration(found.total_s)]
    terminal.show(" · ".join(one for one in told if one), style="dim")
    terminal.show(_ended(terminal, found), style=_STYLES[found.status])
    terminal.show()
    terminal.show(_waterfall(terminal, found))
    for number, span in enumerate(found.spans):
        if span.attributes:
            terminal.show()
            terminal.show(f"{number} {terminal.t(step_label(span.name), name=span.name)}", style="bold")
            for name, value in span.attributes.items():
                terminal.show(f"  {name}: {value}")


def _waterfall(terminal: Terminal, trace: "TraceRecord") -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    from dizuo.platform.traces import step_label

    t = terminal.t
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", justify="right", style="dim")
    table.add_column(t("Step"), overflow="fold")
    table.add_column(t("Begins"), justify="right", no_wrap=True)
    table.add_column(t("Time"), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR)
    for number, span in enumerate(trace.spans):
        style = "red" if span.error and span.error != "cancelled" else "cyan"
        name = Text("  " * trace.depth(number) + clean(t(step_label(span.name), name=span.name)))
        if span.error:
            name.append(f" {clean(span.error)}", style=style)
        table.add_row(
            str(number), name, duration(span.start_s), duration(span.seconds), _bar(span, trace.total_s, style)
        )
    return table


def _bar(span: "SpanInfo", total_s: float, style: str) -> "RenderableType":
    from rich.bar import Bar

    total_s = max(total_s, 1e-9)
    begin = min(span.start_s, total_s)
    # A sliver at least: what took microseconds was there as well.
    end = max(min(span.start_s + span.seconds, total_s), begin + total_s / (8 * _BAR))
    return Bar(size=total_s, begin=min(begin, total_s * (1 - 1 / (8 * _BAR))), end=end, width=_BAR, color=style)


def _ended(terminal: Terminal, trace: "TraceInfo") -> str:
    t = terminal.t
    texts = {"ok": t("ok"), "failed": t("failed"), "refused": t("refused"), "cancelled": t("cancelled")}
    more = f" ({trace.error})" if trace.error not in ("", trace.status) else ""
    return texts[trace.status] + more


def duration(seconds: float) -> str:
    """1.2 ms, 340 ms, 2.50 s."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
