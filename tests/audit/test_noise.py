"""Rung B: six tests that are right for right noise, and see every broken one at the stated size."""

import numpy as np
import pytest

from audit.bounds.noise import TESTS, NoiseTests, noise_tests
from audit.controls import DEFECTS
from audit.design import WEIGHTS
from audit.noise_rung import noise_refutation_probability

from .gates import LEVELS, TRIALS, agrees, caught
from .noises import BROKEN, honest

ROW = 0.01  # failure probability of a row, as in the default plan
EXACT = ("scale", "calls", "replicas", "common")


def p_values(trials: int, shape: tuple[int, int, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    found = [noise_tests(honest(rng, shape)).p_values for _ in range(trials)]
    return {name: np.array([p[name] for p in found]) for name in TESTS}


@pytest.fixture(scope="module")
def of_right_noise() -> dict[str, np.ndarray]:
    return p_values(TRIALS, (3, 4, 5), np.random.default_rng(31))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TESTS)
def test_coverage(of_right_noise: dict[str, np.ndarray], name: str, level: float) -> None:
    refuted = int((of_right_noise[name] <= level).sum())
    assert not caught(refuted, TRIALS, level)
    if name in EXACT:
        assert agrees(refuted, TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_all_six_together(of_right_noise: dict[str, np.ndarray], level: float) -> None:
    share = level / len(TESTS)
    refuted = int(np.any([of_right_noise[name] <= share for name in TESTS], axis=0).sum())
    assert not caught(refuted, TRIALS, level)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_noise_is_seen(name: str) -> None:
    draw, expected, shape = BROKEN[name]
    tests = noise_tests(draw(np.random.default_rng(32), shape))
    for test in expected:
        assert tests.p_values[test] <= ROW * WEIGHTS[f"noise-{test}"]


@pytest.mark.parametrize("test", TESTS)
def test_every_test_is_needed(test: str) -> None:
    assert any(test in expected for _, expected, _ in BROKEN.values())


def test_float16_of_noise_alone_is_not_seen() -> None:
    # relative rounding of 2⁻¹¹: far below what a distance of distribution functions can see; documented, not wished
    noise = np.random.default_rng(33).standard_normal((40, 64, 50)).astype(np.float16).astype(np.float64)
    assert min(noise_tests(noise).p_values.values()) > 1e-4


@pytest.mark.parametrize("factor", [0.97, 0.9, 1.04])
def test_power_of_the_scale_test(factor: float) -> None:
    rng, shape = np.random.default_rng(34), (2, 10, 40)
    one = noise_tests(honest(rng, shape))
    freedom = np.prod(shape)
    energies = factor**2 * rng.chisquare(freedom, TRIALS)
    from scipy.stats import chi2

    p = 2 * np.minimum(chi2.cdf(energies, freedom), chi2.sf(energies, freedom))
    assert agrees(int((p <= 0.05).sum()), TRIALS, one.scale_refutation_probability(factor, 0.05))


def test_detectable_scale_has_its_power() -> None:
    tests = NoiseTests({}, 100, 64, 20, 1.0)
    for level in (0.05, 5e-4):
        factor = tests.detectable_scale(level, 0.8)
        assert tests.scale_refutation_probability(factor, level) == pytest.approx(0.8, abs=1e-6)
    # auditing.md §2: 1 % takes about 4·10⁴ coordinates·runs
    assert NoiseTests({}, 1, 1, 40_000, 1.0).detectable_scale(0.05, 0.8) == pytest.approx(0.99, abs=2e-4)


@pytest.mark.parametrize("name", ["calls", "replicas"])
def test_frozen_noise_is_refuted_at_least_as_often_as_predicted(name: str) -> None:
    rng, shape, level = np.random.default_rng(35), (3, 8, 2), 0.01
    between = noise_refutation_probability(NoiseTests({}, *shape, 1.0), DEFECTS["frozen-noise"], name, level)
    assert between is not None
    frozen = (np.broadcast_to(rng.standard_normal((1, 1, 2)), shape) for _ in range(TRIALS))
    refuted = sum(noise_tests(xi).p_values[name] <= level for xi in frozen)
    assert 0.4 < between[0] < 0.99
    assert agrees(refuted, TRIALS, between[0]) or refuted / TRIALS > between[0]


def test_predictions_are_silent_where_nothing_is_known() -> None:
    tests = NoiseTests({}, 10, 64, 4, 1.0)
    assert noise_refutation_probability(tests, DEFECTS["frozen-noise"], "scale", 1e-5) is None
    assert noise_refutation_probability(tests, DEFECTS["tenth-noise"], "shape", 1e-5) is None
    assert noise_refutation_probability(tests, DEFECTS["retrained"], "shape", 1e-5) == (1e-5, 1e-5)


def test_what_cannot_be_tested() -> None:
    with pytest.raises(ValueError, match="at least 2 calls, got 1"):
        noise_tests([np.zeros((4, 3))])
    with pytest.raises(ValueError, match="finite"):
        noise_tests([np.full((4, 3), np.nan)] * 2)
