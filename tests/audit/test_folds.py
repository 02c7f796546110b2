"""Folds: the same as their parts, and a twin that tests where it chose."""

import numpy as np
import pytest

from audit.bounds.folds import FOLDS, folds_epsilon_lower
from audit.bounds.joint import joint_epsilon_lower
from audit.bounds.runs import SelectionRuns, TestRuns
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff

from .gates import LEVELS, caught, claim_of


def test_largest_of_the_folds() -> None:
    rng, claim = np.random.default_rng(61), claim_of(EpsilonDelta(0.5, 1e-5))
    x, y = rng.normal(1.5, 1, 203), rng.normal(0, 1, 151)
    parts = []
    for fold in range(FOLDS):
        inside_x, inside_y = np.arange(203) % FOLDS == fold, np.arange(151) % FOLDS == fold
        selection = SelectionRuns(x[inside_x], y[inside_y])
        parts.append(joint_epsilon_lower(selection, TestRuns(x[~inside_x], y[~inside_y]), claim, 0.05 / FOLDS))
    bound = folds_epsilon_lower(TestRuns(x, y), claim, 0.05)
    assert bound.epsilon_lower == max(part.epsilon_lower for part in parts)
    assert bound.mu_lower == max(part.mu_lower or 0.0 for part in parts)
    assert bound.failure_probability == 0.05 and bound.derivation["folds"] == FOLDS


@pytest.mark.parametrize("level", LEVELS)
def test_the_gate_catches_a_fold_that_tests_itself(level: float) -> None:
    rng, claim, trials = np.random.default_rng(62), claim_of(GaussianTradeOff(0.0)), 120
    honest = twin = 0
    for _ in range(trials):
        x, y = rng.standard_normal(60), rng.standard_normal(60)
        honest += bool(folds_epsilon_lower(TestRuns(x, y), claim, level).refuted)
        twin += bool(joint_epsilon_lower(SelectionRuns(x, y), TestRuns(x, y), claim, level).refuted)
    assert not caught(honest, trials, level)
    assert caught(twin, trials, level)


@pytest.mark.parametrize("runs", [2, 3, 4])
def test_few_runs(runs: int) -> None:
    bound = folds_epsilon_lower(TestRuns(np.ones(runs), np.zeros(9)), claim_of(EpsilonDelta(1.0, 1e-5)), 0.05)
    assert bound.derivation["folds"] == runs and not bound.refuted
