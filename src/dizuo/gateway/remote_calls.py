"""What providers do besides chat: vectors, completions, ranks, moderation, pictures. Reached as `Endpoint` says.

https://platform.openai.com/docs/api-reference; reranking in the shape that Jina, Cohere and vLLM share.
"""

import base64
import logging
import math
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from dizuo.core.errors import ModelError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.gateway.estimate import text_tokens
from dizuo.gateway.options import checked_options
from dizuo.gateway.remote_connections import blocking
from dizuo.gateway.remote_http import SETTINGS, Endpoint, Timeouts
from dizuo.gateway.remote_reading import MALFORMED, Tokens, finish_of, text_of, usage_of
from dizuo.gateway.remote_refusal import RequestRefused

log = logging.getLogger(__name__)

_COMPLETION_OPTIONS = frozenset(
    {
        "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "presence_penalty", "seed",
        "stop", "suffix", "temperature", "top_p", "user",
        "min_p", "repetition_penalty", "response_format", "top_k",
    }
)  # fmt: skip
_BATCH = 64  # texts of one request
_SMALL_BATCH = 10  # what every known provider takes at once (DashScope takes no more)
_MAX_IMAGES_BYTES = 128 << 20  # ten large pictures as base64


class _Remote:
    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str = "",
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        settings: str = SETTINGS,
    ) -> None:
        self._endpoint = Endpoint(name, base_url, api_key, timeouts, headers, settings)

    @property
    def name(self) -> str:
        """provider/NAME."""
        return self._endpoint.name


class RemoteCompletionModel(_Remote):
    """A model of a provider that continues texts (`core.protocols.CompletionModel`)."""

    async def complete(self, prompt: str | Sequence[int], **options: Any) -> AsyncGenerator[Event, None]:
        """As `core.protocols.CompletionModel` says."""
        checked = checked_options(options, _COMPLETION_OPTIONS)
        payload = {
            "model": self._endpoint.model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            **checked,
        }
        spoke = False
        try:
            async with aclosing(self._events(payload)) as events:
                async for event in events:
                    spoke = spoke or isinstance(event, TextDelta)
                    yield event
        except ModelError as error:
            log.warning("%s", error)
            if not spoke:
                raise
            yield Failed(code=error.code, message=str(error))

    async def _events(self, payload: dict[str, Any]) -> AsyncGenerator[Event, None]:
        tokens, finish, usage, whole = Tokens(), None, None, False
        async with aclosing(self._endpoint.chunks("completions", payload)) as chunks:
            async for chunk in chunks:
                if chunk is None:
                    whole = True
                    continue
                try:
                    usage = usage_of(chunk) or usage
                    choices = chunk.get("choices")
                    if not choices:
                        continue
                    choice = choices[0]
                    text, read = text_of(choice.get("text")), tokens.of_completion(choice.get("logprobs"))
                    finish = finish_of(choice) or finish
                except MALFORMED as error:
                    raise self._endpoint.gibberish(chunk) from error
                if text or read:
                    yield TextDelta(text=text, tokens=read)
        if finish is None and not whole:
            raise self._endpoint.cut_off()
        if usage:
            yield UsageReported(usage=usage)
        yield Done(finish_reason=finish or "stop")


class RemoteEmbedder(_Remote):
    """A model of a provider that makes vectors (`core.protocols.Embedder`)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._dimension = 0
        self._batch = _BATCH
        self._asking = threading.Lock()

    @property
    def dimension(self) -> int:
        """The length of its vectors. Where none came yet, one is asked for; blocking, raises ModelError."""
        with self._asking:
            if not self._dimension:
                self.embed(["dimension"])
        return self._dimension

    def embed(self, texts: Sequence[str]) -> Any:
        """(N, dimension) float32, rows of length 1. Blocking; thread-safe. Raises ModelError."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        rows: list[Any] = []
        while len(rows) < len(texts):
            rows += blocking(self._vectors(texts[len(rows) : len(rows) + self._batch]))
        vectors = np.stack(rows)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)

    def coverage(self, text: str) -> float:
        """1: whoever chose the model knows what it was trained on; providers do not say."""
        return 1.0

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, about: only the provider has the tokenizer."""
        return text_tokens(text)

    async def _vectors(self, texts: Sequence[str]) -> list[Any]:
        try:
            body = await self._endpoint.answer("embeddings", {"model": self._endpoint.model, "input": list(texts)})
        except RequestRefused:
            if len(texts) <= _SMALL_BATCH:
                raise
            half = len(texts) // 2  # providers differ in how many texts they take at once, and few say it
            rows = [*await self._vectors(texts[:half]), *await self._vectors(texts[half:])]
            self._batch = min(self._batch, max(half, _SMALL_BATCH))
            return rows
        try:
            data = sorted(body["data"], key=lambda one: one.get("index", 0))
            rows = [_vector(one["embedding"]) for one in data]
            lengths = {len(row) for row in rows} | ({self._dimension} if self._dimension else set())
            if len(rows) != len(texts) or len(lengths) != 1 or not all(np.isfinite(row).all() for row in rows):
                raise LookupError
        except MALFORMED as error:
            raise self._endpoint.gibberish(body) from error
        self._dimension = len(rows[0])
        return rows


class RemoteReranker(_Remote):
    """A model of a provider that scores how well documents fit a query (`core.protocols.Reranker`)."""

    _logits = False  # its scores have been seen beyond 0 to 1

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """One number for each document, in their order, 0 to 1. Blocking; thread-safe. Raises ModelError."""
        if not documents:
            return []
        payload = {"model": self._endpoint.model, "query": query, "documents": list(documents)}
        body = blocking(self._endpoint.answer("rerank", payload))
        scores = [math.nan] * len(documents)
        try:
            for one in body["results"]:
                if not 0 <= one["index"] < len(documents):
                    raise LookupError
                scores[one["index"]] = float(one["relevance_score"])
            if not all(map(math.isfinite, scores)):
                raise LookupError
        except MALFORMED as error:
            raise self._endpoint.gibberish(body) from error
        self._logits = self._logits or not all(0 <= score <= 1 for score in scores)
        return [_sigmoid(score) for score in scores] if self._logits else scores

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, about: only the provider has the tokenizer."""
        return text_tokens(text)


async def moderate(endpoint: Endpoint, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a provider's moderation model says of `input`, in the protocol's form. Raises ModelError."""
    body = await endpoint.answer("moderations", {**payload, "model": endpoint.model})
    return _listing(endpoint, body, "results")


async def draw(endpoint: Endpoint, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The pictures that a provider's image model makes of `prompt`, in the protocol's form. Raises ModelError."""
    asked = {**payload, "model": endpoint.model}
    body = await endpoint.answer("images/generations", asked, limit_bytes=_MAX_IMAGES_BYTES)
    return _listing(endpoint, body, "data")


def _listing(endpoint: Endpoint, body: dict[str, Any], field: str) -> dict[str, Any]:
    """The same, if it lists what was asked for."""
    found = body.get(field)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise endpoint.gibberish(body)
    return body


def _vector(given: Any) -> Any:
    """Numbers, or their little-endian float32 bytes as base64, as one float32 vector."""
    if isinstance(given, str):
        return np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float32)
    vector = np.asarray(given, np.float32)
    if vector.ndim != 1 or not vector.size:
        raise LookupError
    return vector


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
