"""Files of runs on their page: charts and tables shown, strangers' content harmless, files given and saved."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.runs import Run
from tests.api.upstream import Answer, call
from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations

SHOTS = os.environ.get("DIZUO_SHOTS", "")  # a folder for pictures of the pages

pytestmark = pytest.mark.browser

EVIL_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20" onload="parent.document.title=\'owned\'">'
    "<script>parent.document.title='owned'</script><rect width='20' height='20'/></svg>"
)
EVIL_CELL = "<img src=x onerror=\"document.title='owned'\">"
TABLE = f'城市,数量,"{EVIL_CELL.replace(chr(34), chr(34) * 2)}"\n' + "".join(f"昆明,{n},=1+1\n" for n in range(30))
SCRIPT: tuple[Any, ...] = (
    [call("write_file", path="销售 表.csv", text=TABLE)],
    [
        call(
            "draw_chart",
            kind="bar",
            x="城市",
            y=["数量"],
            title="各城市销量",
            columns={"城市": ["昆明", "大连"], "数量": [3, 4]},
        ),
        call("write_file", path="evil.svg", text=EVIL_SVG),
        call("write_file", path="page.html", text="<script>document.title='owned'</script>"),
        call("write_file", path="none.csv", text=""),
    ],
    [call("ask_user", question="More?")],
    "Drawn.",
)


def by_turn(body: dict[str, Any]) -> Answer:
    turn = sum(one["role"] == "assistant" for one in body["messages"])
    said = SCRIPT[min(turn, len(SCRIPT) - 1)]
    return {"content": said} if isinstance(said, str) else {"tool_calls": said}


@pytest.fixture(scope="module")
def agent(studio: Studio) -> Iterator[Studio]:
    with studio.scripted(by_turn, "painter"):
        yield studio


@pytest.fixture
def run(agent: Studio) -> Run:
    """A run of the owner's that has made its files and waits."""
    runs = agent.house.runs
    made = runs.start("Draw.", "painter/x", user_id=agent.house.identity.owner().id, tools=["draw_chart"])
    agent.come_to(made.id, "waiting")
    return made


def test_a_chart_and_a_table_are_shown_and_nothing_in_them_acts(visit: Visit, run: Run) -> None:
    page = visit.page(f"/runs/{run.id}")
    page.locator(".artifact img").nth(1).wait_for()
    page.wait_for_function("[...document.querySelectorAll('.artifact img')].every((one) => one.naturalWidth > 0)")
    assert page.locator(".artifact img").count() == 2
    assert page.get_by_role("img", name="Picture: chart.svg").is_visible()
    table = page.locator(".artifact-table table").first
    table.wait_for()
    assert table.locator("tbody tr").count() == 8
    assert table.locator("th").all_inner_texts() == ["城市", "数量", EVIL_CELL]
    assert table.locator("tbody tr").first.locator("td").all_inner_texts() == ["昆明", "0", "=1+1"]
    page.get_by_text("The table is empty.").wait_for()
    assert "owned" not in page.title()
    assert page.locator(".artifact iframe, .artifact object, .artifact svg:not(.icon)").count() == 0


def test_files_are_saved_and_given(visit: Visit, run: Run, tmp_path: Path) -> None:
    page = visit.page(f"/runs/{run.id}")
    files = page.locator("#files")
    with page.expect_download() as saved:
        files.get_by_role("link", name="销售 表.csv").click()
    assert Path(saved.value.path()).read_text("utf-8") == TABLE
    with page.expect_download() as packed:
        files.get_by_role("link", name="All as one ZIP").click()
    assert packed.value.suggested_filename == f"{run.id}.zip"
    (tmp_path / "新.txt").write_text("new")
    files.get_by_text("Give it files").click()
    page.set_input_files("#pick-files", tmp_path / "新.txt")
    files.get_by_role("link", name="新.txt").wait_for()
    page.get_by_text("I have put files into your workspace").wait_for()
    page.set_input_files("#pick-files", tmp_path / "新.txt")
    page.get_by_role("alert").filter(has_text="already").wait_for()


def test_what_was_made_stands_with_the_answer_and_in_the_replay(visit: Visit, agent: Studio, run: Run) -> None:
    [asked] = agent.house.runs.waiting(run.id)
    agent.house.runs.answer(run.id, asked.call_id, "approve", reason="No.")
    agent.come_to(run.id, "ended")
    page = visit.page(f"/runs/{run.id}")
    end = page.locator("#end")
    end.get_by_role("img", name="Picture: chart.svg").wait_for()
    end.locator("tbody tr").nth(19).wait_for()
    assert end.locator("tbody tr").count() == 20
    end.get_by_text("Its beginning. Save the file to see all of it.").wait_for()
    page.get_by_role("button", name="Replay").click()
    page.get_by_text("step 1 of").wait_for()
    assert page.locator(".run-step img:visible").count() == 0
    page.locator("#replay").press("End")
    page.locator(".run-step img:visible").first.wait_for()
    assert page.locator("#files").get_by_text("Give it files").is_hidden()


def begun(visit: Visit, *files: dict[str, Any]) -> Any:
    """The form, filled in and sent with these files."""
    page = visit.page("/runs")
    page.fill("#goal", "Look at my files.")
    page.fill("#run-model", "painter/x")
    page.set_input_files("#run-files", list(files))
    page.get_by_role("button", name="Start").click()
    return page


def test_files_go_along_with_the_goal(visit: Visit, agent: Studio) -> None:
    page = begun(visit, {"name": "数 据.csv", "mimeType": "text/csv", "buffer": b"a\n1\n"})
    page.locator("h1", has_text="Look at my files.").wait_for()
    page.locator("#files").get_by_role("link", name="数 据.csv").wait_for()
    [run] = agent.house.runs.list(limit=1)
    said = [step.kind for step in agent.house.runs.steps(run.id)][:2]
    assert said == ["started", "steered"], "it has begun when its files were there"


def test_files_that_cannot_be_given_leave_no_run_at_work(visit: Visit, agent: Studio) -> None:
    twice = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"x"}
    page = begun(visit, twice, twice)
    page.locator("#run-form").get_by_role("alert").filter(has_text="could not be given").wait_for()
    [run] = agent.house.runs.list(limit=1)
    assert (run.status, run.reason) == ("ended", "cancelled")


@pytest.mark.parametrize(("theme", "locale", "size"), [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (375, 740))])
def test_the_page_holds_its_files_at_any_width(
    visit: Visit, run: Run, theme: str, locale: str, size: tuple[int, int]
) -> None:
    page = visit.page(f"/runs/{run.id}", theme=theme, locale=locale, size=size)
    page.locator(".artifact-table table").first.wait_for()
    assert overflow(page) == 0
    assert violations(page) == []
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/files-{theme}.png", full_page=True)
