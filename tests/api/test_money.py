"""/api/usage, /api/limits, /api/prices, and keys that may do less: over a real server."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.conftest import MODEL, Served, error_of, until

_ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def paid(server: Served) -> Iterator[Served]:
    """The server with a model behind the gateway, 1 USD for a thousand tokens written."""
    from dizuo.gateway.scripted import ScriptedModel

    before = server.house.chat_model
    server.house.prices.set("scripted/*", 0, 1_000)
    server.house.chat_model = server.house.gateway.wrapped(ScriptedModel(MODEL, ["one two three"] * 20))
    yield server
    server.house.chat_model = before
    for standing in server.house.limits.list():
        limit = standing.limit
        server.house.limits.remove(limit.subject, limit.subject_id)


@pytest.fixture
def key_of(server: Served) -> Iterator[Callable[..., httpx.Client]]:
    """Clients with keys of the owner that may do less."""
    clients: list[httpx.Client] = []

    def make(**what: Any) -> httpx.Client:
        clients.append(server.client(server.house.identity.create_key("less", **what)[1]))
        return clients[-1]

    yield make
    for one in clients:
        one.close()


def test_usage_is_ones_own_for_members_and_everyones_for_the_owner(
    paid: Served, client: httpx.Client, member: httpx.Client
) -> None:
    assert client.post("/v1/chat/completions", json=_ASK).status_code == 200
    assert member.post("/v1/chat/completions", json=_ASK).status_code == 200
    mine = member.get("/api/usage", params={"by": "user"}).json()
    assert [row["name"] for row in mine["rows"]] == ["member"]
    assert mine["total"]["costs"]["USD"] > 0
    everyones = client.get("/api/usage", params={"by": "user", "days": 1}).json()
    assert {"owner", "member"} <= {row["name"] for row in everyones["rows"]}
    table = client.get("/api/usage.csv", params={"by": "key"})
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig"), newline="")))
    assert {"tests"} <= {row["key"] for row in rows}
    error_of(client.get("/api/usage", params={"by": "colour"}), 422)


def test_a_limit_is_set_by_the_owner_and_stops_with_429_and_when_to_come_again(
    paid: Served, client: httpx.Client, member: httpx.Client
) -> None:
    key, secret = paid.house.identity.create_key("paced", paid.member)  # what a user did before a limit counts as well
    address = f"/api/limits/key/{key.id}"
    error_of(member.put(address, json={"requests_per_minute": 1}), 403)
    set_ = client.put(address, json={"requests_per_minute": 1, "budget": 1})
    assert (set_.status_code, set_.json()["requests_per_minute"]) == (200, 1)
    with paid.client(secret) as paced:
        answer = paced.post("/v1/chat/completions", json=_ASK)
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        refused = paced.post("/v1/chat/completions", json=_ASK)
    assert error_of(refused, 429)["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert member.post("/v1/chat/completions", json=_ASK).status_code == 200
    [standing] = member.get("/api/limits").json()["limits"]
    assert (standing["name"], standing["spent"] > 0) == ("paced", True)
    assert client.delete(address).status_code == 200
    error_of(client.delete(address), 404)


def test_a_spent_budget_warns_then_stops_a_stream_before_it_begins(paid: Served, member: httpx.Client) -> None:
    paid.house.limits.set("all", budget=1e6)
    before = paid.house.limits.list()[0].spent  # by other tests
    assert "x-dizuo-budget-warning" not in member.post("/v1/chat/completions", json=_ASK).headers
    until(lambda: paid.house.limits.list()[0].spent > before)
    spent = paid.house.limits.list()[0].spent
    paid.house.limits.set("all", budget=spent + (spent - before) / 10)
    warned = member.post("/v1/chat/completions", json=_ASK)
    assert "% of" in warned.headers["x-dizuo-budget-warning"]
    until(lambda: paid.house.limits.list()[0].share >= 1)
    refused = member.post("/v1/chat/completions", json={**_ASK, "stream": True})
    assert error_of(refused, 429)["code"] == "budget_spent"


def test_prices_are_anyones_to_see_and_the_owners_to_set(client: httpx.Client, member: httpx.Client) -> None:
    error_of(member.put("/api/prices/acme/x", json={"input": 1, "output": 2}), 403)
    price = {"input": 1, "output": 2, "currency": "CNY", "source": "acme.example"}
    assert client.put("/api/prices/acme/*", json=price).json()["model"] == "acme/*"
    assert member.get("/api/prices").json()["prices"][0]["source"] == "acme.example"
    assert client.delete("/api/prices/acme/*").status_code == 200
    error_of(client.delete("/api/prices/acme/*"), 404)
    error_of(client.put("/api/prices/acme/x", json={"input": -1, "output": 2}), 422)


def test_a_key_for_models_reaches_v1_only(paid: Served, key_of: Callable[..., httpx.Client]) -> None:
    client = key_of(scopes=["models"])
    assert client.post("/v1/chat/completions", json=_ASK).status_code == 200
    assert "models only" in error_of(client.get("/api/knowledge"), 403)["message"]
    error_of(client.post("/api/keys", json={}), 403)


def test_a_key_for_reading_changes_and_asks_nothing(paid: Served, key_of: Callable[..., httpx.Client]) -> None:
    client = key_of(scopes=["read"])
    assert client.get("/api/knowledge").status_code == 200
    assert client.get("/v1/models").status_code == 200
    error_of(client.post("/v1/chat/completions", json=_ASK), 403)
    error_of(client.delete("/api/keys/1"), 403)


def test_a_key_asks_its_models_only_and_makes_itself_no_better_one(
    paid: Served, key_of: Callable[..., httpx.Client], client: httpx.Client
) -> None:
    bound = key_of(models=["scripted/*"])
    assert bound.post("/v1/chat/completions", json=_ASK).status_code == 200
    refused = bound.post("/v1/chat/completions", json={**_ASK, "model": "knowledge/handbook"})
    assert "scripted/*" in error_of(refused, 403)["message"]
    error_of(bound.post("/v1/embeddings", json={"model": "local/minilm", "input": "x"}), 403)
    assert "makes no keys" in error_of(bound.post("/api/keys", json={}), 403)["message"]
    error_of(bound.post("/api/keys/1/rotate", json={}), 403)
    assert client.get("/api/usage").json()["total"]["refused"] >= 1


def test_a_key_is_made_with_an_end_and_rotated(client: httpx.Client, member: httpx.Client, server: Served) -> None:
    end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = client.post("/api/keys", json={"name": "ci", "scopes": ["read"], "expires_at": end}).json()
    error_of(member.post(f"/api/keys/{made['id']}/rotate", json={}), 404)
    rotated = client.post(f"/api/keys/{made['id']}/rotate", json={"grace_s": 60}).json()
    assert rotated["scopes"] == ["read"]
    for secret in (made["key"], rotated["key"]):
        with server.client(secret) as one:
            assert one.get("/api/usage").status_code == 200
    error_of(client.post("/api/keys", json={"expires_at": "2020-01-01T00:00:00Z"}), 400)


def test_a_key_that_may_do_less_hands_out_no_way_in(key_of: Callable[..., httpx.Client]) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    for less in (key_of(expires_at=soon), key_of(models=["scripted/*"]), key_of(scopes=["read"])):
        error_of(less.post("/api/users/owner/link"), 403)
        error_of(less.post("/api/users", json={"name": "friend"}), 403)
        error_of(less.get("/api/backup"), 403)
    error_of(key_of(models=["scripted/*"]).delete("/api/limits/all"), 403)
    error_of(key_of(models=["scripted/*"]).post("/api/trials", json={"model": "local/minilm"}), 403)


def test_a_key_sees_the_models_that_it_may_ask_and_no_others(key_of: Callable[..., httpx.Client]) -> None:
    bound = key_of(models=["local/minilm", "knowledge/hand*"])
    assert {one["id"] for one in bound.get("/v1/models").json()["data"]} == {"local/minilm", "knowledge/handbook"}
    assert bound.get("/v1/models/local/minilm").status_code == 200
    message = error_of(bound.get("/v1/models/local/starter"), 404)["message"]
    assert message.endswith("There are: local/minilm, knowledge/handbook.")


def test_a_key_for_some_models_asks_a_knowledge_base_only_by_its_name(
    paid: Served, key_of: Callable[..., httpx.Client]
) -> None:
    asked = {"question": "How many days of leave?"}
    error_of(key_of(models=["scripted/*"]).post("/api/knowledge/handbook/ask", json=asked), 403)
    assert key_of(models=["knowledge/*"]).post("/api/knowledge/handbook/ask", json=asked).status_code == 200
    thread = paid.house.threads.create(paid.owner.id, "handbook", "leave")
    error_of(key_of(models=["scripted/*"]).post(f"/api/threads/{thread.id}/again"), 403)


def test_what_a_knowledge_base_may_take_holds_through_every_door(
    paid: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dizuo.knowledge.answer import Answerer

    house = paid.house
    monkeypatch.setattr(house, "answerer", Answerer(house.library, house.chat_model, house.embedder))
    address, app = "/api/limits/app/knowledge/handbook", "knowledge/handbook"
    assert client.put(address, json={"budget": 0}).json()["subject_id"] == app
    body = {"model": app, "messages": [{"role": "user", "content": "How many days of leave are there?"}]}
    assert error_of(client.post("/v1/chat/completions", json=body), 429)["code"] == "budget_spent"
    asked = {"question": "How many days of leave are there?"}
    assert error_of(client.post("/api/knowledge/handbook/ask", json=asked), 429)["code"] == "budget_spent"
    assert client.post("/v1/chat/completions", json=_ASK).status_code == 200
    assert client.delete(address).status_code == 200
    assert client.post("/api/knowledge/handbook/ask", json=asked).status_code == 200
    assert app in {row["name"] for row in client.get("/api/usage", params={"by": "app"}).json()["rows"]}
