"""A chat model whose calls stand in the ledger and in the trace."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from dizuo.core import traces
from dizuo.core.events import Event, Failed, Served, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel
from dizuo.gateway.ledger import Ledger


class MeteredModel:
    """The model inside, with every call of it written down: who asked, what it took, how it ended."""

    def __init__(self, inner: ChatModel, ledger: Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    @property
    def name(self) -> str:
        return self._inner.name

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """The events of the model inside, unchanged."""
        began = time.perf_counter()
        with (
            traces.span("chat", **{"gen_ai.request.model": self.name}) as span,
            self._ledger.recorded("chat", self.name) as call,
        ):
            async with ended(self._inner.stream(messages, **options)) as events:
                async for event in events:
                    match event:
                        case TextDelta() | ToolCalled() if call.first_s is None:
                            call.first_s = time.perf_counter() - began
                        case Served(model=model, attempts=attempts, cache=cache):
                            call.model, call.attempts, call.cache = model, attempts, cache
                            span.attributes["gen_ai.response.model"] = model
                        case UsageReported(usage=usage):
                            call.usage = usage
                            span.attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
                            span.attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
                        case Failed(code=code):
                            call.status, call.error = "failed", code
                            span.error = code
                    yield event


@asynccontextmanager
async def ended(events: AsyncIterator[Event]) -> AsyncGenerator[AsyncIterator[Event], None]:
    """The events; after it they have let go of their model, whether all were taken or not."""
    try:
        yield events
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
