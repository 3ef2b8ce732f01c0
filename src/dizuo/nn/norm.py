"""Normalisation by the root mean square (Zhang and Sennrich 2019)."""

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
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + self.eps)
        return (y.to(x.dtype) * self.weight).to(x.dtype)
