"""The pages for models: the list, one model, a try of it."""

from typing import Any

import pytest

from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import violations
from tests.tiny_models import save_llama

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def _talker(studio: Studio) -> None:
    folder = save_llama(studio.house.settings.home / "models/talker")
    hostile = (
        "# A talker\n\nIt has **no** sense. <img src=x onerror=\"document.title='owned'\"> [a](javascript:alert(1))\n"
    )
    (folder / "README.md").write_text(hostile, "utf-8")
    (folder.parent / "broken").mkdir()


def test_models_are_listed_with_what_they_are_and_what_is_wrong(visit: Visit) -> None:
    page = visit.page("/models")
    card = page.locator("li.base", has_text="local/talker")
    assert "K parameters" in card.inner_text()
    assert "often wrong" in card.inner_text()
    assert "no config.json" in page.locator("li.base", has_text="local/broken").inner_text()
    page.get_by_role("button", name="简体中文").click()
    page.locator("h1", has_text="模型").wait_for()
    assert "经常出错" in card.inner_text()


def test_a_model_is_tried_and_its_card_is_only_text(visit: Visit) -> None:
    page = visit.page("/models")
    page.click("text=local/talker")
    page.locator("h1", has_text="local/talker").wait_for()
    page.fill("#try-text", "你好")
    page.get_by_role("button", name="Try", exact=True).click()
    page.wait_for_function("document.querySelector('#tried').innerText.trim().length > 0")
    page.get_by_role("button", name="Stop").wait_for(state="hidden")
    assert page.locator("section", has_text="Model card").locator("img, a").count() == 0
    assert "onerror" in page.locator("section", has_text="Model card").inner_text()
    assert page.title() != "owned"
    assert "bits_per_byte" in page.locator("table").inner_text()


def test_a_vector_model_is_tried_too_and_a_missing_one_is_said(visit: Visit) -> None:
    page = visit.page("/models/local/minilm")
    page.get_by_role("button", name="Try", exact=True).click()
    page.locator("#tried", has_text="Employees have 25 days").wait_for()
    page = visit.page("/models/local/nothing")
    assert "No model is named" in page.locator("main").inner_text()
    assert page.locator("text=local/talker").count()


def fetch(page: Any, name: str) -> Any:
    """Asks for a model of the hub, as a person does; the card of the work."""
    page.get_by_text("Add open weights").click()
    page.fill("#hub-name", name)
    page.press("#hub-name", "Enter")
    return page.locator(".job", has_text=name)


def test_a_model_of_the_hub_is_cancelled_on_its_way_and_fetched(visit: Visit, studio: Studio) -> None:
    save_llama(studio.hub.folder)
    page = visit.page("/models")
    studio.hub.slow_s = 0.1
    job = fetch(page, "hf/acme/tiny")
    job.locator("text=model.safetensors").wait_for()
    assert job.get_by_role("progressbar").is_visible()
    page.get_by_role("button", name="Cancel fetching hf/acme/tiny").click()
    job.get_by_text("Cancelled", exact=True).wait_for()
    assert page.locator("li.base", has_text="hf/acme/tiny").count() == 0
    studio.hub.slow_s = 0
    page.fill("#hub-name", "hf/acme/tiny")
    page.press("#hub-name", "Enter")
    job.get_by_text("Done", exact=True).wait_for()
    page.locator("li.base", has_text="hf/acme/tiny").wait_for()
    assert violations(page) == []
    studio.house.models.remove("hf/acme/tiny")


def test_a_model_that_the_hub_has_not_is_said_and_a_member_fetches_none(
    visit: Visit, chromium: object, studio: Studio
) -> None:
    page = visit.page("/models")
    fetch(page, "nonsense")
    page.locator(".toast.bad", has_text="names no model of the hub").wait_for()
    page.fill("#hub-name", "hf/acme/none")
    page.press("#hub-name", "Enter")
    job = page.locator(".job", has_text="hf/acme/none")
    job.locator("text=has no model hf/acme/none").wait_for()
    page.get_by_role("button", name="简体中文").click()
    job.locator("text=失败").wait_for()
    user = studio.house.identity.create_user("mira")
    member = Visit(chromium, studio, studio.session(user))
    assert member.page("/models").locator("#hub-name, .job").count() == 0
    member.close()
    studio.house.identity.remove_user("mira")


def test_a_model_is_removed_after_a_question(visit: Visit, studio: Studio) -> None:
    folder = save_llama(studio.house.settings.home / "models/gone")
    page = visit.page("/models/local/gone")
    page.get_by_role("button", name="Remove").click()
    page.locator("#remove-model").get_by_role("button", name="Remove").click()
    page.wait_for_url("**/models")
    assert page.locator("text=local/gone").count() == 0
    assert not folder.exists()
