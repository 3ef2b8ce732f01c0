"""The page to ask, as a person uses it."""

from typing import Any

import pytest

from tests.studio.conftest import Visit, ask, wait_until

pytestmark = pytest.mark.browser

WARRANTY = "How long does the warranty of the Falcon X200 last?"


@pytest.mark.parametrize(
    ("locale", "question", "fact"),
    [("en-US", WARRANTY, "24 months"), ("zh-CN", "员工每年有多少天带薪年假？", "十五天带薪年假")],
)
def test_a_citation_opens_its_source_at_the_marked_passage(visit: Visit, locale: str, question: str, fact: str) -> None:
    page = visit.page("/?knowledge=handbook", locale=locale)
    turn = ask(page, question)
    assert fact in turn.locator(".prose").inner_text()
    turn.locator(".prose .chip").first.click()
    mark = page.locator("#panel mark")
    mark.wait_for()
    assert fact in mark.inner_text()
    assert mark.evaluate("e => e.getBoundingClientRect().bottom < innerHeight && e.getBoundingClientRect().top > 0")
    page.click("#panel a[href*='start=']")
    page.locator(".chunk mark").wait_for()
    assert fact in page.locator(".chunk mark").first.inner_text()


@pytest.mark.parametrize(
    ("locale", "question", "words"),
    [("en-US", WARRANTY, "24"), ("zh-CN", "员工每年有多少天带薪年假？", "十五")],
)
def test_the_words_that_answer_are_marked_in_the_answer_and_in_its_source(
    visit: Visit, locale: str, question: str, words: str
) -> None:
    page = visit.page("/?knowledge=handbook", locale=locale)
    turn = ask(page, question)
    assert words in turn.locator(".prose mark.exact").inner_text()
    turn.locator(".prose .chip").first.click()
    page.locator("#panel mark .exact").wait_for()
    assert words in page.locator("#panel mark .exact").inner_text()
    page.reload()
    assert words in page.locator(".turn .prose mark.exact").inner_text(), "a conversation keeps it"


def test_what_the_documents_do_not_hold_looks_different(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    turn = ask(page, "Who won the chess championship in 1987?")
    assert turn.locator(".answer.not-found").count() == 1
    assert turn.locator(".sources").count() == 0
    turn.locator("a[href*='/search?q=']").click()
    page.wait_for_url("**/knowledge/handbook/search?q=*")


def test_a_suggestion_of_the_sample_is_asked_by_a_click(visit: Visit) -> None:
    page = visit.page("/?knowledge=guide")
    page.locator(".suggestion").first.click()
    page.locator(".turn .answer-actions").wait_for()
    assert page.locator(".question").inner_text().endswith("How do I back up my data?")


def test_a_double_click_asks_once(visit: Visit) -> None:
    threads, owner = visit.studio.house.threads, visit.studio.house.identity.owner()
    page = visit.page("/?knowledge=guide")
    before = len(threads.list(owner.id, 1000))
    page.locator(".suggestion").first.evaluate("button => { button.click(); button.click(); }")
    page.locator(".turn .answer-actions").wait_for()
    assert page.locator(".turn").count() == 1
    assert len(threads.list(owner.id, 1000)) == before + 1


def test_enter_sends_and_shift_enter_does_not(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    page.focus("#question")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#question") == "one\ntwo"
    assert page.locator(".turn").count() == 0
    page.keyboard.press("Enter")
    page.locator(".turn").wait_for()
    assert page.input_value("#question") == ""


def test_enter_while_an_input_method_composes_does_not_send(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    page.focus("#question")
    browser = page.context.new_cdp_session(page)
    browser.send("Input.imeSetComposition", {"text": "nianjia", "selectionStart": 7, "selectionEnd": 7})
    composing = "e => e.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"
    page.eval_on_selector("#question", composing)
    # Safari ends the composition first; only the key code tells.
    late = "e => e.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', keyCode: 229, bubbles: true}))"
    page.eval_on_selector("#question", late)
    browser.send("Input.insertText", {"text": "年假"})
    assert page.input_value("#question") == "年假"
    assert page.locator(".turn").count() == 0
    page.keyboard.press("Enter")
    page.locator(".turn").wait_for()
    assert "年假" in page.locator(".question").inner_text()


def test_a_page_that_loads_anew_keeps_the_half_written_question(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    page.fill("#question", "half a question")
    page.reload()
    page.wait_for_function("document.querySelector('#question').value === 'half a question'")


def test_threads_are_kept_renamed_and_deleted(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    ask(page, WARRANTY)
    thread = page.url
    page.reload()
    assert "24 months" in page.locator(".prose").first.inner_text()

    here = page.locator(".thread.here")
    here.hover()
    here.locator("button").nth(0).click()
    page.fill("#thread-title", "About warranties")
    page.press("#thread-title", "Enter")
    page.locator(".thread.here a", has_text="About warranties").wait_for()

    page.click(".new-thread")
    page.locator(".start-title").wait_for()
    page.wait_for_url(visit.studio.address + "/")
    page.go_back()
    page.locator(".turn").wait_for()
    assert page.url == thread

    here.hover()
    here.locator("button").nth(1).click()
    page.click("#delete-thread button.danger")
    page.locator(".start-title").wait_for()
    page.locator(".thread", has_text="About warranties").wait_for(state="detached")


def test_an_answer_is_copied_and_made_anew(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    turn = ask(page, WARRANTY)
    turn.locator("[data-copy]").click()
    page.locator(".toast", has_text="Copied.").wait_for()
    assert "24 months" in page.evaluate("navigator.clipboard.readText()")

    threads, owner = visit.studio.house.threads, visit.studio.house.identity.owner()
    thread = page.url.rsplit("/", 1)[1]
    first = threads.messages(owner.id, thread)[1].created_at
    turn.locator(".answer-actions button", has_text="Answer again").click()
    wait_until(lambda: [m.created_at for m in threads.messages(owner.id, thread)][1:] not in ([], [first]))
    turn.locator(".answer.done .prose", has_text="24 months").wait_for()
    assert page.locator(".turn").count() == 1


def test_a_knowledge_base_that_is_gone_is_told_with_what_to_do(visit: Visit) -> None:
    house = visit.studio.house
    house.library.create("passing")
    thread = house.threads.create(house.identity.owner().id, "passing", "about what passes")
    house.library.remove("passing")
    page = visit.page(f"/threads/{thread.id}")
    ask(page, WARRANTY)
    said = page.locator(".turn [role=alert]").inner_text()
    assert "passing" in said
    assert "handbook" in said, "says which ones there are"


def test_hostile_text_is_shown_as_text(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook")
    turn = ask(page, "What is the price of the banana?")
    turn.locator("button.source").first.click()
    page.locator("#panel mark").wait_for()
    assert "<script>" in page.locator("#panel").inner_text()
    for path in ("/knowledge/handbook/search?q=banana", page.locator("#panel a").first.get_attribute("href")):
        page.goto(path)
        page.locator("mark").first.wait_for()
        assert "onerror" in page.locator("main").inner_text()
        assert page.locator("main img, main script").count() == 0
    assert "owned" not in page.title()


def test_the_source_opens_and_closes_by_keys_alone(visit: Visit) -> None:
    page = visit.page("/knowledge")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto("/?knowledge=handbook")
    page.wait_for_function("document.activeElement.id === 'question'")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.type(WARRANTY)
    page.keyboard.press("Enter")
    page.locator(".sources").wait_for()
    for _press in range(20):
        page.keyboard.press("Shift+Tab")
        if focused(page) == "[1]":
            break
    page.keyboard.press("Enter")
    page.locator("#panel mark").wait_for()
    page.wait_for_function("document.querySelector('#panel').contains(document.activeElement)")
    page.keyboard.press("Escape")
    page.locator("#panel").wait_for(state="hidden")
    page.wait_for_function("document.activeElement.innerText === '[1]'")


def test_on_a_narrow_screen_keys_reach_only_what_is_in_sight(visit: Visit) -> None:
    page = visit.page("/?knowledge=handbook", size=(360, 740))
    page.focus("[data-drawer]")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#sidebar').contains(document.activeElement)")
    assert reached(page, 20) == {"sidebar"}
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.matches('[data-drawer]')")
    turn = ask(page, WARRANTY)
    turn.locator(".prose .chip").first.click()
    page.wait_for_function("document.querySelector('#panel').contains(document.activeElement)")
    assert reached(page, 8) == {"panel"}
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.matches('.chip')")


def reached(page: Any, presses: int) -> set[str]:
    """Which parts of the page the Tab key goes to; the browser's own bar does not count."""
    parts: set[str] = set()
    for _press in range(presses):
        page.keyboard.press("Tab")
        parts.add(page.evaluate("document.activeElement.closest('#sidebar, #panel, .topbar, #main, body').id"))
    return parts - {""}


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.innerText")
