"""Two Gaussians that differ in their deviation only: the exact ε of too little noise."""

import math

from scipy.optimize import brentq
from scipy.special import gammaln, hyp1f1
from scipy.stats import chi2


def epsilon_of_scale(factor: float, coordinates: int, delta: float) -> float:
    """Exact ε at δ, both directions, between N(0, factor²σ²I) and N(0, σ²I) in `coordinates` dimensions, factor < 1.

    The log-likelihood ratio depends on ‖x‖² only, which is χ² under both.

    >>> round(epsilon_of_scale(0.5, 1, 1e-5), 2)
    27.72

    Raises:
        ValueError: factor is not in (0, 1).
    """
    if not 0 < factor < 1:
        raise ValueError(f"factor must be in (0, 1), got {factor}.")
    slope = (1 / factor**2 - 1) / 2

    def excess(epsilon: float) -> float:
        inner = (-coordinates * math.log(factor) - epsilon) / slope  # released more likely where ‖x‖²/σ² < inner
        outer = (-coordinates * math.log(factor) + epsilon) / slope
        first = 0.0
        if inner > 0:
            first = chi2.cdf(inner / factor**2, coordinates) - _exp(epsilon + _log_cdf(inner, coordinates))
        second = chi2.sf(outer, coordinates) - _exp(epsilon + _log_sf(outer / factor**2, coordinates))
        return float(max(first, second) - delta)

    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-9)) if excess(0.0) > 0 else 0.0


def _exp(exponent: float) -> float:
    return math.exp(min(700.0, exponent))


def _log_cdf(x: float, freedom: int) -> float:
    """Logarithm of the χ² distribution function, also where the function itself underflows."""
    value = float(chi2.cdf(x, freedom))
    if value > 1e-280:
        return math.log(value)
    a, y = freedom / 2, x / 2
    return float(a * math.log(y) - y - gammaln(a + 1) + math.log(hyp1f1(1, a + 1, y)))


def _log_sf(x: float, freedom: int) -> float:
    """Logarithm of the χ² upper tail, also where the tail itself underflows, by Legendre's continued fraction."""
    value = float(chi2.sf(x, freedom))
    if value > 1e-280:
        return math.log(value)
    a, y = freedom / 2, x / 2
    rest = 0.0
    for i in range(200, 0, -1):
        rest = i * (i - a) / (y + 2 * i + 1 - a - rest)
    return float(a * math.log(y) - y - gammaln(a) - math.log(y + 1 - a - rest))
