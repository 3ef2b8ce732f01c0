"""Who may call what."""

from collections.abc import Iterator

import httpx
import pytest

from dizuo.platform.identity import SESSION_COOKIE
from tests.api.conftest import Served, error_of

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def browser(server: Served) -> Iterator[httpx.Client]:
    """The member, signed in as the studio does it."""
    token = server.house.identity.login_link("member")
    with server.client("") as client:
        signed_in = client.post("/api/session/link", json={"token": token, "password": PASSWORD})
        assert signed_in.status_code == 200, signed_in.text
        cookie = signed_in.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/"))
        yield client


def csrf(browser: httpx.Client) -> str:
    return browser.get("/api/session").json()["csrf_token"]


PROTECTED = [
    ("GET", "/api/knowledge"), ("POST", "/api/knowledge"), ("POST", "/api/knowledge/handbook/documents"),
    ("GET", "/api/knowledge/handbook/search?q=x"), ("POST", "/api/knowledge/handbook/ask"), ("GET", "/api/threads"),
    ("GET", "/api/jobs"), ("GET", "/api/jobs/x/events"), ("GET", "/api/keys"), ("GET", "/api/users"),
    ("GET", "/api/config"), ("GET", "/api/doctor"), ("GET", "/api/backup"), ("GET", "/api/snapshots"),
    ("POST", "/api/repair"), ("GET", "/api/session"), ("GET", "/api/openapi.json"), ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"), ("POST", "/v1/embeddings"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_a_stranger_learns_nothing(server: Served, method: str, path: str) -> None:
    with server.client("") as stranger:
        for authorization in (b"", b"Bearer", b"Bearer dz-wrong", b"Basic b3duZXI6eA==", b"dz-wrong", b"Bearer \xff"):
            headers = [(b"Authorization", authorization)] if authorization else []
            answer = stranger.request(method, path, headers=headers, content=b"{")
            assert error_of(answer, 401)["type"] == "authentication_error"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_every_operation_but_signing_in_and_health_needs_a_key(server: Served, client: httpx.Client) -> None:
    described = client.get("/api/openapi.json").json()["paths"]
    open_doors = {
        (method, path)
        for path, operations in described.items()
        for method, operation in operations.items()
        if not operation.get("security")
    }
    assert open_doors == {
        ("post", "/api/session"), ("post", "/api/session/link"),
        ("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics"),
    }  # fmt: skip


def test_a_revoked_key_stops_working_at_once(server: Served, client: httpx.Client) -> None:
    made = client.post("/api/keys", json={"name": "short-lived"}).json()
    with server.client(made["key"]) as other:
        assert other.get("/api/knowledge").status_code == 200
        revoked = client.delete(f"/api/keys/{made['prefix']}")
        assert revoked.json()["revoked_at"]
        assert "key" not in revoked.json()
        assert "unknown or revoked" in error_of(other.get("/api/knowledge"), 401)["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/users"), ("POST", "/api/users"), ("GET", "/api/config"), ("GET", "/api/doctor"),
        ("GET", "/api/backup"), ("GET", "/api/snapshots"), ("POST", "/api/repair"),
        ("POST", "/api/knowledge/handbook/paths"), ("POST", "/api/knowledge/handbook/sync"),
    ],
)  # fmt: skip
def test_a_member_may_not_do_what_is_the_owners(member: httpx.Client, method: str, path: str) -> None:
    body = {"name": "x", "paths": ["/etc"], "folder": "/etc"}
    wanted = {k: v for k, v in body.items() if path.endswith({"name": "users", "paths": "paths", "folder": "sync"}[k])}
    error = error_of(member.request(method, path, json=wanted if method == "POST" and wanted else None), 403)
    assert "Only the owner" in error["message"]


def test_a_member_sees_and_revokes_their_own_keys_alone(client: httpx.Client, member: httpx.Client) -> None:
    mine = member.post("/api/keys", json={"name": "mine"}).json()
    theirs = client.post("/api/keys", json={"name": "theirs"}).json()
    assert {key["user"] for key in member.get("/api/keys").json()["keys"]} == {"member"}
    assert {key["user"] for key in client.get("/api/keys").json()["keys"]} == {"member", "owner"}
    error_of(member.delete(f"/api/keys/{theirs['id']}"), 404)
    error_of(member.delete(f"/api/keys/{theirs['prefix']}"), 404)
    assert member.delete(f"/api/keys/{mine['id']}").json()["revoked_at"]
    assert client.delete(f"/api/keys/{theirs['id']}").json()["revoked_at"]


# --- sessions -------------------------------------------------------------------------------------------------


def test_a_session_reads_without_and_writes_only_with_its_csrf_token(browser: httpx.Client) -> None:
    assert browser.get("/api/knowledge").status_code == 200
    assert "CSRF" in error_of(browser.post("/api/keys", json={"name": "x"}), 403)["message"]
    wrong = {"X-CSRF-Token": "x" * 43}
    error_of(browser.post("/api/keys", json={"name": "x"}, headers=wrong), 403)
    right = {"X-CSRF-Token": csrf(browser)}
    made = browser.post("/api/keys", json={"name": "x"}, headers=right)
    assert made.status_code == 201
    assert browser.delete(f"/api/keys/{made.json()['id']}", headers=right).status_code == 200


def test_a_page_of_another_origin_cannot_use_the_session(server: Served, browser: httpx.Client) -> None:
    token = csrf(browser)
    for origin in ("https://evil.example", "null", "http://[", server.url.replace("127.0.0.1", "localhost")):
        answer = browser.post("/api/keys", json={"name": "x"}, headers={"Origin": origin, "X-CSRF-Token": token})
        assert "may not use a session" in error_of(answer, 403)["message"]
    own = browser.post("/api/keys", json={"name": "x"}, headers={"Origin": server.url, "X-CSRF-Token": token})
    assert own.status_code == 201


def test_a_page_of_another_origin_cannot_sign_somebody_in(server: Served) -> None:
    answer = httpx.post(
        f"{server.url}/api/session", json={"name": "a", "password": "b"}, headers={"Origin": "https://evil.example"}
    )
    error_of(answer, 403)


def test_no_page_of_another_origin_may_read_an_answer(client: httpx.Client) -> None:
    answer = client.get("/api/knowledge", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = client.options("/api/knowledge", headers={"Origin": "https://evil.example"})
    assert not [name for name in asked.headers if name.startswith("access-control")]


def test_signing_in_with_a_password_and_out_again(server: Served, browser: httpx.Client) -> None:
    with server.client("") as other:
        wrong = other.post("/api/session", json={"name": "member", "password": "wrong password"})
        error_of(wrong, 401)
        signed_in = other.post("/api/session", json={"name": "member", "password": PASSWORD})
        assert signed_in.json()["user"]["name"] == "member"
        left = other.delete("/api/session", headers={"X-CSRF-Token": signed_in.json()["csrf_token"]})
        assert left.status_code == 204
        other.cookies.set(SESSION_COOKIE, signed_in.cookies[SESSION_COOKIE])
        error_of(other.get("/api/session"), 401)


def test_a_one_time_link_works_once(server: Served, client: httpx.Client) -> None:
    made = client.post("/api/users", json={"name": "newcomer"}).json()
    assert made["link"] == f"{server.url}/login?token={made['token']}"
    body = {"token": made["token"], "password": PASSWORD}
    with server.client("") as other:
        error_of(other.post("/api/session/link", json=body | {"password": "short"}), 400)
        assert other.post("/api/session/link", json=body).status_code == 200
        error_of(other.post("/api/session/link", json=body), 401)
    assert client.delete("/api/users/newcomer").status_code == 204
    error_of(client.post("/api/users/newcomer/link"), 404)
    assert [user["name"] for user in client.get("/api/users").json()["users"]] == ["owner", "member"]


def test_guessing_a_password_is_stopped(server: Served) -> None:
    with server.client("") as other:
        answers = [other.post("/api/session", json={"name": "victim", "password": f"guess {n}"}) for n in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 900
    error = error_of(answers[-1], 429)
    assert error["type"] == "rate_limit_error"
