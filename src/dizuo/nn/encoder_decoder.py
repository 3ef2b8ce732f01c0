"""The encoder-decoder: the original Transformer (Vaswani et al. 2017) and T5 (Raffel et al. 2020).

Shapes: B batch, S time of the source, T time of the target, H heads, D head width, C channels, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.nn.attention import Attention, KeyValues
from dizuo.nn.cross_entropy import IGNORED, linear_cross_entropy
from dizuo.nn.dropout import dropout
from dizuo.nn.norm import RMSNorm
from dizuo.nn.positions import relative_buckets, sinusoids

Family = Literal["marian", "t5"]

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """The numbers that fix the shape of every weight.

    "marian" is the original Transformer: normalised after each residual (section 3.1), sinusoidal positions (3.5).
    "t5" normalises before each branch and without a mean, tells positions by a bias on the scores, and has no biases.
    """

    family: Family
    vocab_size: int
    channels: int
    layers: int  # of the encoder
    heads: int
    hidden: int  # width of the feed-forward layers
    positions: int = 512  # longest text in tokens
    decoder_layers: int | None = None  # None: as many as the encoder
    head_width: int | None = None  # None: channels / heads
    activation: str = "relu"  # a key of ACTIVATIONS
    gated: bool = False  # feed-forward layers multiply by a gate (Shazeer 2020; T5 v1.1)
    scaled_embedding: bool = True  # marian: embeddings times √C (section 3.4)
    scaled_output: bool = True  # t5: what is multiplied by the output matrix is scaled by 1/√C first
    tied: bool = True  # the output matrix is the embedding
    norm_eps: float = 1e-5
    buckets: int = 32  # t5: of relative positions
    max_distance: int = 128  # t5: from here on all distances share a bucket
    dropout: float = 0.0  # while training, of each branch and of the embeddings (Vaswani et al. 2017, section 5.4)
    pad_id: int = 0
    eos_id: int = 1
    start_id: int = 0  # what the decoder reads first

    def __post_init__(self) -> None:
        """Raises ValueError with a sentence when sizes do not divide or a name is unknown."""
        if self.head_width is None and self.channels % self.heads:
            raise ValueError(f"{self.channels} channels do not divide into {self.heads} heads")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is not one of {', '.join(ACTIVATIONS)}")

    @property
    def width(self) -> int:
        """D, the channels of one head."""
        return self.head_width or self.channels // self.heads


class EncoderDecoder(nn.Module):
    """Source ids to a memory, target ids and that memory to hidden states, those to logits of the next token."""

    logits_bias: torch.Tensor
    positions: torch.Tensor

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        t5 = config.family == "t5"
        self.tokens = nn.Embedding(config.vocab_size, config.channels)
        decoder_layers = config.layers if config.decoder_layers is None else config.decoder_layers
        self.encoder = nn.ModuleList(Layer(config, layer, decodes=False) for layer in range(config.layers))
        self.decoder = nn.ModuleList(Layer(config, layer, decodes=True) for layer in range(decoder_layers))
        self.encoder_norm = _norm(config) if t5 else nn.Identity()
        self.decoder_norm = _norm(config) if t5 else nn.Identity()
        if t5:
            self.encoder_distances = nn.Embedding(config.buckets, config.heads)
            self.decoder_distances = nn.Embedding(config.buckets, config.heads)
        self.head = nn.Linear(config.channels, config.vocab_size, bias=False)
        if not t5:
            # Fixed by whoever made a checkpoint; nothing trains it here.
            self.register_buffer("logits_bias", torch.zeros(1, config.vocab_size))
            self.register_buffer("positions", sinusoids(config.positions, config.channels), persistent=False)
        self._init()
        self.tie()

    def tie(self) -> None:
        """Puts right what a checkpoint does not hold (after its weights were assigned): the output matrix is the
        embedding again where the config says so, and sinusoids are numbers if they were on the meta device."""
        if self.config.tied:
            self.head.weight = self.tokens.weight
        if self.config.family == "marian" and self.positions.is_meta:
            self.positions = sinusoids(*self.positions.shape).to(self.tokens.weight)

    def forward(self, ids: torch.Tensor, target_ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Source (B, S) and the decoder's input (B, T), see `shifted`, to hidden states (B, T, C)."""
        return self.decode(target_ids, self.encode(ids, mask), mask)

    def encode(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, S) ids to the memory (B, S, C). `mask` (B, S) of bool is True where there is a token."""
        x = self._embed(ids, start=0)
        where = None if mask is None else mask[:, None, None, :]
        bias = None
        if self.config.family == "t5":
            at = torch.arange(ids.shape[1], device=ids.device)
            bias = self._bias(self.encoder_distances, at, at, both_ways=True)
        for layer in self.encoder:
            x = layer(x, where, bias)
        return self._drop(self.encoder_norm(x))

    def decode(
        self,
        ids: torch.Tensor,
        memory: torch.Tensor,
        memory_mask: torch.Tensor | None = None,
        cache: "StepCache | None" = None,
    ) -> torch.Tensor:
        """(B, T) ids of the target, beginning with `start_id`, to hidden states (B, T, C).

        `ids` may have n rows for each of the memory (B/n, S, C), those of one source together (beams). With a `cache`
        ids are the new positions only, and what a layer makes of the memory is kept from the first call on.
        """
        time, past = ids.shape[1], cache.length if cache else 0
        x = self._embed(ids, start=past)
        bias = None
        if self.config.family == "t5":
            at = torch.arange(past + time, device=ids.device)
            bias = self._bias(self.decoder_distances, at[past:], at, both_ways=False)
        if cache is not None:
            cache.begin(time, bias, x)
        where = None if memory_mask is None else memory_mask[:, None, None, :]
        for layer in self.decoder:
            x = layer(x, None, bias, cache, memory, where)
        return self._drop(self.decoder_norm(x))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, C) to (…, V)."""
        logits = self.head(self._scaled(hidden))
        return logits if self.config.family == "t5" else logits + self.logits_bias

    def loss(
        self, hidden: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum of the cross-entropies, number of targets) for hidden (B, T, C) and targets (B, T), -100 where none is.

        `smoothing` is the share of a target's probability that all words get alike (Szegedy et al. 2016, section 7;
        0.1 in Vaswani et al. 2017, section 5.4).
        """
        bias = None if self.config.family == "t5" else self.logits_bias[0]
        if not smoothing:
            return linear_cross_entropy(self._scaled(hidden), self.head.weight, targets, bias)
        kept = targets != IGNORED
        logits = self.logits(hidden[kept]).float()
        return F.cross_entropy(logits, targets[kept], reduction="sum", label_smoothing=smoothing), kept.sum()

    def shifted(self, targets: torch.Tensor) -> torch.Tensor:
        """Targets (B, T), -100 where none is, to what the decoder reads to say them: one later, after `start_id`."""
        ids = targets.roll(1, dims=1)
        ids[:, 0] = self.config.start_id
        return ids.masked_fill(ids == IGNORED, self.config.pad_id)

    def _embed(self, ids: torch.Tensor, start: int) -> torch.Tensor:
        config = self.config
        x = self.tokens(ids)
        if config.family == "marian":
            if config.scaled_embedding:
                x = x * math.sqrt(config.channels)
            end = start + ids.shape[1]
            if end > len(self.positions):
                raise ValueError(f"a text of {end} tokens is longer than the {len(self.positions)} positions")
            x = x + self.positions[start:end]
        return self._drop(x)

    def _bias(
        self, distances: nn.Embedding, queries: torch.Tensor, keys: torch.Tensor, *, both_ways: bool
    ) -> torch.Tensor:
        """(1, H, T, S), the same for all layers."""
        config = self.config
        buckets = relative_buckets(
            queries, keys, both_ways=both_ways, buckets=config.buckets, max_distance=config.max_distance
        )
        return distances(buckets).permute(2, 0, 1)[None]

    def _scaled(self, hidden: torch.Tensor) -> torch.Tensor:
        config = self.config
        return hidden * config.channels**-0.5 if config.family == "t5" and config.scaled_output else hidden

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return dropout(x, self.config.dropout, self.training)

    def _init(self) -> None:
        """Variances that keep the scale of activations: Glorot and Bengio 2010 (eq. 16), or T5's own."""
        config = self.config
        for module in self.modules():
            if isinstance(module, Attention | Feed):
                _init_linears(module, config)
        if config.family == "t5":
            nn.init.normal_(self.tokens.weight)
            nn.init.normal_(self.encoder_distances.weight, std=config.channels**-0.5)
            nn.init.normal_(self.decoder_distances.weight, std=config.channels**-0.5)
        else:
            nn.init.normal_(self.tokens.weight, std=config.channels**-0.5)
        nn.init.normal_(self.head.weight, std=config.channels**-0.5)


class Layer(nn.Module):
    """Attention, in the decoder also attention over the memory, and a feed-forward layer, each around a residual."""

    def __init__(self, config: EncoderDecoderConfig, index: int, *, decodes: bool) -> None:
        super().__init__()
        t5 = config.family == "t5"
        attention = partial(
            Attention,
            config.channels,
            config.heads,
            head_width=config.head_width,
            bias=not t5,
            scale=1.0 if t5 else None,
            layer=index,
        )
        self.decodes = decodes
        self.index = index
        self.attention = attention()
        self.attention_norm = _norm(config)
        if decodes:
            self.cross = attention(cross=True)
            self.cross_norm = _norm(config)
        self.feed = Feed(config)
        self.feed_norm = _norm(config)
        self.norm_first = t5
        self.dropout = config.dropout

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        cache: "StepCache | None" = None,
        memory: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, T, C) to (B, T, C); `mask` and `bias` as in `Attention`, the rest as in `EncoderDecoder.decode`."""
        x = self._around(
            x, self.attention_norm, partial(self.attention, mask=mask, bias=bias, causal=self.decodes, cache=cache)
        )
        if memory is not None:
            x = self._around(x, self.cross_norm, partial(self._look, memory=memory, mask=memory_mask, cache=cache))
        return self._around(x, self.feed_norm, self.feed)

    def _around(self, x: torch.Tensor, norm: nn.Module, branch: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        if self.norm_first:
            return x + dropout(branch(norm(x)), self.dropout, self.training)
        return norm(x + dropout(branch(x), self.dropout, self.training))

    def _look(
        self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None, cache: "StepCache | None"
    ) -> torch.Tensor:
        k, v = self.cross.project(memory) if cache is None else cache.memory(self.index, self.cross, memory)
        # Several rows for one source become more positions of one row: its keys are not copied for each.
        rows = x.reshape(len(memory), -1, x.shape[2])
        return self.cross.cross(rows, k, v, mask).reshape(x.shape)


class Feed(nn.Module):
    """max(0, xW₁ + b₁)W₂ + b₂ (Vaswani et al. 2017, eq. 2), or with another activation, or gated (Shazeer 2020)."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        bias = config.family == "marian"
        self.gated = config.gated
        self.up = nn.Linear(config.channels, config.hidden * (2 if config.gated else 1), bias=bias)  # the gate first
        self.down = nn.Linear(config.hidden, config.channels, bias=bias)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = config.dropout if config.family == "t5" else 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) to (B, T, C)."""
        x = self.up(x)
        if self.gated:
            gate, x = x.chunk(2, dim=-1)
            x = self.activation(gate) * x
        else:
            x = self.activation(x)
        return self.down(dropout(x, self.dropout, self.training))


class StepCache(KeyValues):
    """What `EncoderDecoder.decode` keeps from step to step: keys and values of the target, and of the memory."""

    def __init__(self) -> None:
        self.length = 0  # positions of the target that are held
        self._held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._memory: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._scores: torch.Tensor | None = None
        self._scale: float | None = None

    def begin(self, time: int, bias: torch.Tensor | None, x: torch.Tensor) -> None:
        """A step of `time` new positions begins. `bias` (1, H, T, past + T) is that of T5, which scales no scores."""
        past = self.length
        self._scores, self._scale = bias, None if bias is None else 1.0
        if time > 1:
            later = torch.ones(time, past + time, dtype=torch.bool, device=x.device).triu(past + 1)
            none = torch.zeros_like(later, dtype=x.dtype) if bias is None else bias
            self._scores = none.masked_fill(later, float("-inf"))
        self.length += time

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """As in `KeyValues`."""
        if layer in self._held:
            past_k, past_v = self._held[layer]
            k, v = torch.cat((past_k, k), dim=2), torch.cat((past_v, v), dim=2)
        self._held[layer] = k, v
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._scores, scale=self._scale)

    def memory(self, layer: int, cross: Attention, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values that a layer makes of the memory, made in the first step."""
        if layer not in self._memory:
            self._memory[layer] = cross.project(memory)
        return self._memory[layer]

    def select(self, rows: torch.Tensor) -> None:
        """Goes on with these rows (N,) of the target, each as often as it is named (beams)."""
        self._held = {layer: (k[rows], v[rows]) for layer, (k, v) in self._held.items()}

    def select_memory(self, rows: torch.Tensor) -> None:
        """Goes on with these sources (N,) of the memory."""
        self._memory = {layer: (k[rows], v[rows]) for layer, (k, v) in self._memory.items()}


def _norm(config: EncoderDecoderConfig) -> nn.Module:
    kind = RMSNorm if config.family == "t5" else nn.LayerNorm
    return kind(config.channels, eps=config.norm_eps)


def _init_linears(module: "Attention | Feed", config: EncoderDecoderConfig) -> None:
    for name, linear in module.named_children():
        assert isinstance(linear, nn.Linear)
        # A fused matrix part by part: each is a matrix of its own in the formulas.
        fused = config.heads * config.width if isinstance(module, Attention) else config.hidden
        parts = linear.weight.detach().split(linear.out_features if name in ("out", "down") else fused)
        if config.family == "marian":
            for part in parts:
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(linear.bias)
            continue
        for part in parts:
            nn.init.normal_(part, std=linear.in_features**-0.5)
        if name in ("q", "qkv"):  # scores are not divided by √D: the queries are smaller instead
            nn.init.normal_(parts[0], std=(config.channels * config.width) ** -0.5)
