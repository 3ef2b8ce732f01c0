"""What becomes of a generation whose reader goes away."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from dizuo.gateway.local_completion import events_of


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
