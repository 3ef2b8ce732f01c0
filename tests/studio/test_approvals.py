"""What runs ask: until when it waits, the page of all questions, the webhook on the page of settings."""

import os
from collections.abc import Iterator

import pytest

from tests.agents.receiver import Receiver
from tests.studio.conftest import Studio, Visit, wait_until
from tests.studio.test_look import overflow, violations
from tests.studio.test_runs import ASK, by_script, started

pytestmark = pytest.mark.browser
SHOTS = os.environ.get("DIZUO_SHOTS", "")


@pytest.fixture(scope="module")
def agent(studio: Studio) -> Iterator[Studio]:
    with studio.scripted(by_script):
        yield studio


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as one:
        yield one


def shot(page: object, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)  # type: ignore[attr-defined]


def test_all_that_was_asked_is_on_one_page_with_what_became_of_it(agent: Studio, visit: Visit) -> None:
    house, owner = agent.house, agent.house.identity.owner()
    waits = started(agent, "An endless <b>question</b>")
    changed = started(agent, "Work out the sum", policy=ASK)
    # Not waited for: on a busy machine its question may be over before anybody has seen it wait.
    late = house.runs.start("An endless wait", "acme/agent", user_id=owner.id, answer_hours=0.5 / 3600)
    [asked] = house.runs.waiting(changed.id)
    house.runs.answer(changed.id, asked.call_id, "approve", arguments='{"expression": "40 + 2"}', user_id=owner.id)
    wait_until(lambda: house.approvals.list(run_id=late.id, states=["expired"]) != [])

    page = visit.page("/runs/approvals")
    row = page.locator("tr", has_text="An endless <b>question</b>")
    assert all(part in row.inner_text() for part in ("waits for you", "until ", "Shall I?"))
    row = page.locator("tr", has=page.locator(f"a[href*='{changed.id}']"))
    assert all(part in row.inner_text() for part in ("approved", "40 + 2", "With other arguments", owner.name))
    assert "not answered in time" in page.locator("tr", has_text="An endless wait").last.inner_text()
    assert violations(page) == []
    shot(page, "approvals-light")
    page.get_by_role("link", name="Not answered in time").click()
    page.wait_for_url("**/runs/approvals?state=expired")
    rows = page.locator("tbody tr").all_inner_texts()
    assert rows
    assert all("not answered in time" in one for one in rows)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    assert f'"{late.id}"' in download.value.path().read_text("utf-8")
    page.get_by_role("link", name="An endless wait").last.click()
    page.get_by_text("Not answered in time").first.wait_for()
    page.goto(f"{agent.address}/runs/{waits.id}")
    page.get_by_text("It waits until ").wait_for()

    zh = visit.page("/runs/approvals", locale="zh-CN", size=(375, 800), theme="dark")
    zh.get_by_role("heading", name="询问").wait_for()
    assert overflow(zh) <= 0
    assert violations(zh) == []
    shot(zh, "approvals-zh-375-dark")


def test_the_owner_sets_tries_and_removes_the_webhook(agent: Studio, visit: Visit, receiver: Receiver) -> None:
    page = visit.page("/settings")
    page.fill("#webhook-url", "http://example.com/hook")
    page.press("#webhook-url", "Enter")
    page.locator(".toast.bad", has_text="without encryption").wait_for()
    page.fill("#webhook-url", receiver.url)
    page.press("#webhook-url", "Enter")
    page.locator("dialog[open] #secret-text").wait_for()
    secret = page.locator("#secret-text").inner_text()
    assert secret.startswith("whsec_")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Send a test").click()
    page.locator(".toast", has_text="It was taken").wait_for()
    assert receiver.got[0].verified(secret)
    receiver.answers = [500] * 20  # what other runs ask is sent in between
    page.get_by_role("button", name="Send a test").click()
    page.locator(".toast.bad", has_text="status 500").wait_for()
    receiver.answers = []
    run = started(agent, "An endless one")
    wait_until(lambda: run.id in {one.said["data"].get("run_id") for one in receiver.got})
    wait_until(lambda: agent.house.webhook.deliveries("sent") != [])
    page.reload()
    line = page.locator("li", has_text=run.id)
    assert "sent" in line.inner_text()
    assert violations(page) == []
    shot(page, "webhook-light")
    zh = visit.page("/settings", locale="zh-CN", size=(375, 800), theme="dark")
    zh.get_by_text("发送测试").wait_for()
    assert overflow(zh) <= 0
    shot(zh, "webhook-zh-375-dark")
    page.get_by_role("button", name="Remove the webhook").click()
    page.click("#remove-webhook button.danger")
    page.get_by_text("None is set.").wait_for()
    assert agent.house.webhook.get() is None


def test_how_long_questions_wait_is_said_in_the_form_of_a_run(agent: Studio, visit: Visit) -> None:
    page = visit.page("/runs")
    page.fill("#goal", "An endless form")
    page.fill("#run-model", "acme/agent")
    page.get_by_text("Tools and budgets").click()
    assert page.get_attribute("#run-answer-hours", "placeholder") == "168"
    page.fill("#run-answer-hours", "36")
    shot(page, "answer-hours-form")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/runs/run_*")
    run_id = page.url.rsplit("/", 1)[1]
    agent.come_to(run_id, "waiting")
    page.get_by_text("It waits until ").wait_for()
    [one] = agent.house.approvals.list(run_id=run_id)
    assert one.expires_at is not None
    assert round((one.expires_at - one.asked_at).total_seconds() / 3600) == 36
