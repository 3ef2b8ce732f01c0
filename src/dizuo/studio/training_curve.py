"""The losses of several trainings in one picture."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from dizuo.core.trainings import TrainingPoint
from dizuo.platform.catalogue import _
from dizuo.studio.page import Page

COLOURS = 6  # --curve-0 … of static/pages.css


class CurveView:
    """Loss over steps, a line for each training; where it was scored on held-out data, a dashed one beside it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._seen: list[Any] = []
        with page.el("section", "card stack", hidden=True) as self._card:
            with page.el("div", "row"):
                page.text("h2", "grow", _("Loss"))
                with page.el("p", "muted small curve-key"):
                    page.el("span", "key-line", aria_hidden="true")
                    page.text("span", "", _("while training"))
                    page.el("span", "key-line dashed", aria_hidden="true")
                    page.text("span", "", _("on held-out data"))
            # SVG: its colours are the page's own, and follow the theme without being told.
            self._chart = ui.echart(_options([], ""), renderer="svg").classes("curve")
            self._chart.props["role"] = "img"
            self._legend = page.el("ul", "curve-legend small")

    def show(self, curves: Sequence[tuple[str, int, Sequence[TrainingPoint]]]) -> None:
        """Draws (name, colour, points); nothing where there is no point yet."""
        drawn = [(name, colour, points) for name, colour, points in curves if points]
        if drawn == self._seen:
            return
        self._seen = drawn
        page = self._page
        self._card.props["hidden"] = not drawn
        self._chart.options.clear()
        self._chart.options.update(_options(drawn, page.t(_("step"))))
        self._chart.update()
        said = "; ".join(f"{name}: {points[0].loss:.4g} → {points[-1].loss:.4g}" for name, _colour, points in drawn)
        page.name(self._chart, "aria-label", _("Loss over steps, first and last: {curves}"), curves=said)
        self._legend.clear()
        with self._legend:
            for name, colour, points in drawn:
                with page.el("li", f"curve-{colour}"):
                    page.el("span", "key-line", aria_hidden="true")
                    page.el("span", "", f"{name}: {points[-1].loss:.4g}")


def _options(curves: Sequence[tuple[str, int, Sequence[TrainingPoint]]], step: str) -> dict[str, Any]:
    quiet = {"color": "var(--muted)"}
    axis = {"axisLabel": quiet, "nameTextStyle": quiet, "axisLine": {"lineStyle": {"color": "var(--line-strong)"}}}
    series: list[dict[str, Any]] = []
    for name, colour, points in curves:
        common = {"type": "line", "animation": False, "emphasis": {"disabled": True}, "color": f"var(--curve-{colour})"}
        losses = [[point.step, _rounded(point.loss)] for point in points]
        scores = [[point.step, _rounded(point.val_loss)] for point in points if point.val_loss is not None]
        series.append({**common, "name": name, "data": losses, "showSymbol": False, "lineStyle": {"width": 1.5}})
        if scores:
            dashed = {"lineStyle": {"width": 1.5, "type": "dashed"}, "symbol": "circle", "symbolSize": 5}
            series.append({**common, **dashed, "name": f"{name} ·", "data": scores})
    return {
        "animation": False,
        "grid": {"left": 8, "right": 20, "top": 16, "bottom": 30, "containLabel": True},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "renderMode": "richText",  # a name goes in as text, never as HTML
            "backgroundColor": "var(--surface)",
            "borderColor": "var(--line-strong)",
            "textStyle": {"color": "var(--ink)"},
        },
        "xAxis": {
            "type": "value",
            "name": step,
            "min": "dataMin",
            "max": "dataMax",
            **axis,
            "nameLocation": "middle",
            "nameGap": 26,
            "axisPointer": {"label": {"precision": 0}},
            "splitLine": {"show": False},
        },
        "yAxis": {"type": "value", "scale": True, **axis, "splitLine": {"lineStyle": {"color": "var(--line)"}}},
        "series": series,
    }


def _rounded(loss: float) -> float:
    """As the tooltip is to say it."""
    return float(f"{loss:.4g}")
