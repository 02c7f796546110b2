"""The gap of MIA-U to retraining, simulated at length: its interval, and that of two attacks with luck of their own."""

import pytest

from audit.attacks.differencing import Differencing
from tests.audit.attacks.test_differencing import missed, pooled_gap, separate_gap
from tests.audit.gates import LEVELS, caught

pytestmark = pytest.mark.slow

TRIALS = 10_000
ATTACK = Differencing("l2", "logistic")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("attack", [ATTACK, Differencing("sorted-concat", "tree")], ids=lambda attack: attack.key)
def test_gap_covers_nothing_at_its_rate(attack: Differencing, level: float) -> None:
    assert not caught(missed(pooled_gap, attack, level, TRIALS), TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_gap_between_two_fits_is_caught(level: float) -> None:
    assert caught(missed(separate_gap, ATTACK, level, 2000), 2000, level)
