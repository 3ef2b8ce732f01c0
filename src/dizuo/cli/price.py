"""`dizuo price …`: what models cost."""

from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.gateway.prices import Price

app = group(_("What models cost: a dated table, and your own rows above it."))

_Model = Annotated[str, typer.Argument(metavar="MODEL", help=_("A model's name, or a pattern such as openai/*."))]


@command(app, "list", _("List the prices in force, your own first."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table

    with terminal.house() as house:
        prices = house.prices.list()
        rate, _space, day = house.settings.cny_per_usd.partition(" ")
    if terminal.as_json:
        terminal.show_json({"prices": [price.model_dump(mode="json") for price in prices]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Model"), t("Input"), t("Kept input"), t("Output"), t("CPU hour"), t("Currency"), t("Day"), t("Source")),
        [_row(price) for price in prices],
        right=(1, 2, 3, 4),
    )
    told = t(
        "Tokens by the million. Shipped prices are those of their day: providers change theirs, so check them before "
        "you rely on a sum, and set your own. Calls keep the cost that they had when they were made. A US dollar "
        "counts as {rate} yuan, the rate of {day} (setting {setting}).",
        rate=rate,
        day=day.strip(),
        setting="cny_per_usd",
    )
    terminal.say(told, style="dim")


@command(app, "set", _("Set a price of your own."))
def set_(
    terminal: Terminal,
    model: _Model,
    input: Annotated[float, typer.Option(metavar="AMOUNT", help=_("For a million tokens of the prompt."))] = 0.0,
    output: Annotated[float, typer.Option(metavar="AMOUNT", help=_("For a million tokens written."))] = 0.0,
    cached_input: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help=_("For a million tokens that the provider had kept; else as the input.")),
    ] = None,
    cpu_hour: Annotated[
        float, typer.Option(metavar="AMOUNT", help=_("For an hour of this machine's processor time."))
    ] = 0.0,
    currency: Annotated[str, typer.Option(metavar="USD|CNY", help=_("The currency of the amounts."))] = "USD",
    dated: Annotated[str, typer.Option(metavar="DAY", help=_("The day of the price; else today."))] = "",
    source: Annotated[str, typer.Option(metavar="PAGE", help=_("Where it was read."))] = "",
) -> None:
    with terminal.house() as house:
        price = house.prices.set(
            model,
            input,
            output,
            currency=currency,
            cached_input=cached_input,
            cpu_hour=cpu_hour,
            dated=dated,
            source=source,
        )
    if terminal.as_json:
        terminal.show_json(price.model_dump(mode="json"))
    else:
        terminal.show(terminal.t("The price of {model} is set.", model=price.model))


@command(app, "remove", _("Remove a price of your own; the shipped one is in force again."))
def remove(terminal: Terminal, model: _Model) -> None:
    with terminal.house() as house:
        price = house.prices.remove(model)
    if terminal.as_json:
        terminal.show_json(price.model_dump(mode="json"))
    else:
        terminal.show(terminal.t("Removed the price of {model}.", model=price.model))


def _row(price: "Price") -> tuple[str, ...]:
    kept = "-" if price.cached_input is None else f"{price.cached_input:g}"
    amounts = (f"{price.input:g}", kept, f"{price.output:g}", f"{price.cpu_hour:g}")
    return (price.model, *amounts, price.currency, price.dated, price.source)
