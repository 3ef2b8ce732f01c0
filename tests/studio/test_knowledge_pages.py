"""The pages for knowledge: bases, files in, reports, documents, search."""

from pathlib import Path

import pytest

from tests.studio.conftest import Visit, wait_until

pytestmark = pytest.mark.browser


def test_a_base_is_made_filled_read_and_removed(visit: Visit, tmp_path: Path) -> None:
    good, empty, mixed = tmp_path / "好.md", tmp_path / "empty.txt", tmp_path / "broken.pdf"
    good.write_text("# 标题\n\n水在一百度沸腾。", "utf-8")
    empty.write_bytes(b"")
    mixed.write_bytes(b"%PDF-1.7 broken")

    page = visit.page("/knowledge")
    page.click("[data-open=new-base]")
    page.fill("#base-name", "not a name!")
    page.press("#base-name", "Enter")
    page.locator("#new-base [role=alert]", has_text="cannot name a knowledge base").wait_for()
    page.fill("#base-name", "科学")
    page.press("#base-name", "Enter")
    page.locator(".drop").wait_for()

    page.set_input_files("#pick-files", [good, empty, mixed])
    page.locator(".job .badge.good", has_text="Done").wait_for()
    files = {row.split("\n")[0]: row for row in page.locator(".file").all_inner_texts()}
    assert "added" in files["好.md"]
    assert "markdown" in files["好.md"]
    assert "failed" in files["empty.txt"]
    assert "failed" in files["broken.pdf"]
    assert page.locator("tbody tr").count() == 1

    page.reload()
    page.locator(".job", has_text="3 files").wait_for()
    page.click("tbody a")
    page.locator(".chunk", has_text="水在一百度沸腾").wait_for()

    page.goto("/knowledge")
    page.locator(".base", has_text="科学").get_by_role("button").click()
    page.locator("#remove-base[open] p", has_text="科学").wait_for()
    page.click("#remove-base button.danger")
    page.locator(".toast", has_text="has been removed").wait_for()
    assert "科学" not in [base.name for base in visit.studio.house.library.list()]


def test_dropped_files_keep_their_folders(visit: Visit) -> None:
    visit.studio.house.library.create("dropped")
    page = visit.page("/knowledge/dropped")
    drop = """() => {
        const files = new DataTransfer();
        files.items.add(new File(["The moon is 384,400 km away."], "moon.txt"));
        const zone = document.querySelector("[data-upload]");
        for (const type of ["dragenter", "dragover", "drop"])
            zone.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop)
    page.locator("tbody a", has_text="moon.txt").wait_for()
    page.locator("tbody button").click()
    page.click("#remove-document button.danger")
    page.locator("text=No documents yet").wait_for()
    page.wait_for_function("document.activeElement.id === 'main'")
    visit.studio.house.library.remove("dropped")


def test_a_job_is_seen_from_another_page_and_cancelled(visit: Visit, tmp_path: Path) -> None:
    for n in range(1000):
        (tmp_path / f"{n:04}.txt").write_text(f"The number of this note is {n}.", "utf-8")
    page = visit.page("/knowledge")
    job = visit.studio.house.library.add("numbers", [tmp_path])
    page.goto("/knowledge/numbers")
    page.locator(".job [role=progressbar]").wait_for()
    page.reload()
    page.locator(".job button", has_text="Cancel").click()
    page.locator(".job-title .badge.warn", has_text="Cancelled").wait_for()
    assert visit.studio.house.jobs.get(job.id).status == "cancelled"
    visit.studio.house.library.remove("numbers")


def test_search_says_why_each_passage_was_found(visit: Visit) -> None:
    page = visit.page("/knowledge/handbook/search")
    page.keyboard.press("/")
    page.keyboard.type("warranty")
    page.keyboard.press("Enter")
    hit = page.locator(".hit").first
    hit.wait_for()
    assert "manual.md" in hit.inner_text()
    assert hit.locator("mark").first.inner_text().lower() == "warranty"
    assert "rank 1" in hit.locator(".leg", has_text="By words").inner_text()
    assert "rank" in hit.locator(".leg", has_text="By meaning").inner_text()
    assert page.url.endswith("/knowledge/handbook/search?q=warranty")
    # Kept by the server, a moment later.
    wait_until(lambda: any(trace.name == "search" for trace in visit.studio.house.traces.list(limit=5)))


def test_documents_are_filtered_by_name(visit: Visit) -> None:
    page = visit.page("/knowledge/handbook")
    page.locator("tbody tr").nth(2).wait_for()
    page.fill("#filter", "MANUAL")
    page.locator("tbody tr").nth(1).wait_for(state="detached")
    assert page.locator("tbody a").all_inner_texts() == ["manual.md"]


def test_a_last_page_that_has_emptied_gives_way_to_the_one_before(visit: Visit, tmp_path: Path) -> None:
    files = {f"{n:02}.txt": f"Note number {n}." for n in range(51)}
    visit.studio.add("pages", files, tmp_path / "pages")
    page = visit.page("/knowledge/pages")
    page.locator("button", has_text="Next page").click()
    page.locator("tbody a", has_text="50.txt").wait_for()
    page.locator("tbody button").click()
    page.click("#remove-document button.danger")
    page.locator("tbody a", has_text="49.txt").wait_for()
    assert page.locator("tbody tr").count() == 50
    visit.studio.house.library.remove("pages")


def test_what_is_not_there_is_told_with_status_404(visit: Visit) -> None:
    page = visit.page(None)
    for path in ("/knowledge/nothing", "/knowledge/handbook/documents/nothing", "/nowhere"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404
        page.locator("h1", has_text="Not found").wait_for()
