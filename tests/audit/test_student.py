"""Student's limit: the noncentral t law, coverage, and how tight both Gaussian limits are."""

import numpy as np
import pytest
from scipy.stats import nct

from audit.bounds.runs import TestRuns
from audit.bounds.student import noncentrality_lower
from audit.bounds.table import compute
from unlearning.errors import BadScores
from unlearning.gaussian import epsilon_of_delta
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff

from .gates import LEVELS, TRIALS, agrees, caught, claim_of


@pytest.mark.parametrize("level", [1e-6, *LEVELS])
@pytest.mark.parametrize(("statistic", "freedom"), [(2.0, 1), (-1.0, 3), (5.0, 10), (22.0, 1998)])
def test_limit_against_another_implementation(statistic: float, freedom: int, level: float) -> None:
    limit = noncentrality_lower(statistic, freedom, level)
    assert nct.sf(statistic, freedom, limit) == pytest.approx(level, rel=1e-6)


@pytest.mark.parametrize("freedom", [1, 30, 1998])
def test_limit_of_a_large_statistic(freedom: int) -> None:
    # noncentrality = T·W − Z, simulated
    rng, trials = np.random.default_rng(51), 2000
    noncentrality = 40.0 * np.sqrt(freedom)
    drawn = (noncentrality + rng.standard_normal(trials)) / np.sqrt(rng.chisquare(freedom, trials) / freedom)
    failures = sum(noncentrality_lower(float(t), freedom, 0.2) > noncentrality for t in drawn)
    assert not caught(failures, trials, 0.2)
    assert 0.1 < failures / trials


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["z", "student"])
def test_refutes_a_true_claim_as_often_as_it_says(name: str, level: float) -> None:
    rng, claim, trials = np.random.default_rng(52), claim_of(GaussianTradeOff(1.0)), TRIALS // 2
    scale = 1.0 if name == "z" else 7.0
    refuted = 0
    for _ in range(trials):
        test = TestRuns(scale * rng.normal(1, 1, 9), scale * rng.normal(0, 1, 5))
        refuted += bool(compute(name, None, test, claim, failure_probability=level).refuted)
    assert agrees(refuted, trials, level)


def test_the_gate_catches_a_central_law() -> None:
    # the deviation of the data taken for σ: the limit of the normal law is too large
    rng, refuted = np.random.default_rng(53), 0
    for _ in range(TRIALS):
        x, y = rng.normal(3, 1, 3), rng.normal(0, 1, 3)
        deviation = np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
        test = TestRuns(x / deviation, y / deviation)
        refuted += compute("z", None, test, claim_of(GaussianTradeOff(3.0)), failure_probability=0.05).refuted
    assert caught(refuted, TRIALS, 0.05)


@pytest.mark.parametrize("name", ["z", "student"])
@pytest.mark.parametrize(("runs", "share"), [(1000, 0.91), (10_000, 0.965)])
def test_is_tight(name: str, runs: int, share: float) -> None:
    rng, claim = np.random.default_rng(54), claim_of(EpsilonDelta(1.0, 1e-5))
    found = [
        compute(
            name, None, TestRuns(rng.normal(1, 1, runs), rng.normal(0, 1, runs)), claim, failure_probability=0.05
        ).epsilon_lower
        for _ in range(200)
    ]
    # μ = 1 at √(2/N), in the middle; share is that of the spec
    assert np.mean(found) >= (share - 0.005) * epsilon_of_delta(1.0, 1e-5)


@pytest.mark.parametrize("scores", [([1.0, 1.0], [1.0, 1.0]), ([2.0, 2.0], [1.0]), ([1.0], [0.0]), ([1e300, 0], [0.0])])
def test_no_deviation_to_measure_with(scores: tuple[list[float], list[float]]) -> None:
    with pytest.raises(BadScores, match="must have a finite deviation within the arms, got .* Use a bound"):
        compute("student", None, TestRuns(*scores), claim_of(GaussianTradeOff(1.0)), failure_probability=0.05)


def test_scores_that_are_not_in_units_of_the_noise() -> None:
    test = TestRuns([1e308, 1e308], [-1e308])
    with pytest.raises(BadScores, match="units of σ"):
        compute("z", None, test, claim_of(GaussianTradeOff(1.0)), failure_probability=0.05)
