"""Positions without learned vectors: sinusoids, and buckets of relative distance. C channels, T and S time."""

import math

import torch


def sinusoids(length: int, channels: int) -> torch.Tensor:
    """(length, C): sin and cos of pos / 10000^(2i/C) (Vaswani et al. 2017, section 3.5).

    All sines stand before all cosines, as in Marian; the paper alternates them, which is a permutation of channels.
    """
    # In float64: at position 1,000 the angle of float32 is off by more than 1e-5.
    steps = torch.arange(0, channels, 2, dtype=torch.float64) / channels
    angles = torch.arange(length, dtype=torch.float64)[:, None] / 10_000**steps
    return torch.cat((angles.sin(), angles[:, : channels // 2].cos()), dim=1).float()


def relative_buckets(
    queries: torch.Tensor, keys: torch.Tensor, *, both_ways: bool, buckets: int, max_distance: int
) -> torch.Tensor:
    """(T, S) numbers of buckets for positions (T,) that look at positions (S,) (Raffel et al. 2020, section 2.1).

    Near distances have a bucket each; from half the buckets on they widen logarithmically up to `max_distance`. With
    `both_ways` half of the buckets are for what comes after, and otherwise what comes after shares that of distance 0.
    """
    distance = queries[:, None] - keys[None, :]
    first = torch.zeros_like(distance)
    if both_ways:
        buckets //= 2
        first = (distance < 0).long() * buckets
        distance = distance.abs()
    else:
        distance = distance.clamp(min=0)
    exact = buckets // 2
    share = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    wide = (exact + (share * (buckets - exact)).long()).clamp(max=buckets - 1)
    return first + torch.where(distance < exact, distance, wide)
