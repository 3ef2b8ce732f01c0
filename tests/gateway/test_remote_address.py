"""Addresses, keys, headers and proxies of providers: what is accepted, and what is refused before anything is sent."""

import pytest

from dizuo.core.errors import UserError
from dizuo.gateway.remote import RemoteModel
from dizuo.gateway.remote_address import proxy_of


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/v1",
        "http://localhost/v1",
        "http://[::1]:1/v1",
        "http://192.168.1.2/v1",
        "http://vllm:8000/v1",
        "http://box.lan/v1",
        "https://api.example.com/v1/",
        "https://api.example.com/v1/chat/completions",
    ],
)
def test_these_addresses_are_accepted(url: str) -> None:
    RemoteModel("test/model", url)


@pytest.mark.parametrize("url", ["http://api.example.com/v1", "http://8.8.8.8/v1", "http://134744072/v1"])
def test_plain_http_to_the_internet_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="without encryption"):
        RemoteModel("test/model", url)


@pytest.mark.parametrize(
    "url", ["", "api.example.com", "ftp://x/v1", "file:///etc/passwd", "https://x/v1?a=b", "http://[", "https://x/\nv1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="must be an address such as"):
        RemoteModel("test/model", url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="name or password") as error:
        RemoteModel("test/model", "https://me:hunter2@api.example.com/v1")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("key", ["a b", "sk-\u00e9", "sk-\nX-Evil: 1"])
def test_a_key_that_cannot_be_a_header_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UserError, match=r"Copy it again\. See model_base_url") as error:
        RemoteModel("test/model", "https://api.example.com/v1", key)
    assert key not in str(error.value)


@pytest.mark.parametrize("header", [{"X-Org": "a\r\nX-Evil: 1"}, {"X Org": "a"}, {"X-Org": "\u00e9"}, {"": "a"}])
def test_a_header_that_cannot_be_sent_is_refused(header: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"cannot be sent.*See dizuo provider show test"):
        RemoteModel("test/model", "https://api.example.com/v1", headers=header, settings="dizuo provider show test")


def test_messages_point_to_where_the_provider_is_kept() -> None:
    with pytest.raises(UserError, match=r"See dizuo provider show test\."):
        RemoteModel("test/model", "nowhere", settings="dizuo provider show test")


def test_the_proxy_of_the_environment_is_for_the_way_out_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.lan:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.lan:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example.com")
    assert proxy_of("https://api.example.com/v1", "-") == "http://proxy.lan:3128"
    assert proxy_of("https://inside.example.com/v1", "-") is None
    assert proxy_of("http://127.0.0.1:11434/v1", "-") is None


def test_a_proxy_that_is_not_spoken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:secret@127.0.0.1:1080")
    with pytest.raises(UserError, match="kind socks5") as error:
        RemoteModel("test/model", "https://api.example.com/v1")
    assert "secret" not in str(error.value)
