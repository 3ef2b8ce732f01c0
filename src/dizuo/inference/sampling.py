"""The next token of each text of a batch: penalties, filters, and one draw from the request's own generator.

Shapes: B texts, V vocabulary. The order is that of the field's engines, but that a grammar comes first, which gives the
same: grammar, logit bias, penalties, temperature, min-p, top-k, top-p.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from dizuo.core.errors import UserError

# Candidates that are sorted for top-p. A row whose likeliest hold less than its top_p is sorted whole.
_TOP_P_CANDIDATES = 256
# Below it the likeliest token is taken: in float32 what is divided by so little is no number any more.
_LEAST_TEMPERATURE = 1e-5
# Each token is compared with every beginning of a stop string.
_STOP_CHARS = 1000


@dataclass(frozen=True)
class SamplingOptions:
    """How one text is continued. Raises UserError when a value is out of its range.

    The same seed and prompt give the same text, whatever runs beside it, as far as floating point goes: in a batch
    of another size a product may be summed in another order, and logits differ by about 1e-6. That can turn a choice
    between two tokens that are as likely as each other to six digits, and nothing else.
    """

    max_tokens: int | None = None  # None: up to the end of the context
    temperature: float = 1.0  # 0: always the likeliest token
    top_k: int = 0  # 0: all
    top_p: float = 1.0  # the likeliest tokens that together hold this share (Holtzman et al. 2020)
    min_p: float = 0.0  # tokens with at least this share of the likeliest one's probability (Nguyen et al. 2024)
    repetition_penalty: float = 1.0  # divides positive logits of tokens in prompt and text (Keskar et al. 2019)
    presence_penalty: float = 0.0  # taken off the logits of tokens in the text so far
    frequency_penalty: float = 0.0  # the same, times how often each stands there
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to the logits of these tokens
    stop: tuple[str, ...] = ()  # the text ends before the first of these
    seed: int | None = None
    logprobs: int | None = None  # log-probabilities of each token, and of this many of the likeliest ones
    prompt_logprobs: int | None = None  # the same for the tokens of the prompt
    json_schema: Mapping[str, Any] | str | None = None  # at most one of these three
    regex: str | None = None
    grammar: str | None = None  # Lark, as llguidance reads it

    def __post_init__(self) -> None:
        """Raises UserError that names the option, its value and its range."""
        _within("max_tokens", self.max_tokens, 0, None)
        _within("temperature", self.temperature, 0, 100)
        _within("top_k", self.top_k, 0, None)
        _within("top_p", self.top_p, 0, 1, above=True)
        _within("min_p", self.min_p, 0, 1)
        _within("repetition_penalty", self.repetition_penalty, 0, 100, above=True)
        _within("presence_penalty", self.presence_penalty, -100, 100)
        _within("frequency_penalty", self.frequency_penalty, -100, 100)
        _within("logprobs", self.logprobs, 0, 100)
        _within("prompt_logprobs", self.prompt_logprobs, 0, 100)
        for bias in self.logit_bias.values():
            _within("logit_bias", bias, -100, 100)
        if not all(self.stop):
            raise UserError("A stop string is empty. Leave it out.")
        if (longest := max(map(len, self.stop), default=0)) > _STOP_CHARS:
            raise UserError("A stop string has {n} characters; at most {most} are taken.", n=longest, most=_STOP_CHARS)
        if sum(one is not None for one in (self.json_schema, self.regex, self.grammar)) > 1:
            raise UserError("Give one of json_schema, regex and grammar, not several.")

    @property
    def constrained(self) -> bool:
        """Whether a schema, an expression or a grammar rules the text."""
        return not (self.json_schema is None and self.regex is None and self.grammar is None)


class Mask(Protocol):
    """What rules some tokens out (`inference/constrain.py`)."""

    def apply(self, logits: torch.Tensor) -> None:
        """Makes (V,) logits of tokens that may not come next -inf, in place."""
        ...


class Sampler:
    """What one text needs to choose its tokens: its options, its generator, and the tokens so far."""

    def __init__(self, options: SamplingOptions, prompt: Sequence[int], mask: Mask | None = None) -> None:
        self.options = options
        self._prompt = prompt
        self._mask = mask
        # Of its own, so that no other request moves it on.
        self._random = random.Random(options.seed)  # noqa: S311  # tokens, not secrets
        self._counts: torch.Tensor | None = None  # (V,) how often each token stands in the text so far
        self._seen: torch.Tensor | None = None  # (V,) bool, in prompt or text
        self._bias: tuple[torch.Tensor, torch.Tensor] | None = None
        if options.logit_bias:
            ids, biases = zip(*options.logit_bias.items(), strict=True)
            self._bias = torch.tensor(ids), torch.tensor(biases, dtype=torch.float32)
        self._counting = bool(options.presence_penalty or options.frequency_penalty)
        self._repeating = options.repetition_penalty != 1
        self.greedy = options.temperature < _LEAST_TEMPERATURE or options.top_k == 1
        self.adjusts = self._counting or self._repeating or self._bias is not None

    def restrict(self, logits: torch.Tensor) -> None:
        """The grammar on (V,) logits, in place. Raises what the grammar does, and changes nothing then."""
        if self._mask is not None:
            self._mask.apply(logits)

    def adjust(self, logits: torch.Tensor) -> None:
        """Bias and penalties on (V,) logits, in place."""
        options = self.options
        if self._bias is not None:
            logits.index_add_(0, *self._bias)
        if self._repeating:
            if self._seen is None:
                self._seen = torch.zeros(logits.shape[0], dtype=torch.bool)
                self._seen[torch.tensor(self._prompt)] = True
            scaled = torch.where(logits > 0, logits / options.repetition_penalty, logits * options.repetition_penalty)
            torch.where(self._seen, scaled, logits, out=logits)
        if self._counting:
            if self._counts is None:
                self._counts = torch.zeros(logits.shape[0])
            logits -= self._counts * options.frequency_penalty + (self._counts > 0) * options.presence_penalty

    def uniform(self) -> float:
        """The next number of this text's generator, in [0, 1)."""
        return self._random.random()

    def saw(self, token: int) -> None:
        """Counts a token that was chosen."""
        if self._counts is not None:
            self._counts[token] += 1
        if self._seen is not None:
            self._seen[token] = True


def choose(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int | None]:
    """A token for each row of logits (B, V), which are changed; None where a row holds numbers that are none."""
    for row, sampler in enumerate(samplers):  # all of them first: what raises leaves no logits adjusted
        sampler.restrict(logits[row])
    for row, sampler in enumerate(samplers):
        if sampler.adjusts:
            sampler.adjust(logits[row])
    best, chosen = logits.max(dim=-1)
    tokens: list[int | None] = chosen.tolist()
    drawn = [row for row, sampler in enumerate(samplers) if not sampler.greedy]
    if drawn:
        some = logits if len(drawn) == len(samplers) else logits[drawn]
        for row, token in zip(drawn, _draw(some, [samplers[row] for row in drawn]), strict=True):
            tokens[row] = token
    for row, finite in enumerate(best.isfinite().tolist()):
        if finite:
            samplers[row].saw(tokens[row] or 0)
        else:
            tokens[row] = None
    return tokens


def log_softmax_of(logits: torch.Tensor) -> torch.Tensor:
    """ln p of every token, (…, V) in float32, before penalties and temperature."""
    return torch.log_softmax(logits.float(), dim=-1)


def _draw(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    options = [sampler.options for sampler in samplers]
    temperatures = torch.tensor([one.temperature for one in options])[:, None]
    probabilities = torch.softmax(logits / temperatures, dim=-1)
    uniforms = [sampler.uniform() for sampler in samplers]
    tokens = [0] * len(options)
    # Each row goes the way of its own options, so that it draws the same whatever is beside it.
    filtered = [row for row, one in enumerate(options) if one.top_k or one.top_p < 1]
    whole = [row for row, one in enumerate(options) if not (one.top_k or one.top_p < 1)]
    if whole:
        some = probabilities[whole]
        least = torch.tensor([options[row].min_p for row in whole])[:, None] * some.amax(dim=-1, keepdim=True)
        some = some.masked_fill(some < least, 0)
        for row, token in zip(whole, _invert(some, [uniforms[row] for row in whole]), strict=True):
            tokens[row] = token
    for row in filtered:
        tokens[row] = _draw_filtered(probabilities[row], options[row], uniforms[row])
    return tokens


def _draw_filtered(probabilities: torch.Tensor, options: SamplingOptions, uniform: float) -> int:
    """A token of one row (V,) by top-k, top-p and min-p; only the candidates are sorted."""
    vocab_size = probabilities.shape[0]
    count = min(options.top_k or _TOP_P_CANDIDATES, vocab_size)
    kept, ids = probabilities.topk(count)
    if not options.top_k and float(kept.sum()) < options.top_p:
        kept, ids = probabilities.sort(descending=True)
    if options.top_k:
        kept = kept / kept.sum()  # top-p is a share of what top-k left
    if options.top_p < 1:
        before = kept.cumsum(0) - kept  # the first token is always kept
        kept = kept.masked_fill(before >= options.top_p, 0)
    if options.min_p:
        kept = kept.masked_fill(kept < options.min_p * kept[0], 0)
    return int(ids[_invert(kept[None], [uniform])[0]])


def _invert(weights: torch.Tensor, uniforms: Sequence[float]) -> list[int]:
    """The position where the running sum of (B, V) weights passes each uniform's share of the total."""
    sums = weights.double().cumsum(dim=-1)  # in float32 the tail of a large vocabulary would be lost
    targets = torch.tensor(uniforms, dtype=torch.float64)[:, None] * sums[:, -1:]
    found = torch.searchsorted(sums, targets, right=True)[:, 0]
    return found.clamp_(max=weights.shape[-1] - 1).tolist()


def _within(name: str, value: float | None, least: float, most: float | None, *, above: bool = False) -> None:
    if value is None:
        return
    if not value >= least or (above and value == least) or (most is not None and not value <= most):
        raise UserError(
            "{option} is {value!r}; it has to be {least} to {most}.",
            option=name,
            value=value,
            least=f"> {least}" if above else least,
            most="∞" if most is None else most,
        )
