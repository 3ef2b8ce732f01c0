"""/api/providers and what asks a model: keys go in and never come out, and changes are the owner's."""

from collections.abc import Iterator

import httpx
import pytest

from tests.api.conftest import Served, error_of
from tests.openai_server import FakeProvider

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def acme(client: httpx.Client) -> Iterator[FakeProvider]:
    with FakeProvider(key=KEY).serving() as provider:
        yield provider
    client.delete("/api/providers/acme")


def test_a_provider_is_added_tested_and_removed_and_its_key_stays_inside(
    client: httpx.Client, acme: FakeProvider
) -> None:
    added = client.post("/api/providers", json={"name": "acme", "base_url": acme.url, "key": KEY})
    assert added.status_code == 201
    assert (added.json()["has_key"], added.json()["key_from"]) == (True, "stored")
    tested = client.post("/api/providers/acme/test").json()
    assert tested["provider"]["models"] == ["text-embed-1", "tiny-chat"]
    listed = client.get("/api/providers")
    assert [one["name"] for one in listed.json()["providers"]] == ["acme"]
    assert KEY not in added.text + listed.text + client.get("/api/providers/acme").text
    assert "acme/tiny-chat" in [one["name"] for one in client.get("/api/models").json()["models"]]
    asked = client.post("/api/trials", json={"model": "acme/tiny-chat"}).json()
    assert (asked["said"], asked["tokens"]) == ("Paris", 2)
    changed = client.patch("/api/providers/acme", json={"key": ""})
    assert changed.json()["has_key"] is False
    refused = error_of(client.post("/api/providers/acme/test"), 502)
    assert "refused the key" in refused["message"]
    assert client.delete("/api/providers/acme").status_code == 200
    error_of(client.get("/api/providers/acme"), 404)


def test_members_see_providers_and_change_none(member: httpx.Client, client: httpx.Client, acme: FakeProvider) -> None:
    client.post("/api/providers", json={"name": "acme", "base_url": acme.url, "key": KEY})
    assert KEY not in member.get("/api/providers").text
    inner = {"name": "inner", "base_url": "http://127.0.0.1:1/v1"}
    error_of(member.post("/api/providers", json=inner), 403)
    error_of(member.patch("/api/providers/acme", json={"key": "x"}), 403)
    error_of(member.post("/api/providers/acme/test"), 403)
    error_of(member.delete("/api/providers/acme"), 403)
    error_of(member.post("/api/models", json={"name": "hf/acme/tiny"}), 403)
    error_of(member.post("/api/trials", json={"model": "acme/tiny-chat"}), 403)
    assert len(acme.asked) == 0


def test_the_catalogue_is_there_in_both_languages(client: httpx.Client) -> None:
    catalogue = client.get("/api/presets").json()["catalogue"]
    qwen = next(one for one in catalogue if one["id"] == "qwen")
    assert qwen["base_url"].startswith("https://dashscope")
    assert set(qwen["name"]) == {"en", "zh"}


def test_a_refused_body_does_not_repeat_the_key(client: httpx.Client) -> None:
    answer = client.post("/api/providers", json={"name": "acme", "keys": KEY, "key": [KEY]})
    assert answer.status_code in (400, 422)
    assert KEY not in answer.text
    wrong = client.post("/api/providers", json={"name": "acme", "base_url": "https://me:hunter2@x.example/v1"})
    assert "hunter2" not in wrong.text


def test_a_chat_of_the_protocol_reaches_the_provider(client: httpx.Client, acme: FakeProvider, server: Served) -> None:
    client.post("/api/providers", json={"name": "acme", "base_url": acme.url, "key": KEY})
    body = {"model": "acme/tiny-chat", "messages": [{"role": "user", "content": "Capital of France?"}]}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "Paris"
