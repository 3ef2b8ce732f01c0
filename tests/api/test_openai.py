"""The OpenAI protocol, through the official client."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from dizuo.api import openai_types as types
from dizuo.core import traces
from dizuo.core.errors import (
    DizuoError,
    ModelBusy,
    ModelDown,
    ModelError,
    ModelRefused,
    NotAllowed,
    NotFound,
    TooMany,
    Unavailable,
    UserError,
)
from dizuo.core.events import Done, Event, TextDelta, ToolCalled, UsageReported
from dizuo.core.events import Served as ServedBy
from dizuo.core.messages import Message, TokenLogprob, ToolCall, Usage
from tests.api.conftest import MODEL, Served, error_of, events_of

QUESTION = "How many days of paid leave does an employee have?"
FRAGE_ZH = "员工每年有多少天带薪年假？"
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_every_knowledge_base_and_the_embedder_are_models(ai: openai.OpenAI) -> None:
    names = {model.id: model.owned_by for model in ai.models.list()}
    assert names["knowledge/handbook"] == "dizuo"
    assert names["local/minilm"] == "local"
    assert ai.models.retrieve("knowledge/handbook").object == "model"
    with pytest.raises(openai.NotFoundError, match=r"There are: .*knowledge/handbook"):
        ai.models.retrieve("knowledge/nothing")


@pytest.mark.parametrize(
    ("question", "answer", "document"),
    [(QUESTION, "thirty days of paid leave", "handbook.md"), (FRAGE_ZH, "三十天带薪年假", "手册.md")],
)
def test_a_knowledge_base_answers_with_citations_as_annotations(
    server: Served, ai: openai.OpenAI, question: str, answer: str, document: str
) -> None:
    completion = ai.chat.completions.create(model="knowledge/handbook", messages=asked(question))
    message = completion.choices[0].message
    assert answer in (message.content or "")
    assert completion.choices[0].finish_reason == "stop"
    assert message.annotations
    cited = message.annotations[0].url_citation
    assert cited.title == document
    assert (message.content or "")[cited.start_index : cited.end_index] == "[1]"
    # The address of a citation leads to the document, and its characters are the quote.
    with server.client() as client:
        text = client.get(cited.url).json()["text"]
    extra = cited.model_extra or {}
    assert text[extra["start"] : extra["end"]] == extra["quote"]
    assert answer in extra["quote"]
    exact = extra["exact"]
    assert text[exact["start"] : exact["end"]] == exact["text"] in extra["quote"], "the words that answer"


def test_a_streamed_answer_is_the_same_and_ends_with_citations_and_usage(ai: openai.OpenAI) -> None:
    whole = ai.chat.completions.create(model="knowledge/handbook", messages=asked(QUESTION))
    stream = ai.chat.completions.create(
        model="knowledge/handbook", messages=asked(QUESTION), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    annotations = [a for delta in deltas for a in (delta.model_extra or {}).get("annotations") or []]
    assert [a["url_citation"]["title"] for a in annotations] == ["handbook.md"]
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_async_client_streams_too(server: Served) -> None:
    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as ai:
            stream = await ai.chat.completions.create(model="knowledge/handbook", messages=asked(FRAGE_ZH), stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert "三十天" in asyncio.run(run())


def test_an_answer_can_be_sent_back_as_it_came(ai: openai.OpenAI) -> None:
    first = ai.chat.completions.create(model="knowledge/handbook", messages=asked(QUESTION)).choices[0].message
    said: list[Any] = [*asked(QUESTION), first, *asked("In which class are trains booked?")]
    assert "second class" in (
        ai.chat.completions.create(model="knowledge/handbook", messages=said).choices[0].message.content or ""
    )


def test_the_chat_model_gets_messages_and_options(server: Served, ai: openai.OpenAI) -> None:
    model = server.say("Hello there.")
    messages: list[Any] = [{"role": "developer", "content": "Be brief."}, *asked("Hi")]
    messages[1]["content"] = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}]
    answer = ai.chat.completions.create(model=MODEL, messages=messages, temperature=0.5, max_tokens=9, stop=["x"])
    assert answer.choices[0].message.content == "Hello there."
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert model.calls == [(Message(role="system", content="Be brief."), Message(role="user", content="Hi!"))]
    assert model.options == [{"temperature": 0.5, "max_tokens": 9, "stop": ["x"]}]


def test_a_model_that_fails_at_once_is_an_error_of_the_server(server: Served, ai: openai.OpenAI) -> None:
    for stream in (False, True):
        server.say(ModelError("The model {name} is out.", name="m"))
        with pytest.raises(openai.InternalServerError, match="The model m is out") as error:
            ai.chat.completions.create(model=MODEL, messages=asked("Hi"), stream=stream)
        assert error.value.status_code == 502


def test_a_stream_that_breaks_midway_raises_in_the_client(server: Served, ai: openai.OpenAI) -> None:
    server.say("A long answer that breaks off", break_after=2)
    stream = ai.chat.completions.create(model=MODEL, messages=asked("Hi"), stream=True)
    said: list[str] = []
    with pytest.raises(openai.APIError, match="broke off"):
        said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(said) == "A long answer that breaks off"[:14]


def test_a_whole_answer_that_breaks_midway_is_an_error_and_no_half_answer(server: Served, ai: openai.OpenAI) -> None:
    server.say("A long answer that breaks off", break_after=2)
    with pytest.raises(openai.InternalServerError, match="broke off"):
        ai.chat.completions.create(model=MODEL, messages=asked("Hi"))


def test_a_fault_of_ours_midway_tells_nothing_of_its_inside(server: Served) -> None:
    server.say(RuntimeError("secret inside"))
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json={"model": MODEL, "messages": asked("Hi")})
    error = error_of(answer, 500)
    assert "secret" not in answer.text
    assert error["request_id"] in error["message"]


def test_embeddings_are_unit_vectors_in_order(ai: openai.OpenAI) -> None:
    texts = ["the cat sat on the mat", "a kitten rests on a rug", "quarterly tax report"]
    made = ai.embeddings.create(model="local/minilm", input=texts)  # the client asks for base64 by itself
    vectors = np.array([row.embedding for row in made.data])
    types.EmbeddingList.model_validate(made.to_dict())
    assert [row.index for row in made.data] == [0, 1, 2]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert made.usage.total_tokens > 10


def test_embeddings_come_as_numbers_or_base64_with_the_same_values(ai: openai.OpenAI) -> None:
    as_numbers = ai.embeddings.create(model="local/minilm", input="a cat", encoding_format="float").data[0].embedding
    encoded: Any = ai.embeddings.create(model="local/minilm", input="a cat", encoding_format="base64").data[0].embedding
    assert np.allclose(np.frombuffer(base64.b64decode(encoded), "<f4"), as_numbers, atol=1e-6)


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'nope'") as error:
        ai.chat.completions.create(model="knowledge/nope", messages=asked("Hi"))
    assert "handbook" in error.value.message
    with pytest.raises(openai.NotFoundError):
        ai.chat.completions.create(model="other/model", messages=asked("Hi"))
    with pytest.raises(openai.NotFoundError, match="local/minilm"):
        ai.embeddings.create(model="other", input="x")


def test_a_knowledge_base_takes_no_tools(ai: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with pytest.raises(openai.BadRequestError, match=r"knowledge base.*'tools'"):
        ai.chat.completions.create(model="knowledge/handbook", messages=asked(QUESTION), tools=[tool])


@pytest.mark.parametrize(
    ("wrong", "param", "says"),
    [
        ({"temprature": 1}, "temprature", "Nearest: temperature"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "must be text"),
        ({"functions": []}, "functions", "not supported here"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "must be one of"),
        ({"temperature": 3}, "temperature", "at most 2"),
        ({"n": 2}, "n", "must be one of"),
        ({"model": "a\0b"}, "model", "does not have the form"),
        ({"stream": "maybe"}, "stream", "must be true or false"),
        ({"store": True}, "store", "must be one of False"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0]",
            "'image_url'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///a"}}]}]},
            "messages[0].content[0].image_url.url",
            "does not have the form",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(server: Served, wrong: dict[str, Any], param: str, says: str) -> None:
    with server.client() as client:
        body = {"model": "knowledge/handbook", "messages": asked("Hi"), **wrong}
        error = error_of(client.post("/v1/chat/completions", json=body), 400)
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    assert error["param"] == param


@pytest.mark.parametrize(
    ("message", "param", "says"),
    [
        ({"role": "user"}, "messages.content", "'user' has no content"),
        ({"role": "user", "content": "x", "tool_call_id": "1"}, "messages.tool_call_id", "belongs to the role 'tool'"),
        (
            {"role": "system", "content": [PICTURE]},
            "messages.content",
            "pictures belong into messages of the role 'user'",
        ),
    ],
)
def test_a_message_has_what_its_role_says(server: Served, message: dict[str, Any], param: str, says: str) -> None:
    with server.client() as client:
        body = {"model": "knowledge/handbook", "messages": [message]}
        error = error_of(client.post("/v1/chat/completions", json=body), 400)
    assert says in error["message"]
    assert error["param"] == param


def test_a_knowledge_base_sees_no_pictures(ai: openai.OpenAI) -> None:
    parts: Any = [{"type": "text", "text": QUESTION}, PICTURE]
    with pytest.raises(openai.BadRequestError, match=r"knowledge base.*'image'"):
        ai.chat.completions.create(model="knowledge/handbook", messages=[{"role": "user", "content": parts}])


@pytest.mark.parametrize(
    ("error", "kind", "type"),
    [
        (UserError("Wrong.", param="messages"), openai.BadRequestError, "invalid_request_error"),
        (NotAllowed("Not you."), openai.PermissionDeniedError, "permission_error"),
        (NotFound("Not here."), openai.NotFoundError, "not_found_error"),
        (TooMany("Slowly.", seconds=7), openai.RateLimitError, "rate_limit_error"),
        (ModelBusy("Later.", retry_after_s=6.2), openai.RateLimitError, "rate_limit_error"),
        (ModelRefused("No."), openai.InternalServerError, "upstream_error"),
        (ModelDown("Gone."), openai.InternalServerError, "upstream_error"),
        (Unavailable("Not now."), openai.InternalServerError, "server_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_official_client_raises_its_own_error_for_each_of_ours(
    server: Served, ai: openai.OpenAI, error: DizuoError, kind: type[openai.APIStatusError], type: str, stream: bool
) -> None:
    server.say(error)
    with pytest.raises(kind) as raised:
        ai.chat.completions.create(model=MODEL, messages=asked("Hi"), stream=stream)
    assert (raised.value.status_code, raised.value.code, raised.value.type) == (error.status, error.code, type)
    assert raised.value.param == error.params.get("param")
    waits = {"rate_limited": "7", "model_busy": "7"}
    assert raised.value.response.headers.get("retry-after") == waits.get(error.code)


def test_what_a_provider_refused_is_not_asked_again(server: Served) -> None:
    model = server.say(ModelRefused("No."), ModelDown("Gone."), "Hello.")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=1) as ai:
        with pytest.raises(openai.InternalServerError, match="No"):
            ai.chat.completions.create(model=MODEL, messages=asked("Hi"))
        assert len(model.calls) == 1
        assert ai.chat.completions.create(model=MODEL, messages=asked("Hi")).choices[0].message.content == "Hello."


class Kept:
    """A model that gives a kept answer, and notes what the caller wanted done with it."""

    name = MODEL

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.wishes: list[tuple[str, bool]] = []

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        trace = traces.current.get()
        assert trace is not None
        self.wishes.append((trace.cache, trace.private))
        for event in self.events:
            yield event


SAID = (TextDelta(text="Hello."), Done())
HIT = ServedBy(model="local/模型", attempts=0, cache="semantic", score=0.98765, age_s=61.5)


@pytest.mark.parametrize("stream", [False, True])
def test_headers_say_who_answered_and_from_where(server: Served, ai: openai.OpenAI, stream: bool) -> None:
    how: Any = {"model": MODEL, "messages": asked("Hi"), "stream": stream}
    server.house.chat_model = Kept(HIT, *SAID)
    headers = ai.chat.completions.with_raw_response.create(**how).headers
    assert {name: value for name, value in headers.items() if name.startswith(("x-dizuo-cache", "x-dizuo-model"))} == {
        "x-dizuo-model": "local/%E6%A8%A1%E5%9E%8B",
        "x-dizuo-cache": "hit",
        "x-dizuo-cache-kind": "semantic",
        "x-dizuo-cache-score": "0.9877",
        "x-dizuo-cache-age": "61",
    }
    server.house.chat_model = Kept(ServedBy(model="a/b"), *SAID)
    headers = ai.responses.with_raw_response.create(model=MODEL, input="Hi", stream=stream).headers
    assert (headers["x-dizuo-model"], headers["x-dizuo-cache"]) == ("a/b", "miss")
    assert "x-dizuo-cache-kind" not in headers


def test_a_caller_says_whether_answers_are_kept(server: Served, ai: openai.OpenAI) -> None:
    server.house.chat_model = model = Kept(*SAID)
    given: list[dict[str, str]] = [
        {},
        {"X-Dizuo-Cache": "refresh"},
        {"X-Dizuo-Cache": "off", "X-Dizuo-Private": "true"},
    ]
    for headers in given:
        ai.chat.completions.create(model=MODEL, messages=asked("Hi"), extra_headers=headers)
    assert model.wishes == [("use", False), ("refresh", False), ("off", True)]
    with pytest.raises(openai.BadRequestError, match="must be one of 'use', 'refresh' or 'off'") as error:
        ai.chat.completions.create(model=MODEL, messages=asked("Hi"), extra_headers={"X-Dizuo-Cache": "maybe"})
    assert error.value.param == "X-Dizuo-Cache"


def test_answers_are_as_their_types_describe_them(server: Served, client: httpx.Client) -> None:
    """They are written without the types, for speed."""
    token = TokenLogprob(id=1, text="a", raw=(97,), logprob=-0.5, top=(TokenLogprob(id=1, text="a", logprob=-0.5),))
    call = ToolCall(id="c", name="f", arguments="{}")
    usage = UsageReported(usage=Usage(prompt_tokens=2, completion_tokens=1, cached_tokens=1))
    said = (TextDelta(text='“\n\u2028"'), TextDelta(text="a", tokens=(token,)), ToolCalled(call=call), usage, Done())
    bodies = [{"model": MODEL, "messages": asked("Hi")}, {"model": "knowledge/handbook", "messages": asked(QUESTION)}]
    server.house.chat_model = Kept(*said)
    for body in bodies:
        whole = client.post("/v1/chat/completions", json=body).json()
        assert types.ChatCompletion.model_validate(whole).model_dump(mode="json") == whole
        options = {"stream": True, "stream_options": {"include_usage": True}}
        *events, (_name, done) = events_of(client, "POST", "/v1/chat/completions", json=body | options)
        assert done == "[DONE]"
        for _name, chunk in events:
            typed = types.ChatCompletionChunk.model_validate(chunk).model_dump(mode="json")
            for choice in typed["choices"]:  # what a delta does not carry is left out: null would say "now empty"
                choice["delta"] = {name: value for name, value in choice["delta"].items() if value is not None}
            assert typed | {"usage": typed["usage"]} == chunk | {"usage": chunk.get("usage")}
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for _name, chunk in events if chunk["choices"])
        assert text == whole["choices"][0]["message"]["content"]


def test_the_official_client_raises_its_own_error_for_a_wrong_key(server: Served) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="dz-wrong", max_retries=0) as ai,
        pytest.raises(openai.AuthenticationError, match="unknown or revoked"),
    ):
        ai.models.list()
