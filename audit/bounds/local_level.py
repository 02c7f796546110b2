"""Local level of a simultaneous one-sided Clopper–Pearson band, exactly.

The k-th smallest of n independent uniform numbers is Beta(k, n − k + 1); at the local level η the lower limit at k
successes is its η-quantile b_k. All limits at the chosen ranks hold together unless U_(k) < b_k for one of them, that
is N(b_k) ≥ k with N(t) the number of U's below t. N is a Poisson process of rate n given N(1) = n, so that (Moscovich &
Nadler 2017, "Fast calculation of boundary crossing probabilities for Poisson processes", one boundary)

    P(crossing) = Σ_k Σ_{j ≥ k} w_k(j) · Pois(n − j; n(1 − b_k)) / Pois(n; n)

where w_k(j) is the mass of the paths with N(b_k) = j that did not cross before: one convolution with a Poisson law from
rank to rank. Every term is positive, so that nothing cancels; mass that is left out is counted as crossing.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.special import gammaln
from scipy.stats import beta

MOST_EXACT = 20_000  # runs up to which the level is exact
_EVERY_RANK = 1000  # runs up to which every order statistic is a rank
_SPACING = 0.15  # between ranks beyond, in standard deviations of the count
_BONFERRONI_RANKS = 512
_LEVEL_ACCURACY = 2e-3
_SMALLEST_EXACT = 1e-13
_MOST_STEPS = 60
_LEFT_OUT = 1e-17

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@lru_cache(maxsize=64)
def ranks(runs: int) -> Counts:
    """Order statistics at which limits are computed, fixed by the number of runs alone, increasing; read-only."""
    found = _ranks(runs)
    found.flags.writeable = False
    return found


def _ranks(runs: int) -> Counts:
    if runs <= _EVERY_RANK:
        return np.arange(1, runs + 1)
    if runs > MOST_EXACT:
        # equal steps of arcsin √(k/n), the scale on which a share has the same deviation everywhere
        angle = np.linspace(0, np.pi / 2, _BONFERRONI_RANKS - 64)
        tail = np.unique(np.geomspace(1, 1000, 40).round())
        inner = np.concatenate([runs * np.sin(angle) ** 2, tail, runs - tail]).round()
        return np.unique(inner.clip(1, runs)).astype(np.int64)
    points = int(np.pi * np.sqrt(runs) / _SPACING)
    inner = runs * np.sin(np.linspace(0, np.pi / 2, points)) ** 2
    ends = np.arange(1, 33)
    return np.unique(np.concatenate([inner.round().clip(1, runs), ends, runs - ends])).astype(np.int64)


def crossing_probability_upper(boundary: Array, at: Counts, runs: int) -> float:
    """P(U_(k) < b_k for some rank k in `at`), for non-decreasing b.

    Guarantee: at least the true probability, up to 1e-9 of it.

    >>> round(crossing_probability_upper(np.array([0.1]), np.array([1]), 1), 12)
    0.1
    >>> round(crossing_probability_upper(np.array([0.1, 0.5]), np.array([1, 2]), 2), 12)
    0.35
    """
    mass, first, time, crossed = np.ones(1), 0, 0.0, 0.0
    for step, (k, b) in enumerate(zip(at.tolist(), boundary.tolist(), strict=True)):
        mass, first = _advance(mass, first, runs * (b - time))
        time, keep = b, max(0, k - first)
        if mass.size > keep:
            crossed += float(_returning(mass[keep:], first + keep, runs, b).sum())
            mass = mass[:keep]
        if step % 8 == 7 or mass.size == 0:
            share = _returning(mass, first, runs, b)
            large = np.flatnonzero(share > _LEFT_OUT)
            if large.size == 0:
                return min(1.0, crossed + float(share.sum()))
            crossed += float(share[: large[0]].sum() + share[large[-1] + 1 :].sum())
            mass, first = mass[large[0] : large[-1] + 1], first + int(large[0])
    return min(1.0, crossed)


def _returning(mass: Array, first: int, runs: int, time: float) -> Array:
    """Probability, given N(1) = n, of the paths at first, first + 1, … at this time."""
    rest = runs - first - np.arange(mass.size)
    possible = rest >= 0
    found = np.zeros(mass.size)
    logs = _log_poisson(rest[possible], runs * (1 - time)) - _log_poisson(np.array([runs]), float(runs))
    found[possible] = mass[possible] * np.exp(logs)
    return found


@lru_cache(maxsize=256)
def local_level_lower(runs: int, failure_probability: float) -> float:
    """Local level η at which the lower limits at all ranks hold together.

    Guarantee: P(some limit fails) ≤ failure_probability; exact up to 2e-3 of η, rounded down, for up to 20,000 runs,
    Bonferroni beyond, and for failure probabilities below 1e-13, where sums of probabilities lose their digits.

    >>> local_level_lower(1, 0.05) <= 0.05
    True
    """
    at = ranks(runs)
    if runs > MOST_EXACT or failure_probability < _SMALLEST_EXACT:
        return failure_probability / at.size

    def excess(level: float) -> float:
        boundary = beta.ppf(level, at, runs - at + 1)
        return float(np.log(crossing_probability_upper(boundary, at, runs) * (1 + 1e-9) / failure_probability))

    if at.size == 1:
        return failure_probability
    level, slope = np.log(failure_probability) - np.log(max(1.0, 1.1 * np.log(runs) ** 1.9)), 0.9
    found = excess(float(np.exp(level)))
    for _ in range(_MOST_STEPS):
        if -_LEVEL_ACCURACY <= found <= 0:
            return float(np.exp(level))
        # the excess is nearly linear in ln η; the aim is the middle of what is accepted
        step = float(np.clip((-_LEVEL_ACCURACY / 2 - found) / slope, -2, 2))
        before, level = found, min(level + step, np.log(failure_probability))
        found = excess(float(np.exp(level)))
        slope = min(max((found - before) / step, 0.3), 3.0)
    return failure_probability / at.size


@lru_cache(maxsize=64)
def simultaneous_lower(runs: int, failure_probability: float) -> Array:
    """Lower limits of a tail probability at counts 0 … n, simultaneous over all thresholds; read-only.

    Guarantee: at most the true probabilities, at every threshold at once, except with probability ≤
    failure_probability. With ties the limits are conservative.
    """
    at = ranks(runs)
    limits = np.concatenate([[0.0], beta.ppf(local_level_lower(runs, failure_probability), at, runs - at + 1)])
    found = limits[np.searchsorted(at, np.arange(runs + 1), side="right")]
    found.flags.writeable = False
    return found


def _advance(mass: Array, first: int, rate: float) -> tuple[Array, int]:
    """Add a Poisson number of points to each path; what is left out of the kernel is below 1e-18."""
    if rate <= 0:
        return mass, first
    width = 9.5 * np.sqrt(rate) + 30
    low, high = max(0, int(rate - width)), int(rate + width)
    kernel = np.exp(_log_poisson(np.arange(low, high + 1), rate))
    kernel = kernel[: int(np.flatnonzero(kernel > 1e-22)[-1]) + 1]
    if min(mass.size, kernel.size) > 400:
        return np.maximum(fftconvolve(mass, kernel), 0.0), first + low
    return np.convolve(mass, kernel), first + low


def _log_poisson(k: Counts, rate: float) -> Array:
    if rate <= 0:
        return np.where(k == 0, 0.0, -np.inf)
    return np.asarray(k * np.log(rate) - rate - _log_factorials()[k])


@lru_cache(maxsize=1)
def _log_factorials() -> Array:
    return np.asarray(gammaln(np.arange(2.0 * MOST_EXACT + 100) + 1))
