"""`dizuo model …`: the models of this instance."""

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.wiring import House

app = group(_("Models: those that come with Dizuo, your own folders, and the one that the settings name."))

_Name = Annotated[str, typer.Argument(metavar="MODEL", help=_("The model's name, such as local/starter."))]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help=_("Do not ask."))]


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
def remove(terminal: Terminal, model: _Name, yes: _Yes = False) -> None:
    with terminal.house() as house:
        info = house.models.get(model)
        terminal.confirm(terminal.t("Delete the model {name} and its folder?", name=info.name), yes=yes)
        house.models.remove(info.name)
    if terminal.as_json:
        terminal.show_json({"removed": info.name})
    else:
        terminal.show(terminal.t("Deleted the model {name}.", name=info.name))


@command(app, "test", _("Load a model and see what it makes of a text."))
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
    from dizuo.gateway.trial import sample

    with terminal.house() as house:
        info = house.models.get(model)
        given = text or sample(info.kind)
        said, seconds = asyncio.run(_tried(terminal, house, info.name, given, passages or []))
    if terminal.as_json:
        terminal.show_json({"model": info.name, "kind": info.kind, "text": given, "said": said, "seconds": seconds})
        return
    terminal.say(terminal.t("{model}, {seconds} s", model=info.name, seconds=f"{seconds:.1f}"), style="dim")
    terminal.say(terminal.note(info.note), style="dim")


async def _tried(terminal: Terminal, house: "House", name: str, text: str, passages: list[str]) -> tuple[str, float]:
    from dizuo.core.errors import ModelError
    from dizuo.core.events import Failed, TextDelta
    from dizuo.gateway.trial import attempt

    begun, said = time.monotonic(), ""
    with terminal.waiting(terminal.t("Loading the model…")):
        async with aclosing(attempt(house.models, name, text, passages)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said += event.text
                elif isinstance(event, Failed):
                    raise ModelError("{message}", message=event.message)
    if not terminal.as_json:
        terminal.show(text, style="dim")
        terminal.show(said)
    return said, time.monotonic() - begun
