"""The BERT encoder (Devlin et al. 2019): learned positions, normalisation after each residual.

Shapes: B batch, T time, C channels, V vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.nn.attention import Attention


@dataclass(frozen=True)
class EncoderConfig:
    """The numbers that fix the shape of every weight."""

    vocab_size: int
    channels: int
    layers: int
    heads: int
    hidden: int  # width of the feed-forward layer
    positions: int  # longest text in tokens
    segments: int = 2
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        """Raises ValueError with a sentence when sizes do not divide."""
        if self.channels % self.heads:
            raise ValueError(f"{self.channels} channels do not divide into {self.heads} heads")


class Encoder(nn.Module):
    """Token ids to one vector a token."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.channels)
        self.positions = nn.Embedding(config.positions, config.channels)
        self.segments = nn.Embedding(config.segments, config.channels)
        self.norm = nn.LayerNorm(config.channels, eps=config.norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, T) ids to (B, T, C). `mask`, (B, T) of bool, is True where there is a token; without it everywhere.
        A mask (B, 1, T, T) says for each position where it looks (several documents packed in one row).

        `segments` (B, T) says which text of a pair a token belongs to, 0 or 1; without it all are in the first.
        `positions` (B, T) count from 0; without them 0 … T-1. What stands at masked positions of the result means
        nothing.
        """
        segment = self.segments.weight[0] if segments is None else self.segments(segments)
        place = self.positions.weight[: ids.shape[1]] if positions is None else self.positions(positions)
        x = self.norm(self.tokens(ids) + (place + segment))
        if mask is not None and mask.ndim == 2:
            mask = mask[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        return x


class Block(nn.Module):
    """Attention, then a feed-forward layer, each added to its input and normalised."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config.channels, config.heads)
        self.attention_norm = nn.LayerNorm(config.channels, eps=config.norm_eps)
        self.up = nn.Linear(config.channels, config.hidden)
        self.down = nn.Linear(config.hidden, config.channels)
        self.down_norm = nn.LayerNorm(config.channels, eps=config.norm_eps)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, C) to (B, T, C); `mask` as in `Attention`."""
        x = self.attention_norm(x + self.attention(x, mask))
        return self.down_norm(x + self.down(F.gelu(self.up(x))))


def mean_pool(x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """(B, T, C) to (B, C) of length 1: the mean over the positions that hold a token, scaled."""
    if mask is None:
        pooled = x.mean(dim=1)
    else:
        weights = mask.unsqueeze(-1).to(x.dtype)
        pooled = (x * weights).sum(dim=1) / weights.sum(dim=1)
    return F.normalize(pooled, dim=-1)
