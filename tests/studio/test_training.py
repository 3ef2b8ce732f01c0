"""The page of trainings: one that is real from the form to its model; and the page over folders written by hand."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.stand_in_training import SECONDS
from tests.studio.conftest import Studio, Visit
from tests.studio.test_look import overflow, violations

pytestmark = pytest.mark.browser


@pytest.fixture
def written(studio: Studio) -> Iterator[Path]:
    """Two trainings that are over: "alpha" is done, "贝塔" stopped half-way."""
    folder = studio.house.settings.home / "trainings"
    for name, steps, done in (("alpha", 60, True), ("贝塔", 30, False)):
        run = folder / name
        run.mkdir(parents=True)
        about = {"recipe": "tiny", "stage": "pretrain", "created_at": "2026-11-24T10:00:00+00:00"}
        (run / "about.json").write_text(json.dumps(about))
        (run / "recipe.yaml").touch()
        status = {"state": "done" if done else "stopped", "step": steps, "steps": 60, "eta_s": None, "message": ""}
        (run / "status.json").write_text(json.dumps(status))
        with (run / "metrics.jsonl").open("w") as lines:
            for step in range(1, steps + 1):
                told = {"step": step, "loss": 8 / step**0.5, "lr": 0.1, "tokens": step, "tokens_per_s": 1, "time": step}
                lines.write(json.dumps(told | ({"val_loss": 9 / step**0.5} if step % 15 == 0 else {})) + "\n")
    yield folder
    for name in ("alpha", "贝塔"):
        shutil.rmtree(folder / name, ignore_errors=True)


def card(page: Any, name: str) -> Any:
    return page.locator(".training", has=page.locator("h2", has_text=name))


def test_curves_are_laid_side_by_side_and_taken_away(visit: Visit, written: Path) -> None:
    page = visit.page("/training")
    lines = page.locator(".curve svg path[stroke^='var(--curve-']")
    chart = page.get_by_role("img", name="Loss over steps")
    assert chart.get_attribute("aria-label") is not None
    page.wait_for_function("document.querySelectorAll(\".curve svg path[stroke^='var(--curve-']\").length >= 4")
    assert "alpha: 8 → 1.033" in chart.get_attribute("aria-label")
    assert page.locator(".curve-legend li").all_inner_texts() == ["alpha: 1.033", "贝塔: 1.461"]
    assert "step 30 of 60" in card(page, "贝塔").inner_text()
    both = lines.count()
    page.focus("text=Skip to the content")
    switch = card(page, "alpha").get_by_role("button", name="Show the curve of alpha")
    switch.focus()
    page.keyboard.press("Enter")
    page.locator(".curve-legend li", has_text="alpha").wait_for(state="detached")
    assert switch.get_attribute("aria-pressed") == "false"
    assert page.evaluate("document.activeElement.ariaPressed") == "false", "the focus stays"
    assert 0 < lines.count() < both


@pytest.mark.parametrize(("theme", "locale", "size"), [("light", "en-US", (1280, 800)), ("dark", "zh-CN", (360, 740))])
def test_curves_and_the_form_hinder_nobody(
    visit: Visit, written: Path, theme: str, locale: str, size: tuple[int, int]
) -> None:
    page = visit.page("/training", theme=theme, locale=locale, size=size)
    page.locator(".curve svg path").first.wait_for(state="attached")
    found = violations(page)
    assert overflow(page) <= 0
    page.click("[data-open=new-training]")
    page.locator("#new-training[open]").wait_for()
    found += violations(page)
    assert found == []
    page.keyboard.press("Escape")
    page.locator("#new-training[open]").wait_for(state="hidden")


def test_a_training_is_removed_after_a_question(visit: Visit, written: Path) -> None:
    page = visit.page("/training")
    card(page, "贝塔").get_by_role("button", name="Remove 贝塔").click()
    page.get_by_text("Remove the training 贝塔?").wait_for()
    page.click("#remove-training button.danger")
    card(page, "贝塔").wait_for(state="detached")
    assert not (written / "贝塔").exists()
    assert card(page, "alpha").count() == 1


def test_what_is_wrong_with_the_form_is_said_in_it(visit: Visit) -> None:
    page = visit.page("/training")
    page.click("[data-open=new-training]")
    page.fill("#training-set", "stepz=3")
    page.locator("#new-training button[type=submit]").click()
    alert = page.locator("#new-training [role=alert]")
    alert.wait_for()
    assert "stepz" in alert.inner_text()
    page.fill("#training-set", "steps")
    page.locator("#new-training button[type=submit]").click()
    page.get_by_text("It must be KEY=VALUE").wait_for()


def test_a_member_looks_and_has_nothing_to_press(chromium: Any, studio: Studio, written: Path) -> None:
    visit = Visit(chromium, studio, studio.session(studio.house.identity.create_user("looker")))
    page = visit.page("/training")
    page.locator(".curve svg path").first.wait_for(state="attached")
    buttons = page.locator("#main").get_by_role("button")
    buttons.first.wait_for()  # the axes are drawn before there is a card
    names = buttons.evaluate_all("them => them.map(one => one.innerText.trim())")
    assert set(names) == {"Curve"}
    visit.close()
    assert visit.wrong == []


def test_a_real_training_goes_from_the_form_to_its_model(visit: Visit) -> None:
    page = visit.page("/training")
    page.locator("[data-open=new-training]").press("Enter")
    page.locator("#new-training[open]").wait_for()
    page.select_option("#training-recipe", "tiny")
    page.get_by_text("A first try without any data").wait_for()
    page.fill("#training-name", "from-the-page")
    page.fill("#training-set", "\n".join(SECONDS))
    submit = page.locator("#new-training button[type=submit]")
    submit.click()
    page.locator(".plan:visible", has_text="8 steps").wait_for(timeout=60_000)
    submit.click()
    made = card(page, "from-the-page")
    made.get_by_text("local/from-the-page").wait_for(timeout=60_000)
    assert "step 8 of 8" in made.inner_text()
    assert "Done" in made.inner_text()
    page.locator(".curve-legend li", has_text="from-the-page").wait_for()
    visit.studio.house.trainings.delete("from-the-page")
    made.wait_for(state="detached")
