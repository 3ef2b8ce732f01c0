"""/v1: the OpenAI protocol over the models of this instance. A knowledge base is the model `knowledge/NAME`, an app
`app/NAME`."""

import base64
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from dizuo.api import streams
from dizuo.api.auth import TheHouse, router
from dizuo.api.completions import token_name
from dizuo.api.errors import reader_language
from dizuo.api.openai_types import (
    ChatCompletion,
    ChatRequest,
    EmbeddingList,
    EmbeddingRequest,
    Model,
    ModelList,
)
from dizuo.api.replies import STREAMS, WISHES, Reply, streamed, usage_of, whole
from dizuo.api.work import in_thread
from dizuo.core import traces
from dizuo.core.errors import NotFound
from dizuo.core.events import Event, Failed, TextDelta, ToolCalled
from dizuo.core.ids import random_hex
from dizuo.core.messages import TokenLogprob, ToolCall, Usage
from dizuo.gateway.allowed import may_ask
from dizuo.gateway.estimate import texts_tokens
from dizuo.platform.catalogue import translate
from dizuo.wiring import House

routes = router("/v1", "OpenAI protocol")
chat = router("/v1", "OpenAI protocol")


# --- models ---------------------------------------------------------------------------------------------------


@routes.get("/models")
def list_models(request: Request, house: TheHouse) -> ModelList:
    """Every model and knowledge base that can be asked, with this key. /api/models also lists those that cannot be
    used."""
    return ModelList(data=_models(request, house))


@routes.get("/models/{model:path}")
def get_model(model: str, request: Request, house: TheHouse) -> Model:
    known = {one.id: one for one in _models(request, house)}
    if model not in known:
        raise NotFound("No model is named {name!r}. There are: {names}.", name=model, names=", ".join(known))
    return known[model]


def _models(request: Request, house: House) -> list[Model]:
    made = request.app.state.started_s
    language = reader_language(request)
    models = [
        Model(
            id=info.name,
            created=made,
            owned_by=info.provider,
            kind=info.kind,
            note=translate(info.note.template, language, **info.note.params),
        )
        for info in house.gateway.list()
        if not info.problem and info.kind != "backbone"
    ]
    bases = [
        Model(
            id=f"knowledge/{k.name}",
            created=int(k.created_at.timestamp()),
            owned_by="dizuo",
            kind="knowledge",
            note=translate("Answers from the documents of the knowledge base {name}.", language, name=k.name),
        )
        for k in house.library.list()
    ]
    apps = [
        Model(id=name, created=made, owned_by="dizuo", kind="app", note=app.description.of(language))
        for name, app in house.launcher.callable_apps([k.id.removeprefix("knowledge/") for k in bases])
    ]
    return [one for one in models + bases + apps if may_ask(one.id)]


# --- chat -----------------------------------------------------------------------------------------------------


@chat.post("/chat/completions", response_model=ChatCompletion, responses=STREAMS, dependencies=WISHES)
async def complete(asked: ChatRequest, request: Request, house: TheHouse) -> Any:
    """A completion, whole or as server-sent `chat.completion.chunk` events ending with `[DONE]`.

    Citations come as `annotations` of the message; in a stream, in one delta before the finish. An error midway
    is a last event whose data is an `error` object. The headers X-Dizuo-Model and X-Dizuo-Cache (hit or miss; of a
    hit also -Kind, -Score and -Age in seconds) say who answered; of an app, X-Dizuo-Run names the run.
    """
    messages, options = [message.noun() for message in asked.messages], asked.options()
    model = house.chat_at_once(asked.model) or await run_in_threadpool(house.chat, asked.model)
    events = model.stream(messages, **options)
    made = _Completion(Reply(asked.model, lambda: request.base_url))
    if asked.stream:
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        begun, headers = await streamed(request, events)
        return streams.EventStream(streams.guarded(request, made.frames(request, begun, with_usage)), headers)
    traces.want_whole()
    failed = await streams.unless_gone(request, made.reply.take_all(events))
    return streams.failure_response(failed, request) if failed else whole(made.answer(), made.reply.served)


class _Completion:
    """A reply as the chat completions of the protocol: plain JSON, as `openai_types` describes it."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self._id = f"chatcmpl-{random_hex(12)}"
        self._created = int(time.time())

    def answer(self) -> dict[str, Any]:
        """The whole of it, when the reply has ended."""
        reply = self.reply
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if reply.calls and not reply.text else reply.text,
            "refusal": None,
            "annotations": _annotations(reply),
        }
        if reply.calls:
            message["tool_calls"] = [_made(call) for call in reply.calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _logprobs(reply.tokens),
            "finish_reason": reply.finish_reason,
        }
        return {**self._begun("chat.completion"), "choices": [choice], "usage": usage_of(reply.usage)}

    async def frames(
        self, request: Request, events: AsyncGenerator[Event, None], with_usage: bool
    ) -> AsyncGenerator[str, None]:
        """The chunks, of which each says only what is new in it."""
        reply = self.reply
        # Text is nearly all that comes, so its chunks are put together from two ends that do not change.
        before, after = self._frame({"content": _HERE}).split(f'"{_HERE}"')
        yield self._frame({"role": "assistant", "content": ""})
        async with aclosing(events):
            async for event in events:
                reply.take(event)
                if isinstance(event, TextDelta):
                    if event.tokens:
                        yield self._frame({"content": event.text}, logprobs=_logprobs(event.tokens))
                    else:
                        yield f"{before}{streams.json_text(event.text)}{after}"
                elif isinstance(event, ToolCalled):
                    yield self._frame({"tool_calls": [{"index": len(reply.calls) - 1, **_made(event.call)}]})
                elif isinstance(event, Failed):
                    yield streams.frame(streams.failure(event, request))
                    return
        reply.must_have_ended()
        if annotations := _annotations(reply):
            yield self._frame({"annotations": annotations})
        yield self._frame({}, finish_reason=reply.finish_reason)
        if with_usage:
            yield self._chunk([], usage=usage_of(reply.usage))
        yield streams.frame("[DONE]")

    def _frame(self, delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None) -> str:
        return self._chunk([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}])

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> str:
        return streams.frame(streams.json_text({**self._begun("chat.completion.chunk"), "choices": choices, **more}))

    def _begun(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self.reply.model}


_HERE = secrets.token_hex(16)  # stands for a text, where no model's name can


def _annotations(reply: Reply) -> list[dict[str, Any]]:
    return [{"type": "url_citation", "url_citation": cited} for cited in reply.citations()]


def _made(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not tokens:
        return None

    def one(token: TokenLogprob) -> dict[str, Any]:
        return {"token": token_name(token), "logprob": token.logprob or 0.0, "bytes": list(token.raw)}

    content = [{**one(token), "top_logprobs": [one(top) for top in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


# --- embeddings -----------------------------------------------------------------------------------------------


@routes.post("/embeddings", response_model=EmbeddingList, dependencies=WISHES)
async def embed(asked: EmbeddingRequest, request: Request, house: TheHouse) -> Any:
    """A unit vector for each text, in the order of the input."""
    return await in_thread(request, lambda: whole(_embedded(asked, house)))  # to write thousands of numbers takes long


def _embedded(asked: EmbeddingRequest, house: House) -> dict[str, Any]:
    """As `openai_types.EmbeddingList` describes it."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    with house.gateway.call("embedding", asked.model, texts_tokens(texts)) as call:
        embedder = house.models.embedder(asked.model)
        vectors = embedder.embed(texts)
        tokens = sum(embedder.count_tokens(text) for text in texts)
        call.usage = Usage(prompt_tokens=tokens)
    if asked.encoding_format == "base64":
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
    else:
        rows = vectors.tolist()
    return {
        "object": "list",
        "model": asked.model,
        "data": [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
