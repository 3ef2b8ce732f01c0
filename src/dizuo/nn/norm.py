"""Normalisation by the root mean square (Zhang and Sennrich 2019)."""

from typing import Any

import torch
from torch import nn


class RMSNorm(nn.Module):
    """x / √(mean(x²) + ε) · g (Zhang and Sennrich 2019, eq. 4), the mean taken in float32 whatever x is.

    Unlike `nn.RMSNorm` it takes x in another type than its weight, as it comes under autocast.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, C) to (…, C) of the type of x."""
        if torch.is_grad_enabled() and x.device.type == "cpu" and not torch.compiler.is_compiling():
            return _RMSNorm.apply(x, self.weight, self.eps)
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + self.eps)
        return (y.to(x.dtype) * self.weight).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """The same with fewer passes over x, which is what it costs on a CPU.

    With u = x·r, r = 1/√(mean(x²) + ε) and s the slope times g: the slope of x is r·(s - u·mean(s·u)).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float):
        y = x.float()
        r = torch.rsqrt(torch.linalg.vector_norm(y, dim=-1, keepdim=True).square_().div_(y.shape[-1]).add_(eps))
        y = y * r
        ctx.save_for_backward(y, r, weight)
        return (y.to(x.dtype) * weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        y, r, weight = ctx.saved_tensors
        slope = outer[0].float()
        by_weight = by_x = None
        if ctx.needs_input_grad[1]:
            by_weight = (slope * y).flatten(0, -2).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            scaled = slope * weight
            mean = (scaled * y).mean(dim=-1, keepdim=True)
            by_x = scaled.addcmul_(y, mean, value=-1.0).mul_(r).to(outer[0].dtype)
        return by_x, by_weight, None
