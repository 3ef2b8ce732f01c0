"""What is kept, who gets it again, and what is never kept."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from dizuo.core import traces
from dizuo.core.documents import Answer, Citation
from dizuo.core.events import CitationFound, Done, Event, Failed, Served, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import ImagePart, Message, ToolCall, Usage
from dizuo.core.traces import Trace
from dizuo.gateway.agreement import Lexicon
from dizuo.gateway.cache import Cache, Question, forget_documents
from dizuo.gateway.cached import CachedModel
from dizuo.gateway.scripted import ScriptedModel
from dizuo.knowledge.analyze import fold, terms
from dizuo.knowledge.rarity import rarity
from dizuo.platform import schema
from dizuo.platform.database import Database

LEXICON = Lexicon(fold, terms, rarity)


class Playing:
    """A model that plays the same events at every call, and counts the calls."""

    name = "scripted/play"

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.calls = 0

    async def stream(self, messages: Sequence[Message], **options: Any) -> Any:
        self.calls += 1
        for event in self.events:
            yield event


def cache_of(database: Database, **options: Any) -> Cache:
    return Cache(database, lambda: None, LEXICON, **{"policy": "semantic", "ttl_s": 3600, "limit_mb": 10, **options})


@pytest.fixture
def cache(database: Database) -> Cache:
    return cache_of(database)


def said(*texts: str) -> list[Message]:
    """A conversation, the person first."""
    return [Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(texts)]


def ask(model: Any, *texts: str, trace: Trace | None = None, **options: Any) -> list[Event]:
    async def all_of() -> list[Event]:
        traces.current.set(trace)
        return [event async for event in model.stream(said(*texts), **options)]

    return asyncio.run(all_of())


def served(events: Sequence[Event]) -> str:
    """How the cache answered: a kind, or "" for a model's own answer."""
    return next((event.cache for event in events if isinstance(event, Served)), "")


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_same_question_gets_the_kept_answer_as_a_stream(cache: Cache) -> None:
    inner = Playing(TextDelta(text="Paris is the capital. " * 5), UsageReported(usage=Usage(prompt_tokens=9)), Done())
    model = CachedModel(inner, cache)
    first, again = (ask(model, "What is the capital of France?") for _ in range(2))
    assert inner.calls == 1
    assert served(first) == ""
    assert isinstance(again[0], Served)
    assert (again[0].cache, again[0].attempts, again[0].model) == ("exact", 0, "scripted/play")
    assert 0 <= again[0].age_s < 60
    assert text_of(again) == text_of(first)
    assert sum(isinstance(event, TextDelta) for event in again) > 2
    assert again[-2:] == [UsageReported(usage=Usage()), Done()]


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ("What is the capital of France?", "please, what is the Capital of France"),
        ("怎么退款？", "請問怎麼退款"),
        ("Ｐｙｔｈｏｎ 教程", "Python教程"),
    ],
)
def test_another_writing_of_the_question_gets_it_too(cache: Cache, kept: str, asked: str) -> None:
    model = CachedModel(ScriptedModel(replies=["A.", "B."]), cache)
    ask(model, kept)
    assert served(ask(model, asked)) == "normalised"


@pytest.mark.parametrize(
    "change",
    [
        {"texts": ("Hello", "Hi.", "And the capital?")},
        {"texts": ("Hello!", "Hi!", "And the capital?")},
        {"options": {"temperature": 0.5}},
        {"options": {"max_tokens": 5}},
        {"options": {"tools": [{"type": "function", "function": {"name": "now"}}]}},
        {"trace": Trace("chat", user_id=2)},
    ],
)
def test_what_is_around_the_question_must_be_the_same(cache: Cache, change: dict[str, Any]) -> None:
    model = CachedModel(ScriptedModel(replies=["A.", "B."]), cache)
    usual: dict[str, Any] = {"texts": ("Hello", "Hi!", "And the capital?"), "trace": Trace("chat", user_id=1)}
    ask(model, *usual["texts"], trace=usual["trace"])
    changed = {**usual, **change}
    again = ask(model, *changed["texts"], trace=changed["trace"], **changed.get("options", {}))
    assert served(again) == ""
    assert text_of(again) == "B."


def test_another_model_does_not_give_its_answer(cache: Cache) -> None:
    ask(CachedModel(ScriptedModel("scripted/a", ["A."]), cache), "Who are you?")
    assert text_of(ask(CachedModel(ScriptedModel("scripted/b", ["B."]), cache), "Who are you?")) == "B."


TOOL = ToolCalled(call=ToolCall(id="1", name="send", arguments="{}"))
REFUSAL = Answer(answer="No.", found=False, citations=(), model="m", seconds=0)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param((TextDelta(text="Sending."), TOOL, Done(finish_reason="tool_calls")), id="a tool call"),
        pytest.param((TextDelta(text="Sending."), TOOL, Done()), id="a tool call that says it stopped"),
        pytest.param((TextDelta(text="cut o"), Done(finish_reason="length")), id="cut off"),
        pytest.param((TextDelta(text="I may not."), Done(finish_reason="content_filter")), id="filtered"),
        pytest.param((TextDelta(text="No."), Done(answer=REFUSAL)), id="nothing found"),
        pytest.param((TextDelta(text="brok"), Failed(code="model_down", message="gone")), id="broken"),
        pytest.param((TextDelta(text="no end"),), id="without an end"),
        pytest.param((TextDelta(text=" "), Done()), id="empty"),
    ],
)
def test_what_is_no_whole_answer_is_not_kept(cache: Cache, events: Sequence[Event]) -> None:
    inner = Playing(*events)
    for _ in range(2):
        assert ask(CachedModel(inner, cache), "Send it.") == list(events)
    assert inner.calls == 2
    assert cache.entries() == []


@pytest.mark.parametrize("trace", [Trace("chat", private=True), Trace("chat", cache="off")], ids=["private", "off"])
def test_whoever_does_not_want_it_is_neither_given_nor_kept(cache: Cache, trace: Trace) -> None:
    model = CachedModel(ScriptedModel(replies=["A.", "B.", "C."]), cache)
    ask(model, "One", trace=trace)
    assert cache.entries() == []
    ask(model, "One", trace=Trace("chat"))
    assert text_of(ask(model, "One", trace=trace)) == "C."


def test_a_refresh_makes_the_answer_anew_and_keeps_it(cache: Cache) -> None:
    model = CachedModel(ScriptedModel(replies=["Old.", "New."]), cache)
    ask(model, "News?", trace=Trace("chat"))
    assert text_of(ask(model, "News?", trace=Trace("chat", cache="refresh"))) == "New."
    assert text_of(ask(model, "News?", trace=Trace("chat"))) == "New."
    assert len(cache.entries()) == 1


def test_pictures_are_not_kept(cache: Cache) -> None:
    model = CachedModel(ScriptedModel(replies=["A cat.", "A dog."]), cache)
    asked = [Message(role="user", content="What is it?", parts=(ImagePart(url="data:image/png;base64,AA=="),))]

    async def once_more() -> list[Event]:
        return [event async for event in model.stream(asked)]

    assert [text_of(asyncio.run(once_more())) for _ in range(2)] == ["A cat.", "A dog."]


def test_what_asks_for_several_answers_gets_them_made(cache: Cache) -> None:
    model = CachedModel(ScriptedModel(replies=["A.", "B."]), cache)
    assert [text_of(ask(model, "Say something", logprobs=True)) for _ in range(2)] == ["A.", "B."]


def test_an_answer_ends_after_its_time(database: Database) -> None:
    model = CachedModel(ScriptedModel(replies=["A.", "B."]), cache_of(database, ttl_s=0))
    assert [text_of(ask(model, "Now?")) for _ in range(2)] == ["A.", "B."]


def test_what_was_used_longest_ago_goes_when_the_room_is_full(database: Database) -> None:
    cache = cache_of(database, limit_mb=1)
    model = CachedModel(ScriptedModel(replies=["x" * 200_000 + str(n) for n in range(8)]), cache)
    for n in range(8):
        ask(model, f"Question {n}")
    cache.trim()
    kept = [entry.question for entry in cache.entries()]
    assert kept[0] == "Question 7"
    assert "Question 0" not in kept
    assert cache.use().size_bytes <= cache.use().limit_bytes


def cited(document: str) -> list[Event]:
    citation = Citation(document="a.md", document_id=document, chunk="c", quote="q", page=None, start=0, end=1)
    return [
        CitationFound(index=1, citation=citation),
        TextDelta(text="So it says. [1]"),
        Done(answer=Answer(answer="So it says. [1]", found=True, citations=(citation,), model="m", seconds=1)),
    ]


def test_an_answer_goes_with_what_it_cites(cache: Cache, database: Database) -> None:
    first, second = Playing(*cited("doc-1")), Playing(*cited("doc-2"))
    ask(CachedModel(first, cache), "What does the first say?")
    ask(CachedModel(second, cache), "What does the second say?")
    with database.write() as connection:
        forget_documents(connection, ["doc-1", "doc-9"])
    assert [entry.question for entry in cache.entries()] == ["What does the second say?"]
    again = ask(CachedModel(second, cache), "What does the second say?")
    assert [type(event) for event in again] == [Served, CitationFound, TextDelta, Done]


def test_an_answer_from_a_knowledge_base_stands_on_its_state(cache: Cache, database: Database) -> None:
    table = schema.knowledge
    with database.write() as connection:
        row = {"name": "handbook", "version": 1, "created_at": schema.now()}
        connection.execute(table.insert().values(row))
    question = Question("knowledge/handbook", "", "How many days of leave?")
    version = cache.version(question)
    cache.keep(question, version, [TextDelta(text="30."), Done()], ())
    assert cache.find(question) is not None
    with database.write() as connection:
        connection.execute(table.update().values(version=2))
    assert cache.find(question) is None
    cache.keep(question, version, [TextDelta(text="30."), Done()], ())  # it was made before the change
    assert cache.find(question) is None


# --- another wording ------------------------------------------------------------------------------------------


class Pointing:
    """An embedder to whom all texts are nearly the same: what is told apart is told apart by the rest."""

    name = "scripted/points"
    dimension = 4

    def embed(self, texts: Sequence[str]) -> Any:
        vectors = np.ones((len(texts), 4), dtype=np.float32)
        return vectors / 2

    def coverage(self, text: str) -> float:
        return float(text.isascii())

    def count_tokens(self, text: str) -> int:
        return len(text.split())


@pytest.fixture
def alike(database: Database) -> Iterator[Cache]:
    return Cache(database, Pointing, LEXICON, policy="semantic", ttl_s=3600, limit_mb=10)


def test_another_wording_gets_the_answer_and_says_how_sure_that_is(alike: Cache) -> None:
    model = CachedModel(ScriptedModel(replies=["Go to settings.", "B."]), alike)
    ask(model, "How do I change my PIN number?")
    (first, *_rest) = ask(model, "How can I change my PIN number?")
    assert isinstance(first, Served)
    assert first.cache == "semantic"
    assert 0.5 < first.score < 1


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ("Flights from Paris to Rome", "Flights from Rome to Paris"),
        ("How do I enable the alarm?", "How do I disable the alarm?"),
        ("Which mushrooms are edible?", "Which mushrooms are not edible?"),
        ("What is 15 percent of 80?", "What is 50 percent of 80?"),
        ("从北京到上海的高铁票多少钱", "从上海到北京的高铁票多少钱"),
        ("怎么打开手机的飞行模式", "怎么关闭手机的飞行模式"),
    ],
)
def test_a_twin_that_wants_another_answer_does_not_get_it(alike: Cache, kept: str, asked: str) -> None:
    model = CachedModel(ScriptedModel(replies=["A.", "B."]), alike)
    ask(model, kept)
    assert text_of(ask(model, asked)) == "B."


def test_with_tools_on_offer_only_the_same_words_are_the_same(alike: Cache) -> None:
    tools = [{"type": "function", "function": {"name": "search"}}]
    model = CachedModel(ScriptedModel(replies=["A.", "B."]), alike)
    ask(model, "How do I change my PIN number?", tools=tools)
    assert served(ask(model, "How can I change my PIN number?", tools=tools)) == ""
    assert served(ask(model, "How do I change my PIN number?", tools=tools)) == "exact"


def test_the_policy_exact_takes_no_other_wording(database: Database) -> None:
    cache = Cache(database, Pointing, LEXICON, policy="exact", ttl_s=3600, limit_mb=10)
    model = CachedModel(ScriptedModel(replies=["A.", "B."]), cache)
    ask(model, "How do I change my PIN number?")
    assert served(ask(model, "How can I change my PIN number?")) == ""


def test_what_another_process_keeps_and_clears_is_seen(database: Database) -> None:
    here, there = (Cache(database, Pointing, LEXICON, policy="semantic", ttl_s=3600, limit_mb=10) for _ in range(2))
    ask(CachedModel(ScriptedModel(replies=["A."]), here), "How do I change my PIN number?")
    assert served(ask(CachedModel(ScriptedModel(), there), "How can I change my PIN number?")) == "semantic"
    ask(CachedModel(ScriptedModel(replies=["B."]), there), "Where is the nearest branch in Leeds?")
    assert served(ask(CachedModel(ScriptedModel(), here), "Where's the nearest branch in Leeds?")) == "semantic"
    there.clear()
    assert text_of(ask(CachedModel(ScriptedModel(replies=["C."]), here), "How can I change my PIN number?")) == "C."
