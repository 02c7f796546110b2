"""Ten thousand audits of equal laws by every fitted score: a true claim is refuted as seldom as stated."""

import numpy as np
import pytest

from audit.score_names import FITTED_SCORES
from tests.audit.gates import LEVELS, caught
from tests.audit.test_score_rung import learned_refutations

AUDITS = 10_000
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("score", FITTED_SCORES)
def test_fitted_scores_refute_equal_laws_at_most_at_the_level(score: str, level: float) -> None:
    refuted = learned_refutations(score, np.random.default_rng(71), AUDITS, level, runs=20)
    assert not caught(refuted, AUDITS, level)
