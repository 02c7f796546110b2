"""Numbers that the literature reports for the same scores. They promise no frequency of errors, and decide nothing.

The first two read one event chosen on selection runs, the last two all test runs.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, ndtri

from unlearning.claim import Claim
from unlearning.tradeoff import Directions, EpsilonDelta

from .band import tails
from .clopper_pearson import counts
from .result import Event, Kind, LowerBound
from .runs import SelectionRuns, TestRuns
from .selection import most_telling_event

_BINS = 20
_QUANTILES = 2000
_MOST_EPSILON = 60.0


def bayesian(selection: SelectionRuns, test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """The ε that the posterior exceeds with probability 1 − failure_probability, Jeffreys prior on P(E) and Q(E).

    Zanella-Béguelin et al., ICML 2023, section 4, with the posterior of ε in closed form: P(ε > e) = P(p > 1 − f_e(q)).
    Why it does not decide: a credible limit holds on average over the prior, not for every true ε.
    """
    n, m = test.sizes
    event = most_telling_event(selection, test.sizes, claim, failure_probability)
    x, y = counts(test, event)
    q = betaincinv(y + 0.5, m - y + 0.5, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)

    def below(epsilon: float) -> float:
        allowed = np.clip(1 - EpsilonDelta(epsilon, claim.delta, claim.directions)(q), 0.0, 1.0)
        return float(betainc(x + 0.5, n - x + 0.5, allowed).mean()) - failure_probability

    found = 0.0 if below(0.0) >= 0 else float(brentq(below, 0.0, _MOST_EPSILON, xtol=1e-9))
    return _one_event("bayesian", found, Kind.CREDIBLE, test, (x, y), event, claim, failure_probability)


def katz_log(selection: SelectionRuns, test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """Lower limit of ln((p̂ − δ)/q̂), as if it were normal: z·√(1/x − 1/n + 1/y − 1/m) below (Katz et al. 1978).

    Lu et al., NeurIPS 2022, section 4. Counts of 0 become ½. Why it does not decide: it is asymptotic, and wrong far
    more often than stated where a count is small, which is where ε is looked for.
    """
    n, m = test.sizes
    event = most_telling_event(selection, test.sizes, claim, failure_probability)
    x, y = counts(test, event)
    found = 0.0
    if claim.directions is not Directions.REFERENCE:
        found = max(found, _katz(x, n, y, m, claim.delta, failure_probability))
    if claim.directions is not Directions.RELEASED:
        found = max(found, _katz(m - y, m, n - x, n, claim.delta, failure_probability))
    return _one_event("katz-log", found, Kind.ESTIMATE, test, (x, y), event, claim, failure_probability)


def challenge(test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """Largest point estimate of ε over all thresholds on the test runs themselves.

    max over {score ≥ t} of ln((1 − δ − FPR)/FNR) and ln((1 − δ − FNR)/FPR) with FPR = y/m, FNR = 1 − x/n, both
    directions whatever is claimed (Triantafillou et al. 2024, "Are we making progress in unlearning?", the score of the
    NeurIPS 2023 competition, there over forgotten records; here over runs). Differs: rates of 0, where theirs is
    infinite, count as half a run. Why it does not decide: no confidence, and the largest of many thresholds: it grows
    with their number where both laws are equal. The failure probability is not used.
    """
    n, m = test.sizes
    at = tails(test)
    false_positive = np.clip(at.reference / m, 0.5 / m, 1.0)
    false_negative = np.clip(1 - at.released / n, 0.5 / n, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        one = np.log(np.maximum(1 - claim.delta - false_positive, 0) / false_negative)
        other = np.log(np.maximum(1 - claim.delta - false_negative, 0) / false_positive)
    each = np.maximum(one, other)
    best = int(np.argmax(each))
    found = max(0.0, float(each[best]))
    pair = int(at.released[best]), int(at.reference[best])
    event = Event(float(at.thresholds[best]))
    return _one_event("challenge", found, Kind.ESTIMATE, test, pair, event, claim, failure_probability)


def klom(test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """Kullback–Leibler divergence of the reference's scores from the released, binned; `derivation["kl"]`, in nats.

    Georgiev et al. 2024 ("Attribute-to-delete"), KLOM of margins, there averaged over records, with 20 bins over both
    arms. Differs: every bin counts one more run, so that it is finite. Why it does not decide: a divergence estimated
    from a histogram is biased upwards, has no confidence limit and bounds no ε; `epsilon_lower` is 0.
    """
    pooled = np.concatenate([test.released, test.reference])
    edges = np.linspace(pooled.min() / 2, pooled.max() / 2, _BINS + 1)  # halves: the range may overflow
    released, reference = (
        np.bincount(np.clip(np.searchsorted(edges, arm / 2, side="right") - 1, 0, _BINS - 1), minlength=_BINS) + 1.0
        for arm in (test.released, test.reference)
    )
    p, q = released / released.sum(), reference / reference.sum()
    divergence = float(np.sum(q * np.log(q / p)))
    n, m = test.sizes
    return LowerBound(
        "klom",
        0.0,
        None,
        None,
        failure_probability,
        Kind.ESTIMATE,
        "none",
        runs_released=n,
        runs_reference=m,
        derivation={"kl": divergence, "bins": _BINS, "n": n, "m": m},
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )


def _katz(x: int, n: int, y: int, m: int, delta: float, failure_probability: float) -> float:
    a, b = max(x, 0.5), max(y, 0.5)
    if a / n <= delta:
        return 0.0
    spread = math.sqrt(max(0.0, 1 / a - 1 / n + 1 / b - 1 / m))
    return math.log((a / n - delta) / (b / m)) + float(ndtri(failure_probability)) * spread


def _one_event(
    name: str,
    epsilon_lower: float,
    kind: Kind,
    test: TestRuns,
    inside: tuple[int, int],
    event: Event,
    claim: Claim,
    failure_probability: float,
) -> LowerBound:
    (n, m), (x, y) = test.sizes, inside
    return LowerBound(
        name,
        epsilon_lower,
        None,
        None,
        failure_probability,
        kind,
        "none",
        runs_released=n,
        runs_reference=m,
        counts_released=x,
        counts_reference=y,
        event=str(event),
        derivation={"x": x, "n": n, "y": y, "m": m},
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )
