"""Shadow runs and target runs are different types, fit together, and never meet in one attack."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from audit.attacks.attack import fit_attack, out_of_fold
from audit.attacks.runs import FitRuns, ScoreRuns, held_out
from unlearning.errors import BadScores

from .outputs import drawn_runs


@dataclass(frozen=True)
class Constant:
    """Scores every candidate by the number of runs it was fitted on."""

    key: str = "constant"
    title: str = "Constant"
    family: str = "MIA-L"
    source: str = "none"
    shape: tuple[int, ...] | None = None
    value: float = 0.0

    def fit(self, runs, model, *, generator):
        return replace(self, value=float(len(runs)))

    def scores(self, runs, model):
        return np.full(self.shape or runs.members.shape, self.value)


RNG = np.random.default_rng


def test_an_attack_is_never_fitted_and_scored_on_the_same_runs():
    shadows, targets = drawn_runs(FitRuns, 0, 8), drawn_runs(ScoreRuns, 1, 8)
    with pytest.raises(TypeError, match="fitted on FitRuns"):
        fit_attack(Constant(), targets, "original", generator=RNG(0))
    fitted = fit_attack(Constant(), shadows, "original", generator=RNG(0))
    with pytest.raises(TypeError, match="score ScoreRuns"):
        fitted.scores(shadows, "original")
    smuggled = ScoreRuns(*(getattr(shadows, name) for name in FitRuns.__dataclass_fields__))
    with pytest.raises(ValueError, match="not fitted on"):
        fitted.scores(smuggled, "original")
    assert (fitted.scores(targets, "original") == 8).all()


def test_out_of_fold_scores_come_from_the_other_folds():
    shadows = drawn_runs(FitRuns, 0, 10)
    scores = out_of_fold(Constant(), shadows, "original", generator=RNG(0))
    assert sorted(set(scores[:, 0])) == [7, 8]
    seen = []
    for others, own, rows in held_out(shadows, 4):
        assert not set(others.names) & set(own.names)
        assert len(others) + len(own) == 10
        seen += rows.tolist()
    assert sorted(seen) == list(range(10))


def test_attacks_on_both_versions_have_two_folds():
    scores = out_of_fold(Constant(family="MIA-U"), drawn_runs(FitRuns, 0, 11), "original", generator=RNG(0))
    assert sorted(set(scores[:, 0])) == [5, 6]


@pytest.mark.parametrize(
    "shape, value, said",
    [
        ((3,), 0.0, r"one per run and candidate, shape \[8, 10\], got \[3\]"),
        (None, np.nan, "finite, got 80 of 80 that are infinite or no numbers"),
    ],
)
def test_scores_must_be_finite_and_one_per_candidate(shape, value, said):
    class Bad(Constant):
        def fit(self, runs, model, *, generator):
            return self

    fitted = fit_attack(Bad(shape=shape, value=value), drawn_runs(FitRuns, 0, 8), "original", generator=RNG(0))
    with pytest.raises(ValueError, match=said):
        fitted.scores(drawn_runs(ScoreRuns, 1, 8), "original")


def test_what_is_fitted_must_score():
    class Forgetful(Constant):
        def fit(self, runs, model, *, generator):
            return None

    with pytest.raises(TypeError, match=r"fit of constant must return an object with scores.*got NoneType"):
        fit_attack(Forgetful(), drawn_runs(FitRuns, 0, 8), "original", generator=RNG(0))


def test_runs_of_chunks_are_joined_in_order():
    runs = drawn_runs(ScoreRuns, 0, 6)
    parts = [runs.take(np.arange(4)), runs.take(np.arange(4, 6))]
    again = ScoreRuns.concatenate(parts)
    assert again.names == runs.names
    assert (again.members == runs.members).all()
    assert all((again.of(m) == runs.of(m)).all() for m in runs.logits)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda r: {"members": r.members.astype(float)}, "boolean mask"),
        (lambda r: {"members": r.members | True}, "a forgotten and another candidate"),
        (lambda r: {"names": (r.names[0],) * len(r.names)}, "different ones"),
        (lambda r: {"labels": r.labels[:-1]}, "One label per record"),
        (lambda r: {"labels": r.labels + 1}, "labels must be 0 … 1"),
        (lambda r: {"logits": {m: z * np.nan for m, z in r.logits.items()}}, "must be finite"),
        (lambda r: {"logits": {}}, "same kinds of models"),
        (lambda r: {"logits": {m: z[..., :1] for m, z in r.logits.items()}}, "classes >= 2"),
    ],
)
def test_bad_runs_are_refused(change, said):
    runs = drawn_runs(ScoreRuns, 0, 6)
    with pytest.raises(BadScores, match=said):
        replace(runs, **change(runs))


def test_an_unknown_kind_of_model_is_refused():
    with pytest.raises(BadScores, match="unlearned, original, retrained"):
        drawn_runs(ScoreRuns, 0, 6).of("forgotten")


def test_an_attack_sees_the_attacked_model_alone_and_never_who_was_forgotten():
    seen = []

    class Peeks(Constant):
        def fit(self, runs, model, *, generator):
            return self

        def scores(self, runs, model):
            seen.append(runs)
            return runs.members.astype(float)

    targets = drawn_runs(ScoreRuns, 1, 8)
    for family, kinds in (("MIA-L", {"unlearned"}), ("U-LiRA", {"unlearned"}), ("MIA-U", {"unlearned", "first"})):
        fitted = fit_attack(Peeks(family=family), drawn_runs(FitRuns, 0, 8), "unlearned", generator=RNG(0))
        scores = fitted.scores(targets, "unlearned")
        assert set(seen[-1].logits) == set(seen[-1].population) == kinds
        assert (scores == scores[0]).all() and (scores.sum(1) == targets.members.sum(1)).all()
