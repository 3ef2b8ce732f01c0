"""Fixtures for the whole suite: a home, a database on SQLite and on PostgreSQL, an opened House, the data sets."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own DIZUO_* settings must not reach the tests (the data folder may)."""
    for name in list(os.environ):
        if name.startswith("DIZUO_") and name != "DIZUO_DATA":
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DIZUO_HOME of the test's own."""
    path = tmp_path / "home"
    monkeypatch.setenv("DIZUO_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A private PostgreSQL, or a skip with the reason."""
    from tests.postgres import PostgresServer

    server = PostgresServer.start()
    if server is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """The URL of an empty database, once for each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{home / 'dizuo.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def database(database_url: str, home: Path) -> Iterator[Database]:
    """A migrated, empty database, once for each kind."""
    from dizuo.platform import migrate

    opened = Database(database_url)
    home.mkdir(parents=True, exist_ok=True)
    migrate.upgrade(opened, Blobs(home / "blobs"), home)
    yield opened
    opened.close()


@pytest.fixture
def house(home: Path) -> Iterator[Any]:
    """A whole instance on SQLite in a home of its own."""
    from dizuo.wiring import House

    with House.open() as opened:
        yield opened


def data_file(*parts: str) -> Path:
    """A file of the shared data sets; the test skips where they are not at hand."""
    folder = os.environ.get("DIZUO_DATA", "")
    path = Path(folder, *parts)
    if not folder or not path.exists():
        pytest.skip("needs the data sets: set DIZUO_DATA to their folder")
    return path


def data_rows(*parts: str) -> list[dict[str, Any]]:
    """The rows of a .jsonl.gz of the shared data sets; the test skips where they are not at hand."""
    with gzip.open(data_file(*parts), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
