"""The simultaneous band: it holds at every threshold together, ties included."""

import numpy as np
import pytest
from scipy.stats import norm, poisson

from audit.bounds.band import chosen_counts, tail_limits, tradeoff_band

from .gates import LEVELS, TRIALS, caught

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


@pytest.mark.parametrize("runs", [1, 2, 5, 24, 1000])
def test_limits_are_ordered(runs: int) -> None:
    grid = chosen_counts(runs)
    assert grid[0] == 0 and grid[-1] == runs
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
