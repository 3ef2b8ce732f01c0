"""A Llama-family decoder rearranged for generation: the same numbers from fewer and faster operators.

At one token a step a small model spends as much time between the operators of PyTorch as in them. So the gain of each
normalisation is folded into the matrix that follows, query and key rows are sorted so that a rotation is one complex
product (the paper's own pairing: Su et al. 2021, eq. 34), residual sums and gates are done by the kernel of the
product where it can, and keys and values go into the cache in one write.

Shapes: N tokens, H heads, G key-value heads, D head width, C channels, V vocabulary.
"""

from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F

from dizuo.inference.linears import Float, product
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.norm import RMSNorm
from dizuo.nn.rotary import rotate, rotation


class FlatKeyValues(Protocol):
    """A cache that takes a token's query, keys and values as they stand in one row."""

    def attend_rows(self, layer: int, qkv: torch.Tensor, heads: int) -> torch.Tensor:
        """(N, H + 2G, D) to (N, H·D)."""
        ...


class FusedDecoder:
    """Computes what the `Decoder` that it was made from computes."""

    def __init__(self, decoder: Decoder, precision: str) -> None:
        """`precision` of the products is "float32", "bfloat16" or "int8". Takes llama, qwen2 and qwen3."""
        config = decoder.config
        assert config.rotary
        self.config = config
        self._embedding = decoder.tokens.weight.detach()
        self._turns = _turns(config)
        self._blocks = [_Block(block, config, precision) for block in decoder.blocks]
        self._head = _Normed(decoder.head.weight, None, cast(RMSNorm, decoder.norm), precision)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, cache: FlatKeyValues) -> torch.Tensor:
        """(N,) ids at (N,) positions to (N, C), before the last normalisation, which `logits` does."""
        x = F.embedding(ids, self._embedding)
        turns = self._turns[positions]
        for layer, block in enumerate(self._blocks):
            x = block.forward(x, turns, layer, cache)
        return x

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(M, C) to (M, V)."""
        return self._head.times(hidden)


class _Block:
    def __init__(self, block: Any, config: Any, precision: str) -> None:
        heads, groups, width = config.heads, config.groups, config.width
        self._heads, self._groups, self._width = heads, groups, width
        attention, feed = block.attention, block.feed
        sorted_rows = _pairs_side_by_side(heads, groups, width)
        bias = None if attention.qkv.bias is None else attention.qkv.bias.detach()[sorted_rows]
        self._qkv = _Normed(attention.qkv.weight[sorted_rows], bias, block.attention_norm, precision)
        self._out = product(attention.out.weight.detach(), _detached(attention.out.bias), precision)
        self._gains: torch.Tensor | None = None
        if attention.normed:
            pairs = sorted_rows[:width]
            q, k = attention.q_norm.weight.detach()[pairs], attention.k_norm.weight.detach()[pairs]
            self._gains = torch.cat((q.expand(heads, width), k.expand(groups, width)))  # (H + G, D)
        self._eps = torch.tensor(config.norm_eps)
        self._feed = _feed(feed.gate_up.weight, block.feed_norm, precision)
        self._down = product(feed.down.weight.detach(), None, precision)

    def forward(self, x: torch.Tensor, turns: torch.Tensor, layer: int, cache: FlatKeyValues) -> torch.Tensor:
        """(N, C) to (N, C)."""
        heads, groups = self._heads, self._groups
        qkv = self._qkv.times(x).view(-1, heads + 2 * groups, self._width)
        if self._gains is not None:
            qk = qkv[:, : heads + groups]
            qk.mul_(_inverse_rms(qk, self._eps)).mul_(self._gains)
        pairs = torch.view_as_complex(qkv.view(-1, heads + 2 * groups, self._width // 2, 2))
        pairs[:, : heads + groups].mul_(turns)
        x = self._out.added(cache.attend_rows(layer, qkv, heads), x)
        return self._down.added(self._feed.gated(x), x)


class _Normed:
    """norm(x)·Wᵀ + b with the gain of the norm folded into W, or kept apart where that would round W anew (int8)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, norm: RMSNorm, precision: str) -> None:
        gain = norm.weight.detach()
        self._gain = gain if precision == "int8" else None
        self._eps = torch.tensor(norm.eps)
        weight = weight.detach() if precision == "int8" else weight.detach() * gain
        self._product = product(weight, bias, precision)

    def times(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C) to (N, O)."""
        scale = _inverse_rms(x, self._eps)
        return self._product.times(x if self._gain is None else x * self._gain, scale)


class _Feed(Protocol):
    def gated(self, x: torch.Tensor) -> torch.Tensor:
        """silu(norm(x)W) ⊗ norm(x)V, (N, C) to (N, hidden)."""
        ...


class _FusedFeed:
    """Both products by oneDNN, which applies silu to the one and multiplies by it as it writes the other."""

    def __init__(self, gate: Float, up: Float, eps: float) -> None:
        self._gate, self._up, self._eps = gate, up, torch.tensor(eps)

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        """As in `_Feed`."""
        x = x * _inverse_rms(x, self._eps)
        return self._up.multiplied(x, self._gate.product(x, "swish"))


class _PlainFeed:
    def __init__(self, gate_up: _Normed) -> None:
        self._gate_up = gate_up

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        """As in `_Feed`."""
        gate, up = self._gate_up.times(x).chunk(2, dim=-1)
        return F.silu(gate).mul_(up)


def _feed(gate_up: torch.Tensor, norm: RMSNorm, precision: str) -> _Feed:
    if precision != "int8":
        parts = (gate_up.detach() * norm.weight.detach()).chunk(2)
        gate, up = (product(part.contiguous(), None, precision) for part in parts)
        if isinstance(gate, Float) and isinstance(up, Float):
            return _FusedFeed(gate, up, norm.eps)
    return _PlainFeed(_Normed(gate_up, None, norm, precision))


def _inverse_rms(x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """1/√(mean(x²) + ε) of the last dimension, kept (Zhang and Sennrich 2019, eq. 4)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()


def _turns(config: DecoderConfig) -> torch.Tensor:
    """(positions, 1, D/2) complex: what a pair is multiplied by at each position. The rotation itself, of ones."""
    half = config.width // 2
    ones = torch.zeros(1, config.positions, 1, config.width)
    ones[..., :half] = 1
    everywhere = torch.arange(config.positions)[None]
    turned = rotate(ones, rotation(everywhere, config.width, config.rope_theta, config.rope_scaling))[0]
    return torch.complex(turned[..., :half].contiguous(), turned[..., half:].contiguous())


def _pairs_side_by_side(heads: int, groups: int, width: int) -> torch.Tensor:
    """The order of the rows of qkv in which xᵢ stands beside xᵢ₊D/2 for queries and keys; scores stay the same."""
    pairs = torch.arange(width).view(2, -1).T.reshape(-1)
    turned = (torch.arange(heads + groups)[:, None] * width + pairs).reshape(-1)
    return torch.cat((turned, torch.arange((heads + groups) * width, (heads + 2 * groups) * width)))


def _detached(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach()
