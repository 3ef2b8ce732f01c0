"""/mcp: knowledge bases as tools for agents of others, by the Model Context Protocol over streamable HTTP.

Each request stands for itself: no sessions, so that any process may answer, and a key holds for every call anew.
"""

import json
import logging
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from dizuo import __version__
from dizuo.api.auth import TheHouse, router
from dizuo.apps.offered import offered_tools
from dizuo.core.tools import Tool, ToolContext
from dizuo.gateway.allowed import may_ask
from dizuo.wiring import House

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

routes = router("", "mcp")


@routes.post("/mcp", include_in_schema=False)
async def speak_mcp(_request: Request, house: TheHouse) -> Response:
    """One message of the protocol. Keys with the scope `models` may; those for some models see and ask only the
    knowledge bases among these."""
    return _Spoken(await run_in_threadpool(_server, house))


class _Spoken(Response):
    """The official package's answer."""

    def __init__(self, server: "Server[Any]") -> None:
        super().__init__()
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        manager = StreamableHTTPSessionManager(self._server, json_response=True, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, receive, send)


def _server(house: House) -> "Server[Any]":
    """What a caller may see and call. Blocking: loads the package, which takes a second."""
    from mcp import types
    from mcp.server.lowlevel import Server

    logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells of every request that it begins and ends

    async def tools() -> dict[str, Tool]:
        found = await run_in_threadpool(
            offered_tools, house.library, house.answerer, may_ask, house.gateway.check_allowed
        )
        return {one.name: one for one in found}

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[listed(one) for one in (await tools()).values()])

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        known = (await tools()).get(params.name)
        if known is None:
            return result(f"There is no tool {params.name!r} for this key.", failed=True)
        found = await known.call(json.dumps(params.arguments or {}), ToolContext())
        return result(found.text, failed=found.failed)

    def listed(one: Tool) -> types.Tool:
        described = one.described()["function"]
        hints = types.ToolAnnotations(read_only_hint=one.effect == "read", open_world_hint=False)
        return types.Tool(
            name=one.name,
            description=described["description"],
            input_schema=described["parameters"],
            annotations=hints,
        )

    def result(text: str, *, failed: bool) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)

    return Server("dizuo", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)
