"""`dizuo key …`: keys for the API."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.platform.keys import Key

app = group(_("Keys for the API."))

_Key = Annotated[str, typer.Argument(metavar="KEY", help=_("The key's id, or how it begins."))]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@command(app, "create", _("Make a key. It is shown this once; only its hash is kept."))
def create(
    terminal: Terminal,
    name: Annotated[str, typer.Option(metavar="NAME", help=_("What the key is for."))] = "default",
    user: Annotated[str, typer.Option(metavar="NAME", help=_("Whom it speaks for; else the owner."))] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help=_("models: /v1, /mcp and /a2a only; read: looking only; all, the default. May repeat."),
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help=_("A model that it may ask, or a pattern such as openai/*. May repeat.")),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help=_("When it ends: 2027-01-31, or 90d from now."))] = "",
    uncached: Annotated[bool, typer.Option("--uncached", help=_("Keep it out of the cache of answers."))] = False,
) -> None:
    with terminal.house() as house:
        given = next((one for one in house.identity.users() if one.name == user), None)
        if user and given is None:
            names = ", ".join(one.name for one in house.identity.users())
            raise UserError("No user is named {name!r}. There are: {names}.", name=user, names=names)
        key, secret = house.identity.create_key(
            name, given, scopes=scope or None, models=model or None, expires_at=_end(expires), uncached=uncached
        )
    _show_secret(terminal, key, secret)


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
        (
            t("ID"),
            t("Name"),
            t("Begins with"),
            t("For"),
            t("Models"),
            t("Created"),
            t("Last used"),
            t("Ends"),
            t("Revoked"),
        ),
        [
            (
                key.id,
                key.name,
                key.prefix,
                ", ".join(key.scopes or ("all",)),
                ", ".join(key.models or ("*",)),
                when(key.created_at),
                when(key.last_used_at),
                when(key.expires_at),
                when(key.revoked_at),
            )
            for key in keys
        ],
        whole=(2,),
    )


@command(app, "rotate", _("Give a key a new secret. It is shown this once."))
def rotate(
    terminal: Terminal,
    key: _Key,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help=_("How long the old one works on, such as 30m, 24h or 7d."))
    ] = "0m",
) -> None:
    with terminal.house() as house:
        rotated, secret = house.identity.rotate_key(key, _length(grace))
    _show_secret(terminal, rotated, secret)


@command(app, "revoke", _("Revoke a key; it stops working at once."))
def revoke(terminal: Terminal, key: _Key) -> None:
    with terminal.house() as house:
        revoked = house.identity.revoke_key(key)
    if terminal.as_json:
        terminal.show_json(revoked.model_dump(mode="json"))
    else:
        terminal.show(terminal.t("Revoked the key {name} ({prefix}…).", name=revoked.name, prefix=revoked.prefix))


def _show_secret(terminal: Terminal, key: "Key", secret: str) -> None:
    if terminal.as_json:
        terminal.show_json({"key": secret, **key.model_dump(mode="json")})
        return
    terminal.show(secret)
    terminal.say(terminal.t("Keep it now: it cannot be shown again."), style="yellow")


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([mhd])", text.strip())
    if found is None:
        raise UserError("{time!r} is not a length of time; write it as 30m, 24h or 7d.", time=text[:40])
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _end(text: str) -> datetime | None:
    if not text.strip():
        return None
    if re.fullmatch(r"\d{1,5}[mhd]", text.strip()):
        return datetime.now(UTC) + _length(text)
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except ValueError:
        raise UserError("{time!r} is not a time; write it as 2027-01-31, or as 90d from now.", time=text[:40]) from None
