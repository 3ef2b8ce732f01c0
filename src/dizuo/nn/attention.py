"""Attention, the one implementation that all branches stand on.

Shapes: B batch, T time, S time of what is looked at, H heads, G key-value heads, D head width, C channels.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.nn.dense_attention import dense_attention, pays
from dizuo.nn.norm import RMSNorm
from dizuo.nn.rotary import Rotation, rotate


class KeyValues(Protocol):
    """The keys and values of earlier positions, kept so that a new token costs one step instead of all of them."""

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Stores `k` and `v` (B, G, T, D) of the new positions of a layer, then lets `q` (B, H, T, D) attend,
        causally, over all that is held. Returns (B, H, T, D)."""
        ...


class Attention(nn.Module):
    """Multi-head attention, softmax(QKᵀ/√D)·V (Vaswani et al. 2017, eq. 1).

    With fewer `kv_heads` than `heads` several query heads share a key-value head (Ainslie et al. 2023). Query, key
    and value are one matrix `qkv`: one product is faster than three. With `cross` the queries come from one sequence
    and keys and values from another, by the matrices `q` and `kv`.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_width: int | None = None,
        bias: bool = True,
        out_bias: bool | None = None,
        qk_norm_eps: float | None = None,
        scale: float | None = None,
        cross: bool = False,
        layer: int = 0,
    ) -> None:
        """`head_width` is C/H and `kv_heads` is H unless given. `bias` is that of query, key and value, and of the
        output too unless `out_bias` says otherwise. `qk_norm_eps` normalises queries and keys per head (Qwen3).
        `scale` stands for 1/√D (T5: 1). `layer` is the name under which a cache keeps this module's keys."""
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        self.head_width = head_width or channels // heads
        assert head_width or channels % heads == 0
        assert heads % self.kv_heads == 0
        self.layer = layer
        self.scale = 1 / math.sqrt(self.head_width) if scale is None else scale
        inner, kv = heads * self.head_width, 2 * self.kv_heads * self.head_width
        if cross:
            self.q = nn.Linear(channels, inner, bias=bias)
            self.kv = nn.Linear(channels, kv, bias=bias)
        else:
            self.qkv = nn.Linear(channels, inner + kv, bias=bias)
        if qk_norm_eps is not None:
            self.q_norm = RMSNorm(self.head_width, qk_norm_eps)
            self.k_norm = RMSNorm(self.head_width, qk_norm_eps)
        self.out = nn.Linear(inner, channels, bias=bias if out_bias is None else out_bias)
        self.normed = qk_norm_eps is not None

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None = None,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
        bias: torch.Tensor | None = None,
        cache: KeyValues | None = None,
    ) -> torch.Tensor:
        """Self-attention, (B, T, C) to (B, T, C).

        `mask` of bool, broadcast to (B, H, T, T), is True where a position may look (or it is of float and added to
        the scores). Without it every position looks everywhere. With `causal` each looks at itself and what is before,
        and a mask that is given says so too.
        `bias`, broadcast to (B, H, T, T), is added to the scores (T5). With a `cache`, x holds the new positions only
        and the cache decides what they see: mask, bias and causal are not used.
        """
        batch, time, _channels = x.shape
        heads, groups = self.heads, self.kv_heads
        qkv = self.qkv(x).view(batch, time, heads + 2 * groups, self.head_width)
        if self.normed:
            q, k, v = qkv.split((heads, groups, groups), dim=2)
            qkv = torch.cat((self.q_norm(q), self.k_norm(k), v), dim=2)
        if rotation is not None:  # queries and keys at once
            qk, v = qkv.split((heads + groups, groups), dim=2)
            q, k = rotate(qk, rotation).transpose(1, 2).split((heads, groups), dim=1)
            v = v.transpose(1, 2)
        else:
            q, k, v = qkv.transpose(1, 2).split((heads, groups, groups), dim=1)
        mixed = self._attend(q, k, v, mask, bias, causal) if cache is None else cache.attend(self.layer, q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, heads * self.head_width))

    def project(self, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, each (B, G, S, D), of a `memory` (B, S, C): for `cross`, step after step."""
        batch, time, _channels = memory.shape
        kv = self.kv(memory).view(batch, time, 2 * self.kv_heads, self.head_width).transpose(1, 2)
        k, v = kv.split(self.kv_heads, dim=1)
        return k, v

    def cross(
        self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Cross-attention of x (B, T, C) over what `project` made. `mask` broadcasts to (B, H, T, S)."""
        batch, time, _channels = x.shape
        q = self.q(x).view(batch, time, self.heads, self.head_width).transpose(1, 2)
        mixed = self._attend(q, k, v, mask, None, causal=False)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, self.heads * self.head_width))

    def _attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None,
        bias: torch.Tensor | None,
        causal: bool,
    ) -> torch.Tensor:
        if bias is not None:
            if causal and mask is None:
                mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
            mask = bias if mask is None else added(mask, bias)
        if pays(q, k):
            return dense_attention(q, k, v, mask, self.scale, causal)
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=causal and mask is None,
            scale=self.scale,
            enable_gqa=self.heads != self.kv_heads,
        )


def added(mask: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A mask of bool and a bias as one tensor to add to the scores."""
    if mask.dtype != torch.bool:
        return mask + bias
    return torch.where(mask, bias, torch.tensor(float("-inf"), dtype=bias.dtype, device=bias.device))


def document_mask(documents: torch.Tensor) -> torch.Tensor:
    """(B, T) numbers of documents to a mask (B, 1, T, T): causal, and only within one document."""
    time = documents.shape[1]
    causal = torch.ones(time, time, dtype=torch.bool, device=documents.device).tril()
    return (documents[:, None, :, None] == documents[:, None, None, :]) & causal
