"""A run in a terminal: its steps as a tree that grows, what it waits for asked at once where somebody is there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import typer

from dizuo.cli.run_files import show_made
from dizuo.cli.terminal import INTERRUPTED, Terminal, clean
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.runs import Asked, Run
    from dizuo.agents.state import State
    from dizuo.agents.steps import ApprovalAsked, PlanItem, Step
    from dizuo.wiring import House

_MARKS = {"open": "○", "doing": "◐", "done": "●", "dropped": "–"}
_BRANCH, _STEM = "├", "│"
_REASONS = {
    "done": _("done"),
    "budget": _("ended: a budget is used up"),
    "no_progress": _("ended: it made no progress"),
    "failed": _("failed"),
    "cancelled": _("cancelled"),
}
_BUDGETS = {
    "steps": _("The budget of model calls is used up."),
    "tokens": _("The budget of tokens is used up."),
    "money": _("The budget of money is used up."),
    "seconds": _("The budget of time is used up."),
}
_STATUS = {"active": _("at work"), "waiting": _("waits for you"), "paused": _("rests")}


def follow(terminal: Terminal, house: "House", run_id: str, seen: "Sequence[Step]" = ()) -> None:
    """Shows the steps behind those that were `seen` as they come. Asks whoever sits there what the run waits for.

    Ends the command with 1 where the run has ended otherwise than well. Ctrl-C leaves the run going.
    """
    from dizuo.agents.state import State

    state = State(seen)
    try:
        _grow(terminal, house, run_id, state)
        while terminal.is_interactive() and (asking := house.runs.asking(run_id)) and ask_now(terminal, house, asking):
            _grow(terminal, house, run_id, state)
    except KeyboardInterrupt:
        _say_how_to_come_back(terminal, house, run_id)
        raise typer.Exit(INTERRUPTED) from None
    found = house.runs.get(run_id)
    if terminal.as_json:
        show_json(terminal, found, house.runs.steps(run_id))
    elif found.status != "ended":
        say_what_waits(terminal, house.runs.asking(run_id))
    if found.status == "ended" and found.reason != "done":
        raise typer.Exit(1)


def show(terminal: Terminal, house: "House", run: "Run", steps: "Sequence[Step]") -> None:
    """A run as it stands."""
    from dizuo.agents.state import State

    state = State()
    for step in steps:
        state.take(step)
        _show_step(terminal, house, run.id, state, step)
    if state.ended is None:
        terminal.show(f"{status_of(terminal, run)} · {_used(terminal, house, state)}", style="dim")
        say_what_waits(terminal, house.runs.asking(run.id))


def show_json(terminal: Terminal, run: "Run", steps: "Sequence[Step]") -> None:
    """A run and its steps as one document."""
    terminal.show_json({**run.model_dump(mode="json"), "steps": [one.model_dump(mode="json") for one in steps]})


def status_of(terminal: Terminal, run: "Run") -> str:
    """How a run stands, in words."""
    known = _REASONS.get(run.reason, run.reason) if run.status == "ended" else _STATUS[run.status]
    return terminal.t(known)


def say_what_waits(terminal: Terminal, asking: "Sequence[Asked]") -> None:
    """What people are asked, and the commands that answer."""
    for one in asking:
        terminal.show(_question(terminal, one.step), style="yellow")
        _say_until(terminal, one.step)
    for run_id in dict.fromkeys(one.run_id for one in asking):
        terminal.say(terminal.t("Answer with: dizuo run answer {id} approve|reject --reason TEXT", id=run_id))


# --- asking ---------------------------------------------------------------------------------------------------


def ask_now(terminal: Terminal, house: "House", asking: "Sequence[Asked]") -> bool:
    """Asks whoever sits there. False where they leave it for later."""
    try:
        return all(_ask(terminal, house, one.run_id, one.step) for one in asking)
    except typer.Abort:  # Ctrl-C or the end of the input
        terminal.say("")
        return False


def _ask(terminal: Terminal, house: "House", run_id: str, asked: "ApprovalAsked") -> bool:
    from dizuo.core.tools import ToolArgumentsError

    t = terminal.t
    terminal.say(_question(terminal, asked), style="yellow")
    _say_until(terminal, asked)
    if asked.why == "question":
        text = _prompt(t("Your answer (empty: later)"))
        if not text:
            return False
        house.runs.answer(run_id, asked.call_id, "approve", reason=text)
        return True
    while True:
        said = _prompt(t("[y]es, [n]o, [e]dit the arguments, [l]ater")).lower()[:1]
        decision: Literal["approve", "reject"] = "reject" if said == "n" else "approve"
        if said == "l" or not said:
            return False
        if said not in ("y", "n", "e"):
            continue
        reason = _prompt(t("Why not? (may be empty)")) if said == "n" else ""
        arguments = _prompt(t("Arguments (JSON)"), asked.arguments) if said == "e" else None
        try:
            house.runs.answer(run_id, asked.call_id, decision, arguments=arguments, reason=reason)
        except ToolArgumentsError as error:
            terminal.say(terminal.error_text(error), style="red")
            continue
        return True


def _say_until(terminal: Terminal, asked: "ApprovalAsked") -> None:
    from dizuo.cli.table import when

    if asked.expires_at:
        text = terminal.t("It waits until {when}; then it counts as refused.", when=when(asked.expires_at))
        terminal.say(text, style="dim")


def _prompt(text: str, default: str = "") -> str:
    return str(typer.prompt(text, default=clean(default), err=True, show_default=bool(default))).strip()


def _question(terminal: Terminal, asked: "ApprovalAsked") -> str:
    t, given = terminal.t, asked.arguments
    match asked.why:
        case "question":
            return t("It asks: {arguments}", arguments=asked.question)
        case "maybe_done":
            text = _("{tool} with {arguments} may have been called before a crash. Call it again?")
        case "effect":
            text = _("It wants to call {tool} with {arguments}.")
    return t(text, tool=asked.name, arguments=given)


def _say_how_to_come_back(terminal: Terminal, house: "House", run_id: str) -> None:
    if house.runs.get(run_id).status == "ended":
        return
    if house.jobs.start():  # it is this process that works on it
        text = _("The run rests with this command and goes on with the next server, or with: dizuo run follow {id}")
    else:
        text = _("The run goes on. Come back to it: dizuo run follow {id}. End it: dizuo run cancel {id}")
    terminal.say(terminal.t(text, id=run_id))


# --- the tree -------------------------------------------------------------------------------------------------


def _grow(terminal: Terminal, house: "House", run_id: str, state: "State") -> None:
    """Shows the steps that come, until the run has ended, rests, or waits."""
    with terminal.progress(_doing(terminal, house, state)) as tell:
        for step in house.runs.follow(run_id, state.number):
            state.take(step)
            if not terminal.as_json:
                _show_step(terminal, house, run_id, state, step)
            tell(_doing(terminal, house, state))


def _doing(terminal: Terminal, house: "House", state: "State") -> str:
    going = ", ".join(dict.fromkeys(call.name for call in state.open.values()))
    what = terminal.t("Calling {tools}…", tools=going) if going else terminal.t("The model is thinking…")
    return f"{what} {_used(terminal, house, state)}"


def _used(terminal: Terminal, house: "House", state: "State") -> str:
    return terminal.t(
        "model calls: {calls}, tokens: {tokens}, {cost} {currency}, {seconds} s",
        calls=state.model_calls,
        tokens=f"{state.tokens:,}",
        cost=f"{state.cost:,.4f}",
        currency=house.limits.currency,
        seconds=f"{state.seconds:.1f}",
    )


def _show_step(terminal: Terminal, house: "House", run_id: str, state: "State", step: "Step") -> None:
    from dizuo.agents import steps
    from dizuo.agents.plan import PLAN_TOOL
    from dizuo.apps.app import called

    t = terminal.t

    def branch(text: str, style: str = "") -> None:
        terminal.show(f"{state.number:>3} {_BRANCH} {_indented(text)}", style=style)

    match step:
        case steps.Started(goal=goal, model=model, app=app):
            terminal.show(goal, style="bold")
            terminal.show(" · ".join([*([called(app)] if app else []), model, run_id]), style="dim")
        case steps.Steered(text=text):
            branch(f"{t('You')}: {text}")
        case steps.ModelCalled(text=text, calls=calls):
            if text.strip() and calls:
                branch(text.strip())
        case steps.ToolEnded(name=name) if name == PLAN_TOOL and not step.result.failed:
            pass  # the plan was the step before
        case steps.ToolEnded(name=name, arguments=arguments, result=result):
            branch(f"{name} {short(arguments)}", style="cyan")
            told = "" if result.trusted else t("(text of others) ")
            terminal.show(f"    {_STEM}   {told}{short(result.text)}", style="red" if result.failed else "")
            show_made(terminal, house, run_id, result.artifacts, _STEM)
        case steps.ChildStarted(run_id=child):
            branch(t("Another app is at work on it: dizuo run show {id}", id=child), style="dim")
        case steps.PlanChanged(items=items, by=by):
            branch(t("Plan changed by you") if by == "person" else t("Plan"))
            show_plan(terminal, items)
        case steps.ApprovalAsked(name=name, arguments=arguments):
            branch(f"? {name} {short(arguments)}", style="yellow")
        case steps.ApprovalGiven(decision=decision, reason=reason, arguments=arguments, by=by):
            said = t("approved") if decision == "approve" else t("rejected")
            said = t("not answered in time") if by == "timeout" else said
            said = t("Answered by the agent that asked for the run") if by == "agent" else said
            branch(" ".join(part for part in (said, short(arguments or ""), reason) if part))
        case steps.Ended(reason=reason, text=text, detail=detail):
            terminal.show()
            if text:
                terminal.show(text)
            style = "dim" if reason == "done" else "yellow"
            terminal.show(f"{t(_REASONS[reason])} · {_used(terminal, house, state)}", style=style)
            if detail:
                terminal.show(_detail(terminal, reason, detail), style=style)
        case _:
            pass


def _detail(terminal: Terminal, reason: str, detail: str) -> str:
    if reason == "done":
        return terminal.t("Left open in its plan: {items}", items=detail)
    return terminal.t(_BUDGETS[detail]) if reason == "budget" and detail in _BUDGETS else detail


def show_plan(terminal: Terminal, items: "Sequence[PlanItem]") -> None:
    """The items of a plan, a line each."""
    for item in items:
        terminal.show(f"    {_STEM}   {_MARKS[item.status]} {short(item.text)}")
        if item.evidence:
            terminal.show(f"    {_STEM}     {short(item.evidence)}", style="dim")


def _indented(text: str) -> str:
    """Lines of a text beside the stem: none of them can pass for a branch."""
    return f"\n    {_STEM} ".join(text.splitlines())


def short(text: str, most: int = 300) -> str:
    """The text in one line of so many characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
