"""A connection to an MCP server, made when first needed: which tools it has, and calls of them.

Whatever the server does (dies, hangs, floods, writes garbage) a call ends, as a failed result. The official SDK speaks
the protocol; what it does not bound is bounded here and in `mcp_stdio`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dizuo.agents.bounded_http import UNPACKED, bounded
from dizuo.agents.listed import ListedTool, ServerFailed, reason_of
from dizuo.agents.mcp_stdio import Said, program
from dizuo.core.tools import MOST_CHARACTERS, ToolContext, ToolResult

if TYPE_CHECKING:
    from mcp.client import Client

log = logging.getLogger(__name__)

MOST_TOOLS = 200
_MOST_LISTING_BYTES = 1 << 20
_MOST_PAGES = 50
_LEAVE_S = 6.0  # for a connection to close


@dataclass(frozen=True)
class Waits:
    """How long a server may take, in seconds."""

    connect_s: float = 60  # the first start of a program may fetch it
    call_s: float = 120


Transport = Callable[[], AbstractAsyncContextManager[Any]]


class Connection:
    """One server. Begins at the first call, and anew after it has broken; belongs to one event loop."""

    def __init__(self, transport: Transport, waits: Waits = Waits()) -> None:
        self._transport = transport
        self._waits = waits
        self._holder: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None
        self._leave = asyncio.Event()

    async def list(self) -> Sequence[ListedTool]:
        """The tools that the server has. Raises ServerFailed."""
        from mcp.types import PaginatedRequestParams

        found: list[ListedTool] = []
        cursor: str | None = None
        try:
            session = (await self._connected()).session
            async with asyncio.timeout(self._waits.call_s):
                for _ in range(_MOST_PAGES):
                    page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
                    found += [_listed(one) for one in page.tools]
                    cursor = page.next_cursor
                    if cursor is None or len(found) > MOST_TOOLS:
                        break
        except ServerFailed:
            raise
        except Exception as error:
            await self.aclose()
            raise ServerFailed("It does not list its tools: {reason}", reason=reason_of(error)) from error
        if len(found) > MOST_TOOLS or sum(len(one.model_dump_json()) for one in found) > _MOST_LISTING_BYTES:
            raise ServerFailed("It lists more tools than {most}, or descriptions too long to be read.", most=MOST_TOOLS)
        return found

    async def call(self, name: str, arguments: Mapping[str, Any], _context: ToolContext = ToolContext()) -> ToolResult:
        """What came of a call: never trusted, since all of it are words of the server."""
        from mcp.shared.exceptions import MCPError
        from mcp.types import CONNECTION_CLOSED, CallToolRequest, CallToolRequestParams, CallToolResult

        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=dict(arguments)))
        try:
            client = await self._connected()
            async with asyncio.timeout(self._waits.call_s):
                # Not `client.call_tool`: it checks the result against the server's schema, with the expressions in it.
                found = await client.session.send_request(request, CallToolResult)
        except ServerFailed as error:
            return ToolResult(text=str(error), failed=True, trusted=False)
        except TimeoutError:
            text = f"The server has not answered within {self._waits.call_s:g} seconds. It may still do what was asked."
            return ToolResult(text=text, failed=True, trusted=False)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                await self.aclose()
            return ToolResult(text=f"The server refused: {reason_of(error)}", failed=True, trusted=False)
        except Exception as error:
            await self.aclose()
            return ToolResult(text=f"The server failed: {reason_of(error)}", failed=True, trusted=False)
        return ToolResult(text=_text(found), failed=found.is_error, trusted=False)

    async def aclose(self) -> None:
        """Ends the connection, and the program behind it. Another call begins anew."""
        holder, self._holder, self._client = self._holder, None, None
        if holder is None:
            return
        self._leave.set()
        await asyncio.wait({holder}, timeout=_LEAVE_S)
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)

    async def _connected(self) -> "Client":
        if self._holder is None or self._holder.done():
            self._leave = asyncio.Event()
            self._client = asyncio.get_running_loop().create_future()
            # In a task of its own: what the SDK opens must be closed by the task that opened it.
            self._holder = asyncio.create_task(self._hold(self._client, self._leave))
        assert self._client is not None
        return await asyncio.shield(self._client)

    async def _hold(self, ready: "asyncio.Future[Client]", leave: asyncio.Event) -> None:
        from mcp.client import Client

        try:
            async with asyncio.timeout(self._waits.connect_s) as clock:
                # No callbacks: the server may not ask our model or our user anything.
                client = Client(self._transport(), read_timeout_seconds=self._waits.call_s, cache=None)
                async with client:
                    clock.reschedule(None)
                    ready.set_result(client)
                    await leave.wait()
        except Exception as error:
            if ready.done():
                log.debug("an MCP connection ended badly", exc_info=True)
                return
            ready.set_exception(ServerFailed("It cannot be reached: {reason}", reason=reason_of(error)))
            ready.exception()  # seen, also where nobody waits any more
        finally:
            ready.cancel()


# --- transports -----------------------------------------------------------------------------------------------


def by_program(command: Sequence[str], environment: Mapping[str, str], said: Said | None = None) -> Transport:
    """To a program on this machine, started with that command."""
    return lambda: program(command, environment, said or Said())


def by_http(url: str, headers: Mapping[str, str], proxy: str | None = None, waits: Waits = Waits()) -> Transport:
    """To a server over streamable HTTP. Redirects are followed within its origin only."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Any, None]:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        client = httpx2.AsyncClient(
            headers={**headers, **UNPACKED},
            timeout=httpx2.Timeout(waits.connect_s, read=waits.call_s),
            transport=bounded(httpx2, proxy),
            trust_env=False,
        )
        async with client, streamable_http_client(url, http_client=client) as streams:
            yield streams

    return opened


# --- reading --------------------------------------------------------------------------------------------------


def _listed(tool: Any) -> ListedTool:
    hints = tool.annotations
    return ListedTool(
        name=tool.name,
        description=tool.description or "",
        parameters=tool.input_schema,
        reads=bool(hints and hints.read_only_hint),
    )


def _text(found: Any) -> str:
    """What a model can read of a result; the rest is named."""
    parts: list[str] = []
    room = MOST_CHARACTERS + 1  # `core.tools` cuts, and says so
    for part in found.content:
        match part.type:
            case "text":
                parts.append(part.text[:room])
            case "resource" if getattr(part.resource, "text", None) is not None:
                parts.append(f"[{part.resource.uri}]\n{part.resource.text}"[:room])
            case "resource_link":
                parts.append(f"[link: {part.name} {part.uri}]"[:room])
            case kind:
                parts.append(f"[{kind}: not shown]")
    if not parts and found.structured_content is not None:
        parts.append(json.dumps(found.structured_content, ensure_ascii=False)[:room])
    return "\n".join(parts)
