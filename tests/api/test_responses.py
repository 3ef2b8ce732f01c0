"""Responses, the newer form of the OpenAI protocol, through the official client."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from dizuo.core.errors import ModelBusy, ModelError
from dizuo.core.events import Done, Event, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import ImagePart, Message, TextPart, ToolCall, Usage
from tests.api.conftest import MODEL, Served, error_of, events_of

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "of a place",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": True,
}
PICTURE = "data:image/png;base64,iVBORw0KGgo="


class Events:
    """A chat model that says these events, and keeps what it was asked."""

    name = MODEL

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.calls: list[tuple[Message, ...]] = []
        self.options: list[dict[str, Any]] = []

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        self.calls.append(tuple(messages))
        self.options.append(options)
        for event in self.events:
            yield event


def calling(*calls: ToolCall, text: str = "") -> Events:
    said = [TextDelta(text=text)] if text else []
    usage = UsageReported(usage=Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=3))
    return Events(*said, *(ToolCalled(call=call) for call in calls), usage, Done(finish_reason="tool_calls"))


PARIS = ToolCall(id="call_1", name="weather", arguments='{"place":"Paris"}')
ROME = ToolCall(id="call_2", name="weather", arguments='{"place":"Rome"}')


def test_a_text_is_answered_with_a_text(server: Served, ai: openai.OpenAI) -> None:
    model = server.say("Hello there.")
    made = ai.responses.create(model=MODEL, input="Hi", instructions="Be brief.", metadata={"a": "b"}, temperature=0.5)
    assert (made.output_text, made.status, made.metadata) == ("Hello there.", "completed", {"a": "b"})
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens > 0
    assert model.calls == [(Message(role="system", content="Be brief."), Message(role="user", content="Hi"))]
    assert model.options == [{"temperature": 0.5}]


def test_the_items_of_a_conversation_become_messages(server: Served, ai: openai.OpenAI) -> None:
    server.house.chat_model = model = calling(PARIS, ROME, text="I look.")
    asked: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Where?"},
                {"type": "input_image", "image_url": PICTURE, "detail": "low"},
            ],
        },
    ]
    first = ai.responses.create(model=MODEL, input=asked, tools=[WEATHER], parallel_tool_calls=True)
    assert [item.type for item in first.output] == ["message", "function_call", "function_call"]
    asked += first.output  # sent back as it came
    asked += [{"type": "function_call_output", "call_id": "call_1", "output": "sunny"}]
    asked += [
        {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "rainy"}]}
    ]
    ai.responses.create(model=MODEL, input=asked, tools=[WEATHER])
    assert model.calls[1] == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Where?", parts=(TextPart(text="Where?"), ImagePart(url=PICTURE, detail="low"))),
        Message(role="assistant", content="I look.", tool_calls=(PARIS, ROME)),
        Message(role="tool", content="sunny", tool_call_id="call_1"),
        Message(role="tool", content="rainy", tool_call_id="call_2"),
    )


def test_options_reach_the_model_in_the_form_of_chats(server: Served, ai: openai.OpenAI) -> None:
    server.house.chat_model = model = calling(PARIS)
    ai.responses.create(
        model=MODEL,
        input="?",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        max_output_tokens=9,
        reasoning={"effort": "low"},
    )
    function = {name: WEATHER[name] for name in ("name", "description", "parameters", "strict")}
    assert model.options == [
        {
            "max_completion_tokens": 9,
            "reasoning_effort": "low",
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "parallel_tool_calls": False,
        }
    ]


class Capital(BaseModel):
    name: str


def test_a_parsed_answer_follows_its_schema(server: Served, ai: openai.OpenAI) -> None:
    model = server.say('{"name": "Paris"}')
    made = ai.responses.parse(model=MODEL, input="Capital of France?", text_format=Capital)
    assert made.output_parsed == Capital(name="Paris")
    wanted = model.options[0]["response_format"]
    assert (wanted["type"], wanted["json_schema"]["name"], wanted["json_schema"]["strict"]) == (
        "json_schema", "Capital", True,
    )  # fmt: skip
    assert wanted["json_schema"]["schema"]["properties"].keys() == {"name"}


def test_a_stream_has_the_events_of_the_protocol_in_order(server: Served, client: httpx.Client) -> None:
    server.house.chat_model = calling(PARIS, text="I look.")
    body = {"model": MODEL, "input": "?", "tools": [WEATHER], "stream": True}
    events = events_of(client, "POST", "/v1/responses", json=body)
    assert [name.removeprefix("response.") for name, _data in events] == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert all(name == data["type"] for name, data in events)
    assert [data["sequence_number"] for _name, data in events] == list(range(len(events)))
    last = events[-1][1]["response"]
    assert last["output"] == [data["item"] for name, data in events if name == "response.output_item.done"]
    assert last["usage"]["input_tokens_details"] == {"cached_tokens": 3, "cache_write_tokens": 0}


def test_every_event_has_the_fields_that_the_client_expects(server: Served, client: httpx.Client) -> None:
    from openai.types import responses

    known = {
        one.model_fields["type"].annotation.__args__[0]: one
        for name, one in vars(responses).items()
        if name.endswith("Event") and hasattr(one, "model_fields")
    }
    server.house.chat_model = calling(PARIS, ROME, text="I look.")
    for name, data in events_of(client, "POST", "/v1/responses", json={"model": MODEL, "input": "?", "stream": True}):
        assert known[name].model_validate(data).type == name


@pytest.mark.parametrize("stream", [False, True])
def test_the_official_client_puts_a_stream_together(server: Served, ai: openai.OpenAI, stream: bool) -> None:
    how: Any = {"model": MODEL, "input": "?", "tools": [WEATHER]}
    server.house.chat_model = calling(PARIS, ROME, text="I look.")
    if stream:
        with ai.responses.stream(**how) as events:
            said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            made = events.get_final_response()
        assert said == "I look."
    else:
        made = ai.responses.create(**how)
    assert made.output_text == "I look."
    calls = [item for item in made.output if item.type == "function_call"]
    assert [(one.call_id, json.loads(one.arguments)) for one in calls] == [
        ("call_1", {"place": "Paris"}), ("call_2", {"place": "Rome"}),
    ]  # fmt: skip


def test_the_async_client_streams_a_response(server: Served) -> None:
    server.say("Hello there.")

    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as ai:
            events = await ai.responses.create(model=MODEL, input="Hi", stream=True)
            return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])

    assert asyncio.run(run()) == "Hello there."


def test_an_answer_that_was_cut_off_is_incomplete(server: Served, ai: openai.OpenAI) -> None:
    server.house.chat_model = Events(TextDelta(text="Hell"), Done(finish_reason="length"))
    made = ai.responses.create(model=MODEL, input="Hi", max_output_tokens=1)
    assert (made.status, made.output_text) == ("incomplete", "Hell")
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    *_, last = ai.responses.create(model=MODEL, input="Hi", stream=True)
    assert last.type == "response.incomplete"


def test_a_knowledge_base_cites_in_a_response_too(ai: openai.OpenAI) -> None:
    made = ai.responses.create(model="knowledge/handbook", input="How many days of paid leave does an employee have?")
    message = made.output[0]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    [cited] = message.content[0].annotations
    assert cited.type == "url_citation"
    assert (cited.title, made.output_text[cited.start_index : cited.end_index]) == ("handbook.md", "[1]")


def test_a_response_that_breaks_midway_raises_in_the_client(server: Served, ai: openai.OpenAI) -> None:
    server.say("A long answer that breaks off", break_after=2)
    seen: list[str] = []
    with pytest.raises(openai.APIError, match="broke off"):
        seen.extend(event.type for event in ai.responses.create(model=MODEL, input="Hi", stream=True))
    assert seen[-1] == "response.failed"
    server.say("A long answer that breaks off", break_after=2)
    with pytest.raises(openai.InternalServerError, match="broke off"):
        ai.responses.create(model=MODEL, input="Hi")


@pytest.mark.parametrize("stream", [False, True])
def test_what_goes_wrong_before_the_first_word_is_an_ordinary_error(
    server: Served, ai: openai.OpenAI, stream: bool
) -> None:
    server.say(ModelError("The model is out."), ModelBusy("Too many.", retry_after_s=2.5))
    with pytest.raises(openai.InternalServerError, match="is out"):
        ai.responses.create(model=MODEL, input="Hi", stream=stream)
    with pytest.raises(openai.RateLimitError) as error:
        ai.responses.create(model=MODEL, input="Hi", stream=stream)
    assert error.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("wrong", "param", "says"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "Send the whole conversation"),
        ({"conversation": "conv_1"}, "conversation", "Send the whole conversation"),
        ({"store": True}, "store", "not kept here"),
        ({"background": True}, "background", "not kept here"),
        ({"max_tokens": 5}, "max_tokens", "Nearest: max_output_tokens"),
        ({"service_tier": "flex"}, "service_tier", "not supported here"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "must be one of 'function'"),
        ({"input": []}, "input", "at least 1"),
        ({"input": [{"type": "item_reference", "id": "1"}]}, "input[0]", "there are: 'message', 'function_call'"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]", "'input_text'"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": PICTURE}]}]},
            "messages.content",
            "belong into messages of the role 'user'",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}]},
            "input[0].content[0].image_url",
            "does not have the form",
        ),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "needs 'schema'"),
    ],
)
def test_a_wrong_request_is_refused_by_name(client: httpx.Client, wrong: dict[str, Any], param: str, says: str) -> None:
    error = error_of(client.post("/v1/responses", json={"model": MODEL, "input": "Hi", **wrong}), 400)
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    assert error["param"] == param
