"""`dizuo thread …`: the conversations of `dizuo chat`."""

from typing import Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

app = group(_("Conversations."))

_Id = Annotated[str, typer.Argument(metavar="THREAD", help=_("The conversation's id."))]


@command(app, "list", _("List the conversations, newest first."))
def list_(
    terminal: Terminal,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help=_("Most conversations to show."))] = 100,
) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        threads = house.threads.list(house.identity.owner().id, limit=limit)
    if terminal.as_json:
        terminal.show_json({"threads": [thread.model_dump(mode="json") for thread in threads]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("ID"), t("Title"), t("Knowledge base"), t("Last message")),
        [(thread.id, thread.title, thread.knowledge, when(thread.updated_at)) for thread in threads],
        whole=(0,),
    )


@command(app, "show", _("Show a conversation."))
def show(terminal: Terminal, thread: _Id) -> None:
    from dizuo.cli.answers import show_citations

    with terminal.house() as house:
        owner = house.identity.owner().id
        found = house.threads.get(owner, thread)
        messages = house.threads.messages(owner, thread)
    if terminal.as_json:
        said = [message.model_dump(mode="json") for message in messages]
        terminal.show_json({"thread": found.model_dump(mode="json"), "messages": said})
        return
    for message in messages:
        terminal.show(
            ("> " if message.role == "user" else "") + message.content, style="bold" * (message.role == "user")
        )
        if message.answer:
            show_citations(terminal, message.answer.citations)
        terminal.show()


@command(app, "rename", _("Give a conversation another title."))
def rename(
    terminal: Terminal, thread: _Id, title: Annotated[str, typer.Argument(metavar="TITLE", help=_("The new title."))]
) -> None:
    from dizuo.apps.conversation import title_of

    with terminal.house() as house:
        owner = house.identity.owner().id
        house.threads.rename(owner, thread, title_of(title))
        renamed = house.threads.get(owner, thread)
    if terminal.as_json:
        terminal.show_json(renamed.model_dump(mode="json"))
    else:
        terminal.show(terminal.t("The conversation is now called {title}.", title=renamed.title))


@command(app, "remove", _("Remove a conversation."))
def remove(terminal: Terminal, thread: _Id) -> None:
    with terminal.house() as house:
        owner = house.identity.owner().id
        found = house.threads.get(owner, thread)
        house.threads.delete(owner, thread)
    if terminal.as_json:
        terminal.show_json({"removed": found.model_dump(mode="json")})
    else:
        terminal.show(terminal.t("Removed the conversation {title}.", title=found.title))
