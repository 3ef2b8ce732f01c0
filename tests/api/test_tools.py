"""/api/tools: the owner's servers of tools, their secrets inside, their tools approved as they were seen."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.agents import a2a_agent
from tests.agents.scripts import ByTurn
from tests.api.conftest import Served, error_of

SECRET = "note-secret-0123456789"
COMMAND = [sys.executable, str(Path(__file__).parents[1] / "agents/mcp_server.py")]


@pytest.fixture
def notes(client: httpx.Client) -> Iterator[httpx.Client]:
    """A client of a server that has heard of the notes."""
    new = {"name": "notes", "command": COMMAND, "environment": {"NOTES_KEY": SECRET}}
    added = client.post("/api/tools", json=new)
    assert added.status_code == 201, added.text
    yield client
    assert client.delete("/api/tools/notes").status_code == 200


def test_tools_are_seen_approved_and_given_to_a_run(
    notes: httpx.Client, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.house.equipment, "chat", lambda _name: ByTurn("Done."))
    goal = {"goal": "Look.", "model": "scripted/agent", "tools": ["notes__look"]}
    error_of(notes.post("/api/runs", json=goal), 404)
    seen = notes.post("/api/tools/notes/check").json()
    assert {tool["state"] for tool in seen["tools"]} == {"new"}
    error_of(notes.post("/api/tools/notes/approve", json={"fingerprint": "another"}), 409)
    approved = notes.post("/api/tools/notes/approve", json={"fingerprint": seen["fingerprint"]}).json()
    assert {tool["state"] for tool in approved["tools"]} == {"approved"}
    assert notes.post("/api/runs", json=goal).status_code == 201
    listed = notes.get("/api/tools")
    assert [one["name"] for one in listed.json()["servers"]] == ["notes"]
    assert listed.json()["servers"][0]["secrets"] == ["NOTES_KEY"]
    assert SECRET not in listed.text + notes.get("/api/tools/notes").text


def test_an_agent_is_added_by_its_address_and_seen(client: httpx.Client) -> None:
    with a2a_agent.serving() as agent:
        new = {"name": "weather", "a2a": agent.url, "headers": {"Authorization": f"Bearer {SECRET}"}}
        added = client.post("/api/tools", json=new)
        assert added.status_code == 201, added.text
        seen = client.post("/api/tools/weather/check").json()
        assert (seen["kind"], [tool["name"] for tool in seen["tools"]]) == ("a2a", ["weather__ask"])
        approved = client.post("/api/tools/weather/approve", json={"fingerprint": seen["fingerprint"]})
        assert [tool["state"] for tool in approved.json()["tools"]] == ["approved"]
        assert SECRET not in added.text + approved.text
        assert client.delete("/api/tools/weather").status_code == 200


def test_only_the_owner_sees_and_changes_them(notes: httpx.Client, member: httpx.Client) -> None:
    for method, path in (
        ("GET", "/api/tools"),
        ("GET", "/api/tools/notes"),
        ("POST", "/api/tools/notes/check"),
        ("DELETE", "/api/tools/notes"),
    ):
        error_of(member.request(method, path), 403)
    error_of(member.post("/api/tools", json={"name": "mine", "command": ["true"]}), 403)
    error_of(member.post("/api/tools/notes/approve", json={"fingerprint": ""}), 403)


def test_a_key_that_may_do_less_than_its_user_starts_no_program(notes: httpx.Client, server: Served) -> None:
    _key, secret = server.house.identity.create_key(
        "weekly", server.owner, expires_at=datetime.now(UTC) + timedelta(days=7)
    )
    with server.client(secret) as passing:
        error_of(passing.post("/api/tools", json={"name": "mine", "command": ["true"]}), 403)
        error_of(passing.post("/api/tools/notes/check"), 403)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a"},
        {"name": "a", "command": ["x"], "url": "https://example.com"},
        {"name": "a", "url": "http://example.com"},
        {"name": "a", "a2a": "http://example.com"},
        {"name": "a", "a2a": "https://example.com", "url": "https://example.com"},
        {"name": "A", "command": ["x"]},
        {"name": "a", "commandd": ["x"]},
    ],
)
def test_what_cannot_be_a_server_is_refused(client: httpx.Client, wrong: dict[str, object]) -> None:
    assert client.post("/api/tools", json=wrong).status_code in (400, 422)
    assert client.get("/api/tools").json()["servers"] == []
