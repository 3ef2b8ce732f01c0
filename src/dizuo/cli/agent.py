"""`dizuo agent run` and `dizuo run …`: goals given to agents, and what becomes of them."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dizuo.cli import run_view
from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.runs import Run

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
    tool: Annotated[
        list[str] | None,
        typer.Option("--tool", metavar="TOOL", help=_("A tool it gets: fetch_page, or a server's. May repeat.")),
    ] = None,
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
            tools=tool or (),
        )
        run_view.follow(terminal, house, made.id)


@command(runs, "list", _("List the runs, newest first."))
def list_(
    terminal: Terminal,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help=_("Most runs to show."))] = 50,
) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        found = house.runs.list(limit=limit)
        used = house.runs.used([one.id for one in found])
    if terminal.as_json:
        rows = [{**one.model_dump(mode="json"), **used[one.id].model_dump()} for one in found]
        terminal.show_json({"runs": rows})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Run"), t("Status"), t("Goal"), t("Model"), t("Steps"), t("Tokens"), t("Cost"), t("Created")),
        [
            (
                one.id,
                run_view.status_of(terminal, one),
                one.goal,
                one.model,
                str(used[one.id].steps),
                f"{used[one.id].tokens:,}",
                f"{used[one.id].cost:,.4f}",
                when(one.created_at),
            )
            for one in found
        ],
        whole=(0,),
    )


@command(runs, "show", _("Show one run, step by step."))
def show(terminal: Terminal, run: _Id) -> None:
    with terminal.house() as house:
        found, steps = house.runs.get(run), house.runs.steps(run)
        if terminal.as_json:
            run_view.show_json(terminal, found, steps)
        else:
            run_view.show(terminal, house, found, steps)


@command(runs, "follow", _("Follow a run until it has ended or waits for you."))
def follow(terminal: Terminal, run: _Id) -> None:
    with terminal.house() as house:
        run_view.follow(terminal, house, run)


@command(runs, "answer", _("Answer what a run waits for."))
def answer(
    terminal: Terminal,
    run: _Id,
    decision: Annotated[
        str, typer.Argument(metavar="[approve|reject]", help=_("approve or reject; left out: you are asked"))
    ] = "",
    call: Annotated[str, typer.Option("--call", metavar="CALL", help=_("Which call; the first that waits."))] = "",
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help=_("Why not, or the answer to a question. The model reads it.")),
    ] = "",
    arguments: Annotated[
        str | None, typer.Option("--arguments", metavar="JSON", help=_("Arguments to use in place of the model's."))
    ] = None,
) -> None:
    from dizuo.agents.state import State
    from dizuo.core.errors import UserError

    if decision not in ("approve", "reject") and (decision or not terminal.is_interactive()):
        raise UserError("Say approve or reject, not {said!r}.", said=decision)
    with terminal.house() as house:
        steps = house.runs.steps(house.runs.get(run).id)
        if decision:
            waiting = State(steps).waiting
            first = call or (waiting[0].call_id if waiting else "")
            said: Literal["approve", "reject"] = "approve" if decision == "approve" else "reject"
            house.runs.answer(run, first, said, arguments=arguments, reason=reason)
        run_view.follow(terminal, house, run, steps)


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
        steps = house.runs.steps(run)
        house.runs.resume(run)
        run_view.follow(terminal, house, run, steps)


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
        run_view.follow(terminal, house, made.id)


def _show_run(terminal: Terminal, run: "Run") -> None:
    if terminal.as_json:
        terminal.show_json(run.model_dump(mode="json"))
    else:
        terminal.show(f"{run.id} · {run_view.status_of(terminal, run)}")
