"""`dizuo tool …`: servers of others whose operations agents may call."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import Yes, command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.agents.tool_servers import ServedTool, ToolServerInfo

app = group(_("Tools of others: MCP servers, HTTP operations and agents that agents may call."))

_Name = Annotated[str, typer.Argument(metavar="NAME", help=_("The server's name; its tools' names begin with it."))]


@command(app, "list", _("List the servers and their tools."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        servers = house.tool_servers.list()
    if terminal.as_json:
        terminal.show_json({"servers": [one.model_dump(mode="json") for one in servers]})
        return
    t = terminal.t
    if not servers:
        terminal.say(t("None yet. Add one: dizuo tool add NAME --command COMMAND, or --url URL"))
        return
    show_table(
        terminal,
        (t("Name"), t("Address"), t("Tools"), t("Offered"), t("Asked")),
        [
            (
                one.name,
                one.address,
                len(one.tools) or "-",
                sum(tool.state == "approved" for tool in one.tools) or "-",
                when(one.checked_at),
            )
            for one in servers
        ],
        right=(2, 3),
        whole=(0,),
    )


@command(app, "offered", _("List the tools that a run may be given, and those that every run has."))
def offered(terminal: Terminal) -> None:
    from dizuo.agents.run_tools import run_tools
    from dizuo.cli.table import show_table

    with terminal.house() as house:
        tools = run_tools(house.equipment, house.identity.owner().id)
    if terminal.as_json:
        terminal.show_json({"tools": [one.model_dump(mode="json") for one in tools]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Name"), t("Given"), t("Asks first"), t("What it does")),
        [
            (
                one.name,
                t("always") if one.given else f"--tool {one.name}",
                t("yes") if one.asks else "-",
                " ".join(one.description.split()),
            )
            for one in tools
        ],
        whole=(0,),
    )


@command(
    app,
    "add",
    _("Add an MCP server by its command or URL, HTTP operations by their OpenAPI description, or an agent by A2A."),
)
def add(
    terminal: Terminal,
    name: _Name,
    program: Annotated[
        str, typer.Option("--command", metavar="COMMAND", help=_("The program and its arguments, as in a shell."))
    ] = "",
    url: Annotated[str, typer.Option("--url", metavar="URL", help=_("Its address over streamable HTTP."))] = "",
    openapi: Annotated[
        str,
        typer.Option("--openapi", metavar="FILE|URL", help=_("A description of HTTP operations, in OpenAPI 3.")),
    ] = "",
    base_url: Annotated[
        str, typer.Option("--base-url", metavar="URL", help=_("Where the described operations are called."))
    ] = "",
    a2a: Annotated[
        str, typer.Option("--a2a", metavar="URL", help=_("An agent of others, by the address that its card is below."))
    ] = "",
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME=VALUE",
            help=_("A variable for the program. May repeat. Encrypted, never shown; - for the value reads a line."),
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="NAME:VALUE",
            help=_("A header for the address. May repeat. Encrypted, never shown; - for the value reads a line."),
        ),
    ] = None,
    token: Annotated[
        str, typer.Option("--token", metavar="TOKEN", help=_("A bearer token for the address; - reads a line."))
    ] = "",
) -> None:
    from pathlib import Path

    from dizuo.agents.tool_texts import command_of, named_values, with_token

    words = command_of(program)
    if openapi and not openapi.startswith(("http://", "https://")):
        openapi = str(Path(openapi).absolute())
    headers = {name: _value(value) for name, value in named_values(header or (), ":").items()}
    headers = with_token(headers, _value(token))
    variables = {name: _value(value) for name, value in named_values(env or (), "=").items()}
    with terminal.house() as house:
        house.tool_servers.add(
            name,
            command=words,
            url=url or base_url,
            openapi=openapi,
            a2a=a2a,
            environment=variables,
            headers=headers,
        )
        with terminal.waiting(terminal.t("Waiting for an answer…")):
            added = house.tool_servers.check(name)
    _show(terminal, added)


@command(app, "show", _("Ask a server for its tools, and show them and what has changed."))
def show(terminal: Terminal, name: _Name) -> None:
    with terminal.house() as house, terminal.waiting(terminal.t("Waiting for an answer…")):
        found = house.tool_servers.check(name)
    _show(terminal, found)


@command(app, "approve", _("Offer a server's tools to agents, as they are now."))
def approve(terminal: Terminal, name: _Name, yes: Yes = False) -> None:
    with terminal.house() as house:
        with terminal.waiting(terminal.t("Waiting for an answer…")):
            found = house.tool_servers.check(name)
        if not terminal.as_json:
            _show(terminal, found, hint=False)
        terminal.confirm(terminal.t("Offer these tools of {name} to agents?", name=name), yes=yes)
        approved = house.tool_servers.approve(name, found.fingerprint)
    if terminal.as_json:
        terminal.show_json(approved.model_dump(mode="json"))
        return
    offered = [one.name for one in approved.tools if one.state == "approved"]
    terminal.show(terminal.t("Offered: {names}", names=", ".join(offered) or "-"))
    terminal.say(terminal.t("Give them to a run: dizuo agent run GOAL --tool {name}", name=name), style="dim")


@command(app, "remove", _("Remove a server with its secrets."))
def remove(terminal: Terminal, name: _Name, yes: Yes = False) -> None:
    with terminal.house() as house:
        house.tool_servers.get(name)
        terminal.confirm(terminal.t("Remove the server {name} with its secrets?", name=name), yes=yes)
        house.tool_servers.remove(name)
    if terminal.as_json:
        terminal.show_json({"removed": name})
    else:
        terminal.show(terminal.t("Removed the server {name}.", name=name))


# --- showing --------------------------------------------------------------------------------------------------


def _show(terminal: Terminal, server: "ToolServerInfo", *, hint: bool = True) -> None:
    t = terminal.t
    if terminal.as_json:
        terminal.show_json(server.model_dump(mode="json"))
        return
    terminal.show(server.name, style="bold")
    terminal.show(server.address)
    if server.secrets:
        terminal.show(t("Secrets, encrypted: {names}", names=", ".join(server.secrets)))
    if server.problem:
        terminal.show(terminal.note(server.problem), style="red")
    for tool in server.tools:
        _show_tool(terminal, tool)
    if hint and any(tool.state in ("new", "changed") for tool in server.tools):
        terminal.say(t("Offer them to agents: dizuo tool approve {name}", name=server.name), style="dim")


def _show_tool(terminal: Terminal, tool: "ServedTool") -> None:
    from dizuo.agents.tool_texts import difference, said

    t = terminal.t
    state = {
        "new": t("not approved"),
        "approved": t("offered"),
        "changed": t("changed since it was approved"),
        "gone": t("gone"),
        "unusable": t("unusable"),
    }[tool.state]
    effect = t("reads") if tool.effect == "read" else t("acts")
    terminal.show()
    terminal.show(f"{tool.name} · {effect} · {state}", style="" if tool.state == "approved" else "yellow")
    if tool.problem:
        terminal.show(terminal.note(tool.problem), style="red")
    for line in difference(tool) or said(tool.listed):
        terminal.show(f"   {line}", style={"+": "green", "-": "red"}.get(line[:1], "") if tool.before else "")


def _value(given: str) -> str:
    return sys.stdin.readline().rstrip("\n") if given == "-" else given
