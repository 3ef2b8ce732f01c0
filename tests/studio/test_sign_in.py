"""Who comes in, and who does not: pages, sockets, links."""

import http.client
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from nicegui.version import __version__ as nicegui_version

from dizuo.platform.identity import SESSION_COOKIE
from tests.studio.conftest import Studio, Visit

pytestmark = pytest.mark.browser


def get(studio: Studio, path: str, session: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(urlsplit(studio.address).netloc, timeout=20)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if session:
        given["Cookie"] = f"{SESSION_COOKIE}={session}"
    try:
        connection.request("GET", path, headers=given)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def socket_opens(studio: Studio, client_id: str, session: str = "") -> bool:
    path = f"/_nicegui_ws/socket.io/?EIO=4&transport=websocket&client_id={client_id}&document_id=d&tab_id=t"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    status = get(studio, path, session, **upgrade, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")[0]
    assert status in (101, 403)
    return status == 101


def client_id_of(html: str) -> str:
    found = re.search(r"'client_id': '([0-9a-f-]{36})'", html)
    assert found
    return found[1]


PATHS = (
    "/",
    "/threads/x",
    "/knowledge",
    "/knowledge/handbook",
    "/knowledge/handbook/search?q=a",
    "/knowledge/handbook/documents/x",
    "/settings",
    "/nowhere",
    f"/_nicegui/{nicegui_version}/nowhere",
)


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_is_sent_to_the_sign_in_page(studio: Studio, path: str) -> None:
    status, headers, body = get(studio, path)
    assert (status, body) == (303, "")
    assert headers["location"].startswith("/login")


@pytest.mark.parametrize("path", ["resources/x", "dynamic_resources/a/b", "esm/x"])
def test_a_stranger_gets_no_page_among_the_files_of_the_library(studio: Studio, path: str) -> None:
    status, _headers, body = get(studio, f"/_nicegui/{nicegui_version}/{path}")
    assert (status, body) == (404, "")


def test_a_session_that_was_never_given_is_a_strangers(studio: Studio) -> None:
    assert get(studio, "/", session="made-up")[0] == 303


def test_a_stranger_opens_no_socket_not_even_of_a_page_that_is_open(studio: Studio, owner_session: str) -> None:
    client_id = client_id_of(get(studio, "/", owner_session)[2])
    assert not socket_opens(studio, client_id)
    assert get(studio, f"/_nicegui_ws/socket.io/?EIO=4&transport=polling&client_id={client_id}")[0] == 401


def test_a_page_takes_the_socket_of_its_own_user_only(studio: Studio, owner_session: str) -> None:
    member = studio.house.identity.create_user("mallory")
    try:
        theirs = studio.session(member)
        client_id = client_id_of(get(studio, "/", owner_session)[2])
        assert not socket_opens(studio, client_id, theirs)
        assert not socket_opens(studio, "", owner_session), "a socket without a page could pick one later"
        assert socket_opens(studio, client_id, owner_session)
    finally:
        studio.house.identity.remove_user("mallory")


def test_another_users_thread_is_not_found(studio: Studio, visit: Visit) -> None:
    member = studio.house.identity.create_user("wang")
    try:
        thread = studio.house.threads.create(member.id, "handbook", "a private matter")
        page = visit.page(f"/threads/{thread.id}")
        page.locator(".toast.bad").wait_for()
        assert "a private matter" not in page.locator("body").inner_text()
    finally:
        studio.house.identity.remove_user("wang")


def test_pages_load_nothing_from_elsewhere_by_policy(studio: Studio, owner_session: str) -> None:
    policy = get(studio, "/", owner_session)[1]["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in get(studio, "/login")[1]["content-security-policy"]


def test_one_signs_in_by_a_link_out_and_in_again(studio: Studio, stranger: Visit) -> None:
    member = studio.house.identity.create_user("李雷")
    try:
        token = studio.house.identity.login_link(member.name)
        page = stranger.page(f"/login?token={token}&next=/settings")
        page.fill("#password", "correct horse")
        page.fill("#again", "correct house")
        page.click("button[type=submit]")
        assert page.locator("#problem").inner_text() == "The two passwords differ."
        page.fill("#again", "correct horse")
        page.click("button[type=submit]")
        page.wait_for_url("**/settings")
        assert page.locator(".who .name").inner_text() == "李雷"
        assert page.locator("h2", has_text="This instance").count() == 0, "a member sees no settings of the instance"

        page.click(".who [data-signout]")
        page.wait_for_url("**/login")
        page.fill("#name", "李雷")
        page.fill("#password", "wrong password")
        page.press("#password", "Enter")
        page.locator("#problem:not([hidden])").wait_for()
        assert page.locator("#problem").inner_text() == "The name or the password is wrong."
        page.fill("#password", "correct horse")
        page.press("#password", "Enter")
        page.wait_for_url(studio.address + "/")
    finally:
        studio.house.identity.remove_user("李雷")


def test_a_page_closes_when_its_session_ends_elsewhere(studio: Studio, chromium: Any) -> None:
    member = studio.house.identity.create_user("leaving")
    session = studio.session(member)
    visit = Visit(chromium, studio, session)
    try:
        page = visit.page("/knowledge")
        studio.house.identity.logout(session)
        page.wait_for_url("**/login?next=**", timeout=20_000)
    finally:
        visit.close()
        studio.house.identity.remove_user("leaving")


def test_a_used_link_says_so(studio: Studio, stranger: Visit) -> None:
    page = stranger.page("/login?token=never-made", locale="zh-CN")
    page.fill("#password", "correct horse")
    page.fill("#again", "correct horse")
    page.click("button[type=submit]")
    page.locator("#problem:not([hidden])").wait_for()
    assert "链接" in page.locator("#problem").inner_text()
