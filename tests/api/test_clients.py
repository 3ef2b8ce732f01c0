"""Clients that others wrote, against a real server before a real provider that speaks tools."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from dizuo.gateway.remote import RemoteModel
from tests.api.conftest import Served
from tests.api.upstream import Upstream, call, sent

MODEL = "stub/model"


class Capital(BaseModel):
    """A capital and its country."""

    name: str
    country: str


def weather(place: str) -> str:
    """The weather of a place."""
    return f"sunny in {place}"


def chat(body: dict[str, Any]) -> dict[str, Any]:
    """A model with manners: calls each tool once for two places, or fills in the schema, or says a sentence."""
    said, tools = body["messages"], {tool["function"]["name"] for tool in body.get("tools", ())}
    wanted = body.get("response_format", {}).get("type")
    capital = {"name": "Paris", "country": "France"}
    if "weather" in tools and said[-1]["role"] != "tool":
        return {"content": None, "tool_calls": [call("weather", 1, place="Paris"), call("weather", 2, place="Rome")]}
    for name in tools - {"weather"}:  # a tool that stands for the answer
        return {"content": None, "tool_calls": [call(name, 3, **capital)]}
    if wanted == "json_schema":
        return {"content": json.dumps(capital)}
    results = [message["content"] for message in said if message["role"] == "tool"]
    return {"content": f"It is {' and '.join(results)}." if results else "Hello there."}


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream(chat)


@pytest.fixture(scope="module", autouse=True)
def _asked_through_the_gateway(server: Served, upstream: Upstream) -> Iterator[None]:
    with upstream.serving() as url:
        earlier = server.house.chat_model
        server.house.chat_model = server.house.gateway.wrapped(RemoteModel(MODEL, url))
        yield
        server.house.chat_model = earlier


# --- openai ---------------------------------------------------------------------------------------------------

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
ASKED: Any = [{"role": "user", "content": "What is the weather?"}]


def test_openai_gets_parallel_calls_and_sends_their_results(ai: openai.OpenAI, upstream: Upstream) -> None:
    first = ai.chat.completions.create(
        model=MODEL, messages=ASKED, tools=[TOOL], tool_choice="required", parallel_tool_calls=True
    )
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert upstream.asked[-1]["tools"] == [TOOL]
    assert (upstream.asked[-1]["tool_choice"], upstream.asked[-1]["parallel_tool_calls"]) == ("required", True)
    results = [
        {"role": "tool", "tool_call_id": one.id, "content": weather(**json.loads(one.function.arguments))}
        for one in message.tool_calls or []
        if one.type == "function"
    ]
    said: Any = [*ASKED, message, *results]
    second = ai.chat.completions.create(model=MODEL, messages=said, tools=[TOOL])
    assert second.choices[0].message.content == "It is sunny in Paris and sunny in Rome."


def test_openai_streams_calls_and_the_usage_comes_last(ai: openai.OpenAI) -> None:
    chunks = list(
        ai.chat.completions.create(
            model=MODEL, messages=ASKED, tools=[TOOL], stream=True, stream_options={"include_usage": True}
        )
    )
    calls = [one for chunk in chunks if chunk.choices for one in chunk.choices[0].delta.tool_calls or []]
    assert [(one.index, one.id) for one in calls] == [(0, "call_1"), (1, "call_2")]
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 3, 10)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 2


def test_openai_parses_strict_json(ai: openai.OpenAI, upstream: Upstream) -> None:
    made = ai.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Capital)
    assert made.choices[0].message.parsed == Capital(name="Paris", country="France")
    assert upstream.asked[-1]["response_format"]["json_schema"]["strict"] is True
    assert ai.responses.parse(model=MODEL, input="?", text_format=Capital).output_parsed == Capital(
        name="Paris", country="France"
    )


def test_pictures_reach_the_provider_in_their_place(ai: openai.OpenAI, upstream: Upstream) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    parts = [{"type": "text", "text": "Compare"}, picture, {"type": "text", "text": "with this."}]
    messages: Any = [{"role": "user", "content": parts}]
    ai.chat.completions.create(model=MODEL, messages=messages)
    assert upstream.asked[-1]["messages"] == messages


def test_openai_asynchronous_does_the_same(server: Served) -> None:
    async def run() -> tuple[Any, str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as ai:
            whole = await ai.chat.completions.create(model=MODEL, messages=ASKED, tools=[TOOL])
            stream = await ai.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
            return whole, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    whole, text = asyncio.run(run())
    assert len(whole.choices[0].message.tool_calls) == 2
    assert text == "Hello there."


# --- LangChain ------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(server: Served) -> Any:
    from langchain_openai import ChatOpenAI

    def make(**more: Any) -> Any:
        return ChatOpenAI(model=MODEL, base_url=f"{server.url}/v1", api_key=server.key, max_retries=0, **more)  # pyright: ignore

    return make


def test_langchain_invokes_and_streams(chain: Any) -> None:
    model = chain(stream_usage=True)
    answer = model.invoke("Hi")
    assert answer.content == "Hello there."
    assert answer.usage_metadata["input_token_details"] == {"cache_read": 2}
    chunks = list(model.stream("Hi"))
    assert "".join(chunk.content for chunk in chunks) == "Hello there."
    assert sum((chunk.usage_metadata or {}).get("total_tokens", 0) for chunk in chunks) == 10


@pytest.mark.parametrize("responses", [False, True])
def test_langchain_calls_tools(chain: Any, responses: bool) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage

    model = chain(use_responses_api=responses).bind_tools([weather], strict=True)
    asked: list[Any] = [HumanMessage("What is the weather?")]
    first = model.invoke(asked)
    assert [one["args"] for one in first.tool_calls] == [{"place": "Paris"}, {"place": "Rome"}]
    asked += [first, *(ToolMessage(weather(**one["args"]), tool_call_id=one["id"]) for one in first.tool_calls)]
    assert model.invoke(asked).text == "It is sunny in Paris and sunny in Rome."


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gets_structured_output(chain: Any, method: str) -> None:
    model = chain().with_structured_output(Capital, method=method)
    assert model.invoke("Capital of France?") == Capital(name="Paris", country="France")


# --- pydantic-ai ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["OpenAIChatModel", "OpenAIResponsesModel"])
def test_pydantic_ai_runs_an_agent_with_a_tool_and_a_structured_answer(server: Served, kind: str) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models import openai as models
    from pydantic_ai.providers.openai import OpenAIProvider

    async def run() -> tuple[Any, str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
            model = getattr(models, kind)(MODEL, provider=OpenAIProvider(openai_client=client))
            made = await Agent(model, output_type=Capital, tools=[weather]).run("Capital of France?")
            async with Agent(model, tools=[weather]).run_stream("What is the weather?") as streamed:
                return made.output, await streamed.get_output()

    output, text = asyncio.run(run())
    assert output == Capital(name="Paris", country="France")
    assert text == "It is sunny in Paris and sunny in Rome."


# --- a client that leaves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_the_call_upstream_ends_when_the_client_leaves(server: Served, path: str, stream: bool) -> None:
    endless = Upstream(lambda _body: None)
    asked: dict[str, Any] = {"input": "Hi"} if path == "responses" else {"messages": ASKED}
    earlier = server.house.chat_model
    with endless.serving() as url:
        server.house.chat_model = server.house.gateway.wrapped(RemoteModel("stub/endless", url))
        try:
            with sent(server, f"/v1/{path}", {"model": "stub/endless", "stream": stream, **asked}):
                assert endless.came.wait(20)
                assert not endless.left.wait(0.1)
            assert endless.left.wait(20)
        finally:
            server.house.chat_model = earlier
