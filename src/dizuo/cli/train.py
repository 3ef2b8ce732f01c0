"""`dizuo train`: a recipe becomes a model; and the trainings that there are."""

from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command
from dizuo.cli.job import NoWait
from dizuo.cli.terminal import INTERRUPTED, Terminal
from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.core.trainings import Training, TrainingPlan
    from dizuo.wiring import House

_CURVE_WIDTH = 60


def register(app: typer.Typer, panel: str) -> None:
    """Adds the command to the root."""
    command(app, "train", _("Train a model by a recipe; without one, list the recipes."), panel=panel)(train)


def train(
    terminal: Terminal,
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help=_("A recipe's name, or a file of your own."), show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help=_("Another value for one key of the recipe; may be repeated.")),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help=_("Name of the training and its model."))
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help=_("Only say what it would take on this machine."))] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=_("Do not ask; start even what does not fit."))] = False,
    no_wait: NoWait = False,
    list_: Annotated[bool, typer.Option("--list", help=_("List the trainings."))] = False,
    show: Annotated[
        str | None, typer.Option("--show", metavar="NAME", help=_("Show one training with its curve."))
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="NAME", help=_("Go on with a training that stopped or failed.")),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", metavar="NAME", help=_("Have a training save and stop."))
    ] = None,
    delete: Annotated[
        str | None,
        typer.Option("--delete", metavar="NAME", help=_("Remove a training with its checkpoints; its model stays.")),
    ] = None,
) -> None:
    wanted = [recipe, show, resume, stop, delete]
    if sum(one is not None for one in wanted) + list_ > 1:
        raise typer.BadParameter(
            terminal.t("RECIPE, --list, --show, --resume, --stop and --delete exclude one another.")
        )
    if recipe is None and (set_ or name or plan):
        raise typer.BadParameter(terminal.t("--set, --name and --plan belong to a RECIPE; name it."))
    with terminal.house() as house:
        if recipe is not None:
            _train(terminal, house, recipe, set_ or [], name, only_plan=plan, yes=yes, no_wait=no_wait)
        elif resume is not None:
            _follow(terminal, house, house.trainings.resume(resume), None, no_wait)
        elif list_:
            _list(terminal, house)
        elif show is not None:
            _show(terminal, house, show)
        elif stop is not None:
            _stop(terminal, house, stop)
        elif delete is not None:
            _delete(terminal, house, delete, yes)
        else:
            _list_recipes(terminal, house)


def _train(
    terminal: Terminal,
    house: "House",
    recipe: str,
    overrides: list[str],
    name: str | None,
    *,
    only_plan: bool,
    yes: bool,
    no_wait: bool,
) -> None:
    from dizuo.cli.training_view import plan_lines

    with terminal.waiting(terminal.t("Measuring a few steps on this machine…")):
        plan = house.trainings.plan(recipe, overrides, name)
    if only_plan and terminal.as_json:
        terminal.show_json(plan.model_dump(mode="json"))
        return
    for line in plan_lines(terminal, plan):
        (terminal.show if only_plan else terminal.say)(line)
    if only_plan:
        return
    if not plan.fits and not yes:
        if not terminal.is_interactive():
            raise UserError(
                "It does not fit on this machine. Make it smaller with --set, or start it all the same: --yes"
            )
        terminal.confirm(terminal.t("It does not fit on this machine. Start it all the same?"), yes=False)
    _follow(terminal, house, house.trainings.start(recipe, overrides, name), plan, no_wait)


def _follow(
    terminal: Terminal, house: "House", training: "Training", plan: "TrainingPlan | None", no_wait: bool
) -> None:
    from dizuo.cli.progress import clock
    from dizuo.cli.training_view import follow

    t = terminal.t
    if not no_wait:
        training = follow(terminal, house, training)
    if terminal.as_json:
        told = training.model_dump(mode="json")
        terminal.show_json({"training": told, "plan": plan.model_dump(mode="json") if plan else None})
    elif no_wait:
        terminal.show(training.name)
        terminal.say(t("A running server (dizuo up) does the work; so does: dizuo job watch {job}", job=training.job))
    if training.state == "failed" and training.error is not None:
        raise UserError(training.error.template, **training.error.params)
    if training.state == "stopped":
        step = t("Stopped at step {step}; what it has learnt is saved.", step=training.step)
        terminal.say(f"{step} {t('To go on: dizuo train --resume {name}', name=training.name)}", style="yellow")
        raise typer.Exit(INTERRUPTED)
    if training.state == "done" and not terminal.as_json:
        took_s = _seconds(training)
        terminal.show(
            t("{model} is made: loss {loss}, {steps} steps in {time}.", model=training.model or training.name,
              loss=_number(training.loss), steps=training.steps, time=clock(took_s))
        )  # fmt: skip


def _seconds(training: "Training") -> float:
    if training.started_at is None or training.finished_at is None:
        return 0.0
    return (training.finished_at - training.started_at).total_seconds()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _list_recipes(terminal: Terminal, house: "House") -> None:
    from dizuo.cli.table import show_table

    recipes = house.trainings.recipes()
    if terminal.as_json:
        terminal.show_json({"recipes": [one.model_dump(mode="json") for one in recipes]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Recipe"), t("Stage"), t("What it makes")),
        [(one.name, one.stage, one.description[terminal.language]) for one in recipes],
        whole=(0,),
    )
    terminal.say(t("Start one: dizuo train RECIPE. What it would take: dizuo train RECIPE --plan"), style="dim")


def _list(terminal: Terminal, house: "House") -> None:
    from dizuo.cli.table import show_table, when
    from dizuo.cli.training_view import state_word

    trainings = house.trainings.list()
    if terminal.as_json:
        terminal.show_json({"trainings": [one.model_dump(mode="json") for one in trainings]})
        return
    t = terminal.t
    if not trainings:
        terminal.say(t("There is no training yet. Start one: dizuo train RECIPE"))
        return
    show_table(
        terminal,
        (t("Name"), t("Recipe"), t("Status"), t("Steps"), t("Loss"), t("Held-out"), t("Created")),
        [
            (
                one.name,
                one.recipe,
                state_word(terminal, one),
                f"{one.step}/{one.steps}",
                _number(one.loss),
                _number(one.val_loss),
                when(one.created_at),
            )
            for one in trainings
        ],
        right=(3, 4, 5),
        whole=(0,),
    )


def _show(terminal: Terminal, house: "House", name: str) -> None:
    from dizuo.cli.training_view import progress_line, sparkline, state_word

    training, points = house.trainings.get(name), house.trainings.metrics(name)
    if terminal.as_json:
        told = training.model_dump(mode="json")
        terminal.show_json({"training": told, "metrics": [point.model_dump(mode="json") for point in points]})
        return
    terminal.show(f"{training.name} · {training.recipe} · {state_word(terminal, training)}", style="bold")
    if training.steps:
        terminal.show(progress_line(terminal, training))
    if points:
        terminal.show(f"{points[0].loss:.4g} {sparkline(points, _CURVE_WIDTH)} {points[-1].loss:.4g}", style="cyan")
    for score, value in training.scores.items():
        terminal.show(f"{score} {value:.4g}")
    if training.error:
        terminal.show(terminal.note(training.error), style="red")
    if training.model:
        terminal.show(terminal.t("Model: {model}", model=training.model))
    terminal.say(terminal.t("The log: {log}", log=training.log), style="dim")


def _stop(terminal: Terminal, house: "House", name: str) -> None:
    from dizuo.cli.training_view import state_word

    training = house.trainings.stop(name)
    if terminal.as_json:
        terminal.show_json(training.model_dump(mode="json"))
        return
    terminal.show(f"{training.name} · {state_word(terminal, training)}")
    terminal.say(terminal.t("To go on: dizuo train --resume {name}", name=training.name), style="dim")


def _delete(terminal: Terminal, house: "House", name: str, yes: bool) -> None:
    training = house.trainings.get(name)
    question = terminal.t("Remove the training {name} with its checkpoints and its curve?", name=training.name)
    terminal.confirm(question, yes=yes)
    house.trainings.delete(name)
    if terminal.as_json:
        terminal.show_json({"removed": {"training": training.name}})
    else:
        terminal.show(terminal.t("Removed the training {name}.", name=training.name))
