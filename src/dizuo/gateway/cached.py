"""A chat model whose answers are kept, and given again to who asks the same.

Not kept: what calls tools, what was cut off, refused or broken, answers that found nothing, pictures, and whatever is
marked private. What is kept can be seen, listed and cleared: `dizuo cache`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dizuo.core import traces
from dizuo.core.events import CitationFound, Done, Event, Failed, Served, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import ImagePart, Message, Usage
from dizuo.core.protocols import ChatModel, context_tokens
from dizuo.gateway.cache import Cache, Found, Question
from dizuo.gateway.metered import ended

_PIECE = 24  # characters of a kept answer that are sent at a time
_LARGEST = 256 << 10  # characters of an answer that is kept
# What changes how an answer is sent and not what it says.
_OF_TRANSPORT = frozenset({"stream", "stream_options", "timeout", "user", "metadata", "store"})
# Whoever asks for several answers, or for the numbers behind one, wants them made.
_ASKS_FOR_MORE = frozenset({"logprobs", "top_logprobs", "n"})


class CachedModel:
    """The model inside, asked only where no answer is kept."""

    def __init__(self, inner: ChatModel, cache: Cache) -> None:
        self._inner = inner
        self._cache = cache

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def context_tokens(self) -> int:
        return context_tokens(self._inner)

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """The kept answer with a `Served` before it, or the events of the model inside, unchanged."""
        kept = keep(self._cache, self.name, messages, options, lambda: self._inner.stream(messages, **options))
        async with ended(kept) as events:
            async for event in events:
                yield event


async def keep(
    cache: Cache,
    model: str,
    messages: Sequence[Message],
    options: Mapping[str, Any],
    fresh: Callable[[], AsyncIterator[Event]],
) -> AsyncGenerator[Event, None]:
    """The events of a kept answer to this, or those of `fresh`, which are kept where they may be."""
    question = _question(cache, model, messages, options)
    if question is None:
        async with ended(fresh()) as events:
            async for event in events:
                yield event
        return
    trace = traces.current.get()
    if trace is None or trace.cache == "use":
        with traces.span("cache") as span:
            found = await asyncio.to_thread(cache.find, question)
            span.attributes["dizuo.cache"] = found.kind if found else "miss"
            if found:
                span.attributes["dizuo.cache.score"] = found.score
        if found is not None:
            for event in _again(found):
                yield event
            return
    version = await asyncio.to_thread(cache.version, question)
    answer = _Answer()
    async with ended(fresh()) as events:
        async for event in events:
            answer.take(event)
            if isinstance(event, Done) and answer.may_be_kept(event):
                # Before the caller hears that it is done: whoever asks again then finds it.
                await asyncio.to_thread(cache.keep, question, version, answer.events, answer.documents)
            yield event


def _question(cache: Cache, model: str, messages: Sequence[Message], options: Mapping[str, Any]) -> Question | None:
    """What is asked, or None where neither is looked nor kept."""
    trace = traces.current.get()
    if cache.policy == "off" or (trace is not None and (trace.private or trace.cache == "off")):
        return None
    last = messages[-1] if messages else None
    if last is None or last.role != "user" or not last.content.strip():
        return None
    if any(isinstance(part, ImagePart) for message in messages for part in message.parts):
        return None
    given = {name: value for name, value in options.items() if value is not None and name not in _OF_TRANSPORT}
    if any(given.get(name) not in (None, False, 0, 1) or given.get(name) is True for name in _ASKS_FOR_MORE):
        return None
    around = {
        "user": trace.user_id if trace else None,
        "model": model,
        "before": [message.model_dump(mode="json") for message in messages[:-1]],
        "last": last.model_dump(mode="json", exclude={"content", "parts"}),
        "options": given,
    }
    # A question that may set tools to work is answered again in the same words only: what it does not call is one too.
    wording = not given.get("tools")
    return Question(model, json.dumps(around, sort_keys=True, ensure_ascii=False, default=str), last.content, wording)


@dataclass
class _Answer:
    """An answer as it comes."""

    text: str = ""
    usage: Usage | None = None
    tools: bool = False
    broken: bool = False

    def __post_init__(self) -> None:
        self._citations: dict[int, CitationFound] = {}
        self._done: Done | None = None
        self._served: list[Event] = []

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text=text):
                self.text += text
            case CitationFound(index=index):
                self._citations[index] = event
            case UsageReported(usage=usage):
                self.usage = usage
            case ToolCalled():
                self.tools = True
            case Failed():
                self.broken = True
            case Done():
                self._done = event
            case Served():
                self._served = [event]

    def may_be_kept(self, done: Done) -> bool:
        refused = done.answer is not None and not done.answer.found
        whole = done.finish_reason == "stop" and len(self.text.strip()) > 0 and len(self.text) <= _LARGEST
        return whole and not (refused or self.tools or self.broken)

    @property
    def documents(self) -> frozenset[str]:
        """What the answer cites."""
        assert self._done is not None
        cited = [event.citation for event in self._citations.values()]
        cited += self._done.answer.citations if self._done.answer else ()
        return frozenset(citation.document_id for citation in cited)

    @property
    def events(self) -> Sequence[Event]:
        """The answer in as few events as say it: the pieces it came in were the network's."""
        assert self._done is not None
        usage = [UsageReported(usage=self.usage)] if self.usage else []
        return [*self._served, *self._citations.values(), TextDelta(text=self.text), *usage, self._done]


def _again(found: Found) -> list[Event]:
    """A kept answer as a stream. Its usage is that of a call that no model was asked for: nothing."""
    events: list[Event] = [
        Served(model=found.model, attempts=0, cache=found.kind, score=found.score, age_s=found.age_s)
    ]
    for event in found.events:
        match event:
            case TextDelta(text=text):
                events += [TextDelta(text=text[n : n + _PIECE]) for n in range(0, len(text), _PIECE)]
            case UsageReported():
                events.append(UsageReported(usage=Usage()))
            case _:
                events.append(event)
    return events
