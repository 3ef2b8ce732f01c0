"""Fixtures for the whole suite: a home, a database on SQLite and on PostgreSQL, an opened House, the data sets."""

import gzip
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Generator, Iterator
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


# Threads that write for an instance, and end when it is closed (platform/batched.py).
_WRITERS = ("dizuo-ledger", "dizuo-traces", "dizuo-health", "dizuo-spans")
_seen_in: dict[threading.Thread, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Fails where a folder of tests leaves an instance behind that nobody closed: it would go on writing to a database
    that is gone. By folders, since that is how long the longest fixtures that open one last."""
    yield
    writers = [thread for thread in threading.enumerate() if thread.name in _WRITERS]
    for thread in writers:
        _seen_in.setdefault(thread, item.nodeid)
    if nextitem is None or nextitem.path.parent != item.path.parent:
        left = [f"{thread.name}, first seen in {_seen_in[thread]}" for thread in writers]
        assert not left, f"instances were not closed: {left}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgres"),
        default="sqlite",
        help="what keeps the state of every instance that a test opens",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, then folder by folder, the largest first, and those with many tests first in
    it: what a folder shares (a server, a browser) is begun once, and at the end no worker waits long for the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    size = Counter(one for item in items for one in (item.path, item.path.parent))

    def order(item: pytest.Item) -> tuple[Any, ...]:
        file, folder = item.path, item.path.parent
        return file not in slow, -size[folder], folder, -size[file], file

    items.sort(key=order)


_BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which databases a test that opens an instance runs on, where it says so; else the one of `--database`."""
    if "home" in metafunc.fixturenames:
        if metafunc.definition.get_closest_marker("both_databases"):
            metafunc.parametrize("home", _BOTH, indirect=True)
        elif metafunc.definition.get_closest_marker("sqlite_only"):
            metafunc.parametrize("home", ["sqlite"], indirect=True)


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A DIZUO_HOME of the test's own, and a database of its own."""
    path = tmp_path / "home"
    monkeypatch.setenv("DIZUO_HOME", str(path))
    url = prepare_home(request, path, getattr(request, "param", None))
    yield path
    if url:
        request.getfixturevalue("postgres_server").drop(url)


def prepare_home(request: pytest.FixtureRequest, path: Path, kind: str | None = None) -> str | None:
    """Sees to it that an instance opened there keeps its state in that kind of database; the URL on PostgreSQL.

    Without a kind, in that of `--database`. The home's config.toml says so: that reaches other processes, too.
    """
    if (kind or request.config.getoption("--database")) == "sqlite":
        return None
    server = request.getfixturevalue("postgres_server")
    url: str = server.new_database(like=request.getfixturevalue("postgres_template"))
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    (path / "config.toml").write_text(f'database_url = "{url}"\n')
    return url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A private PostgreSQL, or a skip with the reason."""
    from tests.postgres import PostgresServer

    server = PostgresServer.start()
    if server is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a migrated, empty PostgreSQL database to copy."""
    url = postgres_server.new_database()
    migrated(url, tmp_path_factory.mktemp("template")).close()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a migrated, empty SQLite database to copy."""
    home = tmp_path_factory.mktemp("template")
    migrated(f"sqlite:///{home / 'dizuo.db'}", home).close()
    return home / "dizuo.db"


@pytest.fixture(params=_BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database, once for each kind: empty, or a copy of a migrated one where the test opens `database`."""
    is_migrated = "database" in request.fixturenames
    if request.param == "sqlite":
        file = tmp_path / "home" / "dizuo.db"
        if is_migrated:
            file.parent.mkdir(mode=0o700)
            shutil.copy(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite:///{file}"
        return
    server = request.getfixturevalue("postgres_server")
    url = server.new_database(like=request.getfixturevalue("postgres_template") if is_migrated else None)
    yield url
    server.drop(url)


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """A migrated, empty database, once for each kind."""
    (tmp_path / "home").mkdir(mode=0o700, exist_ok=True)
    opened = Database(database_url)
    yield opened
    opened.close()


def migrated(url: str, home: Path) -> Database:
    """A database brought to the present schema."""
    from dizuo.platform import migrate

    database = Database(url)
    home.mkdir(parents=True, exist_ok=True)
    migrate.upgrade(database, Blobs(home / "blobs"), home)
    return database


@pytest.fixture
def house(request: pytest.FixtureRequest, home: Path) -> Iterator[Any]:
    """A whole instance in a home of its own."""
    from dizuo.wiring import House

    if not home.exists():  # else it has a config.toml, which may name another database
        home.mkdir(mode=0o700)
        shutil.copy(request.getfixturevalue("sqlite_template"), home / "dizuo.db")
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
