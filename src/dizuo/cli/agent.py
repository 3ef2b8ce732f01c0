"""`dizuo agent run` and `dizuo run …`: goals given to agents, and what becomes of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.runs import Run
    from dizuo.agents.steps import ApprovalAsked, Step
    from dizuo.wiring import House

app = group(_("Agents: give one a goal."))
runs = group(_("Runs of agents: see, answer, stop, go on."))

_Id = Annotated[str, typer.Argument(metavar="RUN", help=_("The run's id."))]


@command(app, "run", _("Give an agent a goal and follow it."))
def run(
    terminal: Terminal,
    goal: Annotated[str, typer.Argument(metavar="GOAL", help=_("What is to be reached."))],
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help=_("The model or route that it thinks with."))
    ] = "",
    knowledge: Annotated[
        str, typer.Option("--knowledge", metavar="NAME", help=_("A knowledge base that it may search."))
    ] = "",
    steps: Annotated[int, typer.Option("--steps", min=1, metavar="N", help=_("Most calls of the model."))] = 50,
    tokens: Annotated[int, typer.Option("--tokens", min=1, metavar="N", help=_("Most tokens."))] = 200_000,
    money: Annotated[float, typer.Option("--money", min=0, metavar="AMOUNT", help=_("Most money."))] = 1.0,
    seconds: Annotated[float, typer.Option("--seconds", min=1, metavar="SECONDS", help=_("Longest work."))] = 900,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="TOOL", help=_("A tool that needs no approval; * stands for any. May repeat.")),
    ] = None,
) -> None:
    from dizuo.agents.policy import Policy, Rule
    from dizuo.agents.steps import Budget
    from dizuo.core.errors import UserError

    with terminal.house() as house:
        name = model or house.settings.model
        if not name:
            raise UserError(
                "No model is set. Name one with --model, or set DIZUO_MODEL. To see those there are: dizuo model list"
            )
        made = house.runs.start(
            goal,
            name,
            user_id=house.identity.owner().id,
            knowledge=knowledge,
            budget=Budget(steps=steps, tokens=tokens, money=money, seconds=seconds),
            policy=Policy(rules=[Rule(tool=one, decision="allow") for one in allow or ()]),
        )
        _follow(terminal, house, made.id)


@command(runs, "list", _("List the runs, newest first."))
def list_(
    terminal: Terminal,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help=_("Most runs to show."))] = 50,
) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        found = house.runs.list(limit=limit)
    if terminal.as_json:
        terminal.show_json({"runs": [one.model_dump(mode="json") for one in found]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Run"), t("Status"), t("Goal"), t("Model"), t("Created")),
        [(one.id, _status(terminal, one), one.goal, one.model, when(one.created_at)) for one in found],
        whole=(0,),
    )


@command(runs, "show", _("Show one run, step by step."))
def show(terminal: Terminal, run: _Id) -> None:
    with terminal.house() as house:
        found, steps = house.runs.get(run), house.runs.steps(run)
        waiting = house.runs.waiting(run)
    if terminal.as_json:
        terminal.show_json({**found.model_dump(mode="json"), "steps": [one.model_dump(mode="json") for one in steps]})
        return
    for number, step in enumerate(steps, 1):
        _show(terminal, number, step)
    _ask(terminal, found, waiting)


@command(runs, "follow", _("Follow a run until it has ended or waits for you."))
def follow(terminal: Terminal, run: _Id) -> None:
    with terminal.house() as house:
        _follow(terminal, house, run)


@command(runs, "answer", _("Answer what a run waits for."))
def answer(
    terminal: Terminal,
    run: _Id,
    decision: Annotated[str, typer.Argument(metavar="approve|reject", help=_("approve or reject"))],
    call: Annotated[str, typer.Option("--call", metavar="CALL", help=_("Which call; the first that waits."))] = "",
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help=_("Why not, or the answer to a question. The model reads it.")),
    ] = "",
    arguments: Annotated[
        str | None, typer.Option("--arguments", metavar="JSON", help=_("Arguments to use in place of the model's."))
    ] = None,
) -> None:
    from dizuo.core.errors import UserError

    if decision not in ("approve", "reject"):
        raise UserError("Say approve or reject, not {said!r}.", said=decision)
    with terminal.house() as house:
        waiting = house.runs.waiting(house.runs.get(run).id)
        first = call or (waiting[0].call_id if waiting else "")
        said: Literal["approve", "reject"] = "approve" if decision == "approve" else "reject"
        house.runs.answer(run, first, said, arguments=arguments, reason=reason)
        _follow(terminal, house, run, after=len(house.runs.steps(run)))


@command(runs, "steer", _("Say something to a run that goes on."))
def steer(
    terminal: Terminal, run: _Id, text: Annotated[str, typer.Argument(metavar="TEXT", help=_("What to say."))]
) -> None:
    with terminal.house() as house:
        _show_run(terminal, house.runs.steer(run, text))


@command(runs, "pause", _("Let a run rest after the step in hand."))
def pause(terminal: Terminal, run: _Id) -> None:
    with terminal.house() as house:
        _show_run(terminal, house.runs.pause(run))


@command(runs, "resume", _("Go on with a run that rests."))
def resume(terminal: Terminal, run: _Id) -> None:
    with terminal.house() as house:
        after = len(house.runs.steps(run))
        house.runs.resume(run)
        _follow(terminal, house, run, after=after)


@command(runs, "cancel", _("End a run with the best answer so far."))
def cancel(terminal: Terminal, run: _Id) -> None:
    with terminal.house() as house:
        _show_run(terminal, house.runs.cancel(run))


@command(runs, "fork", _("Start a new run from a step of another."))
def fork(
    terminal: Terminal,
    run: _Id,
    step: Annotated[int | None, typer.Option("--step", metavar="N", help=_("The last step that both share."))] = None,
    text: Annotated[str, typer.Option("--say", metavar="TEXT", help=_("What to say to the new one."))] = "",
) -> None:
    with terminal.house() as house:
        made = house.runs.fork(run, step, text)
        _follow(terminal, house, made.id)


# --- showing --------------------------------------------------------------------------------------------------


def _follow(terminal: Terminal, house: "House", run_id: str, after: int = 0) -> None:
    with terminal.waiting(terminal.t("At work…")):
        for number, step in enumerate(house.runs.follow(run_id, after), after + 1):
            if not terminal.as_json:
                _show(terminal, number, step)
    found = house.runs.get(run_id)
    if terminal.as_json:
        steps = house.runs.steps(run_id)
        terminal.show_json({**found.model_dump(mode="json"), "steps": [one.model_dump(mode="json") for one in steps]})
    else:
        _ask(terminal, found, house.runs.waiting(run_id))
    if found.status == "ended" and found.reason != "done":
        raise typer.Exit(1)


def _show(terminal: Terminal, number: int, step: "Step") -> None:
    """One step in a line or a few."""
    from dizuo.agents import steps

    t = terminal.t
    match step:
        case steps.Started(goal=goal, model=model):
            terminal.show(f"{number} · {goal}", style="bold")
            terminal.show(f"   {model}", style="dim")
        case steps.Steered(text=text):
            terminal.show(f"{number} · {t('You')}: {text}")
        case steps.ModelCalled(text=text, calls=calls, usage=usage):
            if text.strip() and calls:
                terminal.show(f"{number} · {text.strip()}")
            for call in calls:
                terminal.show(f"{number} → {call.name} {call.arguments}", style="cyan")
            terminal.show(
                "   " + t("{tokens} tokens, {seconds} s", tokens=usage.total_tokens, seconds=f"{step.seconds:.1f}"),
                style="dim",
            )
        case steps.ToolEnded(name=name, result=result):
            terminal.show(f"{number} ← {name}: {_short(result.text)}", style="red" if result.failed else "")
        case steps.PlanChanged(items=items):
            for item in items:
                mark = {"open": "○", "doing": "◐", "done": "●", "dropped": "–"}[item.status]
                terminal.show(f"   {mark} {item.text}")
        case steps.ApprovalGiven(decision=decision, reason=reason):
            said = t("approved") if decision == "approve" else t("rejected")
            terminal.show(f"{number} · {said} {reason}".rstrip())
        case steps.Ended(reason=reason, text=text, detail=detail):
            terminal.show()
            terminal.show(text)
            terminal.show(f"{_reason(terminal, reason)} {detail}".rstrip(), style="" if reason == "done" else "yellow")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


def _ask(terminal: Terminal, run: "Run", waiting: "Sequence[ApprovalAsked]") -> None:
    t = terminal.t
    for one in waiting:
        why = {
            "effect": t("It wants to call {tool} with {arguments}.", tool=one.name, arguments=one.arguments),
            "maybe_done": t(
                "{tool} with {arguments} may have been called before a crash. Call it again?",
                tool=one.name,
                arguments=one.arguments,
            ),
            "question": t("It asks: {arguments}", arguments=one.arguments),
        }[one.why]
        terminal.show(why, style="yellow")
    if waiting:
        terminal.say(t("Answer with: dizuo run answer {id} approve|reject --reason TEXT", id=run.id))


def _show_run(terminal: Terminal, run: "Run") -> None:
    if terminal.as_json:
        terminal.show_json(run.model_dump(mode="json"))
        return
    terminal.show(f"{run.id} · {_status(terminal, run)}")


def _status(terminal: Terminal, run: "Run") -> str:
    t = terminal.t
    if run.status == "ended":
        return _reason(terminal, run.reason)
    return {"active": t("at work"), "waiting": t("waits for you"), "paused": t("rests")}[run.status]


def _reason(terminal: Terminal, reason: str) -> str:
    t = terminal.t
    return {
        "done": t("done"),
        "budget": t("ended: a budget is used up"),
        "no_progress": t("ended: it made no progress"),
        "failed": t("failed"),
        "cancelled": t("cancelled"),
    }.get(reason, reason)
