"""`dizuo usage`: what the calls of models took."""

from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.gateway.usage import Sums


def register(app: typer.Typer, panel: str) -> None:
    """Adds the command."""
    command(app, "usage", _("What the calls of models took: tokens, money, processor time."), panel=panel)(_usage)


def _usage(
    terminal: Terminal,
    by: Annotated[str, typer.Option(metavar="model|user|key|app|day", help=_("What the sums are by."))] = "model",
    days: Annotated[int, typer.Option(metavar="N", help=_("How many days, today included (UTC)."))] = 30,
    as_csv: Annotated[bool, typer.Option("--csv", help=_("Print a table for a spreadsheet."))] = False,
) -> None:
    from dizuo.cli.table import show_table

    with terminal.house() as house:
        if as_csv and not terminal.as_json:
            typer.echo(house.usage.csv(by, days), nl=False)
            return
        report = house.usage.report(by, days)
    if terminal.as_json:
        terminal.show_json(report.model_dump(mode="json"))
        return
    t = terminal.t
    heads = {"model": t("Model"), "user": t("User"), "key": t("Key"), "app": t("App"), "day": t("Day")}
    rows = [(row.name or (f"({row.id})" if row.id else t("(none)")), *_cells(row)) for row in report.rows]
    show_table(
        terminal,
        (heads[report.by], t("Calls"), t("Tokens in"), t("Tokens out"), t("Cost"), t("CPU s"), t("Failed"), t("Kept")),
        [*rows, (t("Total"), *_cells(report.total))],
        right=(1, 2, 3, 4, 5, 6, 7),
    )
    if report.total.unpriced:
        terminal.say(t("{n} calls have no price: dizuo price set", n=report.total.unpriced), style="yellow")


def _cells(sums: "Sums") -> tuple[str, ...]:
    costs = " + ".join(f"{cost:.4f} {currency}" for currency, cost in sums.costs.items()) or "0"
    about = "~" if sums.estimated else ""
    return (
        f"{sums.calls:,}",
        f"{about}{sums.prompt_tokens:,}",
        f"{about}{sums.completion_tokens:,}",
        costs,
        f"{sums.cpu_s:.1f}",
        f"{sums.failed + sums.refused:,}",
        f"{sums.kept:,}",
    )
