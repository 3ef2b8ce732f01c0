"""/api/cache, and what a kept answer looks like from outside."""

from collections.abc import Iterator

import httpx
import pytest

from dizuo.gateway.breaker import Health
from dizuo.gateway.routed import Candidate, RoutedModel
from dizuo.gateway.scripted import ScriptedModel
from tests.api.conftest import MODEL, Served, error_of, events_of

QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "What is the capital of France?"}]}


@pytest.fixture
def keeping(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    """A model whose answers are kept."""
    monkeypatch.setattr(server.house.cache, "policy", "exact")
    inner = ScriptedModel(MODEL, [f"Answer {n}, which is long enough to come in pieces." for n in range(9)])
    route = RoutedModel(MODEL, [Candidate(inner, remote=False)], Health())
    server.house.chat_model = server.house.gateway.wrapped(route)
    yield inner
    server.house.cache.clear()


def asked(client: httpx.Client) -> tuple[str, str]:
    """What was said, and whether it was kept."""
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"], answer.headers["x-dizuo-cache"]


def test_a_kept_answer_streams_and_says_that_it_was_kept(client: httpx.Client, keeping: ScriptedModel) -> None:
    said, how = asked(client)
    assert (how, asked(client)) == ("miss", (said, "hit"))
    with client.stream("POST", "/v1/chat/completions", json=QUESTION | {"stream": True}) as answer:
        assert answer.headers["x-dizuo-cache-kind"] == "exact"
        assert answer.headers["x-dizuo-cache-score"] == "1.0000"
        assert int(answer.headers["x-dizuo-cache-age"]) < 60
    *chunks, (_name, done) = events_of(client, "POST", "/v1/chat/completions", json=QUESTION | {"stream": True})
    pieces = [chunk["choices"][0]["delta"].get("content") or "" for _event, chunk in chunks]
    assert (done, "".join(pieces)) == ("[DONE]", said)
    assert sum(map(bool, pieces)) > 1


def test_a_key_that_is_kept_out_stays_out_whatever_a_request_says(
    server: Served, client: httpx.Client, keeping: ScriptedModel
) -> None:
    made = client.post("/api/keys", json={"name": "fresh", "uncached": True})
    assert made.json()["uncached"] is True
    first, _how = asked(client)
    with server.client(made.json()["key"], **{"X-Dizuo-Cache": "use"}) as fresh:
        answers = [asked(fresh) for _ in range(2)]
    assert first not in (answers[0][0], answers[1][0])
    assert answers[0][0] != answers[1][0]
    assert [how for _said, how in answers] == ["miss", "miss"]
    assert server.house.cache.use().entries == 1


def test_a_kept_answer_is_its_askers_own(client: httpx.Client, member: httpx.Client, keeping: ScriptedModel) -> None:
    assert asked(client)[0] != asked(member)[0]
    assert asked(member)[1] == "hit"


def test_the_owner_sees_what_is_kept_and_deletes_it(
    client: httpx.Client, member: httpx.Client, keeping: ScriptedModel
) -> None:
    asked(client)
    (entry,) = client.get("/api/cache/entries").json()["entries"]
    assert (entry["question"], entry["model"], entry["language"]) == (
        QUESTION["messages"][0]["content"], MODEL, "en"
    )  # fmt: skip
    error_of(member.get("/api/cache/entries"), 403)
    error_of(member.delete("/api/cache"), 403)
    assert client.delete(f"/api/cache/entries/{entry['id']}").json() == {"cleared": 1}
    error_of(client.delete(f"/api/cache/entries/{entry['id']}"), 404)
    asked(client)
    assert client.delete("/api/cache", params={"model": "other/model"}).json() == {"cleared": 0}
    assert client.delete("/api/cache").json() == {"cleared": 1}


def test_the_report_says_how_far_each_language_can_be_trusted(member: httpx.Client) -> None:
    report = member.get("/api/cache").json()
    for one in report["languages"]:
        assert one["within_budget"] == (one["false_hit_bound"] <= report["budget"])
    assert {one["kind"] for one in report["measured"]} >= {"all", "same", "direction", "negation"}
    assert report["here"]["policy"] == "off"
