"""The OpenAI protocol, through the official client."""

import asyncio
import base64
from typing import Any

import numpy as np
import openai
import pytest

from dizuo.core.errors import ModelError
from dizuo.core.messages import Message
from tests.api.conftest import MODEL, Served, error_of

QUESTION = "How many days of paid leave does an employee have?"
FRAGE_ZH = "员工每年有多少天带薪年假？"


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
    ],
)
def test_a_wrong_parameter_is_refused_by_name(server: Served, wrong: dict[str, Any], param: str, says: str) -> None:
    with server.client() as client:
        body = {"model": "knowledge/handbook", "messages": asked("Hi"), **wrong}
        error = error_of(client.post("/v1/chat/completions", json=body), 422)
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    assert error["param"] == param


@pytest.mark.parametrize(
    ("message", "param", "says"),
    [
        ({"role": "user"}, "messages.content", "'user' has no content"),
        ({"role": "user", "content": "x", "tool_call_id": "1"}, "messages.tool_call_id", "belongs to the role 'tool'"),
    ],
)
def test_a_message_has_what_its_role_says(server: Served, message: dict[str, Any], param: str, says: str) -> None:
    with server.client() as client:
        body = {"model": "knowledge/handbook", "messages": [message]}
        error = error_of(client.post("/v1/chat/completions", json=body), 400)
    assert says in error["message"]
    assert error["param"] == param


def test_the_official_client_raises_its_own_error_for_a_wrong_key(server: Served) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="dz-wrong", max_retries=0) as ai,
        pytest.raises(openai.AuthenticationError, match="unknown or revoked"),
    ):
        ai.models.list()
