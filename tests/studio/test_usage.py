"""The pages of usage and prices."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dizuo.core import traces
from dizuo.core.messages import Usage
from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def spent(studio: Studio) -> Iterator[None]:
    """Calls of three models, one of them with a name that would like to be more, and a budget that is nearly spent."""
    house = studio.house
    house.prices.set("acme/*", 1, 1)
    token = traces.current.set(traces.Trace("x", user_id=house.identity.owner().id, app="手册"))
    for model in ("acme/one", "acme/two", HOSTILE):
        with house.ledger.recorded("chat", model) as call:
            call.usage = Usage(prompt_tokens=400_000, completion_tokens=50_000, cpu_s=12)
    traces.current.reset(token)
    house.limits.set("all", budget=1e6, period="total")
    house.limits.set("all", budget=house.limits.list()[0].spent * 1.1)
    yield
    house.limits.remove("all")
    house.prices.remove("acme/*")


@pytest.mark.parametrize(("theme", "locale", "size"), [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (360, 740))])
def test_usage_is_drawn_and_hinders_nobody(
    visit: Visit, spent: None, theme: str, locale: str, size: tuple[int, int]
) -> None:
    page = visit.page("/usage?days=7", theme=theme, locale=locale, size=size)
    page.locator(".curve svg path[fill^='var(--curve-']").first.wait_for(state="attached")
    assert violations(page) == []
    assert overflow(page) <= 0
    assert page.locator(".notice.warn").count() == 1
    assert "acme/one" in page.locator(".usage-table").inner_text()
    axes = page.locator(".curve svg").text_content()
    assert ("费用 (USD)" in axes and "日期" in axes) if locale == "zh-CN" else ("Cost (USD)" in axes and "Day" in axes)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "acme/one" in Path(download.value.path()).read_text("utf-8-sig")
    page.locator(".usage-filters a[href*='show=cpu']").click()
    page.wait_for_url("**show=cpu**")
    page.locator(".curve svg path[fill^='var(--curve-']").first.wait_for(state="attached")
    assert HOSTILE in page.locator(".usage-table").inner_text()
    assert "owned" not in page.title()


def test_a_limit_is_set_and_a_price_too(visit: Visit, spent: None) -> None:
    page = visit.page("/usage")
    page.get_by_role("button", name="Set a limit").click()
    page.select_option("[name=subject]", "app")
    page.fill("[name=subject_id]", "手册")
    page.fill("[name=concurrency]", "0.5")
    page.click("#limit button[type=submit]")
    page.locator("#limit [role=alert]:not([hidden])").wait_for()
    page.fill("[name=concurrency]", "4")
    page.click("#limit button[type=submit]")
    page.locator(".usage-budgets", has_text="手册").wait_for()
    page.locator(".usage-budgets li", has_text="手册").get_by_role("button").click()
    page.locator("#limit[open]").wait_for()
    assert page.input_value("[name=concurrency]") == "4"
    page.fill("[name=concurrency]", "")
    page.fill("[name=tokens_per_minute]", "900")
    page.click("#limit button[type=submit]")
    page.locator(".usage-budgets", has_text="900 tokens a minute").wait_for()
    assert next(one for one in visit.studio.house.limits.list() if one.limit.subject == "app").limit.concurrency is None
    visit.studio.house.limits.remove("app", "手册")
    page.goto("/usage/prices")
    page.fill("[name=model]", "acme/three")
    page.fill("[name=input]", "2.5")
    page.press("[name=input]", "Enter")
    page.get_by_role("button", name="Remove acme/three").click()
    page.click("#remove-price button.danger")
    page.locator(".toast", has_text="Removed the price").wait_for()
    assert violations(page) == []
