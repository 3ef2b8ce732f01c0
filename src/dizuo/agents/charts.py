"""`draw_chart`: a chart as an SVG file, written out. Its words are drawn with the reader's own fonts, Chinese included;
a picture with fonts of ours would need one of many megabytes.

Everything that comes from a model or a file is escaped or a number, so the file holds no script and no address.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Annotated, Literal

from pydantic import Field

from dizuo.agents import workspace
from dizuo.agents.tables import number, read_table
from dizuo.core.errors import DizuoError, UserError
from dizuo.core.tools import ToolContext, ToolResult, tool

Kind = Literal["line", "bar", "pie", "scatter"]

MOST_POINTS = {"line": 2000, "bar": 60, "pie": 12, "scatter": 5000}
MOST_SERIES = 6
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 420, 88, 20, 58, 84
_SIZE = 16  # of the font: a page may show it at half its width
_COLOURS = ("#3b6fb6", "#d9822b", "#3f9a63", "#a05fb0", "#b5483f", "#5f7a86")
_FONTS = (
    "system-ui, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', 'WenQuanYi Micro Hei', sans-serif"
)
_INK, _QUIET, _LINE = "#222", "#555", "#ddd"
_TICKS = 5

Label = Annotated[str, Field(max_length=200)]
Values = Annotated[list[str | float | None], Field(max_length=5000)]


@dataclass(frozen=True)
class Series:
    """One row of numbers; None where there is none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """What is to be drawn. `x`: what stands below, one for each value of every series."""

    kind: Kind
    x: Sequence[str]
    series: Sequence[Series]
    title: str = ""
    x_label: str = ""
    y_label: str = ""


@tool(effect="own", idempotent=True)
def draw_chart(
    kind: Kind,
    x: Annotated[str, Field(description="the column that stands below the chart; of a pie: its slices")],
    y: Annotated[list[str], Field(min_length=1, max_length=MOST_SERIES, description="columns of numbers")],
    title: Label,
    context: ToolContext,
    file: Annotated[str, Field(max_length=500, description="a CSV file of your workspace with these columns")] = "",
    columns: Annotated[
        dict[str, Values] | None, Field(max_length=20, description="or the data itself: name of a column -> values")
    ] = None,
    x_label: Label = "",
    y_label: Label = "",
    save_as: Annotated[str, Field(max_length=500, description="ends with .svg")] = "chart.svg",
) -> ToolResult:
    """Draw a line, bar, pie or scatter chart as an SVG file of your workspace, which the user sees. The data comes from
    a CSV file or is given as columns. To draw sums or a few of the rows, make a CSV of those first (query_table)."""
    if bool(file) == (columns is not None):
        return _failed("Give either a file or columns.")
    if not save_as.lower().endswith(".svg"):
        return _failed("save_as must end with .svg.")
    folder = workspace.of(context)
    try:
        if file:
            with folder.open(file) as source:
                table = read_table(source)
            known = {name: [row[at] for row in table.rows] for at, name in enumerate(table.columns)}
        else:
            known = {name: [_text(one) for one in values] for name, values in (columns or {}).items()}
        drawn = chart_svg(_chart(known, kind, x, y, title, x_label or x, y_label))
    except DizuoError as error:
        return _failed(str(error))
    save_as = workspace.normal(save_as)
    folder.write(save_as, drawn)
    made = workspace.artifacts(context, [save_as])
    return ToolResult(text=f"{save_as} is a {kind} chart of {len(known[x])} points.", artifacts=made)


def _failed(text: str) -> ToolResult:
    return ToolResult(text=text, failed=True, trusted=False)  # it may name columns of a file


def _text(value: str | float | None) -> str:
    return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _chart(
    known: Mapping[str, Sequence[str]], kind: Kind, x: str, y: Sequence[str], title: str, x_label: str, y_label: str
) -> Chart:
    """Raises UserError for columns that there are not, or that hold no numbers."""
    for name in (x, *y):
        if name not in known:
            raise UserError("There is no column {name!r}. There are: {names}.", name=name, names=", ".join(known))
    if len({len(known[name]) for name in (x, *y)}) > 1:
        raise UserError("The columns are not equally long.")
    count = len(known[x])
    if not 1 <= count <= MOST_POINTS[kind]:
        raise UserError("A {kind} chart takes 1 to {most} points, not {n}.", kind=kind, most=MOST_POINTS[kind], n=count)
    if kind == "pie" and len(y) > 1:
        raise UserError("A pie chart shows one column of numbers.")
    series = []
    for name in y:
        values = [number(cell) for cell in known[name]]
        wrong = next((cell for cell, value in zip(known[name], values, strict=True) if cell.strip() and value is None),
                     None)  # fmt: skip
        if wrong is not None:
            raise UserError("The column {name!r} holds {value!r}, which is no number.", name=name, value=wrong[:100])
        if not any(value is not None and math.isfinite(value) for value in values):
            raise UserError("The column {name!r} holds no number.", name=name)
        if kind == "pie" and any(value is not None and value < 0 for value in values):
            raise UserError("A pie chart cannot show numbers below zero.")
        finite = [float(value) if value is not None and math.isfinite(value) else None for value in values]
        series.append(Series(name, finite))
    if kind == "scatter" and any(number(one) is None for one in known[x]):
        raise UserError("A scatter chart needs numbers in the column {name!r}.", name=x)
    return Chart(kind, known[x], series, title, x_label, y_label)


# --- drawing --------------------------------------------------------------------------------------------------


def chart_svg(chart: Chart) -> str:
    """The chart as an SVG document with a white ground."""
    parts = _pie(chart) if chart.kind == "pie" else _axes_chart(chart)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="{_FONTS}" font-size="{_SIZE}">'
    )
    title = _said(_WIDTH / 2, 28, _cut(chart.title, 62), anchor="middle", colour=_INK, more='font-size="19"')
    named = f"<title>{_clean(chart.title)}</title>"
    ground = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
    return "\n".join([head, named, ground, title, *parts, "</svg>", ""])


def _axes_chart(chart: Chart) -> list[str]:
    values = [value for one in chart.series for value in one.values if value is not None]
    if chart.kind == "bar":  # a bar begins at zero
        values.append(0.0)
    ticks = _ticks(min(values), max(values))
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    top = _TOP + (18 if len(chart.series) > 1 else 0)

    def y(value: float) -> float:
        return floor - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (floor - top)

    parts = []
    for tick in ticks:
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f}H{right}" stroke="{_LINE}"/>')
        parts.append(_said(_LEFT - 8, y(tick) + 5, _number(tick, ticks), anchor="end"))
    parts += _below(chart, floor)
    parts.append(f'<path d="M{_LEFT} {top}V{floor}H{right}" fill="none" stroke="{_QUIET}"/>')
    if chart.x_label:
        parts.append(_said((_LEFT + right) / 2, _HEIGHT - 10, _cut(chart.x_label, 56), anchor="middle"))
    if chart.y_label:
        turned = f'transform="translate(18 {(top + floor) / 2:.0f}) rotate(-90)"'
        parts.append(_said(0, 0, _cut(chart.y_label, 30), anchor="middle", more=turned))
    for at, one in enumerate(chart.series):
        parts += _bars(chart, at, one, y) if chart.kind == "bar" else _points(chart, at, one, y)
    return parts + (_legend([one.name for one in chart.series], _LEFT) if len(chart.series) > 1 else [])


def _place(chart: Chart) -> Callable[[int], float]:
    """Where the n-th point stands from left to right."""
    right = _WIDTH - _RIGHT
    numbers = [number(one) for one in chart.x]
    if chart.kind == "scatter":
        known = [float(one) for one in numbers if one is not None]
        ticks = _ticks(min(known), max(known))
        return lambda n: _LEFT + (known[n] - ticks[0]) / (ticks[-1] - ticks[0]) * (right - _LEFT)
    step = (right - _LEFT) / len(chart.x)
    return lambda n: _LEFT + (n + 0.5) * step


def _below(chart: Chart, floor: float) -> list[str]:
    """What stands below: numbers of a scatter chart, else as many of the names as there is room for."""
    if chart.kind == "scatter":
        known = [float(one) for one in map(number, chart.x) if one is not None]
        ticks, right = _ticks(min(known), max(known)), _WIDTH - _RIGHT
        places = [_LEFT + (tick - ticks[0]) / (ticks[-1] - ticks[0]) * (right - _LEFT) for tick in ticks]
        return [
            _said(at, floor + 21, _number(tick, ticks), anchor="middle") for at, tick in zip(places, ticks, strict=True)
        ]
    place, names = _place(chart), [_cut(one, 11) for one in chart.x]
    step = place(1) - place(0) if len(names) > 1 else _WIDTH
    slanted = max(map(_width, names)) * _SIZE > step - 6
    every = max(1, math.ceil((22 if slanted else 0) / step)) if slanted else 1
    parts = []
    for n in range(0, len(names), every):
        if slanted:
            more = f'transform="translate({place(n):.1f} {floor + 14:.1f}) rotate(-30)"'
            parts.append(_said(0, 0, names[n], anchor="end", more=more))
        else:
            parts.append(_said(place(n), floor + 21, names[n], anchor="middle"))
    return parts


def _bars(chart: Chart, at: int, one: Series, y: Callable[[float], float]) -> list[str]:
    place, step = _place(chart), (_WIDTH - _LEFT - _RIGHT) / len(chart.x)
    group = min(step * 0.72, 110.0 * len(chart.series))
    width = group / len(chart.series)
    parts = []
    for n, value in enumerate(one.values):
        if value is None:
            continue
        left = place(n) - group / 2 + at * width
        high, low = sorted((y(value), y(0.0)))
        told = f"<title>{_clean(chart.x[n])}: {_clean(f'{value:,.10g}')}</title>"
        parts.append(
            f'<rect x="{left:.1f}" y="{high:.1f}" width="{max(width - 1, 1):.1f}" height="{low - high:.1f}" '
            f'fill="{_COLOURS[at]}">{told}</rect>'
        )
        if len(chart.x) * len(chart.series) <= 12:
            above = y(value) - 5 if value >= 0 else y(value) + 15
            parts.append(_said(left + width / 2, above, f"{value:,.6g}", anchor="middle", colour=_INK))
    return parts


def _points(chart: Chart, at: int, one: Series, y: Callable[[float], float]) -> list[str]:
    place, colour = _place(chart), _COLOURS[at]
    pieces: list[list[str]] = [[]]
    dots = []
    for n, value in enumerate(one.values):
        if value is None:
            pieces.append([])
            continue
        pieces[-1].append(f"{place(n):.1f},{y(value):.1f}")
        if chart.kind == "scatter" or len(one.values) <= 60:
            opacity = ' fill-opacity="0.7"' if chart.kind == "scatter" else ""
            dots.append(f'<circle cx="{place(n):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}"{opacity}/>')
    lines = [
        f'<polyline points="{" ".join(piece)}" fill="none" stroke="{colour}" stroke-width="2.2" '
        'stroke-linejoin="round"/>'
        for piece in pieces
        if len(piece) > 1 and chart.kind == "line"
    ]
    return lines + dots


def _pie(chart: Chart) -> list[str]:
    [one] = chart.series
    slices = [(name, value) for name, value in zip(chart.x, one.values, strict=True) if value]
    total = sum(value for _name, value in slices)
    if total <= 0:
        raise UserError("The column {name!r} holds no number.", name=one.name)
    middle_x, middle_y, radius, turned = 175.0, (_HEIGHT + _TOP) / 2 - 8, 150.0, -math.pi / 2
    parts = []
    for n, (name, value) in enumerate(slices):
        share = value / total
        until = turned + share * 2 * math.pi
        colour, opacity = _COLOURS[n % len(_COLOURS)], 1.0 if n < len(_COLOURS) else 0.55
        told = f"<title>{_clean(name)}: {_clean(f'{value:,.10g}')} ({share:.1%})</title>"
        if share > 0.9999:
            shape = f'<circle cx="{middle_x}" cy="{middle_y}" r="{radius}" fill="{colour}">{told}</circle>'
        else:
            first, last = (
                f"{middle_x + radius * math.cos(angle):.2f} {middle_y + radius * math.sin(angle):.2f}"
                for angle in (turned, until)
            )
            path = f"M{middle_x} {middle_y}L{first}A{radius} {radius} 0 {int(share > 0.5)} 1 {last}Z"
            shape = (
                f'<path d="{path}" fill="{colour}" fill-opacity="{opacity}" stroke="#fff" stroke-width="1.5">'
                f"{told}</path>"
            )
        parts.append(shape)
        row = middle_y - len(slices) * 14 + n * 28
        parts.append(f'<rect x="346" y="{row:.1f}" width="14" height="14" fill="{colour}" fill-opacity="{opacity}"/>')
        parts.append(_said(368, row + 13, f"{_cut(name, 12)}  {value:,.6g} ({share:.1%})", colour=_INK))
        turned = until
    return parts


def _legend(names: Sequence[str], left: float) -> list[str]:
    parts, at = [], left
    for n, name in enumerate(names):
        shown = _cut(name, 12)
        parts.append(f'<rect x="{at:.1f}" y="43" width="13" height="13" fill="{_COLOURS[n]}"/>')
        parts.append(_said(at + 19, 55, shown, colour=_INK))
        at += 19 + _width(shown) * _SIZE + 20
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from one at or below `low` to one at or above `high` (Heckbert 1990, "Nice numbers for graph
    labels")."""
    if high - low < 1e-12 * max(1.0, abs(high), abs(low)):
        low, high = (low - 1, high + 1) if low else (0.0, 1.0)
    step = _nice((high - low) / _TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= step * 0.999)


def _number(value: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0]
    if step < 1e-4:
        return f"{value:.3g}"
    most = max(abs(ticks[0]), abs(ticks[-1]))
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e5)):  # else there is no room for it beside the axis
        if most >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}" if abs(value) >= step / 1e6 else "0"
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, places) != round(step, places + 2):  # 2.5
        places += 1
    return f"{0.0 if abs(value) < step / 1e6 else value:,.{places}f}"


def _width(text: str) -> float:
    """About how wide a text is, in the size of its font."""
    return sum(1.0 if unicodedata.east_asian_width(one) in "WF" else 0.56 for one in text)


def _cut(text: str, most: int) -> str:
    """The beginning, as far as there is room for that many narrow characters."""
    text = " ".join(text.split())
    if _width(text) <= most * 0.56:
        return text
    while text and _width(text) > (most - 1) * 0.56:
        text = text[:-1]
    return f"{text}…"


def _clean(text: str) -> str:
    """As the content of an element: XML takes no control characters, and no halves of others."""
    return escape("".join(one if unicodedata.category(one) not in ("Cc", "Cs", "Cn") else " " for one in text))


def _said(x: float, y: float, text: str, *, anchor: str = "start", colour: str = _QUIET, more: str = "") -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" ' if more[:9] != "transform" else ""
    return f'<text {at}text-anchor="{anchor}" fill="{colour}" {more}>{_clean(text)}</text>'
