"""Likelihood ratios of records against loops, closed forms of known Gaussians, and fits that are wrong."""

import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from audit.attacks.likelihood import OWN_DEVIATION, Gaussians, Kernels, Ratio, gaussian_fit, kernel_fit

from ..gates import agrees
from .outputs import members

Array = np.ndarray
Fit = Callable[[Array, Array], Ratio]


def normal(x: float, mean: float, deviation: float) -> float:
    return math.exp(-((x - mean) ** 2) / (2 * deviation**2)) / (deviation * math.sqrt(2 * math.pi))


def naive_deviations(phi: Array, who: Array) -> list[tuple[float, float]]:
    """Of each record: in and out; pooled over records, each less its own mean, where a side has fewer than 64."""
    sides = [[phi[who[:, z] == side, z].tolist() for z in range(phi.shape[1])] for side in (True, False)]
    pooled = []
    for side in sides:
        squares = [(x - statistics.mean(own)) ** 2 for own in side for x in own]
        pooled.append(math.sqrt(sum(squares) / sum(len(own) - 1 for own in side)))
    return [
        (statistics.stdev(own), statistics.stdev(beside))
        if min(len(own), len(beside)) >= OWN_DEVIATION
        else (pooled[0], pooled[1])
        for own, beside in zip(*sides, strict=True)
    ]


def naive_gaussian(phi: Array, who: Array, x: Array) -> Array:
    deviations = naive_deviations(phi, who)
    found = np.empty(x.shape)
    for k, z in np.ndindex(x.shape):
        densities = [
            normal(float(x[k, z]), statistics.mean(phi[who[:, z] == side, z].tolist()), deviation)
            for side, deviation in zip((True, False), deviations[z], strict=True)
        ]
        found[k, z] = math.log(densities[0]) - math.log(densities[1])
    return found


def naive_kernel(phi: Array, who: Array, x: Array) -> Array:
    deviations = naive_deviations(phi, who)
    found = np.empty(x.shape)
    for k, z in np.ndindex(x.shape):
        everyone = phi[:, z].tolist()
        wide = max(statistics.pstdev(everyone), *deviations[z])
        densities = []
        for side, deviation in zip((True, False), deviations[z], strict=True):
            own = phi[who[:, z] == side, z].tolist()
            width = (4 / (3 * len(own))) ** 0.2 * deviation
            kernels = sum([normal(float(x[k, z]), point, width) for point in own])
            densities.append((kernels + normal(float(x[k, z]), statistics.mean(everyone), wide)) / (len(own) + 1))
        found[k, z] = math.log(densities[0]) - math.log(densities[1])
    return found


ORACLES: dict[str, tuple[Fit, Callable[[Array, Array, Array], Array]]] = {
    "gaussian": (gaussian_fit, naive_gaussian),
    "kernel": (kernel_fit, naive_kernel),
}


def drawn(seed: int, shadows: int, candidates: int, *, shift: float = 1.0) -> tuple[Array, Array]:
    """φ = the record's own mean, far from the others' + shift where it was learned + N(0, 1)."""
    rng = np.random.default_rng(seed)
    who = members(rng, shadows, candidates, candidates // 2)
    return 5.0 * np.arange(candidates) + shift * who + rng.standard_normal(who.shape), who


def follows_its_formula(fit: Fit, naive: Callable[[Array, Array, Array], Array]) -> bool:
    """With few shadows, with enough of them for own deviations, and with some records of either kind."""
    for shadows, share in ((12, 0.5), (160, 0.5), (128, 0.5), (400, 0.16)):
        rng = np.random.default_rng(shadows)
        who = members(rng, shadows, 8, round(share * 8))
        phi = 5.0 * np.arange(8) + who * np.linspace(0, 2, 8) + rng.standard_normal(who.shape) * (1 + 0.5 * who)
        x = phi[:7] + rng.standard_normal((7, 8))
        if not np.allclose(fit(phi, who).log_ratio(x), naive(phi, who, x), rtol=1e-9, atol=1e-9):
            return False
    return True


def forgets_the_means(phi: Array, who: Array) -> Gaussians:
    """Wrong: one mean for all records."""
    found = gaussian_fit(phi, who)
    grand = np.full(phi.shape[1], phi.mean())
    return replace(found, mean_in=grand + found.mean_in.mean() - found.mean_out.mean(), mean_out=grand)


def variance_with_the_means_in_it(phi: Array, who: Array) -> Gaussians:
    """Wrong: the variance of all records at once, without removing each record's mean."""
    found = gaussian_fit(phi, who)
    wide = [np.full(phi.shape[1], phi[side].std()) for side in (who, ~who)]
    return replace(found, deviation_in=wide[0], deviation_out=wide[1])


def sides_pooled_together(phi: Array, who: Array) -> Gaussians:
    """Wrong: one deviation for in and out."""
    found = gaussian_fit(phi, who)
    return replace(found, deviation_in=found.deviation_out)


def models_on_the_wrong_side(phi: Array, who: Array) -> Kernels:
    """Wrong: densities that hold some models of the other side too."""
    return kernel_fit(phi, who | (np.arange(len(who)) % 4 == 0)[:, None])


@pytest.mark.parametrize("name", ORACLES)
def test_ratios_equal_loops_over_models_and_records(name: str) -> None:
    assert follows_its_formula(*ORACLES[name])


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (forgets_the_means, "gaussian"),
        (variance_with_the_means_in_it, "gaussian"),
        (sides_pooled_together, "gaussian"),
        (models_on_the_wrong_side, "kernel"),
    ],
)
def test_wrong_fits_do_not_follow_the_formula(broken: Fit, name: str) -> None:
    assert not follows_its_formula(broken, ORACLES[name][1])


class TestKnownGaussians:
    """φ ~ N(a_z, 1) or N(a_z + d, 1): Λ = d(φ − a_z − d/2), with AUC Φ(d/√2) and mean d²/2 where it was learned."""

    SHIFT, RUNS, SHADOWS = 1.0, 8000, 1000

    def right_pairs(self, fit: Fit) -> int:
        """Runs in which the one forgotten of two candidates scores higher."""
        ratio = fit(*drawn(1, self.SHADOWS, 2, shift=self.SHIFT))
        x, who = drawn(2, self.RUNS, 2, shift=self.SHIFT)
        scores = ratio.log_ratio(x)
        return int((scores[who] > scores[~who]).sum())

    @pytest.mark.parametrize("fit", [gaussian_fit, kernel_fit])
    def test_auc(self, fit: Fit) -> None:
        assert agrees(self.right_pairs(fit), self.RUNS, float(ndtr(self.SHIFT / math.sqrt(2))))

    def test_without_the_records_means_the_auc_is_missed(self) -> None:
        assert not agrees(self.right_pairs(forgets_the_means), self.RUNS, float(ndtr(self.SHIFT / math.sqrt(2))))

    def test_mean_of_the_ratio(self) -> None:
        x, who = drawn(4, self.RUNS, 8, shift=self.SHIFT)
        shadows = drawn(3, 100, 8, shift=self.SHIFT)  # deviations are pooled
        near, far = (
            float(fit(*shadows).log_ratio(x)[who].mean()) for fit in (gaussian_fit, variance_with_the_means_in_it)
        )
        assert near == pytest.approx(self.SHIFT**2 / 2, abs=0.1)
        assert far < 0.01


@pytest.mark.parametrize("fit", [gaussian_fit, kernel_fit])
class TestLittleToGoOn:
    """Few shadows, empty sides and models without randomness: always a number."""

    @pytest.mark.parametrize("shadows", [1, 2, 3])
    def test_few_shadows(self, fit: Fit, shadows: int) -> None:
        phi, who = drawn(5, shadows, 4)
        assert np.isfinite(fit(phi, who).log_ratio(phi)).all()

    def test_a_record_that_every_model_learned_and_one_that_none_did(self, fit: Fit) -> None:
        phi, who = drawn(6, 40, 4, shift=4.0)
        phi = phi - phi[:, :1] + np.random.default_rng(0).standard_normal((40, 1))
        who[:, 0], who[:, 1] = True, False
        found = fit(phi, who).log_ratio(phi)
        assert np.isfinite(found).all()

    def test_models_without_randomness_are_told_apart(self, fit: Fit) -> None:
        who = members(np.random.default_rng(8), 20, 6, 3)
        phi = np.where(who, 1.0, 1.0 - 1e-3)
        found = fit(phi, who).log_ratio(phi)
        assert np.isfinite(found).all() and (found[who] > 0).all() and (found[~who] < 0).all()

    def test_constant_confidences_say_nothing(self, fit: Fit) -> None:
        who = members(np.random.default_rng(9), 20, 6, 3)
        found = fit(np.full(who.shape, 3.0), who).log_ratio(np.full((2, 6), 3.0))
        assert found == pytest.approx(0.0, abs=0.1)  # bandwidths differ where the numbers of models do

    def test_far_from_everything(self, fit: Fit) -> None:
        phi, who = drawn(10, 50, 4)
        found = fit(phi, who).log_ratio(np.array([[1e8] * 4, [-1e8] * 4]))
        assert np.isfinite(found).all()
        if fit is kernel_fit:
            assert np.abs(found).max() < 1  # the wide Gaussian alone is left


def test_gaussians_of_an_empty_side_lie_where_the_others_do() -> None:
    phi, who = drawn(7, 400, 4, shift=2.0)
    phi[:, 0], who[:, 0] = np.random.default_rng(1).standard_normal(400), False
    found = gaussian_fit(phi, who)
    assert found.mean_in[0] == pytest.approx(2.0, abs=0.5) and found.mean_out[0] == pytest.approx(0.0, abs=0.5)


def test_blocks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    phi, who = drawn(11, 50, 4)
    whole = kernel_fit(phi, who).log_ratio(phi)
    monkeypatch.setattr("audit.attacks.likelihood._BLOCK", 700)
    assert np.array_equal(kernel_fit(phi, who).log_ratio(phi), whole)


@pytest.mark.parametrize("value", [1e3, 1e150, 1e160, -1e160, 1e300, -1e308])
@pytest.mark.parametrize("fit", [gaussian_fit, kernel_fit])
def test_ratios_are_finite_for_any_confidence(fit, value):
    rng = np.random.default_rng(13)
    phi, who = 1e-3 * rng.standard_normal((16, 4)), rng.random((16, 4)) < 0.5
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(fit(phi, who).log_ratio(np.full((1, 4), value))).all()
        phi[0] = value  # in a shadow run
        assert np.isfinite(fit(phi, who).log_ratio(np.array([[0.0, value, -value, 1.0]]))).all()
