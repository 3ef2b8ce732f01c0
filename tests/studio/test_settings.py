"""The page of settings: keys and people. Language and theme are in test_look.py."""

import pytest

from tests.studio.conftest import Visit

pytestmark = pytest.mark.browser


def test_a_key_is_shown_once_works_and_is_revoked(visit: Visit) -> None:
    page = visit.page("/settings")
    page.fill("#key-name", "laptop")
    page.press("#key-name", "Enter")
    page.locator("dialog[open] #secret-text").wait_for()
    secret = page.locator("#secret-text").inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-copy='#secret-text']")
    page.locator(".toast", has_text="Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    assert visit.studio.house.identity.user_of_key(secret) is not None
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.id === 'key-name'")
    page.reload()
    assert secret not in page.content()
    page.locator(".line", has_text="laptop").get_by_role("button").click()
    page.click("#revoke-key button.danger")
    page.locator(".line", has_text="laptop").wait_for(state="detached")
    assert visit.studio.house.identity.user_of_key(secret) is None


def test_a_person_is_invited_by_a_link(visit: Visit) -> None:
    page = visit.page("/settings")
    page.fill("#user-name", "韩梅梅")
    page.press("#user-name", "Enter")
    page.locator("dialog[open] #secret-text").wait_for()
    link = page.locator("#secret-text").inner_text()
    assert link.startswith(visit.studio.address + "/login?token=")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove 韩梅梅").click()
    page.click("#remove-user button.danger")
    page.locator(".toast", has_text="has been removed").wait_for()
    assert "韩梅梅" not in [user.name for user in visit.studio.house.identity.users()]
