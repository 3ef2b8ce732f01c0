"""`dizuo webhook …`: the address that is told what runs ask people."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import Yes, command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.webhook import WebhookInfo

app = group(_("The webhook: an address that is told when a run asks something."))

_STATUS = {
    "waiting": _("to be sent"),
    "sent": _("sent"),
    "failed": _("given up"),
    "dropped": _("needed no more"),
}


@command(app, "set", _("Set the address, and show the secret that messages are signed with."))
def set_(
    terminal: Terminal,
    url: Annotated[str, typer.Argument(metavar="URL", help=_("Where messages are sent, with POST."))],
    secret: Annotated[
        str,
        typer.Option(
            "--secret", metavar="SECRET", help=_("whsec_ and base64; - reads a line. Without it one is made.")
        ),
    ] = "",
) -> None:
    with terminal.house() as house:
        made = house.webhook.set(url, sys.stdin.readline() if secret == "-" else secret)  # noqa: S105
    if terminal.as_json:
        terminal.show_json(made.model_dump(mode="json"))
        return
    _show(terminal, made.webhook)
    terminal.show(terminal.t("Secret: {secret}", secret=made.secret))
    terminal.say(terminal.t("It is shown this once. Try it: dizuo webhook test"), style="dim")


@command(app, "show", _("Show the address and how telling it goes."))
def show(
    terminal: Terminal,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help=_("Most messages to show."))] = 20,
) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        info, sent = house.webhook.get(), house.webhook.deliveries(limit=limit)
    if terminal.as_json:
        shown = info.model_dump(mode="json") if info else None
        terminal.show_json({"webhook": shown, "deliveries": [one.model_dump(mode="json") for one in sent]})
        return
    t = terminal.t
    if info is None:
        terminal.say(t("No webhook is set. Set one: dizuo webhook set URL"))
    else:
        _show(terminal, info)
    if sent:
        show_table(
            terminal,
            (t("Run"), t("Status"), t("Tries"), t("Next try"), t("Asked"), t("Problem")),
            [
                (
                    one.run_id,
                    t(_STATUS[one.status]),
                    one.tries,
                    when(one.due_at),
                    when(one.created_at),
                    terminal.note(one.problem) if one.problem else "-",
                )
                for one in sent
            ],
            right=(2,),
            whole=(0,),
        )


@command(app, "test", _("Send a message of the type webhook.test."))
def test(terminal: Terminal) -> None:
    with terminal.house() as house, terminal.waiting(terminal.t("Waiting for an answer…")):
        seconds = house.webhook.test()
    if terminal.as_json:
        terminal.show_json({"seconds": seconds})
    else:
        terminal.show(terminal.t("It was taken, in {seconds} s.", seconds=f"{seconds:.2f}"))


@command(app, "remove", _("Remove the webhook with its secret."))
def remove(terminal: Terminal, yes: Yes = False) -> None:
    with terminal.house() as house:
        terminal.confirm(terminal.t("Remove the webhook with its secret?"), yes=yes)
        removed = house.webhook.remove()
    if terminal.as_json:
        terminal.show_json({"removed": removed.url})
    else:
        terminal.show(terminal.t("Removed the webhook {url}.", url=removed.url))


def _show(terminal: Terminal, info: "WebhookInfo") -> None:
    t = terminal.t
    terminal.show(info.url, style="bold")
    terminal.show(t("to be sent: {waiting}, given up: {failed}", waiting=info.waiting, failed=info.failed))
    if info.problem:
        terminal.show(terminal.note(info.problem), style="red")
