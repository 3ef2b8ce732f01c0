"""A chat model that says what a test told it to say."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from dizuo.core.errors import DizuoError, ModelError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.core.messages import Message, Usage

Reply = str | Exception | Callable[[Sequence[Message]], str]


class ScriptedModel:
    """Gives its replies one after another and keeps what it was asked in `calls`.

    A reply is a text, an exception to raise, or a function of the messages. It is streamed in pieces of
    `piece` characters. With `break_after`, each stream fails after that many pieces.

        model = ScriptedModel("scripted/test", ["Paris. [1]"])
    """

    def __init__(
        self,
        name: str = "scripted/test",
        replies: Sequence[Reply] = (),
        *,
        piece: int = 7,
        break_after: int | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._name = name
        self._replies = list(replies)
        self._piece = piece
        self._break_after = break_after
        self._delay_s = delay_s
        self.calls: list[tuple[Message, ...]] = []
        self.options: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        return self._name

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        """The next reply as events. Raises what the script says to raise, and ModelError when it has run out."""
        position = len(self.calls)
        self.calls.append(tuple(messages))
        self.options.append(options)
        if position >= len(self._replies):
            raise ModelError("The scripted model {name} has no reply number {n}.", name=self._name, n=position + 1)
        reply = self._replies[position]
        if isinstance(reply, Exception):
            raise reply
        text = reply if isinstance(reply, str) else reply(messages)
        for n, start in enumerate(range(0, len(text), self._piece)):
            if n == self._break_after:
                yield _failed()
                return
            await asyncio.sleep(self._delay_s)
            yield TextDelta(text=text[start : start + self._piece])
        prompt_tokens = sum(len(message.content) for message in messages) // 4
        yield UsageReported(usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=len(text) // 4))
        yield Done()


def _failed() -> Failed:
    error: DizuoError = ModelError("The model's answer broke off.")
    return Failed(code=error.code, message=str(error))
