"""Pages of the web: as text, from public addresses only, within limits, whatever a server does."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dizuo.agents import web as web_module
from dizuo.agents.web import Answer, FetchFailed, Web, WebLimits, fetch_tool, is_public
from dizuo.core.tools import ToolContext, ToolResult
from dizuo.wiring import House
from tests.agents.web_server import Misbehaving


@pytest.fixture(scope="module")
def site() -> Iterator[Misbehaving]:
    with Misbehaving().serving() as server:
        yield server


ALLOWED = Web(["127.0.0.1"], WebLimits(seconds=1.0, bytes=100_000))


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, site: Misbehaving) -> Web:
    """A guard for which 127.0.0.1 is an address of the internet, and nothing else."""
    monkeypatch.setattr(web_module, "is_public", lambda address: is_public(address) or address == "127.0.0.1")
    return Web(limits=WebLimits(seconds=5))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What names stand for, in place of the DNS."""
    known: dict[str, str] = {}

    def look_up(host: str, port: Any, *_: Any, **_options: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(f"{host} is unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host].split()]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def asked(web: Web, url: str, **how: Any) -> Answer:
    return asyncio.run(web.request("GET", url, **how))


def refusal(web: Web, url: str) -> str:
    with pytest.raises(FetchFailed) as raised:
        asked(web, url)
    return str(raised.value)


# --- where it may go ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::", "240.0.0.1", "192.0.2.1",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_and_of_private_networks_are_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "localhost", "[::1]",
        "[::ffff:127.0.0.1]", "169.254.169.254", "１２７.0.0.1", "0.0.0.0",
    ],
)  # fmt: skip
def test_this_machine_is_not_asked_however_it_is_written(site: Misbehaving, host: str) -> None:
    before = len(site.asked)
    refusal(Web(), f"http://{host}:{site.server_port}/page")
    assert len(site.asked) == before


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "page", "", "http://", "http:///x",
        "http://a@127.0.0.1/page", "http://1.1.1.1\\@127.0.0.1/page", "http://1.1.1.1:99999/", "http://[::1/",
        "http://\0/", "http://" + "a" * 300 + "/",
    ],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(url: str) -> None:
    refusal(Web(limits=WebLimits(seconds=5)), url)


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://2130706433/",
        "file:///x",
    ],
)
def test_no_redirect_leads_to_a_private_address(public: Web, site: Misbehaving, to: str) -> None:
    said = refusal(public, f"{site.url}/to?{to}")
    assert "private network" in said or "Only http" in said


def test_no_redirect_leads_out_of_the_hosts_that_are_allowed(site: Misbehaving) -> None:
    assert "not among the hosts" in refusal(ALLOWED, f"{site.url}/to?http://1.1.1.1/")
    assert "not among the hosts" in refusal(ALLOWED, f"http://localhost:{site.server_port}/page")


def test_a_name_that_stands_for_this_machine_is_not_asked(names: dict[str, str], site: Misbehaving) -> None:
    names["rebound.example"] = "127.0.0.1"
    names["both.example"] = "1.1.1.1 127.0.0.1"
    before = len(site.asked)
    for host in names:
        assert "private network" in refusal(Web(), f"http://{host}:{site.server_port}/page")
    assert len(site.asked) == before


def test_a_name_is_looked_up_once_for_the_guard_and_the_connection(
    names: dict[str, str], public: Web, site: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    names["page.example"] = "127.0.0.1"
    look_up, looked = socket.getaddrinfo, []
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *of, **how: looked.append(host) or look_up(host, *of, **how)
    )
    assert asked(public, f"http://page.example:{site.server_port}/page").status == 200
    assert [host for host in looked if host == "page.example"] == ["page.example"]


def test_redirects_are_followed_where_they_may_lead(public: Web, site: Misbehaving) -> None:
    answer = asked(public, f"{site.url}/to?/to?/page")
    assert (answer.status, answer.url) == (200, f"{site.url}/page")
    assert asked(public, f"{site.url}/to?/page", follow=False).status == 302


# --- how much it takes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/loop", "redirects more than 5 times"),
        ("/endless", "over 100000 bytes"),
        ("/slow", "more than 1 seconds"),
        ("/silent", "more than 1 seconds"),
        ("/packed", "packed"),
    ],
)
def test_limits_hold(site: Misbehaving, path: str, says: str) -> None:
    began_s = time.monotonic()
    assert says in refusal(ALLOWED, site.url + path)
    assert time.monotonic() - began_s < 5


def test_nothing_of_ours_is_sent_along(site: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    asked(ALLOWED, f"{site.url}/page")
    _method, _path, headers, _body = site.asked[-1]
    assert headers.keys() == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}


# --- the tool -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An instance that may read pages of the site."""
    home = tmp_path_factory.mktemp("web") / "home"
    with House.open({"DIZUO_HOME": str(home), "DIZUO_FETCH_ALLOW": " 127.0.0.1 , docs.example"}) as house:
        yield house


def fetched(house: House, url: str) -> ToolResult:
    [tool] = house.toolbox.lend(["fetch_page"]).tools
    return asyncio.run(tool.call(json.dumps({"url": url}), ToolContext()))


def test_a_page_is_read_as_text_that_nobody_trusts(house: House, site: Misbehaving) -> None:
    result = fetched(house, f"{site.url}/to?/page")
    assert (result.failed, result.trusted) == (False, False)
    assert result.text.startswith(f"{site.url}/page\n")
    assert "# Leave" in result.text
    assert "员工每年享有三十天带薪年假。" in result.text
    assert "steal" not in result.text


def test_plain_text_is_read_in_the_encoding_that_it_has(house: House, site: Misbehaving) -> None:
    assert "员工每年享有三十天带薪年假。" in fetched(house, f"{site.url}/gbk").text


@pytest.mark.parametrize(
    ("path", "says"), [("/picture", "image/png"), ("/missing", "Status 404"), ("/packed", "packed")]
)
def test_what_is_no_page_is_a_failed_result(house: House, site: Misbehaving, path: str, says: str) -> None:
    result = fetched(house, site.url + path)
    assert (result.failed, result.trusted) == (True, False)
    assert says in result.text


def test_hosts_that_are_allowed_are_read_without_asking_and_others_never(house: House, site: Misbehaving) -> None:
    [tool] = house.toolbox.lend(["fetch_page"]).tools
    assert tool.effect == "read"
    assert "127.0.0.1, docs.example" in fetched(house, "http://1.1.1.1/").text
    assert fetch_tool(Web(), lambda _body, _type: "").effect == "outside"  # a person is asked
