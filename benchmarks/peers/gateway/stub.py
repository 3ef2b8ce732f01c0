"""An OpenAI endpoint that answers at once: `stub.py PORT`. Says a line when it listens.

A chat completion comes whole, or as 20 chunks, each in a turn of the event loop (and so in a packet) of its own. What a
gateway adds is measured over it, so it does as little as it can: no framework, bytes made beforehand.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

CHUNKS = 20
# 50 words are about 50 tokens; the last one shows that an answer came through whole.
LAST_WORD = "quillwort"
WORDS = [*(["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing"] * 7), LAST_WORD]
USAGE = {"prompt_tokens": 60, "completion_tokens": 50, "total_tokens": 110}
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "


def _whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(WORDS)}, "finish_reason": "stop"}
    body = _body("chat.completion", [choice], USAGE)
    return _HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def _pieces() -> list[bytes]:
    """The head with the first chunk, the other chunks, and the end with the usage."""
    each = len(WORDS) / CHUNKS
    texts = [" ".join(WORDS[round(n * each) : round((n + 1) * each)]) + " " for n in range(CHUNKS)]
    pieces = [_chunk([{"index": 0, "delta": {"content": text}, "finish_reason": None}]) for text in texts]
    pieces[0] = _HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + pieces[0]
    end = _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _chunk([], USAGE)
    return [*pieces, end + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"]


def _chunk(choices: list[object], usage: object = None) -> bytes:
    return _framed(b"data: " + _body("chat.completion.chunk", choices, usage) + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _body(kind: str, choices: list[object], usage: object) -> bytes:
    body = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "stub-1", "choices": choices}
    return json.dumps(body | ({"usage": usage} if usage else {}), separators=(",", ":")).encode()


WHOLE, PIECES = _whole(), _pieces()


class Answering(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark or len(body) < _length(head):
            return
        self._received = b""
        # Written with and without a space after the colon, depending on the gateway.
        if b'"stream":true' in body or b'"stream": true' in body:
            self._send(0)
        else:
            self._transport.write(WHOLE)

    def _send(self, n: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(PIECES[n])
        if n + 1 < len(PIECES):
            self._loop.call_soon(self._send, n + 1)


def _length(head: bytes) -> int:
    found = head.lower().partition(b"content-length:")[2]
    return int(found.split(b"\r\n", 1)[0] or 0)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port, backlog=2048)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
