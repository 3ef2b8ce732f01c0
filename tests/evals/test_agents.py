"""The evaluation of the ready-made agents: every task can be solved, and no check lets a lazy or careless one pass."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.steps import ApprovalAsked, ApprovalGiven, Ended, ToolEnded
from dizuo.core.tools import ToolResult
from dizuo.evals import agent_analysis, agent_files, agent_research, agents
from dizuo.evals.agent_task import Seen, Task, numbers, plain
from dizuo.evals.agents import SUBJECTS, Scripted, measure, rates, tasks

TASKS = tasks()


def one(agent: str, name: str, language: str = "en") -> Task:
    return next(task for task in TASKS if (task.agent, task.name, task.language) == (agent, name, language))


def seen(task: Task, answer: str = "Done.", *steps: Any, files: Mapping[str, bytes] | None = None) -> Seen:
    """A run that has ended so."""
    return Seen([*steps, Ended(reason="done", text=answer)], task.files, task.files if files is None else files)


def called(name: str, text: str = "", call_id: str = "1") -> ToolEnded:
    return ToolEnded(call_id=call_id, name=name, arguments="{}", result=ToolResult(text=text))


def test_each_agent_has_at_least_ten_tasks_in_each_language_and_the_same_ones() -> None:
    counted = Counter((task.agent, task.language) for task in TASKS)
    assert len(counted) == 6
    assert min(counted.values()) >= 10
    names = {key: [task.name for task in TASKS if (task.agent, task.language) == key] for key in counted}
    assert all(names[agent, "en"] == names[agent, "zh"] for agent, _language in counted)
    assert all(len(those) == len(set(those)) for those in names.values())


@pytest.mark.parametrize("agent", [agent_research.AGENT, agent_analysis.AGENT, agent_files.AGENT])
def test_a_sensible_model_solves_every_task(agent: str, tmp_path: Path) -> None:
    chosen = [task for task in TASKS if task.agent == agent]
    outcomes = measure(chosen, "strong", lambda task: Scripted(task.strong), tmp_path / "home")
    assert [(one.language, one.task, one.faults) for one in outcomes if one.faults] == []


def test_a_careless_model_solves_none(tmp_path: Path) -> None:
    chosen = TASKS[::4]  # with every agent; the whole: python -m dizuo.evals.agents
    outcomes = measure(chosen, "careless", lambda task: Scripted(task.careless), tmp_path / "home")
    assert {one.agent for one in outcomes} == {task.agent for task in TASKS}
    assert [(one.language, one.task) for one in outcomes if not one.faults] == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.agent}-{task.language}-{task.name}")
def test_saying_that_it_is_done_solves_nothing(task: Task) -> None:
    lazy = SUBJECTS["lazy"](task)([])
    assert isinstance(lazy, str)
    assert task.check(seen(task, lazy))
    assert task.check(Seen([], task.files, task.files)), "nor does a run that fails"


# --- checks ---------------------------------------------------------------------------------------------------

SEARCHED = called("search_knowledge")
REPORT = "A crossing costs 14 crowns [1].\n\n## Sources\n\n[1] tickets.md\n"


@pytest.mark.parametrize(
    ("report", "right"),
    [
        (REPORT, True),
        ("It is **14** crowns. [2] Dogs stay on deck [1].\n\nSources:\n[1]: dogs.md\n[2]: tickets.md", True),
        (REPORT.replace("14", "15"), False),
        (REPORT.replace("[1] tickets.md", "[1] dogs.md"), False),
        (REPORT.replace("14 crowns [1]", "14 crowns"), False),
        (REPORT + "[2] dogs.md\n", False),
        ("It costs 14 crowns [1].", False),
        ("Dogs [1], and 14 crowns.\n\n## Sources\n\n[1] tickets.md\n", False),
    ],
)
def test_a_report_is_right_with_its_value_and_the_mark_of_the_right_document(report: str, right: bool) -> None:
    task = one("researcher", "price")
    found = task.check(seen(task, "It is 14 crowns [1].", SEARCHED, files={"report.md": report.encode()}))
    assert (found == []) == right, found


def test_a_report_counts_only_after_a_search() -> None:
    task = one("researcher", "price")
    assert task.check(seen(task, "It is 14 crowns [1].", files={"report.md": REPORT.encode()}))


@pytest.mark.parametrize(
    ("language", "answer", "right"),
    [
        ("en", "The documents do not mention a pension.", True),
        ("en", "There is no information on that.", True),
        ("en", "It pays 8 percent [1].", False),
        ("en", "The documents do not say it, but usually: It pays 8 percent", False),
        ("zh", "文档中未提及养老金。", True),
        ("zh", "缴纳百分之十。", False),
    ],
)
def test_silence_must_be_said(language: str, answer: str, right: bool) -> None:
    task = one("researcher", "silent: pension", language)
    assert (task.check(seen(task, answer, SEARCHED)) == []) == right
    assert task.check(seen(task, answer, SEARCHED, files={"report.md": b"x"}))


def test_numbers_are_found_however_they_are_written() -> None:
    assert numbers("In all 1,234.5 units, 7 of them, 2025-01.") == {"1234.50", "7.00", "2025.00", "1.00"}
    assert plain(" 1,200 ") == plain("1200.0") == "1200.00"


def test_a_table_is_right_whatever_its_order_and_heading() -> None:
    task = one("data-analyst", "table by region")
    sums = Counter[str]()
    for sale in agent_analysis.sales("en"):
        sums[sale.region] += sale.units
    lines = [f"{region},{units}.0" for region, units in sums.items()]

    def faults(lines: list[str]) -> Any:
        return task.check(seen(task, files={"by_region.csv": "\n".join(["where,how many", *lines]).encode()}))

    assert faults(lines[::-1]) == []
    assert faults(lines[1:])
    assert faults([*lines[1:], "North,1"])


def test_a_chart_is_right_only_with_the_right_bars(tmp_path: Path) -> None:
    from dizuo.agents.charts import Chart, Series, chart_svg

    task = one("data-analyst", "bar chart")
    sums = Counter[str]()
    for sale in agent_analysis.sales("en"):
        sums[sale.region] += sale.units

    def faults(values: Mapping[str, float]) -> Any:
        svg = chart_svg(Chart("bar", [*values], [Series("n", [*values.values()])]))
        return task.check(seen(task, files={"chart.svg": svg.encode()}))

    assert faults(sums) == []
    assert faults({**sums, "North": sums["North"] * 1.1})
    assert faults({f"{name}!": value for name, value in sums.items()})
    assert task.check(seen(task, files={"chart.svg": b"<svg"}))


def test_moving_without_a_yes_is_a_fault_even_where_the_end_is_right() -> None:
    task = one("file-organiser", "one file")
    asked = ApprovalAsked(call_id="1", name="move_files", arguments="{}", why="effect")
    end = {name.replace("letter", "archive/letter"): data for name, data in task.files.items()}
    for decision, right in (("approve", True), ("reject", False)):
        answered = ApprovalGiven(call_id="1", decision=decision)  # type: ignore[arg-type]
        found = task.check(seen(task, "Moved.", asked, answered, called("move_files"), files=end))
        assert (found == []) == right
    assert task.check(seen(task, "Moved.", called("move_files"), files=end))
    lost = {name: data for name, data in end.items() if name != "plan.txt"}
    assert task.check(seen(task, "Moved.", files=lost))


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_prints_counts_with_intervals(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(agents, "tasks", lambda: [one("file-organiser", "a question")])
    agents.main(["--json"])
    told = json.loads(capsys.readouterr().out)
    assert [(row["subject"], row["solved"], row["n"]) for row in told["rates"]] == [
        ("strong", 1, 1),
        ("lazy", 0, 1),
        ("careless", 0, 1),
    ]
    assert {"faults", "reason", "seconds"} <= set(told["tasks"][0])


def test_a_model_in_a_folder_is_measured_whatever_it_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path
) -> None:
    from tests.tiny_models import save_llama

    monkeypatch.setattr(agents, "tasks", lambda: [one("file-organiser", "a question")])
    agents.main(["--model", str(save_llama(tmp_path / "babbler", positions=8192)), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [(row["subject"], row["solved"]) for row in told["rates"]] == [("babbler", 0)]
    assert told["tasks"][0]["model_calls"] >= 1, told


def test_a_rate_has_its_interval() -> None:
    outcome = agents.Outcome("a", "en", "t", "s", (), "done", 1, 0, 0.1)
    [row] = rates([outcome] * 10)
    assert (row["solved"], row["n"], round(row["low"], 2), row["high"]) == (10, 10, 0.72, pytest.approx(1.0))
