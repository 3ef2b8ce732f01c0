"""Cross-entropy over a vocabulary without the logits of all positions at once.

Shapes: N positions, C channels, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F

IGNORED = -100  # a target at which nothing is to be learnt, as in PyTorch
# Numbers of one piece of logits: 8 M are 32 MB of float32. Larger pieces were not faster on a CPU.
_CHUNK_NUMBERS = 8 << 20
# A CPU turns logits to slopes in parts that stay in its cache (2 MB of float32): 0.76 of the time for the whole loss in
# bfloat16 (8,192 entries, one thread of an Intel Xeon with AMX). A GPU takes the piece at once.
_CACHED_NUMBERS = 1 << 19


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of -ln p(target) in float32, number of targets that count), both scalars.

    `hidden` (…, C), `weight` (V, C), `targets` (…) of ids or -100. The logits of a piece of the positions exist at a
    time; their gradient is softmax minus one-hot, so it is known as soon as they are and is turned at once into those
    of `hidden` and `weight`: nothing is computed twice (as in Hsu et al. 2024, Liger Kernel, section 3.2).
    """
    rows, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    kept = wanted != IGNORED
    count = kept.sum()
    if hidden.device.type == "cpu" and int(count) < len(wanted):  # a GPU would have to wait for the number
        rows, wanted = rows[kept], wanted[kept]
    learning = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    if torch.is_autocast_enabled(hidden.device.type):
        rows = rows.to(torch.get_autocast_dtype(hidden.device.type))
    if learning:
        return _LinearCrossEntropy.apply(rows, weight, bias, wanted), count
    total, *_gradients = _in_pieces(rows, weight, bias, wanted, (False, False, False))
    return total, count


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, wanted: torch.Tensor):
        total, *gradients = _in_pieces(rows, weight, bias, wanted, ctx.needs_input_grad[:3])
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *(None if one is None else one * outer[0].to(one.dtype) for one in ctx.saved_tensors), None


def _in_pieces(
    rows: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    wanted: torch.Tensor,
    needed: tuple[bool, bool, bool],
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """The sum, and its gradients by rows, weight and bias where they are needed."""
    with torch.autocast(rows.device.type, enabled=False):
        factor = weight.to(rows.dtype)
        offset = None if bias is None else bias.to(rows.dtype)
        total = rows.new_zeros((), dtype=torch.float32)
        by_rows = torch.empty_like(rows) if needed[0] else None
        by_weight = torch.zeros_like(weight) if needed[1] else None
        by_bias = torch.zeros_like(bias) if bias is not None and needed[2] else None
        learning = any(needed)
        step = max(1, _CHUNK_NUMBERS // len(weight))
        part = max(1, _CACHED_NUMBERS // len(weight)) if rows.device.type == "cpu" else step
        for start in range(0, len(rows), step):
            piece, targets = rows[start : start + step], wanted[start : start + step]
            slope = F.linear(piece, factor, offset)  # logits until its parts are overwritten
            for at in range(0, len(piece), part):
                asked = targets[at : at + part]
                logs = slope[at : at + part].float().log_softmax(dim=-1)
                total += F.nll_loss(logs, asked, ignore_index=IGNORED, reduction="sum")
                if learning:
                    slope[at : at + part] = _less_one_hot(logs.exp_(), asked)
            if by_bias is not None:
                by_bias += slope.sum(0, dtype=torch.float32)
            if by_rows is not None:
                torch.mm(slope, factor, out=by_rows[start : start + step])
            if by_weight is not None:
                if by_weight.dtype == slope.dtype:
                    by_weight.addmm_(slope.T, piece)
                else:
                    by_weight += slope.T @ piece
    return total, by_rows, by_weight, by_bias


def _less_one_hot(chances: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Softmax minus one-hot, in place; 0 where a target is ignored."""
    index = targets.clamp(min=0)[:, None]
    chances.scatter_add_(1, index, chances.new_full((), -1.0).expand(len(index), 1))
    kept = targets != IGNORED
    if chances.device.type != "cpu" or not bool(kept.all()):  # a GPU would have to wait for the answer
        chances *= kept[:, None]
    return chances
