"""The short way of plain requests: what comes of it is what comes of FastAPI's own way."""

import json
from typing import Any

import httpx
import pytest

from tests.api.conftest import MODEL, Served

PLAIN = "application/json"
THOROUGH = "application/json; charset=utf-8"  # takes FastAPI's way
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
RESPONSE: dict[str, Any] = {"model": MODEL, "input": "Hi"}
BODIES: dict[str, bytes] = {
    "one that fits": json.dumps(CHAT).encode(),
    "an unknown parameter": json.dumps({**CHAT, "temprature": 1}).encode(),
    "a wrong type": json.dumps({**CHAT, "temperature": "hot"}).encode(),
    "not a number": json.dumps({**CHAT, "temperature": float("nan")}).encode(),
    "no finite number": json.dumps({**CHAT, "temperature": 1}).replace(": 1", ": 1e999").encode(),
    "a number as a text": json.dumps({**CHAT, "max_tokens": "7"}).encode(),
    "a truth for a number": json.dumps({**CHAT, "max_tokens": True}).encode(),
    "a text for a truth": json.dumps({**CHAT, "stream": "no"}).encode(),
    "half a character": json.dumps({**CHAT, "messages": [{"role": "user", "content": "\ud83d"}]}).encode(),
    "a field that comes twice": json.dumps(CHAT).replace("{", '{"model": "no/such", ', 1).encode(),
    "no JSON": b"{model:",
    "no UTF-8": b'{"model": "\xff"}',
    "a list": b"[]",
    "nothing": b"",
    "too deep": b'{"model":' + b"[" * 5000,
}


def sent(server: Served, path: str, body: bytes, kind: str) -> httpx.Response:
    server.say("Good day.")
    with server.client() as client:
        return client.post(path, content=body, headers={"Content-Type": kind})


def shown(response: httpx.Response) -> tuple[int, Any]:
    """What does not change from request to request."""
    said = response.json()
    for name in ("id", "created", "created_at"):
        said.pop(name, None)
    (said.get("error") or {}).pop("request_id", None)
    for item in said.get("output", ()):
        item.pop("id", None)
    return response.status_code, said


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_chat_is_answered_or_refused_alike(server: Served, body: bytes) -> None:
    plain, thorough = (sent(server, "/v1/chat/completions", body, kind) for kind in (PLAIN, THOROUGH))
    assert shown(plain) == shown(thorough)


@pytest.mark.parametrize("body", [RESPONSE, {**RESPONSE, "inpt": 1}, {**RESPONSE, "input": []}])
def test_a_response_is_made_or_refused_alike(server: Served, body: dict[str, Any]) -> None:
    plain, thorough = (sent(server, "/v1/responses", json.dumps(body).encode(), kind) for kind in (PLAIN, THOROUGH))
    assert shown(plain) == shown(thorough)


def test_a_query_parameter_is_refused_by_name(server: Served) -> None:
    refused = sent(server, "/v1/chat/completions?verbose=1", json.dumps(CHAT).encode(), PLAIN)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "verbose")


def test_a_stranger_learns_nothing_of_a_body(server: Served) -> None:
    with server.client("") as client:
        for kind in (PLAIN, THOROUGH):
            refused = client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": kind})
            assert refused.status_code == 401
