"""/v1/responses: the newer form of the OpenAI protocol over every chat model. Nothing is kept.

https://platform.openai.com/docs/api-reference/responses, and its streaming events:
https://platform.openai.com/docs/api-reference/responses-streaming
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from dizuo.api import errors, streams
from dizuo.api.auth import TheHouse, router
from dizuo.api.replies import STREAMS, WISHES, Reply, streamed, whole
from dizuo.api.responses_types import Response, ResponseRequest
from dizuo.core import traces
from dizuo.core.events import Done, Event, Failed, TextDelta, ToolCalled
from dizuo.core.ids import random_hex
from dizuo.core.messages import ToolCall

routes = router("/v1", "OpenAI protocol")

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@routes.post("/responses", response_model=Response, responses=STREAMS, dependencies=WISHES)
async def respond(asked: ResponseRequest, request: Request, house: TheHouse) -> Any:
    """A response, whole or as the protocol's numbered events, the last of them `response.completed`, `.incomplete`, or
    after a failure `.failed` and `error`.

    Headers as of /v1/chat/completions.
    """
    asked.must_be_stateless()
    messages, options = asked.messages(), asked.options()
    model = house.chat_at_once(asked.model) or await run_in_threadpool(house.chat, asked.model)
    events = model.stream(messages, **options)
    made = _Response(asked, lambda: request.base_url)
    if asked.stream:
        begun, headers = await streamed(request, events)
        return streams.EventStream(streams.guarded(request, made.frames(request, begun)), headers)
    traces.want_whole()
    failed = await streams.unless_gone(request, made.take_all(events))
    return streams.failure_response(failed, request) if failed else whole(made.shown(), made.reply.served)


class _Response:
    """A response in the making: the events of a model in, those of the protocol out."""

    def __init__(self, asked: ResponseRequest, base_url: Callable[[], object]) -> None:
        self.reply = Reply(asked.model, base_url)
        self._output: list[dict[str, Any]] = []
        self._text_from = 0  # where the message that is being written begins in the reply's text
        self._writing: dict[str, Any] | None = None
        self._begun = _begun(asked)

    def shown(self) -> dict[str, Any]:
        """The response as it is now."""
        return {**self._begun, "output": self._output}

    async def take_all(self, events: Any) -> Failed | None:
        """Takes every event; how the stream failed, if it did."""
        async with streams.ended(events):
            async for event in events:
                if isinstance(event, Failed):
                    return event
                for _step in self._steps(event):
                    pass
        self.reply.must_have_ended()
        return None

    async def frames(self, request: Request, events: AsyncGenerator[Event, None]) -> AsyncGenerator[str, None]:
        """The events of the protocol, numbered."""
        number = 0

        def numbered(step: dict[str, Any]) -> str:
            nonlocal number
            number += 1
            return streams.frame(streams.json_text({**step, "sequence_number": number - 1}), step["type"])

        yield numbered({"type": "response.created", "response": self.shown()})
        yield numbered({"type": "response.in_progress", "response": self.shown()})
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Failed):
                    for step in self._failed(streams.failure(event, request)):
                        yield numbered(step)
                    return
                for step in self._steps(event):
                    yield numbered(step)
        self.reply.must_have_ended()

    def _steps(self, event: Event) -> Iterator[dict[str, Any]]:
        self.reply.take(event)
        match event:
            case TextDelta(text=text) if text:
                if self._writing is None:
                    yield from self._message_begins()
                yield {"type": "response.output_text.delta", **self._place(), "delta": text, "logprobs": []}
            case ToolCalled(call=call):
                yield from self._message_ends()
                yield from self._called(call)
            case Done(finish_reason=reason):
                if not self._output:
                    yield from self._message_begins()  # it said nothing: that is a message, too
                incomplete = _INCOMPLETE.get(reason)
                status = "incomplete" if incomplete else "completed"
                yield from self._message_ends(status)
                self._begun |= {
                    "status": status,
                    "completed_at": None if incomplete else int(time.time()),
                    "incomplete_details": {"reason": incomplete} if incomplete else None,
                    "usage": self._usage(),
                }
                yield {"type": f"response.{status}", "response": self.shown()}
            case _:
                pass

    def _message_begins(self) -> Iterator[dict[str, Any]]:
        self._writing = {
            "id": f"msg_{random_hex(12)}",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        self._output.append(self._writing)
        yield {"type": "response.output_item.added", "output_index": self._last, "item": {**self._writing}}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield {"type": "response.content_part.added", **self._place(), "part": part}

    def _message_ends(self, status: str = "completed") -> Iterator[dict[str, Any]]:
        item = self._writing
        if item is None:
            return
        text, place = self.reply.text[self._text_from :], self._place()
        self._text_from, self._writing = len(self.reply.text), None
        annotations = [{"type": "url_citation", **cited} for cited in self.reply.citations()]
        for number, annotation in enumerate(annotations):
            added = {"annotation_index": number, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **place, **added}
        part = {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}
        item |= {"status": status, "content": [part]}
        yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}
        yield {"type": "response.output_item.done", "output_index": self._last, "item": item}

    def _called(self, call: ToolCall) -> Iterator[dict[str, Any]]:
        item = {
            "id": f"fc_{random_hex(12)}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        self._output.append(item)
        place = {"item_id": item["id"], "output_index": self._last}
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield {"type": "response.output_item.added", "output_index": self._last, "item": begun}
        yield {"type": "response.function_call_arguments.delta", **place, "delta": call.arguments}
        done = {"name": call.name, "arguments": call.arguments}
        yield {"type": "response.function_call_arguments.done", **place, **done}
        yield {"type": "response.output_item.done", "output_index": self._last, "item": item}

    def _failed(self, failure: errors.ErrorBody) -> Iterator[dict[str, Any]]:
        """Both forms of a failure: the response's own end, and an error that clients raise."""
        error = failure.error
        if self._writing is not None:
            self._writing["status"] = "incomplete"
        self._begun |= {"status": "failed", "error": {"code": "server_error", "message": error.message}}
        yield {"type": "response.failed", "response": self.shown()}
        flat = {"code": error.code, "message": error.message, "param": error.param}
        yield {"type": "error", **flat, "error": error.model_dump(mode="json")}

    def _usage(self) -> dict[str, Any]:
        usage = self.reply.usage
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.total_tokens,
        }

    @property
    def _last(self) -> int:
        return len(self._output) - 1

    def _place(self) -> dict[str, Any]:
        assert self._writing is not None
        return {"item_id": self._writing["id"], "output_index": self._last, "content_index": 0}


def _begun(asked: ResponseRequest) -> dict[str, Any]:
    """What a response says from its begin, as `responses_types.Response` has it."""
    given = asked.model_dump(mode="json", by_alias=True)
    text, reasoning = given["text"] or {}, given["reasoning"] or {}
    wanted = {name: value for name, value in (text.get("format") or {}).items() if value is not None}
    return {
        "id": f"resp_{random_hex(24)}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        **{
            name: given[name] for name in ("instructions", "max_output_tokens", "model", "temperature", "top_p", "user")
        },
        "metadata": asked.metadata or {},
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "store": False,
        "text": {"format": wanted or {"type": "text"}},
        "tool_choice": given["tool_choice"] or "auto",
        "tools": given["tools"] or [],
        "truncation": "disabled",
        "usage": None,
    }
