"""RMIA against loops over shadows, records and public records; its order and its ties; real fleets; broken twins."""

import math
from dataclasses import replace

import numpy as np
import pytest

from audit.attacks import rmia
from audit.attacks.attack import fit_attack
from audit.attacks.measures import chance_upper, run_aucs
from audit.attacks.rmia import RMIA, log_probabilities
from audit.attacks.runs import FitRuns, ScoreRuns
from tests.broken.twin import patched
from unlearning.errors import BadScores

from ..gates import LEVELS, caught
from .outputs import drawn_runs
from .overfit import overfit_fleet

Array = np.ndarray
TINY = 1e-9


def scored(attack: RMIA, shadows: FitRuns, targets: ScoreRuns, model: str = "original") -> Array:
    return fit_attack(attack, shadows, model, generator=np.random.default_rng(0)).scores(targets, model)


def many_classes(kind, seed: int, runs: int, *, public: int = 30, who: Array | None = None) -> FitRuns | ScoreRuns:
    """Logits of four classes, larger for the label where a record was learned."""
    drawn = np.random.default_rng(seed)
    base = drawn_runs(kind, seed, runs, candidates=6, forgotten=2)
    members = base.members if who is None else who
    labels, outside = np.array([3, 0, 2, 2, 1, 3]), np.arange(public) % 4
    z = 2 * drawn.standard_normal((runs, 6, 4))
    z[:, np.arange(6), labels] += 2 * np.random.default_rng(7).standard_normal(6) + 2 * members
    population = 2 * drawn.standard_normal((runs, public, 4))
    return kind(base.names, members, labels, {"original": z}, {"original": population}, outside)


def naive_p(logits: Array, label: int) -> float:
    return math.exp(logits[label]) / sum(math.exp(z) for z in logits)


def naive_rmia(shadows: FitRuns, targets: ScoreRuns, gamma: float) -> Array:
    """One shadow, candidate and public record at a time, with probabilities."""
    runs, records = shadows.members.shape
    p = [[naive_p(shadows.of("original")[s, i], shadows.labels[i]) for i in range(records)] for s in range(runs)]
    sides = [
        [p[s][i] for s in range(runs) for i in range(records) if shadows.members[s, i] == side]
        for side in (True, False)
    ]
    a = min(1.0, sum(1 - q for q in sides[0]) / len(sides[0]) / (sum(1 - q for q in sides[1]) / len(sides[1])))
    expected = []
    for i in range(records):
        inside = [p[s][i] for s in range(runs) if shadows.members[s, i]]
        outside = [p[s][i] for s in range(runs) if not shadows.members[s, i]]
        if inside and outside:
            expected.append(0.5 * (sum(inside) / len(inside) + sum(outside) / len(outside)))
        elif outside:
            expected.append(0.5 * ((1 + a) * sum(outside) / len(outside) + 1 - a))
        else:
            mean = sum(inside) / len(inside)
            expected.append(0.5 * (mean + max(0.0, (mean - 1 + a) / a)))
    public = range(len(shadows.population_labels))
    expected_public = []
    for j in public:
        seen = [naive_p(shadows.population["original"][s, j], shadows.population_labels[j]) for s in range(runs)]
        expected_public.append(0.5 * ((1 + a) * sum(seen) / runs + 1 - a))
    found = np.empty(targets.members.shape)
    for k, i in np.ndindex(found.shape):
        own = naive_p(targets.of("original")[k, i], targets.labels[i]) / expected[i]
        beaten, logs = 0, 0.0
        for j in public:
            other = naive_p(targets.population["original"][k, j], targets.population_labels[j]) / expected_public[j]
            beaten += own / other >= gamma
            logs += math.log(own / other) / len(public)
        found[k, i] = (beaten + 0.5 + 0.5 * logs / (1 + abs(logs))) / len(public)
    return found


def equals_the_loops() -> bool:
    who = drawn_runs(FitRuns, 1, 25, candidates=6, forgotten=2).members
    lopsided = who.copy()
    lopsided[:, 0], lopsided[:, 1] = True, False  # learned by every shadow, by none
    for shadows in (many_classes(FitRuns, 1, 25), many_classes(FitRuns, 1, 25, who=lopsided)):
        for gamma in (1.0, 2.0):
            targets = many_classes(ScoreRuns, 2, 6)
            if not np.allclose(scored(RMIA(gamma), shadows, targets), naive_rmia(shadows, targets, gamma), atol=1e-10):
                return False
    return True


def test_it_equals_loops_over_everything() -> None:
    assert equals_the_loops()


def test_means_of_logarithms_are_noticed() -> None:
    """Wrong: the mean of ln p in place of the logarithm of the mean of p."""

    def broken(log_p: Array, side: Array) -> Array:
        return np.where(side, log_p, 0.0).sum(0) / np.maximum(side.sum(0), 1)

    with patched(rmia, _log_mean=broken):
        assert not equals_the_loops()


def test_records_all_of_one_side_are_noticed() -> None:
    """Wrong: the mean over all shadows, however many of them learned the record."""

    def broken(log_p: Array, members: Array, slope: float) -> Array:
        return np.log(np.exp(log_p).mean(0))

    with patched(rmia, _log_expected=broken):
        assert not equals_the_loops()


# ---------------------------------------------------------------------- order and ties


def test_the_share_is_kept_and_ties_are_worth_less_than_one_record() -> None:
    shadows, targets = many_classes(FitRuns, 1, 25), many_classes(ScoreRuns, 2, 200, public=30)
    scores = scored(RMIA(), shadows, targets)
    share = np.floor(scores * 30 + 1e-12) / 30
    assert ((0 <= share) & (share <= 1)).all() and len(np.unique(share)) <= 31
    order = np.argsort(scores, axis=None)
    assert (np.diff(share.ravel()[order]) >= 0).all()


def test_one_public_record_leaves_two_shares_and_no_tie() -> None:
    shadows, targets = many_classes(FitRuns, 1, 25, public=1), many_classes(ScoreRuns, 2, 200, public=1)
    scores = scored(RMIA(), shadows, targets)
    assert set(np.floor(scores).ravel().tolist()) == {0.0, 1.0}
    assert len(np.unique(scores)) == scores.size
    shares = np.floor(scores)  # what is seen without breaking ties
    assert run_aucs(scores, targets.members).mean() > run_aucs(shares, targets.members).mean() + 0.05


@pytest.mark.parametrize("gamma", [1.0, 2.0, 10.0])
@pytest.mark.parametrize("public", [1, 30])
def test_within_a_run_the_order_is_that_of_the_own_ratio(gamma: float, public: int) -> None:
    """Neither γ nor the public records change a run's AUC: they put different runs on one scale."""
    shadows, targets = many_classes(FitRuns, 1, 25, public=public), many_classes(ScoreRuns, 2, 50, public=public)
    fitted = RMIA(gamma).fit(shadows, "original", generator=np.random.default_rng(0))
    ratio = log_probabilities(targets.of("original"), targets.labels) - fitted.own
    found = fitted.scores(targets, "original")
    np.testing.assert_array_equal(found.argsort(1), ratio.argsort(1))


def test_probabilities_far_below_the_smallest_number() -> None:
    shadows, targets = (many_classes(kind, seed, 12) for kind, seed in ((FitRuns, 1), (ScoreRuns, 2)))
    low = [
        replace(runs, logits={"original": 400 * runs.of("original")}, population=runs.population)
        for runs in (shadows, targets)
    ]
    assert log_probabilities(low[0].of("original"), low[0].labels).min() < -800
    assert np.isfinite(scored(RMIA(), *low)).all()


@pytest.mark.parametrize("shadows", [1, 2, 3])
def test_few_shadows(shadows: int) -> None:
    found = scored(RMIA(), many_classes(FitRuns, 1, shadows), many_classes(ScoreRuns, 2, 9))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("certain", ["everything", "what it learned"])
def test_models_that_are_certain(certain: str) -> None:
    """All probabilities are 1, or 1 and 0: a is at an end of its range."""
    who = drawn_runs(FitRuns, 1, 8, candidates=6, forgotten=2).members
    who[:, 0], who[:, 1] = True, False
    sure = np.where(who | (certain == "everything"), 800.0, -800.0)
    z = np.stack([sure, np.zeros_like(sure)], -1)
    public = {"original": np.zeros((8, 3, 2))}
    shadows, targets = (
        kind(
            tuple(f"{kind.__name__}/{k}" for k in range(8)),
            who,
            np.zeros(6, int),
            {"original": z},
            public,
            np.zeros(3, int),
        )
        for kind in (FitRuns, ScoreRuns)
    )
    assert np.isfinite(scored(RMIA(), shadows, targets)).all()


def test_without_public_records_there_is_no_attack() -> None:
    with pytest.raises(BadScores, match="population must hold public records"):
        scored(RMIA(), many_classes(FitRuns, 1, 9, public=0), many_classes(ScoreRuns, 2, 9, public=0))


@pytest.mark.parametrize("gamma", [0.5, math.inf, math.nan])
def test_gamma_is_checked(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma must be in"):
        RMIA(gamma)


# ---------------------------------------------------------------------- what it finds


def test_luck_is_rarer_than_stated() -> None:
    trials, found = 300, []
    for trial in range(trials):
        shadows, targets = drawn_runs(FitRuns, 2 * trial, 12), drawn_runs(ScoreRuns, 2 * trial + 1, 8)
        found.append(chance(shadows, targets, "retrained"))
    for level in LEVELS:
        assert not caught(int((np.array(found) <= level).sum()), trials, level)


def test_a_planted_leak_is_found() -> None:
    shadows, targets = drawn_runs(FitRuns, 0, 64, leak=1.5), drawn_runs(ScoreRuns, 1, 64, leak=1.5)
    assert chance(shadows, targets, "unlearned") < TINY < chance(shadows, targets, "retrained")


def chance(shadows: FitRuns, targets: ScoreRuns, model: str) -> float:
    return chance_upper(run_aucs(scored(RMIA(), shadows, targets, model), targets.members), targets.members)


def test_a_network_that_learns_by_heart_is_told_and_a_retrained_one_is_not() -> None:
    shadows, targets = overfit_fleet()
    values = {m: run_aucs(scored(RMIA(), shadows, targets, m), targets.members) for m in ("original", "retrained")}
    assert values["original"].mean() > 0.9 and chance_upper(values["original"], targets.members) < TINY
    assert chance_upper(values["retrained"], targets.members) > TINY
    assert chance_upper(1 - values["retrained"], targets.members) > TINY
