"""`dizuo snapshot list`: what can be rolled back to."""

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

app = group(_("Snapshots, made before every migration and restore."))
