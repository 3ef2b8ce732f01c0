"""`dizuo config show`: every setting, its value and where that came from."""

import re
from typing import Any

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform import settings as settings_table
from dizuo.platform.catalogue import _

app = group(_("Settings."))

_PASSWORD_IN_URL = re.compile(r"(://[^:/@\s]*:)[^@\s]+(@)")
_MASK = "********"


def _masked(value: Any, secret: bool) -> Any:
    """The value as it may be shown: no key, and no password inside an address."""
    if secret:
        return _MASK if value else value
    return _PASSWORD_IN_URL.sub(rf"\g<1>{_MASK}\g<2>", value) if isinstance(value, str) else value


@command(app, "show", _("Show every setting, its value and where it came from."))
def show(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table

    loaded = terminal.settings()
    rows = [
        {
            "name": f.name,
            "value": _masked(getattr(loaded.values, f.name), f.metadata["secret"]),
            "source": loaded.sources[f.name],
            "environment": f.metadata["env"],
            "help": f.metadata["help"],
        }
        for f in settings_table.fields()
    ]
    if terminal.as_json:
        terminal.show_json({"home": str(loaded.values.home), "settings": rows})
        return
    t = terminal.t
    sources = {"default": t("default"), "file": t("file"), "environment": t("environment"), "flag": t("flag")}
    terminal.show(f"DIZUO_HOME: {loaded.values.home}")
    terminal.show(t("File: {file}", file=loaded.values.home / "config.toml"))
    terminal.show()
    show_table(
        terminal,
        (t("Setting"), t("Value"), t("From"), t("Environment variable"), t("What it is")),
        [
            (row["name"], row["value"], sources[row["source"]], row["environment"], t(row["help"]))
            for row in rows
        ],
    )
