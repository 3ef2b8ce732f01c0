"""`dizuo config show`: every setting, its value and where that came from."""

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform import settings as settings_table
from dizuo.platform.catalogue import _

app = group(_("Settings."))


@command(app, "show", _("Show every setting, its value and where it came from."))
def show(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table

    loaded = terminal.settings()
    rows = settings_table.shown(loaded.values, loaded.sources)
    if terminal.as_json:
        terminal.show_json({"home": str(loaded.values.home), "settings": [row.model_dump() for row in rows]})
        return
    t = terminal.t
    sources = {"default": t("default"), "file": t("file"), "environment": t("environment"), "flag": t("flag")}
    terminal.show(f"DIZUO_HOME: {loaded.values.home}")
    terminal.show(t("File: {file}", file=loaded.values.home / "config.toml"))
    terminal.show()
    show_table(
        terminal,
        (t("Setting"), t("Value"), t("From"), t("Environment variable"), t("What it is")),
        [(row.name, row.value, sources[row.source], row.environment, t(row.help)) for row in rows],
    )
