"""/api/approvals and /api/webhook, as a client sees them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.agents.receiver import Receiver
from tests.agents.scripts import ByTurn, call
from tests.api.conftest import Served, error_of, until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as one:
        yield one


@pytest.fixture
def asked(server: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A question that waits for the owner."""
    model = ByTurn([call("ask_user", question="Twice?")], "It is 42.")
    monkeypatch.setattr(server.house.equipment, "chat", lambda _name: model)
    run = client.post("/api/runs", json={"goal": "Work it out.", "model": "scripted/agent"}).json()
    until(lambda: listed(client, run=run["id"]) != [])
    [one] = listed(client, run=run["id"])
    return one


def listed(client: httpx.Client, **filters: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/approvals", params=filters)
    assert answer.status_code == 200, answer.text
    return answer.json()["approvals"]


def test_what_waits_and_what_was_answered_is_listed_across_runs(
    server: Served, client: httpx.Client, member: httpx.Client, asked: dict[str, Any]
) -> None:
    assert (asked["tool"], asked["state"], asked["goal"]) == ("ask_user", "waiting", "Work it out.")
    assert asked["expires_at"] > asked["asked_at"]
    assert asked["run_id"] not in {one["run_id"] for one in listed(member)}
    answer = {"call_id": asked["call_id"], "decision": "approve", "reason": "Yes."}
    assert client.post(f"/api/runs/{asked['run_id']}/answer", json=answer).status_code == 200
    assert asked["run_id"] not in {one["run_id"] for one in listed(client)}
    [told] = listed(client, state=["approved", "rejected"], run=asked["run_id"], tool="ask_user", days=1, limit=5)
    assert (told["answered_by"], told["reason"], told["new_arguments"]) == (server.owner.name, "Yes.", None)
    assert told["answered_at"] > told["asked_at"]
    assert listed(client, state="expired", run=asked["run_id"]) == []
    more = {"goal": "Again.", "model": "scripted/agent"}
    short = client.post("/api/runs", json={**more, "answer_hours": 1e-4}).json()
    until(lambda: [one["state"] for one in listed(client, run=short["id"], state="expired")] == ["expired"])
    error_of(client.post("/api/runs", json={**more, "answer_hours": -1}), 422)
    for wrong in ({"state": "maybe"}, {"days": 0}, {"user": "bob"}):
        error_of(client.get("/api/approvals", params=wrong), 422)


def test_the_owner_names_an_address_that_is_told(
    server: Served, client: httpx.Client, member: httpx.Client, receiver: Receiver, asked: dict[str, Any]
) -> None:
    assert client.get("/api/webhook").json() == {"webhook": None}
    made = client.put("/api/webhook", json={"url": receiver.url}).json()
    try:
        assert client.post("/api/webhook/test").json()["seconds"] < 5
        assert receiver.got[0].verified(made["secret"])
        until(lambda: asked["run_id"] in {one.said["data"].get("run_id") for one in receiver.got}, within_s=20)
        until(lambda: {"sent"} == {one["status"] for one in deliveries(client)})
        assert asked["run_id"] in {one["run_id"] for one in deliveries(client)}
        assert made["secret"] not in client.get("/api/webhook").text + client.get("/api/webhook/deliveries").text
        receiver.answers = [500]
        assert "500" in error_of(client.post("/api/webhook/test"), 400)["message"]
        for method, path, body in (
            ("GET", "", None),
            ("PUT", "", {"url": receiver.url}),
            ("DELETE", "", None),
            ("POST", "/test", None),
            ("GET", "/deliveries", None),
        ):
            error_of(member.request(method, f"/api/webhook{path}", json=body), 403)
        error_of(client.put("/api/webhook", json={"url": "http://example.com/x"}), 400)
        error_of(client.put("/api/webhook", json={"url": receiver.url, "secret": "guess"}), 400)
    finally:
        assert client.delete("/api/webhook").json()["url"] == receiver.url
    error_of(client.post("/api/webhook/test"), 404)
    with server.client(server.house.identity.create_key("some", server.owner, scopes=["read"])[1]) as reader:
        error_of(reader.put("/api/webhook", json={"url": receiver.url}), 403)


def deliveries(client: httpx.Client) -> list[dict[str, Any]]:
    return client.get("/api/webhook/deliveries").json()["deliveries"]
