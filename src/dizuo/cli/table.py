"""Tables of results."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from dizuo.cli.terminal import Terminal, clean


def show_table(
    terminal: Terminal,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> None:
    """Prints rows under their headings. At the positions `right` are numbers, at `whole` what gets copied: ids.

    Wide (Chinese) characters line up; cells are cleaned and wrap where the terminal is narrow.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for position, column in enumerate(columns):
        justify = "right" if position in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=position in whole)
    for row in rows:
        table.add_row(*(Text(clean(str(cell)).replace("\n", " ")) for cell in row))
    terminal.show(table)


def when(moment: datetime | str | None) -> str:
    """A time in the person's own zone, to the minute; "-" for never."""
    if moment is None:
        return "-"
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone().strftime("%Y-%m-%d %H:%M")


def size(size_bytes: int) -> str:
    """1.5 MiB."""
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
