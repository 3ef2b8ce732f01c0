"""Attention written out, for training on a CPU.

Shapes: B batch, T time, S looked at, H heads, G key-value heads, D head width.

PyTorch's fused attention for CPUs is made for inference: with rows of 512 tokens its backward pass took 40 % of a
training step in bfloat16. As dense products, one row of the batch at a time so that its scores stay in the cache, both
passes took 42 % of its processor time with rows of 256 and 512 tokens, 53 % with 1,024 (one thread of an AMD EPYC, Zen
5; 4 heads of 64). In float32, whose batched products are no faster than the fused ones, there was nothing to gain.
"""

from typing import Any

import torch

# The probabilities that are kept for the way back take H·T·S numbers a row and layer: not for long rows.
_LONGEST = 1024
# Not -inf: a row that may look nowhere (padding) then stays finite.
_NEVER = -1e30


def pays(q: torch.Tensor, k: torch.Tensor) -> bool:
    """Whether `dense_attention` is the faster way for these queries and keys."""
    return q.device.type == "cpu" and q.requires_grad and q.dtype == torch.bfloat16 and k.shape[-2] <= _LONGEST


def dense_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """softmax(QKᵀ·scale + mask)·V (Vaswani et al. 2017, eq. 1): (B, H, T, D) from k and v of (B, G, S, D).

    `mask` broadcasts to (B, H, T, S): of bool, True where a position may look, or of float and added.
    """
    if mask is not None:
        mask = _additive(mask, q.dtype)
        mask = mask.view(*(1,) * (4 - mask.ndim), *mask.shape)
    return _Dense.apply(q, k, v, mask, scale)


class _Dense(torch.autograd.Function):
    """The heads that share a key-value head lie one under the other: (G, H/G·T, D) looks at (G, S, D)."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float):
        batch, heads, time, width = q.shape
        groups, seen = k.shape[1], k.shape[2]
        mixed = q.new_empty(batch, heads, time, width)
        kept = q.new_empty(batch, heads, time, seen)
        for row in range(batch):
            queries = (q[row].contiguous() * scale).view(groups, -1, width)
            scores = torch.bmm(queries, k[row].transpose(1, 2)).view(heads, time, seen)
            if mask is not None:
                scores += mask[row if len(mask) > 1 else 0]
            torch.softmax(scores, dim=-1, out=kept[row])
            torch.bmm(kept[row].view(groups, -1, seen), v[row], out=mixed[row].view(groups, -1, width))
        ctx.save_for_backward(q, k, v, mask, kept)
        ctx.scale = scale
        return mixed

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, mask, kept = ctx.saved_tensors
        (batch, heads, time, width), (groups, seen) = q.shape, k.shape[1:3]
        by_q, by_k, by_v = (torch.empty(one.shape, dtype=one.dtype) for one in (q, k, v))
        by_mask = torch.zeros_like(mask) if ctx.needs_input_grad[3] else None
        for row in range(batch):
            p = kept[row].view(groups, -1, seen)
            slope = outer[0][row].reshape(groups, -1, width)
            torch.bmm(p.transpose(1, 2), slope, out=by_v[row])
            by_p = torch.bmm(slope, v[row].transpose(1, 2))
            # p ⊗ (by_p - Σ p·by_p): what the softmax makes of it.
            by_scores = torch.ops.aten._softmax_backward_data(by_p, p, -1, p.dtype)
            if by_mask is not None:
                into = by_mask[row if len(by_mask) > 1 else 0]
                into += by_scores.view(heads, time, seen).sum_to_size(into.shape)
            torch.bmm(by_scores, k[row], out=by_q[row].view(groups, -1, width))
            queries = (q[row].contiguous() * ctx.scale).view(groups, -1, width)
            torch.bmm(by_scores.transpose(1, 2), queries, out=by_k[row])
        return by_q.mul_(ctx.scale), by_k, by_v, by_mask, None


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask of bool (True: may look) as one of numbers to add to the scores; one of numbers in the type `dtype`."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, _NEVER)
    return mask.to(dtype)
