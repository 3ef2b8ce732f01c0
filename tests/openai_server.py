"""A provider on a loopback port, for what asks one as a whole: its list of models, a chat, vectors."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.local_server import LocalServer


@dataclass
class FakeProvider:
    """What it lists, which key it wants, and what it was asked."""

    models: Any = field(default_factory=lambda: {"data": [{"id": "tiny-chat"}, {"id": "text-embed-1"}]})
    key: str = ""
    status: int = 200
    location: str = ""
    url: str = ""
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator["FakeProvider"]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._answer(self, None)

            def do_POST(self) -> None:
                provider._answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with LocalServer(Handler).serving() as server:
            self.url = f"{server.url}/v1"
            yield self

    def _answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        self.asked.append((request.path, dict(request.headers), body))
        if self.status != 200:
            _send(request, {"error": {"message": "no"}}, self.status, self.location)
        elif self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            _send(request, {"error": {"message": f"bad key {request.headers.get('Authorization')}"}}, 401)
        elif request.path == "/v1/models":
            _send(request, self.models)
        elif request.path == "/v1/embeddings":
            vectors = [{"index": n, "embedding": [3.0, 4.0]} for n in range(len(body["input"]))]
            _send(request, {"data": vectors, "usage": {"prompt_tokens": 2}})
        elif request.path == "/v1/rerank":
            _send(request, {"results": [{"index": n, "relevance_score": 0.5} for n in range(len(body["documents"]))]})
        else:
            _stream(request, ["Par", "is"])


def _send(request: BaseHTTPRequestHandler, document: Any, status: int = 200, location: str = "") -> None:
    content = json.dumps(document).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    if location:
        request.send_header("Location", location)
    request.end_headers()
    request.wfile.write(content)


def _stream(request: BaseHTTPRequestHandler, pieces: list[str]) -> None:
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})
    request.send_response(200)
    request.send_header("Content-Type", "text/event-stream")
    request.end_headers()
    for chunk in chunks:
        request.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    request.wfile.write(b"data: [DONE]\n\n")
