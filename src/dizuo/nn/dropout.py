"""Dropout (Srivastava et al. 2014) whose noise can be fixed for one thread.

PyTorch draws from one generator for the whole process: threads that train side by side would draw in the order in
which they happen to run, and no run could be repeated.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F


class _Noise(threading.local):
    generator: torch.Generator | None = None


_noise = _Noise()


@contextmanager
def noise(seed: int, device: torch.device) -> Iterator[None]:
    """Within it, and in this thread, `dropout` draws the same for the same seed."""
    before = _noise.generator
    _noise.generator = torch.Generator(device).manual_seed(seed)
    try:
        yield
    finally:
        _noise.generator = before


def dropout(x: torch.Tensor, share: float, training: bool) -> torch.Tensor:
    """x with a `share` of its numbers set to 0 and the others scaled by 1/(1 - share); x itself when not training."""
    if not training or share == 0.0:
        return x
    if _noise.generator is None:
        return F.dropout(x, share)
    kept = torch.empty_like(x).bernoulli_(1 - share, generator=_noise.generator)
    return x * kept.div_(1 - share)
