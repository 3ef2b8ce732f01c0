"""What a model was told and what it said, in its span, where the setting `trace_texts` keeps it.

In the form of the conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

import json
from collections.abc import Sequence
from typing import Any

from dizuo.core.events import Done, Event, Failed, TextDelta, ToolCalled
from dizuo.core.messages import Message, ToolCall
from dizuo.core.traces import Span

MOST_TEXT = 16_000  # characters of a prompt, and of an answer


class Texts:
    """The texts of one call. The prompt is written at once, the answer as it ends."""

    def __init__(self, span: Span, messages: Sequence[Message]) -> None:
        self._span = span
        self._said: list[str] = []
        self._calls: list[ToolCall] = []
        self._room = MOST_TEXT
        span.attributes["gen_ai.input.messages"] = _json(_latest(messages))

    def take(self, event: Event) -> None:
        """What is said with this event."""
        match event:
            case TextDelta(text=text) if self._room > 0:
                self._said.append(text[: self._room])
                self._room -= len(text)
            case ToolCalled(call=call):
                self._calls.append(call)
            case Done(finish_reason=reason):
                self._write(reason)
            case Failed():
                self._write("error")
            case _:
                pass

    def _write(self, reason: str) -> None:
        parts = [_text("".join(self._said))] if self._said else []
        parts += [_call(call) for call in self._calls]
        self._span.attributes["gen_ai.output.messages"] = _json(
            [{"role": "assistant", "parts": parts, "finish_reason": reason}]
        )


def _latest(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The end of the conversation, up to MOST_TEXT characters. Pictures are left out."""
    kept: list[dict[str, Any]] = []
    room = MOST_TEXT
    for message in reversed(messages):
        if room <= 0:
            break
        parts = [_text(message.content[:room])] if message.content else []
        kept.append({"role": message.role, "parts": parts + [_call(call) for call in message.tool_calls]})
        room -= len(message.content) + sum(len(call.arguments) for call in message.tool_calls)
    return kept[::-1]


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments[:MOST_TEXT]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
