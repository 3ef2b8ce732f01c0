"""One real server for the whole folder: uvicorn on a free port, a home of its own, a model that a test can script."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from dizuo.gateway.scripted import ScriptedModel
from dizuo.platform.identity import User
from dizuo.wiring import House
from tests.conftest import prepare_home

MODEL = "scripted/test"
HANDBOOK = """# Handbook

## Leave

Every employee has thirty days of paid leave a year. Leave that is not taken by the end of March is lost.

## Travel

Trains are booked in second class. Flights need the consent of the head of the department.
"""
GUIDE_ZH = """# 员工手册

## 年假

员工每年享有三十天带薪年假。三月底之前没有使用的年假作废。

## 差旅

火车票按二等座报销，乘坐飞机须经部门负责人同意。
"""


@dataclass
class Served:
    """A running server, and who may call it."""

    house: House
    url: str
    owner: User
    key: str
    member: User
    member_key: str
    scripted: list[ScriptedModel] = field(default_factory=list)

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        """A client with the owner's key, or another; with "" none."""
        key = self.key if key is None else key
        given = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=given | headers, timeout=30)

    def say(self, *replies: Any, **how: Any) -> ScriptedModel:
        """Makes the chat model say these replies; returns it."""
        self.house.chat_model = ScriptedModel(MODEL, replies, **how)
        return self.house.chat_model  # pyright: ignore[reportReturnType]

    def upload(self, knowledge: str, *files: tuple[str, bytes]) -> dict[str, Any]:
        """Uploads files and waits; the job when it is over."""
        with self.client() as client:
            sent = client.post(f"/api/knowledge/{knowledge}/documents", files=[("files", file) for file in files])
            assert sent.status_code == 202, sent.text
            return jobs_of(client, sent.json()["id"])[-1]


def jobs_of(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    """Every state of a job that its events tell, to the last."""
    return [data for name, data in events_of(client, "GET", f"/api/jobs/{job_id}/events") if name == "job"]


def events_of(client: httpx.Client, method: str, path: str, **request: Any) -> list[tuple[str, Any]]:
    """The events of a stream, as (name, data)."""
    with client.stream(method, path, **request) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        frames = "".join(answer.iter_text()).split("\n\n")
    events: list[tuple[str, Any]] = []
    for frame in filter(None, frames):
        lines = dict(line.split(": ", 1) for line in frame.splitlines() if not line.startswith(":"))
        if lines:
            data = lines["data"]
            events.append((lines.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return events


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, which must have that status and the shape that all errors have."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "param", "request_id"}
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


def until(true: Callable[[], bool], within_s: float = 10) -> None:
    """Waits for what follows an answer in a moment."""
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.01)


@pytest.fixture(scope="package")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Gone before the tests of another folder: one process does the jobs of one home."""
    from dizuo.knowledge.answer import Answerer
    from dizuo.knowledge.exact import READER

    home = tmp_path_factory.mktemp("api") / "home"
    prepare_home(request, home)
    environ = {"DIZUO_HOME": str(home), "DIZUO_MAX_FILE_MB": "2"}
    with House.open({**environ, "DIZUO_MAX_ARCHIVE_MB": "4"}) as house:
        # Knowledge bases answer by quotation; the model is asked by its name.
        reader = house.models.reader(READER)
        house.answerer = Answerer(house.library, None, house.embedder, reader=reader)
        house.chat_model = ScriptedModel(MODEL)
        owner = house.identity.owner()
        member = house.identity.create_user("member")
        house.jobs.start()
        with _running(house) as url:
            keys = [house.identity.create_key("tests", user)[1] for user in (owner, member)]
            served = Served(house, url, owner, keys[0], member, keys[1])
            job = served.upload("handbook", ("handbook.md", HANDBOOK.encode()), ("手册.md", GUIDE_ZH.encode()))
            assert (job["status"], job["failed"]) == ("done", 0)
            yield served


class _running:  # a context manager
    def __init__(self, house: House) -> None:
        import uvicorn

        from dizuo.api.server import create_app

        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(house), log_config=None, server_header=False, timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def member(server: Served) -> Iterator[httpx.Client]:
    with server.client(server.member_key) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on the server's disk with one file."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("# A\n\nThe cat sleeps on the mat.\n", "utf-8")
    return tmp_path / "docs"


@pytest.fixture
def ai(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client
