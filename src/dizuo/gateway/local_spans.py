"""What the engine of this machine did for a text, as spans: waiting for a place, reading the prompt, writing."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from dizuo.core import traces


async def timed(deltas: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The same deltas of a `TextEngine`, with their spans in the present trace."""
    began_ns, first_ns, last = time.time_ns(), 0, None
    with traces.span("engine") as engine:
        try:
            async with aclosing(deltas):
                async for last in deltas:
                    first_ns = first_ns or time.time_ns()
                    yield last
        finally:
            ended_ns = time.time_ns()
            # The engine says it with the last delta. Of a text that was stopped before, waiting counts as reading.
            placed_ns = min(began_ns + int(1e9 * getattr(last, "queued_s", 0.0)), first_ns or ended_ns)
            traces.past(engine, "queue", began_ns, placed_ns)
            traces.past(engine, "prefill", placed_ns, first_ns or ended_ns)
            if first_ns:
                traces.past(engine, "decode", first_ns, ended_ns)
            if last is not None and last.finish_reason is not None:
                engine.attributes |= {
                    "gen_ai.usage.input_tokens": last.prompt_tokens,
                    "gen_ai.usage.output_tokens": last.completion_tokens,
                    "dizuo.reused_tokens": last.reused_tokens,
                }
