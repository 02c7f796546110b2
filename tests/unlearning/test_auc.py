"""What a claim allows an AUC: the exact law of Mann and Whitney, its inverses, and never above 1 − f(½)."""

from itertools import combinations

import numpy as np
import pytest

from unlearning.auc import _tails, auc_allowed, auc_epsilon_lower, auc_mu_lower
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

CLAIMS = [
    GaussianTradeOff(0.3),
    GaussianTradeOff(4.0),
    EpsilonDelta(1.0, 1e-5),
    EpsilonDelta(0.5, 0.05, Directions.RELEASED),
    EpsilonDelta(0.5, 0.05, Directions.REFERENCE),
]


@pytest.mark.parametrize("forgotten, others", [(1, 1), (1, 6), (2, 3), (4, 2), (5, 5)])
def test_the_law_is_that_of_all_orders(forgotten, others):
    counts = np.zeros(forgotten * others + 1)
    for places in combinations(range(forgotten + others), forgotten):
        counts[sum(place - rank for rank, place in enumerate(places))] += 1
    tails = np.cumsum((counts / counts.sum())[::-1])[::-1][1:]
    np.testing.assert_allclose(_tails(forgotten, others), tails, atol=1e-14)


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("forgotten, others", [(1, 1), (1, 9), (5, 5), (20, 20), (100, 100), (150, 150)])
def test_it_is_between_a_half_and_that_of_one_pair(claim, forgotten, others):
    found = auc_allowed(claim, forgotten, others)
    assert 0.5 <= found <= float(1 - claim(0.5)) + 2e-9
    assert found == pytest.approx(auc_allowed(claim, others, forgotten), abs=1e-9)
    if forgotten * others > 10_000:
        assert found == float(1 - claim(0.5))


@pytest.mark.parametrize("forgotten, others", [(1, 1), (5, 5), (3, 12)])
def test_limits_are_the_smallest_claims_that_allow_the_auc(forgotten, others):
    for auc in (0.4, 0.5, 0.63, 0.9):
        mu = auc_mu_lower(auc, forgotten, others)
        assert mu == 0 if auc <= 0.5 else mu > 0
        assert auc_allowed(GaussianTradeOff(mu + 1e-6), forgotten, others) >= auc
        assert auc <= 0.5 or auc_allowed(GaussianTradeOff(mu * (1 - 1e-6)), forgotten, others) < auc
        for directions in Directions:
            epsilon = auc_epsilon_lower(auc, forgotten, others, 1e-3, directions)
            assert auc_allowed(EpsilonDelta(epsilon + 1e-6, 1e-3, directions), forgotten, others) >= auc


def test_limits_of_certainty_are_finite():
    assert np.isfinite(auc_mu_lower(1.0, 5, 5)) and np.isfinite(auc_epsilon_lower(1.0, 1, 1, 1e-5, Directions.BOTH))
