"""silu(a) ⊗ b, the middle of SwiGLU (Shazeer 2020, eq. 6), with a backward pass that writes both halves in place.

Autograd's own puts the halves together by a copy and keeps silu(a) too.
"""

from typing import Any

import torch
import torch.nn.functional as F


def gated_silu(both: torch.Tensor) -> torch.Tensor:
    """(…, 2·H) with the gate first, to (…, H)."""
    if both.requires_grad and not torch.compiler.is_compiling():
        return _GatedSilu.apply(both)
    gate, up = both.chunk(2, dim=-1)
    return F.silu(gate) * up


class _GatedSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: torch.Tensor):
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        slopes = torch.empty_like(both)
        by_gate, by_up = slopes.chunk(2, dim=-1)
        torch.mul(outer[0], F.silu(gate), out=by_up)
        torch.ops.aten.silu_backward.grad_input(outer[0] * up, gate, grad_input=by_gate)
        return slopes
