"""Providers: kept with their keys encrypted, asked for their models, found by the names of those."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from dizuo.core.errors import Conflict, ModelError, NotFound, UserError
from dizuo.core.events import Event
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel
from dizuo.gateway.listing import kind_of
from dizuo.gateway.models import Models
from dizuo.gateway.probe import probe
from dizuo.gateway.providers import Providers
from dizuo.platform import changes, schema
from dizuo.platform.database import Database
from dizuo.platform.secrets import Secrets
from dizuo.wiring import House
from tests.api.upstream import Chat, Upstream
from tests.conftest import migrated
from tests.gateway.provider import text_of
from tests.openai_server import FakeProvider

KEY = "sk-very-secret-0123456789"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    home = tmp_path_factory.mktemp("providers")
    database = migrated(f"sqlite:///{home / 'dizuo.db'}", home)
    yield database
    database.close()


@pytest.fixture
def database(opened: Database) -> Iterator[Database]:
    """One for all tests here, empty for each: only the first two below are about the kind of database."""
    yield opened
    with opened.write() as connection:
        connection.execute(schema.providers.delete())


@pytest.fixture
def providers(database: Database, tmp_path: Path) -> Providers:
    return Providers(database, Secrets(tmp_path), {"DEEPSEEK_API_KEY": "sk-of-the-environment"})


def models_of(providers: Providers) -> Models:
    return Models(providers=lambda: providers)


def test_what_another_process_changes_holds_for_the_next_call(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(migrated(database_url, tmp_path / "home")) as here, closing(Database(database_url)) as other:
        if not here.is_sqlite:
            monkeypatch.setattr(changes, "_FRESH_S", -1.0)  # there within a second
        providers, there = (Providers(one, Secrets(tmp_path)) for one in (here, other))
        assert not providers.has("acme")
        there.add("acme", base_url="http://127.0.0.1:1/v1", key=KEY)
        assert providers.access("acme").key == KEY
        there.set_key("acme", "sk-another")
        assert providers.access("acme").key == "sk-another"
        there.remove("acme")
        there.add("acme", base_url="http://127.0.0.1:2/v1")
        assert providers.access("acme").base_url == "http://127.0.0.1:2/v1"
        there.remove("acme")
        assert not providers.has("acme")


def said(model: ChatModel, messages: Sequence[Message]) -> str:
    async def collected() -> list[Event]:
        return [event async for event in model.stream(messages)]

    return text_of(asyncio.run(collected()))


def test_the_model_of_the_settings_is_asked_where_its_provider_is_now(home: Path) -> None:
    asked: list[str] = []

    def answering(name: str) -> Chat:
        return lambda _body: asked.append(name) or {"content": name}

    question = [Message(role="user", content="Where are you?")]
    with (
        Upstream(answering("one")).serving() as one,
        Upstream(answering("two")).serving() as two,
        House.open({"DIZUO_HOME": str(home), "DIZUO_MODEL": "acme/m", "DIZUO_CACHE": "off"}) as house,
    ):
        house.providers.add("acme", base_url=one)
        held = house.chat_model
        assert held is not None
        assert said(held, question) == "one"
        house.providers.remove("acme")
        house.providers.add("acme", base_url=two)
        assert said(held, question) == "two"
    assert asked == ["one", "two"]


def test_a_provider_lives_on_both_databases(database_url: str, tmp_path: Path) -> None:
    database = migrated(database_url, tmp_path / "home")
    providers = Providers(database, Secrets(tmp_path))
    with FakeProvider(key=KEY).serving() as server:
        providers.add("acme", base_url=server.url, key=KEY)
        providers.test("acme")
    there = Providers(database, Secrets(tmp_path)).get("acme")
    assert (there.has_key, there.models, there.problem) == (True, ["text-embed-1", "tiny-chat"], None)
    assert Providers(database, Secrets(tmp_path)).access("acme").key == KEY
    with pytest.raises(Conflict):
        providers.add("acme", base_url="http://127.0.0.1:9/v1")
    assert providers.remove("acme").name == "acme"
    assert providers.list() == []
    database.close()


def test_one_of_the_catalogue_takes_a_name_and_any_other_a_url(providers: Providers) -> None:
    assert providers.add("qwen", key=KEY).base_url == "https://dashscope.aliyuncs.com/compatible-mode/v1"
    lan = providers.add("lan", base_url=" http://192.168.1.9:8000/v1/ ")
    assert (lan.preset, lan.base_url, lan.has_key) == ("", "http://192.168.1.9:8000/v1", False)
    again = providers.add("work", preset="deepseek")
    assert (again.preset, again.key_from) == ("deepseek", "environment")
    assert [one.name for one in providers.list()] == ["lan", "qwen", "work"]


def test_a_key_is_kept_encrypted_and_never_given_out(providers: Providers, database: Database) -> None:
    info = providers.add("openai", key=KEY + "\n")
    assert (info.has_key, info.key_from) == (True, "stored")
    assert KEY not in info.model_dump_json() + repr(info) + repr(providers.access("openai"))
    with database.read() as connection:
        row = connection.exec_driver_sql("SELECT key_cipher FROM providers").one()
    assert KEY.encode() not in bytes(row.key_cipher)
    assert providers.access("openai").key == KEY


def test_a_stored_key_goes_before_the_one_of_the_environment(providers: Providers) -> None:
    providers.add("deepseek")
    assert providers.access("deepseek").key == "sk-of-the-environment"
    providers.set_key("deepseek", KEY)
    assert providers.access("deepseek").key == KEY
    assert providers.set_key("deepseek", "").key_from == "environment"


def test_a_key_of_another_machine_has_to_be_given_again(
    providers: Providers, database: Database, tmp_path: Path
) -> None:
    providers.add("openai", key=KEY)
    here = Providers(database, Secrets(tmp_path / "here"))
    problem = here.get("openai").problem
    assert problem is not None
    assert "openai cannot be read" in str(problem)
    assert "Give it again" in str(problem)
    with pytest.raises(UserError, match="Give it again"):
        here.access("openai")
    assert here.set_key("openai", KEY).problem is None


@pytest.mark.parametrize(
    ("name", "url", "words"),
    [
        ("Big Name", "http://127.0.0.1/v1", "lower-case letters"),
        ("local", "http://127.0.0.1/v1", "is taken"),
        ("hf", "http://127.0.0.1/v1", "is taken"),
        ("acme", "", "base URL"),
        ("acme", "http://models.example.com/v1", "without encryption"),
        ("acme", "https://me:hunter2@models.example.com/v1", "holds a name or password"),
        ("acme", "file:///etc/passwd", "must be an address"),
        ("acme", "https://models.example.com/v1?key=1", "must be an address"),
    ],
)
def test_what_cannot_be_a_provider_is_refused(providers: Providers, name: str, url: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        providers.add(name, base_url=url)
    assert "hunter2" not in str(refused.value)
    assert providers.list() == []


def test_a_wrong_key_a_taken_name_and_an_unknown_one_are_said(providers: Providers) -> None:
    with pytest.raises(UserError, match="no key has") as refused:
        providers.add("openai", key="sk two words")
    assert "two words" not in str(refused.value)
    providers.add("openai")
    with pytest.raises(Conflict, match="already"):
        providers.add("openai")
    with pytest.raises(NotFound, match=r"There are: openai\."):
        providers.get("acme")
    with pytest.raises(NotFound, match="It has: openai, anthropic"):
        providers.add("acme", preset="acme")
    providers.remove("openai")
    assert not providers.has("openai")


def test_asking_proves_the_key_and_keeps_the_models(providers: Providers) -> None:
    with FakeProvider(key=KEY).serving() as server:
        providers.add("acme", base_url=server.url, key=KEY)
        tested = providers.test("acme")
        assert tested.listed
        assert tested.provider.models == ["text-embed-1", "tiny-chat"]
        assert tested.provider.checked_at is not None
        providers.set_key("acme", "sk-another-0123456789")
        with pytest.raises(ModelError, match="refused the key") as refused:
            providers.test("acme")
    assert "sk-another" not in str(refused.value)
    assert providers.get("acme").models == ["text-embed-1", "tiny-chat"]
    with pytest.raises(ModelError, match=r"cannot be reached.*dizuo provider show acme"):
        providers.test("acme")


def test_names_that_would_deceive_are_left_out(providers: Providers) -> None:
    names = ["ok", "a b", "x\u202ey", "\x1b[31mred", "", "n" * 500, 7, "models/gemini-9", "Qwen/Qwen3"]
    with FakeProvider(models={"data": [{"id": name} for name in names]}).serving() as server:
        providers.add("acme", base_url=server.url)
        assert providers.test("acme").provider.models == ["Qwen/Qwen3", "gemini-9", "ok"]


@pytest.mark.parametrize("models", [{"data": 3}, "no", {"error": "x"}, {"data": [{"name": "x"}]}])
def test_a_list_that_is_none_is_an_error(providers: Providers, models: object) -> None:
    with FakeProvider(models=models).serving() as server:
        providers.add("acme", base_url=server.url)
        with pytest.raises(ModelError, match="not the OpenAI protocol"):
            providers.test("acme")


def test_a_redirect_is_not_followed_so_that_the_key_stays(providers: Providers) -> None:
    with (
        FakeProvider().serving() as other,
        FakeProvider(status=302, location=f"{other.url}/models").serving() as server,
    ):
        providers.add("acme", base_url=server.url, key=KEY)
        with pytest.raises(ModelError, match="Redirects are not followed"):
            providers.test("acme")
        assert other.asked == []


def test_a_list_without_end_is_cut(providers: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dizuo.gateway.listing.MAX_BODY_BYTES", 1000)
    with FakeProvider(models={"data": [{"id": f"m{n}"} for n in range(1000)]}).serving() as server:
        providers.add("acme", base_url=server.url)
        with pytest.raises(ModelError):
            providers.test("acme")


def test_anthropic_is_asked_with_its_own_headers(providers: Providers) -> None:
    with FakeProvider().serving() as server:
        providers.add("claude", preset="anthropic", base_url=server.url, key=KEY)
        providers.test("claude")
    headers = {name.lower(): value for name, value in server.asked[0][1].items()}
    assert headers["x-api-key"] == KEY
    assert headers["anthropic-version"]


def test_what_another_process_adds_is_seen(providers: Providers, database: Database, tmp_path: Path) -> None:
    assert not providers.has("acme")
    Providers(database, Secrets(tmp_path)).add("acme", base_url="http://127.0.0.1:9/v1")
    assert providers.get("acme").name == "acme"


# --- their models ---------------------------------------------------------------------------------------------


def test_listed_models_are_in_the_catalogue_by_kind_and_others_can_be_asked_too(providers: Providers) -> None:
    models = models_of(providers)
    with FakeProvider().serving() as server:
        providers.add("acme", base_url=server.url)
        providers.test("acme")
    found = {info.name: info.kind for info in models.list() if info.provider == "acme"}
    assert found == {"acme/tiny-chat": "chat", "acme/text-embed-1": "embedding"}
    assert models.get("acme/brand-new").kind == "chat"
    assert models.chat("acme/brand-new").name == "acme/brand-new"
    with pytest.raises(NotFound, match="dizuo provider add deepseek"):
        models.chat("deepseek/deepseek-chat")


def test_a_model_of_each_kind_is_asked_where_its_provider_is(house: House) -> None:
    with FakeProvider(key=KEY).serving() as server:
        house.providers.add("acme", base_url=server.url, key=KEY)
        found = asyncio.run(probe(house.gateway, "acme/tiny-chat"))
        vector = asyncio.run(probe(house.gateway, "acme/text-embed-1"))
        assert house.models.reranker("acme/rerank").score("q", ["a", "b"]) == [0.5, 0.5]
    assert (found.said, found.tokens, found.estimated) == ("Paris", 2, False)
    assert found.first_s is not None
    assert 0 < found.first_s <= found.seconds
    assert (vector.kind, vector.dimension) == ("embedding", 2)
    assert {path for path, _headers, _body in server.asked} == {"/v1/chat/completions", "/v1/embeddings", "/v1/rerank"}


def test_a_new_key_counts_from_the_next_call_on(house: House) -> None:
    with FakeProvider(key=KEY).serving() as server:
        house.providers.add("acme", base_url=server.url, key="sk-wrong-0123456789")
        with pytest.raises(ModelError, match="refused the key"):
            asyncio.run(probe(house.gateway, "acme/tiny-chat"))
        house.providers.set_key("acme", KEY)
        assert asyncio.run(probe(house.gateway, "acme/tiny-chat")).said == "Paris"


def test_the_settings_go_before_a_provider_of_the_same_name(house: House) -> None:
    with FakeProvider().serving() as server:
        house.providers.add("acme", base_url="http://127.0.0.1:9/v1")
        house.models = Models("acme/tiny-chat", server.url, providers=lambda: house.providers)
        assert asyncio.run(probe(house.gateway, "acme/tiny-chat")).said == "Paris"
    assert [info.name for info in house.models.list() if info.provider == "acme"] == ["acme/tiny-chat"]


def test_parameters_reach_the_provider_of_an_entry_in_its_own_words(house: House) -> None:
    with FakeProvider().serving() as server:
        house.providers.add("mine", preset="ollama", base_url=server.url)
        said = house.gateway.chat("mine/tiny-chat").stream(
            [Message(role="user", content="Hi")], max_completion_tokens=7
        )
        asyncio.run(whole(said))
        _path, _headers, body = server.asked[-1]
        assert (body["max_tokens"], "max_completion_tokens" in body) == (7, False)
        refused = house.gateway.chat("mine/tiny-chat").stream([Message(role="user", content="Hi")], user="anna")
        with pytest.raises(UserError, match=r"ollama does not take the parameter user='anna'"):
            asyncio.run(whole(refused))
        assert len(server.asked) == 1


def test_what_an_instance_has_embedded_elsewhere_stands_in_the_ledger(home: Path) -> None:
    with FakeProvider().serving() as server, House.open(embedder="acme/text-embed-1") as house:
        house.providers.add("acme", base_url=server.url)
        house.prices.set("acme/*", 1_000_000, 0)
        assert house.embedder is not None
        house.embedder.embed(["twelve letters", "and so on"])
        [row] = house.usage.report().rows
    assert (row.name, row.calls, row.estimated) == ("acme/text-embed-1", 1, 1)
    assert row.costs == {"USD": row.prompt_tokens} != {"USD": 0}


async def whole(events: AsyncIterator[Event]) -> None:
    async for _event in events:
        pass


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gpt-5-mini", "chat"), ("text-embedding-v4", "embedding"), ("BAAI/bge-m3", "embedding"),
        ("bge-reranker-v2-m3", "rerank"), ("whisper-1", "unknown"), ("gpt-image-1", "unknown"),
    ],
)  # fmt: skip
def test_the_kind_is_read_from_the_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind
