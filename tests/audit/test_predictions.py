"""Predictions are exact for given models: probabilities of events, power, and what a control is predicted to do."""

import numpy as np
import pytest

from audit.bounds.projection import projection_mu_lower
from audit.bounds.result import Event
from audit.control_rung import judge
from audit.controls import DEFECTS, HONEST, Defect
from audit.distinguish_rung import (
    claimed_mu,
    distinguish_lines,
    probabilities,
    refutation_probability,
    runs_needed,
)
from audit.fleet import Array
from audit.scores import Choice, Releases, choose, score_chunk
from audit.sensitivity_rung import Measured, distances
from unlearning.claim import SeedPolicy
from unlearning.verdict import Outcome, Verdict

from .gates import TRIALS, agrees
from .problems import claim, design

SIGMA, SIZE, RUNS = 0.3, 6, 12


def models(rng: np.random.Generator, runs: int, shift: float, *, factor: float = 1.0, scatter: float = 0.4) -> Releases:
    """Trained models of `runs` seeds, the unlearned ones a shift away, and their releases."""
    retrained = scatter * rng.standard_normal((runs, SIZE))
    independent = scatter * rng.standard_normal((runs, SIZE))
    pre = retrained + shift * (np.eye(1, SIZE) + 0.2 * rng.standard_normal((runs, SIZE)))
    return noisy(rng, pre, retrained, independent, factor)


def noisy(rng: np.random.Generator, pre: Array, retrained: Array, independent: Array, factor: float) -> Releases:
    def noise(scale: float) -> Array:
        return scale * SIGMA * rng.standard_normal(pre.shape)

    return Releases(pre, pre + noise(factor), retrained, retrained + noise(1), independent, independent + noise(1))


def again(rng: np.random.Generator, releases: Releases, factor: float) -> Releases:
    return noisy(rng, releases.pre, releases.retrained, releases.pre_independent, factor)


def unit(rng: np.random.Generator) -> Array:
    vector = rng.standard_normal(SIZE)
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("orientation", [1, -1])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_probabilities_of_the_three_events(factor: float, orientation: int) -> None:
    rng = np.random.default_rng(41)
    fixed = models(rng, RUNS, 0.5, factor=factor)
    choice = Choice(unit(rng), unit(rng), Event(0.4, orientation), Event(7.0, orientation), Event(0.2, orientation))
    known = probabilities(
        score_chunk(fixed, choice, SIGMA), choice, Defect("", "", "", noise_factor=factor), SIGMA, SIZE
    )
    counts: dict[str, list[int]] = {key: [0, 0] for key in known.released}
    for _ in range(TRIALS):
        scores = score_chunk(again(rng, fixed, factor), choice, SIGMA)
        for key, x, y, event in (
            ("paired-event-projection", scores.projection_released, scores.projection_reference, choice.projection),
            ("paired-event-radius", scores.radius_released, scores.radius_reference, choice.radius),
            ("independent-event", scores.independent_released, scores.independent_reference, choice.independent),
        ):
            counts[key][0] += int(event.contains(x).sum())
            counts[key][1] += int(event.contains(y).sum())
    for key, (x, y) in counts.items():
        # runs have different probabilities: a sum of them varies less than the binomial of the mean
        assert agrees(x, TRIALS * RUNS, float(known.released[key].mean()))
        assert agrees(y, TRIALS * RUNS, float(known.reference[key].mean()))


def test_far_away_models_stay_finite() -> None:
    rng = np.random.default_rng(42)
    for shift in (1e3, 1e5, 1e7, 1e9):
        fixed = models(rng, RUNS, shift)
        choice = Choice(unit(rng), unit(rng), Event(0.4, 1), Event((shift / SIGMA) ** 2, 1), Event(0.2, 1))
        known = probabilities(score_chunk(fixed, choice, SIGMA), choice, HONEST, SIGMA, SIZE)
        for p in (*known.released.values(), *known.reference.values()):
            assert np.all((p >= 0) & (p <= 1))


@pytest.mark.parametrize("shift", [0.0, 0.5, 0.9])
def test_refutation_probability_of_every_line(shift: float) -> None:
    rng = np.random.default_rng(43)
    plan = design(noise_scale=SIGMA, budget=None, test=40, selection=80)
    choice = choose(models(rng, 80, max(shift, 0.9)), SIGMA, plan)
    fixed = models(rng, 40, shift)
    known = probabilities(score_chunk(fixed, choice, SIGMA), choice, HONEST, SIGMA, SIZE)
    level, trials = 0.2, 200
    refuted: dict[str, int] = {}
    for _ in range(trials):
        scores = score_chunk(again(rng, fixed, 1.0), choice, SIGMA)
        for line in distinguish_lines(scores, choice, plan, failure_probability=level):
            refuted[line.key] = refuted.get(line.key, 0) + (line.outcome is Outcome.REFUTED)
    for key, count in refuted.items():
        assert agrees(count, trials, refutation_probability(key, known, plan, level)), key


def test_runs_needed() -> None:
    rng = np.random.default_rng(44)
    marginal = design(promise=claim(seed_policy=SeedPolicy.MARGINAL), noise_scale=SIGMA, budget=None, test=30)
    per_seed = design(noise_scale=SIGMA, budget=None, test=30)
    fixed = models(rng, 30, 0.9, scatter=0.05)
    choice = choose(models(rng, 80, 0.9, scatter=0.05), SIGMA, marginal)
    known = probabilities(score_chunk(fixed, choice, SIGMA), choice, HONEST, SIGMA, SIZE)
    pairs, runs = runs_needed(known, per_seed), runs_needed(known, marginal)
    assert pairs is not None and runs is not None
    assert pairs < runs  # one number for each test: the marginal claim is not decided by the projection
    same = probabilities(score_chunk(models(rng, 30, 0.0), choice, SIGMA), choice, HONEST, SIGMA, SIZE)
    assert runs_needed(same, per_seed) is None


def _judged(name: str, broken: bool) -> tuple[Verdict, bool]:
    rng = np.random.default_rng(45)
    plan = design(noise_scale=SIGMA, budget=None, test=200, selection=200)
    planted = DEFECTS[name]
    shift = 2.0 if name == "no-op" else 0.0
    choice = choose(models(rng, 200, shift, factor=planted.noise_factor), SIGMA, plan)
    scores = score_chunk(models(rng, 200, shift, factor=planted.noise_factor), choice, SIGMA)
    known = probabilities(scores, choice, planted, SIGMA, SIZE)
    level = plan.control_failure_probability
    lines = distinguish_lines(scores, choice, plan, failure_probability=level)
    if broken:
        turned = {Outcome.REFUTED: Outcome.NOT_REFUTED, Outcome.NOT_REFUTED: Outcome.REFUTED}
        lines = [line.model_copy(update={"outcome": turned[line.outcome]}) for line in lines]
    found = distances(Measured(np.ones(1), np.ones(1), None, 1.0, 1e-16), plan.claim, SIGMA, gaussian=True)
    control = judge("row", planted, lines, plan, known, None, found, SIZE)
    return control.verdict, control.behaved


@pytest.mark.parametrize("name", ["no-op", "tenth-noise", "retrained"])
def test_controls_behave_and_broken_auditors_contradict_them(name: str) -> None:
    verdict, behaved = _judged(name, broken=False)
    assert behaved
    assert verdict is (Verdict.NOT_REFUTED if name == "retrained" else Verdict.REFUTED)
    assert not _judged(name, broken=True)[1]


def test_a_control_without_lines_says_nothing() -> None:
    plan = design(noise_scale=SIGMA, budget=None)
    found = distances(Measured(np.ones(1), np.ones(1), None, 1.0, 1e-16), plan.claim, SIGMA, gaussian=True)
    control = judge("row", DEFECTS["no-op"], [], plan, None, None, found, SIZE)
    assert control.verdict is Verdict.NOT_COMPUTABLE


def test_the_projection_line_is_the_bound() -> None:
    rng = np.random.default_rng(46)
    plan = design(noise_scale=SIGMA, budget=None, test=50, selection=50)
    choice = choose(models(rng, 50, 0.5), SIGMA, plan)
    scores = score_chunk(models(rng, 50, 0.5), choice, SIGMA)
    line = distinguish_lines(scores, choice, plan)[0]
    mean = float((scores.projection_released - scores.projection_reference).mean())
    allowed = plan.line_failure_probability("projection-z")
    assert line.mu_lower == projection_mu_lower(mean, 50, allowed)
    assert (line.outcome is Outcome.REFUTED) == (line.mu_lower > claimed_mu(plan.claim))


@pytest.mark.parametrize("scatter", [0.0, 0.5])
def test_whitening_is_the_inverse_of_scatter_and_noise(scatter: float) -> None:
    from audit.scores import _whitened

    rng = np.random.default_rng(47)
    centred = scatter * rng.standard_normal((9, SIZE))
    centred -= centred.mean(0)
    shift = rng.standard_normal(SIZE)
    floor = SIGMA**2 + 1e-6 * float((centred**2).sum()) / centred.size
    slow = np.linalg.solve(centred.T @ centred / 8 + floor * np.eye(SIZE), shift)
    fast = _whitened(shift, centred, SIGMA)
    assert np.allclose(fast / np.linalg.norm(fast), slow / np.linalg.norm(slow), atol=1e-12)
    assert np.array_equal(_whitened(shift, np.zeros((1, SIZE)), 0.0), shift)
