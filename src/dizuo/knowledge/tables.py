"""Rows as Markdown tables: the form in which every reader gives tables and the cutter understands them."""

from collections.abc import Iterable, Sequence


def markdown_row(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, whose first row is the header."""
    lines = [markdown_row(row) for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _cell(text: str) -> str:
    if "\n" in text or "\r" in text:
        text = " ".join(text.split())
    return text.strip().replace("|", "\\|")
