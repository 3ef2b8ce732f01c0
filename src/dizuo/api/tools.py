"""/api/tools: servers of others whose operations agents may call. Secrets go in and never come back."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from dizuo.agents.tool_servers import ToolServerInfo
from dizuo.api.auth import TheHouse, TheOwner, Unrestricted, router
from dizuo.api.requests import Name, RequestBody, Text

routes = router("/api/tools", "tools")

ServerName = Annotated[str, Path(description="the server's name", pattern=r"^[^\x00]+$")]
_Word = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
_Secrets = Annotated[Mapping[str, Annotated[SecretStr, Field(max_length=8000)]], Field(max_length=50)]


class ToolServerList(BaseModel):
    servers: Sequence[ToolServerInfo]


class NewToolServer(RequestBody):
    name: Name
    command: list[_Word] = Field([], max_length=100, description="an MCP server that is a program, with its arguments")
    environment: _Secrets = Field({}, description="variables of that program; it gets none of the server's own")
    url: _Word = Field("", description="an MCP server that is reached over streamable HTTP")
    openapi: _Word = Field(
        "",
        description="an OpenAPI description, by its address or its absolute path on the server's disk; its operations "
        "are called at the base URL `url`",
    )
    a2a: _Word = Field("", description="an agent that speaks A2A, by the address that its card is below")
    headers: _Secrets = Field({}, description="sent with every request to it, such as Authorization")


class Approved(RequestBody):
    fingerprint: Text = Field(description="of the tools that were looked at; when others are listed by now, none are")


@routes.get("")
def list_tool_servers(house: TheHouse, _owner: TheOwner) -> ToolServerList:
    """Every server, with its tools as they were when it was last asked."""
    return ToolServerList(servers=house.tool_servers.list())


@routes.post("", status_code=201)
def add_tool_server(
    new: NewToolServer, house: TheHouse, _owner: TheOwner, _unrestricted: Unrestricted
) -> ToolServerInfo:
    """Registers an MCP server, described HTTP operations, or an agent. Not asked anything yet (`check` does that); none
    of its tools is offered before they are approved."""
    return house.tool_servers.add(
        new.name,
        command=new.command,
        url=new.url,
        openapi=new.openapi,
        a2a=new.a2a,
        headers={name: value.get_secret_value() for name, value in new.headers.items()},
        environment={name: value.get_secret_value() for name, value in new.environment.items()},
    )


@routes.get("/{name}")
def show_tool_server(name: ServerName, house: TheHouse, _owner: TheOwner) -> ToolServerInfo:
    """One server: its tools in its own words, and where they are not what was approved."""
    return house.tool_servers.get(name)


@routes.post("/{name}/check")
def check_tool_server(
    name: ServerName, house: TheHouse, _owner: TheOwner, _unrestricted: Unrestricted
) -> ToolServerInfo:
    """Asks the server for its tools; `problem` says what went wrong. Starts it, where it is a program."""
    return house.tool_servers.check(name)


@routes.post("/{name}/approve")
def approve_tool_server(
    name: ServerName, seen: Approved, house: TheHouse, _owner: TheOwner, _unrestricted: Unrestricted
) -> ToolServerInfo:
    """Offers the server's tools, word for word as they were looked at."""
    return house.tool_servers.approve(name, seen.fingerprint)


@routes.delete("/{name}")
def remove_tool_server(name: ServerName, house: TheHouse, _owner: TheOwner) -> ToolServerInfo:
    """Removes a server with its secrets. Its tools are offered no longer."""
    return house.tool_servers.remove(name)
