"""/v1/completions: a text continued, in the OpenAI protocol's older form. The one that measuring tools speak.

https://platform.openai.com/docs/api-reference/completions
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from dizuo.api import streams
from dizuo.api.auth import TheHouse, router
from dizuo.api.openai_types import ChatUsage, Penalty, StreamOptions, Unit
from dizuo.api.replies import STREAMS, WISHES, usage_of
from dizuo.api.requests import RequestBody, Text
from dizuo.core.errors import UserError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.core.ids import random_hex
from dizuo.core.messages import TokenLogprob, Usage
from dizuo.core.protocols import CompletionModel
from dizuo.gateway.estimate import text_tokens, tokens_of
from dizuo.wiring import House

routes = router("/v1", "OpenAI protocol")

MAX_CHOICES = 2048  # of one request, all prompts together
_Token = Annotated[int, Field(ge=0, lt=2**32)]
_Prompt = Text | Annotated[list[_Token], Field(min_length=1)]


class CompletionRequest(RequestBody):
    model: Text = Field(description="a local model: `local/NAME`")
    prompt: (
        Text
        | Annotated[list[_Token], Field(min_length=1)]
        | Annotated[list[_Prompt], Field(min_length=1, max_length=MAX_CHOICES)]
    ) = Field(description="a text, or the ids of its tokens; or a list of either, continued side by side")
    max_tokens: Annotated[int, Field(ge=0)] | None = Field(16, description="0: only the prompt is looked at (echo)")
    n: Annotated[int, Field(ge=1, le=128)] | None = 1
    best_of: Annotated[int, Field(ge=1)] | None = Field(None, description="taken when it is the same as n")
    echo: bool | None = Field(False, description="the prompt comes before its continuation")
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="log-probabilities of the tokens, and of that many likeliest ones in the place of each"
    )
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Unit | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    user: Text | None = Field(default=None, description="taken and not used")

    unsupported: ClassVar[frozenset[str]] = frozenset({"logit_bias", "suffix"})

    def prompts(self) -> list[str | list[int]]:
        """What is to be continued, one after another."""
        given: Any = self.prompt
        return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)

    def options(self) -> dict[str, Any]:
        """The sampling parameters that were given."""
        not_sampling = {"model", "prompt", "n", "best_of", "stream", "stream_options", "user"}
        return self.model_dump(exclude=not_sampling, exclude_none=True)


class CompletionLogprobs(BaseModel):
    """One entry a token in each list. `text_offset`: where its text begins in `text` of the choice."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: ChatUsage | None = None


@routes.post("/completions", response_model=Completion, responses=STREAMS, dependencies=WISHES)
async def complete_text(asked: CompletionRequest, request: Request, house: TheHouse) -> Any:
    """A continuation of each prompt, whole or as server-sent `text_completion` events ending with `[DONE]`.

    Choices are numbered prompt by prompt, n for each. An error midway is a last event whose data is an `error` object.
    """
    _check(asked)
    made = _Making(asked)
    events = made.recorded(house)
    if asked.stream:
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        frames = made.frames(request, await streams.begun(request, events), with_usage)
        return streams.EventStream(streams.guarded(request, frames))
    return await streams.unless_gone(request, made.whole(request, events))


def _check(asked: CompletionRequest) -> None:
    n, prompts = asked.n or 1, asked.prompts()
    if asked.best_of is not None and asked.best_of != n:
        raise UserError(
            "best_of is {best_of} and n is {n}: choosing among more completions than are returned is not supported. "
            "Leave best_of out.",
            best_of=asked.best_of,
            n=n,
            param="best_of",
        )
    if n * len(prompts) > MAX_CHOICES:
        raise UserError(
            "{prompts} prompts with n {n} ask for {choices} completions; a request takes {limit}. Send several.",
            prompts=len(prompts),
            n=n,
            choices=n * len(prompts),
            limit=MAX_CHOICES,
            param="prompt",
        )
    if asked.max_tokens == 0 and not asked.echo:
        raise UserError("With max_tokens 0 nothing is written; it is for echo, which shows the prompt.", param="echo")


class _Choice:
    """One continuation in the making."""

    def __init__(self, index: int, top: int | None) -> None:
        self.index = index
        self._top = top
        self._offset = 0
        self.text = ""
        self.tokens: list[TokenLogprob] = []
        self.size_bytes = 0  # of all that came
        self.usage: Usage | None = None
        self.finish_reason: str | None = None

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text=text, tokens=tokens):
                self.text += text
                self.tokens += tokens
                self.size_bytes += len(text.encode("utf-8", "surrogatepass"))
            case UsageReported(usage=usage):
                self.usage = usage
            case Done(finish_reason=reason):
                self.finish_reason = reason

    def taken(self) -> CompletionChoice:
        """What has come since the last time."""
        logprobs = None if self._top is None else self._logprobs(self.tokens)
        choice = CompletionChoice(index=self.index, text=self.text, logprobs=logprobs, finish_reason=self.finish_reason)
        self.text, self.tokens = "", []
        return choice

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> CompletionLogprobs:
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token.text)
        tops = [None if token.logprob is None else _top(token) for token in tokens] if self._top else None
        return CompletionLogprobs(
            tokens=[token_name(token) for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=tops,
            text_offset=offsets,
        )


def token_name(token: TokenLogprob) -> str:
    r"""The token as text; one that is part of a character as the protocol writes it, `bytes:\xe4\xb8`."""
    raw = bytes(token.raw)
    try:
        return raw.decode("utf-8") if raw else token.text
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _top(token: TokenLogprob) -> dict[str, float]:
    """The likeliest tokens in a place, and the one that stands there even where it is not among them."""
    found: dict[str, float] = {}
    for one in (*token.top, token):
        if one.logprob is not None:
            found.setdefault(token_name(one), one.logprob)
    return found


class _Making:
    """The answer to one request."""

    def __init__(self, asked: CompletionRequest) -> None:
        self._asked = asked
        self._id = f"cmpl-{random_hex(12)}"
        self._created = int(time.time())
        self._n = asked.n or 1
        self._prompts = asked.prompts()
        self._choices = [_Choice(i, asked.logprobs) for i in range(self._n * len(self._prompts))]

    def _streams(self, model: CompletionModel) -> list[AsyncIterator[Event]]:
        """One stream of events a choice, in order. With a seed, each of the n choices has one of its own."""
        options = self._asked.options()
        seed = options.get("seed")
        return [
            model.complete(prompt, **options | ({} if seed is None else {"seed": seed + i}))
            for prompt in self._prompts
            for i in range(self._n)
        ]

    async def recorded(self, house: House) -> AsyncGenerator[tuple[int, Event], None]:
        """The events of all choices as they come, each with the number of its choice; one call in the ledger."""
        prompts = sum(text_tokens(one) if isinstance(one, str) else len(one) for one in self._prompts)
        with house.gateway.call("completion", self._asked.model, prompts) as call:
            model = await run_in_threadpool(house.models.completion, self._asked.model)
            try:
                async with aclosing(_merged(self._streams(model))) as events:
                    async for index, event in events:
                        self._choices[index].take(event)
                        if isinstance(event, Failed):
                            call.status, call.error = "failed", event.code
                        yield index, event
            finally:  # also where the caller leaves before the end, where the reports come
                call.usage = self._usage()
                if written := sum(one.size_bytes for one in self._choices if one.usage is None):
                    call.estimated = True
                    counted = {
                        "prompt_tokens": call.usage.prompt_tokens or prompts,
                        "completion_tokens": call.usage.completion_tokens + tokens_of(written),
                    }
                    call.usage = call.usage.model_copy(update=counted)

    async def whole(self, request: Request, events: AsyncGenerator[tuple[int, Event], None]) -> Any:
        async with aclosing(events):
            async for _index, event in events:
                if isinstance(event, Failed):
                    return streams.failure_response(event, request)
        self._must_have_ended()
        return self._answer([choice.taken() for choice in self._choices], self._counted())

    async def frames(
        self, request: Request, events: AsyncGenerator[tuple[int, Event], None], with_usage: bool
    ) -> AsyncGenerator[str, None]:
        async with aclosing(events):
            async for index, event in events:
                if isinstance(event, TextDelta | Done):
                    yield self._frame([self._choices[index].taken()])
                elif isinstance(event, Failed):
                    yield streams.frame(streams.failure(event, request))
                    return
        self._must_have_ended()
        if with_usage:
            yield self._frame([], self._counted())
        yield streams.frame("[DONE]")

    def _must_have_ended(self) -> None:
        if any(choice.finish_reason is None for choice in self._choices):
            raise RuntimeError("the events ended without an end")

    def _usage(self) -> Usage:
        """A prompt counts once, however often it is continued."""
        each = [choice.usage or Usage() for choice in self._choices]
        once = each[:: self._n]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in once),
            completion_tokens=sum(usage.completion_tokens for usage in each),
            cached_tokens=sum(usage.cached_tokens for usage in once),
            cpu_s=sum(usage.cpu_s for usage in each),
        )

    def _counted(self) -> ChatUsage:
        return ChatUsage(**usage_of(self._usage()))

    def _answer(self, choices: list[CompletionChoice], usage: ChatUsage | None = None) -> Completion:
        return Completion(id=self._id, created=self._created, model=self._asked.model, choices=choices, usage=usage)

    def _frame(self, choices: list[CompletionChoice], usage: ChatUsage | None = None) -> str:
        content = self._answer(choices, usage).model_dump(mode="json")
        if usage is None:
            del content["usage"]
        return streams.frame(streams.json_text(content))


async def _merged(sources: Sequence[AsyncIterator[Event]]) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of all streams as they come, each with the number of its stream.

    The first failure ends all; however it ends, every stream has let go of its model afterwards.
    """
    came: asyncio.Queue[tuple[int, Event | BaseException | None]] = asyncio.Queue()

    async def follow(index: int, source: AsyncIterator[Event]) -> None:
        end: BaseException | None = None
        try:
            async with streams.ended(source):
                async for event in source:
                    came.put_nowait((index, event))
        except Exception as error:
            end = error
        came.put_nowait((index, end))

    tasks = [asyncio.ensure_future(follow(i, source)) for i, source in enumerate(sources)]
    try:
        left = len(tasks)
        while left:
            index, event = await came.get()
            if event is None:
                left -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield index, event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
