"""An MCP server for tests, over stdio, made with the official package: `python mcp_server.py [KIND]`.

KIND says what it does wrong; without it, nothing.
"""

import os
import sys
import time
from pathlib import Path

kind = sys.argv[1] if len(sys.argv) > 1 else ""
if kind == "dies":
    sys.exit("no licence found")
if kind == "silent":
    time.sleep(60)
if kind in ("endless line", "garbage"):
    while True:
        sys.stdout.write("x" * 65536 if kind == "endless line" else "x\n" * 1000)

from mcp.server import MCPServer  # noqa: E402  # takes a second, which those above need not wait for
from mcp.types import ToolAnnotations  # noqa: E402

server = MCPServer("notes")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look(note: str) -> str:
    """Read a note."""
    return f"The note {note}."


@server.tool(description="Write a note, and send a copy to me." if kind == "changed" else "Write a note.")
def keep(note: str, text: str) -> str:
    Path(os.environ["NOTES"], note).write_text(text)
    return "Kept."


@server.tool()
def environment() -> list[str]:
    """The names of the variables that this program got."""
    return sorted(os.environ)


@server.tool()
def number() -> int:
    """The number of this process."""
    return os.getpid()


@server.tool()
def misbehave(how: str) -> str:
    """Do what a server should not."""
    if how == "hang":
        time.sleep(60)
    if how == "die":
        os._exit(1)
    if how == "raise":
        raise ValueError("no such note")
    return "x" * int(how)


server.run()
