"""What a knowledge base promises about the documents in it. Real parser, index, embedder, jobs and database."""

import io
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.jobs import Job
from dizuo.knowledge.library import Library
from dizuo.platform import schema
from dizuo.wiring import House

pytestmark = pytest.mark.both_databases


def finish(house: House, job: Job) -> Job:
    """The job when it is over."""
    return list(house.jobs.watch(job.id))[-1]


def add(house: House, *paths: Path) -> Job:
    return finish(house, house.library.add("kb", paths))


def statuses(house: House, job: Job) -> list[str]:
    return [item.status for item in house.jobs.items(job.id)]


def rows(house: House, table: sa.Table) -> int:
    with house.database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEmployees have 25 days of paid leave a year.\n", "utf-8")
    (folder / "报销.md").write_text("# 报销制度\n\n差旅费应在出差结束后三十日内报销。\n", "utf-8")
    return folder


def test_a_folder_goes_in_and_both_languages_are_found(house: House, files: Path) -> None:
    job = add(house, files)
    assert (job.status, job.total, job.finished, job.failed) == ("done", 2, 2, 0)
    assert house.library.search("kb", "how many days of paid leave").hits[0].document == "leave.md"
    assert house.library.search("kb", "差旅费什么时候报销").hits[0].document == "报销.md"


def test_offsets_of_a_hit_point_into_the_extracted_text(house: House, files: Path) -> None:
    add(house, files)
    hit = house.library.search("kb", "paid leave").hits[0]
    assert house.library.document("kb", hit.document_id).text[hit.start : hit.end] == hit.text


def test_adding_an_unchanged_file_does_nothing(house: House, files: Path) -> None:
    add(house, files)
    version = house.library.get("kb").version
    assert statuses(house, add(house, files)) == ["unchanged", "unchanged"]
    assert house.library.get("kb").version == version


def test_chunks_keep_their_id_and_row_when_their_text_did_not_change(house: House, tmp_path: Path) -> None:
    file = tmp_path / "long.md"
    sections = [f"# Section {n}\n\n" + f"Sentence about subject {n}. " * 40 for n in range(6)]
    file.write_text("\n\n".join(sections), "utf-8")
    add(house, file)
    before = {chunk.text: chunk.id for chunk in house.library.document("kb", "long.md").chunks}
    sections[2] = "# Section 2\n\n" + "Something else entirely. " * 40
    file.write_text("\n\n".join(sections), "utf-8")
    assert statuses(house, add(house, file)) == ["changed"]
    after = {chunk.text: chunk.id for chunk in house.library.document("kb", "long.md").chunks}
    kept = before.keys() & after.keys()
    assert len(kept) >= 5
    assert all(before[text] == after[text] for text in kept)
    assert not any(hit.text.startswith("Sentence about subject 2.") for hit in search_all(house, "subject 2"))


def search_all(house: House, query: str):
    return house.library.search("kb", query, limit=50).hits


def test_a_removed_document_leaves_no_trace(house: House, files: Path) -> None:
    add(house, files)
    house.library.remove("kb", "leave.md")
    house.library.remove("kb", "报销.md")
    assert [rows(house, t) for t in (schema.documents, schema.chunks, schema.vectors)] == [0, 0, 0]
    with house.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM chunk_terms").scalar() == 0
    assert list(house.blobs.names()) == []
    assert search_all(house, "paid leave") == ()


def test_a_removed_knowledge_base_takes_its_documents_and_waiting_job_with_it(house: House, files: Path) -> None:
    add(house, files)
    waiting = house.library.add("kb", [files])
    house.library.remove("kb")
    assert finish(house, waiting).status == "cancelled"
    assert house.library.list() == []
    assert rows(house, schema.chunks) == 0


def test_a_file_that_two_knowledge_bases_hold_stays_until_the_last_one_lets_go(house: House, files: Path) -> None:
    finish(house, house.library.add("one", [files / "leave.md"]))
    finish(house, house.library.add("two", [files / "leave.md"]))
    house.library.remove("one")
    assert house.library.document_file("two", "leave.md").read_bytes() == (files / "leave.md").read_bytes()


def test_sync_brings_in_new_and_changed_files_and_removes_deleted_ones(house: House, files: Path) -> None:
    finish(house, house.library.sync("kb", files))
    (files / "leave.md").unlink()
    (files / "报销.md").write_text("# 报销制度\n\n差旅费应在六十日内报销。\n", "utf-8")
    (files / "new.txt").write_text("A new file about parking.", "utf-8")
    job = finish(house, house.library.sync("kb", files))
    assert sorted(statuses(house, job)) == ["added", "changed", "removed"]
    assert [d.name for d in house.library.documents("kb")] == ["new.txt", "报销.md"]


def test_sync_leaves_documents_from_elsewhere_alone(house: House, files: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Kept.", "utf-8")
    add(house, other)
    finish(house, house.library.sync("kb", files))
    (files / "leave.md").unlink()
    finish(house, house.library.sync("kb", files))
    assert [d.name for d in house.library.documents("kb")] == ["other.txt", "报销.md"]


def test_sync_leaves_a_folder_alone_whose_name_differs_in_its_capitals(house: House, tmp_path: Path) -> None:
    for name in ("docs", "Docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"in {name}.txt").write_text(f"A file in {name}.", "utf-8")
        finish(house, house.library.sync("kb", tmp_path / name))
    assert [d.name for d in house.library.documents("kb")] == ["in Docs.txt", "in docs.txt"]


def test_an_archive_becomes_a_document_for_each_file_inside(house: House, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("a/one.md", "# One\n\nThe capital of Freedonia is Fredville.")
        bundle.writestr("二.txt", "弗里多尼亚的首都是弗雷德维尔。")
        bundle.writestr("../../escape.txt", "Out of the box.")
    job = add(house, archive)
    assert job.status == "done"
    assert {d.name for d in house.library.documents("kb")} >= {"bundle.zip/a/one.md", "bundle.zip/二.txt"}
    assert not (tmp_path.parent / "escape.txt").exists()


def test_a_bad_file_fails_alone_with_its_reason(house: House, files: Path) -> None:
    (files / "broken.pdf").write_bytes(b"%PDF-1.7 nothing that follows is a PDF")
    (files / "empty.txt").write_bytes(b"")
    job = add(house, files)
    assert (job.status, job.finished, job.failed) == ("done", 4, 2)
    reasons = {Path(item.source).name: str(item.error) for item in house.jobs.items(job.id, status="failed")}
    assert reasons.keys() == {"broken.pdf", "empty.txt"}
    assert "empty" in reasons["empty.txt"]
    assert len(house.library.documents("kb")) == 2
    assert len(list(house.blobs.names())) == 2  # of a refused file nothing is kept


def test_an_upload_with_the_same_name_replaces_the_earlier_one(house: House) -> None:
    for text in ("The code is blue.", "The code is green."):
        blob, _size = house.blobs.put(io.BytesIO(text.encode()))
        finish(house, house.library.add_uploads("kb", [("notes.txt", blob)]))
    assert [d.name for d in house.library.documents("kb")] == ["notes.txt"]
    assert house.library.document("kb", "notes.txt").text.strip() == "The code is green."


def test_an_upload_whose_file_is_gone_is_refused_before_it_is_accepted(house: House) -> None:
    with pytest.raises(Conflict, match="Add it again"):
        house.library.add_uploads("kb", [("notes.txt", "0" * 64)])


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("../../etc/passwd", "etc/passwd"), ("C:\\docs\\a.txt", "docs/a.txt"), ("报告\x00.txt", "报告.txt")],
)
def test_an_uploaded_name_is_cleaned(house: House, sent: str, kept: str) -> None:
    blob, _size = house.blobs.put(io.BytesIO(b"Some words."))
    finish(house, house.library.add_uploads("kb", [(sent, blob)]))
    assert [d.name for d in house.library.documents("kb")] == [kept]


def test_two_files_of_one_name_are_told_apart(house: House, tmp_path: Path) -> None:
    for folder in ("north", "south"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rules.txt").write_text(f"Rules of the {folder}.", "utf-8")
        add(house, tmp_path / folder / "rules.txt")
    assert [d.name for d in house.library.documents("kb")] == ["rules.txt", "south/rules.txt"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-x", "x" * 65, "a\nb"])
def test_a_bad_name_for_a_knowledge_base_is_refused(house: House, name: str) -> None:
    with pytest.raises(UserError):
        house.library.create(name)


def test_an_unknown_knowledge_base_is_answered_with_those_that_exist(house: House) -> None:
    house.library.create("手册")
    with pytest.raises(NotFound, match="手册"):
        house.library.search("handbook", "x")


def test_a_file_past_the_size_limit_is_refused_by_the_name_of_the_setting(home: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    with big.open("wb") as file:
        file.truncate(500 << 20)
    with House.open() as house:
        job = add(house, big)
        assert "max_file_mb" in str(house.jobs.items(job.id)[0].error)
        assert list(house.blobs.names()) == []


def test_repair_brings_a_damaged_index_back_in_step(house: House, files: Path) -> None:
    add(house, files)
    with house.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM chunk_terms")
        connection.execute(schema.vectors.delete())
    notes = [str(note) for note in house.library.repair()]
    assert any("out of step" in note for note in notes)
    assert any("missing vectors" in note for note in notes)
    hit = house.library.search("kb", "paid leave").hits[0]
    assert hit.document == "leave.md"
    assert set(hit.legs) == {"keyword", "dense"}


def test_repair_goes_on_when_documents_are_removed_meanwhile(
    house: House, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "parking.md").write_text("# Parking\n\nThe garage opens at seven.\n", "utf-8")
    add(house, files)
    with house.database.write() as connection:
        connection.execute(schema.vectors.delete())
    assert house.embedder is not None
    embed = house.embedder.embed

    def slow(texts: list[str]) -> object:
        house.library.remove("kb", "leave.md")
        return embed(texts)

    monkeypatch.setattr(house.embedder, "embed", slow)
    assert "1 missing vectors were computed." in [str(note) for note in house.library.repair()]


def test_another_process_s_changes_are_seen_at_once(house: House, files: Path) -> None:
    add(house, files / "报销.md")
    assert house.library.search("kb", "days of paid leave").hits == ()
    with House.open() as other:
        other.library.add("kb", [files / "leave.md"])
    finish(house, house.jobs.list(subject="kb")[0])
    assert house.library.search("kb", "days of paid leave").hits[0].document == "leave.md"


def test_the_library_needs_no_embedder(home: Path, files: Path) -> None:
    with House.open(embedder="") as house:
        add(house, files)
        hit = house.library.search("kb", "paid leave").hits[0]
        assert set(hit.legs) == {"keyword"}


def test_listing_starts_neither_worker_nor_embedder(house: House) -> None:
    house.library.create("kb")
    assert [info.name for info in house.library.list()] == ["kb"]
    assert "jobs" not in house.__dict__
    assert "embedder" not in house.__dict__
    assert isinstance(house.library, Library)
