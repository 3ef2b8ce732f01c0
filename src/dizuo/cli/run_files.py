"""Files of runs in a terminal: given, listed, copied out, and what tools have made."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dizuo.cli.table import show_table, size, when
from dizuo.cli.terminal import Terminal

if TYPE_CHECKING:
    from dizuo.core.tools import Artifact
    from dizuo.wiring import House

_ROWS, _COLUMNS, _CELL = 8, 8, 40  # of a table under a step


def give(terminal: Terminal, house: "House", run_id: str, paths: Sequence[Path]) -> None:
    """Gives files to a run."""
    from dizuo.agents.run_files import local_files

    with local_files(paths) as given:
        house.run_files.give(run_id, given)
    show_list(terminal, house, run_id)


def show_list(terminal: Terminal, house: "House", run_id: str) -> None:
    """The files of a run, and where they lie."""
    found = house.run_files.list(run_id)
    if terminal.as_json:
        terminal.show_json({"files": [one.model_dump(mode="json") for one in found]})
        return
    t = terminal.t
    rows = [(one.path, size(one.size_bytes), when(one.changed_at)) for one in found]
    show_table(terminal, (t("File"), t("Size"), t("Changed")), rows, right=(1,))
    if found:
        terminal.say(t("Copy them out: dizuo run files {id} --to FOLDER", id=run_id))


def copy_out(terminal: Terminal, house: "House", run_id: str, folder: Path) -> None:
    """Copies a run's files into a folder of its own."""
    names = house.run_files.copy_out(run_id, folder)
    if terminal.as_json:
        terminal.show_json({"folder": str(folder), "files": names})
    else:
        terminal.show(terminal.t("{n} files were copied to {folder}.", n=len(names), folder=folder))


def show_made(terminal: Terminal, house: "House", run_id: str, made: "Sequence[Artifact]", stem: str) -> None:
    """What a tool has made: where it lies, and of a table the beginning."""
    from dizuo.core.errors import DizuoError

    for one in made:
        try:
            path = house.run_files.path(run_id, one.path)
            table = house.run_files.table(run_id, one.path) if one.kind == "table" else None
        except DizuoError:  # gone meanwhile, or no table
            terminal.show(f"    {stem}   → {one.path}", style="dim")
            continue
        terminal.show(f"    {stem}   → {path} ({size(one.size_bytes)})", style="dim")
        if table is not None:
            rows = [[_short(cell) for cell in row[:_COLUMNS]] for row in table.rows[:_ROWS]]
            show_table(terminal, [_short(name) for name in table.columns[:_COLUMNS]], rows)
            if table.more or len(table.rows) > _ROWS or len(table.columns) > _COLUMNS:
                terminal.show(f"    {stem}   …", style="dim")


def _short(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
