"""What every request passes: hosts, sizes, headers, ids, languages, and addresses that nobody serves."""

import json
import logging
import socket

import httpx
import pytest

from dizuo.api.middleware import JSON_LIMIT_BYTES
from tests.api.conftest import Served, error_of, until


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", ""])
def test_a_host_name_that_is_not_ours_is_refused(client: httpx.Client, host: str) -> None:
    for path in ("/api/knowledge", "/healthz", "/login"):
        assert "allowed_hosts" in error_of(client.get(path, headers={"Host": host}), 400)["message"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9", "[::1]:8000", "192.168.1.5:8000"])
def test_our_own_names_and_bare_addresses_are_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_every_answer_carries_the_security_headers(client: httpx.Client) -> None:
    for path in ("/api/knowledge", "/api/nothing", "/healthz", "/v1/models"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_a_request_keeps_its_id_and_gets_one_where_it_has_none(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {
        client.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 65)
    }
    assert len(made) == 3
    assert all(len(one) == 16 for one in made)


def test_every_request_is_a_log_line_without_what_was_looked_for(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dizuo.http"):
        client.get("/api/knowledge/handbook/search?q=secretword")
        until(lambda: "GET /api/knowledge/handbook/search 200 " in caplog.text)
    assert "secretword" not in "".join(r.getMessage() for r in caplog.records if r.name == "dizuo.http")


@pytest.mark.parametrize(
    ("path", "size_bytes"), [("/v1/embeddings", JSON_LIMIT_BYTES + 1), ("/api/knowledge/handbook/documents", 6 << 20)]
)
def test_a_body_over_the_limit_is_refused_by_its_length_alone(server: Served, path: str, size_bytes: int) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size_bytes}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=10) as raw:
        raw.sendall(head.encode())  # and no byte of the body
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_hides_its_length_is_cut_off_at_the_limit(client: httpx.Client) -> None:
    pieces = (b'{"model": "local/minilm", "input": "', *[b"x" * (1 << 20)] * 9, b'"}')
    answer = client.post("/v1/embeddings", content=iter(pieces), headers={"Content-Type": "application/json"})
    assert "Send less at once" in error_of(answer, 413)["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/nothing"), ("POST", "/v1/nothing"), ("GET", "/api"), ("GET", "/v1"), ("GET", "/api/knowledge/")],
)
def test_an_address_that_nobody_serves_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    assert path in error_of(client.request(method, path), 404)["message"]


def test_a_wrong_method_is_told_the_right_ones(client: httpx.Client) -> None:
    for method, path, allowed in (
        ("PUT", "/api/knowledge", "GET, POST"),
        ("POST", "/api/knowledge/handbook/search", "GET"),
        ("GET", "/v1/embeddings", "POST"),
        ("POST", "/healthz", "GET"),
    ):
        answer = client.request(method, path)
        assert allowed in error_of(answer, 405)["message"]
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"{", "application/json", "not valid JSON"),
        (b"", "application/json", "missing"),
        (b"[]", "application/json", "JSON object"),
        (b"\xff\xfe", "application/json", ""),
        (b"[" * 100_000, "application/json", ""),
        (b'{"model": NaN}', "application/json", ""),
        (b'{"name": "\\ud800"}', "application/json", ""),
        (b'{"name": "x"}', "text/plain", ""),
    ],
)
def test_a_body_that_cannot_be_read_is_an_error_of_the_caller(
    client: httpx.Client, content: bytes, kind: str, says: str
) -> None:
    answer = client.post("/api/knowledge", content=content, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422)
    assert says in error_of(answer, answer.status_code)["message"]


def test_an_unknown_query_parameter_is_refused_by_name(client: httpx.Client) -> None:
    error = error_of(client.get("/api/knowledge/handbook/search?q=leave&limt=3"), 422)
    assert error["param"] == "limt"
    assert "Nearest: limit" in error["message"]


@pytest.mark.parametrize(
    ("language", "says"), [("zh-CN,zh;q=0.9", "没有名为"), ("en", "No knowledge base"), ("", "No kn")]
)
def test_errors_are_in_the_readers_language(client: httpx.Client, language: str, says: str) -> None:
    answer = client.get("/api/knowledge/nothing", headers={"Accept-Language": language})
    assert says in error_of(answer, 404)["message"]


def test_validation_errors_are_in_the_readers_language_too(client: httpx.Client) -> None:
    answer = client.get("/api/knowledge/handbook/search?limit=0", headers={"Accept-Language": "zh"})
    message = error_of(answer, 422)["message"]
    assert "缺少 q。" in message
    assert "limit 不能小于 1。" in message


def test_the_answer_is_json_without_escapes(client: httpx.Client) -> None:
    raw = client.get("/api/knowledge/handbook/search", params={"q": "年假"}).content
    assert "年假".encode() in raw
    assert json.loads(raw)["hits"]
