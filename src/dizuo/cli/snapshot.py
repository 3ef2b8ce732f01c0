"""`dizuo snapshot list`: what can be rolled back to."""

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

app = group(_("Snapshots, made before every migration and restore."))


@command(app, "list", _("List the snapshots, newest first. To go back to one: dizuo restore FILE"))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, size, when

    with terminal.closed_house() as house:
        found = house.snapshots()
    if terminal.as_json:
        terminal.show_json({"snapshots": [snapshot.model_dump(mode="json") for snapshot in found]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Created"), t("Made before"), t("Schema"), t("Size"), t("File")),
        [
            (when(one.created_at), one.label.removeprefix("before-"), one.revision, size(one.size_bytes), one.file)
            for one in found
        ],
        right=(3,),
    )
