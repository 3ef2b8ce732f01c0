"""The page of settings: keys and people. Language and theme are in test_look.py."""

from typing import Any

import pytest

from tests.studio.conftest import Visit
from tests.studio.test_look import violations

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
    page.get_by_role("button", name="Revoke laptop").click()
    page.click("#revoke-key button.danger")
    page.locator(".line", has_text="laptop").wait_for(state="detached")
    assert visit.studio.house.identity.user_of_key(secret) is None


def secret_of(page: Any) -> str:
    page.locator("dialog[open] #secret-text").wait_for()
    secret = page.locator("#secret-text").inner_text()
    page.keyboard.press("Escape")
    return secret


def test_a_key_may_less_ends_and_gets_a_new_secret_while_the_old_one_works_on(visit: Visit) -> None:
    page, identity = visit.page("/settings"), visit.studio.house.identity
    page.fill("#key-name", "batch")
    page.get_by_text("What it may, and until when").click()
    page.select_option("#key-scopes", "models")
    page.fill("#key-models", "local/*\nopenai/gpt-5")
    page.fill("#key-end", "2099-12-31")
    page.press("#key-end", "Enter")
    secret = secret_of(page)
    line = page.locator(".line", has_text="batch")
    assert all(part in line.inner_text() for part in ("asks models", "local/*", "openai/gpt-5", "2100"))
    keys = identity.keys()
    key = next(one for one in keys if one.name == "batch")
    assert (key.scopes, key.models) == (("models",), ("local/*", "openai/gpt-5"))
    assert page.input_value("#key-models") == ""

    page.get_by_role("button", name="New secret batch").click()
    page.select_option("#rotate-grace", "24")
    page.press("#rotate-grace", "Enter")
    page.locator("#rotate-key button[type=submit]").click()
    new = secret_of(page)
    line.get_by_text("the old secret works until").wait_for()
    assert new != secret
    assert [identity.key_holder(one).key.id for one in (secret, new)] == [key.id, key.id]  # type: ignore[union-attr]
    assert violations(page) == []
    identity.revoke_key(key.id)


def test_a_key_that_would_have_ended_already_is_refused(visit: Visit) -> None:
    page = visit.page("/settings", locale="zh-CN", size=(390, 800))
    page.fill("#key-name", "late")
    page.get_by_text("权限与期限").click()
    page.fill("#key-end", "2001-01-01")
    page.press("#key-end", "Enter")
    page.locator(".toast.bad", has_text="密钥").wait_for()
    keys = visit.studio.house.identity.keys()
    assert "late" not in [one.name for one in keys]


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
