"""What a job makes of a folder in which much is wrong: everything that can go in does, the rest is told one by one."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import UserError
from dizuo.core.jobs import Job
from dizuo.knowledge import ingest, store
from dizuo.knowledge.outcome import outcome
from dizuo.wiring import House


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "good.md").write_text("# Parking\n\nPlace 42 is for visitors.\n", "utf-8")
    return path


def finish(house: House, job: Job) -> Job:
    return list(house.jobs.watch(job.id))[-1]


def names(house: House) -> list[str]:
    return [document.name for document in house.library.documents("kb")]


def test_what_cannot_be_read_is_told_file_by_file_and_the_others_go_in(house: House, folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")
    (folder / "loop.md").symlink_to(folder / "loop.md")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    (folder / "cut.zip").write_bytes(b"PK\x03\x04 cut off")
    (folder / "old.doc").write_bytes(b"anything")
    (folder / "旧.txt").write_bytes("停车位四十二号供访客使用。".encode("gb18030"))
    job = finish(house, house.library.add("kb", [folder]))
    result = outcome(house.jobs, job.id)
    assert names(house) == ["good.md", "旧.txt"]
    assert sorted(Path(failure.source).name for failure in result.failed) == [
        "binary.txt", "broken.pdf", "cut.zip", "loop.md", "old.doc", "pipe.md",
    ]  # fmt: skip
    assert (result.added, job.status) == (2, "done")
    assert len(list(house.blobs.names())) == 2


def test_the_database_is_not_held_while_the_terms_of_a_file_are_made(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(_text: str) -> str:
        raise AssertionError("inside the transaction")

    monkeypatch.setattr(store, "entry_of", late)
    assert outcome(house.jobs, finish(house, house.library.add("kb", [folder])).id).added == 1
    assert house.library.search("kb", "visitors").hits


def test_a_file_whose_name_is_not_utf8_goes_in_and_is_known_again(house: House, folder: Path) -> None:
    with open(os.fsencode(folder) + "/报告.txt".encode("gb18030"), "w") as file:
        file.write("Revenue was twelve million.")
    for expected in ("added", "unchanged"):
        job = finish(house, house.library.add("kb", [folder]))
        assert {item.status for item in house.jobs.items(job.id)} <= {"added", "unchanged"}
        assert expected in [item.status for item in house.jobs.items(job.id)]
    assert names(house) == ["good.md", "报告.txt"]
    assert house.library.document("kb", "报告.txt").text == "Revenue was twelve million."


def test_what_was_passed_over_is_said_and_counts_as_no_document(house: House, folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    result = outcome(house.jobs, finish(house, house.library.add("kb", [folder])).id)
    [report] = [report.report for report in result.reports if report.source == str(folder)]
    assert report is not None
    assert [str(note).partition(":")[0] for note in report.lost] == [
        "Hidden files, caches and the like were passed over",
        "Files of kinds that Dizuo does not read were passed over",
    ]
    assert (result.added, result.failed) == (1, ())


def test_a_folder_of_nothing_readable_says_why(house: House, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"\.jpg"):
        house.library.add("kb", [tmp_path / "photos"])


def test_sync_keeps_what_cannot_be_read_at_the_moment(house: House, folder: Path) -> None:
    (folder / "shared").mkdir()
    (folder / "shared" / "a.md").write_text("Alpha.")
    finish(house, house.library.sync("kb", folder))
    (folder / "good.md").unlink()
    (folder / "good.md").symlink_to(folder / "not mounted")
    result = outcome(house.jobs, finish(house, house.library.sync("kb", folder)).id)
    assert names(house) == ["good.md", "shared/a.md"]
    assert (result.removed, len(result.failed)) == (0, 1)


def test_the_report_of_an_archive_names_the_members_that_were_refused(house: House, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("one.md", "../out.md", "inner.zip"):
            archive.writestr(name, "Some words.")
    result = outcome(house.jobs, finish(house, house.library.add("kb", [tmp_path / "a.zip"])).id)
    lost = [str(note) for report in result.reports if report.report for note in report.report.lost]
    assert [line.partition(":")[0] for line in lost] == ["../out.md", "inner.zip"]
    assert result.added == 1


def test_an_archive_with_nothing_to_read_fails_with_the_reason(house: House, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.txt", bytes(60 << 20))
    result = outcome(house.jobs, finish(house, house.library.add("kb", [tmp_path / "bomb.zip"])).id)
    assert "made to do harm" in str(result.failed[0].error)
    assert list(house.blobs.names()) == []
    with pytest.raises(UserError, match="made to do harm"):
        result.raise_if_nothing_came_of_it()


def test_long_files_do_not_wait_for_each_other_in_memory(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_BATCH_CHARACTERS", 10)
    for n in range(4):
        (folder / f"{n}.md").write_text(f"Text number {n} of some.")
    together: list[int] = []
    original = ingest.Ingest._embed_and_write
    monkeypatch.setattr(
        ingest.Ingest, "_embed_and_write", lambda self, c, read: (together.append(len(read)), original(self, c, read))
    )
    finish(house, house.library.add("kb", [folder]))
    assert max(together) == 1
    assert len(names(house)) == 5


def test_a_document_removed_while_its_new_version_is_read_comes_in_whole(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "good.md").write_text("# Parking\n\nPlace 42 is for visitors.\n\n# Bicycles\n\nThey stand inside.\n")
    finish(house, house.library.add("kb", [folder]))
    (folder / "good.md").write_text("# Parking\n\nPlace 42 is for visitors.\n\n# Bicycles\n\nThey stand outside.\n")
    original, removed = ingest.Ingest._write, []

    def remove_first(self: ingest.Ingest, *arguments: Any) -> Any:
        if not removed:
            removed.append("good.md")
            house.library.remove("kb", "good.md")
        return original(self, *arguments)

    monkeypatch.setattr(ingest.Ingest, "_write", remove_first)
    assert finish(house, house.library.add("kb", [folder])).failed == 0
    hits = house.library.search("kb", "visitors parking").hits
    assert len(hits) == 2
    assert set(hits[0].legs) == {"keyword", "dense"}
    assert "dense" in hits[1].legs
