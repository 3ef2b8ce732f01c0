"""Rotary position embeddings (Su et al. 2021). Shapes: B batch, T time, H heads, D head width."""

import math
from dataclasses import dataclass

import torch

# cos and signed sin of the angles m·θᵢ for the two halves of a head, each (B or 1, T, 1, D).
Rotation = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Llama3Scaling:
    """How Llama 3.1 stretches its wavelengths to texts longer than those it was first trained on
    (Grattafiori et al. 2024, section 3.4.2; the formula is the one of its published code)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int

    def stretch(self, frequencies: torch.Tensor) -> torch.Tensor:
        """Long waves are slowed by `factor`, short ones kept, and those between blended. (D/2,) to (D/2,)."""
        turns = self.original_positions * frequencies / (2 * math.pi)
        keep = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        keep = keep.clamp(0, 1)
        return keep * frequencies + (1 - keep) * frequencies / self.factor


def rotation(positions: torch.Tensor, width: int, theta: float, scaling: Llama3Scaling | None = None) -> Rotation:
    """The angles m·θ^(-2i/D) of Su et al. 2021, section 3.2.2, for `positions` (B, T) and heads of `width` D.

    Always float32: at position 1,000 bfloat16 would be wrong by whole turns of the shortest wave.
    """
    even = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    frequencies = 1.0 / theta ** (even / width)
    if scaling is not None:
        frequencies = scaling.stretch(frequencies)
    angles = (positions[..., None].float() * frequencies)[:, :, None, :]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: torch.Tensor, by: Rotation) -> torch.Tensor:
    """(B, T, H, D) with each pair (xᵢ, xᵢ₊D/2) turned by its angle (Su et al. 2021, eq. 34).

    The paper pairs neighbours; the Hugging Face layout pairs the halves, with the rows of the weights sorted so.
    """
    cos, sin = (part.to(x.dtype) for part in by)
    # A roll, not a chunk and a cat: six times as fast backwards, and twice as fast forwards.
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin
