"""The Dvoretzky–Kiefer–Wolfowitz band: its width holds, half of it does not."""

import math

import numpy as np
import pytest

from audit.bounds.dkw import dkw_epsilon_lower
from audit.bounds.runs import TestRuns
from unlearning.tradeoff import EpsilonDelta

from .gates import LEVELS, TRIALS, caught, claim_of


@pytest.mark.parametrize("level", LEVELS)
def test_width_holds(level: float) -> None:
    claim = claim_of(EpsilonDelta(1.0, 1e-5))
    bound = dkw_epsilon_lower(TestRuns(np.arange(50.0), np.arange(70.0)), claim, level)
    width = bound.derivation["width_released"]
    assert width == pytest.approx(math.sqrt(math.log(2 / level) / 100))
    ordered = np.sort(np.random.default_rng(41).random((TRIALS, 50)), axis=1)
    excess = (np.arange(1, 51) / 50 - ordered).max(1)
    assert not caught(int((excess > width).sum()), TRIALS, level / 2)
    assert caught(int((excess > width / 2).sum()), TRIALS, level / 2)


def test_nothing_and_everything() -> None:
    claim = claim_of(EpsilonDelta(1.0, 1e-5))
    separated = dkw_epsilon_lower(TestRuns(np.ones(5000), np.zeros(5000)), claim, 0.05)
    width = math.sqrt(math.log(40) / 10_000)
    assert separated.epsilon_lower == pytest.approx(math.log((1 - width - 1e-5) / width))
    assert separated.refuted
    constant = dkw_epsilon_lower(TestRuns(np.ones(50), np.ones(50)), claim, 0.05)
    assert constant.epsilon_lower == 0 and constant.mu_lower == 0 and not constant.refuted
