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
from scipy.special import expit, logit, logsumexp, ndtr, ndtri, xlogy
from scipy.stats import beta, binom, chi2, norm

from unlearning.binomial import clopper_pearson_upper
from unlearning.tradeoff import TradeOff

from .bounds.e_process import FIRST_EVENT, NEXT_EVENT, POSTERIOR_LEVELS
from .bounds.e_value import ClaimedTradeOff, bets_against

Array = NDArray[np.float64]

_SPAN = 9.0  # standard deviations of a count that are summed over
_SUMMED = 600  # counts summed over, at most: beyond, every k-th stands for k
_FARTHEST_LOGIT = 700.0


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
    critical value is the largest over the nuisance Q(E) within three standard deviations. Nothing is found where even
    n of n and 0 of m would not refute.
    """
    if 1 - p >= float(tradeoff(q)) or q >= 1 or not _separation_refutes(arms, tradeoff):
        return 0.0
    n, m = arms.released, arms.reference
    _, nearest = nearest_allowed(p, q, tradeoff)
    step = 1e-4 * min(nearest, 1 - nearest)
    above, below = (float(tradeoff(nearest + side * step)) for side in (1, -1))
    slope = (below - above) / (2 * step) if step > 0 else 1.0
    spread = 3 * math.sqrt(nearest * (1 - nearest) / m)
    nuisance = np.linspace(max(nearest / 1e3, nearest - spread), min(1 - 1e-12, nearest + spread), 61)
    missed = np.clip(tradeoff(nuisance), 0, 1)
    error = np.sqrt(missed * (1 - missed) / n + slope**2 * nuisance * (1 - nuisance) / m)
    level = arms.level_released + arms.level_reference
    margins = (missed - (1 - p)) - slope * (q - nuisance) + ndtri(level) * error  # to the critical values
    gap = float(margins.min())
    truly = math.sqrt(p * (1 - p) / n + slope**2 * q * (1 - q) / m)
    return float(ndtr(gap / truly)) if truly > 0 else float(gap > 0)


def _separation_refutes(arms: Arms, tradeoff: TradeOff) -> bool:
    """Whether n of n and 0 of m are too unlikely, a^n·(1 − b)^m, at every pair (a, b) that the claim allows."""
    b = expit(np.linspace(-100, 36, 2001))
    log_likelihood = arms.released * np.log1p(-np.clip(tradeoff(b), 0, 1 - 1e-16)) + arms.reference * np.log1p(-b)
    return bool(log_likelihood.max() < math.log(arms.level_released + arms.level_reference))


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


def wealth_chance(pairs: float, p: float, q: float, tradeoff: ClaimedTradeOff, failure_probability: float) -> float:
    """Probability that the e-process at a known event reaches 1/α within so many pairs: an approximation.

    The logarithm of the wealth is replaced by a Brownian motion. Its drift k is such that it gains on average what the
    bets at the expected counts gain, stretch by stretch, each on what was seen before; its variance v is that of the
    log-likelihood ratio of (p, q) against the nearest pair that the claim allows. Then
    P(max ≥ b) = Φ((kN − b)/√(vN)) + e^{2kb/v} Φ((−kN − b)/√(vN)).
    """
    if 1 - p >= float(tradeoff(q)):
        return 0.0
    gained, barrier = expected_log_wealth(pairs, p, q, tradeoff), -math.log(failure_probability)
    if gained <= 0:
        return 0.0
    bet = bets_against(p, q, tradeoff)
    variance = p * (1 - p) * float(bet.released_in - bet.released_out) ** 2
    variance += q * (1 - q) * float(bet.reference_in - bet.reference_out) ** 2
    if variance == 0:
        return float(gained >= barrier)
    scale = math.sqrt(variance * pairs)
    reflected = 2 * gained * barrier / scale**2 + float(norm.logcdf((-gained - barrier) / scale))
    return float(min(1.0, ndtr((gained - barrier) / scale) + math.exp(min(0.0, reflected))))


def expected_log_wealth(pairs: float, p: float, q: float, tradeoff: ClaimedTradeOff) -> float:
    """Logarithm of the wealth of the e-process at a known event where all counts are as expected.

    At p = 1 and q = 0 this is the largest wealth that so many pairs can give.

    >>> from unlearning.tradeoff import EpsilonDelta
    >>> round(expected_log_wealth(1000, 1.0, 0.0, EpsilonDelta(5.0, 1e-5)), 2)
    10.53
    """
    ends = [float(FIRST_EVENT)]
    while ends[-1] < pairs:
        ends.append(min(math.ceil(NEXT_EVENT * ends[-1]), pairs))
    past, sizes = np.asarray(ends[:-1])[:, None], np.diff(ends)
    if sizes.size == 0:
        return 0.0
    first, second = (beta.ppf(POSTERIOR_LEVELS, past * share + 0.5, past * (1 - share) + 0.5) for share in (p, q))
    growth = bets_against(first[:, :, None], second[:, None, :], tradeoff).growth(p, q).reshape(sizes.size, -1)
    return float((logsumexp(growth * sizes[:, None], axis=1) - 2 * math.log(POSTERIOR_LEVELS.size)).sum())


def nearest_allowed(p: float, q: float, tradeoff: TradeOff) -> tuple[float, float]:
    """The pair that the claim allows and that is nearest to (p, q) in relative entropy, for p above the claim.

    Looked for over ln(q/(1 − q)), because under a claim of ε it may be as near to 0 as e^−ε.
    """

    def entropy(place: float) -> float:
        candidate, rest = float(expit(place)), float(expit(-place))
        missed = min(max(float(tradeoff(candidate)), 1e-300), 1 - 1e-16)
        there = xlogy(p, p / (1 - missed)) + xlogy(1 - p, (1 - p) / missed)
        return float(there + xlogy(q, q / candidate) + xlogy(1 - q, (1 - q) / rest))

    low = float(logit(max(q, 1e-300)))
    bounds = (low, _crossing(p, low, tradeoff))
    found = minimize_scalar(entropy, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    nearest = float(expit(found.x))
    return 1 - float(tradeoff(nearest)), nearest


def _crossing(p: float, low: float, tradeoff: TradeOff) -> float:
    """ln(q/(1 − q)) where the claim first allows p."""
    high = _FARTHEST_LOGIT
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(tradeoff(expit(middle))) > 1 - p else (low, middle)
    return high


def right_guess_probability(trace: float, share: float) -> float:
    """Probability that a guess is right among the share of candidates whose guess is the most certain.

    A candidate shows N(trace, 1) where it was deleted and N(0, 1) where not, by a fair coin: its posterior log-odds
    are trace·u at the distance u from the middle. With share = 1 this is Φ(trace/2).

    >>> round(right_guess_probability(2.0, 1.0), 4), right_guess_probability(0.0, 0.5)
    (0.8413, 0.5)
    """
    u = np.linspace(0, trace / 2 + 9, 4001)
    density = norm.pdf(u - trace / 2) + norm.pdf(u + trace / 2)
    density[0] /= 2  # the trapezoidal rule
    density = np.maximum(density, 1e-300)
    beyond = np.cumsum(density[::-1])[::-1]
    chosen = density * np.clip((share * beyond[0] - beyond) / density + 1, 0, 1)
    return float((chosen * expit(trace * u)).sum() / chosen.sum()) if trace > 0 else 0.5


def members_named_probability(trace: float, candidates: int, members: int) -> Array:
    """Probability that at least v = 0 … k of the k candidates with the largest score are members.

    Members show N(trace, 1), the others N(0, 1). At least v of the first k are members where the v-th largest member
    exceeds the (k − v + 1)-th largest of the others.

    >>> members_named_probability(0.0, 4, 2).round(5).tolist()
    [1.0, 0.83333, 0.16667]
    """
    y = np.linspace(-9, 9 + trace, 2001)
    others = candidates - members
    found = [1.0]
    for v in range(1, members + 1):
        rank = members - v + 1
        if rank > others:
            found.append(1.0)
            continue
        law = binom.cdf(rank - 1, others, norm.sf(y))  # of the rank-th largest of the others
        exceeds = binom.sf(v - 1, members, norm.sf(y - trace))
        found.append(float((np.diff(law) * (exceeds[1:] + exceeds[:-1]) / 2).sum()))
    return np.asarray(found)
