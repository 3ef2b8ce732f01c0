"""Reader of Excel workbooks, a table for each sheet. Runs in the parser's child.

openpyxl and xlrd directly, not by way of markitdown: that goes through pandas, which writes `NaN` into empty cells
and `Unnamed: 3` over columns, reads hidden sheets without saying so, and takes four times the memory.
"""

import datetime
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.knowledge.formats import Format
from dizuo.knowledge.parse import Parsed, clean, locked, pictures_lost, require_text
from dizuo.knowledge.tables import markdown_table
from dizuo.platform.catalogue import _

_MAX_CELLS = 5_000_000
_LOOKED_INTO = 64 << 20
_NO_RESULT = re.compile(rb"</f>(?:<v></v>|<v ?/>)?</c>")


def parse_sheets(path: Path, format: Format) -> Parsed:
    """Each visible sheet under its name as a Markdown table of values. Raises UserError when it is damaged."""
    text, hidden, meta = _xlsx(path) if format.name == "xlsx" else _xls(path)
    lost: list[Note] = []
    if hidden:
        template = _("Hidden sheets were not read: {names}")
        lost.append(Note(template=template, params={"names": ", ".join(hidden[:20])}))
    if format.name == "xlsx":
        lost += _not_read(path)
    return require_text(Parsed(clean(text), format.name, format.media_type, None, (), tuple(lost), meta))


def _xlsx(path: Path) -> tuple[str, Sequence[str], dict[str, Any]]:
    import openpyxl

    # As a stream: by a path it wants the right extension, and stored files have none.
    with path.open("rb") as file:
        workbook = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        hidden = [sheet.title for sheet in workbook.worksheets if sheet.sheet_state != "visible"]
        shown = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
        parts: list[str] = []
        for sheet in shown:
            sheet.reset_dimensions()  # which many programs write wrongly
            parts += _sheet(sheet.title, sheet.iter_rows(values_only=True))
        properties = workbook.properties
        meta: dict[str, Any] = {}
        for key, value in (
            ("title", properties.title),
            ("author", properties.creator),
            ("language", properties.language),
        ):
            if value and value != "openpyxl":
                meta[key] = clean(str(value))
        if isinstance(properties.created, datetime.datetime):
            meta["date"] = properties.created.date().isoformat()
        return "\n".join(parts), hidden, meta


def _not_read(path: Path) -> Iterator[Note]:
    """What a workbook holds beside the values of its cells.

    A formula has no result where the program that wrote the file was no spreadsheet and did not work it out.
    """
    formulas, comments, pictures = 0, 0, 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename
            pictures += name.startswith("xl/media/")
            if member.file_size < _LOOKED_INTO and name.endswith(".xml"):
                if name.startswith("xl/worksheets/"):
                    formulas += len(_NO_RESULT.findall(archive.read(member)))
                elif re.match(r"xl/(comments|threadedComments/)", name):
                    comments += len(re.findall(rb"<(?:comment|threadedComment)[ >]", archive.read(member)))
    if formulas:
        template = _("Formulas have no stored result: {count}. Open the file in Excel or LibreOffice and save it.")
        yield Note(template=template, params={"count": formulas})
    if comments:
        yield Note(template="Comments were not read: {count}.", params={"count": comments})
    yield from pictures_lost(pictures)


def _xls(path: Path) -> tuple[str, Sequence[str], dict[str, Any]]:
    import xlrd
    from xlrd.biffh import XLRDError

    try:
        workbook = xlrd.open_workbook(str(path), on_demand=True)
    except XLRDError as error:
        if "encrypted" in str(error).lower():
            raise locked() from None
        raise
    parts: list[str] = []
    hidden: list[str] = []
    for sheet in workbook.sheets():
        if sheet.visibility:
            hidden.append(sheet.name)
            continue
        rows = ([_xls_value(cell, workbook.datemode) for cell in sheet.row(n)] for n in range(sheet.nrows))
        parts += _sheet(sheet.name, rows)
    return "\n".join(parts), hidden, {}


def _xls_value(cell: Any, datemode: Any) -> Any:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            return xlrd.xldate_as_datetime(cell.value, datemode)
        except (xlrd.XLDateError, ValueError, OverflowError):
            return cell.value
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    return None if cell.ctype == xlrd.XL_CELL_ERROR else cell.value


def _sheet(title: str, rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A heading and the table, without empty rows and columns."""
    filled: list[list[str]] = []
    cells = 0
    for row in rows:
        values = [_shown(value) for value in row]
        if any(values):
            filled.append(values)
            cells += sum(map(bool, values))
            if cells > _MAX_CELLS:
                raise UserError("A sheet has more than {limit} cells. Split it, or save it as CSV.", limit=_MAX_CELLS)
    if not filled:
        return
    width = max(len(row) for row in filled)
    used = [n for n in range(width) if any(n < len(row) and row[n] for row in filled)]
    table = [[row[n] if n < len(row) else "" for n in used] for row in filled]
    yield f"## {title}\n\n{markdown_table(table)}\n"


def _shown(value: Any) -> str:
    """A cell as people see it: whole numbers without a point, dates without an empty time."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "minutes")
    return str(value).strip()
