"""The page of memory: what is remembered of one, found, changed, taken along and forgotten; nobody else's."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dizuo.agents.memory import Memories
from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def memories(studio: Studio) -> Iterator[Memories]:
    yield studio.house.memories
    for user in studio.house.identity.users():
        studio.house.memories.forget_all(user.id)


@pytest.fixture
def owner(studio: Studio) -> int:
    return studio.house.identity.owner().id


@pytest.fixture
def kept(memories: Memories, owner: int) -> Memories:
    """Two facts, of which a run has kept one, and how a run went."""
    memories.remember(owner, "She lives in Lisbon.", about="home")
    memories.remember(owner, f"Bananas cost 7 coins. {HOSTILE}", about="bananas", source="run_0abc", confidence=0.8)
    memories.remember(owner, "Translate the manual\n→ done: 已译成中文。", kind="episode", source="run_0abc")
    return memories


def test_a_fact_is_told_and_a_new_one_takes_its_place(visit: Visit, memories: Memories, owner: int) -> None:
    page = visit.page("/runs")
    page.get_by_role("link", name="Memories").click()
    page.get_by_text("Nothing is remembered yet").wait_for()
    assert page.get_by_role("button", name="Forget all").count() == 0
    page.get_by_text("Tell it something to remember").click()
    page.fill("#memory-about", "home")
    page.fill("#memory-text", "   ")
    page.press("#memory-about", "Enter")
    page.locator("#memory-form [role=alert]").wait_for()
    page.fill("#memory-text", "I live in Lisbon.")
    page.press("#memory-about", "Enter")
    page.locator("[data-memory]", has_text="I live in Lisbon.").wait_for()
    assert "told by you" in page.locator("[data-memory]").inner_text()
    assert page.input_value("#memory-text") == ""
    page.fill("#memory-about", "Home")
    page.fill("#memory-text", "I live in Porto.")
    page.press("#memory-about", "Enter")
    page.locator("[data-memory]", has_text="Porto").wait_for()
    assert [one.text for one in memories.list(owner)] == ["I live in Porto."]


def test_the_page_is_sent_whole(visit: Visit, kept: Memories) -> None:
    """What comes over the websocket after it would take the place of what somebody has begun to use."""
    sent = visit.page().request.get("/memory").text()
    assert sent.count("data-memory") == 3


def test_what_is_remembered_is_found_with_its_source_and_is_only_text(visit: Visit, kept: Memories) -> None:
    page = visit.page("/memory")
    assert page.locator("[data-memory]").count() == 3
    assert "how a run went" in page.locator("[data-memory]").first.inner_text(), "the latest is first"
    page.fill("#memory-query", "What do bananas cost?")
    page.press("#memory-query", "Enter")
    page.get_by_text("found, the best first").wait_for()
    first = page.locator("[data-memory]").first
    assert HOSTILE in first.inner_text()
    assert "80% sure" in first.inner_text()
    assert first.get_by_role("link", name="from a run").get_attribute("href") == "/runs/run_0abc"
    assert page.locator("main img").count() == 0
    page.reload()
    page.get_by_text("found, the best first").wait_for()
    assert page.input_value("#memory-query") == "What do bananas cost?"
    page.fill("#memory-query", "chess")
    page.press("#memory-query", "Enter")
    page.get_by_text("Nothing is remembered of that").wait_for()
    page.fill("#memory-query", "")
    page.press("#memory-query", "Enter")
    page.get_by_text("3 remembered, the latest first").wait_for()


def test_a_memory_is_changed_where_it_stands(visit: Visit, kept: Memories, owner: int) -> None:
    page = visit.page("/memory", locale="zh-CN")
    row = page.locator("[data-memory]", has=page.locator(".strong", has_text="bananas"))
    row.get_by_role("button", name="编辑 bananas").press("Enter")
    area = page.get_by_label("bananas", exact=True)
    page.wait_for_function("document.activeElement.tagName === 'TEXTAREA'")
    area.fill("  ")
    page.get_by_role("button", name="保存").click()
    page.locator("[data-memory] [role=alert]:visible").wait_for()
    area.fill("香蕉卖八枚硬币。")
    page.get_by_role("button", name="保存").press("Enter")
    page.get_by_text("香蕉卖八枚硬币。").wait_for()
    assert "由您告知" in page.locator("[data-memory]", has_text="香蕉卖").inner_text()
    page.wait_for_function("document.activeElement.tagName === 'BUTTON'")
    found = next(one for one in kept.list(owner) if one.about == "bananas")
    assert (found.text, found.confidence, found.source) == ("香蕉卖八枚硬币。", 1.0, "")
    page.get_by_role("button", name="编辑 home").click()
    page.get_by_role("button", name="取消").click()
    page.get_by_text("She lives in Lisbon.").wait_for()


def test_one_is_forgotten_then_all_after_a_question(visit: Visit, kept: Memories, owner: int) -> None:
    page = visit.page("/memory")
    page.get_by_role("button", name="Forget home").click()
    page.locator("#forget-memory", has_text="She lives in Lisbon.").wait_for()
    page.locator("#forget-memory").get_by_role("button", name="Cancel").click()
    assert len(kept.list(owner)) == 3
    page.get_by_role("button", name="Forget home").click()
    page.locator("#forget-memory").get_by_role("button", name="Forget").click()
    page.get_by_text("2 remembered").wait_for()
    assert "home" not in [one.about for one in kept.list(owner)]
    page.get_by_role("button", name="Forget all").click()
    page.locator("#forget-all").get_by_role("button", name="Forget all").click()
    page.get_by_text("Nothing is remembered yet").wait_for()
    assert not kept.list(owner)


def test_the_export_holds_all_of_it(visit: Visit, kept: Memories) -> None:
    page = visit.page("/memory")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    assert download.value.suggested_filename == "dizuo-memories.json"
    exported = json.loads(Path(download.value.path()).read_text("utf-8"))["memories"]
    assert {one["about"] for one in exported} == {"home", "bananas", ""}
    assert "已译成中文" in json.dumps(exported, ensure_ascii=False)


def test_nobody_sees_what_is_remembered_of_another(chromium: object, studio: Studio, kept: Memories) -> None:
    user = studio.house.identity.create_user("mira")
    visit = Visit(chromium, studio, studio.session(user))
    page = visit.page("/memory?q=home")
    page.get_by_text("Nothing is remembered of that").wait_for()
    page.goto("/memory")
    page.get_by_text("Nothing is remembered yet").wait_for()
    assert "Lisbon" not in page.content()
    visit.close()
    studio.house.identity.remove_user("mira")
    assert visit.wrong == []


@pytest.mark.parametrize(
    ("theme", "locale", "size"),
    [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (375, 740)), ("dark", "en-US", (360, 740))],
)
def test_the_page_hinders_nobody(
    visit: Visit, kept: Memories, owner: int, theme: str, locale: str, size: tuple[int, int]
) -> None:
    kept.remember(owner, "x" * 1500 + "\n" + "A long line. " * 30, about="y" * 100)
    page = visit.page("/memory", locale=locale, theme=theme, size=size)
    page.locator("details > summary").first.click()
    page.locator("[data-memory] button").first.click()
    page.locator("[data-memory] textarea").wait_for()
    assert violations(page) == []
    assert overflow(page) <= 0
    page.goto("/memory?q=nothing-such")
    page.locator(".empty").wait_for()
    assert violations(page) == []
