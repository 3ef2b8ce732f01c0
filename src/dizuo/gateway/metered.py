"""Models whose calls stand in the ledger and in the trace."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from dizuo.core import effort, traces
from dizuo.core.events import Done, Event, Failed, Served, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import Message, Usage
from dizuo.core.protocols import ChatModel, Embedder, context_tokens
from dizuo.gateway.estimate import prompt_tokens, tokens_of
from dizuo.gateway.ledger import Call, Ledger
from dizuo.gateway.texts import Texts


class MeteredModel:
    """The model inside, with every call of it written down: who asked, what it took, how it ended."""

    def __init__(self, inner: ChatModel, ledger: Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def context_tokens(self) -> int:
        return context_tokens(self._inner)

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """The events of the model inside, unchanged."""
        began = time.perf_counter()
        with (
            traces.model_span("chat", self.name) as span,
            self._ledger.recorded("chat", self.name) as call,
            effort.counted() as spent,
            _Said(call, messages, span, spent) as said,
        ):
            texts = Texts(span, messages) if traces.wants_texts() else None
            async with ended(self._inner.stream(messages, **options)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        said.size_bytes += len(event.text.encode("utf-8", "surrogatepass"))
                    if texts is not None:
                        texts.take(event)
                    match event:
                        case TextDelta() | ToolCalled() if call.first_s is None:
                            call.first_s = time.perf_counter() - began
                            span.attributes["gen_ai.response.time_to_first_chunk"] = call.first_s
                        case Served(model=model, attempts=attempts, cache=cache):
                            call.model, call.attempts, call.cache = model, attempts, cache
                            span.attributes |= {
                                "gen_ai.provider.name": traces.provider_of(model),
                                "gen_ai.response.model": model,
                                "dizuo.attempts": attempts,
                                "dizuo.cache": cache or "miss",
                            }
                        case UsageReported(usage=usage):
                            call.usage, said.reported = usage, True
                            span.attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
                            span.attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
                        case Done(finish_reason=reason):
                            call.whole = True
                            span.attributes["gen_ai.response.finish_reasons"] = reason
                        case Failed(code=code):
                            call.status, call.error = "failed", code
                            span.error = code
                    yield event


class MeteredEmbedder:
    """The embedder inside, with every call of it written down. For what this instance does by itself: documents that
    come in, questions that are looked up. It is within the limits of the call that it is for, and is no call of its own
    to them; what it costs counts."""

    def __init__(self, inner: Embedder, ledger: Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def dimension(self) -> int:
        return self._inner.dimension

    def embed(self, texts: Sequence[str]) -> Any:
        """As the embedder inside says."""
        with traces.model_span("embed", self.name) as span, self._ledger.recorded("indexing", self.name) as call:
            span.attributes["dizuo.texts"] = len(texts)
            vectors = self._inner.embed(texts)
            call.usage = Usage(prompt_tokens=sum(map(self._inner.count_tokens, texts)))
            call.estimated = True
            span.attributes["gen_ai.usage.input_tokens"] = call.usage.prompt_tokens
            return vectors

    def coverage(self, text: str) -> float:
        return self._inner.coverage(text)

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)


class _Said:
    """What came of an answer. Where nobody reports what it took, that is estimated from it: a provider that is silent
    about it, or a caller who leaves before the end, where the report comes, would else pass every limit."""

    def __init__(self, call: Call, messages: Sequence[Message], span: traces.Span, spent: effort.Effort) -> None:
        self.size_bytes = 0
        self.reported = False
        self._call = call
        self._messages = messages
        self._span = span
        self._spent = spent

    def __enter__(self) -> "_Said":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        left = kind is not None and not issubclass(kind, Exception)  # the model was at work already
        call = self._call
        if self.reported or call.cache or not call.attempts or not (self.size_bytes or left):
            return
        call.usage = Usage(
            prompt_tokens=prompt_tokens(self._messages),
            completion_tokens=tokens_of(self.size_bytes),
            cpu_s=self._spent.cpu_s,
        )
        call.estimated = True
        if call.model == call.asked:  # a route may not have said yet whom it asks: it costs what that one costs
            call.model = _asked_last(self._span) or call.model


def _asked_last(span: traces.Span) -> str:
    """The model that was asked last within the span."""
    trace = traces.current.get()
    for one in reversed(trace.spans if trace else ()):
        if one is span:
            break
        if one.name == "attempt":
            return str(one.attributes["gen_ai.request.model"])
    return ""


@asynccontextmanager
async def ended(events: AsyncIterator[Event]) -> AsyncGenerator[AsyncIterator[Event], None]:
    """The events; after it they have let go of their model, whether all were taken or not."""
    try:
        yield events
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
