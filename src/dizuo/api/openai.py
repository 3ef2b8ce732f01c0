"""/v1: the OpenAI protocol over the models of this instance. A knowledge base is the model `knowledge/NAME`."""

import base64
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from dizuo.api import streams
from dizuo.api.auth import TheHouse, router
from dizuo.api.completions import token_name
from dizuo.api.errors import reader_language
from dizuo.api.openai_types import (
    Annotation,
    AssistantMessage,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatLogprobs,
    ChatRequest,
    ChatUsage,
    ChunkChoice,
    ContentLogprob,
    Delta,
    Embedding,
    EmbeddingList,
    EmbeddingRequest,
    EmbeddingUsage,
    MadeFunctionCall,
    MadeToolCall,
    Model,
    ModelList,
    TopLogprob,
    UrlCitation,
)
from dizuo.core.documents import Citation
from dizuo.core.errors import NotFound
from dizuo.core.events import CitationFound, Done, Event, Failed, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import TokenLogprob, ToolCall, Usage
from dizuo.platform.catalogue import translate
from dizuo.wiring import House

routes = router("/v1", "OpenAI protocol")


# --- models ---------------------------------------------------------------------------------------------------


@routes.get("/models")
def list_models(request: Request, house: TheHouse) -> ModelList:
    """Every model that can be asked, and every knowledge base. /api/models also lists those that cannot be used."""
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
        for info in house.models.list()
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
    return models + bases


# --- chat -----------------------------------------------------------------------------------------------------


@routes.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def complete(asked: ChatRequest, request: Request, house: TheHouse) -> Any:
    """A completion, whole or as server-sent `chat.completion.chunk` events ending with `[DONE]`.

    Citations come as `annotations` of the message; in a stream, in one delta before the finish. An error midway
    is a last event whose data is an `error` object.
    """
    model = await run_in_threadpool(house.chat, asked.model)
    events = model.stream([message.noun() for message in asked.messages], **asked.options())
    reply = _Reply(asked.model, str(request.base_url))
    if asked.stream:
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        frames = reply.frames(request, await streams.begun(request, events), with_usage)
        return streams.EventStream(streams.guarded(request, frames))
    return await streams.unless_gone(request, reply.whole(request, events))


class _Reply:
    """One completion in the making."""

    def __init__(self, model: str, base_url: str) -> None:
        self.model = model
        self.base_url = base_url
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.text = ""
        self.calls: list[ToolCall] = []
        self.tokens: list[TokenLogprob] = []
        self.citations: dict[int, Citation] = {}
        self.usage = Usage()
        self.finish_reason = "stop"
        self.ended = False

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text=text, tokens=tokens):
                self.text += text
                self.tokens += tokens
            case ToolCalled(call=call):
                self.calls.append(call)
            case CitationFound(index=index, citation=citation):
                self.citations[index] = citation  # comes again when its check found it wanting
            case UsageReported(usage=usage):
                self.usage = usage
            case Done(finish_reason=reason):
                self.finish_reason = reason
                self.ended = True

    async def whole(self, request: Request, events: AsyncIterator[Event]) -> Any:
        async with streams.ended(events):
            async for event in events:
                self.take(event)
                if isinstance(event, Failed):
                    return streams.failure_response(event, request)
        if not self.ended:
            raise RuntimeError("the events ended without an end")
        message = AssistantMessage(
            content=None if self.calls and not self.text else self.text,
            annotations=self.annotations(),
            tool_calls=[_made(call) for call in self.calls] or None,
        )
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[ChatChoice(message=message, logprobs=_logprobs(self.tokens), finish_reason=self.finish_reason)],
            usage=self._usage(),
        )

    async def frames(
        self, request: Request, events: AsyncGenerator[Event, None], with_usage: bool
    ) -> AsyncGenerator[str, None]:
        yield self._frame(Delta(role="assistant", content=""))
        async with aclosing(events):
            async for event in events:
                self.take(event)
                if isinstance(event, TextDelta):
                    yield self._frame(Delta(content=event.text), logprobs=_logprobs(event.tokens))
                elif isinstance(event, ToolCalled):
                    yield self._frame(Delta(tool_calls=[_made(event.call, len(self.calls) - 1)]))
                elif isinstance(event, Failed):
                    yield streams.frame(streams.failure(event, request))
                    return
        if not self.ended:
            raise RuntimeError("the events ended without an end")
        if self.citations:
            yield self._frame(Delta(annotations=self.annotations()))
        yield self._frame(Delta(), finish_reason=self.finish_reason)
        if with_usage:
            yield self._chunk([], usage=self._usage())
        yield streams.frame("[DONE]")

    def annotations(self) -> list[Annotation]:
        """The citations in order, each at its first mark in the text."""
        return [Annotation(url_citation=self._cited(n, self.citations[n])) for n in sorted(self.citations)]

    def _cited(self, index: int, citation: Citation) -> UrlCitation:
        mark = f"[{index}]"
        at = self.text.find(mark)
        knowledge = quote(self.model.removeprefix("knowledge/"), safe="")
        path = f"api/knowledge/{knowledge}/documents/{quote(citation.document_id, safe='')}"
        return UrlCitation(
            url=f"{self.base_url}{path}",
            title=citation.document,
            start_index=max(at, 0),
            end_index=at + len(mark) if at >= 0 else 0,
            index=index,
            **citation.model_dump(),
        )

    def _usage(self) -> ChatUsage:
        usage = self.usage
        return ChatUsage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
        )

    def _frame(self, delta: Delta, finish_reason: str | None = None, logprobs: ChatLogprobs | None = None) -> str:
        return self._chunk([ChunkChoice(delta=delta, logprobs=logprobs, finish_reason=finish_reason)])

    def _chunk(self, choices: list[ChunkChoice], usage: ChatUsage | None = None) -> str:
        chunk = ChatCompletionChunk(id=self.id, created=self.created, model=self.model, choices=choices, usage=usage)
        content = chunk.model_dump(mode="json")
        for choice in content["choices"]:
            # A field that a delta does not carry is left out, as upstream does it: null would say "now empty".
            choice["delta"] = {name: value for name, value in choice["delta"].items() if value is not None}
        if usage is None:
            del content["usage"]
        return streams.frame(streams.json_text(content))


def _made(call: ToolCall, index: int | None = None) -> MadeToolCall:
    return MadeToolCall(index=index, id=call.id, function=MadeFunctionCall(name=call.name, arguments=call.arguments))


def _logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs | None:
    if not tokens:
        return None

    def top(token: TokenLogprob) -> TopLogprob:
        return TopLogprob(token=token_name(token), logprob=token.logprob or 0.0, bytes=list(token.raw))

    return ChatLogprobs(
        content=[ContentLogprob(**dict(top(token)), top_logprobs=[top(one) for one in token.top]) for token in tokens]
    )


# --- embeddings -----------------------------------------------------------------------------------------------


@routes.post("/embeddings")
def embed(asked: EmbeddingRequest, house: TheHouse) -> EmbeddingList:
    """A unit vector for each text, in the order of the input."""
    embedder = house.models.embedder(asked.model)
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    vectors = embedder.embed(texts)
    as_base64 = asked.encoding_format == "base64"
    data = [
        Embedding(
            index=n, embedding=base64.b64encode(row.astype("<f4").tobytes()).decode() if as_base64 else row.tolist()
        )
        for n, row in enumerate(vectors)
    ]
    tokens = sum(embedder.count_tokens(text) for text in texts)
    return EmbeddingList(model=asked.model, data=data, usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens))
