"""`dizuo agent …` and `dizuo run …`: agents, goals given to them, and what becomes of those."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dizuo.cli import run_files, run_view
from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.runs import Run

agents = group(_("Agents: give one a goal, see those that are ready."))
runs = group(_("Runs of agents: see, answer, stop, go on."))

_Id = Annotated[str, typer.Argument(metavar="RUN", help=_("The run's id."))]


@command(agents, "run", _("Give an agent a goal and follow it."))
def run(
    terminal: Terminal,
    goal: Annotated[str, typer.Argument(metavar="GOAL", help=_("What is to be reached."))],
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help=_("The model or route that it thinks with."))
    ] = "",
    knowledge: Annotated[
        str, typer.Option("--knowledge", metavar="NAME", help=_("A knowledge base that it may search."))
    ] = "",
    app: Annotated[
        str, typer.Option("--app", metavar="NAME", help=_("The app that it is; see them: dizuo agent list"))
    ] = "",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, metavar="N", help=_("Most calls of the model."))
    ] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, metavar="N", help=_("Most tokens."))] = None,
    money: Annotated[float | None, typer.Option("--money", min=0, metavar="AMOUNT", help=_("Most money."))] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=1, metavar="SECONDS", help=_("Longest work."))
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool", metavar="TOOL", help=_("A tool it gets: fetch_page, a server's, or app/NAME. May repeat.")
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="TOOL", help=_("A tool that needs no approval; * stands for any. May repeat.")),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="PATH", help=_("A file or folder that it gets a copy of. May repeat.")),
    ] = None,
    answer_hours: Annotated[
        float | None,
        typer.Option(
            "--answer-hours", min=0, metavar="HOURS", help=_("How long its questions wait for you; 0: for ever.")
        ),
    ] = None,
) -> None:
    from dizuo.agents.policy import Policy, Rule
    from dizuo.agents.run_files import local_files
    from dizuo.agents.steps import Budget

    given = {"steps": steps, "tokens": tokens, "money": money, "seconds": seconds}
    with terminal.house() as house, local_files(file or ()) as files:
        made = house.launcher.start(
            goal,
            app=app,
            model=model,
            user_id=house.identity.owner().id,
            knowledge=knowledge,
            budget=Budget.model_validate({name: value for name, value in given.items() if value is not None}),
            policy=Policy(rules=[Rule(tool=one, decision="allow") for one in allow or ()]),
            tools=tool,
            hold=bool(file),
            answer_hours=answer_hours,
        )
        if file:
            house.run_files.begin(made.id, files)
        run_view.follow(terminal, house, made.id)


@command(agents, "list", _("List the apps: agents described in files."))
def list_apps(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table

    with terminal.house() as house:
        found = house.apps.list()
    if terminal.as_json:
        terminal.show_json({"apps": [one.model_dump(mode="json") for one in found]})
        return
    t = terminal.t
    rows = [
        (
            one.name,
            one.app.title.of(terminal.language) if one.app else "",
            one.app.description.of(terminal.language) if one.app else "",
            t(one.problem.template, **one.problem.params) if one.problem else "",
        )
        for one in found
    ]
    show_table(terminal, (t("Name"), t("Title"), t("Description"), t("Problem")), rows, whole=(0,))


@command(agents, "show", _("Show what an app is made of."))
def show_app(
    terminal: Terminal, name: Annotated[str, typer.Argument(metavar="NAME", help=_("The app's name."))]
) -> None:
    from dizuo.apps.app import ASK

    with terminal.house() as house:
        found = house.apps.find(name)
    if terminal.as_json:
        terminal.show_json(found.model_dump(mode="json"))
        return
    t, app = terminal.t, found.app
    terminal.show(f"{found.name} · {found.file}", style="dim")
    if found.problem is not None:
        terminal.show(t(found.problem.template, **found.problem.params), style="yellow")
    if app is None:
        return
    lines = {
        t("Title"): app.title.of(terminal.language),
        t("Description"): app.description.of(terminal.language),
        t("Model"): app.model or t("the instance's"),
        t("Knowledge base"): t("named by whoever starts it") if app.knowledge == ASK else app.knowledge or t("none"),
        t("Tools"): ", ".join(app.tools) or t("none"),
        t("Rules"): "; ".join(f"{one.tool}: {one.decision}" for one in app.policy.rules) or t("as usual"),
        t("Budget"): ", ".join(f"{key} {value:g}" for key, value in app.budget.model_dump().items()),
    }
    for label, value in lines.items():
        terminal.show(f"{label}: {value}")
    for example in app.examples:
        terminal.show(f'dizuo agent run "{example.of(terminal.language)}" --app {app.name}')
    terminal.show()
    terminal.show(app.instructions.strip())


@command(runs, "list", _("List the runs, newest first."))
def list_(
    terminal: Terminal,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help=_("Most runs to show."))] = 50,
) -> None:
    from dizuo.apps.app import called
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
                f"{called(one.app)} · {one.model}" if one.app else one.model,
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


@command(runs, "files", _("List the files of a run, or copy them out."))
def files(
    terminal: Terminal,
    run: _Id,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help=_("A folder, empty or new, that takes copies."))
    ] = None,
) -> None:
    with terminal.house() as house:
        if to is None:
            run_files.show_list(terminal, house, run)
        else:
            run_files.copy_out(terminal, house, run, to)


@command(runs, "give", _("Give a run files: it gets copies."))
def give(
    terminal: Terminal,
    run: _Id,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help=_("Files and folders."))],
) -> None:
    with terminal.house() as house:
        run_files.give(terminal, house, run, paths)


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
        made = house.run_files.fork(run, step, text)
        run_view.follow(terminal, house, made.id)


def _show_run(terminal: Terminal, run: "Run") -> None:
    if terminal.as_json:
        terminal.show_json(run.model_dump(mode="json"))
    else:
        terminal.show(f"{run.id} · {run_view.status_of(terminal, run)}")
