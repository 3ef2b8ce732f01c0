"""The page of routes: made, changed and removed by the form, and how the models do."""

from typing import Any

import pytest

from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def _provider(studio: Studio) -> None:
    studio.house.providers.add("one", base_url="http://127.0.0.1:9/v1")


def save(page: Any) -> None:
    page.locator("#route-form").get_by_role("button", name="Save").click()


def test_a_route_is_made_changed_and_removed(visit: Visit, studio: Studio) -> None:
    page = visit.page("/routes")
    page.get_by_role("button", name="New route").click()
    page.fill("#route-name", "fast")
    page.fill("#route-model-0", "one/a")
    page.fill("#route-weight-0", "3")
    page.get_by_role("button", name="Add a model").click()
    page.fill("#route-model-1", "one/b")
    page.locator("#route-form .target", has_text="75%").wait_for()
    page.fill("#route-fallbacks", "one/c")
    save(page)
    card = page.locator("li.base", has_text="fast")
    card.locator("text=75%").wait_for()
    assert "When none answers: one/c" in card.inner_text()
    found = violations(page)

    card.get_by_role("button", name="Change").click()
    assert page.input_value("#route-model-1") == "one/b"
    page.locator("#route-form .target").nth(0).get_by_role("button", name="Leave out").click()
    page.click("#route-form summary")
    page.fill("#route-total_s", "45")
    assert found + violations(page) == []
    save(page)
    card.locator("text=45 s for a whole call").wait_for()
    assert [target.model for target in studio.house.gateway.routes.get("fast").targets] == ["one/b"]

    card.get_by_role("button", name="Remove").click()
    page.locator("#remove-route").get_by_role("button", name="Remove").click()
    page.locator("text=No route yet").wait_for()


def test_what_is_wrong_is_said_in_the_form_in_both_languages(visit: Visit) -> None:
    page = visit.page("/routes", locale="zh-CN", theme="dark", size=(360, 740))
    page.get_by_role("button", name="新建路由").click()
    page.fill("#route-name", "a/b")
    page.fill("#route-model-0", "one/a")
    page.locator("#route-form").get_by_role("button", name="保存").click()
    page.locator("#route-form .notice.bad", has_text="不能用作路由的名称").wait_for()
    assert violations(page) == []
    assert overflow(page) <= 0


def test_a_model_that_failed_is_shown_with_its_error(visit: Visit) -> None:
    page = visit.page("/")
    error = page.evaluate(
        """async () => (await fetch('/v1/chat/completions', {method: 'POST', headers: {
          'Content-Type': 'application/json',
          'X-CSRF-Token': document.querySelector('meta[name="csrf-token"]').content},
          body: JSON.stringify({model: 'one/a', messages: [{role: 'user', content: '?'}]})})).status"""
    )
    assert error == 502
    visit.wrong.clear()  # the browser tells the 502 that was asked for
    page = visit.page("/routes")
    row = page.locator("tbody", has_text="one/a")
    row.locator("text=in order").wait_for()
    assert "cannot be reached" in row.inner_text()
    page.get_by_role("button", name="简体中文").click()
    row.locator("text=正常").wait_for()
    page.set_viewport_size({"width": 360, "height": 740})
    assert violations(page) == []
    assert overflow(page) <= 0
