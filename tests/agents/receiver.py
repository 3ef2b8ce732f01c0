"""A receiver of webhooks for tests, which does what it is told: takes, refuses, hangs, redirects, breaks off."""

import base64
import hashlib
import hmac
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.local_server import LocalServer


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    def verified(self, secret: str) -> bool:
        """As the specification has receivers do it; written down apart from what is tested."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        good = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        return fresh and f"v1,{good}" in self.headers["webhook-signature"].split(" ")


class Receiver(LocalServer):
    """`answers` says what becomes of the requests to come, one after the other; when they are used up, 200."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.got: list[Got] = []
        self.answers: list[int | str] = []

    @property
    def url(self) -> str:
        return f"{super().url}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append(Got(self.path, headers, body))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        with suppress(ConnectionError):
            match answer:
                case "hang":
                    self.server.stopping.wait(30)
                case "break":
                    self.connection.close()
                case str(location):
                    self._send(307, location)
                case int(status):
                    self._send(status)

    do_GET = do_POST

    def _send(self, status: int, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
