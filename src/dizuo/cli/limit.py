"""`dizuo limit …`: what keys, users, apps and all together may take."""

from typing import Annotated, Any

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _

app = group(_("What keys, users, apps and all together may take: pace and money."))

_Subject = Annotated[str, typer.Argument(metavar="all|user|key|app", help=_("Whom it is for."))]
_Id = Annotated[
    str, typer.Argument(metavar="[NAME]", help=_("The user's name, the key's id or the app's name; nothing for all."))
]
_NONE = "none"


@command(app, "list", _("List the limits, and how much of each budget is spent."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table

    with terminal.house() as house:
        standings = house.limits.list()
    if terminal.as_json:
        terminal.show_json({"limits": [one.model_dump(mode="json") for one in standings]})
        return
    t = terminal.t
    periods = {"day": t("day"), "month": t("month"), "total": t("in all")}
    rows = []
    for one in standings:
        limit = one.limit
        paces = (limit.requests_per_minute, limit.tokens_per_minute, limit.concurrency)
        money = ("-", "-")
        if limit.budget is not None:
            budget = f"{limit.budget:g} {limit.currency} / {periods[limit.period]}"
            money = (budget, f"{one.spent:.4g} ({one.share:.0%})")
        name = f"{one.name} ({limit.subject_id})" if limit.subject == "key" else one.name or limit.subject_id
        rows.append((limit.subject, name or "-", *(str(pace or "-") for pace in paces), *money))
    columns = (t("For"), t("Name"), t("Requests/min"), t("Tokens/min"), t("At once"), t("Budget"), t("Spent"))
    show_table(terminal, columns, rows, right=(2, 3, 4))


@command(app, "set", _("Set limits; what is not given stays as it is, none lifts one."))
def set_(
    terminal: Terminal,
    subject: _Subject,
    name: _Id = "",
    requests: Annotated[str, typer.Option(metavar="N", help=_("Requests a minute."))] = "",
    tokens: Annotated[str, typer.Option(metavar="N", help=_("Tokens a minute."))] = "",
    concurrency: Annotated[str, typer.Option(metavar="N", help=_("Calls at once."))] = "",
    budget: Annotated[str, typer.Option(metavar="AMOUNT", help=_("Money for each period."))] = "",
    currency: Annotated[str, typer.Option(metavar="USD|CNY", help=_("The currency of the budget."))] = "",
    period: Annotated[str, typer.Option(metavar="day|month|total", help=_("The period of the budget."))] = "",
    warn_at: Annotated[str, typer.Option(metavar="SHARE", help=_("Share of the budget to warn at, such as 0.8."))] = "",
) -> None:
    values: dict[str, Any] = {
        **_numbers({"requests_per_minute": requests, "tokens_per_minute": tokens, "concurrency": concurrency}, int),
        **_numbers({"budget": budget, "warn_at": warn_at}, float),
        **({"currency": currency.upper()} if currency else {}),
        **({"period": period} if period else {}),
    }
    with terminal.house() as house:
        house.identity.owner()
        limit = house.limits.set(subject, name, **values)
    if terminal.as_json:
        terminal.show_json(limit.model_dump(mode="json"))
    else:
        terminal.show(terminal.t("The limit is set."))


@command(app, "remove", _("Lift all limits of one."))
def remove(terminal: Terminal, subject: _Subject, name: _Id = "") -> None:
    with terminal.house() as house:
        limit = house.limits.remove(subject, name)
    if terminal.as_json:
        terminal.show_json(limit.model_dump(mode="json"))
    else:
        terminal.show(terminal.t("The limit is lifted."))


def _numbers(given: dict[str, str], kind: type[int] | type[float]) -> dict[str, int | float | None]:
    values: dict[str, int | float | None] = {}
    for name, text in given.items():
        if text.strip().lower() == _NONE and name != "warn_at":
            values[name] = None
        elif text.strip():
            try:
                values[name] = kind(text)
            except ValueError:
                raise UserError(
                    "{name} is {value!r}; it must be a number, or none.", name=name, value=text[:40]
                ) from None
    return values
