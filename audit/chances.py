"""Probability that a bound refutes a claim, when the scores are Gaussian and shifted: the ground of every power number.

Released scores are N(μ, 1), reference scores N(0, 1), runs are independent. For an event E = {score ≥ t} this is
P(E) = Φ(μ − t), Q(E) = Φ(−t). What is exact is exact for the event at which it is computed; the best event is looked
for over t, as somebody would choose who knew μ.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri, xlogy
from scipy.stats import binom, chi2, norm

from unlearning.binomial import clopper_pearson_upper
from unlearning.tradeoff import TradeOff

Array = NDArray[np.float64]

_SPAN = 9.0  # standard deviations of a count that are summed over
_SUMMED = 600  # counts summed over, at most: beyond, every k-th stands for k


@dataclass(frozen=True, slots=True)
class Arms:
    """Two arms of independent runs and the failure probability that each of the two limits may spend.

    Attributes:
        released: runs n.
        reference: runs m.
        level_released: of the lower limit of P(E).
        level_reference: of the upper limit of Q(E).
    """

    released: int
    reference: int
    level_released: float
    level_reference: float


def event_chance(arms: Arms, p: float, q: float, tradeoff: TradeOff) -> float:
    """Probability that Clopper–Pearson limits at one event refute the claim, where P(E) = p and Q(E) = q.

    x of n refutes together with y when the lower limit of P(E) exceeds 1 − f(q_U(y)), which is when
    P[Bin(n, 1 − f) ≥ x] < level; so no table of limits is needed.

    >>> from unlearning.tradeoff import EpsilonDelta
    >>> round(event_chance(Arms(100, 100, 0.025, 0.025), 0.5, 0.05, EpsilonDelta(1.0, 1e-5)), 4)
    0.8453
    """
    y, weights = _counts(arms.reference, q)
    allowed = 1 - tradeoff(clopper_pearson_upper(y, arms.reference, arms.level_reference))
    needed = binom.isf(arms.level_released, arms.released, allowed) + 1
    needed = np.where(allowed >= 1, arms.released + 1, needed)
    return float((weights * binom.sf(needed - 1, arms.released, p)).sum().clip(0, 1))


def margin_chance(
    arms: Arms, margin_released: float, margin_reference: float, p: float, q: float, tradeoff: TradeOff
) -> float:
    """The same where the limits are the shares plus or minus a margin, as for the DKW band."""
    y, weights = _counts(arms.reference, q)
    allowed = 1 - tradeoff(np.minimum(1.0, y / arms.reference + margin_reference))
    needed = np.floor(arms.released * (allowed + margin_released) + 1e-9) + 1
    return float((weights * binom.sf(needed - 1, arms.released, p)).sum().clip(0, 1))


def _counts(runs: int, q: float) -> tuple[Array, Array]:
    """Counts that carry all but nothing of Bin(runs, q), and their probabilities."""
    centre, spread = runs * q, _SPAN * math.sqrt(runs * q * (1 - q)) + _SPAN
    first, last = max(0, math.floor(centre - spread)), min(runs, math.ceil(centre + spread))
    edges = np.unique(np.linspace(first - 1, last, min(last - first + 2, _SUMMED)).round())
    return edges[1:], np.diff(binom.cdf(edges, runs, q))  # a block of counts stands at its largest, the safe end


def joint_chance(arms: Arms, p: float, q: float, tradeoff: TradeOff) -> float:
    """The same for the exact joint test at the sum of both levels: an approximation by normal distributions.

    The statistic x/n − c·y/m has the slope c of the claim at the nearest allowed pair, as a pilot would choose it; its
    critical value is the largest over the nuisance Q(E) within three standard deviations.
    """
    if p <= 1 - float(tradeoff(q)) or q >= 1:
        return 0.0
    n, m = arms.released, arms.reference
    _, nearest = nearest_allowed(p, q, tradeoff)
    step = 1e-4 * min(nearest, 1 - nearest)
    above, below = (1 - float(tradeoff(nearest + side * step)) for side in (1, -1))
    slope = (above - below) / (2 * step) if step > 0 else 1.0
    spread = 3 * math.sqrt(nearest * (1 - nearest) / m)
    nuisance = np.linspace(max(1e-12, nearest - spread), min(1 - 1e-12, nearest + spread), 61)
    allowed = np.clip(1 - tradeoff(nuisance), 0, 1)
    error = np.sqrt(allowed * (1 - allowed) / n + slope**2 * nuisance * (1 - nuisance) / m)
    level = arms.level_released + arms.level_reference
    critical = float((allowed - slope * nuisance - ndtri(level) * error).max())
    truly = math.sqrt(p * (1 - p) / n + slope**2 * q * (1 - q) / m)
    gap = p - slope * q - critical
    return float(ndtr(gap / truly)) if truly > 0 else float(gap > 0)


def dkw_margin(runs: int, failure_probability: float) -> float:
    """One-sided distance of the empirical from the true distribution function (Massart 1990), at most ½ in level.

    >>> round(dkw_margin(1000, 0.025), 4)
    0.0429
    """
    return math.sqrt(math.log(1 / failure_probability) / (2 * runs))


def shift_chance(mu: float, limit: float, spread: float, failure_probability: float) -> float:
    """Probability that a normal estimate of μ with this standard error refutes μ ≤ limit.

    >>> round(shift_chance(2.0, 1.0, 0.5, 0.05), 4)
    0.6388
    """
    return float(ndtr((mu - limit) / spread + ndtri(failure_probability)))


def scale_chance(factor: float, draws: int, failure_probability: float) -> float:
    """Probability that the two-sided χ² test of σ on so many draws finds noise of factor·σ.

    >>> round(scale_chance(0.5, 20, 0.05), 3)
    0.992
    """
    low = chi2.ppf(failure_probability / 2, draws)
    high = chi2.isf(failure_probability / 2, draws)
    return float(chi2.cdf(low / factor**2, draws) + chi2.sf(high / factor**2, draws))


def wealth_chance(pairs: float, p: float, q: float, tradeoff: TradeOff, failure_probability: float) -> float:
    """Probability that the e-process at a known event reaches 1/α within so many pairs: an approximation.

    The logarithm of the wealth is a random walk whose step is the log-likelihood ratio of (p, q) against the nearest
    pair that the claim allows; it is replaced by a Brownian motion of the same drift k and variance v, for which
    P(max ≥ b) = Φ((kN − b)/√(vN)) + e^{2kb/v} Φ((−kN − b)/√(vN)).
    """
    if p <= 1 - float(tradeoff(q)):
        return 0.0
    nearest_p, nearest_q = nearest_allowed(p, q, tradeoff)
    drift, variance = 0.0, 0.0
    for truth, null in ((p, nearest_p), (q, nearest_q)):
        drift += float(xlogy(truth, truth / null) + xlogy(1 - truth, (1 - truth) / (1 - null)))
        odds = math.log(truth / null) - math.log1p(-truth) + math.log1p(-null) if 0 < truth < 1 else 0.0
        variance += odds**2 * truth * (1 - truth)
    if drift <= 0:
        return 0.0
    barrier = -math.log(failure_probability)
    if variance == 0:
        return float(drift * pairs >= barrier)
    scale = math.sqrt(variance * pairs)
    reflected = 2 * drift * barrier / variance + float(norm.logcdf((-drift * pairs - barrier) / scale))
    return float(min(1.0, ndtr((drift * pairs - barrier) / scale) + math.exp(min(0.0, reflected))))


def nearest_allowed(p: float, q: float, tradeoff: TradeOff) -> tuple[float, float]:
    """The pair that the claim allows and that is nearest to (p, q) in relative entropy, for p above the claim."""

    def entropy(candidate: float) -> float:
        allowed = min(1 - 1e-12, 1 - float(tradeoff(candidate)))
        there = xlogy(p, p / allowed) + xlogy(1 - p, (1 - p) / (1 - allowed))
        return float(there + xlogy(q, q / candidate) + xlogy(1 - q, (1 - q) / (1 - candidate)))

    found = minimize_scalar(entropy, bounds=(q, _crossing(p, q, tradeoff)), method="bounded", options={"xatol": 1e-12})
    nearest = float(found.x)
    return min(1 - 1e-12, 1 - float(tradeoff(nearest))), nearest


def _crossing(p: float, q: float, tradeoff: TradeOff) -> float:
    low, high = q, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - float(tradeoff(middle)) < p else (low, middle)
    return high
