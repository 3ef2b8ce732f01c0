"""A provider of chat models on a real port of its own: it speaks tools and schemas, and says when it is left."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.api.conftest import Served

Answer = dict[str, Any]  # the message of an answer
Chat = Callable[[dict[str, Any]], Answer | None]  # of a request's body; None: nothing is ever said


@dataclass
class Upstream:
    """Answers POST /v1/chat/completions, streamed or not, with what `chat` makes of the body; others with `whole`."""

    chat: Chat = lambda _body: None
    whole: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)  # a client hung up on an answer that never comes

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its base URL."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        # There, since a browser's test has a loop of its own at work here.
        serving = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(serving, loop).result(10)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        finally:
            asyncio.run_coroutine_threadsafe(_stopped(server), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            self.asked.append(body)
            self.came.set()
            path = head.split()[1].removeprefix("/v1/")
            lines = [f"HTTP/1.1 {self.status} X", "Connection: close", *(f"{k}: {v}" for k, v in self.headers.items())]
            if self.status != 200 or path in self.whole:
                said = json.dumps({"error": {"message": "no"}} if self.status != 200 else self.whole[path])
                writer.write("\r\n".join([*lines, "Content-Type: application/json", "", said]).encode())
                return
            message = self.chat(body)
            if message is not None and not body.get("stream"):
                answer = json.dumps(_whole(message))
                writer.write("\r\n".join([*lines, "Content-Type: application/json", "", answer]).encode())
                return
            writer.write("\r\n".join([*lines, "Content-Type: text/event-stream", "", ""]).encode())
            if message is None:
                await _until_left(reader, writer)
                self.left.set()
                return
            for chunk in _chunks(message):
                writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
            writer.write(b"data: [DONE]\n\n")
        finally:
            writer.close()


async def _until_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says a word now and then, until nobody listens."""
    try:
        while not reader.at_eof():
            for chunk in _chunks({"content": "on "})[:1]:
                writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await writer.drain()
            try:
                await asyncio.wait_for(reader.read(1), 0.02)
            except TimeoutError:
                continue
    except OSError:
        pass


async def _stopped(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _chunks(message: Answer) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": message.get("content")}]
    for index, call in enumerate(message.get("tool_calls", ())):
        whole = call["function"]["arguments"]
        deltas += [
            {"tool_calls": [{"index": index, **call, "function": {**call["function"], "arguments": whole[:3]}}]},
            {"tool_calls": [{"index": index, "function": {"arguments": whole[3:]}}]},
        ]
    return [
        *({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(message)}]},
        {"choices": [], "usage": _USAGE},
    ]


_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}


def _whole(message: Answer) -> dict[str, Any]:
    said = {"role": "assistant", "content": None, **message}
    return {"choices": [{"index": 0, "message": said, "finish_reason": _finish(message)}], "usage": _USAGE}


def _finish(message: Answer) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def call(name: str, number: int = 1, /, **arguments: Any) -> dict[str, Any]:
    """A call of a tool, as an answer holds it."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


@contextmanager
def sent(server: Served, path: str, body: dict[str, Any]) -> Iterator[None]:
    """A request that is under way; its client hangs up at the end, whatever has come by then."""
    text = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20) as client:
        client.sendall(head.encode() + text)
        yield
