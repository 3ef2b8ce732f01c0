"""The page of providers: out of the catalogue or by URL, tested with a button, removed."""

from collections.abc import Iterator

import pytest

from tests.openai_server import FakeProvider
from tests.studio.conftest import Studio, Visit

pytestmark = pytest.mark.browser
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def acme(studio: Studio) -> Iterator[FakeProvider]:
    with FakeProvider(key=KEY).serving() as provider:
        yield provider
    for one in studio.house.providers.list():
        studio.house.providers.remove(one.name)


def test_a_provider_is_added_by_url_tested_and_removed(visit: Visit, acme: FakeProvider) -> None:
    page = visit.page("/models")
    page.get_by_role("link", name="Providers").click()
    page.locator("h1", has_text="Providers").wait_for()
    page.fill("#provider-name", "acme")
    page.fill("#provider-url", acme.url)
    page.fill("#provider-key", KEY)
    page.press("#provider-key", "Enter")
    card = page.locator("li.base", has_text="acme")
    card.get_by_text("lists 2 models").wait_for()
    assert "key stored, encrypted" in card.inner_text()
    assert KEY not in page.content()
    assert page.input_value("#provider-key") == ""
    page.get_by_role("button", name="简体中文").click()
    card.get_by_text("列出 2 个模型").wait_for()
    page.get_by_role("button", name="English").click()
    page.get_by_role("button", name="Remove acme").click()
    page.locator("#remove-provider").get_by_role("button", name="Remove").click()
    page.get_by_text("No provider yet").wait_for()


def test_the_catalogue_is_searched_and_fills_the_form(visit: Visit) -> None:
    page = visit.page("/models/providers", locale="zh-CN", size=(390, 800))
    page.fill("#provider-search", "智谱")
    page.locator("[data-preset=glm]").wait_for()
    page.locator("[data-preset=openai]").wait_for(state="detached")
    page.locator("[data-preset=glm]").press("Enter")
    page.wait_for_function("document.querySelector('#provider-url').value.includes('bigmodel')")
    assert page.input_value("#provider-name") == "glm"
    page.get_by_text("在哪里创建密钥").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_wrong_key_is_said_and_another_one_helps(visit: Visit, studio: Studio, acme: FakeProvider) -> None:
    studio.house.providers.add("acme", base_url=acme.url, key="sk-wrong-0123456789")
    page = visit.page("/models/providers")
    page.get_by_role("button", name="Test acme").click()
    page.locator("li.base .notice.bad", has_text="refused the key").wait_for()
    page.get_by_role("button", name="Change the key of acme").click()
    page.fill("#new-key", KEY)
    page.press("#new-key", "Enter")
    page.locator("#provider-new-key").wait_for(state="hidden")
    page.get_by_role("button", name="Test acme").click()
    page.locator("li.base").get_by_text("lists 2 models").wait_for()
    page.locator("summary").click()
    page.get_by_role("link", name="tiny-chat").click()
    page.locator("h1", has_text="acme/tiny-chat").wait_for()
    page.get_by_role("button", name="Try", exact=True).click()
    page.locator("#tried", has_text="Paris").wait_for()


def test_a_member_sees_them_and_changes_none(chromium: object, studio: Studio, acme: FakeProvider) -> None:
    studio.house.providers.add("acme", base_url=acme.url, key=KEY)
    user = studio.house.identity.create_user("mira")
    visit = Visit(chromium, studio, studio.session(user))
    page = visit.page("/models/providers")
    page.locator("li.base", has_text="acme").wait_for()
    assert page.locator("#provider-name").count() == 0
    assert page.get_by_role("button", name="Remove acme").count() == 0
    visit.close()
    studio.house.identity.remove_user("mira")
