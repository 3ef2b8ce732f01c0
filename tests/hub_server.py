"""A hub on a loopback port: the addresses of huggingface.co that a model is fetched by, with ranges and checksums."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.local_server import LocalServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Serves the files of a folder as the repository acme/tiny. What follows is what it does wrong."""

    folder: Path
    extra: dict[str, bytes] = field(default_factory=dict)
    break_at: list[int] = field(default_factory=list)  # bytes of the weights after which a transfer breaks off, in turn
    spoil: bytes = b""  # sent in place of the weights
    gated: bool = False
    slow_s: float = 0.0  # after each piece of the weights
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, range

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with LocalServer(Handler).serving() as server:
            self.url = server.url
            yield self

    def _files(self) -> dict[str, bytes]:
        there = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        return there | self.extra

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        wanted_range = request.headers.get("Range", "")
        self.asked.append((path, wanted_range))
        if match := re.fullmatch(r"/api/models/acme/tiny(?:/revision/(.+))?", path):
            if match[1] not in (None, "main", COMMIT):
                _reply(request, b"{}", 404, **{"X-Error-Code": "RevisionNotFound"})
            else:
                _reply(request, json.dumps(self._listing()).encode())
        elif match := re.fullmatch(rf"/acme/tiny/resolve/{COMMIT}/(.+)", path):
            self._send_file(request, match[1], wanted_range)
        else:
            _reply(request, b"{}", 404, **{"X-Error-Code": "RepoNotFound"})

    def _listing(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, content in self._files().items():
            one: dict[str, Any] = {"rfilename": name, "size": len(content)}
            if name.endswith(".safetensors"):
                sha256 = hashlib.sha256(content).hexdigest()
                one["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            else:
                one["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            siblings.append(one)
        return {"id": "acme/tiny", "modelId": "acme/tiny", "sha": COMMIT, "siblings": siblings}

    def _send_file(self, request: BaseHTTPRequestHandler, name: str, wanted_range: str) -> None:
        if self.gated:
            _reply(request, b"{}", 403, **{"X-Error-Code": "GatedRepo"})
            return
        content = self._files()[name]
        is_weights = name.endswith(".safetensors")
        content = self.spoil if is_weights and self.spoil else content
        start = int(wanted_range.removeprefix("bytes=").partition("-")[0]) if wanted_range else 0
        part = content[start:]
        end = self.break_at.pop(0) if is_weights and self.break_at else len(part)
        request.send_response(206 if wanted_range else 200)
        request.send_header("Content-Type", "application/octet-stream")
        request.send_header("Content-Length", str(len(part)))
        request.end_headers()
        step = 4096 if is_weights and self.slow_s else len(part) or 1
        pause = threading.Event()
        try:
            for at in range(0, end, step):
                request.wfile.write(part[at : min(at + step, end)])
                if is_weights and self.slow_s:
                    pause.wait(self.slow_s)
        except OSError:
            return  # whoever fetched has left
        request.close_connection = True


def _reply(request: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(content)
