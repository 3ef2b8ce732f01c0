"""Streams: a client that leaves ends the work, and nobody else has to wait."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from dizuo.api import streams
from dizuo.core.events import Done, Event, TextDelta
from dizuo.core.messages import Message
from tests.api.conftest import MODEL, Served, events_of


class Endless:
    """A model that never comes to an end, and says when it was let go."""

    name = MODEL

    def __init__(self, silent: bool) -> None:
        self.silent = silent
        self.asked = threading.Event()
        self.let_go = threading.Event()

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        try:
            self.asked.set()
            while True:
                await asyncio.sleep(60 if self.silent else 0.01)
                yield TextDelta(text="on and on ")
        finally:
            self.let_go.set()


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_call_of_the_model(server: Served, stream: bool, silent: bool) -> None:
    model = Endless(silent)
    server.house.chat_model = model
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "?"}], "stream": stream})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=20) as client:
        client.sendall((head + body).encode())
        assert model.asked.wait(20)
        if stream and not silent:
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert not model.let_go.is_set()
    assert model.let_go.wait(20)


def test_the_server_answers_others_while_it_works(server: Served) -> None:
    """A long embedding, in a thread, must not hold up the event loop."""
    texts = ["a sentence of some ordinary length about nothing at all " * 8] * 200
    took_s: list[float] = []

    def work() -> None:
        started_s = time.perf_counter()
        with server.client() as client:
            assert client.post("/v1/embeddings", json={"model": "local/minilm", "input": texts}).status_code == 200
        took_s.append(time.perf_counter() - started_s)

    worker = threading.Thread(target=work)
    worker.start()
    slowest_s = 0.0
    with server.client() as client:
        while worker.is_alive():
            started_s = time.perf_counter()
            assert client.get("/healthz").status_code == 200
            slowest_s = max(slowest_s, time.perf_counter() - started_s)
            time.sleep(0.02)
    assert slowest_s < took_s[0] / 2


def test_silence_is_broken_by_heartbeats(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    server.say("one two three four", delay_s=0.3)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "?"}], "stream": True}
    with server.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        text = "".join(answer.iter_text())
    assert text.count(": still here\n\n") >= 2
    assert text.endswith("data: [DONE]\n\n")


def test_a_fault_midway_becomes_a_last_event_that_tells_nothing_of_its_inside(server: Served) -> None:
    class Faulty:
        name = MODEL

        async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
            yield TextDelta(text="so far ")
            raise RuntimeError("secret inside")

    server.house.chat_model = Faulty()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "?"}], "stream": True}
    with server.client() as client:
        *_, (name, last) = events_of(client, "POST", "/v1/chat/completions", json=body)
    assert (name, last["error"]["code"]) == ("error", "internal_error")
    assert "secret" not in str(last)


def test_events_that_end_without_an_end_are_no_answer(server: Served) -> None:
    class Short:
        name = MODEL

        async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
            yield TextDelta(text="so far ")

    server.house.chat_model = Short()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "?"}]}
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 500
        *_, (_name, last) = events_of(client, "POST", "/v1/chat/completions", json=body | {"stream": True})
    assert "error" in last


def test_many_streams_run_at_once(server: Served) -> None:
    class Slow:
        name = MODEL

        async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
            await asyncio.sleep(0.5)
            yield TextDelta(text=messages[-1].content)
            yield Done()

    server.house.chat_model = Slow()
    said: dict[int, str] = {}

    def ask(n: int) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"#{n}"}]}
        with server.client() as client:
            said[n] = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]

    started_s = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {n: f"#{n}" for n in range(30)}
    assert time.perf_counter() - started_s < 7.5  # one after another they would take 15 s
