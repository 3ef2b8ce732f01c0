"""`dizuo provider …`, and models of providers asked by `dizuo model test`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.openai_server import FakeProvider
from tests.tiny_models import save_llama

Command = Callable[..., Ran]
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def acme() -> Iterator[FakeProvider]:
    with FakeProvider(key=KEY).serving() as provider:
        yield provider


def test_a_provider_is_added_by_url_and_key_and_its_model_is_tested(dizuo: Command, acme: FakeProvider) -> None:
    added = dizuo("provider", "add", "acme", "--url", acme.url, "--key", "-", "--json", stdin=KEY + "\n")
    assert added.status == 0, added.err
    assert (added.json["answers"], added.json["has_key"]) == (True, True)
    asked = dizuo("model", "test", "acme/tiny-chat", "--json").json
    assert (asked["said"], asked["tokens"], asked["kind"]) == ("Paris", 2, "chat")
    assert asked["first_s"] <= asked["seconds"]
    vector = dizuo("model", "test", "acme/text-embed-1")
    assert "2 dimensions" in vector.err
    assert dizuo("provider", "models", "acme").out.split() == ["acme/text-embed-1", "acme/tiny-chat"]
    shown = [dizuo("provider", *words) for words in (["show", "acme"], ["list"], ["list", "--json"])]
    assert all(KEY not in one.out + one.err for one in [added, *shown])
    assert "stored, encrypted" in shown[0].out
    assert dizuo("provider", "remove", "acme", "--json").json == {"removed": "acme"}
    assert dizuo("provider", "list", "--json").json == {"providers": []}


def test_one_that_does_not_answer_is_kept_and_says_why(dizuo: Command, acme: FakeProvider) -> None:
    added = dizuo("provider", "add", "acme", "--url", acme.url, "--key", "sk-wrong-0123456789")
    assert added.status == 0
    assert "refused the key" in added.err
    asked = dizuo("model", "test", "acme/tiny-chat")
    assert (asked.status, asked.out) == (1, "")
    assert "dizuo provider show acme" in asked.err
    assert dizuo("provider", "key", "acme", stdin=KEY).status == 0
    assert dizuo("model", "test", "acme/tiny-chat").status == 0


def test_a_key_of_the_environment_is_used_and_named(
    dizuo: Command, acme: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    added = dizuo("provider", "add", "work", "--preset", "deepseek", "--url", acme.url)
    assert "from DEEPSEEK_API_KEY" in added.out
    assert KEY not in added.out + added.err
    assert dizuo("model", "test", "work/tiny-chat", "--json").json["said"] == "Paris"


def test_the_catalogue_is_listed_in_both_languages(dizuo: Command) -> None:
    assert "DASHSCOPE_API_KEY" in dizuo("provider", "list", "--all").out
    assert "智谱" in dizuo("provider", "list", "--all", "--language", "zh").out
    assert len(dizuo("provider", "list", "--all", "--json").json["catalogue"]) > 20
    unknown = dizuo("provider", "add", "acme")
    assert unknown.status == 1
    assert "openai" in unknown.err


def test_a_folder_is_added_as_an_open_model(dizuo: Command, tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "tiny", positions=512)
    added = dizuo("model", "add", "hf/acme/tiny", "--from", str(folder), "--json")
    assert added.status == 0, added.err
    assert (added.json["job"]["status"], added.json["model"]["kind"]) == ("done", "chat")
    assert dizuo("model", "test", "hf/acme/tiny", "--json").json["said"]
    wrong = dizuo("model", "add", "tiny")
    assert wrong.status == 1
    assert "hf/ORG/NAME" in wrong.err
