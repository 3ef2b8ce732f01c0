"""`dizuo provider …`: where models are asked that do not run here."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import Yes, command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.gateway.providers import ProviderInfo, ProviderTest

app = group(_("Providers: endpoints that speak the OpenAI protocol, by URL and key."))

_Name = Annotated[str, typer.Argument(metavar="NAME", help=_("The provider's name; its models begin with it."))]
_Key = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help=_("Its key; - reads it from standard input. Without it, a person is asked. Encrypted, and never shown."),
    ),
]


@command(app, "list", _("List the providers; with --all, those that can be added."))
def list_(
    terminal: Terminal, all_: Annotated[bool, typer.Option("--all", help=_("The whole catalogue."))] = False
) -> None:
    from dizuo.cli.table import show_table, when

    if all_:
        _show_catalogue(terminal)
        return
    with terminal.house() as house:
        providers = house.providers.list()
    if terminal.as_json:
        terminal.show_json({"providers": [one.model_dump(mode="json") for one in providers]})
        return
    t = terminal.t
    if not providers:
        terminal.say(t("None yet. Those that are known: dizuo provider list --all"))
        return
    show_table(
        terminal,
        (t("Name"), t("Base URL"), t("Key"), t("Models"), t("Asked")),
        [
            (one.name, one.base_url, _key_state(terminal, one), len(one.models) or "-", when(one.checked_at))
            for one in providers
        ],
        right=(3,),
        whole=(0, 1),
    )


def _show_catalogue(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table
    from dizuo.gateway.presets import presets

    known = presets().values()
    if terminal.as_json:
        terminal.show_json({"catalogue": [one.model_dump(mode="json") for one in known]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Name"), t("Provider"), t("Base URL"), t("Key variable")),
        [(one.id, one.name[terminal.language], one.base_url, one.key_variable or "-") for one in known],
        whole=(0, 2, 3),
    )


@command(app, "add", _("Add a provider: one of the catalogue by its name, any other by its URL."))
def add(
    terminal: Terminal,
    name: _Name,
    url: Annotated[
        str, typer.Option(metavar="URL", help=_("Its OpenAI-compatible base URL, such as http://127.0.0.1:11434/v1."))
    ] = "",
    preset: Annotated[
        str, typer.Option(metavar="ID", help=_("The entry of the catalogue that it is, when its name is another."))
    ] = "",
    key: _Key = None,
) -> None:
    from dizuo.core.errors import ModelError
    from dizuo.gateway.presets import presets

    with terminal.house() as house:
        entry = presets().get(preset or ("" if url else name))
        if key is None and terminal.is_interactive():
            if entry and entry.key_page:
                terminal.say(terminal.t("A key is made at {url}", url=entry.key_page))
            key = _asked(terminal)
        added = house.providers.add(name, preset, url, _read_key(key))
        tested: ProviderTest | None = None
        failed: ModelError | None = None
        try:
            with terminal.waiting(terminal.t("Waiting for an answer…")):
                tested = house.providers.test(added.name)
        except ModelError as error:
            failed = error
    added = tested.provider if tested else added
    if terminal.as_json:
        problem = terminal.error_text(failed) if failed else None
        terminal.show_json({**added.model_dump(mode="json"), "answers": failed is None, "error": problem})
        return
    _show(terminal, added)
    if failed:
        terminal.say(terminal.t("It is kept, but does not answer yet:"), style="yellow")
        terminal.say(terminal.error_text(failed), style="yellow")
    terminal.say(terminal.t("Try a model: dizuo model test {name}/MODEL", name=added.name), style="dim")


@command(app, "key", _("Give a provider another key; an empty one takes the stored one away."))
def key_(terminal: Terminal, name: _Name, key: _Key = None) -> None:
    with terminal.house() as house:
        house.providers.get(name)
        if key is None:
            key = _asked(terminal) if terminal.is_interactive() else "-"
        changed = house.providers.set_key(name, _read_key(key))
    if terminal.as_json:
        terminal.show_json(changed.model_dump(mode="json"))
    else:
        _show(terminal, changed)


@command(app, "show", _("Show one provider, and what is different with it. Its key is never shown."))
def show(terminal: Terminal, name: _Name) -> None:
    with terminal.house() as house:
        provider = house.providers.get(name)
    if terminal.as_json:
        terminal.show_json(provider.model_dump(mode="json"))
    else:
        _show(terminal, provider)


@command(app, "models", _("Ask a provider which models it has, and keep the list."))
def models(terminal: Terminal, name: _Name) -> None:
    with terminal.house() as house, terminal.waiting(terminal.t("Waiting for an answer…")):
        tested = house.providers.test(name)
    names = [f"{name}/{model}" for model in tested.provider.models]
    if terminal.as_json:
        terminal.show_json({"models": names, "listed": tested.listed, "seconds": tested.seconds})
        return
    if not tested.listed:
        terminal.say(terminal.t("This provider has no list of its models. Name one: {name}/MODEL", name=name))
    for one in names:
        terminal.show(one)


@command(app, "remove", _("Remove a provider with its key."))
def remove(terminal: Terminal, name: _Name, yes: Yes = False) -> None:
    with terminal.house() as house:
        house.providers.get(name)
        terminal.confirm(terminal.t("Remove the provider {name} with its key?", name=name), yes=yes)
        house.providers.remove(name)
    if terminal.as_json:
        terminal.show_json({"removed": name})
    else:
        terminal.show(terminal.t("Removed the provider {name}.", name=name))


def _show(terminal: Terminal, provider: "ProviderInfo") -> None:
    from dizuo.cli.table import when
    from dizuo.gateway.presets import presets

    t = terminal.t
    entry = presets().get(provider.preset)
    terminal.show(provider.name + (f" · {entry.name[terminal.language]}" if entry else ""), style="bold")
    terminal.show(provider.base_url)
    terminal.show(t("Key: {state}", state=_key_state(terminal, provider)))
    if provider.checked_at:
        terminal.show(t("{n} models, listed {when}", n=len(provider.models), when=when(provider.checked_at)))
    if provider.problem:
        terminal.show(terminal.note(provider.problem), style="red")
    if entry and entry.differs:
        terminal.show(entry.differs[terminal.language])
    if entry and entry.without:
        terminal.show(t("Refuses or passes over: {names}", names=", ".join(entry.without)))
    if entry:
        terminal.show(f"{entry.docs} ({entry.dated})", style="dim")


def _key_state(terminal: Terminal, provider: "ProviderInfo") -> str:
    t = terminal.t
    if provider.problem:
        return t("unreadable")
    if provider.key_from == "environment":
        return t("from {variable}", variable=provider.key_variable)
    return t("stored, encrypted") if provider.has_key else t("none")


def _asked(terminal: Terminal) -> str:
    return typer.prompt(
        terminal.t("Key (nothing is shown; empty for none)"), default="", hide_input=True, show_default=False, err=True
    )


def _read_key(key: str | None) -> str:
    return sys.stdin.readline() if key == "-" else key or ""
