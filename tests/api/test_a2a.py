"""/a2a, asked by the official client of the Agent2Agent protocol, and by another Dizuo."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.card_resolver import A2ACardResolver
from a2a.types import (
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils import errors

from dizuo.agents.policy import Policy, Rule
from dizuo.agents.steps import UNTRUSTED
from dizuo.core.errors import Conflict
from dizuo.core.events import Event
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, call
from tests.api.conftest import Served, _running, error_of

DONE, WAITING, WORKING = (
    TaskState.TASK_STATE_COMPLETED,
    TaskState.TASK_STATE_INPUT_REQUIRED,
    TaskState.TASK_STATE_WORKING,
)


@pytest.fixture
def think(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ByTurn]]:
    """Makes the instance's model say these replies; returns it."""
    monkeypatch.setattr(server.house.launcher, "_usual_model", "scripted/agent")
    server.house.jobs.start()

    def thinks(*replies: Any) -> ByTurn:
        model = ByTurn(*replies)
        monkeypatch.setattr(server.house.equipment, "chat", lambda _name: model)
        return model

    yield thinks
    for run in server.house.runs.list(limit=1000):
        if run.status != "ended":
            server.house.runs.cancel(run.id)


@asynccontextmanager
async def client_of(server: Served, key: str, path: str = "", **config: Any) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        card = await A2ACardResolver(http, server.url + path).get_agent_card()
        yield ClientFactory(ClientConfig(httpx_client=http, **config)).create(card)


def spoken(server: Served, speak: Callable[[Client], Awaitable[Any]], key: str = "", path: str = "", **how: Any) -> Any:
    """What comes of a conversation with that key, the owner's if none is named."""

    async def talk() -> Any:
        async with client_of(server, key or server.key, path, **how) as client:
            return await speak(client)

    return asyncio.run(talk())


def message(text: str, **ids: str) -> SendMessageRequest:
    return SendMessageRequest(
        message=Message(message_id="m1", role=Role.ROLE_USER, parts=[Part(text=text)], **ids),  # type: ignore[arg-type]
    )


def sent(server: Served, text: str, key: str = "", path: str = "", **ids: str) -> Task:
    """The task that a message comes to, without a stream."""

    async def send(client: Client) -> Task:
        [event] = [event async for event in client.send_message(message(text, **ids))]
        return event.task

    return spoken(server, send, key, path, streaming=False)


def streamed(server: Served, text: str, **ids: str) -> list[StreamResponse]:
    async def send(client: Client) -> list[StreamResponse]:
        return [event async for event in client.send_message(message(text, **ids))]

    return spoken(server, send)


def got(server: Served, task_id: str, key: str = "") -> Task:
    return spoken(server, lambda client: client.get_task(GetTaskRequest(id=task_id)), key)


def refused(server: Served, error: type[errors.A2AError], speak: Callable[[Client], Awaitable[Any]], **how: Any) -> str:
    with pytest.raises(error) as raised:
        spoken(server, speak, **how)
    return str(raised.value)


async def drained(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


def answer(task: Task) -> str:
    return next(one.parts[0].text for one in task.artifacts if one.artifact_id == "answer")


def said(task: Task) -> str:
    return "".join(part.text for part in task.status.message.parts)


def kinds(events: list[StreamResponse]) -> list[str]:
    return [str(event.WhichOneof("payload")) for event in events]


# --- the card -------------------------------------------------------------------------------------------------


def test_strangers_learn_little_from_the_card(server: Served) -> None:
    with server.client("") as stranger:
        card = stranger.get("/.well-known/agent-card.json")
    assert card.status_code == 200
    told = card.json()
    assert told["supportedInterfaces"][0] == {
        "url": f"{server.url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0",
    }  # fmt: skip
    assert told["securitySchemes"]["key"]["httpAuthSecurityScheme"]["scheme"] == "bearer"
    assert (told["name"], told["version"], [one["id"] for one in told["skills"]]) == ("Dizuo", "1", ["agent"])
    from dizuo import __version__

    assert __version__ not in card.text
    assert card.headers["content-security-policy"].startswith("default-src 'none'")


def test_behind_a_proxy_that_speaks_https_the_card_says_so(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    host = server.url.removeprefix("http://")
    with server.client("") as stranger:
        for public, told in (
            (f"https://{host}", f"https://{host}/a2a"),
            ("https://desk.example", f"{server.url}/a2a"),  # it was reached in another way
        ):
            monkeypatch.setattr(server.house, "settings", replace(server.house.settings, public_url=public))
            assert stranger.get("/.well-known/agent-card.json").json()["url"] == told


def test_strangers_and_keys_for_looking_only_are_refused(server: Served) -> None:
    reading = server.house.identity.create_key("a2a", server.owner, scopes=["read"])[1]
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "x"}}
    for key, status in (("", 401), ("dz-wrong", 401), (reading, 403)):
        with server.client(key) as client:
            error_of(client.post("/a2a", json=rpc), status)
            error_of(client.post("/a2a/researcher", json=rpc), status)
    with server.client("") as client:
        error_of(client.get("/a2a/researcher/.well-known/agent-card.json"), 401)


def test_other_names_of_this_server_and_pages_of_others_are_refused(server: Served, client: httpx.Client) -> None:
    error_of(client.post("/a2a", json={}, headers={"Host": "evil.example"}), 400)
    with server.client("", Origin="http://evil.example") as page:
        error_of(page.post("/a2a", json={}), 403)
    error_of(client.get("/a2a"), 405)
    error_of(client.get("/.well-known/nothing"), 404)


# --- a task ---------------------------------------------------------------------------------------------------


def test_a_message_becomes_a_run_of_the_user_with_its_answer_as_an_artifact(
    server: Served, think: Callable[..., ByTurn]
) -> None:
    think([call("calculate", expression="20 + 1")], "二十一。")
    task = sent(server, "算一下 20 + 1")
    assert (task.status.state, answer(task)) == (DONE, "二十一。")
    run = server.house.runs.get(task.id, server.owner.id)
    assert (run.goal, run.reason) == ("算一下 20 + 1", "done")
    assert [(one.role, one.parts[0].text) for one in task.history] == [
        (Role.ROLE_USER, "算一下 20 + 1"), (Role.ROLE_AGENT, "二十一。"),
    ]  # fmt: skip
    again = got(server, task.id)
    assert again == task
    short = spoken(server, lambda client: client.get_task(GetTaskRequest(id=task.id, history_length=1)))
    assert [one.parts[0].text for one in short.history] == ["二十一。"]


def test_files_of_the_run_are_artifacts_and_links_are_not(server: Served, think: Callable[..., ByTurn]) -> None:
    def write(messages: Any) -> Any:
        folder = server.house.settings.home / "runs" / server.house.runs.list(limit=1)[0].id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "picture.png").write_bytes(b"\x89PNG")
        (folder / "large.bin").write_bytes(b"x" * (2 << 20))
        (folder / "passwords.txt").symlink_to("/etc/passwd")
        return "Written."

    think([call("write_file", path="报告.md", text="# 报告")], write)
    task = sent(server, "Write it.")
    made = {one.name or one.artifact_id: one.parts[0] for one in task.artifacts}
    assert set(made) == {"answer", "报告.md", "picture.png", "files-left-out"}
    assert (made["报告.md"].text, made["报告.md"].filename) == ("# 报告", "报告.md")
    assert (made["picture.png"].raw, made["picture.png"].media_type) == (b"\x89PNG", "image/png")
    assert "large.bin (2097152 bytes)" in made["files-left-out"].text


def test_files_of_a_message_are_in_the_folder_of_the_run(server: Served, think: Callable[..., ByTurn]) -> None:
    think(
        [call("read_file", path="umsatz.csv"), call("read_file", path="file-2.txt", id="2")],
        lambda messages: "\n".join(one.content for one in messages[-2:]),
    )
    request = message("Which region sells most?")
    request.message.parts.extend(
        [
            Part(raw="区域,销售额\n北,3\n".encode(), filename="umsatz.csv", media_type="text/csv"),
            Part(raw=b"A note.", media_type="text/plain"),
        ]
    )

    async def send(client: Client) -> Task:
        [event] = await drained(client.send_message(request))
        return event.task

    task = spoken(server, send, streaming=False)
    assert task.status.state == DONE
    assert "北,3" in answer(task)
    assert "A note." in answer(task)
    for name in ("../out.txt", "/etc/x", "a\nb"):
        request.message.parts[1].filename = name
        refused(server, errors.InvalidParamsError, lambda client: drained(client.send_message(request)))


def test_a_stream_tells_how_it_goes_and_ends_with_the_state(server: Served, think: Callable[..., ByTurn]) -> None:
    class Talking(ByTurn):
        async def stream(self, messages: Any, **options: Any) -> AsyncIterator[Event]:
            from dizuo.core.events import TextDelta

            if not any(one.role == "assistant" for one in messages):
                yield TextDelta(text="First I add.")
            async for event in super().stream(messages, **options):
                yield event

    model = Talking([call("calculate", expression="1 + 1")], "Two.")
    think()
    server.house.equipment.chat = lambda _name: model
    events = streamed(server, "Add.")
    assert kinds(events) == ["task", "status_update", "artifact_update", "status_update"]
    assert events[0].task.status.state == WORKING
    assert events[1].status_update.status.message.parts[0].text == "First I add."
    assert events[2].artifact_update.artifact.parts[0].text == "Two."
    assert events[3].status_update.status.state == DONE


def test_it_asks_back_and_a_message_answers(server: Served, think: Callable[..., ByTurn]) -> None:
    think([call("ask_user", question="Which town?")], lambda messages: f"In {messages[-1].content}.")
    events = streamed(server, "Weather?")
    assert events[-1].status_update.status.state == WAITING
    assert events[-1].status_update.status.message.parts[0].text == "Which town?"
    first = events[0].task
    wrong = message("Lisbon", task_id=first.id, context_id="another")
    assert "another conversation" in refused(
        server, errors.InvalidParamsError, lambda c: drained(c.send_message(wrong))
    )
    task = sent(server, "里斯本", task_id=first.id, context_id=first.context_id)
    assert (task.id, task.status.state, answer(task)) == (first.id, DONE, "In 里斯本.")
    assert [one.parts[0].text for one in task.history] == ["Weather?", "Which town?", "里斯本", "In 里斯本."]
    [given] = [step for step in server.house.runs.steps(task.id) if step.kind == "answered"]
    assert given.by == "agent"
    [kept] = [one for one in server.house.approvals.list(server.owner.id) if one.run_id == task.id]
    assert (kept.state, kept.answered_by, kept.reason) == ("approved", None, "里斯本")
    late = message("And now?", task_id=first.id)
    told = refused(server, errors.UnsupportedOperationError, lambda client: drained(client.send_message(late)))
    assert "has ended" in told


def test_an_approval_is_not_given_by_an_agent(server: Served, think: Callable[..., ByTurn]) -> None:
    think([call("fetch_page", url="http://192.0.2.1/secret")], "Done.")
    task = sent_with_page(server)
    assert task.status.state == WAITING
    assert "A person must approve the call of fetch_page" in said(task)
    for words in ("Yes, approved.", '{"decision": "approve"}', "批准"):
        told = refused(
            server,
            errors.UnsupportedOperationError,
            lambda client, words=words: drained(client.send_message(message(words, task_id=task.id))),
        )
        assert "No message does that" in told
    [asked] = server.house.runs.waiting(task.id)
    assert (asked.name, asked.why) == ("fetch_page", "effect")
    with pytest.raises(Conflict):
        server.house.runs.answer(task.id, asked.call_id, "approve", by="agent")
    assert got(server, task.id).status.state == WAITING

    async def watched(client: Client) -> list[StreamResponse]:
        watching = asyncio.ensure_future(drained(client.subscribe(SubscribeToTaskRequest(id=task.id))))
        await asyncio.sleep(1)
        assert not watching.done()  # a person may take long
        await asyncio.to_thread(server.house.runs.answer, task.id, asked.call_id, "reject", reason="No.")
        return await asyncio.wait_for(watching, 20)

    events = spoken(server, watched)
    assert events[0].task.status.state == WAITING
    assert events[-1].status_update.status.state == DONE


def sent_with_page(server: Served) -> Task:
    """A task whose run may fetch pages without asking, as that of an app may."""
    start = server.house.tasks._start
    allowed = Policy(rules=(Rule(tool="fetch_page", decision="allow"),))  # a user's wish, and not an agent's
    server.house.tasks._start = lambda goal, **how: start(goal, **how, tools=["fetch_page"], policy=allowed)
    try:
        return sent(server, "Fetch it.")
    finally:
        server.house.tasks._start = start


def test_a_task_is_cancelled_once(server: Served, think: Callable[..., ByTurn]) -> None:
    think([call("ask_user", question="Well?")], "Done.")
    task = sent(server, "Wait.")

    async def cancel(client: Client) -> Task:
        return await client.cancel_task(CancelTaskRequest(id=task.id))

    assert spoken(server, cancel).status.state == TaskState.TASK_STATE_CANCELED
    assert server.house.runs.get(task.id).reason == "cancelled"
    refused(server, errors.TaskNotCancelableError, cancel)
    subscribe = SubscribeToTaskRequest(id=task.id)
    refused(server, errors.UnsupportedOperationError, lambda client: drained(client.subscribe(subscribe)))


def test_a_task_that_fails_says_why(server: Served, think: Callable[..., ByTurn]) -> None:
    think([call("calculate", expression="1 + 1")])
    task = sent(server, "Go round.")
    assert task.status.state == TaskState.TASK_STATE_FAILED
    assert "no_progress" in said(task)


def test_a_task_is_polled(server: Served, think: Callable[..., ByTurn]) -> None:
    think([call("calculate", expression="1 + 1")], "Two.")
    request = message("Add.")
    request.configuration.CopyFrom(SendMessageConfiguration(return_immediately=True))

    async def poll(client: Client) -> Task:
        [event] = await drained(client.send_message(request))
        assert event.task.status.state in (WORKING, DONE)
        deadline_s = time.monotonic() + 20
        task = event.task
        while task.status.state == WORKING:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.1)
            task = await client.get_task(GetTaskRequest(id=task.id))
        return task

    assert answer(spoken(server, poll, streaming=False)) == "Two."


def test_a_conversation_goes_on_where_its_last_task_ended(server: Served, think: Callable[..., ByTurn]) -> None:
    model = think("It is sunny.")
    first = sent(server, "Weather?", context_id="ours-1")
    assert first.context_id == "ours-1"
    second = sent(server, "And tomorrow?", context_id="ours-1")
    assert second.id != first.id
    assert second.context_id == "ours-1"
    assert [one.content for one in model.read[-1][1:]] == ["Weather?", "It is sunny.", "And tomorrow?"]
    listed = spoken(server, lambda client: client.list_tasks(ListTasksRequest(context_id="ours-1", page_size=1)))
    assert ([one.id for one in listed.tasks], listed.total_size) == ([second.id], 2)
    assert not listed.tasks[0].artifacts
    page = ListTasksRequest(context_id="ours-1", page_size=1, page_token=listed.next_page_token, include_artifacts=True)
    rest = spoken(server, lambda client: client.list_tasks(page))
    assert [(one.id, answer(one)) for one in rest.tasks] == [(first.id, "It is sunny.")]
    assert rest.next_page_token == ""
    new = sent(server, "Weather?")
    assert new.context_id == new.id
    assert len(model.read[-1]) == 2


def test_what_the_users_runs_remember_is_not_for_agents_of_others(server: Served, think: Callable[..., ByTurn]) -> None:
    server.house.memories.remember(server.owner.id, "The safe opens with 4711.", about="safe")
    think([call("recall", query="safe")], lambda messages: messages[-1].content)
    task = sent(server, "What opens the safe?")
    assert "4711" not in answer(task)
    assert "There is no tool 'recall'" in answer(task)
    kept = server.house.memories.list(server.owner.id)
    assert not [one for one in kept if "opens the safe?" in one.text]


# --- others ---------------------------------------------------------------------------------------------------


def test_tasks_of_others_are_not_found(server: Served, think: Callable[..., ByTurn]) -> None:
    think([call("ask_user", question="Well?")], "Done.")
    task = sent(server, "Wait.", context_id="private")
    own = server.house.runs.start("Mine.", "scripted/agent", user_id=server.owner.id)  # no agent asked for it
    other = server.house.identity.create_key("another agent", server.owner, scopes=["models"])[1]
    somebody = server.house.identity.create_user("somebody")
    for key in (server.house.identity.create_key("a2a", somebody)[1], other):
        for speak in (
            lambda client: client.get_task(GetTaskRequest(id=task.id)),
            lambda client: client.cancel_task(CancelTaskRequest(id=task.id)),
            lambda client: drained(client.subscribe(SubscribeToTaskRequest(id=task.id))),
            lambda client: drained(client.send_message(message("42", task_id=task.id))),
        ):
            refused(server, errors.TaskNotFoundError, speak, key=key)
        listed = spoken(server, lambda client: client.list_tasks(ListTasksRequest()), key)
        assert task.id not in [one.id for one in listed.tasks]
        assert sent(server, "Wait.", key, context_id="private").id != task.id
    refused(server, errors.TaskNotFoundError, lambda client: client.get_task(GetTaskRequest(id=own.id)))
    assert server.house.runs.get(task.id).status == "waiting"


def test_a_key_for_some_models_asks_only_where_these_are_among_them(
    server: Served, think: Callable[..., ByTurn]
) -> None:
    think("Done.")

    def key(*models: str) -> str:
        return server.house.identity.create_key("a2a", server.owner, scopes=["models"], models=models)[1]

    assert sent(server, "Go.", key("scripted/*")).status.state == DONE
    limited = key("knowledge/*")
    speak = lambda client: drained(client.send_message(message("Go.")))  # noqa: E731
    assert "may not ask" in refused(server, errors.UnsupportedOperationError, speak, key=limited)


# --- apps -----------------------------------------------------------------------------------------------------


def test_an_app_is_an_agent_of_its_own(server: Served, think: Callable[..., ByTurn]) -> None:
    model = think([call("search_knowledge", query="leave")], "Thirty days (handbook.md).")
    key = server.house.identity.create_key("a2a", server.owner, scopes=["models"], models=["app/researcher/handbook"])[
        1
    ]
    path = "/a2a/researcher/handbook"
    with server.client(key) as client:
        card = client.get(path + "/.well-known/agent-card.json").json()
        assert card["name"] == "Researcher"
        assert card["supportedInterfaces"][0]["url"] == server.url + path
        error_of(client.get("/a2a/data-analyst/.well-known/agent-card.json"), 403)
        error_of(client.get("/a2a/researcher/secrets/.well-known/agent-card.json"), 403)
    task = sent(server, "How long is the leave?", key, path)
    assert (task.status.state, answer(task)) == (DONE, "Thirty days (handbook.md).")
    run = server.house.runs.get(task.id, server.owner.id)
    assert (run.app, run.knowledge) == ("researcher", "handbook")
    assert "thirty days" in model.read[-1][-1].content
    elsewhere = [message("Go."), message("Go.", task_id=task.id)]
    speak = lambda client: drained(client.send_message(elsewhere[0]))  # noqa: E731
    assert "may not ask" in refused(server, errors.UnsupportedOperationError, speak, key=key)
    speak = lambda client: drained(client.send_message(elsewhere[1]))  # noqa: E731
    refused(server, errors.TaskNotFoundError, speak, key=key)  # it is a task of the app


def test_the_card_for_keys_names_the_apps_that_they_may_ask(server: Served) -> None:
    def skills(key: str) -> dict[str, str]:
        look = lambda client: client.get_extended_agent_card(GetExtendedAgentCardRequest())  # noqa: E731
        return {one.id: one.description for one in spoken(server, look, key).skills}

    everything = skills(server.key)
    assert {"agent", "app/researcher/handbook", "app/data-analyst"} <= set(everything)
    assert everything["app/researcher/handbook"].endswith(f" It is asked at {server.url}/a2a/researcher/handbook")
    some = server.house.identity.create_key("a2a", server.owner, scopes=["models"], models=["app/data-analyst"])[1]
    assert set(skills(some)) == {"agent", "app/data-analyst"}


def test_an_app_that_there_is_not_is_told(server: Served, client: httpx.Client) -> None:
    error_of(client.get("/a2a/nobody/.well-known/agent-card.json"), 404)
    error_of(client.post("/a2a/a%00b", json={}), 404)
    params = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "Go."}]}}
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
    found = client.post("/a2a/nobody", json=rpc, headers={"A2A-Version": "1.0"}).json()
    assert "There is no app 'nobody'" in found["error"]["message"]


# --- from Dizuo to Dizuo --------------------------------------------------------------------------------------


def test_a_run_of_one_instance_asks_the_agent_of_another(
    server: Served, think: Callable[..., ByTurn], home: Path
) -> None:
    think([call("ask_user", question="哪个城市？")], lambda messages: f"{messages[-1].content}：晴。")

    def answered(messages: Any) -> Any:
        asked = messages[-1].content
        assert "哪个城市？" in asked
        assert UNTRUSTED in asked
        return [call("desk__ask", task=asked.split("Task ")[1].split(":")[0], message="里斯本")]

    with House.open({"DIZUO_HOME": str(home)}) as caller:
        key = server.house.identity.create_key("their agent", server.owner, scopes=["models"])[1]
        caller.tool_servers.add("desk", a2a=server.url, headers={"Authorization": f"Bearer {key}"})
        seen = caller.tool_servers.check("desk")
        assert seen.problem is None
        caller.tool_servers.approve("desk", seen.fingerprint)
        model = ByTurn([call("desk__ask", message="天气如何？")], answered, "There it is sunny.")
        caller.equipment.chat = lambda _name: model
        policy = Policy(rules=(Rule(tool="desk__*", decision="allow"),))
        run = caller.runs.start("Weather?", "scripted/agent", tools=["desk"], policy=policy)
        asyncio.run(caller.run_worker.advance(run.id))
        # The first answer is text of others: the second call is asked about, though a rule allows it.
        [asked] = caller.runs.waiting(run.id)
        caller.runs.answer(run.id, asked.call_id, "approve")
        asyncio.run(caller.run_worker.advance(run.id))
        assert caller.runs.get(run.id).reason == "done"
        results = [step.result for step in caller.runs.steps(run.id) if step.kind == "tool"]
    assert [one.failed or one.trusted for one in results] == [False, False]
    assert results[1].text.endswith(": completed\n里斯本：晴。")
    assert "input required" in results[0].text
    [theirs] = [one for one in server.house.runs.list(server.owner.id) if one.goal == "天气如何？"]
    assert theirs.reason == "done"


# --- what is refused ------------------------------------------------------------------------------------------


def test_what_is_no_message_is_refused(server: Served, client: httpx.Client) -> None:
    version = {"A2A-Version": "1.0"}

    def code(**request: Any) -> int:
        found = client.post("/a2a", headers=version, **request)
        assert found.status_code == 200, found.text
        return found.json()["error"]["code"]

    def rpc(method: str, params: Any) -> int:
        return code(json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    assert code(content=b"{") == -32700
    assert code(json=[]) == -32600
    assert code(json={"id": 1, "method": "GetTask"}) == -32600
    assert rpc("DropTables", {}) == -32601
    assert rpc("SendMessage", {"message": 1}) == -32602
    assert rpc("SendMessage", {"message": {"messageId": "m", "role": "ROLE_USER", "parts": []}}) == -32602
    assert rpc("SendMessage", {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "  "}]}}) == -32602
    parts: list[Any] = [{"text": "Look."}, {"url": f"{server.url}/healthz", "mediaType": "image/png"}]
    assert rpc("SendMessage", {"message": {"messageId": "m", "role": "ROLE_USER", "parts": parts}}) == -32005
    parts = [{"raw": "iVBORw==", "filename": "a.png"}]  # nothing is said of it
    assert rpc("SendMessage", {"message": {"messageId": "m", "role": "ROLE_USER", "parts": parts}}) == -32602
    assert rpc("GetTask", {"id": "no-such-task"}) == -32001
    deep = b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert code(content=deep) in (-32600, -32602, -32603, -32700)
    long = client.post("/a2a", content=b"x" * (9 << 20), headers=version)
    error_of(long, 413)
    assert client.get("/api/runs").status_code == 200


def test_notifications_to_addresses_of_others_are_not_sent(server: Served, think: Callable[..., ByTurn]) -> None:
    think("Done.")
    request = message("Go.")
    config = TaskPushNotificationConfig(url="http://127.0.0.1:9/x")
    request.configuration.task_push_notification_config.CopyFrom(config)
    before = len(server.house.runs.list(limit=1000))
    refused(server, errors.PushNotificationNotSupportedError, lambda client: drained(client.send_message(request)))
    config.task_id = "x"
    refused(
        server,
        errors.PushNotificationNotSupportedError,
        lambda client: client.create_task_push_notification_config(config),
    )
    assert len(server.house.runs.list(limit=1000)) == before


def test_clients_of_the_protocol_before_are_answered(
    server: Served, client: httpx.Client, think: Callable[..., ByTurn]
) -> None:
    think([call("ask_user", question="Which town?")], "Sunny.")

    def rpc(method: str, params: Any) -> Any:
        return client.post("/a2a", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json()

    parts = [{"kind": "text", "text": "Weather?"}]
    asked = rpc("message/send", {"message": {"kind": "message", "messageId": "m", "role": "user", "parts": parts}})
    assert asked["result"]["status"]["state"] == "input-required"
    assert rpc("tasks/get", {"id": asked["result"]["id"]})["result"]["kind"] == "task"
    assert rpc("tasks/cancel", {"id": asked["result"]["id"]})["result"]["status"]["state"] == "canceled"


def test_the_official_client_speaks_the_protocol_before_in_streams(
    server: Served, think: Callable[..., ByTurn]
) -> None:
    think([call("ask_user", question="Which town?")], lambda messages: f"In {messages[-1].content}.")

    async def talk() -> list[StreamResponse]:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {server.key}"}, timeout=30) as http:
            card = await A2ACardResolver(http, server.url).get_agent_card()
            del card.supported_interfaces[0]
            assert [one.protocol_version for one in card.supported_interfaces] == ["0.3"]
            client = ClientFactory(ClientConfig(httpx_client=http)).create(card)
            first = await drained(client.send_message(message("Weather?")))
            assert first[-1].status_update.status.state == WAITING
            return await drained(client.send_message(message("里斯本", task_id=first[0].task.id)))

    events = asyncio.run(talk())
    assert events[-1].status_update.status.state == DONE
    assert events[-2].artifact_update.artifact.parts[0].text == "In 里斯本."


def test_calls_leave_a_trace(server: Served, client: httpx.Client, think: Callable[..., ByTurn]) -> None:
    think("Done.")
    sent(server, "Go.")
    assert "POST /a2a" in [one["name"] for one in client.get("/api/traces").json()["traces"]]


def test_a_stream_ends_with_the_server(server: Served, think: Callable[..., ByTurn]) -> None:
    think([call("ask_user", question="Well?")], "Done.")
    task = sent(server, "Wait.")
    second = _running(server.house)

    async def watched(client: Client) -> float:
        began_s = time.monotonic()
        watching = asyncio.ensure_future(drained(client.subscribe(SubscribeToTaskRequest(id=task.id))))
        await asyncio.sleep(0.5)
        second._server.config.app.state.stopping = lambda: True  # type: ignore[union-attr]
        await asyncio.wait_for(watching, 10)
        return time.monotonic() - began_s

    with second as url:
        assert spoken(replace(server, url=url), watched) < 5
