"""Language, theme, width, and what an automated check of accessibility says of every page."""

from typing import Any

import pytest

from tests.studio.conftest import Visit, ask

pytestmark = pytest.mark.browser


def document_path(visit: Visit) -> str:
    document = visit.studio.house.library.documents("handbook")[0]
    return f"/knowledge/handbook/documents/{document.id}?start=0&end=9"


def pages(visit: Visit) -> list[str]:
    """All but routes, traces and usage, which their own tests look at, with something on them."""
    base = "/knowledge/handbook"
    return [
        "/?knowledge=guide",
        "/knowledge",
        base,
        f"{base}/search?q=warranty",
        document_path(visit),
        "/models",
        "/models/providers",
        "/models/local/minilm",
        "/training",
        "/usage/prices",
        "/usage/cache",
        "/settings",
        "/no",
    ]


def overflow(page: Any) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{page.url} {one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize(("theme", "locale", "size"), [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (360, 740))])
def test_no_page_hinders_anybody(visit: Visit, theme: str, locale: str, size: tuple[int, int]) -> None:
    page = visit.page(None, locale=locale, theme=theme, size=size)
    found: list[str] = []
    for path in pages(visit):
        page.goto(path)
        page.locator("h1").first.wait_for(state="attached")
        found += violations(page)
        if overflow(page) > 0:
            found.append(f"{path} is wider than the screen")
    assert found == []


@pytest.mark.parametrize(("theme", "size"), [("dark", (1280, 800)), ("light", (360, 740))])
def test_an_answer_with_its_source_hinders_nobody(visit: Visit, theme: str, size: tuple[int, int]) -> None:
    page = visit.page("/?knowledge=handbook", theme=theme, size=size)
    turn = ask(page, "How long does the warranty of the Falcon X200 last?")
    ask(page, "Who won the chess championship in 1987?")
    found = violations(page)
    turn.locator(".prose .chip").first.click()
    page.locator("#panel mark").wait_for()
    found += violations(page)
    assert found == []
    assert overflow(page) <= 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/login", "/login?token=x"])
def test_the_way_in_hinders_nobody(stranger: Visit, theme: str, path: str) -> None:
    page = stranger.page(path, theme=theme, size=(360, 640))
    assert violations(page) == []
    assert overflow(page) <= 0


def test_the_language_changes_at_once_and_stays(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    turn = ask(page, "How long does the warranty of the Falcon X200 last?")
    page.fill("#question", "half a question")
    page.click(".foot button[lang='zh-CN']")
    turn.locator("button", has_text="复制").wait_for()
    assert page.input_value("#question") == "half a question", "nothing typed is lost"
    page.wait_for_function("document.documentElement.lang === 'zh-CN'")
    assert "24 months" in turn.locator(".prose").inner_text()
    page.goto("/settings")
    assert page.locator("h1").inner_text() == "设置"


def test_the_browser_says_which_language_comes_first(visit: Visit) -> None:
    assert visit.page("/knowledge", locale="zh-CN").locator("h1").inner_text() == "知识库"
    assert visit.page("/knowledge", locale="fr-FR").locator("h1").inner_text() == "Knowledge"


def test_the_theme_changes_at_once_and_stays(visit: Visit) -> None:
    page = visit.page("/settings")

    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.click("button:has-text('Light')")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    light = background()
    page.click("button:has-text('Dark')")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    dark = background()
    assert dark != light
    page.goto("/knowledge")
    page.locator("h1").wait_for()
    assert background() == dark


def test_the_menu_of_a_narrow_screen_opens_and_closes_by_keys(visit: Visit) -> None:
    page = visit.page("/knowledge", size=(360, 740))
    assert not page.locator("#sidebar").is_visible()
    page.focus("[data-drawer]")
    page.keyboard.press("Enter")
    page.locator("#sidebar").wait_for()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator("#sidebar").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.hasAttribute('data-drawer')")
