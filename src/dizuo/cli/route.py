"""`dizuo route …`: names of one's own for several models, and how the models do."""

from typing import Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

app = group(_("Routes: names of your own for several models that share the work and stand in for one another."))

_Name = Annotated[str, typer.Argument(metavar="ROUTE", help=_("The route's name, such as fast; it has no slash."))]
_Seconds = float | None


@command(app, "list", _("List the routes."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table

    with terminal.house() as house:
        routes = house.gateway.routes.list()
    if terminal.as_json:
        terminal.show_json({"routes": [route.model_dump(mode="json") for route in routes]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Route"), t("Targets"), t("Fallbacks")),
        [
            (
                route.name,
                ", ".join(
                    f"{target.model} {share:.0%}" for target, share in zip(route.targets, route.shares, strict=True)
                ),
                ", ".join(route.fallbacks) or "-",
            )
            for route in routes
        ],
        whole=(0,),
    )


@command(app, "show", _("Show one route."))
def show(terminal: Terminal, route: _Name) -> None:
    with terminal.house() as house:
        found = house.gateway.routes.get(route)
    if terminal.as_json:
        terminal.show_json(found.model_dump(mode="json"))
        return
    terminal.show(found.name, style="bold")
    terminal.show(terminal.note(found.note))
    for option, value in found.options.model_dump(exclude_none=True).items():
        terminal.show(f"{option}: {value:g}")


@command(app, "add", _("Make a route. Ask it like any model."))
def add(
    terminal: Terminal,
    route: _Name,
    targets: Annotated[
        list[str], typer.Argument(metavar="MODEL[=WEIGHT]…", help=_("The models that share the work, by weight."))
    ],
    fallback: Annotated[
        list[str] | None,
        typer.Option("--fallback", metavar="MODEL", help=_("A model to ask when no target answers. May repeat.")),
    ] = None,
    timeout: Annotated[
        _Seconds, typer.Option("--timeout", metavar="SECONDS", help=_("For a whole call, over all tries."))
    ] = None,
    connect: Annotated[_Seconds, typer.Option("--connect", metavar="SECONDS", help=_("For the connection."))] = None,
    first_token: Annotated[
        _Seconds, typer.Option("--first-token", metavar="SECONDS", help=_("Until the answer begins."))
    ] = None,
    between_tokens: Annotated[
        _Seconds, typer.Option("--between-tokens", metavar="SECONDS", help=_("Between two pieces of an answer."))
    ] = None,
    tries: Annotated[
        int | None, typer.Option("--tries", metavar="N", help=_("How many attempts a call may take in all."))
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help=_("In place of a route of that name."))] = False,
) -> None:
    from dizuo.gateway.routes import RouteOptions, parse_target

    options = RouteOptions(
        connect_s=connect, first_token_s=first_token, between_tokens_s=between_tokens, total_s=timeout, tries=tries
    )
    with terminal.house() as house:
        made = house.gateway.routes.add(
            route, [parse_target(target) for target in targets], fallback or [], options, replace=replace
        )
    if terminal.as_json:
        terminal.show_json(made.model_dump(mode="json"))
        return
    terminal.show(terminal.note(made.note))
    terminal.say(terminal.t("Ask it by its name: {name}", name=made.name), style="dim")


@command(app, "remove", _("Remove a route; its models stay."))
def remove(terminal: Terminal, route: _Name) -> None:
    with terminal.house() as house:
        removed = house.gateway.routes.remove(route)
    if terminal.as_json:
        terminal.show_json({"removed": removed.name})
    else:
        terminal.show(terminal.t("Removed the route {name}.", name=removed.name))


@command(app, "health", _("Show how the remote models do that were asked lately."))
def health(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, when
    from dizuo.gateway.breaker import STATE_NAMES

    with terminal.house() as house:
        models = house.gateway.health()
    if terminal.as_json:
        terminal.show_json({"models": [model.model_dump(mode="json") for model in models]})
        return
    if not models:
        terminal.say(terminal.t("No model has had trouble within a day."), style="dim")
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Model"), t("State"), t("Not asked until"), t("Last error")),
        [
            (
                model.model,
                t(STATE_NAMES[model.state]),
                when(model.opens_until),
                terminal.note(model.last_error) if model.last_error else "-",
            )
            for model in models
        ],
        whole=(0,),
    )
