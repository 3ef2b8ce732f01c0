"""The learning rate over the steps, as a share of its peak."""

import math
from typing import Literal

_COSINE_END = 0.1


def rate(step: int, steps: int, warmup: int, schedule: Literal["wsd", "cosine"], decay: float) -> float:
    """Share of the peak at `step` of 0 … steps - 1.

    Both rise in a line over `warmup` steps. wsd (Hu et al. 2024, MiniCPM, section 4) then stays at 1 and falls in a
    line towards 0 over the last `decay` share of the steps; cosine (Loshchilov and Hutter 2017, eq. 5) ends at a tenth.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "wsd":
        falling = max(1, round(steps * decay))
        return min(1.0, (steps - step) / falling)
    done = (step - warmup) / max(1, steps - warmup)
    return _COSINE_END + (1 - _COSINE_END) * 0.5 * (1 + math.cos(math.pi * done))
