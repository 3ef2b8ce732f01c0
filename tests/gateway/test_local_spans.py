"""What the engine of this machine did for a text stands in the trace."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from dizuo.core.traces import Trace, traced
from dizuo.gateway.local_spans import timed
from dizuo.inference.scheduler import TokenDelta


async def engine() -> AsyncGenerator[Any, None]:
    """A text that waits 20 ms for its slot, reads its prompt in 20 ms and is written in 20 ms."""
    await asyncio.sleep(0.04)
    yield TokenDelta(text="a")
    await asyncio.sleep(0.02)
    yield TokenDelta(finish_reason="stop", prompt_tokens=5, completion_tokens=2, reused_tokens=3, queued_s=0.02)


def followed(most: int) -> Trace:
    """The trace of a text that is read until so many deltas have come."""

    async def read() -> None:
        seen = 0
        async with aclosing(timed(engine())) as deltas:
            async for _delta in deltas:
                seen += 1
                if seen == most:
                    break

    trace = Trace("ask")
    with traced(trace, lambda _trace: None):
        asyncio.run(read())
    return trace


def test_waiting_reading_and_writing_follow_one_another() -> None:
    trace = followed(10)
    spans = {one.name: one for one, _parent in trace.nested()}
    assert [(one.name, parent.name if parent else "") for one, parent in trace.nested()] == [
        ("ask", ""), ("engine", "ask"), ("queue", "engine"), ("prefill", "engine"), ("decode", "engine"),
    ]  # fmt: skip
    assert abs(spans["queue"].end_ns - spans["queue"].start_ns - 20e6) < 1e3
    assert spans["queue"].end_ns == spans["prefill"].start_ns
    assert spans["prefill"].end_ns == spans["decode"].start_ns
    assert spans["decode"].end_ns - spans["decode"].start_ns >= 15e6
    assert spans["engine"].attributes["dizuo.reused_tokens"] == 3


def test_a_text_that_nobody_waits_for_ends_as_cancelled() -> None:
    trace = followed(1)
    assert [(one.name, one.error) for one in trace.spans[1:]] == [
        ("engine", "cancelled"), ("queue", ""), ("prefill", ""), ("decode", ""),
    ]  # fmt: skip
