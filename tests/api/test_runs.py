"""/api/runs, as a client sees it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.agents.scripts import ByTurn, call
from tests.api.conftest import Served, events_of


@pytest.fixture
def agent(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of a server whose agents add, ask, and answer."""
    model = ByTurn([call("calculate", expression="20 + 1")], [call("ask_user", question="Twice?")], "It is 42.")
    monkeypatch.setattr(server.house.equipment, "chat", lambda _name: model)
    server.house.jobs.start()
    with server.client() as client:
        yield client


def started(client: httpx.Client, **more: Any) -> dict[str, Any]:
    made = client.post("/api/runs", json={"goal": "Work it out.", "model": "scripted/agent", **more})
    assert made.status_code == 201, made.text
    return made.json()


def test_a_goal_is_worked_on_and_its_steps_come_as_events(agent: httpx.Client) -> None:
    run = started(agent)
    events = events_of(agent, "GET", f"/api/runs/{run['id']}/events")
    assert [data["kind"] for name, data in events if name == "step"] == ["started", "model", "tool", "model", "asked"]
    assert events[-1][0] == "run"
    assert events[-1][1]["status"] == "waiting"

    given = [("files", ("notes.txt", b"a note"))]
    assert agent.post(f"/api/runs/{run['id']}/files", files=given).status_code == 202
    [asked] = agent.get(f"/api/runs/{run['id']}").json()["waiting"]
    answer = {"call_id": asked["call_id"], "decision": "approve", "reason": "Yes."}
    assert agent.post(f"/api/runs/{run['id']}/answer", json=answer).json()["status"] == "active"
    events = events_of(agent, "GET", f"/api/runs/{run['id']}/events?after=6")
    assert [data["kind"] for name, data in events if name == "step"] == ["answered", "tool", "model", "ended"]
    assert events[-1][1]["reason"] == "done"
    assert agent.post(f"/api/runs/{run['id']}/answer", json=answer).status_code == 409

    fork = agent.post(f"/api/runs/{run['id']}/fork", json={"step": 3, "text": "Again."}).json()
    assert fork["forked_from"] == run["id"]
    assert agent.get(f"/api/runs/{fork['id']}/files/notes.txt").text == "a note"
    listed = [one["id"] for one in agent.get("/api/runs").json()["runs"]]
    assert listed[:2] == [fork["id"], run["id"]]
    assert agent.post(f"/api/runs/{fork['id']}/cancel").json()["status"] == "ended"


@pytest.mark.parametrize(
    "wrong",
    [
        {"goal": ""},
        {"budget": {"steps": 0}},
        {"budget": {"stepz": 1}},
        {"policy": {"rules": [{"tool": "x"}]}},
        {"gaol": "x"},
    ],
)
def test_a_wrong_start_is_refused(agent: httpx.Client, wrong: dict[str, Any]) -> None:
    refused = agent.post("/api/runs", json={"goal": "Do it.", "model": "scripted/agent", **wrong})
    assert refused.status_code == 422


def test_another_users_run_is_not_found(server: Served, agent: httpx.Client) -> None:
    run = started(agent)
    with server.client(server.member_key) as member:
        assert run["id"] not in {one["id"] for one in member.get("/api/runs").json()["runs"]}
        for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/pause"), ("GET", "/events")):
            assert member.request(method, f"/api/runs/{run['id']}{path}").status_code == 404


def test_the_plan_can_be_changed_and_the_run_be_told_something(agent: httpx.Client) -> None:
    run = started(agent)
    events_of(agent, "GET", f"/api/runs/{run['id']}/events")
    plan = {"items": [{"text": "Rest", "check": "Rested"}]}
    assert agent.put(f"/api/runs/{run['id']}/plan", json=plan).status_code == 200
    assert agent.post(f"/api/runs/{run['id']}/steer", json={"text": "Hurry."}).status_code == 200
    kinds = [step["kind"] for step in agent.get(f"/api/runs/{run['id']}").json()["steps"]]
    assert kinds[-2:] == ["plan", "steered"]
    assert agent.post(f"/api/runs/{run['id']}/pause").json()["status"] == "paused"
