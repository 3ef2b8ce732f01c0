"""Attention. Shapes: B batch, T time, H heads, D head width, C = H·D channels."""

import torch
import torch.nn.functional as F
from torch import nn


class SelfAttention(nn.Module):
    """Multi-head self-attention, softmax(QKᵀ/√D)·V (Vaswani et al. 2017, eq. 1), both ways in time.

    Query, key and value are one matrix: one product of 3C columns is faster than three of C.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        assert channels % heads == 0
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, C) to (B, T, C). `mask`, (B, 1, 1, T) of bool, is True where there is a token to look at;
        without it every position is one."""
        batch, time, channels = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, H, T, D)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, channels))
