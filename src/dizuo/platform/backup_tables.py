"""The tables of a backup: which are ours, their rows as values that JSON knows, and back, on either database."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from dizuo.core.errors import UserError
from dizuo.platform import revisions, schema

# Ways in that are open at this moment, which a backup must not open again later, nor carry elsewhere; and what is known
# of providers for a day; and what counts changes here.
TRANSIENT = frozenset(
    {"sessions", "login_links", "login_failures", "model_health", "cache_entries", "cache_sources", "changes"}
)
# Made from the others: `knowledge/keywords.py`.
_DERIVED = ("chunk_terms",)
# DBOS keeps its tables in the same SQLite file; on PostgreSQL they are in a schema of their own.
_OF_DBOS = frozenset(
    {
        "application_versions", "dbos_migrations", "notifications", "operation_outputs", "queues", "streams",
        "workflow_events", "workflow_events_history", "workflow_input", "workflow_output", "workflow_schedules",
        "workflow_status",
    }
)  # fmt: skip
_FETCH_ROWS = 32  # a row may hold a document's whole text
_INSERT_ROWS, _INSERT_BYTES = 500, 8 << 20


def own_tables(connection: sa.Connection) -> Sequence[sa.Table]:
    """The tables of Dizuo that a database holds, with its derived and transient ones left out, referred ones first.

    Read from the database, since it may be at an older or newer revision than `schema.py`. Raises UserError where
    that leaves it open whose tables they are.
    """
    names = _own_names(connection)
    reflected = sa.MetaData()

    @event.listens_for(reflected, "column_reflect")
    def _neutral(_inspector: Any, _table: Any, column: Any) -> None:
        column["type"] = column["type"].as_generic()
        if isinstance(column["type"], sa.JSON):
            column["type"] = sa.JSON(none_as_null=True)

    present = set(sa.inspect(connection).get_table_names())
    reflected.reflect(connection, only=sorted(names & present))
    return reflected.sorted_tables


def _own_names(connection: sa.Connection) -> set[str]:
    found = revisions.revision(connection)
    if found is None:
        return set()
    if found == revisions.head():
        return set(schema.metadata.tables)
    if found < revisions.head():
        engine = sa.create_engine("sqlite://")
        with engine.connect() as empty:
            revisions.apply(empty, found)
            names = sa.inspect(empty).get_table_names()
        engine.dispose()
    elif connection.dialect.name == "sqlite":
        names = sa.inspect(connection).get_table_names()  # the file is ours alone
    else:
        raise UserError(
            "The database was made by a newer Dizuo (schema {found}; this one knows {known}), so it is not clear which "
            "of its tables are Dizuo's. Point DIZUO_DATABASE_URL to a new, empty database, then restore into that.",
            found=found,
            known=revisions.head(),
        )
    return {n for n in names if n not in _OF_DBOS and n != "alembic_version" and not n.startswith(_DERIVED)}


def rows_of(connection: sa.Connection, table: sa.Table) -> Iterator[list[Any]]:
    """The rows of a table in the order of its key, a few at a time."""
    binary = [n for n, column in enumerate(table.c) if isinstance(column.type, sa.LargeBinary)]
    query = table.select().order_by(*table.primary_key.columns)
    for row in connection.execute(query, execution_options={"yield_per": _FETCH_ROWS}):
        values = list(row)
        for n in binary:
            if values[n] is not None:
                values[n] = base64.b64encode(values[n]).decode()
        yield values


def drop_all(connection: sa.Connection) -> None:
    """Removes every table of Dizuo, and the mark of its revision."""
    tables = own_tables(connection)
    for name in _DERIVED:
        connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
    for table in reversed(tables):
        table.drop(connection)
    connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))


def load(
    connection: sa.Connection,
    columns: Mapping[str, Sequence[str]],
    rows: Iterable[tuple[str, Sequence[Any], int]],
    after_row: int,
) -> None:
    """Fills empty tables. Chunks are numbered from `after_row` + 1 on, in their old order and distances.

    Numbers that this database has used before are not used again: the indexes in running processes take a number
    for the chunk it stood for.
    """
    tables = {table.name: table for table in own_tables(connection) if table.name not in TRANSIENT}
    shift: int | None = None
    batch: list[dict[str, Any]] = []
    current, n_bytes = "", 0
    binary: list[str] = []

    def flush() -> None:
        nonlocal n_bytes
        if batch:
            connection.execute(tables[current].insert(), batch)
            batch.clear()
            n_bytes = 0

    for name, values, size in rows:
        if name != current or len(batch) >= _INSERT_ROWS or n_bytes >= _INSERT_BYTES:
            flush()
        if name not in tables:
            raise UserError("The backup holds a table {table!r} that its own schema does not know.", table=name)
        if name != current:
            current = name
            binary = [column.name for column in tables[name].c if isinstance(column.type, sa.LargeBinary)]
        row = dict(zip(columns[name], values, strict=True))
        for column in binary:
            if row.get(column) is not None:
                row[column] = base64.b64decode(row[column], validate=True)
        if name in ("chunks", "vectors") and "row" in row:
            if shift is None:
                shift = after_row + 1 - row["row"]
            row["row"] += shift
        batch.append(row)
        n_bytes += size
    flush()
    _continue_numbering(connection, tables.values(), after_row)


def highest_row(connection: sa.Connection) -> int:
    """The highest number that a chunk ever had in this database."""
    if not sa.inspect(connection).has_table("chunks"):
        return 0
    if connection.dialect.name == "sqlite":
        query = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'chunks'"
    else:
        query = "SELECT pg_sequence_last_value(pg_get_serial_sequence('chunks', 'row')::regclass)"
    return connection.scalar(sa.text(query)) or 0


def _continue_numbering(connection: sa.Connection, tables: Iterable[sa.Table], after_row: int) -> None:
    """Rows came in with their numbers, of which the database's own counters know nothing."""
    if connection.dialect.name == "sqlite":
        counted = connection.scalar(sa.text("SELECT count(*) FROM sqlite_sequence WHERE name = 'chunks'"))
        if not counted:  # no chunk came in
            connection.execute(sa.text("INSERT INTO sqlite_sequence VALUES ('chunks', :n)"), {"n": after_row})
        return
    for table in tables:
        for column in table.primary_key.columns:
            sequence = connection.scalar(sa.func.pg_get_serial_sequence(f'"{table.name}"', column.name))
            if sequence is not None:
                used = connection.scalar(sa.select(sa.func.max(column))) or 0
                last = max(used, after_row if table.name == "chunks" else 0)
                if last:
                    connection.execute(sa.select(sa.func.setval(sequence, last)))
