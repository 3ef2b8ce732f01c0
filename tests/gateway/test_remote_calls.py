"""What providers do besides chat: vectors, completions, ranks, moderation and pictures."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from dizuo.core.errors import ModelDown, ModelRefused
from dizuo.core.events import Done, Failed, TextDelta, UsageReported
from dizuo.core.messages import Usage
from dizuo.gateway import remote_calls
from dizuo.gateway.remote_calls import RemoteCompletionModel, RemoteEmbedder, RemoteReranker, draw, moderate
from dizuo.gateway.remote_http import Endpoint
from tests.gateway.provider import DONE, KEY, PATIENT, Provider, Step, answer, chunk, head

T = TypeVar("T")


def with_provider(provider: Provider, use: Callable[[str], T]) -> T:
    """What a blocking call gives while the provider serves."""

    async def run() -> T:
        async with provider.serving() as url, asyncio.timeout(20):
            return await asyncio.to_thread(use, url)

    return asyncio.run(run())


# --- vectors --------------------------------------------------------------------------------------------------


def vectors(*rows: Any) -> list[Step]:
    return answer({"data": [{"index": n, "embedding": row} for n, row in enumerate(rows)]})


def embed(script: list[Step], *texts: str) -> Any:
    return with_provider(Provider([script]), lambda url: RemoteEmbedder("test/some/e", url, KEY, PATIENT).embed(texts))


def test_vectors_come_in_the_order_of_the_texts_and_have_length_one() -> None:
    data = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]
    provider = Provider([answer({"data": data})])
    found = with_provider(provider, lambda url: RemoteEmbedder("test/some/e", url, KEY, PATIENT).embed(["a", "b"]))
    assert found.dtype == np.float32
    assert found.tolist() == [pytest.approx([0.6, 0.8]), [0, 1]]
    assert provider.asked[0].line == "POST /v1/embeddings HTTP/1.1"
    assert provider.asked[0].body == {"model": "some/e", "input": ["a", "b"]}


def test_vectors_may_come_as_base64() -> None:
    raw = base64.b64encode(np.array([0, 5], "<f4").tobytes()).decode()
    assert embed(vectors(raw), "a").tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "rows", [[], [[1, 2], [1]], [[1, "x"], [1, 2]], [[[1]], [[1]]], ["?", "?"], [[1, float("nan")], [1, 2]], [[], []]]
)
def test_vectors_that_are_none_are_not_the_protocol(rows: list[Any]) -> None:
    with pytest.raises(ModelDown, match="not the OpenAI protocol"):
        embed(vectors(*rows), "a", "b")


def test_the_dimension_is_asked_for_once() -> None:
    provider = Provider([vectors([1, 0, 0])])

    def use(url: str) -> tuple[int, int, Any]:
        embedder = RemoteEmbedder("test/some/e", url, KEY, PATIENT)
        return embedder.dimension, embedder.dimension, embedder.embed([])

    three, again, empty = with_provider(provider, use)
    assert (three, again, empty.shape) == (3, 3, (0, 3))
    assert len(provider.asked) == 1


def test_vectors_of_another_length_than_before_are_refused() -> None:
    def use(url: str) -> None:
        embedder = RemoteEmbedder("test/some/e", url, KEY, PATIENT)
        embedder.embed(["a"])
        embedder.embed(["a"])

    with pytest.raises(ModelDown, match="not the OpenAI protocol"):
        with_provider(Provider([vectors([1, 0]), vectors([1, 0, 0])]), use)


def test_a_batch_that_is_too_large_for_the_provider_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_calls, "_BATCH", 20)
    provider = Provider([answer({"message": "batch size"}, 400), *[vectors(*[[n, 1]] * 10) for n in (0, 1, 2, 3)]])
    texts = [str(n) for n in range(40)]
    found = with_provider(provider, lambda url: RemoteEmbedder("test/some/e", url, KEY, PATIENT).embed(texts))
    assert [len(request.body["input"]) for request in provider.asked] == [20, 10, 10, 10, 10]
    assert found.shape == (40, 2)


def test_a_text_that_the_provider_refuses_is_an_error_with_its_words() -> None:
    with pytest.raises(ModelRefused, match="too long") as error:
        embed(answer({"error": {"message": "input 3 is too long"}}, 400), *["a"] * 11)
    assert error.value.status == 400


def test_tokens_are_estimated_and_every_script_is_thought_to_be_known() -> None:
    embedder = RemoteEmbedder("test/some/e", "http://127.0.0.1:1/v1")
    assert embedder.count_tokens("The capital of France is Paris.") == pytest.approx(7, abs=1)
    assert embedder.coverage("巴黎") == 1.0


# --- completions ----------------------------------------------------------------------------------------------


def complete(script: list[Step], prompt: Any = "The capital of", **options: Any) -> tuple[list[Any], dict[str, Any]]:
    provider = Provider([script])

    async def run() -> list[Any]:
        async with provider.serving() as url:
            model = RemoteCompletionModel("test/some/base", url, KEY, PATIENT)
            return [event async for event in model.complete(prompt, **options)]

    return asyncio.run(run()), provider.asked[0].body


def continued(text: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish, **more}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def test_a_text_is_continued_with_what_was_asked_for() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    script: list[Step] = [head(), continued(" France"), continued(" is", "length")]
    script += [chunk(usage=usage, choices=[]), DONE]
    events, body = complete(script, echo=True, logprobs=2, max_tokens=2)
    assert events == [
        TextDelta(text=" France"),
        TextDelta(text=" is"),
        UsageReported(usage=Usage(prompt_tokens=3, completion_tokens=2)),
        Done(finish_reason="length"),
    ]
    assert body == {
        **{"model": "some/base", "prompt": "The capital of", "echo": True, "logprobs": 2, "max_tokens": 2},
        **{"stream": True, "stream_options": {"include_usage": True}},
    }


def test_a_prompt_of_tokens_is_passed_on() -> None:
    assert complete([head(), continued("x", "stop"), DONE], (1, 2, 3))[1]["prompt"] == [1, 2, 3]


def test_a_continuation_carries_its_tokens_the_prompt_too() -> None:
    logprobs = {
        "tokens": ["The", " bytes", "bytes:\\xff"],
        "token_logprobs": [None, -1.5, -2.5],
        "top_logprobs": [None, {" x": -3.0, " bytes": -1.5}, {}],
    }
    (event, _done), _body = complete([head(), continued("The bytes", "stop", logprobs=logprobs), DONE])
    assert [(one.text, one.raw[:1], one.logprob) for one in event.tokens] == [
        ("The", (ord("T"),), None),
        (" bytes", (ord(" "),), -1.5),
        ("\ufffd", (0xFF,), -2.5),
    ]
    assert [(one.text, one.logprob) for one in event.tokens[1].top] == [(" bytes", -1.5), (" x", -3.0)]


def test_a_continuation_that_breaks_off_ends_with_failed() -> None:
    events, _body = complete([head(), continued(" France")])
    assert isinstance(events[-1], Failed)
    assert "cut off" in events[-1].message


# --- ranks ----------------------------------------------------------------------------------------------------


def ranked(*scores: tuple[int, Any]) -> list[Step]:
    return answer({"results": [{"index": index, "relevance_score": score} for index, score in scores]})


def rerank(*scripts: list[Step]) -> list[list[float]]:
    def use(url: str) -> list[list[float]]:
        reranker = RemoteReranker("test/some/r", url, KEY, PATIENT)
        return [reranker.score("q", ["a", "b"]) for _ in scripts]

    return with_provider(Provider(scripts), use)


def test_scores_come_in_the_order_of_the_documents() -> None:
    provider = Provider([ranked((1, 0.9), (0, 0.25))])
    found = with_provider(provider, lambda url: RemoteReranker("test/some/r", url, KEY, PATIENT).score("q", ["a", "b"]))
    assert found == [0.25, 0.9]
    assert provider.asked[0].line == "POST /v1/rerank HTTP/1.1"
    assert provider.asked[0].body == {"model": "some/r", "query": "q", "documents": ["a", "b"]}


def test_scores_beyond_zero_to_one_are_logits_and_stay_so() -> None:
    assert rerank(ranked((0, 0.0), (1, 800.0)), ranked((0, 0.0), (1, -800.0))) == [[0.5, 1.0], [0.5, 0.0]]


@pytest.mark.parametrize("scores", [[], [(0, 0.5)], [(0, 0.5), (7, 0.5)], [(0, 0.5), (-1, 0.5)], [(0, 0.5), (1, "?")]])
def test_scores_that_are_not_of_these_documents_are_not_the_protocol(scores: list[tuple[int, Any]]) -> None:
    with pytest.raises(ModelDown, match="not the OpenAI protocol"):
        rerank(ranked(*scores))


# --- moderation and pictures ----------------------------------------------------------------------------------


def test_moderation_and_pictures_come_as_the_provider_says() -> None:
    provider = Provider([answer({"results": [{"flagged": True}]}), answer({"data": [{"b64_json": "AA"}]})])

    async def run() -> tuple[Any, Any]:
        async with provider.serving() as url:
            endpoint = Endpoint("test/some/m", url, KEY, PATIENT)
            return await moderate(endpoint, {"input": "?"}), await draw(endpoint, {"prompt": "A house"})

    verdict, pictures = asyncio.run(run())
    assert verdict["results"] == [{"flagged": True}]
    assert pictures["data"] == [{"b64_json": "AA"}]
    assert [request.line.split()[1] for request in provider.asked] == ["/v1/moderations", "/v1/images/generations"]
    assert provider.asked[1].body == {"prompt": "A house", "model": "some/m"}


@pytest.mark.parametrize("body", [{}, {"data": 3}, {"data": [3]}])
def test_pictures_that_are_none_are_not_the_protocol(body: dict[str, Any]) -> None:
    async def run() -> None:
        async with Provider([answer(body)]).serving() as url:
            await draw(Endpoint("test/some/m", url, KEY, PATIENT), {"prompt": "A house"})

    with pytest.raises(ModelDown, match="not the OpenAI protocol"):
        asyncio.run(run())


def test_pictures_without_end_are_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_calls, "_MAX_IMAGES_BYTES", 50_000)

    async def run() -> None:
        async with Provider([answer({"data": [{"b64_json": "A" * 200_000}]})]).serving() as url:
            await draw(Endpoint("test/some/m", url, KEY, PATIENT), {"prompt": "A house"})

    with pytest.raises(ModelDown, match="50000 bytes"):
        asyncio.run(run())
