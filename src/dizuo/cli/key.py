"""`dizuo key …`: keys for the API."""

from typing import Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

app = group(_("Keys for the API."))


@command(app, "create", _("Make a key. It is shown this once; only its hash is kept."))
def create(
    terminal: Terminal,
    name: Annotated[str, typer.Option(metavar="NAME", help=_("What the key is for."))] = "default",
) -> None:
    with terminal.house() as house:
        key, secret = house.identity.create_key(name)
    if terminal.as_json:
        terminal.show_json({"key": secret, **key.model_dump(mode="json")})
        return
    terminal.show(secret)
    terminal.say(terminal.t("Keep it now: it cannot be shown again."), style="yellow")


@command(app, "list", _("List the keys, without their secret part."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        keys = house.identity.keys()
    if terminal.as_json:
        terminal.show_json({"keys": [key.model_dump(mode="json") for key in keys]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("ID"), t("Name"), t("Begins with"), t("Created"), t("Last used"), t("Revoked")),
        [
            (key.id, key.name, key.prefix, when(key.created_at), when(key.last_used_at), when(key.revoked_at))
            for key in keys
        ],
        whole=(2,),
    )


@command(app, "revoke", _("Revoke a key; it stops working at once."))
def revoke(
    terminal: Terminal,
    key: Annotated[str, typer.Argument(metavar="KEY", help=_("The key's id, or how it begins."))],
) -> None:
    with terminal.house() as house:
        revoked = house.identity.revoke_key(key)
    if terminal.as_json:
        terminal.show_json(revoked.model_dump(mode="json"))
    else:
        terminal.show(terminal.t("Revoked the key {name} ({prefix}…).", name=revoked.name, prefix=revoked.prefix))
