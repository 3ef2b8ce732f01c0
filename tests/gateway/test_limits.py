"""Limits: pace and money, whose they are, what refusals say, and that several processes agree."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from dizuo.core import traces
from dizuo.core.errors import BudgetSpent, Conflict, NotFound, TooMany, UserError
from dizuo.core.messages import Message, Usage
from dizuo.core.traces import Trace
from dizuo.gateway.ledger import Ledger
from dizuo.gateway.limited import LimitedModel
from dizuo.gateway.limits import Limits
from dizuo.gateway.metered import MeteredModel
from dizuo.gateway.prices import Prices
from dizuo.gateway.scripted import ScriptedModel
from dizuo.gateway.windows import Window
from dizuo.platform.database import Database
from dizuo.platform.identity import Identity

HELLO = [Message(role="user", content="hello")]


class Process:
    """What one process of an instance has: its own counts over the common database."""

    def __init__(self, database: Database) -> None:
        self.prices = Prices(database)
        self.ledger = Ledger(database, self.prices.cost, lambda row: self.limits.count(row))
        self.limits = Limits(database, self.prices, self.ledger.flush)

    def close(self) -> None:
        self.ledger.close()

    def spend(self, model: str = "paid/x", tokens: int = 100_000) -> None:
        with self.ledger.recorded("chat", model) as call:
            self.limits.freshen()
            with self.limits.admitted():
                call.usage = Usage(completion_tokens=tokens)


@pytest.fixture
def process(database: Database) -> Iterator[Process]:
    Identity(database).owner()
    made = Process(database)
    made.prices.set("paid/*", 1, 10)  # 100,000 tokens written take 1 USD
    yield made
    made.close()


@pytest.fixture
def trace() -> Iterator[Trace]:
    token = traces.current.set(Trace("test", user_id=1, key_id=7, app="handbook"))
    made = traces.current.get()
    assert made is not None
    yield made
    traces.current.reset(token)


def test_a_budget_warns_then_stops_and_says_when_it_is_new(process: Process, trace: Trace) -> None:
    process.limits.set("user", "owner", budget=2.5, period="day")
    process.spend()
    process.spend()
    assert "X-Dizuo-Budget-Warning" not in trace.headers
    process.spend()  # begins at 80 %
    assert trace.headers["X-Dizuo-Budget-Warning"] == "user: 80% of 2.5 USD (day)"
    with pytest.raises(BudgetSpent, match=r"This user has spent its budget of 2\.5 USD a day\. It is new") as refused:
        process.spend()
    assert refused.value.code == "budget_spent"
    assert 0 < refused.value.params["seconds"] <= 86_400
    [standing] = process.limits.list()
    assert (standing.name, standing.spent, standing.warned) == ("owner", pytest.approx(3), True)


def test_another_process_and_the_next_start_know_what_was_spent(
    process: Process, database: Database, trace: Trace
) -> None:
    process.limits.set("all", budget=1, period="total")
    process.spend()
    process.ledger.flush()
    with (
        closing(Process(database)) as other,
        pytest.raises(BudgetSpent, match="This instance has spent its budget of 1 USD"),
    ):
        other.spend()


def test_money_of_another_currency_counts_by_the_rate(process: Process, trace: Trace) -> None:
    process.prices.set("yuan/*", 0, 71, currency="CNY")
    process.limits.set("app", "handbook", budget=0.5, period="month")
    process.spend("yuan/x", tokens=100_000)  # 7.1 CNY
    assert process.limits.list()[0].spent == pytest.approx(1.0)


def test_the_pace_of_each_subject_is_its_own(process: Process, trace: Trace) -> None:
    Identity(process.limits._database).create_key("other")
    process.limits.set("key", "1", requests_per_minute=1)  # of another key
    process.limits.set("app", "handbook", requests_per_minute=2)
    process.spend()
    process.spend()
    assert trace.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(TooMany, match="The app handbook may make 2 requests a minute") as refused:
        process.spend()
    assert refused.value.code == "rate_limited"
    assert 1 <= refused.value.params["seconds"] <= 60
    trace.app = "another"
    process.spend()


def test_tokens_a_minute_count_what_others_used_and_prompts_under_way(
    process: Process, database: Database, trace: Trace
) -> None:
    process.limits.set("all", tokens_per_minute=1_000)
    with process.limits.admitted(tokens=990), process.limits.admitted(tokens=10), pytest.raises(TooMany):
        process.limits.admitted().__enter__()
    process.spend(tokens=1_000)
    process.ledger.flush()
    with closing(Process(database)) as other, pytest.raises(TooMany, match="1000 tokens a minute"):
        other.spend()


def test_vectors_that_a_request_needs_are_no_request_of_their_own_and_cost(process: Process, trace: Trace) -> None:
    process.limits.set("all", requests_per_minute=2, budget=100)
    process.spend()
    with process.ledger.recorded("indexing", "paid/x") as call:
        call.usage = Usage(prompt_tokens=1_000_000)
    process.limits.refresh()
    process.spend()
    assert process.limits.list()[0].spent == pytest.approx(3.0)
    with pytest.raises(TooMany):
        process.spend()


def test_calls_at_once_end_whatever_ends_them(process: Process, trace: Trace) -> None:
    process.limits.set("all", concurrency=1)

    def fail_within() -> None:
        with process.limits.admitted():
            with pytest.raises(TooMany, match="1 calls at once"):
                process.limits.admitted().__enter__()
            raise ZeroDivisionError

    for _n in range(2):
        with pytest.raises(ZeroDivisionError):
            fail_within()
    process.spend()


def test_a_refused_call_stands_in_the_ledger_and_asks_no_model(process: Process, trace: Trace) -> None:
    process.limits.set("all", requests_per_minute=1)
    inner = ScriptedModel("scripted/x", ["yes", "no"])
    model = MeteredModel(LimitedModel(inner, process.limits), process.ledger)

    async def ask() -> list[Any]:
        return [event async for event in model.stream(HELLO)]

    asyncio.run(ask())
    with pytest.raises(TooMany):
        asyncio.run(ask())
    from dizuo.gateway.usage import UsageBook

    total = UsageBook(process.limits._database, process.ledger.flush).report().total
    assert (total.calls, total.refused) == (2, 1)


def test_limits_are_changed_piece_by_piece_and_lifted(process: Process) -> None:
    process.limits.set("all", requests_per_minute=5, concurrency=2)
    limit = process.limits.set("all", requests_per_minute=None, budget=3.0)
    assert (limit.requests_per_minute, limit.concurrency, limit.budget) == (None, 2, 3.0)
    process.limits.remove("all")
    assert process.limits.list() == []
    with pytest.raises(NotFound, match="There is no limit"):
        process.limits.remove("all")


def test_wrong_limits_are_refused(process: Process) -> None:
    for subject, whose, values in (
        ("nobody", "", {"concurrency": 1}),
        ("user", "nobody", {"concurrency": 1}),
        ("key", "12", {"concurrency": 1}),
        ("all", "someone", {"concurrency": 1}),
        ("all", "", {"concurrency": 0}),
        ("all", "", {"requests_per_minute": 1.5}),
        ("all", "", {"budget": float("nan")}),
        ("all", "", {"budget": 1, "period": "year"}),
    ):
        with pytest.raises(UserError):
            process.limits.set(subject, whose, **values)
    with pytest.raises(Conflict, match="nothing limited"):
        process.limits.set("all")


def test_a_window_forgets_what_is_a_minute_old() -> None:
    window = Window(100)
    window.add(100, 5)
    window.add(130, 2)
    assert (window.at(159), window.free_in(1)) == (7, 1)
    assert (window.at(160), window.at(189), window.at(190)) == (2, 2, 0)
    window.add(1_000, 3)
    assert window.sum == 3
