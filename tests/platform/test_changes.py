"""The number that tells whether what was found before still holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dizuo.platform import changes, schema
from dizuo.platform.changes import UntilChanged
from dizuo.platform.database import Database
from tests.conftest import migrated

ROWS: dict[str, dict[str, Any]] = {
    "users": {"id": 7, "name": "Li", "role": "member", "created_at": "x"},
    "api_keys": {"id": 7, "user_id": 1, "name": "k", "key_hash": "h", "prefix": "dz", "created_at": "x"},
    "providers": {"name": "acme"},
    "routes": {"name": "fast"},
}


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    database = migrated(f"sqlite:///{tmp_path / 'home' / 'dizuo.db'}", tmp_path / "home")
    with database.write() as connection:
        connection.execute(schema.users.insert().values(id=1, name="owner", role="owner", created_at="x"))
    yield database
    database.close()


def filled(table: sa.Table) -> dict[str, Any]:
    """A row, with something in every column that wants one."""
    kinds = {sa.Integer: 0, sa.Boolean: False, sa.Float: 0.0, sa.JSON: [], sa.LargeBinary: b""}
    needed = {
        c.name: next((v for k, v in kinds.items() if isinstance(c.type, k)), "") for c in table.c if not c.nullable
    }
    return needed | ROWS.get(table.name, {})


def change(database: Database, statement: Any) -> None:
    with database.write() as connection:
        assert connection.execute(statement).rowcount == 1


@pytest.mark.parametrize("table", changes.WATCHED, ids=lambda table: table.name)
def test_it_is_another_after_every_change(sqlite: Database, table: sa.Table) -> None:
    other = Database(sqlite.url)  # as another process has it
    seen = [sqlite.version()]
    row = filled(table)
    key = next(iter(table.primary_key.columns))
    text = next(c for c in table.c if c.name in ("name", "role", "prefix", "base_url", "created_at") and c is not key)
    for statement in (
        table.insert().values(row),
        table.update().where(key == row[key.name]).values({text.name: "changed"}),
        table.delete().where(key == row[key.name]),
    ):
        change(other, statement)
        seen.append(sqlite.version())
    other.close()
    assert None not in seen
    assert len(set(seen)) == 4


def test_it_stays_when_anything_else_is_written(sqlite: Database) -> None:
    before = sqlite.version()
    change(sqlite, schema.prices.insert().values(filled(schema.prices)))
    assert sqlite.version() == before


def test_a_table_that_was_made_anew_is_watched_again(sqlite: Database) -> None:
    with sqlite.write() as connection:
        for what in ("insert", "update", "delete"):  # as dropping a table does
            connection.exec_driver_sql(f"DROP TRIGGER changed_users_{what}")
        changes.install(connection)
    before = sqlite.version()
    change(sqlite, schema.users.update().where(schema.users.c.id == 1).values(role="member"))
    assert sqlite.version() != before


def test_without_the_number_nothing_is_taken_for_unchanged(sqlite: Database) -> None:
    with sqlite.write() as connection:
        connection.execute(schema.changes.delete())
    assert sqlite.version() is None
    with sqlite.write() as connection:
        schema.changes.drop(connection)
    assert sqlite.version() is None


def test_postgresql_says_nothing_in_microseconds(database: Database) -> None:
    assert database.is_sqlite or database.version() is None


def test_what_was_read_is_kept_until_it_is_changed(sqlite: Database) -> None:
    reads: list[int] = []
    kept = UntilChanged(sqlite.version, lambda: reads.append(len(reads)) or len(reads))
    assert [kept.get(), kept.get()] == [1, 1]
    change(sqlite, schema.prices.insert().values(filled(schema.prices)))
    assert kept.get() == 1
    change(sqlite, schema.users.update().where(schema.users.c.id == 1).values(name="Li"))
    assert [kept.get(), kept.get()] == [2, 2]
    kept.forget()
    assert kept.get() == 3


def test_what_is_changed_while_it_is_read_is_read_again(sqlite: Database) -> None:
    names: list[str] = []

    def read() -> str:
        with sqlite.read() as connection:
            names.append(connection.execute(sa.select(schema.users.c.name)).scalar_one())
        if len(names) == 1:
            change(sqlite, schema.users.update().values(name="Li"))
        return names[-1]

    kept = UntilChanged(sqlite.version, read)
    assert [kept.get(), kept.get(), kept.get()] == ["owner", "Li", "Li"]


def test_where_nobody_counts_it_is_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    kept = UntilChanged(lambda: None, lambda: reads.append(len(reads)) or len(reads))
    assert [kept.get(), kept.get()] == [1, 1]
    monkeypatch.setattr(changes, "_FRESH_S", -1.0)
    assert [kept.get(), kept.get()] == [2, 3]
