"""Products with weights that are laid out once for the processor: float32, bfloat16, or int8.

Shapes: N tokens, I inputs, O outputs.
"""

import threading
import warnings
from typing import Protocol

import torch
import torch.nn.functional as F

from dizuo.nn.int8 import scales_of

# Smallest divisor of a row; a row of zeros stays one.
_TINY = 1e-30


class Product(Protocol):
    """x·Wᵀ + b in the forms that a block of a decoder needs. Results are float32."""

    def times(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """(N, I) to (N, O); rows times `scale` (N, 1) before the bias, where there is one."""
        ...

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """`residual` (N, O) + times(x)."""
        ...


class Float:
    """Weights in oneDNN's blocked layout (see `inference/packed.py`); sums are float32 in any case."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        # 64 is the number of rows that the layout is chosen for; any number is computed right.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), 64)
        self._bias = None if bias is None else bias.to(dtype)
        self._dtype = dtype

    def times(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """As in `Product`."""
        if scale is not None:
            x = x * scale
        return self.product(x, "none").float()

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """As in `Product`."""
        if self._dtype != torch.float32:  # the sum of a whole text's layers stays float32
            return residual + self.product(x, "none")
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")

    def product(self, x: torch.Tensor, after: str) -> torch.Tensor:
        """The product in the type of the weights, followed by "none" or "swish"."""
        return torch.ops.mkldnn._linear_pointwise(x.to(self._dtype), self._weight, self._bias, after, [], "")

    def multiplied(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The product times `other` (N, O)."""
        return torch.ops.mkldnn._linear_pointwise.binary(x.to(self._dtype), other, self._weight, self._bias, "mul")


class Plain:
    """Weights as they are, where this build of PyTorch has no oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def times(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """As in `Product`."""
        return F.linear(x if scale is None else x * scale, self._weight, self._bias)

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """As in `Product`."""
        return residual + F.linear(x, self._weight, self._bias)


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.rows: dict[int, torch.Tensor] = {}


class Int8:
    """int8 weights with a scale a row, times activations that are rounded to 8 bits token by token; sums are int32.

    FBGEMM's kernel chooses one scale for all rows it is given. Each row is therefore brought to a largest magnitude
    of 1 first, and a constant row beside them holds -1 and 1: the kernel's scale is always 2/255, and a token's result
    does not depend on what else is in the batch, to the last digit.
    """

    _scratch = _Scratch()

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        scales = scales_of(weight)
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():  # tensors of such a type are to go; the kernel takes no other, torch is pinned
            warnings.simplefilter("ignore", UserWarning)
            rounded = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        previous = torch.backends.quantized.engine
        torch.backends.quantized.engine = "x86"
        try:
            self._packed = torch.ops.quantized.linear_prepack(rounded, None)
        finally:
            torch.backends.quantized.engine = previous
        self._bias = bias

    def times(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """As in `Product`."""
        largest = x.abs().amax(dim=-1, keepdim=True).clamp_min_(_TINY)  # three times as fast as the norm ∞
        rows = self._rows(x.shape[0], x.shape[1])
        torch.div(x, largest, out=rows[1:])
        # The last argument is for processors whose 8-bit sums can overflow; `fast_int8` keeps those away.
        y = torch.ops.quantized.linear_dynamic(rows, self._packed, False)[1:]
        y.mul_(largest if scale is None else largest * scale)
        return y if self._bias is None else y.add_(self._bias)

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """As in `Product`."""
        return self.times(x).add_(residual)

    def _rows(self, count: int, width: int) -> torch.Tensor:
        """(1 + N, I), the first row the constant one; memory that this thread uses again."""
        rows = self._scratch.rows.get(width)
        if rows is None or len(rows) <= count:
            rows = torch.zeros(max(count + 1, 64), width)
            rows[0, 0], rows[0, 1] = -1, 1
            self._scratch.rows[width] = rows
        return rows[: count + 1]


def fast_int8() -> bool:
    """Whether the processor multiplies 8-bit numbers (VNNI) and this build of PyTorch has the kernel for it."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_vnni") or can.get("avx_vnni")) and "x86" in torch.backends.quantized.supported_engines


def product(weight: torch.Tensor, bias: torch.Tensor | None, precision: str) -> Product:
    """A weight (O, I) laid out in "float32", "bfloat16" or "int8"."""
    if precision == "int8":
        return Int8(weight, bias)
    if not torch.backends.mkldnn.is_available():
        return Plain(weight, bias)
    return Float(weight, bias, torch.float32 if precision == "float32" else torch.bfloat16)
