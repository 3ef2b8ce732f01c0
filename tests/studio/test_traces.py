"""The pages of traces: the list, its filters, one trace as bars and as a table."""

import json
from typing import Any

import pytest

from dizuo.core import traces as core
from dizuo.core.errors import ModelDown
from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module", autouse=True)
def made(studio: Studio) -> dict[str, str]:
    """A trace that went well and one that failed, and their ids."""
    traces, user_id = studio.house.traces, studio.house.identity.owner().id
    traced = traces.traced("POST /v1/chat/completions", "api", user_id=user_id)
    with traced as good, core.model_span("chat", "deepseek/chat") as chat:
        chat.attributes["gen_ai.input.messages"] = json.dumps([{"role": "user", "parts": [{"content": HOSTILE}]}])
        chat.attributes |= {"gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 34}
        with core.span("cache", **{"dizuo.cache": "miss"}):
            pass
        with core.span("route", **{"dizuo.route": HOSTILE}), core.span("attempt"):
            pass
    with pytest.raises(ModelDown), traces.traced("ask", "studio", user_id=user_id) as bad, core.span("chat"):
        raise ModelDown("Gone.")
    traces.list()  # written
    return {"good": good.id, "bad": bad.id}


def rows(page: Any) -> list[str]:
    page.locator("tbody tr").first.wait_for()
    return page.locator("tbody tr").all_inner_texts()


def test_traces_are_listed_and_filtered(visit: Visit) -> None:
    page = visit.page("/traces")
    assert any("deepseek/chat" in row and "1,234" in row for row in rows(page))
    page.select_option("#trace-status", "failed")
    page.wait_for_function("document.querySelector('tbody')?.innerText.includes('deepseek') === false")
    assert any("model_down" in row for row in rows(page))
    assert all("failed" in row for row in rows(page))
    page.reload()
    assert page.input_value("#trace-status") == "failed", "the address keeps what was chosen"
    page.select_option("#trace-status", "")
    page.wait_for_function("document.querySelector('tbody')?.innerText.includes('deepseek')")
    page.fill("#trace-model", "no such model")
    page.press("#trace-model", "Tab")
    page.locator(".empty").wait_for()
    assert page.input_value("#trace-model") == "no such model"


def test_a_trace_opens_by_the_keyboard_and_is_only_text(visit: Visit, made: dict[str, str]) -> None:
    page = visit.page("/traces")
    page.locator(f"a[href='/traces/{made['good']}']").click()
    page.locator(".waterfall").wait_for()
    steps = page.locator(".step > summary")
    assert [text.split()[0] for text in steps.all_inner_texts()] == ["POST", "chat", "cache", "route", "attempt"]
    steps.nth(1).click()
    assert f"user: {HOSTILE}" in page.locator(".step[open] dl").inner_text()
    steps.nth(1).click()
    steps.nth(3).focus()
    page.keyboard.press("Enter")
    assert HOSTILE in page.locator(".step[open] dl").inner_text()
    assert page.locator("main img").count() == 0
    page.locator(".trace-table > summary").click()
    assert page.locator(".trace-table tbody tr").count() == 5
    left, width = (page.locator(".step-bar").nth(0).evaluate(f"one => one.style.{side}") for side in ("left", "width"))
    assert (left, width) == ("0%", "100%")


@pytest.mark.parametrize(("theme", "locale", "size"), [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (360, 740))])
def test_the_pages_hinder_nobody(
    visit: Visit, made: dict[str, str], theme: str, locale: str, size: tuple[int, int]
) -> None:
    page = visit.page("/traces", locale=locale, theme=theme, size=size)
    found = violations(page)
    assert overflow(page) <= 0
    for id in made.values():
        page.goto(f"/traces/{id}")
        page.locator(".waterfall").wait_for()
        page.locator(".step > summary").nth(1).click()
        page.locator(".trace-table > summary").click()
        found += violations(page)
        assert overflow(page) <= 0
    assert found == []
    assert ("追踪" in page.locator(".crumb").inner_text()) == (locale == "zh-CN")


def test_steps_are_named_in_the_readers_language(visit: Visit, made: dict[str, str]) -> None:
    page = visit.page(f"/traces/{made['good']}", locale="zh-CN")
    names = page.locator(".step-name > span:first-child")
    assert names.all_inner_texts() == ["POST /v1/chat/completions", "对话", "缓存", "路由", "尝试"]
    assert names.nth(2).get_attribute("title") == "cache", "as it is exported"
    page.locator(".trace-table > summary").click()
    assert page.locator(".trace-table tbody th").nth(4).inner_text() == "尝试"
    page.get_by_role("button", name="English").click()
    page.locator(".step-name", has_text="attempt").wait_for()
    page.wait_for_function("document.cookie.includes('language=en')")  # it is kept a moment after it is seen
    page.goto("/traces")
    page.get_by_role("link", name="ask", exact=True).first.wait_for()


def test_a_trace_that_is_not_there_is_said(visit: Visit) -> None:
    page = visit.page("/traces/00000000")
    assert "00000000" in page.locator("main").inner_text()
