"""Local models by the official client, and by plain requests where it has no method."""

import asyncio
import json
import math
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from dizuo.core.errors import NotFound
from dizuo.nn.heads import SentenceEncoder, SequenceClassifier
from tests.api.conftest import Served, error_of, events_of, until
from tests.api.upstream import sent
from tests.tiny_models import save_bert, save_llama, tiny_encoder

CHAT, BASE = "local/talker", "local/base"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["days"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module", autouse=True)
def _folders(server: Served) -> None:
    """Put there while the server runs."""
    root = server.house.settings.home / "models"
    root.mkdir(exist_ok=True)
    save_llama(root / "talker", positions=512)
    save_llama(root / "base", chat=False, positions=128)
    save_bert(root / "vectors", SentenceEncoder(tiny_encoder()))
    scorer = SequenceClassifier(tiny_encoder(), ["score"], "regression")
    scorer.classifier.weight.data.mul_(50)
    save_bert(root / "scorer", scorer)
    (root / "broken").mkdir(exist_ok=True)


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_folders_are_models_and_a_broken_one_is_only_in_the_whole_catalogue(
    ai: openai.OpenAI, client: httpx.Client
) -> None:
    kinds = {model.id: (model.model_extra or {})["kind"] for model in ai.models.list()}
    assert (kinds[CHAT], kinds[BASE]) == ("chat", "completion")
    assert (kinds["local/vectors"], kinds["local/scorer"]) == ("embedding", "rerank")
    assert "local/broken" not in kinds
    listed = {one["name"]: one for one in client.get("/api/models").json()["models"]}
    assert "no config.json" in listed["local/broken"]["said"]
    shown = client.get(f"/api/models/{CHAT}").json()
    assert shown["provenance"]["recipe"] == {"name": "tiny"}
    assert "often wrong" in shown["said"]
    assert "经常出错" in client.get(f"/api/models/{CHAT}", headers={"Accept-Language": "zh"}).json()["said"]


def test_a_chat_is_the_same_whole_streamed_and_asynchronous(server: Served, ai: openai.OpenAI) -> None:
    how: Any = {"model": CHAT, "messages": asked("你好"), "max_tokens": 12, "seed": 5, "temperature": 0.8}
    whole = ai.chat.completions.create(**how)
    text = whole.choices[0].message.content
    assert text
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12
    assert whole.choices[0].finish_reason == "length"
    chunks = list(ai.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage == whole.usage

    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as asynchronous:
            stream = await asynchronous.chat.completions.create(**how, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(run()) == text


def test_a_chat_tells_log_probabilities_of_its_tokens(ai: openai.OpenAI) -> None:
    made = ai.chat.completions.create(
        model=CHAT, messages=asked("Hi"), max_tokens=5, temperature=0, logprobs=True, top_logprobs=3
    )
    assert made.choices[0].logprobs is not None
    content = made.choices[0].logprobs.content or []
    assert len(content) == 5
    for token in content:  # the likeliest token is taken
        assert token.logprob == max(one.logprob for one in token.top_logprobs) < 0
        assert len(token.top_logprobs) == 3
    shown = [token for token in content if not token.token.startswith("<|")]  # special tokens add no text
    said = bytes(byte for token in shown for byte in token.bytes or []).decode("utf-8", "replace")
    assert said == made.choices[0].message.content


def test_a_chat_obeys_a_schema(ai: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}}}
    schema |= {"required": ["n"], "additionalProperties": False}
    made = ai.chat.completions.create(
        model=CHAT,
        messages=asked("a number"),
        seed=1,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert 0 <= json.loads(made.choices[0].message.content or "")["n"] <= 99


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_is_forced_and_its_arguments_fit(ai: openai.OpenAI, choice: Any, stream: bool) -> None:
    how: Any = {"messages": asked("weather?"), "tools": [WEATHER], "tool_choice": choice, "parallel_tool_calls": False}
    made: Any = ai.chat.completions.create(model=CHAT, seed=2, stream=stream, **how)
    if stream:
        chunks = [chunk.choices[0] for chunk in made]
        [call] = [call for chunk in chunks for call in chunk.delta.tool_calls or []]
        assert call.index == 0
        assert not any(chunk.delta.content for chunk in chunks)
        assert chunks[-1].finish_reason == "tool_calls"
    else:
        [call] = made.choices[0].message.tool_calls
        assert made.choices[0].message.content is None
        assert made.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert 1 <= json.loads(call.function.arguments)["days"] <= 9


@pytest.mark.parametrize(
    ("question", "city"), [("What is the weather in Lisbon?", "Lisbon"), ("杭州天气怎么样？", "杭州")]
)
def test_the_model_that_ships_calls_the_right_tool_by_itself(ai: openai.OpenAI, question: str, city: str) -> None:
    def tool(name: str, description: str, **properties: Any) -> Any:
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}

    tools = [
        tool("book_table", "Book a table in a restaurant.", restaurant={"type": "string", "description": "Its name"}),
        tool("get_weather", "Get the current weather in a city.", city={"type": "string", "description": "Its name"}),
    ]
    answer = ai.chat.completions.create(model="local/starter", messages=asked(question), tools=tools, temperature=0)
    [call] = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": city})


def test_a_call_and_its_result_can_be_sent_back(ai: openai.OpenAI) -> None:
    first = ai.chat.completions.create(
        model=CHAT, messages=asked("weather?"), tools=[WEATHER], tool_choice="required", parallel_tool_calls=False
    )
    message = first.choices[0].message
    assert message.tool_calls
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    said: list[Any] = [*asked("weather?"), message, result]
    made = ai.chat.completions.create(model=CHAT, messages=said, tools=[WEATHER], max_tokens=4)
    assert made.choices[0].finish_reason in ("length", "stop")


def test_without_a_call_text_is_free_when_tools_are_offered(ai: openai.OpenAI) -> None:
    for choice in ("auto", "none"):
        made = ai.chat.completions.create(
            model=CHAT, messages=asked("hello"), tools=[WEATHER], tool_choice=choice, max_tokens=6, seed=3
        )
        assert made.choices[0].message.content
        assert not made.choices[0].message.tool_calls


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"reasoning_effort": "low"}, "'reasoning_effort' cannot be passed"),
        ({"response_format": {"type": "xml"}}, "response_format is"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "sum"}}}, "none of the tools"),
        ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "give one of them"),
        ({"top_logprobs": 2}, "needs logprobs"),
        ({"max_tokens": 5000}, "context is 512"),
        ({"messages": [{"role": "user", "content": "long " * 600}]}, "at most 512"),
        ({"model": BASE}, "no chat template"),
        ({"model": "local/vectors"}, "is of the kind embedding"),
        ({"model": "local/broken"}, "no config.json"),
    ],
)
def test_what_a_local_chat_model_cannot_do_is_said(client: httpx.Client, wrong: dict[str, Any], says: str) -> None:
    body = {"model": CHAT, "messages": asked("Hi"), **wrong}
    assert says in error_of(client.post("/v1/chat/completions", json=body), 400)["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_slot(server: Served, stream: bool) -> None:
    body = {"model": CHAT, "messages": asked("Hi"), "max_tokens": 450, "stream": stream, "response_format": ENDLESS}
    slots = server.house.models._engines._slots
    with sent(server, "/v1/chat/completions", body):
        # The first rule that a model obeys takes a while to compile.
        until(lambda: CHAT in slots and bool(slots[CHAT].engine) and slots[CHAT].engine.busy_slots == 1, within_s=60)
    slot = slots[CHAT]
    until(lambda: slot.engine.busy_slots == 0 and slot.users == 0)


ENDLESS = {"type": "regex", "regex": "[ab]{2000,}"}  # no end is allowed before: only max_tokens or leaving is one


def test_prompts_are_continued_side_by_side_as_alone(ai: openai.OpenAI) -> None:
    how: Any = {"model": BASE, "max_tokens": 6, "temperature": 0}
    prompts = ["The quick", "Employees have", "员工"]
    together = ai.completions.create(prompt=prompts, **how)
    alone = [ai.completions.create(prompt=prompt, **how).choices[0].text for prompt in prompts]
    assert [(one.index, one.text) for one in together.choices] == list(enumerate(alone))
    assert together.usage is not None
    assert together.usage.completion_tokens == 18


def test_n_continuations_differ_by_their_seeds_and_repeat(ai: openai.OpenAI) -> None:
    how: Any = {"model": BASE, "prompt": "The quick", "max_tokens": 8, "n": 3, "seed": 7}
    first, second = (ai.completions.create(**how) for _ in range(2))
    texts = [one.text for one in first.choices]
    assert len(set(texts)) == 3
    assert [one.text for one in second.choices] == texts
    assert ai.completions.create(**{**how, "n": 1, "seed": 8}).choices[0].text == texts[1]


def test_a_streamed_continuation_is_the_same(ai: openai.OpenAI) -> None:
    how: Any = {"model": BASE, "prompt": ["The quick", "brown"], "max_tokens": 8, "seed": 7}
    whole = ai.completions.create(**how)
    texts, ends = ["", ""], ["", ""]
    for chunk in ai.completions.create(**how, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert texts == [one.text for one in whole.choices]
    assert ends == [one.finish_reason for one in whole.choices]


def test_echo_scores_the_prompt_token_by_token(server: Served, ai: openai.OpenAI) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(server.house.settings.home / "models/base/tokenizer.json"))
    text = "The quick 员工 fox"
    ids = tokenizer.encode(text).ids
    made = ai.completions.create(model=BASE, prompt=ids, max_tokens=1, echo=True, logprobs=1, temperature=0).choices[0]
    scored = made.logprobs
    assert scored is not None
    assert made.text.startswith(text)
    assert scored.token_logprobs is not None
    assert len(scored.token_logprobs) == len(scored.tokens or []) == len(scored.text_offset or []) == len(ids) + 1
    assert scored.token_logprobs[0] is None
    assert (scored.text_offset or [])[:2] == [0, len(tokenizer.decode(ids[:1]))]
    expected = reference_logprobs(server, ids)
    assert scored.token_logprobs[1:-1] == pytest.approx(expected, abs=1e-3)
    for token, value, top in zip(scored.tokens or [], scored.token_logprobs, scored.top_logprobs or [], strict=True):
        assert value is None or top[token] == value <= max(top.values())
    by_text = ai.completions.create(model=BASE, prompt=text, max_tokens=0, echo=True, logprobs=1).choices[0]
    assert by_text.text == text
    assert by_text.logprobs is not None
    assert by_text.logprobs.token_logprobs == pytest.approx(scored.token_logprobs[:-1], abs=1e-4)


def reference_logprobs(server: Served, ids: list[int]) -> list[float]:
    """ln p of every token but the first, by the plain network."""
    import torch

    from dizuo.nn.checkpoint import load_model

    model: Any = load_model(server.house.settings.home / "models/base")
    with torch.no_grad():
        logprobs = model.logits(model(torch.tensor([ids])))[0].log_softmax(-1)
    return [float(logprobs[i, token]) for i, token in enumerate(ids[1:])]


def test_a_stop_string_ends_the_text_before_it(ai: openai.OpenAI) -> None:
    how: Any = {"model": BASE, "prompt": "The quick", "seed": 3, "temperature": 1}
    whole = ai.completions.create(**how, max_tokens=20).choices[0].text
    stop = whole[5:7]
    cut = ai.completions.create(**how, max_tokens=20, stop=stop).choices[0]
    assert (cut.text, cut.finish_reason) == (whole[: whole.index(stop)], "stop")


@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        ({"suffix": "x"}, 400, "not supported here"),
        ({"logit_bias": {}}, 400, "not supported here"),
        ({"best_of": 3}, 400, "best_of is 3"),
        ({"max_tokens": 0}, 400, "it is for echo"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": [1, -1]}, 400, "prompt"),
        ({"prompt": [1 << 40], "echo": True}, 400, "prompt"),
        ({"prompt": [99999]}, 400, "is no token of this model"),
        ({"prompt": ["a"] * 1500, "n": 2}, 400, "takes 2048"),
        ({"prompt": "long " * 300}, 400, "at most 128"),
        ({"logprobs": 21}, 400, "at most 20"),
        ({"model": "local/scorer"}, 400, "is of the kind rerank"),
        ({"model": "local/../base"}, 404, "No local model"),
        ({"model": "other/x"}, 404, "There are: local/base"),
    ],
)
def test_a_wrong_completion_request_is_refused(
    client: httpx.Client, wrong: dict[str, Any], status: int, says: str
) -> None:
    body = {"model": BASE, "prompt": "The quick", "max_tokens": 4, **wrong}
    for stream in (False, True):
        error = error_of(client.post("/v1/completions", json={**body, "stream": stream}), status)
        assert says in error["message"] + error["param"] if error["param"] else says in error["message"]


def test_a_local_embedder_gives_unit_vectors_of_its_width(ai: openai.OpenAI) -> None:
    made = ai.embeddings.create(model="local/vectors", input=["a cat", "a dog"])
    vectors = np.array([row.embedding for row in made.data])
    assert vectors.shape == (2, 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert made.usage.prompt_tokens == 4


def test_documents_come_in_the_order_of_their_scores(client: httpx.Client) -> None:
    documents = ["The pump is red.", {"text": "Employees have leave."}, "Trains.", "Leave is paid."]
    body = {"model": "local/scorer", "query": "leave?", "documents": documents}
    answer = client.post("/v1/rerank", json=body).json()
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert len(set(scores)) == 4
    assert sorted(one["index"] for one in answer["results"]) == [0, 1, 2, 3]
    best = client.post("/v1/rerank", json={**body, "top_n": 1, "return_documents": False}).json()["results"]
    assert best == [{"index": answer["results"][0]["index"], "relevance_score": pytest.approx(scores[0])}]
    assert answer["results"][0]["document"]["text"] in [d if isinstance(d, str) else d["text"] for d in documents]


@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        ({"documents": []}, 400, "documents"),
        ({"documents": ["x"] * 1001}, 413, "takes 1000"),
        ({"query": "why " * 60}, 400, "reads 64"),
        ({"model": "local/vectors"}, 400, "is of the kind embedding"),
        ({"model": "local/nothing"}, 404, "No local model"),
        ({"top_k": 1}, 400, "Nearest: top_n"),
    ],
)
def test_a_wrong_rerank_request_is_refused(client: httpx.Client, wrong: dict[str, Any], status: int, says: str) -> None:
    body = {"model": "local/scorer", "query": "leave?", "documents": ["a"], **wrong}
    assert says in error_of(client.post("/v1/rerank", json=body), status)["message"]


def test_only_the_owner_removes_a_model(server: Served, client: httpx.Client, member: httpx.Client) -> None:
    save_llama(server.house.settings.home / "models/gone")
    assert member.delete("/api/models/local/gone").status_code == 403
    assert client.delete("/api/models/local/gone").json()["name"] == "local/gone"
    error_of(client.get("/api/models/local/gone"), 404)
    with pytest.raises(NotFound):
        server.house.models.get("local/gone")


def test_an_error_in_the_middle_of_a_stream_is_its_last_event(
    server: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dizuo.core.errors import ModelError
    from dizuo.gateway import local_completion

    async def broken(*_: Any) -> Any:
        from dizuo.inference.scheduler import TokenDelta

        yield TokenDelta(text="some")
        raise ModelError("The model broke.")

    monkeypatch.setattr(local_completion, "_deltas", broken)
    body = {"model": BASE, "prompt": ["a", "b"], "stream": True}
    events = [data for _name, data in events_of(client, "POST", "/v1/completions", json=body)]
    assert events[0]["choices"][0]["text"] == "some"
    assert events[-1]["error"]["message"] == "The model broke."
    assert error_of(client.post("/v1/completions", json={**body, "stream": False}), 502)


def test_logprobs_are_those_of_the_distribution_whatever_the_temperature(ai: openai.OpenAI) -> None:
    how: Any = {"model": BASE, "prompt": "The quick", "max_tokens": 1, "logprobs": 20}
    tops = [ai.completions.create(**how, temperature=t, seed=1).choices[0].logprobs for t in (0.0, 1.7)]
    first, second = [(one.top_logprobs or [{}])[0] for one in tops if one is not None]
    same = first.keys() & second.keys()
    assert len(same) >= 20
    assert all(math.isclose(first[token], second[token], abs_tol=1e-5) for token in same)
