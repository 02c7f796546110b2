"""A simultaneous band around the trade-off of one score, for the figure.

The k-th smallest of n continuous uniform numbers is Beta(k, n − k + 1); Clopper–Pearson limits at J order statistics
chosen beforehand hold together by Bonferroni. Between them the empirical tail is bounded by the next chosen one, so
the limits hold at every threshold. With ties the limits are conservative.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper


@dataclass(frozen=True, slots=True)
class Band:
    """Points (α, β) of a score's trade-off and, at the same events, limits that hold simultaneously.

    Attributes:
        alpha, beta: empirical Q(E) and P(Eᶜ) over events {score ≥ t}.
        alpha_lower, alpha_upper, beta_lower, beta_upper: simultaneous confidence limits.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    alpha_lower: NDArray[np.float64]
    alpha_upper: NDArray[np.float64]
    beta_lower: NDArray[np.float64]
    beta_upper: NDArray[np.float64]


def chosen_counts(runs: int, *, points: int = 48) -> NDArray[np.int64]:
    """Counts 0 … n at which limits are computed, denser towards both tails, always with both ends."""
    half = np.unique(np.geomspace(1, max(1, runs // 2), points // 2).round().astype(np.int64))
    return np.unique(np.concatenate([[0], half, runs - half, [runs]]))


def tail_limits(
    counts: NDArray[np.int64], runs: int, failure_probability: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Limits on a tail probability that hold for every threshold at once, given the counts beyond each.

    Guarantee: lower ≤ true tail ≤ upper at all thresholds together, except with probability ≤ failure_probability.
    """
    grid = chosen_counts(runs)
    each = failure_probability / (2 * grid.size)
    lower, upper = clopper_pearson_lower(grid, runs, each), clopper_pearson_upper(grid, runs, each)
    below = np.searchsorted(grid, counts, side="right") - 1  # largest chosen count <= count
    above = np.searchsorted(grid, counts, side="left")
    return lower[below], upper[above]


def tradeoff_band(
    released: NDArray[np.float64], reference: NDArray[np.float64], failure_probability: float, *, points: int = 80
) -> Band:
    """Trade-off of events {score ≥ t} with its band at half the failure probability per arm."""
    pooled = np.unique(np.concatenate([released, reference]))
    cuts = np.concatenate([[-np.inf], (pooled[1:] + pooled[:-1]) / 2, [np.inf]])
    if cuts.size > points:
        cuts = cuts[np.unique(np.linspace(0, cuts.size - 1, points).round().astype(int))]
    x = released.size - np.searchsorted(np.sort(released), cuts)
    y = reference.size - np.searchsorted(np.sort(reference), cuts)
    p_lower, p_upper = tail_limits(x, released.size, failure_probability / 2)
    q_lower, q_upper = tail_limits(y, reference.size, failure_probability / 2)
    return Band(y / reference.size, 1 - x / released.size, q_lower, q_upper, 1 - p_upper, 1 - p_lower)
