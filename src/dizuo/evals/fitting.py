"""Two small linear models fitted with NumPy: one that ranks within a group, one that gives a chance.

A sign may be asked of each weight. Without, a fit on a few thousand questions gives features that say almost the same
weights that cancel out (+1.4 and -0.6), which goes wrong as soon as a collection is unlike the one it was fitted on.
"""

from collections.abc import Callable, Sequence
from math import exp, lgamma, log, log1p

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 600
_L2 = 1e-3


def fit_ranking(rows: Floats, groups: Sequence[int], right: Sequence[bool], signs: Sequence[int]) -> Floats:
    """Weights (F,) for rows (N, F) such that the right rows of each group get the greatest share of its softmax.

    `signs`: 1, -1, or 0 where a weight may be either. Every group must hold a right row.
    """
    scale = rows.std(axis=0) + 1e-6
    scaled = rows / scale
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    n_groups = int(group.max()) + 1
    is_right = np.asarray(right, dtype=np.float64)

    def gradient(weights: Floats) -> Floats:
        score = scaled @ weights
        top = np.full(n_groups, -np.inf)
        np.maximum.at(top, group, score)
        power = np.exp(score - top[group])
        share = power / np.bincount(group, power, n_groups)[group]
        among_right = power * is_right
        share_right = among_right / np.maximum(np.bincount(group, among_right, n_groups)[group], 1e-12)
        return scaled.T @ (share - share_right) / n_groups + 2 * _L2 * weights

    return _descend(gradient, rows.shape[1], np.asarray(signs)) / scale


def fit_chance(
    rows: Floats, right: Sequence[bool], importance: Sequence[float], signs: Sequence[int]
) -> tuple[Floats, float]:
    """Weights (F,) and bias of a logistic regression over rows (N, F)."""
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    scaled = np.hstack([(rows - mean) / scale, np.ones((len(rows), 1))])
    wanted = np.asarray(right, dtype=np.float64)
    share = np.asarray(importance, dtype=np.float64)
    share = share / share.sum()
    kept = np.append(np.full(rows.shape[1], 2 * _L2), 0.0)  # the bias is not held down

    def gradient(weights: Floats) -> Floats:
        chance = 1 / (1 + np.exp(-(scaled @ weights)))
        return scaled.T @ (share * (chance - wanted)) + kept * weights

    found = _descend(gradient, rows.shape[1] + 1, np.append(np.asarray(signs), 0))
    weights = found[:-1] / scale
    return weights, float(found[-1] - weights @ mean)


def _descend(gradient: Callable[[Floats], Floats], n: int, signs: NDArray[np.int_]) -> Floats:
    """Accelerated projected gradient descent (Beck and Teboulle, 2009) with a step found by halving."""
    weights, ahead, pace = np.zeros(n), np.zeros(n), 1.0
    step = 1.0
    slope = gradient(ahead)
    for _ in range(_STEPS):
        while True:
            tried = ahead - step * slope
            tried = np.where(signs > 0, np.maximum(tried, 0), np.where(signs < 0, np.minimum(tried, 0), tried))
            moved = tried - ahead
            # The step is short enough when the slope changes less than the curvature 1/step allows.
            after = gradient(tried)
            if (after - slope) @ moved <= moved @ moved / step or step < 1e-6:
                break
            step /= 2
        next_pace = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = tried + (pace - 1) / next_pace * (tried - weights)
        weights, pace = tried, next_pace
        slope = gradient(ahead)
    return weights


def area_under_roc(positive: Floats, negative: Floats) -> float:
    """The chance that a positive scores above a negative; a tie counts half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    upto = np.searchsorted(ordered, positive, side="right")
    return float((below + upto).mean() / 2 / len(negative))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if n == 0:
        return 0.0, 1.0
    z, share = 1.959964, successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def upper_bound(successes: int, n: int) -> float:
    """The share that is exceeded with a chance of 5 % at most (Clopper and Pearson, 1934), one-sided."""
    if successes >= n:
        return 1.0

    def at_most(share: float) -> float:
        """The chance of so many successes or fewer."""
        logs = [
            lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(share) + (n - k) * log1p(-share)
            for k in range(successes + 1)
        ]
        return sum(exp(one) for one in logs)

    low, high = successes / n, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(middle) > 0.05 else (low, middle)
    return high
