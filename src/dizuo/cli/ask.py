"""`dizuo ask` and `dizuo chat`."""

import asyncio
from typing import Annotated

import typer

from dizuo.cli.command import command
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

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


def ask(
    terminal: Terminal,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help=_("What you want to know."))],
    knowledge: _Knowledge = None,
) -> None:
    from dizuo.cli.answers import AnswerView, show_citations, show_footer, the_knowledge

    with terminal.house() as house:
        name = the_knowledge(house, knowledge)
        with house.traces.traced("dizuo ask", "cli", app=f"knowledge/{name}", user_id=house.identity.owner().id):
            answer = asyncio.run(AnswerView(terminal).show(house.answerer.ask(name, question)))
    if terminal.as_json:
        terminal.show_json(answer.model_dump(mode="json", include={"answer", "found", "citations", "model", "seconds"}))
        return
    show_citations(terminal, answer.citations)
    show_footer(terminal, house, answer)


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
