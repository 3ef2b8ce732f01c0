"""A local model that chats: messages by the model's own template to tokens, tokens to events."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from dizuo.core.errors import UserError
from dizuo.core.events import Done, Event, TextDelta, ToolCalled
from dizuo.core.messages import Message, ToolCall
from dizuo.gateway import local_tools
from dizuo.gateway.local_completion import SAMPLING, events_of, sampling_of
from dizuo.gateway.local_engines import Engines
from dizuo.gateway.local_folders import LocalFolder
from dizuo.gateway.options import checked_options

_OPTIONS = SAMPLING | {
    "logprobs", "max_completion_tokens", "parallel_tool_calls", "response_format", "stop", "tool_choice", "tools",
    "top_logprobs", "user",
}  # fmt: skip


class LocalChatModel:
    """A decoder with a chat template out of a folder of models (`core.protocols.ChatModel`)."""

    def __init__(self, folder: LocalFolder, engines: Engines) -> None:
        self._folder = folder
        self._engines = engines

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def context_tokens(self) -> int:
        """The longest conversation with its answer, in tokens; 0 where the model does not say."""
        return self._folder.context_tokens

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """The answer as events, as `core.protocols.ChatModel` says; with tools, ToolCalled for each call.

        Raises UserError for an unknown option, pictures, messages that the template refuses, or more tokens than fit.
        """
        given = checked_options(options, _OPTIONS)
        if any(message.parts for message in messages):
            raise UserError(
                "The model {name} reads text and no pictures. Leave them out, or ask a model that sees.",
                name=self.name,
                param="messages.content",
            )
        sampling = sampling_of(self._folder, _renamed(given))
        tools = given.get("tools") or ()
        async with self._engines.lease_async(self._folder) as engine:
            if tools:
                choice, several = given.get("tool_choice", "auto"), given.get("parallel_tool_calls", True)
                grammar = local_tools.grammar(tools, choice, several, _marks(engine))
                if grammar is None:
                    tools = ()
                else:
                    sampling["grammar"] = _alone(sampling, grammar)
            said = [_as_json(message) for message in messages]
            ids = await asyncio.to_thread(engine.apply_chat_template, said, list(tools) or None)
            events = events_of(engine, ids, sampling)
            async with aclosing(_with_calls(events) if tools else events) as stream:
                async for event in stream:
                    yield event


async def _with_calls(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The same events, with calls in place of the text that stands for them."""
    held: list[TextDelta] = []
    calls: bool | None = None
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta) and calls is not False:
                held.append(event)
                calls = calls or local_tools.begins("".join(one.text for one in held))
                if calls is not False:
                    continue
                event = None
            if calls is False or isinstance(event, Done):
                called = local_tools.read("".join(one.text for one in held)) if calls else []
                if called:
                    for call in called:
                        yield ToolCalled(call=call)
                    if isinstance(event, Done) and event.finish_reason == "stop":
                        event = Done(finish_reason="tool_calls")
                else:  # text, or a call that max_tokens cut off: it is shown as it stands
                    for one in held:
                        yield one
                held.clear()
            if event is not None:
                yield event


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The chat protocol's options by their older names."""
    options = {name: value for name, value in given.items() if name not in ("logprobs", "top_logprobs")}
    if "max_completion_tokens" in given:
        options["max_tokens"] = given["max_completion_tokens"]
    if given.get("logprobs"):
        options["logprobs"] = given.get("top_logprobs", 0)
    elif "top_logprobs" in given:
        raise UserError("top_logprobs needs logprobs: true.", param="top_logprobs")
    return options


def _alone(sampling: Mapping[str, Any], grammar: str) -> str:
    if any(name in sampling for name in ("json_schema", "regex", "grammar")):
        raise UserError("response_format and tools rule the text each in its own way; give one of them.", param="tools")
    return grammar


def _marks(engine: Any) -> tuple[str, str] | None:
    """The two marks as the grammar names tokens, where they are tokens that show in a text."""
    added = engine.tokenizer.get_added_tokens_decoder().values()
    shown = {token.content for token in added if not token.special}
    return (local_tools.OPEN, local_tools.CLOSE) if {local_tools.OPEN, local_tools.CLOSE} <= shown else None


def _as_json(message: Message) -> dict[str, Any]:
    """A message as chat templates take it: arguments of a call as an object."""
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        said["name"] = message.name
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in message.tool_calls
        ]
    return said


def _arguments(call: ToolCall) -> Any:
    try:
        return json.loads(call.arguments)
    except ValueError:
        return call.arguments
