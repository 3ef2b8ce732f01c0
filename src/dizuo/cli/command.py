"""How a command is declared: `@command(app, "list", _("What it does."))` over a function that gets its Terminal first.

It adds the options that every command has, ends every failure as a sentence, and keeps help in English where
it is written; `speak` puts a finished command tree into another language.
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import Language, _, translate

_Json = Annotated[bool, typer.Option("--json", help=_("Print one JSON document on standard output, nothing else."))]
_Language = Annotated[
    Literal["en", "zh"] | None, typer.Option("--language", metavar="en|zh", help=_("Language of messages and help."))
]
_Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="FOLDER", help=_("Folder that holds everything, instead of DIZUO_HOME.")),
]
_Debug = Annotated[bool, typer.Option("--debug", help=_("Show the log, and the traceback of an error."))]

Yes = Annotated[bool, typer.Option("--yes", "-y", help=_("Do not ask."))]
"""Of a command that asks before it does what cannot be undone: see `Terminal.confirm`."""


def _common_options() -> list[inspect.Parameter]:
    def option(name: str, default: Any, annotation: Any) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    return [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        option("as_json", False, _Json),
        option("language", None, _Language),
        option("home", None, _Home),
        option("debug", False, _Debug),
    ]


_COMMON = ("as_json", "language", "home", "debug")


def group(help: str) -> typer.Typer:
    """A noun: a Typer that its verbs are added to."""
    return typer.Typer(help=help, no_args_is_help=True, add_completion=False)


def command(
    app: typer.Typer, name: str, help: str, *, panel: str | None = None
) -> Callable[[Callable[..., None]], Any]:
    """Registers a function as a command. Its first parameter is the Terminal; the others are Typer's."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in list(signature.parameters.values())[1:]]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            terminal = _terminal(values.pop("context"), {option: values.pop(option) for option in _COMMON})
            with terminal.guarded():
                function(terminal, **values)

        run.__signature__ = inspect.Signature([*own, *_common_options()])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *_common_options()]}
        app.command(name, help=help, rich_help_panel=panel)(run)
        return function

    return register


def _terminal(context: typer.Context, given: dict[str, Any]) -> Terminal:
    """Options may stand before the command (`dizuo --json key list`) or after it; after wins."""
    before = context.find_root().obj or {}
    merged: dict[str, Any] = {name: value or before.get(name) for name, value in given.items()}
    return Terminal(**merged)


def root_callback(app: typer.Typer, help: str, version: Callable[[], str]) -> None:
    """Gives the root the options that every command has, and `--version`."""

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(version())
            raise typer.Exit

    @app.callback(help=help)
    def _root(
        context: typer.Context,
        as_json: _Json = False,
        language: _Language = None,
        home: _Home = None,
        debug: _Debug = False,
        _version: Annotated[
            bool,
            typer.Option("--version", is_eager=True, callback=show_version, help=_("Print the version and leave.")),
        ] = False,
    ) -> None:
        context.obj = {"as_json": as_json, "language": language, "home": home, "debug": debug}


def speak(tree: Any, language: Language) -> None:
    """Puts the help of a command, its options and everything under it into that language."""
    if language == "en":  # as it is written
        return
    from typer import rich_utils

    # Typer says these itself, in English wherever it is not compiled into the system's message catalogue.
    rich_utils.OPTIONS_PANEL_TITLE = translate(_("Options"), language)
    rich_utils.ARGUMENTS_PANEL_TITLE = translate(_("Arguments"), language)
    rich_utils.COMMANDS_PANEL_TITLE = translate(_("Commands"), language)
    rich_utils.ERRORS_PANEL_TITLE = translate(_("Error"), language)
    _speak(tree, language)


def _speak(tree: Any, language: Language) -> None:
    def in_language(text: str | None) -> str | None:
        return translate(text, language) if text else text

    tree.help = in_language(tree.help)
    tree.short_help = in_language(tree.short_help)
    if panel := getattr(tree, "rich_help_panel", None):
        tree.rich_help_panel = in_language(panel)
    for parameter in tree.params:
        parameter.help = in_language(getattr(parameter, "help", None))
    with typer.Context(tree) as context:
        tree.get_help_option(context).help = translate(_("Show this message and leave."), language)
    for child in getattr(tree, "commands", {}).values():
        _speak(child, language)
