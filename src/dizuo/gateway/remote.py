"""A chat model behind any endpoint that speaks the OpenAI protocol (chat completions, streamed).

https://platform.openai.com/docs/api-reference/chat
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from typing import Any

from dizuo.core import traces
from dizuo.core.errors import ModelError
from dizuo.core.events import Done, Event, Failed, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import ImagePart, Message
from dizuo.gateway.dialect import dialect
from dizuo.gateway.options import checked_options
from dizuo.gateway.remote_http import SETTINGS, Endpoint, Timeouts
from dizuo.gateway.remote_reading import MALFORMED, Tokens, ToolCalls, finish_of, text_of, usage_of

log = logging.getLogger(__name__)

# What is passed on. Anything else is refused by name rather than dropped. The last row is what vLLM, SGLang, llama.cpp
# and Qwen know beyond the protocol; a provider that does not refuses it by name itself.
OPTIONS = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "parallel_tool_calls",
        "presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice",
        "tools", "top_logprobs", "top_p", "user",
        "min_p", "repetition_penalty", "top_k",
    }
)  # fmt: skip


class RemoteModel:
    """A chat model of a provider (`core.protocols.ChatModel`), reached as `Endpoint` says, in the dialect of its entry
    in the catalogue (`preset`).

    Raises UserError for a base URL, a key or a header that cannot be used.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str = "",
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        settings: str = SETTINGS,
        preset: str = "",
    ) -> None:
        self._endpoint = Endpoint(name, base_url, api_key, timeouts, headers, settings)
        self._dialect = dialect(preset)

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def fingerprint(self) -> int:
        """A number that is another one where the model is reached at another address or with another key."""
        return self._endpoint.fingerprint

    def waiting(self, **seconds: float) -> "RemoteModel":
        """The same model, with these of its `Timeouts` changed."""
        other = copy(self)
        other._endpoint = self._endpoint.waiting(**seconds)
        return other

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """The answer as events, as `core.protocols.ChatModel` says. Thinking that is told apart is no part of it.

        In one event where the request wants it whole, unless it has to begin or to go on within a time of its own.

        Raises UserError for an unknown option, or one that the provider does not take, and ModelError for whatever goes
        wrong before the first text or call; after that the stream ends with Failed.
        """
        payload = {
            "model": self._endpoint.model,
            "messages": [_as_json(message) for message in messages],
            **self._dialect.spoken(checked_options(options, OPTIONS)),
        }
        spoke = False
        try:
            async with aclosing(self._events(payload)) as events:
                async for event in events:
                    spoke = spoke or isinstance(event, TextDelta | ToolCalled)
                    yield event
        except ModelError as error:
            log.warning("%s", error)
            if not spoke:
                raise
            yield Failed(code=error.code, message=str(error))

    async def _events(self, payload: dict[str, Any]) -> AsyncGenerator[Event, None]:
        calls, tokens = ToolCalls(), Tokens()
        finish = usage = None
        called = refused = whole = False
        in_one = self._endpoint.may_be_whole and traces.wants_whole()
        async with aclosing(self._endpoint.chunks("chat/completions", payload, in_one=in_one)) as chunks:
            async for chunk in chunks:
                if chunk is None:
                    whole = True
                    continue
                try:
                    usage = usage_of(chunk) or usage
                    choices = chunk.get("choices")
                    if not choices:  # the chunk of the usage, or a filter's report on the prompt
                        continue
                    choice = choices[0]
                    said = choice.get("delta") or choice.get("message") or {}
                    text = text_of(said.get("content"))
                    if said.get("refusal"):
                        text, refused = text + text_of(said["refusal"]), True
                    read = tokens.of_chat(choice["logprobs"]) if choice.get("logprobs") else ()
                    if said.get("tool_calls"):
                        calls.add(said["tool_calls"])
                    finish = finish_of(choice) or finish
                except MALFORMED as error:
                    raise self._endpoint.gibberish(chunk) from error
                if text or read:
                    yield TextDelta(text=text, tokens=read)
        if finish is None and not whole:
            raise self._endpoint.cut_off()
        try:
            made = calls.taken()
        except LookupError as error:
            raise self._endpoint.gibberish("tool_calls") from error
        for call in made:
            called = True
            yield ToolCalled(call=call)
        if usage:
            yield UsageReported(usage=usage)
        finish = finish or "stop"  # some servers name no reason, but said that the answer is whole
        if finish == "stop":
            finish = "tool_calls" if called else "content_filter" if refused else "stop"
        yield Done(finish_reason=finish)


def _as_json(message: Message) -> dict[str, Any]:
    """A message in the protocol's form."""
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.parts:
        said["content"] = [
            {"type": "text", "text": part.text} if not isinstance(part, ImagePart) else _image(part)
            for part in message.parts
        ]
    if message.name:
        said["name"] = message.name
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        said["content"] = said["content"] or None
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return said


def _image(part: ImagePart) -> dict[str, Any]:
    # Several servers refuse the field; auto is what its absence means.
    detail = {} if part.detail == "auto" else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": part.url, **detail}}
