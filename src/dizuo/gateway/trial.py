"""One try of a model, whatever its kind: what it makes of a text, as the events of a chat model.

It costs what any call costs, and stands in the ledger as one of the app `dizuo/trial`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from dizuo.core import traces
from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.core.messages import Message, Usage
from dizuo.gateway.estimate import text_tokens, texts_tokens
from dizuo.gateway.ledger import CallKind
from dizuo.gateway.local_folders import Kind
from dizuo.gateway.models import KIND_NAMES

if TYPE_CHECKING:
    from dizuo.gateway.gateway import Gateway

TRIAL_APP = "dizuo/trial"
MAX_PIECES = 200  # of about a token each: enough to see how a model writes

# What a model is asked when nobody says what.
_SAMPLES: dict[str, str] = {
    "chat": "Hello! Who are you?",
    "completion": "The capital of France is",
    "embedding": "How many days of leave do I get?",
    "rerank": "How many days of leave do I get?",
    "classifier": "The food was cold and the waiter was rude.",
    "reader": "How many days of leave do employees get?",
    "translation": "The weather is fine today.",
}
# What it is held against.
_PASSAGES = (
    "Employees have 25 days of paid leave a year.",
    "Trains are booked in second class.",
    "The pump is red and stands in the cellar.",
)


def sample(kind: Kind) -> str:
    """A text that a model of that kind can do something with."""
    return _SAMPLES.get(kind, "")


async def attempt(
    gateway: "Gateway", name: str, text: str = "", passages: Sequence[str] = ()
) -> AsyncGenerator[Event, None]:
    """TextDelta…, then Done or Failed. Models that do not write say their result as lines of text.

    `passages` are what vectors, rerankers and readers hold the text against. Raises NotFound, UserError for a model
    that cannot be used, and ModelError as chat models do.
    """
    traces.belongs_to(TRIAL_APP)
    kind = gateway.models.get(name).kind
    text = text or sample(kind)
    if kind == "chat":
        events = gateway.alone(name).stream([Message(role="user", content=text)])
    elif kind == "completion":
        events = _continued(gateway, name, text)
    else:
        said = await asyncio.to_thread(_lines, gateway, name, kind, text, list(passages or _PASSAGES))
        yield TextDelta(text="\n".join(said))
        yield Done()
        return
    # Not by max_tokens: a small context may not have so much room left.
    pieces = 0
    async with aclosing(cast("AsyncGenerator[Event, None]", events)) as stream:
        async for event in stream:
            yield event
            pieces += isinstance(event, TextDelta)
            if pieces == MAX_PIECES:
                yield Done(finish_reason="length")
                return


async def _continued(gateway: "Gateway", name: str, text: str) -> AsyncGenerator[Event, None]:
    read, written = text_tokens(text), 0
    with gateway.call("completion", name, read) as call:
        events = cast("AsyncGenerator[Event, None]", gateway.models.completion(name).complete(text))
        async with aclosing(events) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):  # until the model says it itself
                    written += text_tokens(event.text)
                    call.usage = Usage(prompt_tokens=read, completion_tokens=written)
                    call.estimated = True
                elif isinstance(event, UsageReported):
                    call.usage, call.estimated = event.usage, False
                elif isinstance(event, Failed):
                    call.status, call.error = "failed", event.code
                yield event


def _lines(gateway: "Gateway", name: str, kind: Kind, text: str, passages: list[str]) -> list[str]:
    models = gateway.models
    ways: dict[str, tuple[CallKind, Callable[[], list[str]]]] = {
        "embedding": (
            "embedding",
            lambda: _similar(models.embedder(name).embed([text, *passages]), passages),
        ),
        "rerank": ("rerank", lambda: _ranked(models.reranker(name).score(text, passages), passages)),
        "classifier": (
            "classification",
            lambda: [f"{one.probability:.3f}  {one.name}" for one in models.classifier(name).classify([text])[0]],
        ),
        "reader": (
            "reading",
            lambda: [
                f"{one.margin:+.2f}  {one.text or '-'}  ({passage})"
                for one, passage in zip(models.reader(name).read(text, passages), passages, strict=True)
            ],
        ),
        "translation": ("translation", lambda: models.translator(name).translate([text])),
    }
    if kind not in ways:
        raise UserError(
            "The model {name} is of the kind {kind}: it answers nothing by itself.",
            name=name,
            kind=Note(template=KIND_NAMES[kind]),
        )
    recorded_as, way = ways[kind]
    read = [text] if kind in ("classifier", "translation") else [text, *passages]
    with gateway.call(recorded_as, name, texts_tokens(read)):
        return way()


def _similar(vectors: Any, passages: list[str]) -> list[str]:
    return _ranked((vectors[1:] @ vectors[0]).tolist(), passages)


def _ranked(scores: Sequence[float], passages: list[str]) -> list[str]:
    order = sorted(range(len(passages)), key=lambda i: -scores[i])
    return [f"{scores[i]:.3f}  {passages[i]}" for i in order]
