"""A web server for tests that does what servers should not."""

import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from tests.local_server import LocalServer

PAGE = """<html><head><title>年假</title><script>steal()</script></head>
<body><h1>Leave</h1><p>员工每年享有三十天带薪年假。</p><img src="x.png" alt="a beach"></body></html>"""


class Misbehaving(LocalServer):
    """`asked` holds (method, path, headers, body) of each request."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Misbehaving  # pyright: ignore[reportIncompatibleVariableOverride]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _sep, query = self.path.partition("?")
        path = path.partition("/pets/")[0]  # what lies below goes wrong in the same way
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        with suppress(ConnectionError):
            match path:
                case "/page":
                    self._send(PAGE.encode(), "text/html; charset=utf-8")
                case "/gbk":
                    self._send("员工每年享有三十天带薪年假。".encode("gb18030"), "text/plain")
                case "/missing":
                    self._send(b"no such page", "text/plain", 404)
                case "/to":
                    self._send(b"", "text/plain", 302, Location=unquote(query))
                case "/to307":
                    self._send(b"", "text/plain", 307, Location=unquote(query))
                case "/to302":
                    self._send(b"", "text/plain", 302, Location="/page")
                case "/loop":
                    self._send(b"", "text/plain", 302, Location="/loop")
                case "/picture":
                    self._send(b"\x89PNG\r\n", "image/png")
                case "/packed":
                    self._send(b"\x1f\x8b", "text/plain", 200, **{"Content-Encoding": "gzip"})
                case "/endless" | "/endless.json":
                    self._send(None, "application/json" if path.endswith("json") else "text/plain")
                    while not self.server.stopping.is_set():
                        self.wfile.write(b"x" * 65536)
                case "/slow":
                    self._send(None, "text/plain")
                    while not self.server.stopping.is_set():
                        self.wfile.write(b"x")
                        time.sleep(0.05)
                case "/silent":
                    self.server.stopping.wait(30)
                case _ if path.startswith("/echo"):
                    self._send(str(self.headers).encode(), "text/plain")
                case _:
                    self._send(b'{"said": "hello"}', "application/json")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer

    def _send(self, body: bytes | None, media_type: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
