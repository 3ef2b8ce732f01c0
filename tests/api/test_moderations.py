"""Moderation by a local classifier and by a provider, and what else goes to providers whole."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import sqlalchemy as sa

from dizuo.core.events import Event, TextDelta
from dizuo.nn.heads import SequenceClassifier
from dizuo.platform import schema
from tests.api.conftest import Served, error_of, until
from tests.api.upstream import Upstream
from tests.tiny_models import save_bert, tiny_encoder

VERDICT = {"flagged": True, "categories": {"hate": True}, "category_scores": {"hate": 0.9}}
DRAWN = {"created": 5, "data": [{"b64_json": "aGk=", "revised_prompt": "a red cat"}], "usage": {"input_tokens": 4}}


@pytest.fixture(scope="module", autouse=True)
def _classifiers(server: Served) -> None:
    root = server.house.settings.home / "models"
    for name, labels in (("judge", ["safe", "toxic", "hate"]), ("mood", ["glad", "sad"])):
        model = SequenceClassifier(tiny_encoder(), labels, "single_label_classification")
        model.classifier.bias.data[1] = 9.0  # it is sure of its second label
        save_bert(root / name, model)


@pytest.fixture
def upstream(server: Served) -> Iterator[Upstream]:
    """A provider that is known by the name of stub."""
    stub = Upstream(whole={"moderations": {"id": "m-1", "results": [VERDICT]}, "images/generations": DRAWN})
    with stub.serving() as url:
        server.house.providers.add("stub", base_url=url)
        yield stub
        server.house.providers.remove("stub")


def test_labels_of_a_local_classifier_are_the_categories(ai: openai.OpenAI) -> None:
    made = ai.moderations.create(model="local/judge", input=["You!", "Hello."])
    assert len(made.results) == 2
    for result in made.results:
        scores = result.category_scores.to_dict()
        assert scores.keys() == {"toxic", "hate"}
        assert (result.flagged, result.categories.to_dict()) == (True, {"toxic": True, "hate": False})
        assert 0.5 < float(str(scores["toxic"])) <= 1
    assert made.id.startswith("modr-")


def test_a_classifier_that_cannot_say_harmless_is_refused(client: httpx.Client) -> None:
    error = error_of(client.post("/v1/moderations", json={"model": "local/mood", "input": "Hi"}), 400)
    assert "glad, sad" in error["message"]


def test_without_a_model_the_setting_names_one_or_an_error_says_so(
    server: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = error_of(client.post("/v1/moderations", json={"input": "Hi"}), 400)
    assert error["param"] == "model"
    assert "DIZUO_MODERATOR" in error["message"]
    assert "local/judge" in error["message"]
    from dataclasses import replace

    monkeypatch.setattr(server.house, "settings", replace(server.house.settings, moderator="local/judge"))
    assert client.post("/v1/moderations", json={"input": "Hi"}).json()["model"] == "local/judge"


def test_parts_are_one_text_and_pictures_are_refused_by_name(client: httpx.Client) -> None:
    parts: list[Any] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = {"model": "local/judge", "input": parts}
    assert len(client.post("/v1/moderations", json=body).json()["results"]) == 1
    parts.append({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})
    assert "no pictures" in error_of(client.post("/v1/moderations", json=body), 400)["message"]


def test_a_provider_moderates_what_it_is_sent(ai: openai.OpenAI, upstream: Upstream) -> None:
    made = ai.moderations.create(model="stub/judge", input="You!")
    assert (made.id, made.model, made.results[0].flagged) == ("m-1", "stub/judge", True)
    assert made.results[0].categories.hate is True
    assert upstream.asked == [{"input": "You!", "model": "judge"}]


def test_a_provider_draws(server: Served, ai: openai.OpenAI, upstream: Upstream) -> None:
    made = ai.images.generate(model="stub/painter", prompt="a red cat", n=1, size="512x512")
    assert made.data is not None
    assert (made.data[0].b64_json, made.data[0].revised_prompt) == ("aGk=", "a red cat")
    assert upstream.asked == [{"model": "painter", "prompt": "a red cat", "n": 1, "size": "512x512"}]
    [row] = recorded(server, "image")
    assert (row.asked, row.status, row.prompt_tokens) == ("stub/painter", "ok", 4)


def test_there_are_no_local_image_models_and_that_is_said(ai: openai.OpenAI) -> None:
    for name in ("local/painter", "nobody/painter"):
        with pytest.raises(openai.NotFoundError, match=name):
            ai.images.generate(model=name, prompt="a red cat")


def test_gibberish_of_a_provider_is_no_answer(client: httpx.Client, upstream: Upstream) -> None:
    upstream.whole = {
        "moderations": {"results": [{"flagged": "perhaps"}]},
        "images/generations": {"data": [{"url": 5}]},
    }
    for path, body in (("moderations", {"input": "Hi"}), ("images/generations", {"prompt": "a cat"})):
        error = error_of(client.post(f"/v1/{path}", json={"model": "stub/x", **body}), 502)
        assert "not the OpenAI protocol" in error["message"]


def test_vectors_ranks_and_continuations_come_from_a_provider_too(
    server: Served, ai: openai.OpenAI, client: httpx.Client, upstream: Upstream
) -> None:
    upstream.whole = {
        "embeddings": {"data": [{"index": 0, "embedding": [3.0, 4.0]}]},
        "rerank": {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]},
        "completions": {"choices": [{"text": " fox", "finish_reason": "stop"}], "usage": {"prompt_tokens": 2}},
    }
    assert np.allclose(ai.embeddings.create(model="stub/e", input="a cat").data[0].embedding, [0.6, 0.8])
    body = {"model": "stub/r", "query": "leave?", "documents": ["a", "b"]}
    assert [one["index"] for one in client.post("/v1/rerank", json=body).json()["results"]] == [1, 0]
    assert ai.completions.create(model="stub/c", prompt="The quick").choices[0].text == " fox"
    for kind, name in (("embedding", "stub/e"), ("rerank", "stub/r"), ("completion", "stub/c")):
        row = recorded(server, kind)[-1]
        assert (row.asked, row.status) == (name, "ok")
        assert row.prompt_tokens > 0


def test_a_picture_whose_cost_nobody_tells_is_unpriced(server: Served, ai: openai.OpenAI, upstream: Upstream) -> None:
    upstream.whole = {"images/generations": {"data": [{"url": "https://x.example/1.png"}]}}
    ai.images.generate(model="stub/painter", prompt="a red cat")
    row = recorded(server, "image")[-1]
    assert (row.cost, row.estimated, row.prompt_tokens > 0) == (None, True, True)


def test_a_client_that_leaves_a_picture_has_used_what_was_asked(
    server: Served, client: httpx.Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dizuo.gateway import remote_calls

    left = threading.Event()

    async def never(*_: Any) -> dict[str, Any]:
        try:
            await asyncio.sleep(60)
            raise AssertionError
        finally:
            left.set()

    monkeypatch.setattr(remote_calls, "draw", never)
    before = len(recorded(server, "image"))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/images/generations", json={"model": "stub/x", "prompt": "a red cat"}, timeout=0.3)
    assert left.wait(5)
    until(lambda: len(recorded(server, "image")) > before)
    row = recorded(server, "image")[-1]
    assert (row.status, row.estimated, row.prompt_tokens > 0, row.cost) == ("cancelled", True, True, None)


def test_a_continuation_left_midway_counts_what_was_written(
    server: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless:
        name = "stub/endless"

        async def complete(self, _prompt: Any, **_options: Any) -> AsyncGenerator[Event, None]:
            while True:
                yield TextDelta(text="on and on ")
                await asyncio.sleep(0.01)

    monkeypatch.setattr(server.house.models, "completion", lambda _name: Endless())
    before = len(recorded(server, "completion"))
    body = {"model": "stub/endless", "prompt": "Go", "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        next(answer.iter_lines())
    until(lambda: len(recorded(server, "completion")) > before)
    row = recorded(server, "completion")[-1]
    assert (row.status, row.estimated, row.completion_tokens >= 3) == ("cancelled", True, True)


def recorded(server: Served, kind: str) -> list[Any]:
    """What the ledger has of a kind of calls, the latest last."""
    server.house.ledger.flush()
    calls = schema.calls
    with server.house.database.read() as connection:
        rows = connection.execute(sa.select(calls).where(calls.c.kind == kind).order_by(calls.c.id))
        return list(rows)
