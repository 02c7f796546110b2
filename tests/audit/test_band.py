"""The simultaneous band: it holds at every threshold together, ties included."""

import numpy as np
import pytest
from scipy.stats import norm, poisson

from audit.bounds.band import tail_limits, tails, tradeoff_band
from audit.bounds.local_level import crossing_probability_upper, local_level_lower, ranks, simultaneous_lower
from audit.bounds.runs import TestRuns
from audit.bounds.table import compute
from unlearning.tradeoff import EpsilonDelta

from .gates import LEVELS, TRIALS, agrees, caught, claim_of

LAWS = {
    "continuous": (lambda rng, n: rng.standard_normal(n), lambda t: norm.sf(t), lambda t: norm.sf(t)),
    "tied": (lambda rng, n: rng.poisson(1.5, n), lambda t: poisson.sf(t - 1, 1.5), lambda t: poisson.sf(t, 1.5)),
    "constant": (lambda rng, n: np.zeros(n), lambda t: (t <= 0) * 1.0, lambda t: (t < 0) * 1.0),
}


def band_failures(law: str, runs: int, level: float, rng: np.random.Generator, trials: int) -> int:
    """Simulations in which the band fails at some threshold."""
    draw, closed_tail, open_tail = LAWS[law]
    table_lower, table_upper = tail_limits(np.arange(runs + 1), runs, level)
    failures = 0
    for _ in range(trials):
        scores = np.sort(draw(rng, runs))
        # the lower limit is tightest at a score, the upper limit just above it
        at_least = runs - np.searchsorted(scores, scores, side="left")
        more = runs - np.searchsorted(scores, scores, side="right")
        failures += bool(
            (table_lower[at_least] > closed_tail(scores)).any() or (table_upper[more] < open_tail(scores)).any()
        )
    return failures


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("law", LAWS)
def test_holds_at_all_thresholds(law: str, level: float) -> None:
    failures = band_failures(law, 60, level, np.random.default_rng(21), TRIALS)
    assert not caught(failures, TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_gate_catches_pointwise_limits(level: float) -> None:
    rng, failures = np.random.default_rng(22), 0
    from audit.bounds.fixed_event import EventDesign

    lower, upper = EventDesign(60, 60, level).limits()
    for _ in range(TRIALS):
        scores = np.sort(rng.standard_normal(60))
        count = 60 - np.arange(60)
        failures += bool((lower[count] > norm.sf(scores)).any() or (upper[count - 1] < norm.sf(scores)).any())
    assert caught(failures, TRIALS, level)


@pytest.mark.parametrize("runs", [1, 2, 5, 24, 1000, 30_000])
def test_limits_are_ordered(runs: int) -> None:
    lower, upper = tail_limits(np.arange(runs + 1), runs, 0.05)
    share = np.arange(runs + 1) / runs
    assert np.all(lower <= share) and np.all(share <= upper)
    assert np.all(np.diff(lower) >= 0) and np.all(np.diff(upper) >= 0)
    tighter = tail_limits(np.arange(runs + 1), runs, 1e-4)
    assert np.all(tighter[0] <= lower) and np.all(tighter[1] >= upper)


def test_trade_off_of_a_score() -> None:
    rng = np.random.default_rng(23)
    released, reference = rng.standard_normal(300) + 1, rng.standard_normal(300)
    band = tradeoff_band(released, reference, 0.05)
    assert band.alpha[0] == 1 and band.alpha[-1] == 0
    assert band.beta[0] == 0 and band.beta[-1] == 1
    for low, middle, high in (
        (band.alpha_lower, band.alpha, band.alpha_upper),
        (band.beta_lower, band.beta, band.beta_upper),
    ):
        assert np.all((0 <= low) & (low <= middle) & (middle <= high) & (high <= 1))
    # an increasing transform moves cuts between the same scores
    again = tradeoff_band(np.exp(released), np.exp(reference), 0.05)
    assert np.array_equal(band.alpha_upper, again.alpha_upper)
    assert np.array_equal(band.beta_lower, again.beta_lower)


@pytest.mark.parametrize("runs", [1, 2, 7, 40])
def test_crossing_probability_against_simulation(runs: int) -> None:
    rng = np.random.default_rng(24)
    boundary = np.sort(rng.random(runs)) * 0.6 * np.arange(1, runs + 1) / runs
    crossed = int((np.sort(rng.random((100_000, runs)), axis=1) < boundary).any(1).sum())
    assert agrees(crossed, 100_000, crossing_probability_upper(boundary, np.arange(1, runs + 1), runs))


def test_crossing_probability_of_the_smallest_and_of_the_largest() -> None:
    # U_(1) < b: 1 − (1 − b)^n; U_(n) < b: b^n
    assert crossing_probability_upper(np.array([0.01]), np.array([1]), 300) == pytest.approx(1 - 0.99**300, rel=1e-12)
    assert crossing_probability_upper(np.array([0.99]), np.array([300]), 300) == pytest.approx(0.99**300, rel=1e-10)


def test_local_level() -> None:
    assert local_level_lower(1, 0.025) == 0.025
    # auditing.md §3: 5.3e-4 at 1,000 runs and every order statistic
    assert local_level_lower(1000, 0.025) == pytest.approx(5.3e-4, rel=0.01)
    for runs in (10, 200, 1500, 25_000):
        at = ranks(runs)
        assert at[0] == 1 and at[-1] == runs and np.all(np.diff(at) > 0)
        levels = [local_level_lower(runs, level) for level in (1e-6, 0.0125, 0.1, 0.45, 0.9)]
        assert np.all(np.diff(levels) > 0)
        assert 1e-6 / at.size <= levels[0] <= 1e-6


@pytest.mark.parametrize("runs", [30, 1500])
def test_local_level_is_exact(runs: int) -> None:
    rng, limits = np.random.default_rng(25), simultaneous_lower(runs, 0.2)
    scores = np.sort(rng.random((TRIALS, runs)), axis=1)
    crossed = int((scores < limits[np.arange(1, runs + 1)]).any(1).sum())
    assert agrees(crossed, TRIALS, 0.2)
    assert not caught(crossed, TRIALS, 0.2)


def test_tails_count_closed_events() -> None:
    at = tails(TestRuns([0, 1, 1, 2], [1, 3]))
    assert at.thresholds.tolist() == [0, 1, 2, 3]
    assert at.released.tolist() == [4, 3, 1, 0] and at.reference.tolist() == [2, 2, 1, 1]
    rng = np.random.default_rng(26)
    assert tails(TestRuns(rng.random(50_000), rng.random(50_000))).thresholds.size <= 2000


@pytest.mark.parametrize(("runs", "least", "trials"), [(1000, 1.28, 200), (10_000, 2.05, 60)])
def test_is_tight_in_gaussian_tails(runs: int, least: float, trials: int) -> None:
    # auditing.md §4: no split; the true ε is 4.377
    rng, claim = np.random.default_rng(27), claim_of(EpsilonDelta(0.0, 1e-5))
    found = [
        compute(
            "band", None, TestRuns(rng.normal(1, 1, runs), rng.normal(0, 1, runs)), claim, failure_probability=0.05
        ).epsilon_lower
        for _ in range(trials)
    ]
    assert np.mean(found) >= least


@pytest.mark.parametrize(("bound", "least"), [("band", 0.80), ("dkw", 0.82)])
def test_is_tight_for_laplace(bound: str, least: float) -> None:
    rng, claim = np.random.default_rng(28), claim_of(EpsilonDelta(0.0, 1e-5))
    found = [
        compute(
            bound, None, TestRuns(rng.laplace(1, 1, 2000), rng.laplace(0, 1, 2000)), claim, failure_probability=0.05
        ).epsilon_lower
        for _ in range(200)
    ]
    assert np.mean(found) >= least
