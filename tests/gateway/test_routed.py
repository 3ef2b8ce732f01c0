"""A model that stands for several: who is asked, when another is, and when nobody is any more."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from random import Random
from typing import Any

import pytest

from dizuo.core.errors import DizuoError, ModelBusy, ModelDown, ModelRefused, UserError
from dizuo.core.events import Done, Event, Failed, Served, TextDelta
from dizuo.core.messages import Message
from dizuo.core.traces import Trace, traced
from dizuo.gateway.breaker import FAILURES, Health
from dizuo.gateway.remote_refusal import RequestRefused
from dizuo.gateway.routed import Candidate, RoutedModel
from dizuo.gateway.routes import RouteOptions
from dizuo.gateway.scripted import ScriptedModel

ASKED = [Message(role="user", content="Where is Paris?")]
DOWN = ModelDown("It is down.")
BUSY = ModelBusy("It is busy.")


def scripted(name: str, *replies: Any, **how: Any) -> ScriptedModel:
    return ScriptedModel(f"scripted/{name}", replies, **how)


def route(
    *targets: Any,
    fallbacks: Sequence[Any] = (),
    health: Health | None = None,
    random: Random | None = None,
    **options: Any,
) -> RoutedModel:
    return RoutedModel(
        "fast",
        [one if isinstance(one, Candidate) else Candidate(one) for one in targets],
        health or Health(random=Random(1)),
        fallbacks=[Candidate(one) for one in fallbacks],
        options=RouteOptions(**options),
        random=random or Random(1),
    )


async def events_of(model: RoutedModel) -> list[Event]:
    async with aclosing(model.stream(ASKED)) as events:
        return [event async for event in events]


def answer(model: RoutedModel) -> tuple[Served, str, Event]:
    """Who answered, the text, and how it ended."""
    events = asyncio.run(events_of(model))
    first = events[0]
    assert isinstance(first, Served)
    assert sum(isinstance(event, Served) for event in events) == 1
    return first, "".join(event.text for event in events if isinstance(event, TextDelta)), events[-1]


class Slow:
    """Says nothing until it is let go."""

    def __init__(self, name: str, says: Callable[[], Event] | None = None) -> None:
        self.name = f"scripted/{name}"
        self.calls = 0
        self.left = 0
        self._says = says

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        self.calls += 1
        try:
            if self._says:
                yield self._says()
            await asyncio.sleep(60)
        finally:
            self.left += 1


# --- before the first event -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DOWN, BUSY, ModelRefused("The key is wrong.")])
def test_another_answers_where_one_is_down_busy_or_refuses_the_key(error: DizuoError) -> None:
    first, second = scripted("a", error), scripted("b", "In France.")
    served, text, end = answer(route(first, fallbacks=[second]))
    assert (served.model, served.attempts, text) == ("scripted/b", 2, "In France.")
    assert isinstance(end, Done)
    assert len(first.calls) == 1


@pytest.mark.parametrize("error", [RequestRefused("Bad request."), UserError("Unknown option.")])
def test_a_request_that_is_at_fault_is_asked_once(error: DizuoError) -> None:
    second = scripted("b", "In France.")
    with pytest.raises(type(error)):
        answer(route(scripted("a", error), fallbacks=[second]))
    assert second.calls == []


def test_a_model_alone_is_asked_again_after_longer_and_longer_waits() -> None:
    chance = Hasty()
    served, text, _end = answer(route(scripted("a", DOWN, BUSY, DOWN, "In France."), random=chance, tries=4))
    assert (served.attempts, text) == (4, "In France.")
    assert chance.longest == [0.5, 1.0, 2.0]


def test_the_last_error_is_passed_on_when_nobody_answers() -> None:
    model = scripted("a", DOWN, DOWN, ModelDown("It is still down."), "too late")
    with pytest.raises(ModelDown, match="still down"):
        answer(route(model, random=Hasty()))
    assert len(model.calls) == 3


def test_an_answer_that_fails_before_it_says_anything_is_not_one() -> None:
    served, text, _end = answer(route(scripted("a", "lost", break_after=0), fallbacks=[scripted("b", "kept")]))
    assert (served.model, text) == ("scripted/b", "kept")


def test_a_model_of_this_machine_is_not_asked_again() -> None:
    here = scripted("here", DOWN, "too late")
    health = Health()
    with pytest.raises(ModelDown):
        answer(route(Candidate(here, remote=False), health=health))
    assert len(here.calls) == 1
    assert health.report()[0].failures == 0


# --- after it -------------------------------------------------------------------------------------------------


def test_an_answer_that_breaks_midway_ends_with_failed_and_nobody_else_is_asked() -> None:
    second = scripted("b", "In France.")
    health = Health()
    _served, text, end = answer(route(scripted("a", "It is in", break_after=1), fallbacks=[second], health=health))
    assert (text, second.calls) == ("It is i", [])
    assert isinstance(end, Failed)
    assert [(one.failures, one.in_flight) for one in health.report() if one.model == "scripted/a"] == [(1, 0)]


def test_an_answer_that_stops_without_an_end_or_raises_midway_ends_with_failed() -> None:
    class Cut(Slow):
        def __init__(self, error: Exception | None) -> None:
            super().__init__("cut")
            self._error = error

        async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
            yield TextDelta(text="It is")
            if self._error:
                raise self._error

    for error in (None, DOWN):
        _served, text, end = answer(route(Cut(error), fallbacks=[scripted("b", "x")]))
        assert text == "It is"
        assert isinstance(end, Failed)
        assert end.code == "model_down"


# --- who is asked ---------------------------------------------------------------------------------------------


def test_calls_are_shared_by_weight() -> None:
    models = [scripted(name, *["ok"] * 400) for name in "ab"]
    model = route(Candidate(models[0], 3), Candidate(models[1], 1))
    chosen = Counter(answer_model for answer_model in asyncio.run(_many(model, 400)))
    assert 270 <= chosen["scripted/a"] <= 330  # 300 ± 3.5 standard deviations
    assert chosen["scripted/a"] + chosen["scripted/b"] == 400


async def _many(model: RoutedModel, n: int) -> list[str]:
    return [event.model for _ in range(n) for event in await events_of(model) if isinstance(event, Served)]


def test_the_model_with_the_fewest_calls_for_its_weight_is_asked() -> None:
    a, b = (Slow(name, lambda: TextDelta(text="…")) for name in "ab")
    health = Health(random=Random(1))
    model = route(Candidate(a, 2), Candidate(b, 1), health=health)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(events_of(model)) for _ in range(9)]
            await asyncio.sleep(0.05)
            assert (a.calls, b.calls) == (6, 3)
            assert sum(one.in_flight for one in health.report()) == 9
            for one in asking:
                one.cancel()

    asyncio.run(run())
    assert (a.left, b.left) == (6, 3)
    assert [one.in_flight for one in health.report()] == [0, 0]


def test_a_caller_who_leaves_frees_the_place() -> None:
    slow, health = Slow("a", lambda: TextDelta(text="…")), Health()

    async def run() -> None:
        async with aclosing(route(slow, health=health).stream(ASKED)) as events:
            assert isinstance(await anext(events), Served)
            assert health.report()[0].in_flight == 1

    asyncio.run(run())
    assert (slow.left, health.report()[0].in_flight) == (1, 0)


# --- waiting --------------------------------------------------------------------------------------------------


class Hasty(Random):
    """Waits as short as jitter may make it; keeps how long it might have been."""

    def __init__(self) -> None:
        super().__init__()
        self.longest: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        if b > 0:
            self.longest.append(b)
        return a


def test_retry_after_is_honoured() -> None:
    model = scripted("a", ModelBusy("Slow down.", retry_after_s=0.3), "In France.")

    async def run() -> float:
        began = asyncio.get_running_loop().time()
        await events_of(route(model))
        return asyncio.get_running_loop().time() - began

    assert 0.3 <= asyncio.run(run()) < 2


def test_a_pause_that_is_too_long_is_for_the_caller_to_wait() -> None:
    health = Health()
    model = scripted("a", ModelBusy("Slow down.", retry_after_s=3600), "too early")
    with pytest.raises(ModelBusy, match="Slow down"):
        answer(route(model, health=health))
    with pytest.raises(ModelBusy, match="wants no requests for another 600 s") as refused:
        answer(route(model, health=health))
    assert refused.value.params["retry_after_s"] == 600
    assert len(model.calls) == 1


def test_while_one_pauses_another_is_asked_at_once() -> None:
    health = Health()
    busy, other = scripted("a", ModelBusy("Slow down.", retry_after_s=60)), scripted("b", *["ok"] * 5)
    model = route(busy, fallbacks=[other], health=health)
    assert [answer(model)[0].attempts for _ in range(3)] == [2, 1, 1]


def test_the_total_deadline_is_over_all_tries() -> None:
    slow = Slow("a")

    async def run() -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ModelDown, match=r"fast took longer than 0\.3 s"):
            await events_of(route(slow, fallbacks=[scripted("b", "too late")], total_s=0.3))
        return asyncio.get_running_loop().time() - began

    assert 0.3 <= asyncio.run(run()) < 2
    assert slow.left == 1


def test_the_deadline_ends_an_answer_with_failed() -> None:
    slow = Slow("a", lambda: TextDelta(text="It"))
    _served, text, end = answer(route(slow, total_s=0.2))
    assert text == "It"
    assert isinstance(end, Failed)
    assert "longer than 0.2 s" in end.message


def test_a_model_of_this_machine_that_is_late_makes_room_for_another() -> None:
    slow = Slow("a")
    served, _text, _end = answer(
        route(Candidate(slow, remote=False), fallbacks=[scripted("b", "ok")], first_token_s=0.1)
    )
    assert (served.model, slow.left) == ("scripted/b", 1)


def test_a_cancelled_call_is_cancelled_and_not_late() -> None:
    async def run() -> None:
        task = asyncio.create_task(events_of(route(Slow("a"), total_s=5)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


# --- the breaker in the way of calls --------------------------------------------------------------------------


def test_a_model_that_keeps_failing_is_spared_and_one_of_twenty_callers_probes_it() -> None:
    now = [1000.0]
    health = Health(clock=lambda: now[0])
    bad = scripted("a", *[DOWN] * FAILURES, "well again", *["ok"] * 20, delay_s=0.02)
    good = scripted("b", *["stand-in"] * 100)
    model = route(bad, fallbacks=[good], health=health)
    for _ in range(FAILURES + 3):
        assert answer(model)[0].model == "scripted/b"
    assert len(bad.calls) == FAILURES
    assert health.report()[0].state == "open"

    now[0] += 11
    assert health.report()[0].state == "half_open"

    async def twenty() -> Counter[str]:
        answers = await asyncio.gather(*(events_of(model) for _ in range(20)))
        return Counter(event.model for events in answers for event in events if isinstance(event, Served))

    assert asyncio.run(twenty()) == {"scripted/a": 1, "scripted/b": 19}
    assert health.report()[0].state == "closed"
    assert answer(model)[0].model == "scripted/a"


def test_a_call_that_nobody_may_answer_says_why_and_when_to_come_back() -> None:
    health = Health()
    bad = scripted("a", *[DOWN] * FAILURES, "too early")
    for _ in range(FAILURES):
        with pytest.raises(ModelDown, match="It is down"):
            answer(route(bad, health=health, tries=1))
    with pytest.raises(ModelDown, match=r"asked again in 10 s\. Why: dizuo route health"):
        answer(route(bad, health=health))
    assert len(bad.calls) == FAILURES


# --- what is seen ---------------------------------------------------------------------------------------------


def test_a_trace_shows_every_attempt() -> None:
    kept: list[Trace] = []
    with traced(Trace("test"), kept.append):
        answer(route(scripted("a", DOWN), fallbacks=[scripted("b", "ok")]))
    spans = {(one.name, one.attributes.get("gen_ai.request.model", "")): one for one in kept[0].spans}
    assert spans["attempt", "scripted/a"].error == "model_down"
    assert spans["attempt", "scripted/b"].error == ""
    assert spans["route", ""].attributes["dizuo.attempts"] == 2
    assert kept[0].status == "ok"
    assert spans["attempt", "scripted/b"].parent is spans["route", ""]
