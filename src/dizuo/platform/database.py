"""One database: SQLite in WAL mode, or PostgreSQL by URL."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError

from dizuo.core.errors import UserError
from dizuo.platform import changes


class Database:
    """An engine with the project's rules: foreign keys on, one writer at a time on SQLite, short transactions.

    `read()` and `write()` give a connection inside a transaction. On SQLite `write()` takes the write lock at
    once (BEGIN IMMEDIATE), so that a transaction never fails halfway because another wrote first. What is bound to a
    statement (prompts, hashes of keys) is in no error and no log line.
    """

    def __init__(self, url: str) -> None:
        self.url = _with_driver(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _postgres_engine(self.url)
        self._watch: sqlite3.Connection | None = None
        self._watching = threading.Lock()
        self._seen = -1
        self._number: int | None = None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state and may not write on SQLite."""
        options: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(dizuo_begin="BEGIN", **options) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection whose changes are all kept, or none."""
        with (
            self.engine.connect().execution_options(dizuo_begin="BEGIN IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield connection

    def version(self) -> int | None:
        """A number that is another one as soon as users, keys, providers or routes are changed, by this process or any
        other; None where the database cannot say so in microseconds. Thread-safe.
        """
        if not self.is_sqlite:
            return None
        with self._watching:
            if self._watch is None:
                file = sa.make_url(self.url).database or ""
                if file in ("", ":memory:"):
                    return None
                # A connection of its own, beside the pool's: a query costs a tenth there. It begins no transaction.
                self._watch = sqlite3.connect(file, timeout=60, isolation_level=None, check_same_thread=False)
                self._seen = -1
            # Two queries only where anything at all was written since the last time, such as the ledger.
            if (commits := self._watch.execute("PRAGMA data_version").fetchone()[0]) != self._seen:
                self._seen, self._number = commits, changes.number(self._watch)
            return self._number

    def close(self) -> None:
        with self._watching:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self.engine.dispose()


def _with_driver(url: str) -> str:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        # Without the address itself: it may hold a password.
        raise UserError(
            "DIZUO_DATABASE_URL is not an address that can be read; it must be sqlite:///… or postgresql://…"
        ) from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return url
    raise UserError(
        "DIZUO_DATABASE_URL starts with {scheme!r}; it must be sqlite:///… or postgresql://…", scheme=parsed.drivername
    )


def _sqlite_engine(url: str) -> sa.Engine:
    file = sa.make_url(url).database
    if file and file != ":memory:":
        Path(file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.path.exists(file):
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    connect = {"timeout": 60, "check_same_thread": False}
    engine = sa.create_engine(url, connect_args=connect, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver would say it late, and never IMMEDIATE
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("dizuo_begin", "BEGIN IMMEDIATE"))

    return engine


def _postgres_engine(url: str) -> sa.Engine:
    return sa.create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=10, hide_parameters=True)
