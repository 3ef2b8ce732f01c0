"""What a model behind a provider passes on, and what it reads: tools, pictures, usage, log-probabilities."""

import json
from typing import Any

import pytest

from dizuo.core.errors import ModelDown
from dizuo.core.events import Done, Failed, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import ImagePart, Message, TextPart, ToolCall, Usage
from tests.gateway.provider import DONE, PARIS, Provider, ask, asked, chunk, head, text_of

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True}}


def sent(*messages: Message, **options: Any) -> dict[str, Any]:
    provider = Provider([PARIS])
    asked(provider, messages=messages, **options)
    return provider.asked[0].body


def delta(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": fields}]}).encode() + b"\n\n"


def call(
    arguments: Any = None, *, index: int | None = None, id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    piece: dict[str, Any] = {"function": {"arguments": arguments} | ({"name": name} if name else {})}
    return piece | ({} if index is None else {"index": index}) | ({} if id is None else {"id": id})


def calls_of(*deltas: list[dict[str, Any]], finish: str = "tool_calls") -> list[ToolCall]:
    events = ask([head(), *(delta(tool_calls=pieces) for pieces in deltas), chunk(finish=finish), DONE])
    assert events[-1] == Done(finish_reason="tool_calls")
    return [event.call for event in events if isinstance(event, ToolCalled)]


# --- what is passed on ----------------------------------------------------------------------------------------


def test_tools_formats_and_log_probabilities_are_passed_on_as_they_are() -> None:
    options = {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {}}},
    }
    body = sent(Message(role="user", content="?"), **options)
    assert {name: body[name] for name in options} == options


def test_tool_calls_and_their_results_are_sent_back() -> None:
    made = ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}')
    body = sent(
        Message(role="assistant", content="", tool_calls=(made,)),
        Message(role="tool", content="18 degrees", tool_call_id="c1"),
    )
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert body["messages"] == [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
    ]


def test_pictures_are_sent_in_their_place_between_the_texts() -> None:
    parts = (TextPart(text="What is "), ImagePart(url="data:image/png;base64,AA", detail="low"), TextPart(text="?"))
    (message,) = sent(Message(role="user", content="What is ?", parts=parts))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "What is "},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "text", "text": "?"},
    ]


def test_a_picture_of_megabytes_arrives_whole() -> None:
    picture = ImagePart(url="data:image/png;base64," + "A" * 3_000_000)
    (message,) = sent(Message(role="user", content="", parts=(picture,)))["messages"]
    assert message["content"] == [{"type": "image_url", "image_url": {"url": picture.url}}]


# --- tool calls -----------------------------------------------------------------------------------------------


def test_parallel_calls_come_whole_and_in_order() -> None:
    found = calls_of(
        [call("", index=0, id="a", name="weather")],
        [call('{"city":', index=0), call("{", index=1, id="b", name="time")],
        [call('"Paris"}', index=0)],
        [call("}", index=1)],
    )
    assert found == [
        ToolCall(id="a", name="weather", arguments='{"city":"Paris"}'),
        ToolCall(id="b", name="time", arguments="{}"),
    ]


@pytest.mark.parametrize(
    "deltas",
    [
        # neither index nor id: a name begins a call
        [[call('{"n":1}', name="f")], [call('{"n":2}', name="f")]],
        # whole calls at the same index
        [[call('{"n":1}', index=0, id="a", name="f")], [call('{"n":2}', index=0, id="b", name="f")]],
        [[call('{"n":1}', index=0, name="f"), call('{"n":2}', index=0, name="f")]],
        # the same id for both
        [[call('{"n":1}', index=0, id="a", name="f"), call('{"n":2}', index=1, id="a", name="f")]],
        [[call('{"n":1}', id="a", name="f"), call('{"n":2}', id="a", name="f")]],
        # id and name again in each piece
        [
            [call('{"n":', index=0, id="a", name="f"), call('{"n":', index=1, id="b", name="f")],
            [call("1}", index=0, id="a", name="f"), call("2}", index=1, id="b", name="f")],
            [call("", index=0, id="a", name="f"), call(None, index=1, id="b", name="f")],
        ],
        # no index, pieces by id; and pieces without either
        [[call('{"n":', id="a", name="f")], [call("1}", id="a")], [call('{"n":', id="b", name="f")], [call("2}")]],
        # arguments as an object
        [[call({"n": 1}, index=0, name="f")], [call({"n": 2}, index=1, name="f")]],
    ],
)
def test_calls_of_sloppy_servers_are_told_apart(deltas: list[list[dict[str, Any]]]) -> None:
    found = calls_of(*deltas)
    assert [(one.name, json.loads(one.arguments)) for one in found] == [("f", {"n": 1}), ("f", {"n": 2})]
    assert found[0].id
    assert found[0].id != found[1].id


def test_a_call_without_arguments_has_an_empty_object() -> None:
    (found,) = calls_of([call("", index=0, id="a", name="now")], finish="stop")
    assert found.arguments == "{}"


def test_calls_of_a_server_that_cannot_stream_are_read() -> None:
    function = {"name": "f", "arguments": "{}"}
    message = {"content": None, "tool_calls": [{"id": "a", "type": "function", "function": function}]}
    whole = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    events = ask([head(kind="application/json"), json.dumps(whole).encode()])
    assert events == [
        ToolCalled(call=ToolCall(id="a", name="f", arguments="{}")),
        Done(finish_reason="tool_calls"),
    ]


def test_a_call_that_was_cut_off_is_none() -> None:
    with pytest.raises(ModelDown, match="cut off"):
        ask([head(), delta(tool_calls=[call('{"n":', index=0, id="a", name="f")])])


@pytest.mark.parametrize("pieces", [3, [3], [{"function": 3}], [call("{}", index=0)], [call(3, name="f")]])
def test_calls_that_are_none_are_not_the_protocol(pieces: Any) -> None:
    events = ask([head(), chunk("Let me see."), delta(tool_calls=pieces), chunk(finish="tool_calls"), DONE])
    assert isinstance(events[-1], Failed)
    assert "not the OpenAI protocol" in events[-1].message


# --- what else is read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 7}}, 7),
        ({"prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 3}, 7),
        ({"cached_tokens": 7}, 7),
        ({"prompt_tokens_details": None}, 0),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, 0),
    ],
)
def test_usage_knows_the_cached_tokens(counts: dict[str, Any], cached: int) -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 2, **counts}
    events = ask([head(), chunk("Paris.", finish="stop"), chunk(usage=counts, choices=[]), DONE])
    assert events[-2] == UsageReported(usage=Usage(prompt_tokens=10, completion_tokens=2, cached_tokens=cached))


def test_usage_that_grows_with_each_chunk_is_reported_once() -> None:
    script = [head(), *(chunk("a", usage={"prompt_tokens": 1, "completion_tokens": n}) for n in (1, 2)), DONE]
    found = [event.usage for event in ask(script) if isinstance(event, UsageReported)]
    assert found == [Usage(prompt_tokens=1, completion_tokens=2)]


def test_thinking_is_no_part_of_the_text() -> None:
    thinking = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Par"}]
    events = ask(
        [head(), delta(content=None, reasoning_content="Hm."), delta(content=thinking), chunk("is.", finish="stop")]
    )
    assert text_of(events) == "Paris."


def test_a_refusal_of_the_model_is_its_text_and_known_as_one() -> None:
    events = ask([head(), delta(content=None, refusal="I cannot help."), chunk(finish="stop"), DONE])
    assert text_of(events) == "I cannot help."
    assert events[-1] == Done(finish_reason="content_filter")


def test_tokens_carry_their_log_probabilities() -> None:
    top = [{"token": "巴", "logprob": -0.1, "bytes": list("巴".encode())}]
    content = [
        {"token": "bytes:\\xe5\\xb7", "logprob": -0.5, "bytes": [0xE5, 0xB7], "top_logprobs": top},
        {"token": "bytes:\\xb4", "logprob": -0.25, "bytes": None, "top_logprobs": []},
    ]
    choice = {"index": 0, "delta": {"content": "巴"}, "logprobs": {"content": content}, "finish_reason": "stop"}
    (event, _done) = ask([head(), b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n", DONE])
    assert isinstance(event, TextDelta)
    assert [(one.text, one.raw, one.logprob) for one in event.tokens] == [
        ("", (0xE5, 0xB7), -0.5),
        ("巴", (0xB4,), -0.25),
    ]
    assert [(one.text, one.logprob) for one in event.tokens[0].top] == [("巴", -0.1)]


@pytest.mark.parametrize(("said", "finish"), [("sensitive", "content_filter"), ("model_length", "length")])
def test_other_names_of_the_same_end_are_known(said: str, finish: Any) -> None:
    assert ask([head(), chunk("Par", finish=said), DONE])[-1] == Done(finish_reason=finish)
