"""Apps in the studio: chosen for a new run, shown on it; what a called app asks is found from the run above."""

from collections.abc import Iterator

import pytest

from dizuo.agents.policy import Policy, Rule
from tests.api.upstream import call
from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations
from tests.studio.test_runs import SCRIPTS, by_script

pytestmark = pytest.mark.browser

CLERK = """\
name: clerk
title: {en: Clerk <b>, zh: 文员}
description: {en: Adds numbers and files letters., zh: 做加法，归档信件。}
instructions: You are the clerk.
model: acme/clerk
tools: [fetch_page]
budget: {steps: 21}
examples:
- {en: "What is the sum of 20 and 1?", zh: 20 加 1 等于多少？}
- {en: File the sum., zh: 归档。}
"""


@pytest.fixture(scope="module")
def desk(studio: Studio) -> Iterator[Studio]:
    folder = studio.house.settings.home / "apps"
    folder.mkdir(exist_ok=True)
    (folder / "clerk.yaml").write_text(CLERK, "utf-8")
    (folder / "broken.yaml").write_text("colour: red\n", "utf-8")
    SCRIPTS["delegate"] = ([call("ask_clerk", task="Work out the sum.")], "The clerk has done it.")
    with studio.scripted(by_script):
        yield studio
    del SCRIPTS["delegate"]
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize(("theme", "locale", "size"), [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (375, 740))])
def test_an_app_is_chosen_begun_with_one_of_its_goals_and_shown(
    visit: Visit, desk: Studio, theme: str, locale: str, size: tuple[int, int]
) -> None:
    page = visit.page("/runs", theme=theme, locale=locale, size=size)
    chinese = locale == "zh-CN"
    page.select_option("#run-app", "clerk")
    page.get_by_text("做加法，归档信件。" if chinese else "Adds numbers and files letters.").wait_for()
    assert page.locator("#run-app option", has_text="文员" if chinese else "Clerk <b>").count() == 1
    page.locator("#run-form", has_text="colour").wait_for()
    assert page.input_value("#run-model") == "acme/clerk"
    assert page.get_attribute("#run-steps", "placeholder") == "21"
    page.get_by_role("button", name="20 加 1" if chinese else "What is the sum").click()
    page.wait_for_function("document.getElementById('goal').value.length > 5")
    assert violations(page) == []
    assert overflow(page) == 0
    page.fill("#goal", "Work out the sum.")
    page.locator("#run-form button[type=submit]").click()
    page.locator(".run-facts", has_text="app/clerk").wait_for()
    page.locator("#end", has_text="That is it.").wait_for()
    run_id = page.url.rsplit("/", 1)[1]
    begun = desk.house.runs.steps(run_id)[0]
    assert begun.kind == "started"
    assert begun.budget.steps == 21
    assert "fetch_page" in begun.tools
    assert desk.house.runs.get(run_id).app == "clerk"
    page.goto(f"{desk.address}/runs")
    page.locator(".runs-table", has_text="app/clerk · acme/clerk").wait_for()


def test_an_app_that_wants_a_knowledge_base_says_so(visit: Visit, desk: Studio) -> None:
    page = visit.page("/runs")
    page.select_option("#run-app", "researcher")
    page.get_by_text("It works on a knowledge base: choose one below.").wait_for()
    page.fill("#goal", "Work out the sum.")
    page.fill("#run-model", "acme/agent")
    page.get_by_role("button", name="Start").click()
    page.locator("#run-form [role=alert]", has_text="works on a knowledge base").wait_for()
    page.select_option("#run-app", "")
    page.locator("#run-app-about").wait_for(state="hidden")


def test_what_a_called_app_asks_is_found_from_the_run_above_and_its_answer_comes_back(
    visit: Visit, desk: Studio
) -> None:
    runs = desk.house.runs
    ask = Policy(rules=[Rule(tool="calculate", decision="ask")])
    owner = desk.house.identity.owner().id
    run = runs.start("Please delegate it.", "acme/agent", user_id=owner, tools=["app/clerk"], policy=ask)
    desk.come_to(run.id, "waiting")
    page = visit.page(f"/runs/{run.id}")
    page.locator(".run-step", has_text="Another app is at work on it").wait_for()
    page.get_by_text("It waits for you: to the question").click()
    page.locator("h1", has_text="Work out the sum.").wait_for()
    assert run.id not in page.url
    page.get_by_text("called by another run").wait_for()
    page.get_by_role("button", name="Approve").click()
    page.locator("#end", has_text="That is it.").wait_for()
    page.get_by_text("called by another run").click()
    page.locator("#end", has_text="The clerk has done it.").wait_for()
    page.locator(".run-step", has_text="It used").get_by_text("See its run").wait_for()
    assert violations(page) == []
