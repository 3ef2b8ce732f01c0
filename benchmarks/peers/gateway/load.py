"""Asks a gateway over kept connections: for each line of JSON that it is told, what came of it, as a line of JSON.

Told: {"port", "path", "key", "bodies": [JSON, …], "connections", "seconds", "per_s"?}. Connection i sends body i modulo
their number, and the next request when the answer is there; with "per_s", all of them together send that many a second.
After "seconds" no more are sent and what is under way is awaited. Said: {"seconds", "errors": {what: how many},
"latencies_ms", "firsts_ms"}: until the whole answer was there, and until the first of its body.

HTTP by hand, so that the client takes little of the processor that the gateway shares with it.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any, cast

import uvloop
from stub import LAST_WORD

_DRAIN_S = 120.0


class Load:
    """One turn of asking."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.errors: Counter[str] = Counter()
        self.until = 0.0
        self.pause_s = told["connections"] / told["per_s"] if told.get("per_s") else 0.0
        self.requests = [self._request(json.dumps(body)) for body in told["bodies"]]

    def _request(self, body: str) -> bytes:
        head = f"POST {self.told['path']} HTTP/1.1\r\nHost: 127.0.0.1:{self.told['port']}\r\n"
        head += f"Authorization: Bearer {self.told['key']}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        lines = [Line(self, self.requests[n % len(self.requests)]) for n in range(self.told["connections"])]
        for line in lines:
            await loop.create_connection(lambda line=line: line, "127.0.0.1", self.told["port"])
        began = time.perf_counter()
        self.until = began + self.told["seconds"]
        for n, line in enumerate(lines):
            loop.call_later(self.pause_s * n / len(lines), line.ask)
        _done, late = await asyncio.wait([line.ended for line in lines], timeout=self.told["seconds"] + _DRAIN_S)
        seconds = time.perf_counter() - began
        self.errors["no answer"] += len(late)
        for line in lines:
            line.close()
        return {
            "seconds": seconds,
            "errors": {what: count for what, count in self.errors.items() if count},
            "latencies_ms": [round(one * 1000, 3) for one in self.latencies],
            "firsts_ms": [round(one * 1000, 3) for one in self.firsts],
        }


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load, request: bytes) -> None:
        self._load = load
        self._request = request
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self._load.errors["connection closed"] += 1
            self.ended.set_result(None)

    def close(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self._transport is not None:
            self._transport.close()

    def ask(self) -> None:
        if self.ended.done() or self._transport is None:
            return
        if time.perf_counter() >= self._load.until:
            self.ended.set_result(None)
            return
        self._received = bytearray()
        self._body_at = -1
        self._length: int | None = None
        self._first_at = 0.0
        self._asked_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if self._body_at < 0:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._body_at = end + 4
            found = bytes(received[:end]).lower().partition(b"content-length:")[2]
            self._length = int(found.split(b"\r\n", 1)[0]) if found else None
        if not self._first_at and len(received) > self._body_at:
            self._first_at = time.perf_counter()
        if self._length is None:
            if received.endswith(b"\r\n0\r\n\r\n"):  # the end of a chunked body
                self._answered()
        elif len(received) - self._body_at >= self._length:
            self._answered()

    def _answered(self) -> None:
        now = time.perf_counter()
        status = bytes(self._received[9:12]).decode("ascii", "replace")
        if status != "200":
            self._load.errors[status] += 1
        elif LAST_WORD.encode() not in self._received:
            self._load.errors["incomplete"] += 1
        else:
            self._load.latencies.append(now - self._asked_at)
            self._load.firsts.append(self._first_at - self._asked_at)
        wait_s = self._asked_at + self._load.pause_s - now
        if wait_s > 0:
            self._loop.call_later(wait_s, self.ask)
        else:
            self.ask()


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(uvloop.run(_run(json.loads(line)))), flush=True)


async def _run(told: dict[str, Any]) -> dict[str, Any]:
    return await Load(told).run()


if __name__ == "__main__":
    main()
