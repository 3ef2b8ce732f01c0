"""Tables in files: CSV and the like, read as people write them, and asked with SQL.

SQL of a model runs in a database of its own, in memory, that holds nothing but the tables and can reach no file; how
long it takes and how much it gives is bounded.
"""

import csv
import io
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Annotated, Any, BinaryIO

from pydantic import Field

from dizuo.agents import workspace
from dizuo.core.errors import UserError
from dizuo.core.tools import ToolContext, ToolResult, tool

MOST_BYTES = 16 << 20  # of a table
MOST_ROWS, MOST_COLUMNS = 200_000, 200
PREVIEW_ROWS = 20
_PREVIEW_BYTES, _PREVIEW_COLUMNS, _CELL_CHARACTERS = 256 << 10, 12, 200
_TOLD_ROWS = 50  # of a result, to the model
_SECONDS = 5.0
_STEPS = 10_000  # of SQLite's machine between two looks at the clock
_MOST_VALUE_BYTES = 1 << 20
_MOST_PATTERN_BYTES = 200
_READ_ONLY = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class Table:
    """Columns and rows, as texts. Every row is as long as `columns`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Preview:
    """The beginning of a table, to be shown. `more`: there is more of it, below or to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: bool


def read_table(file: BinaryIO) -> Table:
    """The whole table. Raises UserError for what is none or too large."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UserError("The table has over {limit} bytes.", limit=MOST_BYTES)
    return _parsed(data)


def preview(file: BinaryIO) -> Preview:
    """The first rows of a table, with long cells cut. Raises UserError for what is none."""
    data = file.read(_PREVIEW_BYTES + 1)
    whole = len(data) <= _PREVIEW_BYTES
    if not whole:  # not in the middle of a row
        data = data[: data.rfind(b"\n", 0, _PREVIEW_BYTES) + 1] or data[:_PREVIEW_BYTES]
    table = _parsed(data)
    more = not whole or len(table.rows) > PREVIEW_ROWS or len(table.columns) > _PREVIEW_COLUMNS
    rows = [[_short(cell) for cell in row[:_PREVIEW_COLUMNS]] for row in table.rows[:PREVIEW_ROWS]]
    return Preview([_short(one) for one in table.columns[:_PREVIEW_COLUMNS]], rows, more)


def number(text: str) -> float | int | None:
    """The number that a cell says, such as 1,234.5; None for another text."""
    text = text.strip()
    if not text or not _NUMBER.fullmatch(text) or not any(one.isdigit() for one in text):
        return None
    plain = text.replace(",", "")
    return float(plain) if any(one in plain for one in ".eE") else int(plain)


@tool(effect="own", idempotent=True)
def query_table(
    sql: Annotated[str, Field(min_length=1, max_length=10_000, description="one SELECT, in SQLite's SQL")],
    files: Annotated[list[str], Field(min_length=1, max_length=10, description="CSV files of your workspace")],
    context: ToolContext,
    save_as: Annotated[str, Field(max_length=500, description="a CSV file that takes the whole result")] = "",
) -> ToolResult:
    """Ask CSV files with SQL: add up, group, filter, sort, join; the numbers are exact. Each file is a table, called as
    the file without its ending: sales.csv is sales. Numbers in a column that has only such are numbers."""
    folder = workspace.of(context)
    tables: dict[str, Table] = {}
    for name in files:
        called = PurePosixPath(name).stem
        if called.lower() in (one.lower() for one in tables):
            raise UserError("Two of the files would both be the table {name!r}. Move or rename one.", name=called)
        with folder.open(name) as file:
            tables[called] = read_table(file)
    try:
        found = _asked(tables, sql)
    except sqlite3.Error as error:
        columns = "; ".join(f"{name}: {', '.join(table.columns)}" for name, table in tables.items())
        return ToolResult(text=f"{error}. The tables are {columns}", failed=True, trusted=False)
    said = _written(Table(found.columns, found.rows[:_TOLD_ROWS]))
    if len(found.rows) > _TOLD_ROWS:
        said += f"[{len(found.rows)} rows, the first {_TOLD_ROWS} are here]\n"
    if not save_as:
        return ToolResult(text=said, trusted=False)
    save_as = workspace.normal(save_as)
    folder.write(save_as, _written(found))
    said = f"{save_as} has {len(found.rows)} rows.\n{said}"
    return ToolResult(text=said, trusted=False, artifacts=workspace.artifacts(context, [save_as]))


# --- reading --------------------------------------------------------------------------------------------------


def _parsed(data: bytes) -> Table:
    text = _decoded(data)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        rows = [row for row in islice(reader, MOST_ROWS + 2) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError("That is no table: {reason}", reason=str(error)) from None
    if not rows:
        raise UserError("The table is empty.")
    if len(rows) > MOST_ROWS + 1:
        raise UserError("The table has over {limit} rows.", limit=MOST_ROWS)
    width = max(map(len, rows))
    if width > MOST_COLUMNS:
        raise UserError("The table has over {limit} columns.", limit=MOST_COLUMNS)
    head, *rest = (row + [""] * (width - len(row)) for row in rows)
    return Table(_names(head), rest)


def _decoded(data: bytes) -> str:
    """UTF-8, or what Chinese Excel writes; nothing else can be told apart."""
    if b"\0" in data:
        raise UserError("That is no table: {reason}", reason="NUL")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace")


def _delimiter(text: str) -> str:
    """The one that cuts the first line most often. Quoted commas count too, so it is the first row as CSV reads it."""
    line = text.lstrip().split("\n", 1)[0]
    return max(",\t;|", key=lambda one: len(next(csv.reader([line], delimiter=one), [])))


def _names(head: Sequence[str]) -> list[str]:
    """Names of columns, none empty and none twice: SQL asks for them without regard to case."""
    found: list[str] = []
    seen = set[str]()
    for place, cell in enumerate(head, 1):
        name = base = cell.strip() or f"column {place}"
        again = 2
        while name.lower() in seen:
            name, again = f"{base} {again}", again + 1
        seen.add(name.lower())
        found.append(name)
    return found


def _short(text: str) -> str:
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


# --- asking ---------------------------------------------------------------------------------------------------


def _asked(tables: dict[str, Table], sql: str) -> Table:
    """What SQL finds. Raises sqlite3.Error, UserError where it takes too long."""
    database = sqlite3.connect(":memory:")
    try:
        for name, table in tables.items():
            _fill(database, name, table)
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE_BYTES)
        # Between two looks at the clock it does one comparison whole, and these can take for ever.
        database.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _MOST_PATTERN_BYTES)
        until = time.monotonic() + _SECONDS
        database.set_progress_handler(lambda: int(time.monotonic() > until), _STEPS)
        # A recursive query can count for ever, and has no use here.
        allowed = _READ_ONLY
        database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY)
        try:
            cursor = database.execute(sql)
            if cursor.description is None:
                raise sqlite3.ProgrammingError("only a SELECT can be asked")
            rows = list(_bounded(cursor))
        except sqlite3.OperationalError as error:
            if str(error) == "interrupted":
                raise UserError("The query took over {seconds} s.", seconds=_SECONDS) from None
            raise
    finally:
        database.close()
    return Table([column[0] for column in cursor.description], [[_cell(one) for one in row] for row in rows])


def _bounded(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Raises UserError where there are too many, or they are too large together."""
    size = 0
    for number_of, row in enumerate(rows, 1):
        size += sum(len(one) for one in row if isinstance(one, str | bytes))
        if number_of > MOST_ROWS:
            raise UserError("The table has over {limit} rows.", limit=MOST_ROWS)
        if size > MOST_BYTES:
            raise UserError("The table has over {limit} bytes.", limit=MOST_BYTES)
        yield row


def _fill(database: sqlite3.Connection, name: str, table: Table) -> None:
    numeric = [_is_numeric(row[at] for row in table.rows) for at in range(len(table.columns))]
    columns = ", ".join(_quoted(one) for one in table.columns)  # without a type: a value stays as it is put in
    database.execute(f"CREATE TABLE {_quoted(name)} ({columns})")
    marks = ", ".join("?" * len(table.columns))
    values = ([_value(cell, is_number) for cell, is_number in zip(row, numeric, strict=True)] for row in table.rows)
    database.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", values)  # noqa: S608  (names are quoted)


def _is_numeric(cells: Any) -> bool:
    some = False
    for cell in cells:
        if cell.strip():
            if number(cell) is None:
                return False
            some = True
    return some


def _value(cell: str, is_number: bool) -> str | float | int | None:
    if not cell.strip():
        return None
    found = number(cell) if is_number else cell
    return float(found) if isinstance(found, int) and abs(found) >= 1 << 63 else found


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return repr(round(value, 10)).removesuffix(".0")  # 0.1 + 0.2 is 0.3 to whoever reads it
    return "" if value is None else value.hex() if isinstance(value, bytes) else str(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _written(table: Table) -> str:
    """As CSV. A text that a spreadsheet would take for a formula gets an apostrophe before it: it is words of others
    and would act when it is opened."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (table.columns, *table.rows):
        writer.writerow([_harmless(cell) for cell in row])
    return out.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and number(cell) is None else cell
