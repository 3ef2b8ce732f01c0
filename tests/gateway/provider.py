"""A provider of models on a local port that answers, or misbehaves, as a test tells it to."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dizuo.core.events import Event, TextDelta
from dizuo.core.messages import Message
from dizuo.gateway.remote import RemoteModel
from dizuo.gateway.remote_http import Timeouts

# A timeout that a test waits for is short; the others are long, since a busy machine is slow.
SILENT = Timeouts(connect_s=5, first_token_s=0.3, between_tokens_s=10, total_s=20)
STALLED = Timeouts(connect_s=5, first_token_s=10, between_tokens_s=0.3, total_s=20)
ENDLESS = Timeouts(connect_s=5, first_token_s=10, between_tokens_s=10, total_s=0.8)
KEY = "sk-secret-1234567890"
PATIENT = Timeouts(connect_s=5, first_token_s=10, between_tokens_s=10, total_s=20)

WAIT = 30.0  # a step of a script: say nothing for that many seconds
RESET = "reset"  # a step: cut the connection as a crashed process does

Step = bytes | float | str


def head(status: int = 200, kind: str = "text/event-stream", **headers: str) -> bytes:
    """The start of a response that ends with its connection."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One event of a streamed answer."""
    choice = {"index": 0, "delta": {"content": text} if text is not None else {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}, ensure_ascii=False).encode() + b"\n\n"


def answer(body: Any, status: int = 200, **headers: str) -> list[Step]:
    """A whole response of JSON. The connection may be kept."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode() + data]


def chunked(*parts: bytes) -> bytes:
    """The parts as a chunked body, without its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
PARIS = [head(), chunk("Par"), chunk("is."), chunk(finish="stop"), DONE]


@dataclass
class Asked:
    """A request as it came in."""

    line: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Provider:
    """Answers the n-th request with the n-th script (the last one over and over)."""

    scripts: Sequence[Sequence[Step]]
    keeps: bool = False  # connections stay open for further requests
    tls: ssl.SSLContext | None = None
    connections: int = 0
    asked: list[Asked] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)  # a request is there
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)  # a client left while the script was waiting
    _answering: list[Any] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The provider's base URL."""
        async with await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self.tls) as server:
            yield f"{'https' if self.tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answering = asyncio.ensure_future(self._answer(reader, writer))
        answering.add_done_callback(lambda _: writer.close())
        self._answering.append(answering)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._follow(reader, writer)
            while self.keeps:
                await self._follow(reader, writer)

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads a request and does what its script says."""
        await self._read(reader)
        for step in self.scripts[min(len(self.asked), len(self.scripts)) - 1]:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif step == RESET:
                writer.transport.abort()
            elif await self._left(reader, float(step)):
                self.hung_up.set()
                raise ConnectionError

    async def _read(self, reader: asyncio.StreamReader) -> None:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.came.set()
        self.asked.append(Asked(start, headers, json.loads(body or b"{}")))

    @staticmethod
    async def _left(reader: asyncio.StreamReader, seconds: float) -> bool:
        try:
            return await asyncio.wait_for(reader.read(1), seconds) == b""
        except TimeoutError:
            return False


QUESTION = (Message(role="user", content="Capital of France?"),)


async def events_of(model: RemoteModel, *, messages: Sequence[Message] = QUESTION, **options: Any) -> list[Event]:
    return [event async for event in model.stream(messages, **options)]


def ask(*scripts: Sequence[Step], key: str = "", timeouts: Timeouts = PATIENT, **options: Any) -> list[Event]:
    """What a model gives of a provider with these scripts."""
    return asked(Provider(scripts), key=key, timeouts=timeouts, **options)


def asked(provider: Provider, *, key: str = "", timeouts: Timeouts = PATIENT, **options: Any) -> list[Event]:
    async def run() -> list[Event]:
        async with provider.serving() as url:
            return await events_of(RemoteModel("test/some/model", url, key, timeouts), **options)

    return asyncio.run(run())


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))
