"""What the joined parts do together: a backup of a working instance answers again, wherever it is restored."""

import threading
from pathlib import Path

import pytest

from dizuo.core.errors import Conflict, UserError
from dizuo.wiring import House

pytestmark = pytest.mark.both_databases


def add(house: House, path: Path) -> None:
    job = list(house.jobs.watch(house.library.add("kb", [path]).id))[-1]
    assert (job.status, job.failed) == ("done", 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "leave.md"
    path.write_text(
        "# Leave\n\nEmployees have 25 days of paid leave a year.\n\n# 报销\n\n差旅费三十日内报销。\n", "utf-8"
    )
    return path


def found(house: House, query: str, name: str = "kb") -> list[tuple[str, set[str]]]:
    return [(hit.document, set(hit.legs)) for hit in house.library.search(name, query, limit=3).hits]


def test_a_restored_instance_finds_by_words_and_by_meaning(house: House, file: Path, tmp_path: Path) -> None:
    add(house, file)
    before = found(house, "paid leave"), found(house, "差旅费报销")
    house.backup(tmp_path / "all.dizuo")
    house.library.remove("kb")
    house.restore(tmp_path / "all.dizuo")
    assert (found(house, "paid leave"), found(house, "差旅费报销")) == before
    assert before[0][0] == ("leave.md", {"keyword", "dense"})
    assert house.library.document_file("kb", "leave.md").read_bytes() == file.read_bytes()
    [taken] = house.snapshots()
    house.restore(taken.file)
    assert house.library.list() == []


def test_a_process_that_has_searched_sees_what_was_restored_and_what_came_after(
    house: House, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.md"
    other.write_text("The canteen opens at noon.", "utf-8")
    house.backup(tmp_path / "empty.dizuo")
    add(house, file)
    assert found(house, "paid leave")[0][0] == "leave.md"
    with House.open() as another:  # as another process: this one is not told
        another.restore(tmp_path / "empty.dizuo")
        another.library.create("kb")
    assert found(house, "paid leave") == []
    add(house, other)
    assert found(house, "when does the canteen open") == [("other.md", {"keyword", "dense"})]
    assert found(house, "days of paid leave each year") in ([], [("other.md", {"dense"})])


def test_a_backup_goes_to_another_home_that_was_never_opened(house: House, file: Path, tmp_path: Path) -> None:
    from dizuo.platform import settings

    add(house, file)
    house.backup(tmp_path / "all.dizuo")
    elsewhere = settings.load({"DIZUO_HOME": str(tmp_path / "elsewhere")})
    with House(elsewhere) as other:
        other.restore(tmp_path / "all.dizuo")
        assert found(other, "paid leave")[0][0] == "leave.md"
        assert other.snapshots() == []  # there was nothing to keep


def test_a_backup_that_cannot_be_is_refused_in_words(house: House, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(Conflict, match="exists already"):
        house.backup(tmp_path / "mine")
    with pytest.raises(UserError, match="not a Dizuo backup"):
        house.restore(tmp_path / "mine")


def test_closing_twice_and_opening_again_is_fine(home: Path) -> None:
    house = House.open()
    house.identity.owner()
    house.close()
    house.close()
    with House.open() as again:
        assert [user.name for user in again.identity.users()] == ["owner"]


def test_an_instance_that_does_not_open_leaves_nothing_open(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dizuo.platform import migrate
    from dizuo.platform.database import Database

    closed: list[str] = []
    monkeypatch.setattr(Database, "close", lambda database: closed.append(database.url))

    def fail(*_: object) -> None:
        raise UserError("This database was made by a newer Dizuo.")

    monkeypatch.setattr(migrate, "upgrade", fail)
    with pytest.raises(UserError, match="newer"):
        House.open()
    assert len(closed) == 1


def test_what_is_still_at_work_while_an_instance_closes_makes_no_part_anew(home: Path) -> None:
    house = House.open()
    with house.ledger.recorded("chat", "a/b"):
        ledger = house.ledger
    house.close()
    with house.ledger.recorded("chat", "a/late"):  # as an answer that ends a moment later
        assert house.ledger is ledger
    assert "dizuo-ledger" not in [thread.name for thread in threading.enumerate()]
