"""A local model that continues texts, and what it shares with one that chats: options in, tokens out as events."""

import asyncio
import codecs
import json
import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from dizuo.core import effort
from dizuo.core.errors import DizuoError, ModelError, UserError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.core.messages import TokenLogprob, Usage
from dizuo.gateway.local_engines import Engines, sampling_options
from dizuo.gateway.local_folders import LocalFolder
from dizuo.gateway.local_spans import timed
from dizuo.gateway.options import checked_options

log = logging.getLogger(__name__)

# Options with the same name and meaning in the protocol and in the engine.
SAMPLING = frozenset(
    {
        "frequency_penalty", "max_tokens", "min_p", "presence_penalty", "repetition_penalty", "seed", "temperature",
        "top_k", "top_p",
    }
)  # fmt: skip
_OPTIONS = SAMPLING | {"echo", "logprobs", "response_format", "stop", "user"}
# What a model's own generation_config.json may say it is best asked with.
_DEFAULTS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_SEED_LIMIT = 1 << 63
_RULE_CHARS = 10_000  # of a regex or a grammar; a longer one can hold up everyone's next token for seconds


class LocalCompletionModel:
    """A decoder out of a folder of models (`core.protocols.CompletionModel`)."""

    def __init__(self, folder: LocalFolder, engines: Engines) -> None:
        self._folder = folder
        self._engines = engines

    @property
    def name(self) -> str:
        return self._folder.name

    async def complete(self, prompt: str | Sequence[int], **options: Any) -> AsyncGenerator[Event, None]:
        """As `core.protocols.CompletionModel` says."""
        checked = checked_options(options, _OPTIONS)
        echo, top = bool(checked.pop("echo", False)), checked.get("logprobs")
        sampling = sampling_of(self._folder, checked)
        if echo and top is not None:
            sampling["prompt_logprobs"] = top
        async with self._engines.lease_async(self._folder) as engine:
            ids, hidden = await asyncio.to_thread(_encoded, engine, prompt)
            if echo and (top is None or len(ids) == 0):
                yield TextDelta(text=prompt if isinstance(prompt, str) else engine.tokenizer.decode(ids, False))
            async with aclosing(events_of(engine, ids, sampling, hidden if echo else ())) as events:
                async for event in events:
                    yield event


async def events_of(
    engine: Any, ids: Sequence[int], sampling: Mapping[str, Any], hidden: Collection[int] = ()
) -> AsyncGenerator[Event, None]:
    """The continuation of a prompt as events. The slot is free as soon as the stream is closed.

    Tokens of the prompt at the positions `hidden` add no text. Raises UserError for what the engine refuses,
    ModelError for what fails before the first text; after that the stream ends with Failed.
    """
    spoke, unreported_s, tell = False, 0.0, effort.teller()
    texts = _TokenTexts()
    deltas = timed(_deltas(engine, ids, sampling))
    async with aclosing(deltas):
        try:
            async for delta in deltas:
                unreported_s = delta.cpu_s  # of the last one
                if delta.prompt_logprobs:
                    tokens = texts.of(delta.prompt_logprobs, hidden)
                    yield TextDelta(text="".join(token.text for token in tokens), tokens=tokens)
                if delta.text or delta.logprobs:
                    spoke = True
                    yield TextDelta(text=delta.text, tokens=texts.of(delta.logprobs))
                if delta.finish_reason is not None:
                    usage = Usage(
                        prompt_tokens=delta.prompt_tokens,
                        completion_tokens=delta.completion_tokens,
                        cpu_s=delta.cpu_s,
                    )
                    unreported_s = 0.0
                    yield UsageReported(usage=usage)
                    yield Done(finish_reason="length" if delta.finish_reason == "length" else "stop")
        except ModelError as error:
            log.warning("%s", error)
            if not spoke:
                raise
            yield Failed(code=error.code, message=str(error))
        finally:
            if unreported_s:
                tell(unreported_s)


async def _deltas(engine: Any, ids: Sequence[int], sampling: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
    loop = asyncio.get_running_loop()
    tell = effort.teller()  # now: a stream may be closed elsewhere than it began
    came: asyncio.Queue[Any] = asyncio.Queue()

    def deliver(delta: Any) -> None:  # in the engine's thread
        try:
            loop.call_soon_threadsafe(came.put_nowait, delta)
        except RuntimeError:  # the loop is closed: nobody reads any more
            return

    # In a thread: the first constraint of a model takes up to a second to compile.
    begun = asyncio.ensure_future(asyncio.to_thread(engine.generate, ids, sampling_options(sampling), deliver))
    try:
        generation = await asyncio.shield(begun)
    except asyncio.CancelledError:
        # Nobody waits any longer, but the thread goes on: what it begins must end.
        begun.add_done_callback(lambda done: None if done.exception() else done.result().cancel())
        raise
    ended = False
    try:
        while not ended:
            delta = await came.get()
            if isinstance(delta, DizuoError):
                raise delta
            ended = delta.finish_reason is not None
            yield delta
    finally:
        generation.cancel()  # nothing, where it has ended
        if not ended:  # what it took is else reported with its end
            tell(generation.cpu_s)


class _TokenTexts:
    """Tokens of the engine as those of core, each with the characters that it completes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, tokens: Sequence[Any], hidden: Collection[int] = ()) -> tuple[TokenLogprob, ...]:
        return tuple(self._one(token, at in hidden) for at, token in enumerate(tokens))

    def _one(self, token: Any, hidden: bool) -> TokenLogprob:
        return TokenLogprob(
            id=token.token_id,
            text="" if hidden else self._decoder.decode(token.token),
            raw=tuple(token.token),
            logprob=token.logprob,
            top=tuple(
                TokenLogprob(
                    id=one.token_id,
                    text=one.token.decode("utf-8", "replace"),
                    raw=tuple(one.token),
                    logprob=one.logprob,
                )
                for one in token.top
            ),
        )


def sampling_of(folder: LocalFolder, options: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's options for those of the protocol. What is not given is as the model's makers say."""
    sampling = _defaults(folder) | {name: value for name, value in options.items() if name in SAMPLING}
    if sampling.get("temperature", 1) == 0:
        sampling.pop("top_k", None)
    if "logprobs" in options:
        sampling["logprobs"] = options["logprobs"]
    stop = options.get("stop", ())
    sampling["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    if "seed" in sampling:
        sampling["seed"] %= _SEED_LIMIT
    return sampling | _format(options.get("response_format"))


def _defaults(folder: LocalFolder) -> dict[str, Any]:
    file = folder.path / "generation_config.json"
    try:
        said = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict) or said.get("do_sample") is not True:
        return {}
    found = {name: said[name] for name in _DEFAULTS if isinstance(said.get(name), int | float)}
    return found | ({"top_k": int(found["top_k"])} if "top_k" in found else {})  # some files say 50.0


def _format(wanted: Any) -> dict[str, Any]:
    """response_format: text, any JSON object, or JSON of a schema; beyond the protocol a regex or a grammar."""
    if wanted is None:
        return {}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    match kind:
        case "text":
            return {}
        case "json_object":
            return {"json_schema": {"type": "object"}}
        case "json_schema":
            described = wanted.get("json_schema")
            schema = described.get("schema") if isinstance(described, dict) else None
            if isinstance(schema, dict):
                return {"json_schema": schema}
        case "regex" | "grammar":
            if isinstance(wanted.get(kind), str) and len(wanted[kind]) <= _RULE_CHARS:
                return {kind: wanted[kind]}
        case _:
            pass
    raise UserError(
        "response_format is {value}; it must be one of {known}.",
        value=json.dumps(wanted, ensure_ascii=False)[:200],
        known='{"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": …}}, '
        f'{{"type": "regex", "regex": "…"}}, {{"type": "grammar", "grammar": "…"}} (at most {_RULE_CHARS} characters)',
        param="response_format",
    )


def _encoded(engine: Any, prompt: str | Sequence[int]) -> tuple[Sequence[int], set[int]]:
    """Token ids, and the positions of the marks that the tokenizer set by itself: they are no part of the text."""
    if not isinstance(prompt, str):
        return prompt, set()
    encoding = engine.tokenizer.encode(prompt)
    return encoding.ids, {at for at, mark in enumerate(encoding.special_tokens_mask) if mark}
