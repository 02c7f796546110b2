"""Rung B: is the noise N(0, σ²I), fresh in every call, every replica and every coordinate?

Every statistic is exact for independent standard normal residuals ξ[call, replica, coordinate] = (released − w)/σ:

    scale          Σξ²                                      ~ χ²(N·P)             N = calls·replicas
    coordinates    max over p of the χ²(N) of coordinate p, Bonferroni over P     noise missing from some tensors
    calls          Σ_{replica, p} (Σ_call ξ)²/calls         ~ χ²(replicas·P)      the same noise in every call
    replicas       Σ_{call, p} (Σ_replica ξ)²/replicas      ~ χ²(calls·P)         the same noise in every replica
    common         Σ_{call, replica} (Σ_p ξ)²/P             ~ χ²(N)               one number added to all coordinates
    shape          sup |empirical − Φ|, P ≤ 2·exp(−2Nt²)    Massart 1990          not Gaussian

All two-sided, except shape.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import chi2

_SHAPE_SAMPLE = 200_000

TESTS = ("scale", "coordinates", "calls", "replicas", "common", "shape")


@dataclass(frozen=True, slots=True)
class NoiseTests:
    """p-values of the six tests and what they were computed from.

    Attributes:
        p_values: by name of the test.
        calls, replicas, coordinates: size of the design, for each side.
        relative_scale: measured σ over claimed σ.
        sides: how many sides were tested, each by itself.
    """

    p_values: dict[str, float]
    calls: int
    replicas: int
    coordinates: int
    relative_scale: float
    sides: int = 1

    def detectable_scale(self, failure_probability: float, power: float = 0.8) -> float:
        """Largest factor < 1 on the σ of one side that the scale test refutes with this power."""
        freedom = self.calls * self.replicas * self.coordinates
        return math.sqrt(chi2.ppf(failure_probability / (2 * self.sides), freedom) / chi2.ppf(power, freedom))

    def scale_refutation_probability(self, factor: float, failure_probability: float) -> float:
        """Probability that the scale test of one side refutes noise of `factor`·σ."""
        freedom = self.calls * self.replicas * self.coordinates
        tail = failure_probability / (2 * self.sides)
        low, high = chi2.ppf(tail, freedom), chi2.isf(tail, freedom)
        return float(chi2.cdf(low / factor**2, freedom) + chi2.sf(high / factor**2, freedom))


def both_sides(sides: Sequence[NoiseTests]) -> NoiseTests:
    """Tests of several sides as one, each side tested by itself: Bonferroni over the sides.

    The relative scale is that of the side farthest from 1.
    """
    first, number = sides[0], len(sides)
    return replace(
        first,
        p_values={name: min(1.0, number * min(side.p_values[name] for side in sides)) for name in first.p_values},
        relative_scale=max((side.relative_scale for side in sides), key=lambda scale: abs(scale - 1)),
        sides=number,
    )


def noise_tests(residuals: Iterable[NDArray[np.float64]]) -> NoiseTests:
    """Test standardised residuals, one array [replicas, P] per call of `release`; memory of one call.

    Raises:
        ValueError: fewer than two calls, or a residual that is not finite.
    """
    per_coordinate: NDArray[np.float64] = np.zeros(0)
    per_position: NDArray[np.float64] = np.zeros((0, 0))
    calls = replicas = coordinates = sampled = 0
    within_call = common = 0.0
    sample: list[NDArray[np.float64]] = []
    for xi in residuals:
        if not np.all(np.isfinite(xi)):
            raise ValueError("released parameters must be finite: the noise scale may be 0 or the release broken.")
        if calls == 0:
            replicas, coordinates = xi.shape
            per_coordinate, per_position = np.zeros(coordinates), np.zeros_like(xi)
        per_coordinate += (xi**2).sum(0)
        per_position += xi
        within_call += float((xi.sum(0) ** 2).sum()) / replicas
        common += float((xi.sum(1) ** 2).sum()) / coordinates
        if sampled < _SHAPE_SAMPLE:
            sample.append(xi.ravel()[: _SHAPE_SAMPLE - sampled])
            sampled += sample[-1].size
        calls += 1
    if calls < 2:
        raise ValueError(f"residuals must come from at least 2 calls, got {calls}.")
    draws, energy = calls * replicas, float(per_coordinate.sum())
    worst = min(1.0, coordinates * float(_two_sided(per_coordinate, draws).min()))
    p_values = {
        "scale": float(_two_sided(energy, draws * coordinates)),
        "coordinates": worst,
        "calls": float(_two_sided((per_position**2).sum() / calls, replicas * coordinates)),
        "replicas": float(_two_sided(within_call, calls * coordinates)),
        "common": float(_two_sided(common, draws)),
        "shape": _shape(np.concatenate(sample)),
    }
    return NoiseTests(p_values, calls, replicas, coordinates, math.sqrt(energy / (draws * coordinates)))


def _two_sided(energy: NDArray[np.float64] | float, freedom: int) -> NDArray[np.float64]:
    return np.asarray(2 * np.minimum(chi2.cdf(energy, freedom), chi2.sf(energy, freedom))).clip(0, 1)


def _shape(sample: NDArray[np.float64]) -> float:
    ordered = ndtr(np.sort(sample))
    n = ordered.size
    ranks = np.arange(1, n + 1)
    distance = float(max((ranks / n - ordered).max(), (ordered - (ranks - 1) / n).max()))
    return min(1.0, 2 * math.exp(-2 * n * distance**2))
