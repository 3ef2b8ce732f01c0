"""/api/traces: a request leaves what happened to it, for those who may see it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from dizuo.core.errors import ModelDown
from dizuo.core.events import Event, TextDelta
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel
from dizuo.core.traces import Trace
from dizuo.gateway.breaker import Health
from dizuo.gateway.routed import Candidate, RoutedModel
from dizuo.gateway.scripted import ScriptedModel
from tests.api.conftest import MODEL, Served, error_of, until

QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "What is the capital of France?"}]}


def answering(server: Served, *inside: ChatModel) -> None:
    """Puts a model, with others to fall back on, behind the name that tests ask, wrapped as every model is."""
    first, *others = (Candidate(model, remote=False) for model in inside)
    route = RoutedModel(MODEL, [first], Health(), fallbacks=others)
    server.house.chat_model = server.house.gateway.wrapped(route)


def trace_of(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    path = f"/api/traces/{answer.headers['x-dizuo-trace']}"
    until(lambda: client.get(path).status_code == 200)  # it ends a moment after the answer
    return client.get(path).json()


def tree(trace: dict[str, Any]) -> list[tuple[str, str]]:
    """Every span with the one that it lies within."""
    spans = trace["spans"]
    return [(one["name"], "" if one["parent"] is None else spans[one["parent"]]["name"]) for one in spans]


def test_a_request_leaves_a_trace_from_the_face_to_the_model(server: Served, client: httpx.Client) -> None:
    answering(server, ScriptedModel("other/down", [ModelDown("Gone.")]), ScriptedModel("scripted/up", ["Paris."] * 2))
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200, answer.text
    trace = trace_of(client, answer)
    request = "POST /v1/chat/completions"
    assert tree(trace)[0] == (request, "")
    assert ("chat", request) in tree(trace)
    assert ("attempt", "route") in tree(trace)
    chat = next(one for one in trace["spans"] if one["name"] == "chat")
    assert chat["attributes"]["gen_ai.operation.name"] == "chat"
    assert chat["attributes"]["gen_ai.response.model"] == "scripted/up"
    assert chat["attributes"]["gen_ai.usage.output_tokens"] == trace["completion_tokens"] > 0
    assert (trace["name"], trace["model"], trace["status"], trace["user"]) == (request, "scripted/up", "ok", "owner")
    assert [one["error"] for one in trace["spans"] if one["name"] == "attempt"] == ["model_down", ""]
    root = trace["spans"][0]["attributes"]
    assert (root["http.response.status_code"], root["http.route"]) == (200, "/v1/chat/completions")
    assert root["dizuo.request_id"] == answer.headers["x-request-id"]


def test_texts_are_kept_only_when_the_setting_says_so_and_nobody_objects(
    server: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(server, ScriptedModel("scripted/up", ["It is Paris."] * 3))
    assert "France" not in str(trace_of(client, client.post("/v1/chat/completions", json=QUESTION)))
    monkeypatch.setattr(server.house.traces, "_texts", True)
    kept = str(trace_of(client, client.post("/v1/chat/completions", json=QUESTION)))
    assert "What is the capital of France?" in kept
    assert "It is Paris." in kept
    private = client.post("/v1/chat/completions", json=QUESTION, headers={"X-Dizuo-Private": "true"})
    assert private.status_code == 200
    assert "France" not in str(trace_of(client, private))


class Endless:
    """A model that goes on until it is stopped."""

    name = "scripted/endless"

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        while True:
            yield TextDelta(text="on and ")
            await asyncio.sleep(0.01)


def test_a_stream_that_its_client_leaves_is_kept_as_cancelled(server: Served, client: httpx.Client) -> None:
    answering(server, Endless())
    with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer:
        next(answer.iter_text())
    with server.client() as other:
        trace = trace_of(other, answer)
    assert trace["status"] == "cancelled"
    assert {"chat": "cancelled"}.items() <= {one["name"]: one["error"] for one in trace["spans"]}.items()


def test_a_stream_is_traced_to_its_end(server: Served, client: httpx.Client) -> None:
    answering(server, ScriptedModel("scripted/up", ["slowly slowly slowly"], delay_s=0.05))
    answer = client.post("/v1/chat/completions", json={**QUESTION, "stream": True})
    trace = trace_of(client, answer)
    assert trace["status"] == "ok"
    assert trace["total_s"] > 0.1
    assert trace["spans"][1]["seconds"] > 0.1


def test_a_stream_that_breaks_midway_failed_though_its_status_was_200(server: Served, client: httpx.Client) -> None:
    answering(server, ScriptedModel("scripted/up", ["a long answer that breaks"], break_after=2))
    answer = client.post("/v1/chat/completions", json={**QUESTION, "stream": True})
    assert answer.status_code == 200
    assert trace_of(client, answer)["status"] == "failed"


def test_two_requests_at_once_share_no_spans(server: Served) -> None:
    answering(server, ScriptedModel("scripted/up", ["many words here"] * 8, delay_s=0.02))

    def ask(_number: int) -> dict[str, Any]:
        with server.client() as client:
            return trace_of(client, client.post("/v1/chat/completions", json={**QUESTION, "stream": True}))

    with ThreadPoolExecutor(4) as pool:
        traces = list(pool.map(ask, range(8)))
    assert len({trace["id"] for trace in traces}) == 8
    for trace in traces:
        assert [one["name"] for one in trace["spans"]].count("chat") == 1
        assert all(one["start_s"] + one["seconds"] <= trace["total_s"] + 1e-3 for one in trace["spans"])


def test_a_question_to_documents_shows_the_search_in_it(client: httpx.Client) -> None:
    answer = client.post("/api/knowledge/handbook/ask", json={"question": "How many days of leave are there?"})
    names = [name for name, _parent in tree(trace_of(client, answer))]
    assert {"knowledge.search", "embed", "knowledge.extract"} <= set(names)


def test_an_answer_without_a_trace_has_no_header(client: httpx.Client) -> None:
    assert "x-dizuo-trace" not in client.get("/api/jobs").headers
    assert "x-dizuo-trace" not in client.get("/healthz").headers


def test_a_member_sees_no_trace_of_another(server: Served, client: httpx.Client, member: httpx.Client) -> None:
    answering(server, ScriptedModel("scripted/up", ["Paris."] * 2))
    of_owner = client.post("/v1/chat/completions", json=QUESTION).headers["x-dizuo-trace"]
    of_member = member.post("/v1/chat/completions", json=QUESTION).headers["x-dizuo-trace"]
    assert error_of(member.get(f"/api/traces/{of_owner}"), 404)["code"] == "not_found"
    listed = member.get("/api/traces", params={"limit": 1000}).json()["traces"]
    assert of_member in [one["id"] for one in listed]
    assert {one["user"] for one in listed} == {"member"}
    assert client.get(f"/api/traces/{of_member}").status_code == 200


def test_the_list_is_narrowed_and_turned_over(server: Served, client: httpx.Client) -> None:
    answering(server, ScriptedModel("scripted/up", ["Paris.", ModelDown("Gone."), "Paris."]))
    for _number in range(3):
        client.post("/v1/chat/completions", json=QUESTION)
    failed = client.get("/api/traces", params={"status": "failed", "limit": 1}).json()["traces"]
    assert failed[0]["error"] == "model_down"
    first = client.get("/api/traces", params={"model": "scripted/up", "limit": 1}).json()
    second = client.get("/api/traces", params={"limit": 1, "before": first["next_before"]}).json()
    assert second["traces"][0]["id"] != first["traces"][0]["id"]
    assert client.get("/api/traces", params={"slower_than_s": 3600}).json() == {"traces": [], "next_before": None}
    error_of(client.get("/api/traces", params={"status": "good"}), 422)


def test_a_caller_that_traces_too_is_taken_up(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Trace] = []
    monkeypatch.setattr("dizuo.platform.telemetry.export", seen.append)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.get("/api/jobs", headers={"traceparent": parent})
    until(lambda: bool(seen))
    assert seen[-1].parent == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
