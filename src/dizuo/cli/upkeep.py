"""`dizuo doctor`, `backup`, `restore` and `repair`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import Yes, command
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.doctor import Check
    from dizuo.platform.backup import BackupInfo

_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


def register(app: typer.Typer, panel: str) -> None:
    """Adds the four commands to the root."""
    command(app, "doctor", _("Check what works on this machine, and what to do about the rest."), panel=panel)(doctor)
    command(app, "backup", _("Write everything into one file; the server may run meanwhile."), panel=panel)(backup)
    command(app, "restore", _("Check a backup or snapshot, then put it in place of what is there."), panel=panel)(
        restore
    )
    command(app, "repair", _("Rebuild what can be derived from the database."), panel=panel)(repair)


def doctor(terminal: Terminal) -> None:
    from dizuo import doctor as checks

    found: list[Check] = []
    with terminal.waiting(terminal.t("Checking…")):
        for check in checks.examine(terminal.settings):
            found.append(check)
            if not terminal.as_json:
                _show_check(terminal, check)
    failed = [check for check in found if check.status == "failed"]
    if terminal.as_json:
        rows = [
            {
                "name": check.name,
                "status": check.status,
                "found": terminal.note(check.found),
                "advice": terminal.note(check.advice) if check.advice else None,
            }
            for check in found
        ]
        terminal.show_json({"ok": not failed, "checks": rows})
    else:
        warnings = sum(check.status == "warning" for check in found)
        terminal.say("")
        terminal.say(
            terminal.t(
                "{ok} in order, {warnings} to look at, {failed} failed",
                ok=len(found) - warnings - len(failed),
                warnings=warnings,
                failed=len(failed),
            )
        )
    if failed:
        raise typer.Exit(1)


def _show_check(terminal: Terminal, check: "Check") -> None:
    sign, style = _SIGNS[check.status]
    terminal.show(f"{sign} {terminal.t(check.name)}: {terminal.note(check.found)}", style=style)
    if check.advice:
        terminal.show("    " + terminal.note(check.advice))


def backup(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("The file to write."))],
) -> None:
    with terminal.house() as house, terminal.waiting(terminal.t("Writing the backup…")):
        info = house.backup(file)
    _show_info(terminal, info, terminal.t("Backed up into {file}.", file=file))


def restore(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("A backup, or a snapshot."))],
    yes: Yes = False,
) -> None:
    terminal.confirm(terminal.t("Replace everything in {home}?", home=terminal.settings().values.home), yes=yes)
    # Not opened: what is there may be broken, or made by a newer Dizuo, and that is why a person restores.
    with terminal.closed_house() as house, terminal.waiting(terminal.t("Checking the file, then restoring…")):
        info = house.restore(file)
    _show_info(terminal, info, terminal.t("Restored {file}.", file=file))


def _show_info(terminal: Terminal, info: "BackupInfo", done: str) -> None:
    from dizuo.cli.table import size, when

    if terminal.as_json:
        terminal.show_json(info.model_dump(mode="json"))
        return
    terminal.show(done)
    counts = terminal.t(
        "{bases} knowledge bases, {documents} documents, {files} files; {size}, made {time}",
        bases=info.rows.get("knowledge", 0),
        documents=info.rows.get("documents", 0),
        files=info.files,
        size=size(info.size_bytes),
        time=when(info.created_at),
    )
    terminal.say(counts, style="dim")
    if info.missing_files:
        lost = terminal.t("{count} original files were missing when it was made.", count=info.missing_files)
        terminal.say(lost, style="yellow")


def repair(terminal: Terminal) -> None:
    with terminal.house() as house, terminal.waiting(terminal.t("Repairing…")):
        notes = house.library.repair()
    if terminal.as_json:
        terminal.show_json({"notes": [terminal.note(note) for note in notes]})
        return
    for note in notes:
        terminal.show(terminal.note(note))
