"""Estimates: their definitions by hand, that they decide nothing, and that they would be wrong if they did."""

import math

import numpy as np
import pytest
from scipy.stats import beta

from audit.bounds.estimates import bayesian, challenge, katz_log, klom
from audit.bounds.result import Kind
from audit.bounds.runs import SelectionRuns, TestRuns
from unlearning.tradeoff import Directions, EpsilonDelta

from .gates import caught, claim_of

ONE = EpsilonDelta(1.0, 1e-5, Directions.RELEASED)


def counted(x: int, n: int, y: int, m: int) -> tuple[SelectionRuns, TestRuns]:
    """Runs of which x of n and y of m score 1, the others 0."""
    return SelectionRuns([1.0, 1.0, 0.0], [0.0, 0.0, 1.0]), TestRuns(np.arange(n) < x, np.arange(m) < y)


def test_bayesian_is_the_quantile_of_the_posterior() -> None:
    found = bayesian(*counted(30, 60, 6, 50), claim_of(ONE), 0.05)
    rng = np.random.default_rng(81)
    p, q = beta.rvs(30.5, 30.5, size=400_000, random_state=rng), beta.rvs(6.5, 44.5, size=400_000, random_state=rng)
    assert found.epsilon_lower == pytest.approx(float(np.quantile(np.log((p - 1e-5) / q), 0.05)), abs=0.01)
    assert found.kind is Kind.CREDIBLE and found.refuted is None


def test_katz_log_by_hand() -> None:
    found = katz_log(*counted(30, 60, 6, 50), claim_of(ONE), 0.05)
    expected = math.log((0.5 - 1e-5) / 0.12) - 1.6448536 * math.sqrt(1 / 30 - 1 / 60 + 1 / 6 - 1 / 50)
    assert found.epsilon_lower == pytest.approx(expected, abs=1e-6)
    assert found.kind is Kind.ESTIMATE and found.refuted is None
    assert katz_log(*counted(30, 60, 0, 50), claim_of(ONE), 0.05).epsilon_lower > found.epsilon_lower


def test_challenge_by_hand() -> None:
    test = TestRuns([0.0, 2.0, 3.0, 4.0], [0.0, 1.0, 1.5, 3.5])
    # score ≥ 2: FPR = 1/4, FNR = 1/4
    found = challenge(test, claim_of(ONE), 0.05)
    assert found.epsilon_lower == pytest.approx(math.log((0.75 - 1e-5) / 0.25), abs=1e-9) and found.refuted is None


def test_klom_by_hand() -> None:
    found = klom(TestRuns([0.0, 1.0], [0.0, 0.0]), claim_of(ONE), 0.05)
    p, q = np.array([2, 2, *[1] * 18]) / 22, np.array([3, 1, *[1] * 18]) / 22
    assert found.derivation["kl"] == pytest.approx(float((q * np.log(q / p)).sum()))
    assert found.epsilon_lower == 0 and found.refuted is None
    constant = klom(TestRuns([1.0] * 5, [1.0] * 5), claim_of(ONE), 0.05)
    assert constant.derivation["kl"] == 0


def test_the_gate_would_catch_them() -> None:
    # equal laws, ε = 0: a deciding bound may exceed it in 5 % of the audits
    rng, claim, wrong = np.random.default_rng(82), claim_of(EpsilonDelta(0.0, 1e-5)), 0
    for _ in range(100):
        wrong += challenge(TestRuns(rng.random(100), rng.random(100)), claim, 0.05).epsilon_lower > 0
    assert caught(wrong, 100, 0.05)
