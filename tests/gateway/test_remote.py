"""A model behind a provider: what it makes of good answers, and of every way a provider fails."""

import asyncio
import json
import re
import socket
import time

import pytest

from dizuo.core import traces
from dizuo.core.errors import ModelError, UserError
from dizuo.core.events import Done, Event, Failed, ToolCalled, UsageReported
from dizuo.core.messages import Message, ToolCall, Usage
from dizuo.core.traces import Trace
from dizuo.gateway import remote_http
from dizuo.gateway.remote import RemoteModel
from dizuo.gateway.remote_http import Timeouts
from tests.gateway.provider import (
    DONE,
    ENDLESS,
    KEY,
    PARIS,
    PATIENT,
    RESET,
    SILENT,
    STALLED,
    WAIT,
    Provider,
    Step,
    answer,
    ask,
    asked,
    chunk,
    events_of,
    head,
    text_of,
)


def refused(*scripts: list[Step], key: str = "", match: str) -> str:
    with pytest.raises(ModelError, match=match) as error:
        ask(*scripts, key=key, timeouts=SILENT if any(WAIT in script for script in scripts) else PATIENT)
    return str(error.value)


def broken(*steps: Step, timeouts: Timeouts = PATIENT) -> Failed:
    """How a stream ends that has begun well and then goes on with these steps."""
    events = ask([head(), chunk("Par"), *steps], timeouts=timeouts)
    assert text_of(events).startswith("Par")
    assert isinstance(events[-1], Failed)
    assert not any(isinstance(event, Done) for event in events)
    return events[-1]


# --- good answers ---------------------------------------------------------------------------------------------


def test_an_answer_comes_as_text_then_usage_then_done() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    script = [head(), chunk("Par"), chunk("is."), chunk(finish="length"), chunk(usage=usage, choices=[]), DONE]
    events = ask(script)
    assert text_of(events) == "Paris."
    assert events[-2:] == [
        UsageReported(usage=Usage(prompt_tokens=5, completion_tokens=2)),
        Done(finish_reason="length"),
    ]


def test_the_request_carries_model_messages_options_and_key() -> None:
    provider = Provider([PARIS])
    asked(provider, key=KEY, temperature=0.5, stop=None)
    (request,) = provider.asked
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "some/model",
        "messages": [{"role": "user", "content": "Capital of France?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
    }


def test_no_key_sends_no_authorization() -> None:
    provider = Provider([PARIS])
    asked(provider)
    assert "authorization" not in provider.asked[0].headers


def test_an_unknown_option_is_refused_by_name_before_anything_is_sent() -> None:
    provider = Provider([PARIS])
    with pytest.raises(UserError, match=r"'temprature'.*Nearest: temperature"):
        asked(provider, temprature=1)
    assert provider.asked == []


def test_a_server_that_cannot_stream_is_read_in_one_piece() -> None:
    whole = {"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    events = ask([head(kind="application/json; charset=utf-8"), json.dumps(whole).encode()])
    assert text_of(events) == "Paris."
    assert events[-1] == Done()


def test_a_server_that_refuses_stream_options_is_asked_again_without_them() -> None:
    refusal: list[Step] = [head(400, "application/json"), b'{"error": {"message": "unknown field stream_options"}}']
    provider = Provider([refusal, PARIS])
    assert text_of(asked(provider)) == "Paris."
    assert ["stream_options" in request.body for request in provider.asked] == [True, False]


def test_line_separators_inside_json_do_not_split_an_event() -> None:
    assert text_of(ask([head(), chunk("a\u2028b\x85c"), chunk(finish="stop")])) == "a\u2028b\x85c"


def test_an_event_may_come_in_any_pieces() -> None:
    whole = b"".join([chunk("巴黎"), chunk(finish="stop"), DONE])
    pieces: list[Step] = [whole[n : n + 7] for n in range(0, len(whole), 7)]
    assert text_of(ask([head(), *pieces])) == "巴黎"


def test_comments_and_other_fields_are_passed_over() -> None:
    events = ask(
        [head(), b": ping\r\n\r\nevent: x\nid: 1\nretry: 5\n", chunk("Paris."), chunk(finish="stop"), b": bye"]
    )
    assert (text_of(events), events[-1]) == ("Paris.", Done())


@pytest.mark.parametrize("end", [DONE, b"data: [DONE]"])
def test_a_stream_that_says_done_is_whole_without_a_finish_reason(end: bytes) -> None:
    assert ask([head(), chunk("Paris."), end])[-1] == Done()


def test_an_unknown_finish_reason_counts_as_stop() -> None:
    assert ask([head(), chunk("Paris.", finish="eos")])[-1] == Done(finish_reason="stop")


def test_text_that_no_database_can_hold_is_mended() -> None:
    assert text_of(ask([head(), b'data: {"choices":[{"delta":{"content":"a\\ud800b\\u0000c"}}]}\n\n', DONE])) == "a?bc"


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "refused the request"),
        (401, "refused the key.*DIZUO_MODEL_API_KEY"),
        (403, "refused the key"),
        (404, "does not know the model 'some/model'"),
        (429, "takes no more requests.*Try again later"),
        (500, r"failed \(HTTP 500\)"),
        (503, r"failed \(HTTP 503\)"),
    ],
)
def test_a_refusal_says_who_and_why_and_what_to_do(status: int, says: str) -> None:
    message = refused([head(status, "application/json"), b'{"error": {"message": "because"}}'], match=says)
    assert "because" in message
    assert "127.0.0.1" in message


def test_the_key_is_not_repeated_when_a_provider_echoes_it() -> None:
    said = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode()
    assert KEY not in refused([head(401, "application/json"), said], key=KEY, match=r"provided: \*\*\*")
    event = ask([head(), chunk("Par"), b'data: {"error": "bad ' + KEY.encode() + b'"}\n\n'], key=KEY)[-1]
    assert isinstance(event, Failed)
    assert KEY not in event.message


def test_a_redirect_is_not_followed() -> None:
    other = Provider([PARIS])

    async def run() -> None:
        async with other.serving() as elsewhere:
            redirect = Provider([[head(307, Location=f"{elsewhere}/chat/completions?key=x")]])
            async with redirect.serving() as url:
                with pytest.raises(ModelError, match=f"redirects to {elsewhere}/chat/completions\\. "):
                    await events_of(RemoteModel("test/model", url, KEY, PATIENT))

    asyncio.run(run())
    assert other.asked == []


@pytest.mark.parametrize("kind", ["text/html", "text/plain", ""])
def test_something_else_than_the_protocol_is_said_to_be_that(kind: str) -> None:
    refused([head(200, kind), b"<h1>Welcome to nginx!</h1>"], match="base URL usually ends in /v1")


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"[]", b"null", b'"x"', b"{}", b'{"choices": 3}', b'{"choices": [{"message": {"content": 3}}]}'),
        *(b"\xff\xfe", b'{"choices": ' + b"[" * 100_000),
    ],
)
def test_json_that_is_no_answer_is_refused(body: bytes) -> None:
    refused([head(kind="application/json"), body], match="not the OpenAI protocol")


def test_a_long_or_deep_refusal_is_cut_short() -> None:
    assert len(refused([head(500, "text/html"), b"<p>" + b"x" * 1_000_000], match="failed")) < 400
    assert len(refused([head(500, "application/json"), b"[" * 15_000], match="failed")) < 400


# --- asked for in one piece -----------------------------------------------------------------------------------

WHOLE = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
}


def wanted_whole(provider: Provider, **seconds: float) -> list[Event]:
    """What a model says within a request whose answer nobody reads before its end."""

    async def run() -> list[Event]:
        async with provider.serving() as url:
            model = RemoteModel("test/model", url)
            with traces.traced(Trace("test", whole=True), lambda _trace: None):
                return await events_of(model.waiting(**seconds) if seconds else model)

    return asyncio.run(run())


def test_an_answer_that_is_wanted_whole_is_asked_for_in_one_piece() -> None:
    provider = Provider([answer(WHOLE)])
    events = wanted_whole(provider)
    assert text_of(events) == "Paris."
    assert UsageReported(usage=Usage(prompt_tokens=5, completion_tokens=2)) in events
    assert events[-1] == Done(finish_reason="stop")
    assert not {"stream", "stream_options"} & provider.asked[0].body.keys()


def test_tool_calls_come_in_one_piece_too() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    events = wanted_whole(Provider([answer({"choices": [{"message": message, "finish_reason": "tool_calls"}]})]))
    assert ToolCalled(call=ToolCall(id="c1", name="time", arguments="{}")) in events
    assert events[-1] == Done(finish_reason="tool_calls")


def test_a_server_that_streams_all_the_same_is_read() -> None:
    assert text_of(wanted_whole(Provider([PARIS]))) == "Paris."


@pytest.mark.parametrize("limit", ["first_token_s", "between_tokens_s"])
def test_an_answer_that_has_to_begin_or_go_on_in_time_is_streamed(limit: str) -> None:
    provider = Provider([PARIS])
    assert text_of(wanted_whole(provider, **{limit: 5.0})) == "Paris."
    assert provider.asked[0].body["stream"] is True


def test_an_answer_in_one_piece_has_the_whole_time_and_no_longer() -> None:
    with pytest.raises(ModelError, match=r"took longer than 0\.3 s"):
        wanted_whole(Provider([[WAIT]]), total_s=0.3)


# --- connections that fail ------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named_with_the_setting_of_its_address() -> None:
    with socket.socket() as taken:  # bound but not listening: nobody else can take the port meanwhile
        taken.bind(("127.0.0.1", 0))
        model = RemoteModel("test/model", f"http://127.0.0.1:{taken.getsockname()[1]}/v1", timeouts=PATIENT)
        with pytest.raises(ModelError, match=r"cannot be reached.*DIZUO_MODEL_BASE_URL"):
            asyncio.run(events_of(model))


@pytest.mark.parametrize("script", [[WAIT], [head(), WAIT], [head(kind="application/json"), b"{", WAIT]])
def test_a_provider_that_says_nothing_is_given_up(script: list[Step]) -> None:
    started = time.monotonic()
    refused(script, match=r"sent nothing of test/some/model for 0\.3 s")
    assert time.monotonic() - started < 5


def test_a_connection_cut_before_the_first_word_is_an_error_to_try_again() -> None:
    refused([head(), RESET], match="broke|cut off")
    refused([RESET], match="broke")


def test_a_stall_midway_ends_the_stream_with_failed() -> None:
    assert "nothing came for 0.3 s" in broken(WAIT, timeouts=STALLED).message


def test_an_answer_without_end_ends_with_failed_after_the_whole_time() -> None:
    drip: list[Step] = [step for _ in range(15) for step in (chunk("."), 0.1)]
    assert re.search("took longer than 0.8", broken(*drip, timeouts=ENDLESS).message)


def test_a_reset_midway_ends_the_stream_with_failed() -> None:
    assert broken(0.05, RESET).code == "model_down"


@pytest.mark.parametrize("steps", [[], [b'data: {"choices": [{"del'], [chunk("is")]])
def test_an_answer_cut_off_midway_is_never_taken_for_whole(steps: list[Step]) -> None:
    assert re.search("cut off|not the OpenAI protocol", broken(*steps).message)


@pytest.mark.parametrize("line", [b"data: {not json}\n\n", b"<html>\n", b'data: {"choices": "x"}\n\n', b"data: 7\n\n"])
def test_garbage_midway_ends_the_stream_with_failed(line: bytes) -> None:
    assert "not the OpenAI protocol" in broken(line).message


def test_an_error_midway_is_passed_on() -> None:
    assert "out of memory" in broken(b'data: {"error": {"message": "out of memory"}}\n\n').message


def test_a_body_without_end_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "MAX_LINE_BYTES", 10_000)
    monkeypatch.setattr(remote_http, "MAX_BODY_BYTES", 50_000)
    assert "10000 bytes" in broken(0.05, b"data: " + b"x" * 200_000).message
    assert "50000 bytes" in broken(0.05, chunk("y" * 1000) * 100).message
    refused([head(kind="application/json"), b"x" * 200_000], match="50000 bytes")


def test_a_caller_who_stops_listening_hangs_up_on_the_provider() -> None:
    provider = Provider([[head(), chunk("Par"), WAIT]])

    async def run() -> None:
        async with provider.serving() as url, asyncio.timeout(5):
            stream = RemoteModel("test/model", url).stream([Message(role="user", content="?")])
            await anext(stream)
            await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue]
            await provider.hung_up.wait()

    asyncio.run(run())
