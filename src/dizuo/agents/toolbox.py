"""What a run may be given beyond the tools that every agent has, and those things themselves while it works.

Connections to servers begin at the first call, and end with the work: a run that waits for people holds none.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dizuo.agents.listed import ListedTool, fingerprint
from dizuo.agents.mcp_client import Connection
from dizuo.agents.schemas import given_schema
from dizuo.core.errors import DizuoError, NotFound
from dizuo.core.tools import Tool, ToolContext, ToolResult

if TYPE_CHECKING:
    from dizuo.agents.a2a_client import Agent
    from dizuo.agents.openapi import Operations
    from dizuo.agents.tool_servers import ToolServers

_SHORTEST_SECRET = 8


class Toolbox:
    """Tools by name: some of the house, and those of servers that their owner has approved."""

    def __init__(
        self,
        own: Mapping[str, Callable[[], Tool]] | None = None,
        servers: "Callable[[], ToolServers] | None" = None,
    ) -> None:
        """Each is made when first used."""
        self._own = own or {}
        self._servers = servers

    def named(self, asked: Sequence[str]) -> list[str]:
        """The names of tools that are asked for, one by one or all of a server by its name. Raises NotFound."""
        offered = self._servers().offered() if asked and self._servers else {}
        found: dict[str, None] = {}
        for name in asked:
            of_server = [tool for tool, (server, _listed) in offered.items() if server == name]
            names = [name] if name in self._own or name in offered else of_server
            if not names:
                raise NotFound(
                    "There is no tool {name!r} that a run may be given. There are: {names}. Tools of a server are "
                    "there once they are approved: dizuo tool approve NAME",
                    name=name,
                    names=", ".join([*self._own, *offered]) or "-",
                )
            found |= dict.fromkeys(names)
        return [*found]

    def offered(self) -> Sequence[Tool]:
        """All that a run may be given now. To look at: they are called by way of `lend`."""
        served = self._servers().offered() if self._servers else {}
        return self.lend([*self._own, *served]).tools

    def lend(self, names: Sequence[str]) -> "Lent":
        """Those of the names that may be used now: what was taken away or has changed since is left out."""
        own = [self._own[name]() for name in names if name in self._own]
        # Only names of servers' tools have it: most runs need no look into the database.
        foreign = [name for name in names if "__" in name]
        if not foreign or self._servers is None:
            return Lent(own)
        servers = self._servers()
        offered = servers.offered()
        return Lent(own, servers, {name: offered[name] for name in foreign if name in offered})


class Lent:
    """Tools for the time of a run's work. Belongs to one event loop."""

    def __init__(
        self,
        own: Sequence[Tool] = (),
        servers: "ToolServers | None" = None,
        served: Mapping[str, tuple[str, ListedTool]] | None = None,
    ) -> None:
        """`served`: as `ToolServers.offered` gives them."""
        self._open: dict[str, _Server] = {}
        self.tools: list[Tool] = [*own]
        if servers is not None:
            self.tools += [self._tool(servers, name, *of) for name, of in (served or {}).items()]

    async def aclose(self) -> None:
        """Ends every connection, and the programs behind them."""
        opened, self._open = self._open, {}
        await asyncio.gather(*(one.aclose() for one in opened.values()), return_exceptions=True)

    def _tool(self, servers: "ToolServers", name: str, server: str, listed: ListedTool) -> Tool:
        async def call(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
            if server not in self._open:
                self._open[server] = _Server(servers, server)
            return await self._open[server].call(listed, arguments, context)

        schema = given_schema(listed.parameters)
        return Tool(name, listed.description, call, schema, listed.effect, context_in="context")


class _Server:
    """One server of a run, with what it lists now."""

    def __init__(self, servers: "ToolServers", name: str) -> None:
        self._servers = servers
        self._name = name
        self._connection: Connection | Operations | Agent | None = None
        self._secrets: Sequence[str] = ()
        self._listed: Mapping[str, ListedTool] = {}
        self._one_at_a_time = asyncio.Lock()

    async def call(self, tool: ListedTool, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        try:
            async with self._one_at_a_time:
                connection = self._connection or await self._connected()
        except DizuoError as error:
            return ToolResult(text=f"The server {self._name} cannot be used. {error}", failed=True, trusted=False)
        if self._listed.get(tool.name) != tool:
            text = "This tool is no longer what was approved, and was not called. Do without it."
            return ToolResult(text=text, failed=True)
        result = await connection.call(tool.name, arguments, context)
        return result.model_copy(update={"text": self._without_secrets(result.text)})

    def _without_secrets(self, text: str) -> str:
        """Some servers quote what they were sent; neither the model nor the journal is to have it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()

    async def _connected(self) -> "Connection | Operations | Agent":
        connection = self._servers.connection(self._name)
        # With a token without its "Bearer", and nothing as short as an ordinary word.
        secrets = [part for one in self._servers.secrets(self._name) for part in (one, one.removeprefix("Bearer "))]
        self._secrets = [one for one in secrets if len(one) >= _SHORTEST_SECRET]
        listed = await connection.list()
        self._connection, self._listed = connection, {one.name: one for one in listed}
        if fingerprint(self._listed) != self._servers.get(self._name).fingerprint:
            self._servers.note_listing(self._name, listed)  # for the owner to see, and for the next run
        return connection
