"""Whether what callers and models are found by was changed: one number, another one after every change, on SQLite.

SQLite counts commits itself (PRAGMA data_version), but the ledger and the traces are written ten times a second, and
each time all that was found before would be looked up again. So triggers count, which no writer can forget.
"""

import math
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import sqlalchemy as sa

from dizuo.platform import schema

T = TypeVar("T")
_FRESH_S = 1.0  # where nobody counts the changes, those of another process are seen that late
_SOON_S = 0.05  # what is asked for and is not there is looked for again no more often

WATCHED = (schema.users, schema.api_keys, schema.providers, schema.routes)


def install(connection: sa.Connection) -> None:
    """Makes the triggers, where the tables are there. After every migration: one that makes a table anew drops them."""
    if connection.dialect.name != "sqlite":
        return
    present = set(sa.inspect(connection).get_table_names())
    if schema.changes.name not in present:
        return
    for table in WATCHED:
        for what in ("INSERT", "UPDATE", "DELETE") if table.name in present else ():
            name = f"changed_{table.name}_{what.lower()}"
            body = "BEGIN UPDATE changes SET number = random(); END"
            connection.exec_driver_sql(f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {what} ON {table.name} {body}")


def number(connection: sqlite3.Connection) -> int | None:
    """The number; None where there is none, as in the midst of a restore."""
    try:
        found = connection.execute("SELECT number FROM changes").fetchone()
    except sqlite3.OperationalError:
        return None
    return found[0] if found else None


class UntilChanged(Generic[T]):
    """What was read of the watched tables, until they are changed by this process or any other. Thread-safe."""

    def __init__(self, version: Callable[[], int | None], read: Callable[[], T]) -> None:
        """`version`: `Database.version`."""
        self._version = version
        self._read = read
        self._lock = threading.Lock()
        self._found: tuple[T] | None = None
        self._found_version: int | None = None
        self._found_s = -math.inf

    def get(self, lacks: Callable[[T], bool] = lambda _found: False) -> T:
        """`lacks` says of what was read that what is wanted is not there: where nobody counts the changes another
        process may have just added it, so it is read anew, if not at once."""
        with self._lock:
            version = self._version()  # before the read: what is written meanwhile makes it out of date
            if self._found is None or self._is_late(version, self._found[0], lacks):
                self._found = (self._read(),)
                self._found_version, self._found_s = version, time.monotonic()
            return self._found[0]

    def _is_late(self, version: int | None, found: T, lacks: Callable[[T], bool]) -> bool:
        if version is not None:
            return version != self._found_version
        age_s = time.monotonic() - self._found_s
        return age_s > _FRESH_S or (age_s >= _SOON_S and lacks(found))

    def forget(self) -> None:
        """Reads anew the next time: this process has changed them."""
        with self._lock:
            self._found = None
