"""What becomes of a generation whose reader goes away."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dizuo.core import effort
from dizuo.core.events import Event, UsageReported
from dizuo.core.messages import Message
from dizuo.gateway.local_completion import events_of
from dizuo.wiring import House
from tests.tiny_models import save_llama


class SlowEngine:
    """Takes its time to begin, and says whether what it began was cancelled."""

    def __init__(self) -> None:
        self.entered, self.go, self.cancelled = threading.Event(), threading.Event(), threading.Event()

    def generate(self, ids: Sequence[int], options: Any, deliver: Callable[[Any], None]) -> "SlowEngine":
        self.entered.set()
        assert self.go.wait(10)
        return self

    def cancel(self) -> None:
        self.cancelled.set()


def test_a_reader_who_goes_while_the_text_begins_leaves_nothing_running() -> None:
    engine = SlowEngine()

    async def run() -> None:
        reading = asyncio.ensure_future(anext(events_of(engine, [1], {})))
        await asyncio.to_thread(engine.entered.wait, 10)
        reading.cancel()
        await asyncio.wait([reading])
        engine.go.set()
        assert await asyncio.to_thread(engine.cancelled.wait, 10)

    asyncio.run(run())


@pytest.mark.parametrize("in_a_task_of_its_own", [False, True])
def test_who_leaves_has_taken_the_processor_time_until_then(home: Path, in_a_task_of_its_own: bool) -> None:
    save_llama(home / "models" / "tiny")
    with House.open() as house:
        model = house.chat("local/tiny")

        async def leave(taken: int) -> None:
            events: Any = model.stream([Message(role="user", content="Hello " * 20)], max_tokens=100, temperature=0)
            for _n in range(taken):
                await anext(events)
            if in_a_task_of_its_own:  # as a server does that hears of it elsewhere
                await asyncio.create_task(events.aclose())
            else:
                await events.aclose()

        asyncio.run(leave(2))
        [early] = house.usage.report("model").rows
        assert (early.name, early.estimated) == ("local/tiny", 1)
        assert early.cpu_s > 0
        asyncio.run(leave(80))
        [both] = house.usage.report("model").rows
        assert both.cpu_s - early.cpu_s > early.cpu_s, "whoever stays longer takes more"


def test_what_is_reported_at_the_end_is_not_told_twice(home: Path) -> None:
    save_llama(home / "models" / "tiny")

    async def read(events: AsyncIterator[Event]) -> list[Event]:
        return [event async for event in events]

    with House.open() as house, effort.counted() as spent:
        events = asyncio.run(read(house.chat("local/tiny").stream([Message(role="user", content="Hi")], max_tokens=5)))
        [usage] = [event.usage for event in events if isinstance(event, UsageReported)]
        assert usage.cpu_s > 0
        assert spent.cpu_s == 0
        assert house.usage.report().total.cpu_s == pytest.approx(usage.cpu_s)
