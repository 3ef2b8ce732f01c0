"""What the calls of each day took, stacked by model, in one picture."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

from nicegui import ui

from dizuo.gateway.usage import UsagePoint
from dizuo.platform.catalogue import _
from dizuo.studio.page import Page
from dizuo.studio.training_curve import COLOURS

Measure = Callable[[UsagePoint], float]


def show_chart(
    page: Page, points: Sequence[UsagePoint], since: str, until: str, measure: Measure, labels: tuple[str, str, str]
) -> None:
    """A bar for each day from `since` to `until`; the models that took most each in a colour, the rest in one.

    `labels` are the title, what is measured, and its unit ("" for none).
    """
    title, what, unit = labels
    first, last = date.fromisoformat(since), date.fromisoformat(until)
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    sums: dict[str, float] = {}
    for point in points:
        sums[point.model] = sums.get(point.model, 0.0) + measure(point)
    ranked = sorted((model for model, amount in sums.items() if amount), key=lambda model: (-sums[model], model))
    shown = ranked if len(ranked) <= COLOURS else ranked[: COLOURS - 1]
    series: dict[str, list[float]] = {model: [0.0] * len(days) for model in shown}
    rest = [0.0] * len(days)
    at = {day: number for number, day in enumerate(days)}
    for point in points:
        if point.day in at:
            series.get(point.model, rest)[at[point.day]] += measure(point)
    named = [(model, values) for model, values in series.items()]
    if len(ranked) > len(shown):
        named.append((page.t(_("others")), rest))
    with page.el("section", "card stack"):
        page.text("h2", "", title)
        # SVG: its colours are the page's own, and follow the theme without being told.
        chart = ui.echart(_options(days, named), renderer="svg").classes("curve")
        chart.props["role"] = "img"

        def name_axes() -> None:
            chart.options["xAxis"]["name"] = page.t(_("Day"))
            chart.options["yAxis"]["name"] = f"{page.t(what)} ({unit})" if unit else page.t(what)
            chart.update()

        page.follow(chart, "axes", name_axes)
        said = "; ".join(f"{name}: {_written(sum(values))} {unit}".strip() for name, values in named) or "0"
        page.name(chart, "aria-label", _("By day, stacked by model; in all: {sums}"), sums=said)
        with page.el("ul", "curve-legend small"):
            for number, (name, values) in enumerate(named):
                with page.el("li", f"curve-{number}"):
                    page.el("span", "key-line", aria_hidden="true")
                    page.el("span", "", f"{name}: {_written(sum(values))}")


def _written(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 1000 else f"{amount:.4g}"


def _options(days: Sequence[str], named: Sequence[tuple[str, Sequence[float]]]) -> dict[str, Any]:
    quiet = {"color": "var(--muted)"}
    line = {"lineStyle": {"color": "var(--line-strong)"}}
    return {
        "animation": False,
        "grid": {"left": 8, "right": 12, "top": 38, "bottom": 30, "containLabel": True},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "renderMode": "richText",  # a name goes in as text, never as HTML
            "axisPointer": {"type": "shadow"},
            "backgroundColor": "var(--surface)",
            "borderColor": "var(--line-strong)",
            "textStyle": {"color": "var(--ink)"},
        },
        "xAxis": {
            "type": "category",
            "data": [day[5:] for day in days],
            "axisLabel": quiet,
            "axisLine": line,
            "nameLocation": "middle",
            "nameGap": 28,
            "nameTextStyle": quiet,
        },
        "yAxis": {
            "type": "value",
            "nameTextStyle": {**quiet, "align": "left"},
            "axisLabel": quiet,
            "axisLine": line,
            "splitLine": {"lineStyle": {"color": "var(--line)"}},
        },
        "series": [
            {
                "type": "bar",
                "stack": "all",
                "name": name,
                "color": f"var(--curve-{number})",
                "emphasis": {"disabled": True},
                "data": [float(f"{value:.4g}") for value in values],
            }
            for number, (name, values) in enumerate(named)
        ],
    }
