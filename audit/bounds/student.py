"""Gaussian scores of one unknown deviation: the lower limit on μ from Student's statistic.

With s² the pooled variance and h = √(1/n + 1/m), t = (x̄ − ȳ)/(s·h) follows the noncentral t law with n + m − 2 degrees
of freedom and noncentrality μ/h, which increases stochastically in μ: the limit is the μ at which P(T ≥ t) = α.
With W² ~ χ²_ν/ν, P(T ≥ t) = E[Φ(μ/h − t·W)] (Johnson, Kotz & Balakrishnan 1995, chapter 31).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, log_ndtr, ndtri

from unlearning.claim import Claim
from unlearning.errors import BadScores

from .projection import gaussian_bound
from .result import LowerBound
from .runs import TestRuns

_NODES = 160
_LARGE = 5.0  # |t|/√(2ν) from which the integrand is too steep for the nodes


def noncentrality_lower(statistic: float, freedom: int, failure_probability: float) -> float:
    """The noncentrality at which a statistic as large as this has probability failure_probability.

    Guarantee: at most the true noncentrality, except with probability ≤ failure_probability, up to 1e-6 of the failure
    probability where that is at least 1e-9 (3e-5 of it at 1e-12). Where |t| > 5·√(2ν), as with three runs or with
    scores that lie far apart, the limit is not exact but conservative.

    >>> round(noncentrality_lower(2.0, 10**9, 0.05), 4)  # the normal limit, 2 − 1.6449
    0.3551
    """
    if abs(statistic) > _LARGE * math.sqrt(2 * freedom):
        # noncentrality = T·W − Z: nearly all of the failure probability for W, the rest for Z
        first = 0.99 * failure_probability
        scale = math.sqrt(float(chdtri(freedom, 1 - first if statistic > 0 else first)) / freedom)
        return statistic * scale + float(ndtri(failure_probability - first))
    z, weights = _nodes()
    scale = np.sqrt(chdtri(freedom, np.exp(log_ndtr(-z))) / freedom)

    def excess(noncentrality: float) -> float:
        tail = float(weights @ np.exp(log_ndtr(noncentrality - statistic * scale)))
        return math.log(max(tail, 1e-300) / failure_probability)

    reach = -float(ndtri(failure_probability)) + 10 + abs(statistic)
    high = reach + abs(statistic) * 10
    return float(brentq(excess, -high, high, xtol=1e-12 * max(1.0, abs(statistic))))


@lru_cache(maxsize=1)
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss–Legendre in z = Φ⁻¹ of the χ² quantile, in which the integrand is smooth."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    z = 8.5 * nodes
    return z, weights * 8.5 * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def student_mu_lower(test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """Lower bounds on μ, and on the ε of that Gaussian pair; needs three runs and two different scores.

    Guarantee: at most the true μ (and ε) where both laws are Gaussian of one deviation, except with probability ≤
    failure_probability.

    Raises:
        BadScores: both arms are constant or hold one run each: there is no deviation to measure with.
    """
    n, m = test.sizes
    freedom = n + m - 2
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(((test.released - test.released.mean()) ** 2).sum())
        squares += float(((test.reference - test.reference.mean()) ** 2).sum())
    largest = max(float(np.abs(test.released).max()), float(np.abs(test.reference).max()))
    deviation = math.sqrt(squares / freedom) if freedom else 0.0
    if not (math.isfinite(deviation) and deviation > 1e-12 * largest):
        raise BadScores(
            f"scores must have a finite deviation within the arms, got {deviation:g} over {n} and {m} runs. Use a "
            'bound that assumes no law, such as "band".'
        )
    spread = math.sqrt(1 / n + 1 / m)
    statistic = float(test.released.mean() - test.reference.mean()) / (deviation * spread)
    lower = max(0.0, noncentrality_lower(statistic, freedom, failure_probability) * spread)
    assumes = "scores are Gaussian of the same unknown deviation on both sides"
    derivation = {"statistic": statistic, "deviation": deviation}
    return gaussian_bound("student", lower, test, claim, failure_probability, assumes, derivation)
