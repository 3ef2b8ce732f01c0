"""A chat model that is asked only within limits."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from dizuo.core.events import Event
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel, context_tokens
from dizuo.gateway.estimate import prompt_tokens
from dizuo.gateway.limits import Limits
from dizuo.gateway.metered import ended


class LimitedModel:
    """The model inside, as long as the limits of whoever asks leave room."""

    def __init__(self, inner: ChatModel, limits: Limits) -> None:
        self._inner = inner
        self._limits = limits

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def context_tokens(self) -> int:
        return context_tokens(self._inner)

    def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        """The events of the model inside, unchanged. Raises TooMany when a limit is reached."""
        if self._limits.idle:  # nothing stands between then, not even for each event
            return self._inner.stream(messages, **options)
        return self._held(messages, options)

    async def _held(self, messages: Sequence[Message], options: dict[str, Any]) -> AsyncGenerator[Event, None]:
        if self._limits.stale:
            await asyncio.to_thread(self._limits.freshen)
        with self._limits.admitted(prompt_tokens(messages)):
            async with ended(self._inner.stream(messages, **options)) as events:
                async for event in events:
                    yield event
