"""`dizuo model …`: the models of this instance."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from dizuo.cli.command import Yes, command, group
from dizuo.cli.job import NoWait
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

app = group(_("Models: those that come with Dizuo, your own folders, open weights, and those of your providers."))

_Name = Annotated[str, typer.Argument(metavar="MODEL", help=_("The model's name, such as local/starter."))]


@command(app, "list", _("List the models, and folders that cannot be used with what is wrong."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, size
    from dizuo.gateway.local_folders import count
    from dizuo.gateway.models import KIND_NAMES

    with terminal.house() as house:
        models = house.models.list()
    if terminal.as_json:
        terminal.show_json({"models": [model.model_dump(mode="json") for model in models]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Model"), t("Kind"), t("Parameters"), t("Size"), t("What it is")),
        [
            (
                model.name,
                t(KIND_NAMES[model.kind]),
                count(model.parameters) if model.parameters else "-",
                size(model.size_bytes) if model.size_bytes else "-",
                terminal.note(model.problem or model.note),
            )
            for model in models
        ],
        right=(2, 3),
        whole=(0,),
    )


@command(app, "show", _("Show one model: what it is, how it was made, its card."))
def show(terminal: Terminal, model: _Name) -> None:
    with terminal.house() as house:
        info = house.models.get(model)
        card, provenance = house.models.card(model), house.models.provenance(model)
        scores = house.models.scores(model)
    if terminal.as_json:
        terminal.show_json({**info.model_dump(mode="json"), "card": card, "provenance": provenance})
        return
    terminal.show(info.name, style="bold")
    terminal.show(terminal.note(info.note))
    if info.problem:
        terminal.show(terminal.note(info.problem), style="red")
    if info.context_tokens:
        terminal.show(terminal.t("Reads at most {n} tokens at once.", n=info.context_tokens))
    for name, score in scores:
        terminal.show(f"{name}: {score:.4g}")
    if card:
        terminal.show()
        terminal.show(card)


@command(app, "remove", _("Delete a model of your own, with its folder."))
def remove(terminal: Terminal, model: _Name, yes: Yes = False) -> None:
    with terminal.house() as house:
        info = house.models.get(model)
        terminal.confirm(terminal.t("Delete the model {name} and its folder?", name=info.name), yes=yes)
        house.models.remove(info.name)
    if terminal.as_json:
        terminal.show_json({"removed": info.name})
    else:
        terminal.show(terminal.t("Deleted the model {name}.", name=info.name))


@command(app, "add", _("Fetch open weights from the hub, or take them out of a folder, as the model hf/ORG/NAME."))
def add(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(metavar="hf/ORG/NAME", help=_("The model, such as hf/Qwen/Qwen3-0.6B."))],
    revision: Annotated[
        str, typer.Option(metavar="REVISION", help=_("A branch, a tag or a commit; the newest otherwise."))
    ] = "",
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help=_("A folder in the Hugging Face layout, instead of the hub.")),
    ] = None,
    no_wait: NoWait = False,
) -> None:
    from dizuo.cli import progress

    with terminal.house() as house:
        job = house.hub.add(model, revision, from_)
        if not no_wait:
            job = progress.follow(terminal, house.jobs, job)
        info = house.models.get(model) if job.status == "done" else None
    if terminal.as_json:
        terminal.show_json({"job": job.model_dump(mode="json"), "model": info and info.model_dump(mode="json")})
    elif info:
        terminal.show(info.name, style="bold")
        terminal.show(terminal.note(info.note))
    elif job.error:
        terminal.say(terminal.note(job.error), style="red")
    else:
        terminal.show(job.id)
    if job.status in ("failed", "cancelled"):
        raise typer.Exit(1)


@command(app, "test", _("Ask a model one small question: does it work, and how fast is it?"))
def try_(
    terminal: Terminal,
    model: _Name,
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help=_("What to give it; a sample otherwise."))] = "",
    passages: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="PASSAGE",
            help=_("What to hold the text against, for models that find or read. May repeat."),
        ),
    ] = None,
) -> None:
    from dizuo.gateway.probe import probe

    t = terminal.t
    with terminal.house() as house, house.traces.traced("dizuo model test", "cli", user_id=house.identity.owner().id):
        info = house.models.get(model)
        with terminal.waiting(t("Loading the model…") if info.origin else t("Waiting for an answer…")):
            found = asyncio.run(probe(house.gateway, info.name, text, passages or []))
    if terminal.as_json:
        terminal.show_json(found.model_dump(mode="json"))
        return
    terminal.show(found.text, style="dim")
    terminal.show(found.said)
    parts = [t("{model}, {seconds} s", model=found.model, seconds=f"{found.seconds:.2f}")]
    if found.first_s is not None:
        parts.append(t("the first piece after {seconds} s", seconds=f"{found.first_s:.2f}"))
    if found.tokens_per_s is not None:
        parts.append(t("{n} tokens/s", n=f"{found.tokens_per_s:.1f}"))
    if found.dimension is not None:
        parts.append(t("{n} dimensions", n=found.dimension))
    terminal.say(" · ".join(parts), style="dim")
    terminal.say(terminal.note(info.note), style="dim")
