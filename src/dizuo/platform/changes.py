"""Whether what callers and models are found by was changed: one number, another one after every change, on SQLite.

SQLite counts commits itself (PRAGMA data_version), but the ledger and the traces are written ten times a second, and
each time all that was found before would be looked up again. So triggers count, which no writer can forget.
"""

import sqlite3

import sqlalchemy as sa

from dizuo.platform import schema

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
