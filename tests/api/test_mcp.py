"""/mcp, asked by the official client of the Model Context Protocol."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from tests.api.conftest import Served, error_of


def spoken(server: Served, key: str, speak: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    """What comes of a conversation with that key."""

    async def talk() -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await speak(client)

    return asyncio.run(talk())


def listed(server: Served, key: str, mode: str = "auto") -> list[Any]:
    async def look(client: Client) -> Any:
        return (await client.list_tools()).tools

    return spoken(server, key, look, mode)


def called(server: Served, key: str, name: str, **arguments: Any) -> tuple[bool, str]:
    """Whether a call succeeded, and its text."""

    async def call(client: Client) -> CallToolResult:
        return await client.call_tool(name, arguments)

    result = spoken(server, key, call)
    [part] = result.content
    assert isinstance(part, TextContent)
    return not result.is_error, part.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])  # the protocol of 2026, and that of before
def test_knowledge_bases_are_tools(server: Served, mode: str) -> None:
    tools = listed(server, server.key, mode)
    assert [one.name for one in tools] == ["search_knowledge", "ask_knowledge"]
    assert all(one.annotations.read_only_hint for one in tools)
    assert "handbook" in tools[0].input_schema["properties"]["knowledge"]["enum"]
    assert tools[0].input_schema["required"] == ["knowledge", "query"]


def test_a_knowledge_base_is_searched_and_asked(server: Served) -> None:
    worked, passages = called(server, server.key, "search_knowledge", knowledge="handbook", query="trains", limit=1)
    assert worked
    assert passages.startswith("[1] handbook.md\n")
    assert "second class" in passages
    question = "How many days of paid leave are there?"
    worked, answer = called(server, server.key, "ask_knowledge", knowledge="handbook", question=question)
    assert worked
    assert "thirty days" in answer
    assert "[1] handbook.md: " in answer
    _worked, chinese = called(server, server.key, "ask_knowledge", knowledge="handbook", question="年假有多少天？")
    assert "三十天" in chinese


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("search_knowledge", {"knowledge": "nowhere", "query": "x"}, "nowhere"),
        ("search_knowledge", {"knowledge": "handbook"}, "query: Field required"),
        ("search_knowledge", {"knowledge": "handbook", "query": "x", "limit": 1000}, "less than or equal to 20"),
        ("ask_knowledge", {"knowledge": "handbook", "question": ""}, "at least 1 character"),
        ("delete_knowledge", {"knowledge": "handbook"}, "There is no tool"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(server: Served, name: str, arguments: dict[str, Any], says: str) -> None:
    worked, text = called(server, server.key, name, **arguments)
    assert not worked
    assert says in text


def test_a_key_for_some_knowledge_bases_sees_and_asks_no_others(server: Served, client: httpx.Client) -> None:
    def key(*models: str) -> str:
        return server.house.identity.create_key("mcp", server.owner, scopes=["models"], models=models)[1]

    assert client.post("/api/knowledge", json={"name": "secrets"}).status_code == 201
    try:
        handbook = key("knowledge/handbook")
        [search, _ask] = listed(server, handbook)
        assert search.input_schema["properties"]["knowledge"]["enum"] == ["handbook"]
        for tool, words in (("search_knowledge", {"query": "x"}), ("ask_knowledge", {"question": "x"})):
            worked, text = called(server, handbook, tool, knowledge="secrets", **words)
            assert not worked
            assert "may not ask" in text
        assert listed(server, key("local/*")) == []
    finally:
        client.delete("/api/knowledge/secrets")


def test_strangers_and_keys_for_looking_only_are_refused(server: Served) -> None:
    reading = server.house.identity.create_key("mcp", server.owner, scopes=["read"])[1]
    for key, status in (("", 401), ("dz-wrong", 401), (reading, 403)):
        with server.client(key) as client:
            error_of(client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}), status)


def test_what_is_no_message_and_other_methods_are_refused(client: httpx.Client) -> None:
    accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    assert client.post("/mcp", content=b"{", headers=accept).status_code == 400
    for method in ("GET", "DELETE"):
        refused = client.request(method, "/mcp", headers=accept)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_other_names_of_this_server_and_pages_of_others_are_refused(server: Served, client: httpx.Client) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    error_of(client.post("/mcp", json=message, headers={"Host": "evil.example"}), 400)
    with server.client("", Origin="http://evil.example") as page:
        error_of(page.post("/mcp", json=message), 403)


def test_calls_leave_a_trace(server: Served, client: httpx.Client) -> None:
    called(server, server.key, "search_knowledge", knowledge="handbook", query="trains")
    assert "POST /mcp" in [one["name"] for one in client.get("/api/traces").json()["traces"]]
