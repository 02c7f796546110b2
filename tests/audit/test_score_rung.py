"""Lines of further scores: a row from end to end, coverage, power, arrays that give the line again."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch

import audit.score_rung
from audit.bounds.clopper_pearson import counts
from audit.bounds.runs import SelectionRuns, TestRuns
from audit.bounds.selection import most_telling_event
from audit.bounds.table import compute
from audit.controls import DEFECTS, HONEST
from audit.design import line_weights
from audit.findings import Findings
from audit.fitted_scores import SelectionFeatures, TestFeatures, cross_fit
from audit.row import audit_row
from audit.score_names import FITTED_SCORES, RULI, SHIPPED_SCORES, U_LIRA
from audit.score_rung import (
    FITS,
    ScoreChoice,
    Trial,
    bound_for,
    choose_scores,
    score_lines,
    score_test_chunk,
)
from methods.retrain import Retrain
from unlearning.claim import Claim, SeedPolicy
from unlearning.errors import BadScores
from unlearning.record import Line
from unlearning.tradeoff import GaussianTradeOff
from unlearning.verdict import Outcome, Verdict

from .attacks.overfit import overfit_subject
from .gates import caught, claim_of
from .problems import NoiseInside, SecretNoOp, claim, design, subject, task
from .test_row import CLEAR, comparable, same

ALL = (*SHIPPED_SCORES, "mine.py:norm")


def norm(w: torch.Tensor, context: Any) -> torch.Tensor:
    return w.norm(dim=1)


def found(
    method: Any = None,
    *,
    scores: tuple[str, ...] = ALL,
    chunk: int = 24,
    jobs: int = 1,
    own: Callable[..., Any] = norm,
    on: Any = None,
    **fields: Any,
) -> Findings:
    row = dataclasses.replace(subject(method, on=on), scores=(("mine.py:norm", own),))
    return audit_row(row, dataclasses.replace(design(**fields), scores=scores), chunk=chunk, jobs=jobs)


def of_scores(findings: Findings) -> dict[str, Line]:
    return {line.key.removeprefix("score-"): line for line in findings.lines if line.key.startswith("score-")}


def test_every_score_is_a_deciding_line_over_seeds() -> None:
    findings = found(Retrain(), **CLEAR)
    assert findings.verdict is Verdict.NOT_REFUTED
    lines = of_scores(findings)
    assert tuple(lines) == ALL
    for line in lines.values():
        assert line.deciding and line.rung == "C" and line.seeds == "independent" and line.subject == "claim"
        assert line.assumes == "the two arms are independent" and line.kind == "confidence"
        assert line.outcome is Outcome.NOT_REFUTED
        assert line.failure_probability == findings.shares[line.key]
    assert sum(line.failure_probability for line in findings.lines) == pytest.approx(0.01)
    assert sum(findings.shares.values()) == pytest.approx(0.01)
    assert {f"score-{name}" for name in ALL} <= line_weights(frozenset("ABC"), ALL).keys()


def test_without_scores_nothing_changes() -> None:
    plain = audit_row(subject(), design(), chunk=24, jobs=1)
    assert same(comparable(found(scores=())), comparable(plain), 0.0)


def test_controls_are_scored_and_only_the_retrained_one_is_predicted() -> None:
    findings = found(Retrain(), **CLEAR)
    for control in findings.controls:
        own = {p.line: p for p in control.predictions if p.line.startswith("score-")}
        assert len(own) == len(ALL)
        expected = {Outcome.NOT_REFUTED} if control.name == "retrained" else {None}
        assert {p.predicted for p in own.values()} == expected


def test_a_secret_no_op_is_refuted_by_every_score_of_the_forgotten() -> None:
    # the claim of equal laws; doing nothing is ten σ away
    fields = {"promise": claim(0.0, seed_policy=SeedPolicy.MARGINAL), "budget": None, "noise_scale": 0.003}
    findings = found(SecretNoOp(Retrain()), test=400, selection=150, chunk=100, controls=("retrained",), **fields)
    assert findings.verdict is Verdict.REFUTED
    refuting = {name for name, line in of_scores(findings).items() if line.outcome is Outcome.REFUTED}
    assert refuting >= set(SHIPPED_SCORES)
    assert all(control.behaved for control in findings.controls)


def test_ratios_of_records_refute_doing_nothing_on_a_network_that_overfits() -> None:
    promise = claim(0.0, seed_policy=SeedPolicy.MARGINAL)
    fields = {"promise": promise, "budget": None, "noise_scale": 0.01, "rungs": "C", "test": 60, "selection": 40}
    row = dataclasses.replace(design(controls=("no-op", "retrained"), **fields), scores=(U_LIRA, RULI))
    findings = audit_row(overfit_subject(SecretNoOp(Retrain())), row, chunk=50, jobs=1)
    lines = of_scores(findings)
    assert {name: line.outcome for name, line in lines.items()} == {name: Outcome.REFUTED for name in (U_LIRA, RULI)}
    assert all(line.noop_power > 0.9 for line in lines.values())
    (clean,) = (control for control in findings.controls if control.name == "retrained")
    own = [p for p in clean.predictions if p.line.startswith("score-")]
    assert [(p.predicted, p.observed) for p in own] == 2 * [(Outcome.NOT_REFUTED, Outcome.NOT_REFUTED)]


def test_the_arrays_give_the_lines_again() -> None:
    fields = {"promise": claim(0.5), "budget": None, "noise_scale": 0.003}
    findings = found(Retrain(), test=60, selection=40, **fields)
    arrays = {name: array for name, (array, _) in findings.arrays.items()}
    for score, line in of_scores(findings).items():
        name = f"score-{quote(score, safe='')}"
        assert "/" not in name and ":" not in name
        again = compute(
            bound_for(claim(0.5)),
            SelectionRuns(arrays[f"{name}_selection_released"], arrays[f"{name}_selection_reference"]),
            TestRuns(arrays[f"{name}_released"], arrays[f"{name}_reference"]),
            claim(0.5),
            failure_probability=line.failure_probability,
        )
        assert (again.counts_released, again.counts_reference) == (line.counts_released, line.counts_reference)
        assert again.epsilon_lower == line.epsilon_lower and again.event == line.event
        assert f"noop_{name}_released" in arrays
    titles = {line.title for line in of_scores(findings).values()}
    assert {curve.score for curve in findings.curves} > titles
    assert {histogram.score for histogram in findings.histograms} == titles | {None}


@pytest.mark.parametrize("recipe", ["descent", "minimiser"])
def test_methods_whose_noise_is_inside_are_scored_too(recipe: str) -> None:
    from learning.task import Minimise

    on = task(Minimise()) if recipe == "minimiser" else task()
    promise = claim(4.0, seed_policy=SeedPolicy.MARGINAL)
    findings = found(NoiseInside(), on=on, promise=promise, budget=None, noise_scale=0.1, test=60, selection=40)
    assert {line.outcome for line in of_scores(findings).values()} == {Outcome.NOT_REFUTED}
    assert all(control.behaved for control in findings.controls)


def test_one_model_single_precision_and_few_runs() -> None:
    from learning.task import Minimise

    assert found(Retrain(), on=task(Minimise()), **CLEAR).verdict is Verdict.NOT_REFUTED
    assert found(Retrain(), on=task(dtype=torch.float32), **CLEAR).verdict is Verdict.NOT_REFUTED
    assert len(of_scores(found(test=2, selection=2))) == len(ALL)
    assert len(of_scores(found(budget=None, noise_scale=0.0))) == len(ALL)


def test_chunks_and_jobs_change_no_number() -> None:
    whole = comparable(found())
    assert same(whole, comparable(found(chunk=5)), 1e-9)
    assert same(comparable(found(chunk=12)), comparable(found(chunk=12, jobs=2)), 0.0)


def test_a_score_that_is_no_score_ends_the_row_in_one_line() -> None:
    with pytest.raises(BadScores, match="score 'mine.py:norm' must give a run the same score"):
        found(own=lambda w, context: w.norm(dim=1) - w.norm(dim=1).mean())


def test_score_lines_that_always_refute_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = compute

    def eager(*of: Any, **fields: Any) -> Any:
        return dataclasses.replace(honest(*of, **fields), refuted=True)

    monkeypatch.setattr(audit.score_rung, "compute", eager)
    findings = found(scores=("forget-loss",))
    assert findings.verdict is Verdict.ERROR and "retrained" in findings.because


def learned_refutations(
    score: str, rng: np.random.Generator, audits: int, level: float, *, runs: int = 40, peeking: bool = False
) -> int:
    """Audits that refute equal laws by a fitted score; where it peeks, on the runs that it was fitted on."""
    row = dataclasses.replace(design(promise=claim(0.0), test=runs, controls=()), scores=(score,))
    refuted = 0
    for _ in range(audits):
        first, second = (rng.standard_normal((2, runs, 6)) for _ in range(2))
        fitted, unseen = cross_fit(FITS[score], SelectionFeatures(*first))
        tested = fitted.scores(TestFeatures(*(first if peeking else second)))
        if peeking:
            unseen = SelectionRuns(tested.released, tested.reference)
        chosen = {HONEST.name: ScoreChoice({score: unseen}, {score: fitted})}
        (line,) = score_lines(row, HONEST, chosen, {HONEST.name: {score: tested}}, level)
        refuted += line.outcome is Outcome.REFUTED
    return refuted


@pytest.mark.parametrize("score", FITTED_SCORES)
class TestCoverage:
    """A true claim is refuted by a learned score as seldom as stated; a twin that learns on the test runs is caught."""

    LEVEL, SOME = 0.2, 120

    def test_fitted_on_other_runs(self, score: str) -> None:
        refuted = learned_refutations(score, np.random.default_rng(61), self.SOME, self.LEVEL)
        assert not caught(refuted, self.SOME, self.LEVEL)

    def test_fitted_on_the_runs_it_tests(self, score: str) -> None:
        refuted = learned_refutations(score, np.random.default_rng(62), self.SOME, self.LEVEL, peeking=True)
        assert caught(refuted, self.SOME, self.LEVEL)


class TestPowerOnDoingNothing:
    """The stated power is a lower limit."""

    RUNS, LEVEL = 60, 0.05
    CLAIMS = {"(ε, δ)": claim(0.5), "μ": claim_of(GaussianTradeOff(0.3))}

    def trial(self, promise: Claim, shift: float, seed: int) -> Trial:
        rng = np.random.default_rng(seed)
        selection = SelectionRuns(rng.standard_normal(80) + shift, rng.standard_normal(80))
        return Trial(selection, (self.RUNS, self.RUNS), promise, self.LEVEL)

    def draws(self, shift: float, seed: int, number: int) -> Iterator[TestRuns]:
        rng = np.random.default_rng(seed)
        for _ in range(number):
            yield TestRuns(rng.standard_normal(self.RUNS) + shift, rng.standard_normal(self.RUNS))

    @pytest.mark.parametrize("name", CLAIMS)
    @pytest.mark.parametrize("shift", [1.0, 2.5])
    def test_it_covers(self, name: str, shift: float) -> None:
        trial = self.trial(self.CLAIMS[name], shift, 63)
        runs = list(self.draws(shift, 64, 60))
        true = np.mean([bool(trial.bound(test).refuted) for test in runs])
        limits = [trial.power_lower(test, failure_probability=0.2) for test in runs[:25]]
        assert not caught(sum(limit > true for limit in limits), len(limits), 0.2)
        if shift == 2.5:
            assert true == 1 and np.median(limits) > 0.5  # and it is worth something

    @pytest.mark.parametrize("name", CLAIMS)
    def test_refutation_is_monotone_in_both_counts(self, name: str) -> None:
        trial = dataclasses.replace(self.trial(self.CLAIMS[name], 1.0, 65), sizes=(12, 12), failure_probability=0.2)
        event = most_telling_event(trial.selection, trial.sizes, trial.claim, trial.failure_probability)
        refuted = np.array([
            [trial.bound(audit.score_rung._runs_with(event, (x, y), (12, 12))).refuted for y in range(13)]
            for x in range(3, 13)
        ])
        assert 0 < refuted.sum() < refuted.size
        inside = audit.score_rung._runs_with(event, (5, 7), (12, 12))
        assert counts(inside, event) == (5, 7)
        assert (refuted[1:] >= refuted[:-1]).all() and (refuted[:, 1:] <= refuted[:, :-1]).all()

    def test_separated_scores_have_power_and_equal_ones_none(self) -> None:
        row = dataclasses.replace(design(promise=claim(0.5), test=300, controls=()), scores=("forget-loss",))
        rng = np.random.default_rng(65)

        def lines(shift: float) -> Line:
            tested = {
                name: {"forget-loss": TestRuns(rng.standard_normal(300) + move, rng.standard_normal(300))}
                for name, move in ((HONEST.name, 0.0), ("no-op", shift))
            }
            chosen = {
                name: ScoreChoice({"forget-loss": SelectionRuns(*(runs.released, runs.reference))})
                for name, own in tested.items()
                for runs in own.values()
            }
            return score_lines(row, HONEST, chosen, tested)[0]

        assert lines(4.0).noop_power >= 0.99
        assert lines(0.0).noop_power < 0.05

    def test_without_a_no_op_it_is_not_stated(self) -> None:
        runs = np.arange(20.0)
        row = dataclasses.replace(design(promise=claim(0.5), test=20, controls=()), scores=("forget-loss",))
        chosen = {HONEST.name: ScoreChoice({"forget-loss": SelectionRuns(runs, runs)})}
        (line,) = score_lines(row, HONEST, chosen, {HONEST.name: {"forget-loss": TestRuns(runs, runs)}})
        assert line.noop_power is None
        assert score_lines(row, HONEST, {}, {}) == []


def test_each_subject_meets_its_own_reference() -> None:
    parts = [
        {
            "": {"forget-loss": np.array([1.0, 2.0])},
            "no-op": {"forget-loss": np.array([3.0, 4.0])},
            "independent": {"forget-loss": np.array([5.0, 6.0])},
            "control independent": {"forget-loss": np.array([7.0, 8.0])},
        }
    ]
    everyone = [HONEST, DEFECTS["no-op"]]
    chosen = choose_scores(parts, everyone)
    tested = score_test_chunk(parts[0], chosen, everyone)
    for name, released, reference in (("", [1, 2], [5, 6]), ("no-op", [3, 4], [7, 8])):
        assert tested[name]["forget-loss"].released.tolist() == released
        assert tested[name]["forget-loss"].reference.tolist() == reference
        assert chosen[name].selection["forget-loss"].reference.tolist() == reference


def test_a_large_epsilon_is_out_of_reach_and_says_so() -> None:
    promise = claim_of(claim(8.0).tradeoff)
    (line,) = of_scores(
        found(Retrain(), scores=("forget-loss",), promise=promise, budget=None, noise_scale=0.1)
    ).values()
    assert line.noop_power == pytest.approx(0.0, abs=1e-9)
    assert "no Gaussian shift of the score is refuted" in line.detectable
