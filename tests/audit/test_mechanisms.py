"""Exact ε against integration, against dp-accounting and against the draws themselves."""

import inspect
import math
import warnings

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import laplace, norm

from audit.bounds.scale import epsilon_of_scale
from audit.laws import Finite, GaussianPair, Geometric, LaplaceShift, Laws, SubsampledGaussian, randomised_response
from audit.mechanisms import BROKEN, DELTA, GAUSSIAN_SHIFTS, LEAK, TRUE, Mechanism
from audit.release_laws import Clustered, Pipeline
from tests.audit.gates import agrees
from unlearning.gaussian import delta_of_epsilon
from unlearning.tradeoff import Directions, EpsilonDelta

ALL = [*TRUE.values(), *BROKEN.values()]
IDS = [f"{'true' if m.holds else 'broken'}-{m.name}" for m in ALL]

DENSITIES = {  # independent of the closed forms: the densities alone
    "laplace": (LaplaceShift(1.0), lambda x: laplace.pdf(x, 1), laplace.pdf, 40),
    "gaussian": (GaussianPair(2.0), lambda x: norm.pdf(x, 2), norm.pdf, 12),
    "unequal": (GaussianPair(0.0, 0.8), lambda x: norm.pdf(x, 0, 0.8), norm.pdf, 12),
    "shifted unequal": (GaussianPair(1.0, 0.5), lambda x: norm.pdf(x, 1, 0.5), norm.pdf, 12),
    "subsampled": (
        SubsampledGaussian(2.0, 0.1),
        lambda x: 0.9 * norm.pdf(x) + 0.1 * norm.pdf(x, 2),
        norm.pdf,
        12,
    ),
}


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.3, 1.0, 2.5])
def test_hockey_stick_is_the_integral(name: str, epsilon: float) -> None:
    laws, p, q, reach = DENSITIES[name]

    def integral(first, second) -> float:
        gap = lambda x: max(0.0, first(x) - math.exp(epsilon) * second(x))  # noqa: E731
        edges = np.arange(-reach, reach + 1.0)  # the kinks of Laplace are among them
        return sum(quad(gap, a, b, epsabs=1e-13, limit=200)[0] for a, b in zip(edges, edges[1:], strict=False))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = integral(p, q), integral(q, p)
    assert laws.one_sided(epsilon) == pytest.approx(expected, abs=2e-9)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 1.5])
def test_geometric_is_the_sum(epsilon: float) -> None:
    a, k = math.exp(-1), np.arange(-200, 202)
    p, q = ((1 - a) / (1 + a) * a ** abs(k - centre) for centre in (1, 0))
    expected = np.maximum(p - math.exp(epsilon) * q, 0).sum(), np.maximum(q - math.exp(epsilon) * p, 0).sum()
    assert Geometric(1.0).one_sided(epsilon) == pytest.approx(expected, abs=1e-12)


def test_the_gaussian_values_of_the_literature() -> None:
    expected = [0.3407, 0.9263, 1.9931, 4.3772, 9.9973, 16.6755, 24.3816]
    assert [round(TRUE[f"gaussian-{mu:g}"].epsilon(1e-5), 4) for mu in GAUSSIAN_SHIFTS] == expected


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.1])
def test_unequal_deviations_by_chi_square(factor: float) -> None:
    assert GaussianPair(0.0, factor).epsilon(1e-5) == pytest.approx(epsilon_of_scale(factor, 1, 1e-5), rel=1e-6)


@pytest.mark.parametrize(("shift", "rate"), [(2.0, 0.1), (1.0, 0.01), (0.5, 0.5)])
@pytest.mark.parametrize("delta", [1e-5, 1e-2])
def test_subsampled_by_dp_accounting(shift: float, rate: float, delta: float) -> None:
    pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    theirs = pld.from_gaussian_mechanism(1 / shift, sampling_prob=rate, value_discretization_interval=1e-4)
    exact = SubsampledGaussian(shift, rate).epsilon(delta)
    # pessimistic, and by no more than one cell
    assert exact - 1e-9 <= theirs.get_epsilon_for_delta(delta) <= exact + 2e-4 + 1e-2 * (exact == 0)


@pytest.mark.parametrize("mechanism", ALL, ids=IDS)
def test_claims_are_as_true_as_they_say(mechanism: Mechanism) -> None:
    laws, claim = mechanism.laws, mechanism.claim
    if isinstance(claim.tradeoff, EpsilonDelta):
        gap = laws.delta(claim.epsilon, claim.directions) - claim.delta
        worst, edge = gap, 1e-12
    else:
        grid = np.linspace(0, 12, 400)
        worst = max(laws.delta(float(e)) - delta_of_epsilon(claim.tradeoff.mu, float(e)) for e in grid)
        edge = 1e-12
    assert (worst <= edge) is mechanism.holds
    if mechanism.holds and mechanism.epsilon(DELTA) > 0:
        assert worst >= -edge  # with equality


@pytest.mark.parametrize("mechanism", ALL, ids=IDS)
def test_draws_follow_their_tails(mechanism: Mechanism) -> None:
    runs = 20_000
    released, reference = mechanism.draw(runs, generator=np.random.default_rng(1))
    assert released.shape == reference.shape == (runs,) and released.dtype == np.float64
    for threshold in (-1.5, -0.5, 0.0, 0.5, 1.0, 2.5):
        tails = mechanism.laws.tails(threshold)
        if tails is None:
            continue
        for scores, expected in zip((released, reference), tails, strict=True):
            assert agrees(int((scores >= threshold - 1e-12).sum()), runs, expected)


@pytest.mark.parametrize("mechanism", ALL, ids=IDS)
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 2.0])
def test_no_event_beats_the_exact_delta(mechanism: Mechanism, epsilon: float) -> None:
    laws = mechanism.laws
    best = [0.0, 0.0]
    for threshold in np.linspace(-8, 8, 321):
        tails = laws.tails(float(threshold))
        if tails is None:
            return
        p, q = tails
        for inside, outside in ((p, q), (1 - p, 1 - q)):
            best[0] = max(best[0], inside - math.exp(epsilon) * outside)
            best[1] = max(best[1], outside - math.exp(epsilon) * inside)
    exact = laws.one_sided(epsilon)
    assert best[0] <= exact[0] + 1e-12 and best[1] <= exact[1] + 1e-12
    if not isinstance(laws, Pipeline):  # the score is as good as the release, up to the grid of thresholds
        assert best == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("mechanism", ALL, ids=IDS)
def test_the_same_generator_the_same_scores(mechanism: Mechanism) -> None:
    one, two = (mechanism.draw(10, generator=np.random.default_rng(0)) for _ in range(2))
    assert np.array_equal(one, two)
    assert not hasattr(np.random, "_unused") and "generator" in inspect.signature(mechanism.draw).parameters


def test_float16_noise_is_read_from_the_last_bits() -> None:
    released, reference = Pipeline(1.0, half_precision=True).draw(500, generator=np.random.default_rng(0))
    assert released.min() == 1 and reference.max() == 0
    sound, other = Pipeline(1.0).releases(500, generator=np.random.default_rng(0))
    fine = Pipeline(1.0, half_precision=True)
    assert fine.score(sound).min() == fine.score(other).min() == 1  # float64 noise gives nothing away


def test_releases_have_the_stated_defects() -> None:
    rng = np.random.default_rng(2)
    half = Pipeline(1.0, noisy=5)
    released, reference = half.releases(50, generator=rng)
    assert released.shape == (50, 10)
    assert (released.std(0) > 0.1).tolist() == [True] * 5 + [False] * 5
    frozen, other = Pipeline(1.0, frozen=True).releases(50, generator=rng)
    assert np.ptp(frozen, axis=0).max() == 0 and np.allclose(np.linalg.norm(frozen - other, axis=1), 1.0)
    assert np.linalg.norm(half.direction) == pytest.approx(1.0)
    assert half.mu is None and Pipeline(1.0, noise=0.5).mu == 2.0


def test_a_rare_leak_has_no_epsilon_below_its_rate() -> None:
    leak = BROKEN["rare-leak"]
    assert leak.epsilon(LEAK / 2) == math.inf and leak.epsilon(2 * LEAK) < 1e-2


def test_one_direction_only() -> None:
    halved = TRUE["one-direction"].laws
    assert halved.epsilon(1e-5, Directions.RELEASED) == pytest.approx(math.log(2), abs=1e-4)
    assert halved.epsilon(1e-5, Directions.REFERENCE) == math.inf


def test_clusters_are_correlated() -> None:
    rows, _ = Clustered().rows(4000, generator=np.random.default_rng(3))
    assert rows.shape == (4000, 20)
    assert np.corrcoef(rows[:, 0], rows[:, 1])[0, 1] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Finite((0.0, 1.0), (1.0,), (0.5, 0.5)),
        lambda: Finite((1.0, 0.0), (0.5, 0.5), (0.5, 0.5)),
        lambda: Finite((0.0, 1.0), (0.5, 0.6), (0.5, 0.5)),
        lambda: GaussianPair(-1.0),
        lambda: GaussianPair(1.0, 1.5),
        lambda: randomised_response(1.0).delta(-1.0),
        lambda: randomised_response(1.0).epsilon(0.0),
    ],
)
def test_bad_input(make) -> None:
    with pytest.raises(ValueError, match="must"):
        make()


def test_an_oracle_that_errs_is_caught() -> None:
    class Halved(GaussianPair):
        def one_sided(self, epsilon: float) -> tuple[float, float]:
            first, second = GaussianPair.one_sided(self, epsilon)
            return first / 2, second / 2

    laws: Laws = Halved(1.0)
    p, q = laws.tails(1.0)
    assert p - q > laws.delta(0.0)
