"""The pages of runs: a goal given, its steps as they come, what waits answered, steered, forked, played again."""

from collections.abc import Iterator
from typing import Any

import pytest

from dizuo.agents.policy import Policy, Rule
from dizuo.agents.runs import Run
from tests.api.upstream import Answer, call
from tests.openai_server import FakeProvider
from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations

pytestmark = pytest.mark.browser

PLAN = [{"text": "Find the price", "check": "A document names it"}]
SCRIPTS = {
    "banana": (
        [call("update_plan", items=PLAN)],
        [call("search_knowledge", query="price of the banana")],
        [call("ask_user", question="Coins <b>or</b> notes?")],
        "It costs **7** coins.",
    ),
    "sum": ([call("calculate", expression="20 + 1")], "That is it."),
    "endless": ([call("ask_user", question="Shall I?")], [call("ask_user", question="And now?")]),
    "long": (
        [call("write_file", path="long.txt", text="line\n" * 900)],
        "Written. <script>document.title='owned'</script>",
    ),
}
ASK = Policy(rules=[Rule(tool="calculate", decision="ask")])


def by_script(body: dict[str, Any]) -> Answer:
    """Knows a script by a word of the goal: the n-th reply when the model has answered n times in what it reads."""
    messages = body["messages"]
    goal = next(one["content"] for one in messages if one["role"] == "user")
    script = next(said for word, said in SCRIPTS.items() if word in str(goal))
    turn = sum(one["role"] == "assistant" for one in messages)
    said = script[min(turn, len(script) - 1)]
    return {"content": said} if isinstance(said, str) else {"tool_calls": said}


@pytest.fixture(scope="module")
def agent(studio: Studio) -> Iterator[Studio]:
    """A studio with a provider whose model follows a script."""
    with studio.scripted(by_script):
        yield studio


def started(studio: Studio, goal: str, until: str = "waiting", **more: Any) -> Run:
    """A run of the owner's that has come so far."""
    runs = studio.house.runs
    run = runs.start(goal, "acme/agent", user_id=studio.house.identity.owner().id, **more)
    studio.come_to(run.id, until)
    return run


def texts_of(studio: Studio, run_id: str) -> list[str]:
    return [step.result.text for step in studio.house.runs.steps(run_id) if step.kind == "tool"]


def test_the_usual_model_comes_with_the_page(visit: Visit, agent: Studio) -> None:
    """What came over the websocket after it would take the place of what somebody has typed."""
    with FakeProvider(key="k").serving() as server:
        agent.house.providers.add("listed", base_url=server.url, key="k")
        agent.house.providers.test("listed")
        usual = next(one.name for one in agent.house.gateway.list() if one.kind == "chat" and not one.problem)
        page = visit.page(None)
        page.route_web_socket("**/*", lambda _socket: None)  # never connected
        page.goto("/runs")
        page.locator("h1").first.wait_for()
        assert page.input_value("#run-model") == usual
        agent.house.providers.remove("listed")


def test_a_goal_is_given_and_its_question_answered_on_the_page(visit: Visit, agent: Studio) -> None:
    page = visit.page("/runs")
    page.fill("#goal", "What does the banana cost?")
    page.fill("#run-model", "acme/agent")
    page.select_option("#run-knowledge", "handbook")
    page.get_by_text("Tools and budgets").click()
    page.get_by_label("fetch_page").select_option("allow")
    page.fill("#run-steps", "0")
    page.get_by_role("button", name="Start").click()
    page.locator("#run-form [role=alert]", has_text="must be a number above zero").wait_for()
    page.fill("#run-steps", "20")
    page.get_by_role("button", name="Start").click()
    page.locator("h1", has_text="What does the banana cost?").wait_for()

    page.get_by_text("Coins <b>or</b> notes?").last.wait_for()
    begun = agent.house.runs.steps(page.url.rsplit("/", 1)[1])[0]
    assert begun.kind == "started"
    assert "fetch_page" in begun.tools
    assert "of 20" in page.locator(".run-counters").inner_text()
    assert page.locator("#plan").inner_text().count("Find the price") == 1
    found = page.locator(".run-step", has_text="search_knowledge").last
    assert "document.title='owned'" in found.locator(".of-others").inner_text(), "the text of others is marked, as text"
    page.locator(".nav-count", has_text="1").wait_for()
    page.get_by_label("Your answer").fill("In coins.")
    page.get_by_role("button", name="Answer", exact=True).click()
    page.locator("#end strong", has_text="7").wait_for()
    assert page.title().startswith("What does")
    assert page.locator("main img").count() == 0
    assert page.locator("#steer").is_hidden()


def test_an_approval_takes_other_arguments_and_says_what_is_wrong_with_them(visit: Visit, agent: Studio) -> None:
    run = started(agent, "Work out the sum.", policy=ASK)
    page = visit.page(f"/runs/{run.id}")
    page.get_by_role("button", name="Edit the arguments").click()
    editor = page.get_by_label("Arguments (JSON)")
    editor.fill('{"expresion": "1"}')
    page.get_by_role("button", name="Approve").click()
    page.locator(".approval [role=alert]", has_text="expresion").wait_for()
    assert editor.input_value() == '{"expresion": "1"}', "nothing typed is lost"
    editor.fill('{"expression": "40 + 2"}')
    page.get_by_role("button", name="Approve").press("Enter")
    page.locator("#end", has_text="That is it.").wait_for()
    assert "42" in texts_of(agent, run.id)[0]
    page.get_by_text("With other arguments:").wait_for()


def test_a_call_is_rejected_in_the_inbox_with_a_reason(visit: Visit, agent: Studio) -> None:
    run = started(agent, "Work out the sum.", policy=ASK)
    page = visit.page("/runs?status=waiting")
    card = page.locator(".inbox li", has=page.locator(f"a[href='/runs/{run.id}']"))
    card.get_by_label("Why not?").fill("Not today")
    other = started(agent, "An endless run")
    page.locator(".inbox a", has_text="An endless run").wait_for()  # the page has looked anew
    card.get_by_role("button", name="Reject").click()
    card.wait_for(state="detached")
    page.wait_for_function("document.activeElement.id === 'main'")  # from the top a keyboard would have a long way
    agent.come_to(run.id, "ended")
    assert texts_of(agent, run.id) == ["The user said no. Not today"]
    assert agent.house.runs.get(other.id).status == "waiting"


def test_a_run_is_steered_paused_planned_anew_forked_and_cancelled(visit: Visit, agent: Studio) -> None:
    run = started(agent, "An endless run")
    page = visit.page(f"/runs/{run.id}")
    page.fill("#steer", "Be quick.")
    page.get_by_role("button", name="Send").click()
    page.locator(".run-step", has_text="Be quick.").wait_for()
    page.wait_for_function("document.getElementById('steer').value === ''")
    page.fill("#steer", "Take your time.")
    page.evaluate("studio.sent('steer', 'Be quick.')")
    assert page.input_value("#steer") == "Take your time.", "what was typed since it was sent stays"
    page.get_by_role("button", name="Pause").click()
    page.locator(".run-facts .badge", has_text="rests").wait_for()

    page.get_by_role("button", name="Change the plan").click()
    page.get_by_label("What is to be done").fill("Ask less")
    page.get_by_label("How one sees that it is done").fill("No question")
    page.locator("#plan-form").get_by_role("button", name="Save").click()
    page.locator("#plan .plan-text", has_text="Ask less").wait_for()

    page.get_by_label("Your answer").fill("half an ans")
    agent.house.runs.steer(run.id, "From elsewhere.")
    page.locator(".run-step", has_text="From elsewhere.").wait_for()
    assert page.get_by_label("Your answer").input_value() == "half an ans", "nothing typed is lost"

    page.get_by_role("button", name="Cancel", exact=True).first.click()
    page.locator("#cancel-run[open]").wait_for()
    assert page.locator("#cancel-run").inner_text().count("the best answer so far") == 1
    page.locator("#cancel-run").get_by_role("button", name="Cancel the run").click()
    page.locator("#end", has_text="cancelled").wait_for()
    page.get_by_role("button", name="Fork from step 2").click()
    page.fill("#fork-text", "Otherwise.")
    page.locator("#fork-run").get_by_role("button", name="Fork").click()
    page.get_by_text("forked from another run").wait_for()
    page.locator(".run-step", has_text="Otherwise.").wait_for()
    fork = page.url.rsplit("/", 1)[1]
    assert agent.house.runs.get(fork).forked_from == run.id


def test_a_run_that_has_ended_is_played_again_by_keys(visit: Visit, agent: Studio) -> None:
    run = started(agent, "Write a long file", until="ended")
    page = visit.page(f"/runs/{run.id}")
    page.locator("#end", has_text="<script>").wait_for()
    steps = page.locator(".run-step:visible")
    last = steps.count()
    page.get_by_role("button", name="Show all 4,500 characters").click()
    page.get_by_role("button", name="Show the beginning only").wait_for()
    page.locator("#replay-open").press("Enter")
    page.locator(".replay", has_text=f"step 1 of {last}").wait_for()
    page.wait_for_function("document.activeElement.id === 'replay'")
    page.keyboard.press("ArrowRight")
    page.locator(".replay", has_text="step 2 of").wait_for()
    page.wait_for_function("document.querySelectorAll('.run-step:not([hidden])').length === 2")
    assert "1 of 50" in page.locator(".run-counters").inner_text()
    page.get_by_role("button", name="Play", exact=True).click()
    page.locator(".replay", has_text="step 3 of").wait_for()
    page.focus("#replay")
    page.keyboard.press("End")
    page.locator(".replay", has_text=f"step {last} of").wait_for()
    page.get_by_role("button", name="End the replay").click()
    page.wait_for_function("document.activeElement.id === 'replay-open'")
    assert steps.count() == last


@pytest.mark.parametrize(("theme", "locale", "size"), [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (390, 740))])
def test_runs_hinder_nobody(visit: Visit, agent: Studio, theme: str, locale: str, size: tuple[int, int]) -> None:
    waits = started(agent, "What does the banana cost?", knowledge="handbook")
    over = started(agent, "Write a long file", until="ended")
    page = visit.page("/runs", theme=theme, locale=locale, size=size)
    page.locator(".inbox .approval").first.wait_for()
    page.locator(".nav-count:not([hidden])").wait_for(state="attached")
    found = violations(page)
    assert overflow(page) <= 0
    for run in (waits, over):
        page.goto(f"/runs/{run.id}")
        page.locator(".run-step").first.wait_for()
        found += violations(page)
        assert overflow(page) <= 0
    page.locator("#replay-open").click()
    page.locator(".replay").wait_for()
    found += violations(page)
    page.goto(f"/runs/{waits.id}")
    page.locator("#plan .button").click()
    page.locator("#plan-form[open]").wait_for()
    found += violations(page)
    assert found == []
    assert overflow(page) <= 0


def test_another_users_run_is_not_found(chromium: Any, agent: Studio) -> None:
    run = started(agent, "An endless run")
    visit = Visit(chromium, agent, agent.session(agent.house.identity.create_user("runner")))
    page = visit.page(f"/runs/{run.id}")
    assert page.locator("h1").inner_text() == "Not found"
    page.goto("/runs")
    page.get_by_text("No runs yet").wait_for()
    assert page.locator(".nav-count:visible").count() == 0
    visit.close()
    assert visit.wrong == []
