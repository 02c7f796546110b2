"""From scores to what a report says of an attack: AUC, intervals over runs, the chance of luck, TPR at an FPR.

Runs are the unit of independence: the scores of one run come from one model. AUC of a run, ties half:

    A_r = (1/kl) Σ_{i∈S} Σ_{j∉S} (1{s_i > s_j} + ½·1{s_i = s_j})

**Chance.** Where the model of run r does not depend on S_r, which is drawn uniformly, U = kl·A_r has, without ties, the
law of the Mann–Whitney statistic, and with ties is the conditional mean of one, so that by Jensen

    E e^{t(U − kl/2)} ≤ Π_{i=1..k} [sinh(t(l+i)/2)/(l+i)] / [sinh(ti/2)/i]

and Chernoff's bound over all runs holds for any number of them and any attack.

What a claim allows a mean AUC to be is in `unlearning.auc`.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr
from scipy.stats import beta, chi2
from scipy.stats import t as student

from unlearning.binomial import clopper_pearson_upper
from unlearning.record_attacks import Interval, OperatingPoint

from .runs import Array, Mask

LEAST_RUNS = 5
INTERVAL_FAILURE_PROBABILITY = 0.05
POWER_FAILURE_PROBABILITY = 0.05  # with which a stated power is too large, where runs' AUCs are about normal
TARGETS = (0.01, 0.001)  # false-positive rates at which true positives are read
_PER_TARGET = 10  # negatives that a false-positive rate needs, times the rate
_ROC_POINTS = 120
_ROUNDING = 1e-9  # relative error of an exponential of sums, at most
_LEAST_CHANCE = 1e-300


def run_aucs(scores: Array, members: Mask) -> Array:
    """AUC of each run, ties half: [K] for scores and members [K, m].

    >>> run_aucs(np.array([[3.0, 2.0, 2.0, 1.0]]), np.array([[True, True, False, False]])).tolist()
    [0.875]
    """
    found = np.empty(len(scores))
    for run, (own, forgotten) in enumerate(zip(scores, members, strict=True)):
        others = np.sort(own[~forgotten])
        below = np.searchsorted(others, own[forgotten], "left") + np.searchsorted(others, own[forgotten], "right")
        found[run] = below.mean() / (2 * others.size)
    return found


def interval(values: Array, failure_probability: float = INTERVAL_FAILURE_PROBABILITY) -> Interval:
    """Mean of the runs' values with Student's interval; without limits below five runs, or where all are equal.

    Equal values show no deviation, which does not mean that there is none.

    Raises:
        ValueError: there is no value.
    """
    runs = values.size
    if not runs:
        raise ValueError("values must be at least one, got none.")
    equal = bool((values == values[0]).all())
    mean = float(values[0] if equal else values.mean())
    if runs < LEAST_RUNS or equal:
        deviation = None if runs < LEAST_RUNS else 0.0
        return Interval(
            mean=mean, lower=None, upper=None, deviation=deviation, runs=runs, failure_probability=failure_probability
        )
    deviation = float(values.std(ddof=1))
    half = float(student.ppf(1 - failure_probability / 2, runs - 1)) * deviation / math.sqrt(runs)
    return Interval(
        mean=mean,
        lower=mean - half,
        upper=mean + half,
        deviation=deviation,
        runs=runs,
        failure_probability=failure_probability,
    )


def power_forecast(foretold: Interval, runs: int, needed: Callable[[float], float | None]) -> float:
    """Probability that runs like the shadow runs have a mean AUC that is telling: a forecast, not a guarantee.

    Shadow runs, and one more at AUC 0, so that runs that were all alike promise nothing for certain; their mean at
    Student's lower limit, their deviation at the upper limit of the χ² law; runs' AUCs about normal.

    Args:
        foretold: AUC on shadow runs, out of fold.
        runs: target runs.
        needed: smallest mean AUC that is telling where runs have this deviation; None where none is.

    >>> [round(power_forecast(interval(np.ones(shadows)), 16, lambda deviation: 0.6), 2) for shadows in (4, 8, 64)]
    [0.0, 0.6, 1.0]
    """
    if foretold.deviation is None:
        return 0.0
    shadows, half = foretold.runs, POWER_FAILURE_PROBABILITY / 2
    mean = foretold.mean * shadows / (shadows + 1)
    deviation = math.sqrt((shadows - 1) * foretold.deviation**2 / shadows + foretold.mean**2 / (shadows + 1))
    mean -= float(student.ppf(1 - half, shadows)) * deviation / math.sqrt(shadows + 1)
    deviation = min(0.5, deviation * math.sqrt(shadows / float(chi2.ppf(half, shadows))))  # ½: the largest on [0, 1]
    least = needed(deviation) if deviation > 0 else None
    return 0.0 if least is None else float(ndtr((mean - least) * math.sqrt(runs) / deviation))


def chance_upper(aucs: Array, members: Mask) -> float:
    """Probability that models which do not depend on S give a mean AUC as large or larger.

    Guarantee: at least the true probability.

    >>> members = np.array([[True, False]] * 30)
    >>> chance_upper(np.ones(30), members) < 1e-8  # 2^-30
    True
    >>> chance_upper(np.full(30, 0.5), members)
    1.0
    """
    sizes, counts = _sizes(members)
    excess = float(((aucs - 0.5) * members.sum(1) * (~members).sum(1)).sum())
    return _chernoff(excess, sizes, counts)


def critical_auc(members: Mask, failure_probability: float) -> float:
    """Smallest mean AUC, for runs of one size, whose `chance_upper` is at most the failure probability.

    Returns:
        Above 1 where no AUC is telling enough.
    """
    sizes, counts = _sizes(members)
    return _critical(tuple(map(tuple, sizes.tolist())), tuple(counts.tolist()), failure_probability)


@lru_cache(maxsize=256)
def _critical(pairs: tuple[tuple[float, ...], ...], numbers: tuple[float, ...], failure_probability: float) -> float:
    sizes, counts = np.array(pairs), np.array(numbers)
    whole = float((counts * sizes.prod(1)).sum())
    low, high = 0.5, 1.0
    if _chernoff(0.5 * whole, sizes, counts) > failure_probability:
        return math.nextafter(1.0, 2.0)
    for _ in range(40):
        middle = (low + high) / 2
        telling = _chernoff((middle - 0.5) * whole, sizes, counts) <= failure_probability
        low, high = (low, middle) if telling else (middle, high)
    return high


def _sizes(members: Mask) -> tuple[Array, Array]:
    forgotten = members.sum(1)
    found, counts = np.unique(np.stack([forgotten, members.shape[1] - forgotten], 1), axis=0, return_counts=True)
    return found.astype(np.float64), counts.astype(np.float64)


def _chernoff(excess: float, sizes: Array, counts: Array) -> float:
    """min_t exp(Σ_r ln E e^{t(U_r − kl/2)} − t·excess): valid for any t that the search ends at."""
    if excess <= 0:
        return 1.0

    def exponent(log_t: float) -> float:
        t = math.exp(log_t)
        total = -t * excess
        for (k, others), count in zip(sizes, counts, strict=True):
            i = np.arange(1, int(min(k, others)) + 1)
            total += count * float((_log_sinhc(t * (max(k, others) + i) / 2) - _log_sinhc(t * i / 2)).sum())
        return total

    width = float(np.sqrt((counts * sizes.prod(1) * (sizes.sum(1) + 1) / 12).sum()))  # deviation of the sum
    least = math.log(excess / width**2)  # the normal law's own t
    found = minimize_scalar(exponent, bounds=(least - 2, least + 8), method="bounded", options={"xatol": 1e-4})
    return min(1.0, max(_LEAST_CHANCE, math.exp(min(0.0, float(found.fun))) * (1 + _ROUNDING)))


def _log_sinhc(x: Array) -> Array:
    """ln(sinh(x)/x)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        large = x + np.log1p(-np.exp(-2 * x)) - np.log(2 * x)
    return np.where(x < 1e-3, x**2 / 6, large)


def operating_points(
    scores: Array, members: Mask, failure_probability: float = INTERVAL_FAILURE_PROBABILITY
) -> list[OperatingPoint]:
    """True positives of the pooled scores at 1 % and 0.1 % false positives, with counts.

    The threshold is the smallest whose realised rate does not exceed the target; equal scores move together. Limits are
    those of rates over runs at this threshold (`rate_upper`); with fewer than 10/target negatives nothing is said.
    """
    positives, negatives = np.sort(scores[members]), np.sort(scores[~members])
    found = []
    for target in TARGETS:
        needed = math.ceil(_PER_TARGET / target - 1e-9)
        silent = OperatingPoint(
            target=target, negatives_needed=needed, negatives=negatives.size, positives=positives.size
        )
        if negatives.size < needed:
            found.append(silent)
            continue
        allowed = math.floor(target * negatives.size + 1e-9)
        # one above the largest negative that must not be called; ties with it are not called either
        cut = negatives[negatives.size - allowed - 1]
        hits, wrong = int((positives > cut).sum()), int((negatives > cut).sum())
        above = np.concatenate([positives[positives > cut], negatives[negatives > cut]])
        called = scores > cut
        true, sizes = (called & members).sum(1), members.sum(1)
        false, others = (called & ~members).sum(1), (~members).sum(1)
        missed = rate_upper(sizes - true, sizes, failure_probability)
        told = {
            "threshold": float(above.min()) if above.size else None,
            "false_positives": wrong,
            "true_positives": hits,
            "false_positive_rate": wrong / negatives.size,
            "false_positive_rate_upper": rate_upper(false, others, failure_probability),
            "true_positive_rate": hits / positives.size,
            "true_positive_rate_lower": None if missed is None else 1 - missed,
            "true_positive_rate_upper": rate_upper(true, sizes, failure_probability),
            "failure_probability": failure_probability,
        }
        found.append(silent.model_copy(update=told))
    return found


def rate_upper(hits: NDArray[np.int64], sizes: NDArray[np.int64], failure_probability: float) -> float | None:
    """Upper limit of a rate from records that come in runs: Korn & Graubard's (Survey Methodology 1998).

    Clopper–Pearson's limit for as many independent records as would have the deviation that the runs show, over
    (t_ν/t_{n−1})² and at most all n of them; ν + 1 is the number of runs with a hit, or of those without a full score,
    whichever is smaller: the others tell little of the deviation. Below ν = 1 it is Clopper–Pearson's limit of the
    share of runs with a hit, no smaller than the rate where runs are of one size. An approximation, not a guarantee:
    measured, a limit at 0.05 fails in 0.03 to 0.06 of audits, and for 1 % of records in up to 0.11 where runs differ as
    much as the records of one do.

    Args:
        hits: of each run, [K].
        sizes: records of each run, [K].
        failure_probability: of the limit.

    Returns:
        None below five runs.

    >>> ones = np.ones(20, dtype=np.int64)
    >>> rate_upper(0 * ones, ones, 0.05) == float(clopper_pearson_upper(0, 20, 0.05))
    True
    """
    runs = len(hits)
    if runs < LEAST_RUNS:
        return None
    records, some = int(sizes.sum()), int((hits > 0).sum())
    freedom = min(some, int((hits < sizes).sum())) - 1
    if freedom < 1:
        return float(clopper_pearson_upper(some, runs, failure_probability))
    rate = float(hits.sum()) / records
    residuals = (hits - rate * sizes) / sizes.mean()
    variance = float((residuals**2).sum()) / (runs * (runs - 1))
    level = 1 - failure_probability
    widened = (student.ppf(level, records - 1) / student.ppf(level, freedom)) ** 2 if failure_probability < 0.5 else 1.0
    alike = rate * (1 - rate) / variance * widened if variance > 0 else math.inf
    counted = min(float(records), alike)
    return float(beta.isf(failure_probability, rate * counted + 1, (1 - rate) * counted))


def roc(scores: Array, members: Mask) -> tuple[list[float], list[float]]:
    """False and true positive rates of the pooled scores, thinned evenly in the logarithm of the false ones."""
    order = np.sort(np.unique(scores))[::-1]
    positives, negatives = np.sort(scores[members]), np.sort(scores[~members])
    false = 1 - np.searchsorted(negatives, order, "left") / negatives.size
    true = 1 - np.searchsorted(positives, order, "left") / positives.size
    false, true = np.concatenate([[0.0], false]), np.concatenate([[0.0], true])
    if false.size > _ROC_POINTS:
        wanted = np.concatenate([[0.0], np.geomspace(1 / negatives.size, 1, _ROC_POINTS - 2)])
        kept = np.unique([0, *(np.searchsorted(false, wanted, "right") - 1)])
        false, true = false[kept], true[kept]
    return false.tolist(), true.tolist()


def best_threshold(scores: Array, members: Mask) -> float:
    """Threshold with the largest balanced accuracy on these scores; chosen on shadow runs, used on others."""
    order = np.unique(scores)
    true = 1 - np.searchsorted(np.sort(scores[members]), order, "left") / members.sum()
    false = 1 - np.searchsorted(np.sort(scores[~members]), order, "left") / (~members).sum()
    return float(order[int(np.argmax(true - false))])


def balanced_accuracies(scores: Array, members: Mask, threshold: float) -> Array:
    """Mean of the true-positive and the true-negative rate of each run, [K]."""
    called = scores >= threshold
    true = (called & members).sum(1) / members.sum(1)
    false = (called & ~members).sum(1) / (~members).sum(1)
    return np.asarray((true + 1 - false) / 2)
