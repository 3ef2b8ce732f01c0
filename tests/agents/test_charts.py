"""Charts: what is drawn stands where its number says, and nothing of a model or a file is anything but text."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dizuo.agents.charts import MOST_POINTS, Chart, Series, chart_svg, draw_chart
from dizuo.core.tools import Artifact, ToolContext, ToolResult

SVG = "{http://www.w3.org/2000/svg}"
DATA = {"month": ["Jan", "Feb", "Mar"], "sold": [10, 20, 5], "spent": [1, None, 3.5]}


def drawn(folder: Path, **more: Any) -> ToolResult:
    arguments = {"kind": "bar", "x": "month", "y": ["sold"], "title": "Sales", "columns": DATA, **more}
    return asyncio.run(draw_chart.call(json.dumps(arguments), ToolContext(workspace=folder)))


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(SVG + tag))


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in elements(svg, "text")]


def chart(kind: Any, x: list[str], *values: list[float | None], **more: Any) -> Chart:
    return Chart(kind, x, [Series(f"s{n}", those) for n, those in enumerate(values)], **more)


def test_bars_are_as_high_as_their_numbers(tmp_path: Path) -> None:
    found = drawn(tmp_path)
    assert found.text == "chart.svg is a bar chart of 3 points."
    assert [(one.path, one.kind) for one in found.artifacts] == [("chart.svg", "image")]
    svg = (tmp_path / "chart.svg").read_text("utf-8")
    heights = [float(one.attrib["height"]) for one in elements(svg, "rect") if one.find(SVG + "title") is not None]
    assert heights == pytest.approx([heights[1] / 2, heights[1], heights[1] / 4], abs=0.2)
    assert {"Sales", "Jan", "Feb", "Mar", "month", "0", "20"} <= set(texts(svg))


def test_bars_below_zero_hang_from_it() -> None:
    bars = [one for one in elements(chart_svg(chart("bar", ["a", "b"], [10, -10])), "rect") if len(one)]
    up, down = ((float(one.attrib["y"]), float(one.attrib["height"])) for one in bars)
    assert up[0] + up[1] == pytest.approx(down[0], abs=0.2)
    assert up[1] == pytest.approx(down[1], abs=0.2)


def test_a_line_has_a_gap_where_there_is_no_number() -> None:
    svg = chart_svg(chart("line", list("abcde"), [1, 2, None, 4, 5]))
    assert len(elements(svg, "polyline")) == 2
    assert len(elements(svg, "circle")) == 4


def test_points_of_a_scatter_chart_stand_by_both_numbers() -> None:
    dots = elements(chart_svg(chart("scatter", ["0", "10", "20"], [0, 5, 10])), "circle")
    across, up = ([float(one.attrib[name]) for one in dots] for name in ("cx", "cy"))
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)
    assert across[1] > across[0]
    assert up[0] - up[1] == pytest.approx(up[1] - up[2], abs=0.2)
    assert up[0] > up[1]


def test_slices_of_a_pie_say_their_shares() -> None:
    svg = chart_svg(chart("pie", ["a", "b"], [3, 1]))
    assert [one for one in texts(svg) if "%" in one] == ["a  3 (75.0%)", "b  1 (25.0%)"]
    assert len(elements(chart_svg(chart("pie", ["all"], [3])), "circle")) == 1


def test_a_chart_is_drawn_from_a_csv_file_in_chinese(tmp_path: Path) -> None:
    (tmp_path / "销售.csv").write_bytes("月份,数量\n一月,3\n二月,4\n".encode("gb18030"))
    found = drawn(
        tmp_path, columns=None, file="销售.csv", x="月份", y=["数量"], title="各月销量", save_as="图/销量.svg"
    )
    assert found.artifacts[0].path == "图/销量.svg"
    svg = (tmp_path / "图" / "销量.svg").read_text("utf-8")
    assert {"各月销量", "一月", "二月", "月份"} <= set(texts(svg))
    assert "Noto Sans CJK SC" in svg


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": "year"},
        {"y": ["month"]},
        {"y": ["spent", "nothing"]},
        {"columns": None},
        {"file": "a.csv"},
        {"file": "a.csv", "columns": None},
        {"kind": "pie", "y": ["sold", "spent"]},
        {"kind": "scatter"},
        {"kind": "area"},
        {"columns": {"month": [], "sold": []}},
        {"columns": {"month": ["a"], "sold": [1, 2]}},
        {"columns": {"month": ["a"], "sold": [""]}},
        {"kind": "pie", "columns": {"month": ["a"], "sold": [-1]}},
        {"columns": {"month": ["a"] * 61, "sold": [1] * 61}},
        {"save_as": "chart.html"},
        {"save_as": "../chart.svg"},
    ],
)
def test_what_cannot_be_drawn_is_told_and_nothing_is_written(tmp_path: Path, wrong: dict[str, Any]) -> None:
    assert drawn(tmp_path, **wrong).failed
    assert list(tmp_path.rglob("*.*")) == []


def test_names_are_text_and_no_part_of_the_drawing(tmp_path: Path) -> None:
    evil = "</text><script>alert(1)</script><image href='http://x/'/>\0\x1b"
    for kind in ("bar", "line", "pie"):
        data = {evil: [evil, "b"], "n": [1, 2]}
        found = drawn(tmp_path, kind=kind, x=evil, y=["n"], title=evil, columns=data, x_label=evil, y_label=evil)
        assert not found.failed, found.text
        svg = (tmp_path / "chart.svg").read_text("utf-8")
        tags = {one.tag.removeprefix(SVG) for one in ElementTree.fromstring(svg).iter()}
        assert tags <= {"svg", "title", "rect", "text", "path", "polyline", "circle"}
        assert not re.search(r"<[^>]*(href|on\w+|style)\s*=", svg)
        assert drawn(tmp_path, x=evil, y=["none"]).trusted is False


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["bar", "line", "pie", "scatter"]),
    st.lists(st.tuples(st.text(max_size=20), st.floats(-1e15, 1e15) | st.none()), min_size=1, max_size=30),
)
def test_whatever_is_drawn_is_well_formed_and_lies_within_the_picture(kind: Any, data: Any) -> None:
    data = data[: MOST_POINTS[kind]]
    values = [None if value is None else abs(value) if kind == "pie" else value for _name, value in data]
    if not any(values):
        return
    x = [str(n * 1e-3) for n in range(len(data))] if kind == "scatter" else [name for name, _value in data]
    svg = chart_svg(chart(kind, x, values, title=x[0]))
    assert "nan" not in re.sub(r">[^<]*<", "><", svg)
    for one in elements(svg, "rect") + elements(svg, "circle"):
        across = float(one.get("x") or one.get("cx") or 0)
        down = float(one.get("y") or one.get("cy") or 0)
        assert -1 <= across <= 641
        assert -1 <= down <= 421


def test_an_artifact_has_its_size(tmp_path: Path) -> None:
    [made] = drawn(tmp_path).artifacts
    assert made == Artifact(path="chart.svg", kind="image", size_bytes=(tmp_path / "chart.svg").stat().st_size)
