"""`dizuo cache …`: the answers that are kept, and how far their cache can be trusted."""

from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.gateway.cache_report import Rate

app = group(_("Kept answers: what is there, and how often it errs."))


@command(app, "report", _("Print how often the cache hits and how often it errs, by language and kind."))
def report(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, size
    from dizuo.gateway.cache_report import KINDS, LANGUAGES, verdict
    from dizuo.gateway.cache_report import report as made

    with terminal.house() as house:
        found = made(house.cache)
    if terminal.as_json:
        terminal.show_json(found.model_dump(mode="json"))
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Language"), t("Kind"), t("Looked up"), t("Hits"), t("Wrong"), t("Hit rate"), t("False-hit rate")),
        [
            (
                t(LANGUAGES[one.language]),
                t(KINDS[one.kind]),
                one.asked,
                one.hits,
                one.wrong,
                rate(one.hit_rate),
                rate(one.false_hit_rate),
            )
            for one in found.measured
        ],
        right=(2, 3, 4, 5, 6),
    )
    terminal.say(
        t(
            "Fitted to a false-hit rate of at most {budget} (upper 95 % bound). Data: {data}.",
            budget=f"{found.budget:.0%}",
            data=found.data,
        )
    )
    for one in found.languages:
        terminal.say(t(verdict(one), language=t(LANGUAGES[one.language]), bound=f"{one.false_hit_bound:.1%}"))
    here = found.here
    terminal.say(
        t(
            "Here: {policy}; {entries} answers kept ({size} of {limit}); {hits} of {calls} calls hit.",
            policy=here.policy,
            entries=here.entries,
            size=size(here.size_bytes),
            limit=size(here.limit_bytes),
            hits=sum(here.hits.values()),
            calls=here.calls,
        )
    )


def rate(share: "Rate | None") -> str:
    """A share with its interval."""
    return "-" if share is None else "{:.1%} [{:.1%}, {:.1%}]".format(*share)


@command(app, "list", _("List what is kept, the latest first."))
def list_(
    terminal: Terminal,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help=_("Most answers to show."))] = 50,
) -> None:
    from dizuo.cli.table import show_table, size, when

    with terminal.house() as house:
        entries = house.cache.entries(limit)
    if terminal.as_json:
        terminal.show_json({"entries": [entry.model_dump(mode="json") for entry in entries]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("ID"), t("Model"), t("Question"), t("Size"), t("Created"), t("Expires"), t("Hits")),
        [
            (
                one.id,
                one.model,
                one.question,
                size(one.size_bytes),
                when(one.created_at),
                when(one.expires_at),
                one.hits,
            )
            for one in entries
        ],
        right=(0, 3, 6),
    )


@command(app, "clear", _("Delete what is kept: all, one model's answers, or one answer."))
def clear(
    terminal: Terminal,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help=_("Only answers of that model."))] = "",
    entry: Annotated[int | None, typer.Option("--id", metavar="ID", help=_("Only this answer."))] = None,
) -> None:
    with terminal.house() as house:
        gone = house.cache.clear(model, entry)
    if terminal.as_json:
        terminal.show_json({"cleared": gone})
    else:
        terminal.show(terminal.t("{n} kept answers were deleted.", n=gone))
