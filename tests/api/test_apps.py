"""Apps over the API: listed, started, and asked as models by clients that know nothing of runs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import httpx
import openai
import pytest

from dizuo.core.events import Event
from dizuo.core.messages import Message
from tests.agents.scripts import ByTurn, call
from tests.api.conftest import Served, error_of, until

CLERK = """\
name: clerk
title: {en: Clerk, zh: 文员}
description: {en: Adds numbers., zh: 做加法。}
instructions: You are the clerk.
model: scripted/agent
tools: [fetch_page]
budget: {steps: 20}
examples: [Add.]
"""
ADDS = ([call("calculate", expression="20 + 1")], "It is 21.")
ASK: Any = [{"role": "user", "content": "Add."}]


@pytest.fixture
def told(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ByTurn]]:
    """Sets what the model of every run says, behind the gateway as in life; some apps are there."""
    folder = server.house.settings.home / "apps"
    folder.mkdir(exist_ok=True)
    (folder / "clerk.yaml").write_text(CLERK, "utf-8")
    asks = CLERK.replace("name: clerk", "name: seeker\nknowledge: ask")
    (folder / "seeker.yaml").write_text(asks, "utf-8")
    (folder / "broken.yaml").write_text("name: broken\n", "utf-8")

    def tell(*replies: Any) -> ByTurn:
        model = replies[0] if isinstance(replies[0], ByTurn) else ByTurn(*replies)
        wrapped = server.house.gateway.wrapped(model, kept=False)
        monkeypatch.setattr(server.house.equipment, "chat", lambda _name: wrapped)
        return model

    server.house.jobs.start()
    tell(*ADDS)
    yield tell
    for file in folder.iterdir():
        file.unlink()
    for standing in server.house.limits.list():
        server.house.limits.remove(standing.limit.subject, standing.limit.subject_id)


def openai_of(server: Served, key: str = "") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key or server.member_key, max_retries=0)


def ended(client: httpx.Client, run_id: str) -> dict[str, Any]:
    until(lambda: client.get(f"/api/runs/{run_id}").json()["run"]["status"] == "ended")
    return client.get(f"/api/runs/{run_id}").json()


@pytest.mark.usefixtures("told")
def test_apps_are_listed_in_the_readers_language_with_what_is_wrong(client: httpx.Client) -> None:
    listed = {one["name"]: one for one in client.get("/api/apps").json()["apps"]}
    assert (listed["clerk"]["title"], listed["clerk"]["source"], listed["clerk"]["problem"]) == ("Clerk", "own", "")
    assert "title is missing" in listed["broken"]["problem"]
    assert listed["researcher"]["source"] == "shipped"
    chinese = client.get("/api/apps", headers={"Accept-Language": "zh-CN"}).json()["apps"]
    by_name = {one["name"]: one for one in chinese}
    assert by_name["clerk"]["title"] == "文员"
    assert "缺少 title" in by_name["broken"]["problem"]
    shown = client.get("/api/apps/clerk").json()
    assert shown["app"]["budget"]["steps"] == 20
    assert client.get("/api/apps/broken").json()["app"] is None
    assert "clerk" in error_of(client.get("/api/apps/nobody"), 404)["message"]


@pytest.mark.usefixtures("told")
def test_a_run_of_an_app_goes_by_its_file_and_by_what_is_given_besides(client: httpx.Client, server: Served) -> None:
    run = client.post("/api/runs", json={"goal": "Add.", "app": "clerk", "budget": {"tokens": 9000}}).json()
    assert (run["app"], run["model"]) == ("clerk", "scripted/agent")
    started = ended(client, run["id"])["steps"][0]
    assert started["instructions"].endswith("You are the clerk.")
    assert (started["budget"]["steps"], started["budget"]["tokens"]) == (20, 9000)
    assert "fetch_page" in started["tools"]
    bare = client.post("/api/runs", json={"goal": "Add.", "app": "clerk", "tools": []}).json()
    assert "fetch_page" not in ended(client, bare["id"])["steps"][0]["tools"]

    error_of(client.post("/api/runs", json={"goal": "Add.", "app": "nobody"}), 404)
    assert "title is missing" in error_of(client.post("/api/runs", json={"goal": "x", "app": "broken"}), 400)["message"]
    refused = error_of(client.post("/api/runs", json={"goal": "x", "app": "seeker"}), 400)
    assert refused["param"] == "knowledge"
    sought = client.post("/api/runs", json={"goal": "x", "app": "seeker", "knowledge": "handbook"}).json()
    assert sought["knowledge"] == "handbook"
    ended(client, sought["id"])
    error_of(client.post("/api/runs", json={"goal": "x", "app": "clerk", "tools": ["app/nobody"]}), 404)
    assert client.get("/api/runs").json()["runs"][0]["id"] == sought["id"]
    assert server.house.apps.get("clerk").name == "clerk"


@pytest.mark.parametrize("stream", [False, True])
def test_an_app_is_asked_as_a_model_and_each_answer_is_a_run(
    server: Served, told: Callable[..., ByTurn], member: httpx.Client, stream: bool
) -> None:
    model = told("One answer was given before.", *ADDS)
    said: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "My cat is Tom."},
        {"role": "assistant", "content": "Noted."},
        *ASK,
    ]
    with openai_of(server) as ai:
        assert "app/clerk" in [one.id for one in ai.models.list()]
        assert "app/seeker/handbook" in [one.id for one in ai.models.list()]
        assert ai.models.retrieve("app/clerk").to_dict()["note"] == "Adds numbers."
        asking = ai.chat.completions.with_raw_response
        ids: list[str] = []
        for _again in range(2):
            if stream:
                raw = asking.create(
                    model="app/clerk",
                    messages=said,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                chunks = list(raw.parse())
                text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
                assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "stop"
                usage = chunks[-1].usage
            else:
                raw = asking.create(model="app/clerk", messages=said, user="somebody")
                answer = raw.parse()
                text, usage = answer.choices[0].message.content, answer.usage
                assert answer.choices[0].finish_reason == "stop"
            assert text == "It is 21."
            assert usage is not None
            assert (usage.prompt_tokens, usage.completion_tokens) == (20, 10)
            ids.append(raw.headers["x-dizuo-run"])
        assert ids[0] != ids[1], "no answer is kept"
    run = member.get(f"/api/runs/{ids[0]}").json()
    assert (run["run"]["app"], run["run"]["goal"], run["run"]["reason"]) == ("clerk", "Add.", "done")
    read = [(one.role, one.content) for one in model.read[0]][1:]
    assert read == [("user", "Be short."), ("user", "My cat is Tom."), ("assistant", "Noted."), ("user", "Add.")]
    told(*ADDS)
    with openai_of(server) as ai:
        found = ai.chat.completions.create(model="app/seeker/handbook", messages=ASK)
        assert found.choices[0].message.content == "It is 21."


def test_what_a_called_app_asks_is_seen_from_the_run_above(told: Callable[..., ByTurn], member: httpx.Client) -> None:
    def first(messages: Sequence[Message]) -> Any:
        """The run above gives the goal on; the clerk, which has other instructions, asks."""
        clerk = "You are the clerk." in messages[0].content
        return [call("ask_user", question="Twice?")] if clerk else [call("ask_clerk", task="Add.")]

    told(first, lambda messages: messages[-1].content)
    run = member.post("/api/runs", json={"goal": "Have it added.", "model": "x/y", "tools": ["app/clerk"]}).json()
    until(lambda: member.get(f"/api/runs/{run['id']}").json()["run"]["status"] == "waiting")
    seen = member.get(f"/api/runs/{run['id']}").json()
    [asked] = seen["asking"]
    assert seen["waiting"] == []
    child = asked["run_id"]
    assert [one["run_id"] for one in seen["steps"] if one["kind"] == "child_started"] == [child]
    assert member.get(f"/api/runs/{child}").json()["run"]["parent_id"] == run["id"]
    answer = {"call_id": asked["step"]["call_id"], "decision": "approve", "reason": "Yes."}
    assert member.post(f"/api/runs/{child}/answer", json=answer).status_code == 200
    assert ended(member, run["id"])["steps"][-1]["text"] == "Yes."


def test_what_it_takes_counts_for_the_app_and_the_key(server: Served, told: Callable[..., ByTurn]) -> None:
    told(*ADDS)
    key, secret = server.house.identity.create_key("apps", server.member, models=["app/clerk"])
    server.house.limits.set("app", "app/clerk", budget=1e6)
    server.house.limits.set("key", str(key.id), budget=1e6, requests_per_minute=100)
    server.house.prices.set("scripted/*", 0, 1_000)
    with openai_of(server, secret) as ai:
        ai.chat.completions.create(model="app/clerk", messages=ASK)
        with pytest.raises(openai.PermissionDeniedError):
            ai.chat.completions.create(model="scripted/agent", messages=ASK)
        with pytest.raises(openai.PermissionDeniedError):
            ai.chat.completions.create(model="app/seeker/handbook", messages=ASK)
        assert [one.id for one in ai.models.list()] == ["app/clerk"]
    standings = {(one.limit.subject, one.limit.subject_id): one for one in server.house.limits.list()}
    spent = standings["app", "app/clerk"].spent
    assert spent > 0
    assert standings["key", str(key.id)].spent == spent
    with server.client() as client:
        rows = client.get("/api/usage", params={"by": "app"}).json()["rows"]
    assert "app/clerk" in [row["name"] for row in rows]

    server.house.limits.set("key", str(key.id), budget=spent / 2)
    with openai_of(server, secret) as ai, pytest.raises(openai.RateLimitError):
        ai.chat.completions.create(model="app/clerk", messages=ASK)


def test_the_limits_of_a_key_hold_in_its_runs(server: Served, told: Callable[..., ByTurn]) -> None:
    told(*ADDS)
    key, secret = server.house.identity.create_key("paced", server.member)
    server.house.limits.set("key", str(key.id), requests_per_minute=1)
    with server.client(secret) as client:
        run = client.post("/api/runs", json={"goal": "Add.", "app": "clerk"}).json()
        until(lambda: len(client.get(f"/api/runs/{run['id']}").json()["steps"]) >= 3)
        error_of(client.post("/api/runs", json={"goal": "Add.", "app": "clerk"}), 429)
        waits = client.get(f"/api/runs/{run['id']}").json()
        assert waits["run"]["status"] == "active", "its second call is one too many in this minute"
        assert len([one for one in waits["steps"] if one["kind"] == "model"]) == 1
        client.post(f"/api/runs/{run['id']}/cancel")
        assert ended(client, run["id"])["run"]["reason"] == "cancelled"


@pytest.mark.parametrize(("scopes", "reads"), [(None, True), (["models"], False), (["models", "read"], True)])
def test_only_a_key_that_may_read_them_reaches_memories_through_an_app(
    server: Served, told: Callable[..., ByTurn], member: httpx.Client, scopes: list[str] | None, reads: bool
) -> None:
    told(*ADDS)
    secret = server.house.identity.create_key("remembering", server.member, scopes=scopes)[1]
    before = len(member.get("/api/memories").json()["memories"])
    with openai_of(server, secret) as ai:
        raw = ai.chat.completions.with_raw_response.create(model="app/clerk", messages=ASK)
    started = member.get(f"/api/runs/{raw.headers['x-dizuo-run']}").json()["steps"][0]
    assert [one in started["tools"] for one in ("remember", "recall")] == [reads, reads]
    if not reads:
        assert len(member.get("/api/memories").json()["memories"]) == before


def test_a_key_that_is_revoked_stops_no_run(server: Served, told: Callable[..., ByTurn], member: httpx.Client) -> None:
    told([call("ask_user", question="Twice?")], "Well then.")
    key, secret = server.house.identity.create_key("gone", server.member)
    with server.client(secret) as client:
        run = client.post("/api/runs", json={"goal": "Add.", "app": "clerk"}).json()
        until(lambda: client.get(f"/api/runs/{run['id']}").json()["run"]["status"] == "waiting")
    server.house.identity.revoke_key(key.id)
    [asked] = member.get(f"/api/runs/{run['id']}").json()["waiting"]
    answer = {"call_id": asked["call_id"], "decision": "approve", "reason": "Yes."}
    assert member.post(f"/api/runs/{run['id']}/answer", json=answer).status_code == 200
    assert ended(member, run["id"])["run"]["reason"] == "done"


@pytest.mark.parametrize(("goal", "said"), [("Add.", "waits for a person"), ("加起来。", "需要有人答复")])
def test_a_run_that_waits_says_so_and_where_to_answer(
    server: Served, told: Callable[..., ByTurn], member: httpx.Client, goal: str, said: str
) -> None:
    told([call("ask_user", question="Twice?")], "Well then.")
    body = {"model": "app/clerk", "messages": [{"role": "user", "content": goal}]}
    answer = member.post("/v1/chat/completions", json=body)
    run_id = answer.headers["x-dizuo-run"]
    [choice] = answer.json()["choices"]
    assert choice["finish_reason"] == "stop"
    for part in (said, "Twice?", f"dizuo run answer {run_id}"):
        assert part in choice["message"]["content"]
    assert member.get(f"/api/runs/{run_id}").json()["run"]["status"] == "waiting"


def test_a_run_that_fails_is_an_error_and_one_out_of_budget_says_length(
    server: Served, told: Callable[..., ByTurn], member: httpx.Client
) -> None:
    told([call("now")])
    clerk = server.house.settings.home / "apps/clerk.yaml"
    clerk.write_text(CLERK.replace("steps: 20", "steps: 1"), "utf-8")
    body = {"model": "app/clerk", "messages": ASK}
    answer = member.post("/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    clerk.write_text(CLERK, "utf-8")
    for given in ({"tools": [_TOOL]}, {"temperature": 0.5}, {"max_tokens": 5}):
        refused = error_of(member.post("/v1/chat/completions", json={**body, **given}), 400)
        assert refused["param"] == next(iter(given))
    error_of(member.post("/v1/chat/completions", json={**body, "messages": [{"role": "system", "content": "x"}]}), 400)
    error_of(member.post("/v1/chat/completions", json={**body, "model": "app/nobody"}), 404)
    private = member.post("/v1/chat/completions", json=body, headers={"X-Dizuo-Private": "true"})
    assert "written down" in error_of(private, 400)["message"]


_TOOL = {"type": "function", "function": {"name": "x", "parameters": {"type": "object"}}}


class Silent(ByTurn):
    """Says nothing for as long as it is waited for."""

    def __init__(self) -> None:
        super().__init__("")
        self.came, self.left = threading.Event(), threading.Event()

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        self.came.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.left.set()
        async for event in super().stream(messages, **options):
            yield event


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_run(
    server: Served, told: Callable[..., ByTurn], member: httpx.Client, stream: bool
) -> None:
    silent = Silent()
    told(silent)
    body = {"model": "app/clerk", "messages": ASK, "stream": stream}
    if stream:
        with member.stream("POST", "/v1/chat/completions", json=body) as answer:
            run_id = answer.headers["x-dizuo-run"]
            assert silent.came.wait(10)
    else:
        with server.client(server.member_key) as leaving, pytest.raises(httpx.ReadTimeout):
            leaving.post("/v1/chat/completions", json=body, timeout=2)
        run_id = member.get("/api/runs").json()["runs"][0]["id"]
    assert silent.left.wait(10), "and its model is left"
    assert ended(member, run_id)["run"]["reason"] == "cancelled"
