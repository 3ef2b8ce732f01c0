"""The decoder: GPT-2 (Radford et al. 2019) and the Llama family (Touvron et al. 2023; Qwen2, Qwen3).

Shapes: B batch, T time, H heads, G key-value heads, D head width, C channels, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.nn.attention import Attention, KeyValues
from dizuo.nn.cross_entropy import linear_cross_entropy
from dizuo.nn.gated_silu import gated_silu
from dizuo.nn.norm import RMSNorm
from dizuo.nn.rotary import Llama3Scaling, Rotation, rotation

Family = Literal["gpt2", "llama", "qwen2", "qwen3"]


@dataclass(frozen=True)
class DecoderConfig:
    """The numbers that fix the shape of every weight, and how positions are told."""

    family: Family
    vocab_size: int
    channels: int
    layers: int
    heads: int
    hidden: int  # width of the feed-forward layer
    positions: int  # longest text in tokens
    kv_heads: int | None = None  # None: as many as heads
    head_width: int | None = None  # None: channels / heads
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: Llama3Scaling | None = None
    tied: bool = True  # the output matrix is the embedding
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    pad_id: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError with a sentence when sizes do not divide."""
        if self.head_width is None and self.channels % self.heads:
            raise ValueError(f"{self.channels} channels do not divide into {self.heads} heads")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"{self.heads} heads do not divide into {self.kv_heads} key-value heads")
        if self.rotary and self.width % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.width}")

    @property
    def rotary(self) -> bool:
        """Whether positions turn queries and keys; GPT-2 learns a vector for each position instead."""
        return self.family != "gpt2"

    @property
    def width(self) -> int:
        """D, the channels of one head."""
        return self.head_width or self.channels // self.heads

    @property
    def groups(self) -> int:
        """G, the number of key-value heads."""
        return self.kv_heads or self.heads


class Decoder(nn.Module):
    """Token ids to hidden states, and those to logits of the next token."""

    def __init__(self, config: DecoderConfig) -> None:
        """Random weights as in GPT-2: N(0, 0.02), those that end a residual branch smaller by √(2·layers)."""
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.channels)
        if not config.rotary:
            self.positions = nn.Embedding(config.positions, config.channels)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = _norm(config)
        self.head = nn.Linear(config.channels, config.vocab_size, bias=False)
        self._init()
        self.tie()

    def tie(self) -> None:
        """Makes the output matrix the embedding again where the config says so (after weights were assigned)."""
        if self.config.tied:
            self.head.weight = self.tokens.weight

    def forward(
        self,
        ids: torch.Tensor,
        *,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: KeyValues | None = None,
    ) -> torch.Tensor:
        """(B, T) ids to (B, T, C), after the last normalisation.

        `positions` (B, T) count from 0; without them 0 … T-1. `mask` (B, 1, T, T) of bool is True where a position may
        look; without it each looks at itself and what is before. With a `cache`, ids are the new positions only.
        """
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)[None]
        x = self.tokens(ids)
        turn = None
        if self.config.rotary:
            turn = rotation(positions, self.config.width, self.config.rope_theta, self.config.rope_scaling)
        else:
            x = x + self.positions(positions)
        for block in self.blocks:
            x = block(x, mask, turn, cache)
        return self.norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, C) to (…, V)."""
        return self.head(hidden)

    def loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum of -ln p(target), number of targets) for hidden (B, T, C) and targets (B, T), -100 where none is.

        Needs the memory of a piece of the logits only (`linear_cross_entropy`).
        """
        return linear_cross_entropy(hidden, self.head.weight, targets)

    def _init(self) -> None:
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                ends = name.endswith(("attention.out.weight", "feed.down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * self.config.layers) if ends else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed(norm(x))."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        gpt2 = config.family == "gpt2"
        self.attention_norm = _norm(config)
        self.attention = Attention(
            config.channels,
            config.heads,
            kv_heads=config.kv_heads,
            head_width=config.head_width,
            bias=gpt2 or config.family == "qwen2",
            out_bias=gpt2,
            qk_norm_eps=config.norm_eps if config.family == "qwen3" else None,
            layer=layer,
        )
        self.feed_norm = _norm(config)
        self.feed = Gelu(config.channels, config.hidden) if gpt2 else SwiGLU(config.channels, config.hidden)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None, turn: Rotation | None, cache: KeyValues | None
    ) -> torch.Tensor:
        """(B, T, C) to (B, T, C); the rest as in `Attention`."""
        x = x + self.attention(self.attention_norm(x), mask, causal=True, rotation=turn, cache=cache)
        return x + self.feed(self.feed_norm(x))


class SwiGLU(nn.Module):
    """(silu(xW) ⊗ xV)·W₂ (Shazeer 2020, eq. 6). W and V are one matrix, the gate first."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(channels, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) to (B, T, C)."""
        return self.down(gated_silu(self.gate_up(x)))


class Gelu(nn.Module):
    """gelu(xW + b)·W₂ + b₂ with the tanh form of the gelu (Hendrycks and Gimpel 2016, section 2), as GPT-2 has it."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(channels, hidden)
        self.down = nn.Linear(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) to (B, T, C)."""
        return self.down(F.gelu(self.up(x), approximate="tanh"))


def _norm(config: DecoderConfig) -> nn.Module:
    if config.family == "gpt2":
        return nn.LayerNorm(config.channels, eps=config.norm_eps)
    return RMSNorm(config.channels, config.norm_eps)
