"""`dizuo user …`: who may sign in to the studio."""

from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import Yes, command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.platform.identity import User
    from dizuo.wiring import House

app = group(_("People who may sign in."))

_Name = Annotated[str, typer.Argument(metavar="NAME", help=_("The user's name."))]


@command(app, "list", _("List the users."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        users = house.identity.users()
    if terminal.as_json:
        terminal.show_json({"users": [user.model_dump(mode="json") for user in users]})
        return
    t = terminal.t
    roles = {"owner": t("owner"), "member": t("member")}
    show_table(
        terminal,
        (t("Name"), t("Role"), t("Created")),
        [(user.name, roles[user.role], when(user.created_at)) for user in users],
    )


@command(app, "add", _("Add a member; prints a one-time link to set a password with."))
def add(terminal: Terminal, name: _Name) -> None:
    with terminal.house() as house:
        user = house.identity.create_user(name)
        _show_link(terminal, house, user)


@command(app, "link", _("Print a new one-time link, for a first or a forgotten password."))
def link(terminal: Terminal, name: _Name) -> None:
    with terminal.house() as house:
        token = house.identity.login_link(name)
        user = next(user for user in house.identity.users() if user.name == name)
        _show_link(terminal, house, user, token)


def _show_link(terminal: Terminal, house: "House", user: "User", token: str | None = None) -> None:
    token = token or house.identity.login_link(user.name)
    link = f"{house.settings.resolved_public_url()}/login?token={token}"
    if terminal.as_json:
        terminal.show_json({"user": user.model_dump(mode="json"), "link": link, "token": token})
        return
    terminal.show(link)
    terminal.say(
        terminal.t("The link works once, for 24 hours. Hand it to {name} alone.", name=user.name), style="yellow"
    )


@command(app, "remove", _("Remove a member with their keys, sessions and conversations."))
def remove(terminal: Terminal, name: _Name, yes: Yes = False) -> None:
    with terminal.house() as house:
        terminal.confirm(terminal.t("Remove the user {name}?", name=name), yes=yes)
        house.identity.remove_user(name)
    if terminal.as_json:
        terminal.show_json({"removed": name})
    else:
        terminal.show(terminal.t("Removed the user {name}.", name=name))
