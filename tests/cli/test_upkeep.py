"""`dizuo backup`, `restore`, `repair` and `snapshot list`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_a_backup_brings_back_what_was_removed(dizuo: Command, documents: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.backup"
    dizuo("knowledge", "add", "kb", str(documents))
    made = dizuo("backup", str(file))
    assert (made.status, str(file) in made.out) == (0, True)
    dizuo("knowledge", "remove", "kb", "--yes")
    assert dizuo("restore", str(file), "--json").status == 0
    assert dizuo("knowledge", "list", "--json").json["knowledge"][0]["documents"] == 3
    # What was there before the restore can be had back, too.
    [snapshot] = dizuo("snapshot", "list", "--json").json["snapshots"]
    assert dizuo("restore", snapshot["file"]).status == 0
    assert dizuo("knowledge", "list", "--json").json == {"knowledge": []}


def test_a_file_that_is_no_backup_changes_nothing(dizuo: Command, documents: Path, tmp_path: Path) -> None:
    dizuo("knowledge", "add", "kb", str(documents))
    (tmp_path / "no.backup").write_bytes(b"no backup")
    assert dizuo("restore", str(tmp_path / "no.backup")).status == 1
    assert dizuo("restore", str(tmp_path / "missing.backup")).status == 1
    assert dizuo("knowledge", "list", "--json").json["knowledge"][0]["documents"] == 3


@pytest.mark.sqlite_only
def test_restore_works_where_the_database_is_broken(
    dizuo: Command, documents: Path, home: Path, tmp_path: Path
) -> None:
    if (home / "config.toml").exists():
        pytest.skip("breaks SQLite's file")
    file = tmp_path / "all.backup"
    dizuo("knowledge", "add", "kb", str(documents))
    dizuo("backup", str(file))
    for part in home.glob("dizuo.db*"):
        part.unlink()
    (home / "dizuo.db").write_bytes(b"not a database at all" * 1000)
    assert dizuo("knowledge", "list").status == 1
    restored = dizuo("restore", str(file))
    assert restored.status == 0, restored.err
    assert dizuo("knowledge", "list", "--json").json["knowledge"][0]["documents"] == 3


def test_repair_says_what_it_did(dizuo: Command, documents: Path) -> None:
    dizuo("knowledge", "add", "kb", str(documents))
    assert dizuo("repair", "--json").json["notes"]
    assert "索引" in dizuo("repair", "--language", "zh").out
