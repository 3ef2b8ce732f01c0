"""`dizuo run inbox`, `audit` and `plan`: what runs ask, what was said to them, and what they mean to do."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dizuo.cli import run_view
from dizuo.cli.agent import runs
from dizuo.cli.command import command
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.approvals import Approval, ApprovalState
    from dizuo.agents.steps import PlanItem

_STATES = {
    "waiting": _("waits"),
    "approved": _("approved"),
    "rejected": _("rejected"),
    "expired": _("not answered in time"),
    "dropped": _("needed no more"),
}


@command(runs, "inbox", _("Show all that runs ask you."))
def inbox(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        found = house.approvals.waiting()
    if terminal.as_json:
        _show_json(terminal, found)
        return
    t = terminal.t
    if not found:
        terminal.say(t("Nothing waits for you."))
        return
    show_table(
        terminal,
        (t("Run"), t("Asked"), t("Waits until"), t("Tool"), t("Arguments"), t("Goal")),
        [
            (one.run_id, when(one.asked_at), when(one.expires_at), one.tool, _cell(one.arguments), _cell(one.goal))
            for one in found
        ],
        whole=(0,),
    )
    terminal.say(t("Answer with: dizuo run answer {id} approve|reject --reason TEXT", id=found[0].run_id), style="dim")


@command(runs, "audit", _("Show what runs have asked, and who answered what; with --json, all of it."))
def audit(
    terminal: Terminal,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help=_("Of this run only."))] = "",
    tool: Annotated[str, typer.Option("--tool", metavar="TOOL", help=_("For this tool only."))] = "",
    state: Annotated[
        Literal["waiting", "approved", "rejected", "expired", "dropped"] | None,
        typer.Option("--state", help=_("What came of it.")),
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, metavar="N", help=_("Of the last N days."))] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help=_("Most questions to show."))] = 50,
) -> None:
    from dizuo.agents.approvals import ALL
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        states: Sequence[ApprovalState] = [state] if state else ALL
        found = house.approvals.list(states=states, run_id=run, tool=tool, days=days, limit=limit)
    if terminal.as_json:
        _show_json(terminal, found)
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Run"), t("Asked"), t("Tool"), t("Arguments"), t("What came of it"), t("By"), t("Answered"), t("Reason")),
        [
            (
                one.run_id,
                when(one.asked_at),
                one.tool,
                _cell(one.new_arguments or one.arguments) + (f" ({t('changed')})" if one.new_arguments else ""),
                t(_STATES[one.state]),
                t("an agent of others") if one.by == "agent" else one.answered_by or "-",
                when(one.answered_at),
                "" if one.by == "timeout" else _cell(one.reason),
            )
            for one in found
        ],
        whole=(0,),
    )


@command(runs, "plan", _("Show a run's plan, or change it."))
def plan(
    terminal: Terminal,
    run: Annotated[str, typer.Argument(metavar="RUN", help=_("The run's id."))],
    edit: Annotated[bool, typer.Option("--edit", help=_("Open it in your editor (VISUAL, EDITOR), as YAML."))] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help=_("Put the plan of a file in its place, YAML or JSON; - reads it.")
        ),
    ] = None,
) -> None:
    from dizuo.agents.plan import plan_in
    from dizuo.agents.state import State
    from dizuo.core.errors import UserError

    if edit and file is not None:
        raise UserError("Say either --edit or --file.")
    with terminal.house() as house:
        items: Sequence[PlanItem] = State(house.runs.steps(house.runs.get(run).id)).plan
        if edit or file is not None:
            text = _edited(terminal, items) if file is None else _text_of(file)
            if text is None:
                terminal.say(terminal.t("The plan stays as it is."))
                return
            items = plan_in(text)
            house.runs.change_plan(run, items)
    if terminal.as_json:
        terminal.show_json({"items": [one.model_dump() for one in items]})
    elif items:
        run_view.show_plan(terminal, items)
    else:
        terminal.say(terminal.t("It has no plan."))


def _edited(terminal: Terminal, items: "Sequence[PlanItem]") -> str | None:
    """What somebody makes of the plan in an editor; None where they leave it. What cannot be read is edited on."""
    from dizuo.agents.plan import plan_in, plan_text
    from dizuo.core.errors import UserError

    text = plan_text(items)
    while True:
        edited = _in_editor(text)
        if edited.strip() in ("", text.strip()):
            return None
        try:
            plan_in(edited)
        except UserError as error:
            if not terminal.is_interactive():
                raise
            terminal.say(terminal.error_text(error), style="red")
            if not typer.confirm(terminal.t("Go on editing?"), default=True, err=True):
                return None
            text = edited
        else:
            return edited


def _in_editor(text: str) -> str:
    """The text as it is when the editor is left. Raises UserError where there is none, or it fails."""
    import os
    import shlex
    import subprocess
    import tempfile

    from dizuo.core.errors import UserError

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plan.yaml")
        file.write_text(text, "utf-8")
        try:
            status = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
        except (OSError, ValueError):
            raise UserError("The editor {editor!r} cannot be started. Name one: EDITOR=nano", editor=editor) from None
        if status:
            raise UserError("The editor {editor!r} has failed. Nothing was changed.", editor=editor)
        return file.read_text("utf-8")


def _text_of(file: Path) -> str:
    """What a file holds. Raises UserError."""
    from dizuo.core.errors import UserError

    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError("{file}: cannot be read: {reason}", file=file, reason=reason or "") from None


def _show_json(terminal: Terminal, found: "Sequence[Approval]") -> None:
    terminal.show_json({"approvals": [one.model_dump(mode="json") for one in found]})


def _cell(text: str) -> str:
    return run_view.short(text, 120)
