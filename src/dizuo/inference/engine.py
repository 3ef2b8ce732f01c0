"""A decoder's checkpoint as a service for many texts at once: prompts in, tokens out as they come."""

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dizuo.core.errors import DizuoError, UserError
from dizuo.core.once import once
from dizuo.inference.constrain import Constraints
from dizuo.inference.detokenize import TextStream, TokenBytes
from dizuo.inference.kv import DecoderSlots, ForeignSlots, SlotCache, SlotModel
from dizuo.inference.quantize import arranged, precision_of
from dizuo.inference.sampling import SamplingOptions
from dizuo.inference.scheduler import Counts, Scheduler, Text, TokenDelta, TokenLogprob
from dizuo.nn.layout import read_json
from dizuo.nn.tokenizer import tokenizer_of

# Keys and values of all slots take no more than this; the context, then the slots, become fewer where they would.
_KV_LIMIT_BYTES = 4 << 30
_LEAST_SLOTS = 4
_MARKS = ("bos_token", "eos_token", "pad_token", "unk_token")
_UNLIMITED_CONTEXT_TOKENS = 2048  # of a model that names no limit (BLOOM)


class Generation:
    """One continuation on its way: iterate over its deltas as they come, or `wait` for all of it."""

    def __init__(self, cancel: Callable[[], None], cpu_s: Callable[[], float] = lambda: 0.0) -> None:
        self._cancel = cancel
        self._cpu_s = cpu_s
        self._deltas: queue.SimpleQueue[TokenDelta | DizuoError] = queue.SimpleQueue()
        self._ended = False

    def __iter__(self) -> Iterator[TokenDelta]:
        return self

    def __next__(self) -> TokenDelta:
        """Blocks until there is one. Raises what ended the text where that was an error."""
        if self._ended:
            raise StopIteration
        delta = self._deltas.get()
        if isinstance(delta, DizuoError):
            self._ended = True
            raise delta
        self._ended = delta.finish_reason is not None
        return delta

    def wait(self) -> TokenDelta:
        """The rest of the text as one delta."""
        parts = list(self)
        return replace(
            parts[-1],
            text="".join(one.text for one in parts),
            token_ids=tuple(token for one in parts for token in one.token_ids),
            logprobs=tuple(logprob for one in parts for logprob in one.logprobs),
            prompt_logprobs=tuple(logprob for one in parts for logprob in one.prompt_logprobs),
        )

    @property
    def cpu_s(self) -> float:
        """Its share of the engine's processor time so far, without the step in hand."""
        return self._cpu_s()

    def cancel(self) -> None:
        """Ends the text; its slot is free before the next step. The last delta says "cancelled"."""
        self._cancel()


@dataclass(frozen=True)
class _Loaded:
    model: SlotModel
    slots: int
    context_tokens: int
    eos_ids: tuple[int, ...]


class TextEngine:
    """Continues texts by the decoder of a checkpoint folder. Thread-safe.

    One thread computes, on one core: PyTorch's threads wait by spinning (see `inference/encoder.py`).
    """

    def __init__(self, folder: Path, *, slots: int = 32, max_tokens: int | None = None) -> None:
        """Loads the weights. `slots` texts at most are continued at once, others wait; a text with its prompt has at
        most `max_tokens` (as many as the model can read, where not given).

        Raises UserError when the folder is no decoder's checkpoint.
        """

        torch.set_num_threads(1)
        self.folder = folder
        self.tokenizer = tokenizer_of(folder)
        loaded = _load(folder, slots, max_tokens)
        self.context_tokens = loaded.context_tokens
        self.eos_ids = loaded.eos_ids
        self._vocab_size = loaded.model.vocab_size
        self._table = TokenBytes(self.tokenizer)
        self._scheduler = Scheduler(loaded.model, loaded.slots, self._table, loaded.eos_ids)

    @property
    def counts(self) -> Counts:
        """What the engine has done since it was opened."""
        return self._scheduler.counts

    @property
    def busy_slots(self) -> int:
        """How many texts are being continued now."""
        return self._scheduler.busy_slots

    def generate(
        self,
        prompt: str | Sequence[int],
        options: SamplingOptions | None = None,
        on_delta: Callable[[TokenDelta | DizuoError], None] | None = None,
    ) -> Generation:
        """Begins to continue a prompt. With `on_delta` each delta, or the error that ends the text, goes there from
        the engine's thread, which must not be held up, and iterating gives nothing.

        Raises UserError when the prompt is empty, has ids that are no tokens, or does not fit into the context with
        `max_tokens`; when stop strings or constraints are wrong.
        """
        options = options or SamplingOptions()
        ids = self.encode(prompt) if isinstance(prompt, str) else list(prompt)
        limit = self._checked(ids, options)
        constraint = self._constraints.compile(options) if options.constrained and limit else None
        generation = Generation(lambda: self._scheduler.cancel(text), lambda: text.cpu_s)
        text = Text(
            prompt=ids,
            options=options,
            limit=limit,
            deliver=on_delta or generation._deltas.put,
            stream=TextStream(self._table, options.stop),
            constraint=constraint,
        )
        self._scheduler.submit(text)
        return generation

    def generate_choices(self, prompt: str | Sequence[int], options: SamplingOptions, n: int) -> list[Generation]:
        """`n` continuations of one prompt, which is computed once. With a seed, each has the next one."""
        ids = self.encode(prompt) if isinstance(prompt, str) else list(prompt)
        seeds = [None if options.seed is None else options.seed + i for i in range(n)]
        return [self.generate(ids, replace(options, seed=seed)) for seed in seeds]

    def score(self, prompt: str | Sequence[int], top: int = 0) -> tuple[TokenLogprob, ...]:
        """ln p of every token of a prompt, and of the `top` likeliest at each place. Blocking."""
        return self.generate(prompt, SamplingOptions(max_tokens=0, prompt_logprobs=top)).wait().prompt_logprobs

    def encode(self, text: str) -> list[int]:
        """Token ids, with the marks that the tokenizer sets around a text (BOS, where it has one)."""
        return self.tokenizer.encode(text).ids

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """A conversation as token ids, up to where the assistant's answer begins.

        Raises UserError when the checkpoint has no chat template or the template refuses the messages.
        """
        from dizuo.nn.chat import CHAT_TEMPLATE, encode_chat, encode_with_template

        template, marks = self._template
        if template is None:
            raise UserError(
                "The checkpoint {folder} has no chat template; it continues texts only.", folder=self.folder
            )
        if template == CHAT_TEMPLATE:
            return encode_chat(self.tokenizer, messages, tools or (), add_generation_prompt=True)[0]
        return encode_with_template(self.tokenizer, template, messages, tools or (), **marks)

    def close(self) -> None:
        """Ends all texts and lets go of the weights. Returns when the thread is gone."""
        self._scheduler.close()

    @once
    def _template(self) -> tuple[str | None, dict[str, Any]]:
        """The chat template, and the marks such as `bos_token` that templates ask for."""
        told = self.folder / "tokenizer_config.json"
        config = read_json(told) if told.is_file() else {}
        marks = {key: one["content"] if isinstance(one, dict) else one for key, one in config.items() if key in _MARKS}
        file = self.folder / "chat_template.jinja"
        template = file.read_text("utf-8") if file.is_file() else config.get("chat_template")
        if isinstance(template, list):  # several by name
            template = next((one["template"] for one in template if one["name"] == "default"), None)
        return template, marks

    @once
    def _constraints(self) -> Constraints:
        return Constraints(self.tokenizer, self._vocab_size, self.eos_ids)

    def _checked(self, ids: Sequence[int], options: SamplingOptions) -> int:
        """Most tokens to generate."""
        if not ids:
            raise UserError("The prompt is empty. Give at least one token.")
        for token in (min(ids), max(ids), *options.logit_bias):
            if not 0 <= token < self._vocab_size:
                raise UserError(
                    "{token} is no token of this model; it has 0 to {last}.", token=token, last=self._vocab_size - 1
                )
        room = self.context_tokens - len(ids)
        if room < (0 if options.max_tokens == 0 else 1):
            raise UserError(
                "The prompt has {tokens} tokens; this model reads at most {limit}, its answer included. Shorten it.",
                tokens=len(ids),
                limit=self.context_tokens,
            )
        if options.max_tokens is None:
            return room
        if options.max_tokens > room:
            raise UserError(
                "The prompt has {tokens} tokens and max_tokens is {max_tokens}: {total} together, but this model's "
                "context is {limit}. Ask for at most {room}.",
                tokens=len(ids),
                max_tokens=options.max_tokens,
                total=len(ids) + options.max_tokens,
                limit=self.context_tokens,
                room=room,
            )
        return options.max_tokens


def _load(folder: Path, slots: int, max_tokens: int | None) -> _Loaded:
    from dizuo.nn.checkpoint import is_native, load_model
    from dizuo.nn.decoder import Decoder

    if not is_native(folder):
        from dizuo.inference.foreign import load_foreign

        foreign = load_foreign(folder)
        context = min(foreign.config.positions or _UNLIMITED_CONTEXT_TOKENS, max_tokens or 1 << 62)
        return _Loaded(ForeignSlots(foreign), slots, context, foreign.config.eos_ids)
    decoder = load_model(folder)
    if not isinstance(decoder, Decoder):
        raise UserError(
            "The checkpoint {folder} is a {kind}, which does not continue texts.",
            folder=folder,
            kind=type(decoder).__name__,
        )
    config = decoder.config
    context = min(config.positions, max_tokens or config.positions)
    per_token = SlotCache.bytes_per_token(config)
    context = min(context, max(_KV_LIMIT_BYTES // (_LEAST_SLOTS * per_token), 1))
    slots = max(min(slots, _KV_LIMIT_BYTES // (context * per_token)), 1)
    decoder.config = replace(config, positions=context)  # angles are laid out for what is read only
    return _Loaded(
        DecoderSlots(arranged(decoder.requires_grad_(False), precision_of(folder)), slots, context),
        slots,
        context,
        config.eos_ids,
    )
