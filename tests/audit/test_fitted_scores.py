"""Scores that are fitted, on selection runs alone: the discriminator; likelihood ratios against loops and twins."""

from collections.abc import Callable

import numpy as np
import pytest

from audit.bounds.runs import SelectionRuns, TestRuns
from audit.discriminator import fit_logistic
from audit.fitted_scores import Array, SelectionFeatures, TestFeatures, cross_fit
from audit.likelihood_scores import RatioSum, fit_gaussians, fit_kernels
from audit.score_names import FITTED_SCORES
from audit.score_rung import FITS
from unlearning.errors import BadScores

from .attacks.test_likelihood import forgets_the_means, naive_gaussian, naive_kernel


def features(rng: np.random.Generator, runs: int, shift: float = 1.0) -> tuple[Array, Array]:
    return rng.standard_normal((runs, 8)) + shift * np.eye(1, 8), rng.standard_normal((runs, 8))


def test_every_fitted_score_has_a_fit() -> None:
    assert tuple(FITS) == FITTED_SCORES


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
class TestEveryFit:
    """Fitted on selection runs, and refusing them afterwards."""

    def test_it_finds_the_difference(self, fit) -> None:
        rng = np.random.default_rng(8)
        fitted, unseen = cross_fit(fit, SelectionFeatures(*features(rng, 200, 2.0)))
        assert isinstance(unseen, SelectionRuns)
        tested = fitted.scores(TestFeatures(*features(rng, 2000, 2.0)))
        assert isinstance(tested, TestRuns)
        for runs in (unseen, tested):
            separation = (runs.released.mean() - runs.reference.mean()) / runs.reference.std()
            assert 1.4 < separation < 2.4

    def test_it_refuses_the_runs_it_was_fitted_on(self, fit) -> None:
        rng = np.random.default_rng(9)
        selection = SelectionFeatures(*features(rng, 20))
        fitted, _ = cross_fit(fit, selection)
        with pytest.raises(TypeError, match="fitted on the selection runs"):
            fitted.scores(selection)

    def test_it_is_not_fitted_on_test_runs(self, fit) -> None:
        with pytest.raises(TypeError, match="must be fitted on SelectionFeatures"):
            cross_fit(fit, TestFeatures(*features(np.random.default_rng(9), 20)))

    def test_scores_of_selection_runs_are_those_of_maps_that_have_not_seen_them(self, fit) -> None:
        rng = np.random.default_rng(10)
        gaps = []
        for _ in range(20):
            released, reference = features(rng, 30, 0.0)
            fitted, unseen = cross_fit(fit, SelectionFeatures(released, reference))
            seen = fitted.scores(TestFeatures(released, reference))  # the same numbers, passed off as others
            gaps.append([
                (runs.released.mean() - runs.reference.mean()) / np.std(runs.reference) for runs in (unseen, seen)
            ])
        honest, learned = np.mean(gaps, 0)
        assert abs(honest) < 0.15 and learned > 0.3
        # another run in the place of the first changes no score of its own fold but its own
        other = released.copy()
        other[0] += 50.0
        _, again = cross_fit(fit, SelectionFeatures(other, reference))
        assert np.array_equal(again.released[5::5], unseen.released[5::5])
        assert not np.allclose(again.released[1::5], unseen.released[1::5])

    @pytest.mark.parametrize("runs", [1, 2, 3])
    def test_few_runs(self, fit, runs: int) -> None:
        rng = np.random.default_rng(11)
        fitted, unseen = cross_fit(fit, SelectionFeatures(*features(rng, runs)))
        assert unseen.sizes == (runs, runs)
        tested = fitted.scores(TestFeatures(*features(rng, 4)))
        assert np.isfinite(tested.released).all() and np.isfinite(tested.reference).all()
        if runs == 1:
            assert not fitted.maps and not tested.released.any()

    def test_constant_features_say_nothing(self, fit) -> None:
        rows = np.full((10, 3), 4.0)
        _, unseen = cross_fit(fit, SelectionFeatures(rows, rows))
        assert np.ptp(np.concatenate([unseen.released, unseen.reference])) < 1e-9


def test_a_slope_of_the_discriminator() -> None:
    rng = np.random.default_rng(8)
    fitted, _ = cross_fit(fit_logistic, SelectionFeatures(*features(rng, 200, 2.0)))
    weights = np.mean([own.weights for own in fitted.maps], 0)
    assert weights[0] / np.linalg.norm(weights) > 0.9


@pytest.mark.parametrize("rows", [np.zeros(3), np.zeros((0, 3)), np.full((2, 3), np.inf), np.zeros((2, 4))], ids=str)
def test_bad_features(rows: np.ndarray) -> None:
    with pytest.raises(BadScores):
        SelectionFeatures(np.zeros((2, 3)), rows)


class TestLikelihoodRatios:
    """Sums of the forgotten records' log ratios."""

    @pytest.mark.parametrize(("fit", "naive"), [(fit_gaussians, naive_gaussian), (fit_kernels, naive_kernel)])
    @pytest.mark.parametrize("runs", [15, 80])
    def test_against_loops(self, fit, naive: Callable[..., Array], runs: int) -> None:
        rng = np.random.default_rng(runs)
        released, reference = rng.standard_normal((runs, 4)) * 2 + 1, rng.standard_normal((runs + 3, 4))
        rows = rng.standard_normal((6, 4))
        phi = np.concatenate([released, reference])
        who = np.zeros(phi.shape, dtype=bool)
        who[:runs] = True
        assert fit(released, reference).values(rows) == pytest.approx(naive(phi, who, rows).sum(1))

    @staticmethod
    def divided(seed: int, runs: int) -> tuple[Array, Array]:
        """Half of the records are forgotten too much and half too little: means over records say nothing."""
        rng = np.random.default_rng(seed)
        means = 3.0 * np.arange(8)
        shifts = np.where(np.arange(8) % 2, 0.7, -0.7)
        return means + shifts + rng.standard_normal((runs, 8)), means + rng.standard_normal((runs, 8))

    def separation(self, fit) -> float:
        fitted, _ = cross_fit(fit, SelectionFeatures(*self.divided(1, 100)))
        found = fitted.scores(TestFeatures(*self.divided(2, 1000)))
        return float((found.released.mean() - found.reference.mean()) / found.reference.std())

    @pytest.mark.parametrize("fit", [fit_gaussians, fit_kernels])
    def test_they_find_what_a_mean_over_records_cannot(self, fit) -> None:
        best = 0.7 * np.sqrt(8)
        assert 0.8 * best < self.separation(fit) < 1.15 * best

    def test_one_that_forgets_the_records_means_is_caught(self) -> None:
        def broken(released: Array, reference: Array) -> RatioSum:
            phi = np.concatenate([released, reference])
            return RatioSum(
                forgets_the_means(phi, np.broadcast_to(np.arange(len(phi))[:, None] < len(released), phi.shape))
            )

        assert self.separation(broken) < 0.8 * 0.7 * np.sqrt(8)
