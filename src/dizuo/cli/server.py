"""`dizuo up` and `dizuo demo`: the server, and the first two questions to it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dizuo.cli.command import command
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.core.documents import Answer
    from dizuo.wiring import House


def register(app: typer.Typer, panel: str) -> None:
    """Adds the two commands to the root."""
    command(app, "up", _("Start the server: the studio and the API."), panel=panel)(up)
    command(app, "demo", _("Ask the sample knowledge base one question in each language."), panel=panel)(demo)


def up(
    terminal: Terminal,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help=_("Address to listen on, instead of 127.0.0.1."), show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="N", help=_("TCP port, instead of 8000; 0: any that is free.")),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help=_("Ask one question in each language, then serve."))] = False,
) -> None:
    from dizuo.demo import load_sample
    from dizuo.serve import serve

    with terminal.house(host=host, port=port, as_server=True) as house:

        def ready(address: str) -> None:
            link = _first_link(house, address)
            started = {"address": address, "api": f"{address}/v1", "link": link}
            if not terminal.as_json:
                _greet(terminal, address, link)
            if demo:
                answers = _ask_the_guide(terminal, house)
                started["answers"] = answers
            else:
                load_sample(house)
            if terminal.as_json:
                terminal.show_json(started)
            else:
                terminal.say(terminal.t("Serving at {address}. Ctrl-C stops it.", address=address))

        serve(house, ready=ready)
    terminal.say(terminal.t("Stopped."))


def demo(terminal: Terminal) -> None:
    with terminal.house() as house:
        answers = _ask_the_guide(terminal, house, again=True)
    if terminal.as_json:
        terminal.show_json({"answers": answers})


def _first_link(house: "House", address: str) -> str | None:
    """The one-time link by which the owner sets a password, until there is one."""
    if not house.identity.owner_needs_link():
        return None
    return f"{address}/login?token={house.identity.login_link(house.identity.owner().name)}"


def _greet(terminal: Terminal, address: str, link: str | None) -> None:
    t, show = terminal.t, terminal.show
    show("Dizuo 底座  " + address, style="bold")
    if link:
        show(t("Open this link to set the owner's password; it works once:"))
        show("  " + link, style="bold cyan")
    show()


def _ask_the_guide(terminal: Terminal, house: "House", *, again: bool = False) -> list[dict[str, Any]]:
    """Shows the first questions with their answers; returns them as --json prints them."""
    from dizuo import demo as sample
    from dizuo.cli.answers import show_answer
    from dizuo.cli.progress import reporting

    asked: list[dict[str, Any]] = []

    def show(question: str, answer: "Answer") -> None:
        asked.append({"question": question, **answer.model_dump(mode="json")})
        if not terminal.as_json:
            terminal.show("> " + question, style="bold")
            show_answer(terminal, house, answer)
            terminal.show()

    with reporting(terminal) as progress:
        there = sample.wait_for_sample(house, progress, again=again)
    if not there:
        terminal.say(terminal.t("The sample knowledge base was removed. To bring it back: dizuo demo"), style="dim")
        return asked
    sample.ask(house, show)
    return asked
