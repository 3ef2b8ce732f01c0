"""The shortest proof that a model works: one small question, and how fast it was answered."""

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from dizuo.core import traces
from dizuo.core.errors import ModelError
from dizuo.core.events import Failed, TextDelta, UsageReported
from dizuo.core.messages import Noun
from dizuo.gateway.estimate import text_tokens
from dizuo.gateway.local_folders import Kind
from dizuo.gateway.trial import TRIAL_APP, attempt, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dizuo.gateway.gateway import Gateway

QUESTION = "What is the capital of France? Answer in one word."


class Probe(Noun):
    """What a model made of a text, and how long it took.

    Of models that write, `first_s` is the time to the first piece and `tokens_per_s` the pace after it, None where
    there was no more than that piece; of embedders, `dimension` is the length of the vector.
    """

    model: str
    kind: Kind
    text: str
    said: str
    seconds: float
    first_s: float | None = None
    tokens: int | None = None
    estimated: bool = False  # the tokens: nobody reported them
    tokens_per_s: float | None = None
    dimension: int | None = None


async def probe(gateway: "Gateway", name: str, text: str = "", passages: "Sequence[str]" = ()) -> Probe:
    """Asks a model once. Raises NotFound, UserError for one that cannot be used, and ModelError for what goes wrong."""
    kind = (await asyncio.to_thread(gateway.models.get, name)).kind
    text = text or (QUESTION if kind in ("chat", "embedding") else sample(kind))
    begun_s = time.monotonic()
    if kind == "embedding" and not passages:
        return await _embedded(gateway, name, text, begun_s)
    said, first_s, last_s, tokens = "", None, begun_s, None
    async with aclosing(attempt(gateway, name, text, passages)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                last_s = time.monotonic()
                first_s = first_s or last_s
                said += event.text
            elif isinstance(event, UsageReported):
                tokens = event.usage.completion_tokens
            elif isinstance(event, Failed):
                raise ModelError("{message}", message=event.message)
    seconds = time.monotonic() - begun_s
    if kind not in ("chat", "completion"):
        return Probe(model=name, kind=kind, text=text, said=said, seconds=seconds)
    counted = text_tokens(said) if tokens is None else tokens
    writing_s = last_s - (first_s or last_s)
    return Probe(
        model=name,
        kind=kind,
        text=text,
        said=said,
        seconds=seconds,
        first_s=None if first_s is None else first_s - begun_s,
        tokens=counted,
        estimated=tokens is None,
        tokens_per_s=(counted - 1) / writing_s if counted > 1 and writing_s > 0.01 else None,
    )


async def _embedded(gateway: "Gateway", name: str, text: str, begun_s: float) -> Probe:
    traces.belongs_to(TRIAL_APP)
    with gateway.call("embedding", name, text_tokens(text)):
        vector = (await asyncio.to_thread(gateway.models.embedder(name).embed, [text]))[0]
    start = ", ".join(f"{value:.3f}" for value in vector[:4])
    return Probe(
        model=name,
        kind="embedding",
        text=text,
        said=f"[{start}, …]",
        seconds=time.monotonic() - begun_s,
        dimension=len(vector),
    )
