"""The `dizuo` command. `dizuo NOUN VERB` for what is managed, a bare verb for the daily work.

Nothing heavy is imported here: `dizuo --help` must answer at once.
"""

import os
import sys
from collections.abc import Mapping, Sequence

import typer

from dizuo import __version__
from dizuo.cli import (
    agent,
    ask,
    cache,
    config,
    inbox,
    job,
    key,
    knowledge,
    limit,
    memory,
    model,
    price,
    provider,
    route,
    server,
    snapshot,
    thread,
    tool,
    trace,
    train,
    upkeep,
    usage,
    user,
    webhook,
)
from dizuo.cli.command import root_callback, speak
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

_DAILY = _("Every day")
_NOUNS = _("What is managed")
_UPKEEP = _("Upkeep")


def build() -> typer.Typer:
    """The whole command tree, in English."""
    app = typer.Typer(name="dizuo", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    root_callback(app, _("Ask your own documents, offline, in English and Chinese."), lambda: f"dizuo {__version__}")
    server.register(app, _DAILY)
    ask.register(app, _DAILY)
    train.register(app, _DAILY)
    usage.register(app, _DAILY)
    for name, noun in (
        ("knowledge", knowledge.app),
        ("model", model.app),
        ("route", route.app),
        ("provider", provider.app),
        ("agent", agent.agents),
        ("run", inbox.runs),  # of `agent`, with its own added
        ("memory", memory.app),
        ("tool", tool.app),
        ("webhook", webhook.app),
        ("job", job.app),
        ("thread", thread.app),
        ("trace", trace.app),
        ("key", key.app),
        ("cache", cache.app),
        ("limit", limit.app),
        ("price", price.app),
        ("user", user.app),
        ("snapshot", snapshot.app),
        ("config", config.app),
    ):
        app.add_typer(noun, name=name, rich_help_panel=_NOUNS)
    upkeep.register(app, _UPKEEP)
    return app


def spoken_terminal(arguments: Sequence[str], environ: Mapping[str, str]) -> Terminal:
    """A terminal in the language that help and complaints about wrong use are in.

    Those come before the options are parsed, so the two that decide the language are looked for by hand.
    """
    from pathlib import Path

    def value_of(option: str) -> str | None:
        for position, argument in enumerate(arguments):
            if argument.startswith(f"{option}="):
                return argument.partition("=")[2]
            if argument == option and position + 1 < len(arguments):
                return arguments[position + 1]
        return None

    home = value_of("--home")
    language = value_of("--language")
    return Terminal(home=Path(home) if home else None, language=language if language in ("en", "zh") else None)


def main() -> None:
    """What the `dizuo` script runs. Exit status: 0 success, 1 failure, 2 wrong use, 130 stopped by Ctrl-C."""
    tree = typer.main.get_command(build())
    speak(tree, spoken_terminal(sys.argv[1:], os.environ).language)
    tree(prog_name="dizuo")


if __name__ == "__main__":
    main()
