"""Linear layers with their weights laid out once for the processor, for inference on a CPU."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.nn.encoder import Block, Encoder


class PackedLinear(nn.Module):
    """`nn.Linear` with its weight in oneDNN's blocked layout.

    PyTorch hands float32 products to MKL, which on AMD processors does not use AVX-512, and packs the weight anew in
    every call. Measured on 2 cores of an AMD EPYC (Zen 5), one thread: 6.3 ms to 2.8 ms for a query of 13 tokens, 1.8
    times the tokens a second in batches of 512 to 4,096. The operators are those that torch.compile emits; they are not
    public, which is why torch is pinned, and `pack` falls back to what it was given.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.float32) -> None:
        """`dtype` is what the factors of the product are rounded to; sums are float32 in any case."""
        super().__init__()
        # 64 is the number of rows that the layout is chosen for; any number is computed right.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype), 64)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, C) to (…, O) of the type of `x`, as `nn.Linear`."""
        return self.product(x).to(x.dtype)

    def product(self, x: torch.Tensor, gelu: bool = False) -> torch.Tensor:
        """The same in the type of the factors, its gelu on request: computed as the product is written."""
        # The exact form of the gelu, not that by tanh.
        after = ("gelu", "none") if gelu else ("none", "")
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.weight, self.bias, after[0], [], after[1])


class PackedBlock(nn.Module):
    """A block of the `Encoder` whose layers are packed, with less between them.

    What one product hands to the next stays in the type of the factors, and the gelu is done by the product before it:
    0.7 times the processor's time of the plain block with packed layers, in batches of 512 tokens in bfloat16.
    """

    def __init__(self, block: Block) -> None:
        """The block's linear layers are `PackedLinear`."""
        super().__init__()
        self._heads, self._scale = block.attention.heads, block.attention.scale
        layers = (block.attention.qkv, block.attention.out, block.up, block.down)
        self._qkv, self._out, self._up, self._down = (cast("PackedLinear", layer) for layer in layers)
        self._attention_norm, self._down_norm = block.attention_norm, block.down_norm

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, C) to (B, T, C), as the block's own."""
        batch, time, channels = x.shape
        qkv = self._qkv.product(x).view(batch, time, 3, self._heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self._scale)
        mixed = mixed.transpose(1, 2).reshape(batch, time, channels)
        x = self._attention_norm(x + self._out.product(mixed))
        return self._down_norm(x + self._down.product(self._up.product(x, gelu=True)))


def fastest_type() -> torch.dtype:
    """bfloat16 where the processor multiplies it, or else float32.

    Weights in bfloat16 are half as large, so that a small model's stay in the cache: 3.3 to 2.3 ms a query for
    all-MiniLM-L6-v2, whose vectors keep a cosine of 0.99996 to those in float32 (docs/log.md).
    """
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32


def pack(model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Replaces every linear layer of a model by its packed form, where this build of PyTorch and processor can."""
    if not torch.backends.mkldnn.is_available():
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                try:
                    packed = PackedLinear(child, dtype)
                    packed(child.weight.new_zeros(1, child.in_features))
                except (AttributeError, NotImplementedError, RuntimeError):
                    return  # plain layers and packed ones work side by side
                setattr(parent, name, packed)


def pack_encoder(encoder: Encoder, dtype: torch.dtype = torch.float32) -> None:
    """As `pack`, and the blocks become packed ones."""
    pack(encoder, dtype)
    for i, block in enumerate(encoder.blocks):
        assert isinstance(block, Block)
        layers = (block.attention.qkv, block.attention.out, block.up, block.down)
        if all(isinstance(layer, PackedLinear) for layer in layers):
            encoder.blocks[i] = PackedBlock(block)
