"""`dizuo memory …`: what agents remember of the owner; to see, change, export and delete."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import Yes, command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.memory import Memory

app = group(_("What agents remember of you."))

_Id = Annotated[int, typer.Argument(metavar="ID", help=_("The memory's number."))]
_Said = Annotated[str, typer.Argument(metavar="TEXT", help=_("What is to be remembered."))]


@command(app, "list", _("List what is remembered; with --json it is an export of all of it."))
def list_(terminal: Terminal) -> None:
    with terminal.house() as house:
        _show(terminal, house.memories.list(house.identity.owner().id, limit=10_000))


@command(app, "find", _("Find what is remembered of a matter."))
def find(
    terminal: Terminal, query: Annotated[str, typer.Argument(metavar="TEXT", help=_("What is looked for."))]
) -> None:
    with terminal.house() as house:
        _show(terminal, house.memories.recall(house.identity.owner().id, query, limit=10))


@command(app, "add", _("Remember a fact."))
def add(
    terminal: Terminal,
    text: _Said,
    about: Annotated[
        str,
        typer.Option(
            "--about",
            metavar="TEXT",
            help=_("What the fact is about, in a few words; a new fact about the same takes its place."),
        ),
    ],
) -> None:
    with terminal.house() as house:
        _show(terminal, [house.memories.remember(house.identity.owner().id, text, about=about)])


@command(app, "edit", _("Say a memory otherwise."))
def edit(terminal: Terminal, id: _Id, text: _Said) -> None:
    with terminal.house() as house:
        _show(terminal, [house.memories.edit(house.identity.owner().id, id, text)])


@command(app, "delete", _("Delete a memory, and all that was made of it."))
def delete(terminal: Terminal, id: _Id) -> None:
    with terminal.house() as house:
        house.memories.forget(house.identity.owner().id, id)
    _deleted(terminal, 1)


@command(app, "clear", _("Delete everything that is remembered of you."))
def clear(terminal: Terminal, yes: Yes = False) -> None:
    terminal.confirm(terminal.t("Delete everything that agents remember of you?"), yes=yes)
    with terminal.house() as house:
        deleted = house.memories.forget_all(house.identity.owner().id)
    _deleted(terminal, deleted)


def _deleted(terminal: Terminal, n: int) -> None:
    if terminal.as_json:
        terminal.show_json({"deleted": n})
    else:
        terminal.show(terminal.t("{n} memories are deleted.", n=n))


def _show(terminal: Terminal, memories: "Sequence[Memory]") -> None:
    from dizuo.cli.table import show_table, when

    if terminal.as_json:
        terminal.show_json({"memories": [one.model_dump(mode="json") for one in memories]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("No."), t("About"), t("What"), t("From"), t("Sure"), t("Created")),
        [
            (one.id, one.about, one.text, one.source or t("you"), f"{one.confidence:.0%}", when(one.created_at))
            for one in memories
        ],
        whole=(0,),
    )
