"""One database: consistent reads, writers that take turns, all or nothing. On SQLite and on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from dizuo.core.errors import UserError
from dizuo.platform import schema
from dizuo.platform.database import Database

KNOWLEDGE = schema.knowledge


def count(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(KNOWLEDGE)) or 0


def insert(connection: sa.Connection, name: str) -> None:
    connection.execute(KNOWLEDGE.insert().values(name=name, version=0, created_at=schema.now()))


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            insert(connection, "kb")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.read() as connection:
        assert count(connection) == 0


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    with database.read() as reader:
        assert count(reader) == 0
        with database.write() as writer:
            insert(writer, "kb")
        assert count(reader) == 0
    with database.read() as reader:
        assert count(reader) == 1


def test_writers_wait_for_each_other_and_none_is_lost(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "kb")
    barrier = threading.Barrier(4)

    def rise(_n: int) -> None:
        barrier.wait()
        for _turn in range(10):
            with database.write() as connection:
                version = KNOWLEDGE.c.version
                connection.execute(KNOWLEDGE.update().values(version=version + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rise, range(4)))
    with database.read() as connection:
        assert connection.scalar(sa.select(KNOWLEDGE.c.version)) == 40


def test_what_hangs_from_a_row_goes_with_it(database: Database) -> None:
    with database.write() as connection:
        connection.execute(schema.users.insert().values(id=1, name="a", role="member", created_at=schema.now()))
        thread = {"user_id": 1, "knowledge": "kb", "title": "t", "created_at": "", "updated_at": ""}
        connection.execute(schema.threads.insert().values(id="t", **thread))
        connection.execute(schema.users.delete())
        assert connection.execute(schema.threads.select()).all() == []


def test_sqlite_keeps_a_write_ahead_log_and_a_private_file(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'dizuo.db'}")
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()
    assert (tmp_path / "new" / "dizuo.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["mysql://root@localhost/x", "postgresql+asyncpg://a@b/c", "nonsense", "", "sqlite:"])
def test_another_kind_of_database_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(UserError, match=r"sqlite:///… or postgresql://…"):
        Database(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_means_the_same_driver(scheme: str) -> None:
    database = Database(f"{scheme}://anna:hunter2@db/dizuo")
    assert database.url == "postgresql+psycopg://anna:hunter2@db/dizuo"
    assert not database.is_sqlite


def test_what_is_bound_to_a_statement_is_in_no_error(database: Database) -> None:
    with pytest.raises(DBAPIError) as failed, database.write() as connection:
        connection.execute(sa.text("INSERT INTO nowhere (prompt) VALUES (:prompt)"), {"prompt": "a private question"})
    assert "nowhere" in str(failed.value)
    assert "private" not in str(failed.value) + repr(failed.value)
