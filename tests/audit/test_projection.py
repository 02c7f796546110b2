"""The projection z-test and the exact ε of too little noise."""

import numpy as np
import pytest
from scipy.stats import chi2

from audit.bounds.projection import (
    projection_detectable,
    projection_mu_lower,
    projection_pairs_needed,
    projection_refutation_probability,
)
from audit.bounds.scale import epsilon_of_scale

from .gates import LEVELS, TRIALS, agrees, caught


def _means(mu: float, pairs: int, trials: int, rng: np.random.Generator, *, noise: float = 1.0) -> np.ndarray:
    """Mean projected differences of pairs whose distance is μ in a direction of their own, at most μ along u."""
    along = mu * np.cos(rng.uniform(0, 0.3, pairs))
    released = along + noise * rng.standard_normal((trials, pairs))
    return (released - noise * rng.standard_normal((trials, pairs))).mean(1)


def _refuted(means: np.ndarray, mu: float, pairs: int, level: float) -> int:
    return sum(projection_mu_lower(float(mean), pairs, level) > mu for mean in means)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mu", [0.0, 0.2681, 1.0])
def test_coverage_at_the_boundary(mu: float, level: float) -> None:
    rng = np.random.default_rng(11)
    means = mu + np.sqrt(2 / 50) * rng.standard_normal(TRIALS)
    assert not caught(_refuted(means, mu, 50, level), TRIALS, level)
    assert agrees(_refuted(means, mu, 50, level), TRIALS, level)  # and no more careful than it says
    assert not caught(_refuted(_means(mu, 50, TRIALS, rng), mu, 50, level), TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_gate_catches_training_scatter_taken_for_noise(level: float) -> None:
    # independent seeds: the difference is scattered more widely than the noise, which the test takes as true
    means = _means(0.0, 50, TRIALS, np.random.default_rng(12), noise=3.0)
    assert caught(_refuted(means, 0.0, 50, level), TRIALS, level)


def test_power_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(13)
    for mu, pairs in ((0.5, 60), (1.0, 60), (2.0, 8)):
        means = mu + np.sqrt(2 / pairs) * rng.standard_normal(TRIALS)
        power = projection_refutation_probability(mu, 0.2681, pairs, 0.05)
        assert agrees(_refuted(means, 0.2681, pairs, 0.05), TRIALS, power)


def test_power_and_its_inverses_agree() -> None:
    detectable = projection_detectable(1.0, 173, 0.05, 0.8)
    assert projection_refutation_probability(detectable, 1.0, 173, 0.05) == pytest.approx(0.8)
    for gap in (0.1, 0.5, 1.0, 7.0):
        pairs = projection_pairs_needed(1 + gap, 1.0, 0.003)
        assert pairs is not None
        assert projection_refutation_probability(1 + gap, 1.0, pairs, 0.003) >= 0.8
        if pairs > 1:
            assert projection_refutation_probability(1 + gap, 1.0, pairs - 1, 0.003) < 0.8
    assert projection_pairs_needed(1.0, 1.0, 0.05) is None
    # auditing.md §1: twice the claimed shift at (ε = 1, δ = 1e-5)
    assert projection_pairs_needed(2 * 0.26810, 0.26810, 0.05) in (172, 173)


def test_a_smaller_failure_probability_never_raises_a_bound() -> None:
    bounds = [projection_mu_lower(1.0, 30, a) for a in (0.5, 0.2, 0.05, 1e-3, 1e-9)]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize(
    ("factor", "coordinates", "epsilon"),
    [  # mpmath, 60 digits
        (0.1, 1, 962.518024549039),
        (0.1, 4, 1399.2204698359737),
        (0.1, 650, 38863.199800387476),
        (0.5, 30, 90.83282047846455),
        (0.5, 650, 771.5440618475252),
    ],
)
def test_epsilon_of_scale_where_the_tails_underflow(factor: float, coordinates: int, epsilon: float) -> None:
    assert epsilon_of_scale(factor, coordinates, 1e-5) == pytest.approx(epsilon, rel=1e-9)


def test_epsilon_of_scale_is_attained() -> None:
    # δ at the returned ε, over the events {‖x‖² ≥ t} and {‖x‖² ≤ t}: their largest is δ
    for factor, coordinates, delta in ((0.9, 4, 1e-5), (0.5, 2, 1e-3), (0.8, 30, 1e-2)):
        epsilon = epsilon_of_scale(factor, coordinates, delta)
        t = np.linspace(0, 30 * coordinates + 100, 400_001)
        released, reference = chi2.sf(t / factor**2, coordinates), chi2.sf(t, coordinates)
        more = (1 - released) - np.exp(epsilon) * (1 - reference)
        less = reference - np.exp(epsilon) * released
        assert max(more.max(), less.max()) == pytest.approx(delta, rel=1e-3)
    with pytest.raises(ValueError, match="factor must be in"):
        epsilon_of_scale(1.0, 3, 1e-5)
