"""Attention written out, for training on a CPU.

Shapes: B batch, T time, S looked at, H heads, G key-value heads, D head width.

PyTorch's fused attention for CPUs is made for inference: with rows of 512 tokens its backward pass took 40 % of a
training step in bfloat16. As dense products, one row of the batch at a time so that its scores stay in the cache, both
passes took 42 % of its processor time with rows of 256 and 512 tokens, 53 % with 1,024 (one thread of an AMD EPYC, Zen
5; 4 heads of 64). By key-value head, and where it is causal by blocks of queries that leave out what is after them,
they take 0.78 and 0.74 of that again (512 and 1,024 tokens, an Intel Xeon with AMX). Where it is not causal, products
over the whole batch at once take 0.36, 0.54, 0.65 and 0.82 of the time by rows (12 heads of 32 with 144 and 320 tokens,
4 heads of 64 with 512 and 1,024; the same Xeon). In float32, whose batched products are no faster than the fused ones,
there was nothing to gain.
"""

from collections.abc import Iterator
from typing import Any

import torch

# The probabilities that are kept for the way back take H·T·S numbers a row and layer: not for long rows.
_LONGEST = 1024
# Queries of a causal row that are taken together. 128 and 512 were slower.
_BLOCK = 256
# Not -inf: a row that may look nowhere (padding) then stays finite.
_NEVER = -1e30


def pays(q: torch.Tensor, k: torch.Tensor) -> bool:
    """Whether `dense_attention` is the faster way for these queries and keys."""
    return q.device.type == "cpu" and q.requires_grad and q.dtype == torch.bfloat16 and k.shape[-2] <= _LONGEST


def dense_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float, causal: bool = False
) -> torch.Tensor:
    """softmax(QKᵀ·scale + mask)·V (Vaswani et al. 2017, eq. 1): (B, H, T, D) from k and v of (B, G, S, D).

    `mask` broadcasts to (B, H, T, S): of bool, True where a position may look, or of float and added. `causal` says
    that nobody looks at what is after, whatever the mask allows; S is T then.
    """
    if causal and mask is None:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    if mask is not None:
        mask = _additive(mask, q.dtype)
        mask = mask.view(*(1,) * (4 - mask.ndim), *mask.shape)
    return _Causal.apply(q, k, v, mask, scale, _BLOCK) if causal else _whole(q, k, v, mask, scale)


def _whole(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float) -> torch.Tensor:
    shared = q.shape[1] // k.shape[1]
    if shared > 1:
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
    scores = torch.matmul(q * scale, k.transpose(-1, -2))
    return torch.matmul(torch.softmax(scores if mask is None else scores + mask, dim=-1), v)


class _Causal(torch.autograd.Function):
    """The H/G heads that share a key-value head lie one under the other: (H/G·n, D) looks at (S, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
        block: int,
    ):
        width = q.shape[-1]
        mixed = torch.empty(q.shape, dtype=q.dtype)
        kept = []
        for row, group, heads in _groups(q, k):
            queries = q[row, heads] * scale
            keys, values = k[row, group].t(), v[row, group]
            for at, seen in _blocks(q, k, block):
                scores = torch.mm(queries[:, at].reshape(-1, width), keys[:, seen])
                if mask is not None:
                    scores.view(len(queries), -1, scores.shape[-1]).add_(_part(mask, row, heads, at, seen))
                kept.append(torch.softmax(scores, dim=-1))
                mixed[row, heads, at] = torch.mm(kept[-1], values[seen]).view(len(queries), -1, width)
        ctx.save_for_backward(q, k, v, mask, *kept)
        ctx.scale, ctx.block = scale, block
        return mixed

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, mask, *kept = ctx.saved_tensors
        width = q.shape[-1]
        by_q, by_k, by_v = (torch.empty(one.shape, dtype=one.dtype) for one in (q, k, v))
        by_mask = torch.zeros_like(mask) if ctx.needs_input_grad[3] else None
        blocks = list(_blocks(q, k, ctx.block))
        for row, group, heads in reversed(list(_groups(q, k))):
            queries = q[row, heads] * ctx.scale
            for number in reversed(range(len(blocks))):  # the last looks at all keys
                at, seen = blocks[number]
                p = kept.pop()
                slope = outer[0][row, heads, at].reshape(-1, width)
                by_p = torch.mm(slope, v[row, group, seen].t())
                # p ⊗ (by_p - Σ p·by_p): what the softmax makes of it.
                by_scores = torch.ops.aten._softmax_backward_data(by_p, p, -1, p.dtype)
                if by_mask is not None:
                    into = _part(by_mask, row, heads, at, seen)
                    into += by_scores.view(len(queries), -1, by_scores.shape[-1]).sum_to_size(into.shape)
                by_q[row, heads, at] = torch.mm(by_scores, k[row, group, seen]).view(len(queries), -1, width)
                by_keys = torch.mm(by_scores.t(), queries[:, at].reshape(-1, width))
                by_values = torch.mm(p.t(), slope)
                if number == len(blocks) - 1:
                    by_k[row, group], by_v[row, group] = by_keys, by_values
                else:
                    by_k[row, group, seen] += by_keys
                    by_v[row, group, seen] += by_values
        return by_q.mul_(ctx.scale), by_k, by_v, by_mask, None, None


def _groups(q: torch.Tensor, k: torch.Tensor) -> Iterator[tuple[int, int, slice]]:
    """(row, key-value head, its query heads) of each."""
    shared = q.shape[1] // k.shape[1]
    for row in range(q.shape[0]):
        for group in range(k.shape[1]):
            yield row, group, slice(group * shared, (group + 1) * shared)


def _blocks(q: torch.Tensor, k: torch.Tensor, block: int) -> Iterator[tuple[slice, slice]]:
    """(queries, the keys that they look at) of each block."""
    time = q.shape[-2]
    for start in range(0, time, block):
        end = min(start + block, time)
        yield slice(start, end), slice(0, k.shape[-2] if end == time else end)


def _part(mask: torch.Tensor, row: int, heads: slice, at: slice, seen: slice) -> torch.Tensor:
    """What of a mask (B or 1, H or 1, T or 1, S or 1) belongs to these."""
    whole = slice(None)
    return mask[
        row if mask.shape[0] > 1 else 0,
        heads if mask.shape[1] > 1 else whole,
        at if mask.shape[2] > 1 else whole,
        seen if mask.shape[3] > 1 else whole,
    ]


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask of bool (True: may look) as one of numbers to add to the scores; one of numbers in the type `dtype`."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, _NEVER)
    return mask.to(dtype)
