"""/api/runs/tools: what a run may be given, as its starter sees it."""

import httpx

from dizuo.agents.listed import ListedTool
from tests.api.conftest import Served


def test_a_member_sees_what_is_offered_and_what_every_run_has(server: Served, member: httpx.Client) -> None:
    servers = server.house.tool_servers
    servers.add("notes", url="http://127.0.0.1:9/mcp", headers={"X-Key": "note-secret-0123456789"})
    try:
        servers.note_listing("notes", [ListedTool(name="keep", description="Keep.", parameters={"type": "object"})])
        assert "notes__keep" not in member.get("/api/runs/tools").text, "nobody has approved it"
        servers.approve("notes")
        listed = member.get("/api/runs/tools")
    finally:
        servers.remove("notes")
    tools = {one["name"]: one for one in listed.json()["tools"]}
    assert (tools["notes__keep"]["given"], tools["notes__keep"]["asks"]) == (False, True)
    assert not tools["notes__keep"]["trusted"]
    assert (tools["fetch_page"]["given"], tools["fetch_page"]["asks"]) == (False, True)
    assert tools["calculate"]["given"]
    assert tools["recall"]["given"]
    assert "expression" in tools["calculate"]["parameters"]["properties"]
    assert "127.0.0.1:9" not in listed.text
    assert "note-secret" not in listed.text
