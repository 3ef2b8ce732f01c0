"""The ledger's rows and the sums over them."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from dizuo.core import effort, traces
from dizuo.core.errors import UserError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.core.messages import Message, Usage
from dizuo.gateway.breaker import Health
from dizuo.gateway.ledger import Ledger
from dizuo.gateway.metered import MeteredModel
from dizuo.gateway.routed import Candidate, RoutedModel
from dizuo.gateway.usage import UsageBook
from dizuo.platform.database import Database
from dizuo.platform.identity import Identity

HELLO = [Message(role="user", content="What is the capital of France?")]


class Silent:
    """A model that reports no usage."""

    name = "silent/x"

    async def stream(self, messages: Any, **options: Any) -> AsyncGenerator[Event, None]:
        for _n in range(10):
            yield TextDelta(text="Paris is it. ")
        yield Done()


class Asked:
    def __init__(self, database: Database) -> None:
        self.ledger = Ledger(
            database, lambda model, usage: (usage.total_tokens / 1e6, "CNY" if "/c" in model else "USD")
        )
        self.book = UsageBook(database, self.ledger.flush)

    def call(self, model: str, tokens: int = 10, *, user: int | None = None, app: str = "", **fields: Any) -> None:
        token = traces.current.set(traces.Trace("x", user_id=user, app=app))
        with self.ledger.recorded("chat", model) as call:
            call.usage = Usage(prompt_tokens=tokens, completion_tokens=tokens, cpu_s=0.5)
            for name, value in fields.items():
                setattr(call, name, value)
        traces.current.reset(token)


@pytest.fixture
def asked(database: Database) -> Iterator[Asked]:
    made = Asked(database)
    yield made
    made.ledger.close()


def test_sums_are_by_model_user_app_and_day_and_money_by_currency(asked: Asked, database: Database) -> None:
    member = Identity(database).create_user("韩梅梅")
    asked.call("a/cheap", 100, user=member.id, app="手册")
    asked.call("a/x", 300, user=member.id)
    asked.call("a/x", 5, status="failed")
    report = asked.book.report("model")
    assert [(row.name, row.calls, row.failed, row.costs) for row in report.rows] == [
        ("a/x", 2, 1, {"USD": pytest.approx(610e-6)}),
        ("a/cheap", 1, 0, {"CNY": pytest.approx(200e-6)}),
    ]
    assert set(report.total.costs) == {"CNY", "USD"}
    assert report.total.cpu_s == pytest.approx(1.5)
    assert [(row.name, row.calls) for row in asked.book.report("user").rows] == [("韩梅梅", 2), ("", 1)]
    assert [row.name for row in asked.book.report("app").rows] == ["", "手册"]
    assert [row.name for row in asked.book.report("day").rows] == [report.until]
    assert asked.book.report("model", user_id=member.id).total.calls == 2
    assert {point.model for point in asked.book.points(7)} == {"a/x", "a/cheap"}


def test_an_answer_that_was_kept_costs_nothing(asked: Asked) -> None:
    asked.call("a/x", 1_000, cache="exact", attempts=0)
    total = asked.book.report().total
    assert (total.kept, total.tokens, total.costs) == (1, 0, {})


def test_a_table_for_spreadsheets_holds_no_formula_and_counts_nothing_twice(asked: Asked) -> None:
    for name in ('=HYPERLINK("http://x","y")', "+1", "-1", "@x", '\t=1,"a"', "a/x"):
        asked.call(name, 1_000)
    rows = list(csv.DictReader(io.StringIO(asked.book.csv("model"), newline="")))
    assert sorted(row["model"][:2] for row in rows) == sorted(["'=", "'+", "'-", "'@", "'\t", "a/"])
    assert sum(int(row["calls"]) for row in rows) == 6
    assert float(rows[0]["cost"]) == pytest.approx(0.002)


def test_tokens_that_nobody_reports_are_estimated_also_when_the_caller_leaves(asked: Asked) -> None:
    model = MeteredModel(Silent(), asked.ledger)

    async def ask(take: int) -> None:
        events = model.stream(HELLO)
        for _n in range(take):
            await anext(events)
        await events.aclose()

    asyncio.run(ask(11))
    whole = asked.book.report().total
    assert (whole.estimated, whole.completion_tokens) == (1, 33)
    assert 5 < whole.prompt_tokens < 20
    asyncio.run(ask(2))
    assert asked.book.report().total.completion_tokens == 33 + 7


def test_reported_tokens_are_taken_as_they_are(asked: Asked) -> None:
    class Reporting(Silent):
        async def stream(self, messages: Any, **options: Any) -> AsyncGenerator[Event, None]:
            yield TextDelta(text="Paris")
            yield UsageReported(usage=Usage(prompt_tokens=3, completion_tokens=1))
            yield Done()

    async def ask() -> None:
        _events = [event async for event in MeteredModel(Reporting(), asked.ledger).stream(HELLO)]

    asyncio.run(ask())
    total = asked.book.report().total
    assert (total.prompt_tokens, total.completion_tokens, total.estimated) == (3, 1, 0)


def test_a_new_user_has_none_of_the_calls_of_one_who_is_gone(asked: Asked, database: Database) -> None:
    identity = Identity(database)
    gone = identity.create_user("gone")
    asked.call("a/x", user=gone.id)
    asked.ledger.flush()
    identity.remove_user("gone")
    assert identity.create_user("new").id != gone.id
    assert [(row.id, row.name) for row in asked.book.report("user").rows] == [(str(gone.id), "")]


@pytest.mark.parametrize(("by", "days"), [("colour", 30), ("model", 0), ("model", 10**6)])
def test_wrong_questions_are_refused(asked: Asked, by: str, days: int) -> None:
    with pytest.raises(UserError):
        asked.book.report(by, days)


def test_processor_time_is_told_to_whoever_counts_it() -> None:
    effort.took(5.0)  # nobody counts
    with effort.counted() as outer:
        effort.took(1.0)
        with effort.counted() as inner:
            effort.took(2.0)
    assert (outer.cpu_s, inner.cpu_s) == (1.0, 2.0)


def test_an_answer_that_broke_off_has_failed_though_its_reader_stops_there(asked: Asked) -> None:
    class Broken(Silent):
        async def stream(self, messages: Any, **options: Any) -> AsyncGenerator[Event, None]:
            yield TextDelta(text="Par")
            yield Failed(code="model_down", message="cut off")

    async def ask() -> None:
        events = MeteredModel(Broken(), asked.ledger).stream(HELLO)
        await anext(events)
        await anext(events)
        await events.aclose()

    asyncio.run(ask())
    assert asked.book.report().total.failed == 1


def test_what_no_database_can_hold_keeps_no_other_row_waiting(asked: Asked) -> None:
    asked.call("a/\0\ud800" + "x" * 200, 2**40, app="\0", error="e" * 99)
    asked.call("a/next")
    assert asked.book.report().total.calls == 2


def test_what_is_charged_by_the_piece_is_no_gift(asked: Asked) -> None:
    asked.call("a/painter", 0, unpriced=True)
    asked.call("a/painter", 5, unpriced=True)
    total = asked.book.report().total
    assert (total.unpriced, total.costs) == (2, {})


def test_who_leaves_a_route_before_its_first_word_pays_for_the_model_that_was_asked(asked: Asked) -> None:
    class Mute:
        name = "a/mute"

        async def stream(self, messages: Any, **options: Any) -> AsyncGenerator[Event, None]:
            await asyncio.sleep(60)
            yield Done()

    async def ask() -> None:
        route = RoutedModel("fast", [Candidate(Mute())], Health())
        with traces.traced(traces.Trace("x"), lambda _trace: None):
            first = asyncio.ensure_future(anext(MeteredModel(route, asked.ledger).stream(HELLO)))
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    asyncio.run(ask())
    [row] = asked.book.report("model").rows
    assert (row.name, row.estimated, row.unpriced) == ("a/mute", 1, 0)
    assert row.costs["USD"] > 0
