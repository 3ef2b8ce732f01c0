"""`dizuo ask` and `dizuo chat`."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command
from dizuo.cli.terminal import Terminal
from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.wiring import House

_Knowledge = Annotated[
    str | None,
    typer.Option(
        "--knowledge", "-k", metavar="NAME", help=_("Knowledge base to ask; needed where there is more than one.")
    ),
]


def register(app: typer.Typer, panel: str) -> None:
    """Adds the two commands to the root."""
    command(app, "ask", _("Ask your documents a question."), panel=panel)(ask)
    command(app, "chat", _("Talk with your documents, here in the terminal."), panel=panel)(chat)


def the_knowledge(house: "House", name: str | None) -> str:
    """The knowledge base of that name, or the only one there is. Raises NotFound, and UserError when it is unclear."""
    if name is not None:
        return house.library.get(name).name
    names = [info.name for info in house.library.list()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UserError("There is no knowledge base yet. Make one: dizuo knowledge add NAME PATH")
    raise UserError("Say which knowledge base with --knowledge. There are: {names}.", names=", ".join(names))


def ask(
    terminal: Terminal,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help=_("What you want to know."))],
    knowledge: _Knowledge = None,
) -> None:
    from dizuo.cli.answers import AnswerView, show_citations, show_footer

    with terminal.house() as house:
        name = the_knowledge(house, knowledge)
        answer = asyncio.run(AnswerView(terminal).show(house.answerer.ask(name, question)))
    if terminal.as_json:
        terminal.show_json(answer.model_dump(mode="json", include={"answer", "found", "citations", "model", "seconds"}))
        return
    show_citations(terminal, answer.citations)
    show_footer(terminal, answer)


def chat(
    terminal: Terminal,
    knowledge: _Knowledge = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="ID", help=_("Go on with this earlier conversation."))
    ] = None,
) -> None:
    from dizuo.cli.chat import Chat

    with terminal.house() as house, asyncio.Runner() as runner:
        Chat(terminal, house, runner, knowledge=knowledge, thread_id=thread).run()
