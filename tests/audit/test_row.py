"""One row from beginning to end, on a problem of 40 records and 4 parameters."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

import audit.distinguish_rung
import audit.noise_rung
from audit.bounds.result import Event
from audit.row import Findings, audit_row
from learning.task import Minimise
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from tests.broken.twin import Twin
from unlearning.claim import Assumption, SeedPolicy, Status
from unlearning.errors import BrokenMethod
from unlearning.protocols import Diagnostic
from unlearning.record import Line
from unlearning.tradeoff import EpsilonDelta
from unlearning.verdict import Outcome, Verdict

from .problems import (
    CONTROLS,
    DrawsAStep,
    NoiseInside,
    ReleasesTheOriginal,
    Scaled,
    SecretNoOp,
    Understated,
    claim,
    design,
    subject,
    task,
)

CLEAR = {"promise": claim(0.0), "budget": None, "noise_scale": 0.003}  # doing nothing is ten σ away


def found(
    method: Any = None, *, on: Any = None, seed: int = 0, chunk: int = 24, jobs: int = 1, **fields: Any
) -> Findings:
    return audit_row(subject(method, on=on, seed=seed), design(**fields), chunk=chunk, jobs=jobs)


def refuting(findings: Findings) -> set[str]:
    return {line.subject for line in findings.lines if line.deciding and line.outcome is Outcome.REFUTED}


def keys(findings: Findings, outcome: Outcome) -> set[str]:
    return {line.key for line in findings.lines if line.outcome is outcome}


def comparable(findings: Findings) -> dict[str, Any]:
    """Everything but the times."""
    plain = {f.name: getattr(findings, f.name) for f in dataclasses.fields(findings) if f.name != "timings"}
    for name, value in plain.items():
        if isinstance(value, list):
            plain[name] = [item.model_dump() for item in value]
    return plain | {
        "distances": findings.distances.model_dump(),
        "arrays": {name: array for name, (array, _) in findings.arrays.items()},
    }


def same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k], tolerance) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, np.ndarray):
        return np.allclose(one, other, rtol=tolerance, atol=tolerance)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= tolerance * (1 + abs(one))
    if dataclasses.is_dataclass(one):
        return same(dataclasses.asdict(one), dataclasses.asdict(other), tolerance)  # type: ignore[call-overload]
    return bool(one == other)


def test_an_honest_method_is_not_refuted() -> None:
    findings = found()
    assert findings.verdict is Verdict.NOT_REFUTED
    assert all(control.behaved for control in findings.controls)
    assert {c.name: c.verdict for c in findings.controls}["retrained"] is Verdict.NOT_REFUTED
    assert {line.rung for line in findings.lines} == set("ABC")
    assert sum(line.failure_probability for line in findings.lines) == pytest.approx(0.01)
    assert findings.certificate is not None
    assert findings.certificate.sensitivity_upper == tuple(findings.arrays["sensitivity_upper"][0])


def test_a_secret_no_op_is_refuted() -> None:
    findings = found(SecretNoOp(HessianFree()))
    assert findings.verdict is Verdict.REFUTED
    assert refuting(findings) == {"bound", "claim"}
    assert {"achieved-epsilon", "projection-z"} <= keys(findings, Outcome.REFUTED)


def test_noise_on_the_original_is_refuted() -> None:
    findings = found(ReleasesTheOriginal(HessianFree()))
    assert findings.verdict is Verdict.REFUTED
    assert refuting(findings) == {"noise", "claim"}
    assert all(control.behaved for control in findings.controls)  # the audit is sound, the method is not


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.1])
def test_secretly_less_noise_is_refuted_by_rung_b(factor: float) -> None:
    findings = found(Scaled(HessianFree(), factor=factor))
    assert findings.verdict is Verdict.REFUTED
    assert refuting(findings) == {"noise"}
    assert all(control.behaved for control in findings.controls)


def test_an_understated_certificate_is_refuted() -> None:
    findings = found(Understated(HessianFree()))
    assert findings.verdict is Verdict.REFUTED
    assert refuting(findings) == {"bound"}


@pytest.mark.parametrize("recipe", ["descent", "minimiser"])
@pytest.mark.parametrize("policy", [SeedPolicy.PER_SEED, SeedPolicy.MARGINAL])
def test_noise_inside_training_is_not_computable(recipe: str, policy: SeedPolicy) -> None:
    # 200 runs: enough to refute this correct method if one seed's noise were taken for its model
    on = task(Minimise()) if recipe == "minimiser" else task()
    promise = claim(4.0, seed_policy=policy)
    findings = found(NoiseInside(), on=on, promise=promise, budget=None, noise_scale=0.1, test=200, selection=60)
    assert findings.verdict is Verdict.NOT_COMPUTABLE
    paired = {"projection-z", "paired-event-projection", "paired-event-radius"}
    assert paired | {"achieved-epsilon", "noise-scale"} <= keys(findings, Outcome.NOT_COMPUTABLE)
    assert keys(findings, Outcome.NOT_REFUTED) == {"independent-event"}
    assert all(control.behaved for control in findings.controls)
    # one model per run, whatever the recipe
    assert np.unique(findings.arrays["independent_reference"][0]).size == 200


def test_a_published_loose_budget_is_vacuous() -> None:
    findings = found(NewtonStep("published"), on=task(Minimise()), budget=5.0)
    assert findings.verdict is Verdict.VACUOUS
    assert findings.distances.noop_epsilon is not None and findings.distances.noop_epsilon < 0.02


def test_where_the_budget_is_exceeded_the_retrained_model_is_released() -> None:
    findings = found(budget=1e-4)
    assert findings.refused == 24
    assert findings.arrays["distance_unlearned"][0].max() == 0
    assert findings.verdict is Verdict.NOT_COMPUTABLE and "nothing of the method was tested" in findings.because
    some = found(budget=0.004)
    assert some.verdict is Verdict.NOT_REFUTED and "retraining took the method's place" in some.because
    exceeding = some.arrays["sensitivity_upper"][0] > 0.004
    assert 0 < some.refused == exceeding.sum() < 24
    assert np.array_equal(some.arrays["distance_unlearned"][0] == 0, exceeding)


def test_a_marginal_claim_is_decided_by_independent_seeds_only() -> None:
    findings = found(SecretNoOp(HessianFree()), promise=claim(seed_policy=SeedPolicy.MARGINAL))
    assert {line.key for line in findings.lines if line.deciding and line.rung == "C"} == {"independent-event"}
    assert "claim" not in refuting(findings)
    honest = found(promise=claim(seed_policy=SeedPolicy.MARGINAL))
    assert honest.verdict is Verdict.NOT_COMPUTABLE
    assert "runs a side" in honest.because


@pytest.mark.parametrize(("method", "recipe"), [(Retrain(), None), (NewtonStep("a-posteriori"), Minimise())])
def test_a_deterministic_recipe_needs_one_model(method: Any, recipe: Any) -> None:
    findings = found(method, on=None if recipe is None else task(recipe), budget=None, noise_scale=0.01)
    assert findings.verdict is Verdict.NOT_REFUTED
    models = {timing.models for timing in findings.timings}
    assert models == ({24} if recipe is None else {1})


def test_two_runs_are_identical() -> None:
    assert same(comparable(found()), comparable(found()), 0.0)
    assert not same(comparable(found()), comparable(found(seed=1)), 1e-9)


def test_jobs_change_no_number() -> None:
    one, two = found(chunk=12, jobs=1), found(chunk=12, jobs=2)
    assert same(comparable(one), comparable(two), 0.0)


@pytest.mark.parametrize("method", [HessianFree(), Retrain()])
def test_chunks_change_no_number(method: Any) -> None:
    small, large = found(method, chunk=3), found(method, chunk=24)
    assert same(comparable(small), comparable(large), 1e-9)


@pytest.mark.parametrize("rungs", ["A", "B", "C", "AC", ""])
def test_any_rungs(rungs: str) -> None:
    findings = found(rungs=rungs, controls=("no-op", "retrained"))
    assert {line.rung for line in findings.lines} == set(rungs)
    # what would have refuted doing nothing takes the noise as claimed: without rung B nobody looked at it
    expected = Verdict.NOT_REFUTED if "B" in rungs and set(rungs) & set("AC") else Verdict.NOT_COMPUTABLE
    assert findings.verdict is expected
    if not set(rungs) & set("BC"):
        assert {control.verdict for control in findings.controls} == {Verdict.NOT_COMPUTABLE}


def test_two_runs_a_side_are_enough_to_finish() -> None:
    assert found(test=2, selection=2).verdict is Verdict.NOT_REFUTED


def test_without_noise_only_equal_models_are_indistinguishable() -> None:
    findings = found(budget=None, noise_scale=0.0)
    assert findings.verdict is Verdict.REFUTED
    assert "achieved-epsilon" in keys(findings, Outcome.REFUTED)


def test_single_precision() -> None:
    findings = found(Retrain(), on=task(dtype=torch.float32), **CLEAR)
    assert findings.verdict is Verdict.NOT_REFUTED


class TestBrokenAuditors:
    """A control whose prediction is contradicted makes the row an ERROR."""

    def test_the_sound_one(self) -> None:
        findings = found(Retrain(), **CLEAR)
        assert findings.verdict is Verdict.NOT_REFUTED
        predicted = {
            (c.name, p.line): p.predicted for c in findings.controls for p in c.predictions if p.predicted is not None
        }
        assert predicted["no-op", "projection-z"] is Outcome.REFUTED
        assert predicted["tenth-noise", "noise-scale"] is Outcome.REFUTED
        assert predicted["retrained", "independent-event"] is Outcome.NOT_REFUTED

    def test_a_projection_test_that_never_refutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit.distinguish_rung, "projection_mu_lower", lambda mean, pairs, allowed: 0.0)
        findings = found(Retrain(), **CLEAR)
        assert findings.verdict is Verdict.ERROR
        assert "no-op" in findings.because

    def test_a_projection_test_that_always_refutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit.distinguish_rung, "projection_mu_lower", lambda mean, pairs, allowed: 9.0)
        findings = found(Retrain(), **CLEAR)
        assert findings.verdict is Verdict.ERROR
        assert "retrained" in findings.because

    @pytest.mark.parametrize(("p_value", "control"), [(1.0, "tenth-noise"), (0.0, "retrained")])
    def test_a_noise_test_that_looks_at_nothing(
        self, monkeypatch: pytest.MonkeyPatch, p_value: float, control: str
    ) -> None:
        honest = audit.noise_rung.noise_tests

        def deaf(residuals: Any) -> Any:
            tests = honest(residuals)
            return dataclasses.replace(tests, p_values=dict.fromkeys(tests.p_values, p_value))

        monkeypatch.setattr(audit.noise_rung, "noise_tests", deaf)
        findings = found(Retrain(), **CLEAR)
        assert findings.verdict is Verdict.ERROR
        assert control in findings.because

    def test_events_on_the_wrong_side(self, monkeypatch: pytest.MonkeyPatch) -> None:
        honest = Event.contains
        monkeypatch.setattr(Event, "contains", lambda event, scores: ~honest(event, scores))
        findings = found(Retrain(), **(CLEAR | {"test": 60, "selection": 40}))
        assert findings.verdict is Verdict.ERROR


@pytest.mark.parametrize("until", [False, True])
def test_what_unlearning_draws_is_no_breach(until: bool) -> None:
    # given one draw the two sides are 30 σ apart; over draws they have one law
    asked = design(budget=None, noise_scale=0.01, controls=(), test=60, promise=claim(1.0))
    findings = audit_row(subject(DrawsAStep()), dataclasses.replace(asked, until_refuted=until), chunk=30, jobs=1)
    assert not refuting(findings)
    assert findings.verdict is not Verdict.REFUTED
    deciding = {line.key for line in findings.lines if line.deciding and not line.key.startswith("noise")}
    assert deciding <= {"independent-event", "sequential"}


@dataclasses.dataclass(frozen=True)
class Recording(Twin):
    """Notes every stream that it is given."""

    learned: Counter[tuple[Any, ...]] = dataclasses.field(default_factory=Counter)
    released: Counter[tuple[Any, ...]] = dataclasses.field(default_factory=Counter)

    def learn(self, task: Any, members: Any, *, streams: Any) -> Any:
        self.learned.update((streams.path, replica) for replica in streams.replicas)
        return super().learn(task, members, streams=streams)

    def release(self, state: Any, noise_scale: float, *, streams: Any) -> Any:
        self.released.update((streams.path, replica) for replica in streams.replicas)
        return super().release(state, noise_scale, streams=streams)


def test_no_bound_sees_the_runs_that_chose_its_event() -> None:
    method = Recording(HessianFree())
    found(method, chunk=7)
    # every release has noise of its own; the original and its paired retrained model share their seed, nothing else
    # but for the one release that is drawn twice, and the first test run that is trained again, to see them repeat
    assert sorted(method.released.values()) == [1] * (3 * (24 + 20) + 100 * 64) + [2]
    assert sorted(method.learned.values()) == [1] * (24 + 20 - 1) + [2] * (24 + 20) + [4]


def test_a_row_without_controls() -> None:
    findings = found(controls=())
    assert findings.controls == []
    assert findings.verdict is Verdict.NOT_REFUTED


def test_progress_is_told_of_every_chunk() -> None:
    told: list[tuple[str, int, int]] = []
    audit_row(subject(), design(), chunk=12, jobs=1, progress=lambda *what: told.append(what))
    assert [t for t in told if t[0] == "testing"] == [("testing", done, 2) for done in range(3)]
    assert told[-1] == ("testing the noise", 1, 1)


def test_lines_can_be_derived_again() -> None:
    findings = found()

    def by(key: str) -> Line:
        return next(line for line in findings.lines if line.key == key)

    x, y = (findings.arrays[f"projection_{side}"][0] for side in ("released", "reference"))
    assert by("projection-z").statistic == pytest.approx((x - y).mean())
    assert by("achieved-epsilon").derivation["distance"] == findings.arrays["distance_unlearned"][0].max()
    assert by("paired-event-radius").derivation["n"] == 24
    assert all(a.shape == (24,) for a, _ in findings.arrays.values())
    assert set(CONTROLS) == {c.name for c in findings.controls}


def test_a_wrapped_method_is_the_method() -> None:
    assert same(comparable(found(Twin(HessianFree()))), comparable(found()), 0.0)


class ByChunk(Twin):
    """Its certificate says other things of other chunks."""

    def certify(self, state: Any, request: torch.Tensor) -> Any:
        honest = super().certify(state, request)
        if 0 not in state.streams.replicas:
            late = Assumption("a premise of late runs", Status.VIOLATED, "this test")
            return dataclasses.replace(honest, assumptions=(*honest.assumptions, late), failure_probability=1e-3)
        return honest


def test_the_certificate_is_that_of_all_chunks() -> None:
    findings = found(ByChunk(HessianFree()), chunk=6, controls=())
    assert findings.certificate.status is Status.VIOLATED and findings.certificate.failure_probability == 1e-3
    assert len(findings.certificate.sensitivity_upper) == 24
    spared = {"sensitivity-bound", "achieved-epsilon", "projection-z"}
    assert {line.key for line in findings.lines if not line.deciding} == spared
    assert {line.outcome for line in findings.lines if line.key in spared} == {Outcome.NOT_COMPUTABLE}


class RarelyJumps(Twin):
    """Keeps (1, .05): with probability .04 a draw of its unlearning breaks it, and it says so."""

    @property
    def declaration(self) -> Any:
        return dataclasses.replace(self.method.declaration, draws=True)

    def unlearn(self, state: Any, request: torch.Tensor, *, streams: Any) -> Any:
        after = super().unlearn(state, request, streams=streams)
        if not request.any():
            return after
        jumps = torch.tensor([g.random() < 0.04 for g in streams.generators("jump")]).unsqueeze(1)
        return dataclasses.replace(after, parameters=after.parameters + 5.0 * jumps)

    def certify(self, state: Any, request: torch.Tensor) -> Any:
        return dataclasses.replace(super().certify(state, request), failure_probability=0.04)


def test_a_bound_that_may_fail_is_not_refuted_for_failing_as_often_as_it_says() -> None:
    promise = dataclasses.replace(claim(), tradeoff=EpsilonDelta(1.0, 0.05), delta=0.05)
    findings = found(
        RarelyJumps(Retrain()), promise=promise, budget=None, noise_scale=0.01, controls=(), test=200, selection=60
    )
    jumped = np.asarray(findings.arrays["distance_unlearned"][0]) > 1
    assert 0 < jumped.sum() < 20  # it does happen
    assert refuting(findings) == set()


class Sequential(Twin):
    """Counts the requests it was given, and reports that."""

    def unlearn(self, state: Any, request: torch.Tensor, *, streams: Any) -> Any:
        SEEN.append(request[0].nonzero().flatten().tolist())
        return super().unlearn(state, request, streams=streams)

    def diagnostics(self, state: Any) -> tuple[Diagnostic, ...]:
        return (Diagnostic("norm", "how long the weights are", tuple(state.parameters.norm(dim=1).tolist())),)


SEEN: list[list[int]] = []


def test_rung_a_alone_trains_no_other_seeds_and_no_selection_runs() -> None:
    findings = found(rungs="AB", controls=("tenth-noise",))
    whole = found(controls=())
    a = [line for line in findings.lines if line.rung == "A"]
    assert a == [line for line in whole.lines if line.rung == "A"]
    assert findings.curves == [] and findings.histograms == [] and "projection_released" not in findings.arrays
    assert {accuracy.model for accuracy in findings.accuracies} == {"original", "retrained", "unlearned", "released"}
    assert [control.verdict for control in findings.controls] == [Verdict.REFUTED]
    assert findings.verdict is Verdict.NOT_REFUTED


def test_a_request_in_parts_is_unlearned_in_parts_and_audited_whole() -> None:
    SEEN.clear()
    method = Sequential(HessianFree())
    parts = dataclasses.replace(subject(method), request_ids=(0, 1, 5), parts=2)
    findings = audit_row(parts, design(rungs="A", controls=(), budget=0.02), chunk=24, jobs=1)
    assert SEEN[:2] == [[0, 1], [5]]
    at_once = audit_row(
        dataclasses.replace(parts, parts=1), design(rungs="A", controls=(), budget=0.02), chunk=24, jobs=1
    )
    # Hessian-free vectors add up, and its certificate covers all deletions so far
    assert findings.distances.unlearned == pytest.approx(at_once.distances.unlearned, rel=1e-9)
    assert findings.distances.sensitivity_upper == pytest.approx(at_once.distances.sensitivity_upper, rel=1e-9)
    (norm,) = findings.diagnostics
    assert norm.name == "norm" and len(norm.values) == 24


@pytest.mark.parametrize(
    ("reported", "says"),
    [([], "tuple of Diagnostic, got list"), ((Diagnostic("x", "y", (1.0,)),), "one value per replica, .* here, got 1")],
)
def test_diagnostics_of_the_wrong_form_are_refused(reported: Any, says: str) -> None:
    class Reports(Twin):
        def diagnostics(self, state: Any) -> Any:
            return reported

    with pytest.raises(BrokenMethod, match=says):
        found(Reports(HessianFree()), controls=())
