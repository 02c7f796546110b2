"""The betting limit holds for every law on [0, 1], is sharper than Hoeffding's, and a peeking twin is caught."""

import math

import numpy as np
import pytest

from audit.bounds import bounded_mean
from audit.bounds.bounded_mean import mean_lower
from unlearning.errors import BadScores

from .gates import LEVELS, TRIALS, caught

LAWS = {
    "coin": (lambda rng, n: rng.integers(0, 2, n).astype(float), 0.5),
    "rare": (lambda rng, n: (rng.random(n) < 0.03).astype(float), 0.03),
    "narrow": (lambda rng, n: rng.beta(200, 200, n), 0.5),
    "skewed": (lambda rng, n: rng.beta(0.3, 2.7, n), 0.1),
    "constant": (lambda rng, n: np.full(n, 0.7), 0.7),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("level", LEVELS)
def test_it_exceeds_the_mean_no_more_often_than_stated(law, level):
    draw, mean = LAWS[law]
    rng = np.random.default_rng(3)
    wrong = sum(mean_lower(draw(rng, 60), level) > mean + 1e-12 for _ in range(TRIALS))
    assert not caught(wrong, TRIALS, level)


def test_a_twin_that_stakes_after_seeing_is_caught(monkeypatch):
    """It bets on a value when it knows that it is large."""
    honest = bounded_mean._stakes
    monkeypatch.setattr(bounded_mean, "_stakes", lambda x, level: honest(x, level) * (x > 0.5))
    rng = np.random.default_rng(3)
    wrong = sum(mean_lower(rng.integers(0, 2, 60).astype(float), 0.05) > 0.5 for _ in range(200))
    assert caught(wrong, 200, 0.05)


def test_it_uses_a_small_variance():
    values = np.random.default_rng(0).beta(50, 50, 200)
    hoeffding = values.mean() - math.sqrt(math.log(1 / 0.01) / (2 * 200))
    assert values.mean() > mean_lower(values, 0.01) > hoeffding + 0.04


def test_the_order_of_the_runs_is_the_callers():
    values = np.array([0.0] * 10 + [1.0] * 40)
    assert mean_lower(values, 0.05) != mean_lower(values[::-1], 0.05)


def test_bad_input():
    with pytest.raises(BadScores, match=r"in \[0, 1\]"):
        mean_lower([0.2, 1.1], 0.05)
    with pytest.raises(BadScores, match=r"in \[0, 1\]"):
        mean_lower([math.nan], 0.05)
    with pytest.raises(ValueError, match="failure_probability"):
        mean_lower([0.2], 0.0)
    assert mean_lower([], 0.05) == 0.0
