"""Every start finds the present schema, whoever starts first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from dizuo.core.errors import Unavailable, UserError
from dizuo.platform import migrate, revisions, schema
from dizuo.platform.backup import snapshots
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database
from dizuo.wiring import House


def test_the_migrations_make_exactly_the_tables_of_the_schema(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def ours(_object: object, name: str, kind: str, _reflected: bool, _compared: object) -> bool:
        return not (kind == "table" and name.startswith("chunk_terms"))

    options = {"compare_type": True, "include_object": ours}
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        assert sa.inspect(connection).has_table("chunk_terms")


def test_a_second_start_costs_no_alembic(home: Path) -> None:
    with House.open():
        pass
    code = "import sys; from dizuo.wiring import House; House.open().close(); print('alembic' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_processes_that_start_at_once_make_one_database(database_url: str, tmp_path: Path) -> None:
    code = (
        "import os; from dizuo.wiring import House\n"
        "with House.open() as house: print(house.identity.owner().id, len(house.library.list()))"
    )
    environ = {**os.environ, "DIZUO_HOME": str(tmp_path / "home"), "DIZUO_DATABASE_URL": database_url}
    starts = [
        subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = [start.communicate(timeout=60)[0] for start in starts]
    assert outputs == ["1 0\n"] * 3
    assert snapshots(tmp_path / "home") == []  # an empty database needs none


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: sa.Connection, target: str = "head") -> None:
        connection.execute(sa.text("CREATE TABLE half (id INTEGER)"))
        raise RuntimeError("in the middle")

    database = Database(database_url)
    monkeypatch.setattr(migrate, "apply", broken)
    with pytest.raises(RuntimeError):
        migrate.upgrade(database, Blobs(tmp_path / "blobs"), tmp_path)
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    database.close()


def test_a_database_of_a_newer_dizuo_is_refused_with_the_way_back(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(UserError, match=r"schema 0999.*dizuo restore FILE"):
        migrate.upgrade(database, Blobs(tmp_path / "blobs"), tmp_path)


def test_runs_of_an_earlier_version_keep_their_steps(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    tmp_path.joinpath("home").mkdir(exist_ok=True)
    run = "'r', 'Count.', 'm', 'ended', 'done', '{}', '', '', '2026', '2026'"
    with database.write() as connection:
        revisions.apply(connection, "0003")
        columns = "id, goal, model, status, reason, policy, knowledge, forked_from, created_at, changed_at"
        connection.execute(sa.text(f"INSERT INTO runs ({columns}) VALUES ({run})"))
        connection.execute(sa.text("INSERT INTO run_steps VALUES ('r', 1, 'started', '{}', '2026')"))
    migrate.upgrade(database, Blobs(tmp_path / "home/blobs"), tmp_path / "home")
    with database.read() as connection:
        kept = connection.execute(sa.select(schema.runs.c.goal, schema.runs.c.app, schema.runs.c.parent_id)).one()
        assert tuple(kept) == ("Count.", "", "")
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.run_steps)) == 1
    database.close()


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://anna:hunter2@127.0.0.1:1/dizuo"
    with pytest.raises(Unavailable, match="DIZUO_DATABASE_URL") as refused:
        House.open({"DIZUO_HOME": str(tmp_path), "DIZUO_DATABASE_URL": url})
    assert "hunter2" not in str(refused.value)
