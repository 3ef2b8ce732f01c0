"""Routes over real providers on loopback that misbehave, through the whole of an instance."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import ModelBusy, ModelError, NotFound
from dizuo.core.events import Event, Failed, Served, TextDelta
from dizuo.gateway.metered import ended
from dizuo.gateway.routes import RouteOptions, Target
from dizuo.wiring import House
from tests.gateway.misbehaving import FAULTS
from tests.gateway.provider import PARIS, QUESTION, WAIT, Provider, answer, chunk, head

FALLS_OVER = [name for name, fault in FAULTS.items() if fault.status != 400]


@asynccontextmanager
async def providing(house: House, **providers: Provider) -> AsyncIterator[None]:
    """The providers, listening and known to the house by these names."""
    async with AsyncExitStack() as stack:
        for name, provider in providers.items():
            url = await stack.enter_async_context(provider.serving())
            await asyncio.to_thread(house.providers.add, name, base_url=url)
        yield


async def events_of(house: House, name: str) -> list[Event]:
    async with ended(house.chat(name).stream(QUESTION)) as events:
        return [event async for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


@pytest.fixture
def house(home: Path) -> Any:
    with House.open({"DIZUO_HOME": str(home), "DIZUO_CACHE": "off"}) as opened:
        yield opened


def test_every_fault_before_the_first_token_is_answered_by_the_fallback(house: House) -> None:
    async def work() -> None:
        bad = Provider([FAULTS[name].script for name in FALLS_OVER])
        async with providing(house, bad=bad, good=Provider([PARIS])):
            options = RouteOptions(first_token_s=1.0)  # of the good one too, and machines are slow at times
            house.gateway.routes.add("fast", [Target(model="bad/m")], ["good/m"], options)
            for name in FALLS_OVER:
                house.gateway._health._models.clear()  # each fault meets a breaker that is closed
                events = await events_of(house, "fast")
                assert (events[0], text_of(events)) == (Served(model="good/m", attempts=2), "Paris."), name
        assert len(bad.asked) >= len(FALLS_OVER)

    run(work)


def test_a_stream_that_breaks_midway_ends_with_failed_and_the_fallback_stays_out_of_it(house: House) -> None:
    async def work() -> None:
        good = Provider([PARIS])
        stalls = Provider([[head(), chunk("Par"), WAIT]])
        async with providing(house, bad=Provider([[head(), chunk("Par")]]), stalls=stalls, good=good):
            for name in ("bad/m", "stalls/m"):
                house.gateway.routes.add(
                    "fast", [Target(model=name)], ["good/m"], RouteOptions(between_tokens_s=0.3), replace=True
                )
                events = await events_of(house, "fast")
                assert text_of(events) == "Par"
                assert isinstance(events[-1], Failed)
        assert good.asked == []

    run(work)


def test_a_model_without_a_route_is_asked_again_too(house: House) -> None:
    async def work() -> None:
        provider = Provider([answer({}, 500), answer({}, 429, Retry_After="0"), PARIS])
        async with providing(house, one=provider):
            events = await events_of(house, "one/m")
        assert (events[0], text_of(events)) == (Served(model="one/m", attempts=3), "Paris.")

    run(work)


def test_retry_after_holds_for_other_callers_and_for_the_next_process(house: House, home: Path) -> None:
    async def work() -> None:
        provider = Provider([answer({"error": {"message": "slow down"}}, 429, Retry_After="300"), PARIS])
        async with providing(house, one=provider):
            for _ in range(2):
                with pytest.raises(ModelBusy):
                    await events_of(house, "one/m")
            house.gateway._health._changes.flush()
            with House.open({"DIZUO_HOME": str(home), "DIZUO_CACHE": "off"}) as later:
                (seen,) = later.gateway.health()
                assert (seen.model, seen.state) == ("one/m", "open")
                assert "slow down" in str(seen.last_error)
                with pytest.raises(ModelBusy, match=r"another (300|299) s"):
                    await events_of(later, "one/m")
        assert len(provider.asked) == 1

    run(work)


def test_a_caller_who_leaves_hangs_up_on_the_provider(house: House) -> None:
    async def work() -> None:
        provider = Provider([[head(), chunk("Par"), WAIT]])
        async with providing(house, one=provider):
            async with ended(house.chat("one/m").stream(QUESTION)) as events:
                await anext(events)
                assert house.gateway.health()[0].in_flight == 1
            await asyncio.wait_for(provider.hung_up.wait(), 5)
            assert house.gateway.health()[0].in_flight == 0

    run(work)


def test_a_route_outlives_one_of_its_models_and_says_what_is_wrong_when_all_are_gone(house: House) -> None:
    async def work() -> None:
        async with providing(house, one=Provider([PARIS]), two=Provider([PARIS])):
            house.gateway.routes.add("fast", [Target(model="one/m")], ["two/m"])
            house.providers.remove("one")
            assert (await events_of(house, "fast"))[0] == Served(model="two/m")
            house.providers.remove("two")
            with pytest.raises((NotFound, ModelError), match="one/m"):
                await events_of(house, "fast")

    run(work)
