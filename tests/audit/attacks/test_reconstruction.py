"""Reconstruction: exact where it must be, equal to a slow oracle, twins caught, and noise as the theorem says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.attacks import reconstruction
from audit.attacks.reconstruction import (
    cosines,
    deleted_ids,
    directions,
    gap_allowed,
    guess,
    linear,
    loss_gradients,
    prediction_changes,
    reconstruct,
    varying,
)
from audit.fleet import Subject
from certunlearn.building import build
from certunlearn.plan import read_plan
from learning.data import Dataset
from learning.minimiser import minimise
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Ridge, Softmax
from learning.task import SGD, Minimise, Task
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from unlearning.errors import PlanError
from unlearning.gaussian import noise_scale_upper
from unlearning.record_attacks import Reconstruction

from ..gates import agrees
from ..problems import NoiseInside, design, subject

ROWS, COLUMNS, CLASSES = 60, 5, 3
DELETED = (3, 17, 41)


def linear_task(kind: str = "softmax", *, recipe: Any = None, held: int = 200, regularisation: float = 0.05) -> Task:
    rng = np.random.default_rng(5)
    features = rng.standard_normal((ROWS + held, COLUMNS))
    features = np.hstack([features / np.linalg.norm(features, axis=1).max(), np.full((len(features), 1), 0.5)])
    score = features[:, :CLASSES] + 0.2 * rng.standard_normal((len(features), CLASSES))
    labels: Any = score.argmax(1) if kind == "softmax" else (score[:, 0] > 0).astype(np.int64)
    if kind == "ridge":
        labels = score[:, 0] + 0.3 * rng.standard_normal(len(features))
    width = COLUMNS + 1
    objective: Objective = {
        "ridge": Ridge(width, regularisation),
        "logistic": BinaryLogistic(width, regularisation),
        "softmax": Softmax(width, CLASSES, regularisation),
    }[kind]
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    data = Dataset("drawn", "drawn", x[:ROWS], y[:ROWS], x[ROWS:], y[ROWS:], CLASSES, "none")
    return Task("drawn", data, objective, recipe or Minimise(1e-13), torch.device("cpu"))


def deletions(task: Task) -> tuple[Tensor, Tensor]:
    """Minimisers of D and of D without each deleted record, [K, P]."""
    members = task.everyone(len(DELETED))
    before = minimise(task, members, 1e-13)
    members[torch.arange(len(DELETED)), torch.tensor(DELETED)] = False
    return before, minimise(task, members, 1e-13)


def kept(task: Task, record: int) -> Tensor:
    return torch.cat([task.features()[:record], task.features()[record + 1 :]])


def closed_form_error(kind: str, gradients: Callable[..., Tensor]) -> float:
    """Largest 1 − |cosine| of the records rebuilt with the kept records in the place of public ones: 0 in theory."""
    task = linear_task(kind)
    objective, worst = linear(task), 0.0
    for before, after, record in zip(*deletions(task), DELETED, strict=True):
        b, a, public = before.unsqueeze(0), after.unsqueeze(0), kept(task, record)
        changes = prediction_changes(objective, b, a, public)
        found = directions(gradients(objective, b, a, public, records=ROWS, changes=changes))
        worst = max(worst, 1 - float(cosines(found, task.features()[[record]])))
    return worst


@pytest.mark.parametrize("kind", ["ridge", "logistic", "softmax"])
def test_with_the_kept_records_the_deleted_one_is_rebuilt_exactly(kind: str) -> None:
    assert closed_form_error(kind, loss_gradients) < 1e-12


def test_ridge_is_sherman_morrison() -> None:
    """Both minimisers by a linear solve; G = r x with its size, so that the bias column gives r."""
    task = linear_task("ridge")
    x, y, lam = task.features(), task.labels(), task.objective.regularisation
    record = DELETED[0]
    rest, targets = kept(task, record), torch.cat([y[:record], y[record + 1 :]])
    eye = torch.eye(COLUMNS + 1, dtype=torch.float64)
    before = torch.linalg.solve(x.T @ x / ROWS + lam * eye, x.T @ y / ROWS).unsqueeze(0)
    moment = rest.T @ rest / (ROWS - 1) + lam * eye
    after = torch.linalg.solve(moment, rest.T @ targets / (ROWS - 1)).unsqueeze(0)
    residual = x[record] @ before[0] - y[record]
    objective = linear(task)
    changes = prediction_changes(objective, before, after, rest)
    found = loss_gradients(objective, before, after, rest, records=ROWS, changes=changes)[0, :, 0]
    assert torch.allclose(found, residual * x[record], atol=1e-12)
    assert float(found[-1] / x[record, -1]) == pytest.approx(float(residual), abs=1e-11)
    dense = (ROWS - 1) * moment @ (after - before)[0] - lam * before[0]
    assert torch.allclose(found, dense, atol=1e-12)


def without_own_share(objective: Any, before: Tensor, after: Tensor, public: Tensor, **known: Any) -> Tensor:
    """The published formula, for a regulariser that does not grow with n."""
    share = objective.regularisation * before.view(-1, objective.features, objective.outputs)
    return loss_gradients(objective, before, after, public, **known) + share


def wrong_sign(objective: Any, before: Tensor, after: Tensor, public: Tensor, **known: Any) -> Tensor:
    return loss_gradients(objective, after, before, public, **{**known, "changes": -known["changes"]})


def divided_regulariser(objective: Any, before: Tensor, after: Tensor, public: Tensor, **known: Any) -> Tensor:
    """λ/n for λ beside the second moment."""
    moved = (after - before).view(-1, objective.features, objective.outputs)
    off = (ROWS - 1) * objective.regularisation * (1 - 1 / ROWS) * moved
    return loss_gradients(objective, before, after, public, **known) - off


def no_second_moment(objective: Any, before: Tensor, after: Tensor, public: Tensor, **known: Any) -> Tensor:
    return (after - before).view(-1, objective.features, objective.outputs)


def one_record_too_many(objective: Any, before: Tensor, after: Tensor, public: Tensor, **known: Any) -> Tensor:
    return loss_gradients(objective, before, after, public, **{**known, "records": known["records"] + 1})


TWINS = [without_own_share, wrong_sign, divided_regulariser, no_second_moment, one_record_too_many]


@pytest.mark.parametrize("kind", ["ridge", "logistic", "softmax"])
@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_the_closed_form_catches(twin: Callable[..., Tensor], kind: str) -> None:
    assert closed_form_error(kind, twin) > 1e-7


def naive(task: Task, before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """One run, one record at a time, with residuals written out and public labels that must not matter."""
    x, lam = task.dataset.holdout_features.numpy(), task.objective.regularisation
    width, outputs = task.objective.features, task.objective.outputs  # type: ignore[attr-defined]

    def prediction(w: np.ndarray, row: np.ndarray) -> np.ndarray:
        scores = row @ w.reshape(width, outputs)
        if isinstance(task.objective, Ridge):
            return scores
        full = scores if outputs > 1 else np.array([0.0, scores[0]])
        p = np.exp(full - full.max())
        return (p / p.sum())[-outputs:]

    def gradient(w: np.ndarray) -> np.ndarray:
        total = np.zeros((width, outputs))
        for row, label in zip(x, labels, strict=True):
            wanted = np.eye(max(outputs, 2))[label][-outputs:]
            total += np.outer(row, prediction(w, row) - wanted) / len(x)
        return total + lam * w.reshape(width, outputs)

    g = (ROWS - 1) * (gradient(after) - gradient(before)) - lam * before.reshape(width, outputs)
    changed = [np.linalg.norm(prediction(after, row) - prediction(before, row)) for row in x]
    return [np.linalg.svd(g)[0][:, 0], x.mean(0), x[int(np.argmax(changed))]]


@pytest.mark.parametrize("kind", ["ridge", "logistic", "softmax"])
def test_a_loop_over_runs_and_records_finds_the_same(kind: str) -> None:
    task = linear_task(kind)
    before, after = deletions(task)
    found = guess(linear(task), before, after, task.dataset.holdout_features, records=ROWS)
    labels = np.random.default_rng(0).integers(0, 2, len(task.dataset.holdout_labels))
    for run in range(len(DELETED)):
        for mine, slow in zip(found, naive(task, before[run].numpy(), after[run].numpy(), labels), strict=True):
            assert float(cosines(mine[[run]], torch.from_numpy(slow).unsqueeze(0))) == pytest.approx(1, abs=1e-9)


def test_the_difference_of_gradients_is_the_hessian_along_the_way() -> None:
    task = linear_task("softmax")
    before, after = deletions(task)
    objective, public = linear(task), task.dataset.holdout_features
    near = before + 1e-4 * (after - before) / (after - before).norm(dim=1, keepdim=True)
    many = public.expand(len(before), *public.shape)
    point = task.objective.at((before + near) / 2, many, torch.zeros(many.shape[:2], dtype=torch.long))
    weights = torch.full(many.shape[:2], 1 / len(public), dtype=torch.float64)
    product = point.hvp(weights, (near - before).unsqueeze(1)).squeeze(1)
    changes = prediction_changes(objective, before, near, public)
    g = loss_gradients(objective, before, near, public, records=2, changes=changes).flatten(1)
    assert torch.allclose(g + task.objective.regularisation * before, product, rtol=1e-6, atol=1e-11)


def played(task: Task, method: Any = None, **asked: Any) -> list[Reconstruction]:
    on = replace(subject(method or Retrain(), on=task), request_ids=(3, 17))
    options: dict[str, Any] = {"targets": 12, "factors": (0.0, 1.0), "chunk": 5} | asked
    noise = options.pop("noise_scale", 0.05)
    chunk = options.pop("chunk")
    row = design(noise_scale=noise, budget=options.pop("budget", None))
    return reconstruct(on, row, lambda _, function, tasks: [function(*one) for one in tasks], chunk, **options)


def of(found: list[Reconstruction], against: str, factor: float) -> Reconstruction:
    return next(one for one in found if (one.against, one.noise_factor) == (against, factor))


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_exact_retraining_leaks_without_noise_and_not_with_it(kind: str) -> None:
    found = played(linear_task(kind, recipe=Minimise(1e-10)), targets=20, noise_scale=0.5)
    for against in ("unlearned", "retrained"):
        bare, noisy = of(found, against, 0.0), of(found, against, 1.0)
        assert bare.cosine.mean > 0.9 and bare.above_average >= 16
        assert bare.cosine.lower is not None and bare.gap is not None and bare.gap.lower is not None
        assert bare.cosine.lower > max(bare.average.mean, bare.difference.mean)
        assert bare.gap.lower > 0
        assert noisy.gap is not None and noisy.gap.lower is not None and noisy.gap.upper is not None
        assert noisy.gap.lower <= 0 <= noisy.gap.upper and noisy.cosine.mean < 0.7
        assert bare.gap_allowed == 1
    assert of(found, "original", 1.0).gap is None


def test_a_certificate_of_the_second_release_does_not_stop_it() -> None:
    """Newton's σ hides what separates it from retraining, not what the deletion moved."""
    task = linear_task("logistic", recipe=Minimise(1e-10))
    task = replace(task, dataset=replace(task.dataset, norm_upper=1.2))
    sigma = noise_scale_upper(1e-3, 1.0, 1e-5)
    found = played(task, NewtonStep(bound="a-posteriori"), budget=1e-3, noise_scale=sigma, targets=20)
    after = of(found, "unlearned", 1.0)
    assert after.cosine.mean > 0.9 and after.refused == 0
    assert after.cosine.mean == pytest.approx(of(found, "retrained", 1.0).cosine.mean, abs=0.01)


def test_a_refused_deletion_releases_the_reference_and_is_counted() -> None:
    task = linear_task("logistic", recipe=Minimise(1e-10))
    task = replace(task, dataset=replace(task.dataset, norm_upper=1.2))
    found = played(task, NewtonStep(bound="a-posteriori"), budget=1e-12)
    assert of(found, "unlearned", 0.0).refused == 12 and of(found, "retrained", 0.0).refused == 0
    assert of(found, "unlearned", 0.0).cosines == of(found, "retrained", 0.0).cosines


def test_chunks_and_company_change_nothing() -> None:
    task = linear_task("softmax", recipe=SGD(epochs=3, batch_size=20, step_size=1.0))
    whole, parts = played(task, chunk=12), played(task, chunk=5)
    for one, other in zip(whole, parts, strict=True):
        assert np.allclose(one.cosines, other.cosines, atol=1e-9)
    # retraining with the run's own seed is what the method does
    assert np.allclose(of(whole, "unlearned", 0.0).cosines, of(whole, "retrained", 0.0).cosines, atol=1e-9)
    assert of(whole, "unlearned", 0.0).cosine.mean > 0.9  # nowhere near a minimum


def test_noise_inside_training_is_not_scaled() -> None:
    method = NoiseInside(honest=Retrain())
    found = played(linear_task("logistic", recipe=SGD(epochs=2, batch_size=20, step_size=1.0)), method)
    assert {one.noise_factor for one in found} == {1.0}
    assert all(one.gap_allowed is None for one in found)


def check_average_is_public(task: Task, found: list[Reconstruction]) -> None:
    """The average's cosine, computed apart, from public records alone."""
    ids = list(deleted_ids(replace(subject(Retrain(), on=task), request_ids=(3, 17)), 12))
    records, mean = task.features()[ids, :-1].numpy(), task.dataset.holdout_features.mean(0)[:-1].numpy()
    by_hand = np.abs(records @ mean) / np.linalg.norm(records, axis=1) / np.linalg.norm(mean)
    for one in found:
        assert one.average.mean == pytest.approx(by_hand.mean(), abs=1e-12)


def test_the_average_is_of_public_records(monkeypatch: pytest.MonkeyPatch) -> None:
    task = linear_task("logistic", recipe=Minimise(1e-10))
    check_average_is_public(task, played(task))
    ids = iter(deleted_ids(replace(subject(Retrain(), on=task), request_ids=(3, 17)), 12) * 10)

    def peeks(*args: Any, **known: Any) -> list[Tensor]:
        rebuilt, _, difference = guess(*args, **known)
        return [rebuilt, task.features()[[next(ids)]], difference]

    monkeypatch.setattr(reconstruction, "guess", peeks)
    with pytest.raises(AssertionError):
        check_average_is_public(task, played(task))


def test_what_noise_allows_is_attained() -> None:
    """The event {projection > d/2} has a gap of 2Φ(d/2σ) − 1, and no score in [0, 1] has more."""
    rng, runs, d, sigma = np.random.default_rng(3), 20_000, 0.7, 0.5
    allowed = gap_allowed(np.full(10, d), sigma)
    hits = int((d + sigma * rng.standard_normal(runs) > d / 2).sum())
    assert agrees(hits, runs, (1 + allowed) / 2)
    assert gap_allowed(np.array([0.0, 1.0, 2.0]), 0.0) == pytest.approx(2 / 3)


def mean_gap(*, frozen: bool) -> tuple[float, float]:
    """Mean gap over 10,000 pairs of releases of one deletion, and what is allowed; frozen: both have the same noise."""
    task, runs, sigma = linear_task("logistic", held=60), 10_000, 0.2
    before, after = (part[:1] for part in deletions(task))
    rng = np.random.default_rng(11)
    first, second = (torch.from_numpy(rng.standard_normal((runs, task.objective.size))) for _ in range(2))
    told, record = before + sigma * first, task.features()[[DELETED[0]]].expand(runs, -1)
    means = []
    for model in (after, before):
        again = model + sigma * (first if frozen else second)
        guesses = guess(linear(task), told, again, task.dataset.holdout_features, records=ROWS)
        means.append([float(cosines(one[:, :-1], record[:, :-1]).mean()) for one in guesses])
    shift = (after - before).norm(dim=1).numpy()
    return float(np.abs(np.subtract(*means)).max()), gap_allowed(shift, sigma)


def test_no_guess_gains_more_than_noise_allows() -> None:
    slack = np.sqrt(2 * np.log(3e9) / 10_000)  # Hoeffding, three guesses, 1e-9
    gap, allowed = mean_gap(frozen=False)
    assert gap <= allowed + slack
    gap, allowed = mean_gap(frozen=True)  # it cancels
    assert gap > allowed + slack


PLAN = Path(__file__).parents[3] / "plans" / "reconstruction.toml"


@pytest.mark.parametrize(
    ("name", "stopped"), [("Hessian-free, breast cancer", True), ("Newton step, breast cancer", False)]
)
def test_what_the_plan_shows(name: str, stopped: bool) -> None:
    """Exact retraining is broken without noise; σ stops it where it is large beside what a deletion moves."""
    built = build(read_plan(PLAN), device=torch.device("cpu"), data=None, trust=False)
    row = next(row for row in built.rows if row.spec.name == name)
    found = reconstruct(
        row.subject, row.design, lambda _, function, tasks: [function(*one) for one in tasks], row.chunk, targets=20
    )
    for against in ("unlearned", "retrained"):
        bare, noisy = of(found, against, 0.0), of(found, against, 1.0)
        assert bare.cosine.lower is not None and bare.cosine.lower > 0.9 and bare.above_average == 20
        assert noisy.gap is not None and noisy.gap.lower is not None and noisy.gap.upper is not None
        assert (noisy.gap.lower <= 0 <= noisy.gap.upper) == stopped
        assert (noisy.cosine.mean > 0.8) != stopped


def test_the_bias_is_no_secret() -> None:
    assert varying(linear_task().dataset.holdout_features).tolist() == [True] * COLUMNS + [False]


def test_deleted_records_are_the_request_first() -> None:
    on = replace(subject(Retrain(), on=linear_task()), request_ids=(3, 17, 20))
    assert deleted_ids(on, 2) == (3, 17)
    assert set(deleted_ids(on, 10)) > {3, 17, 20}
    assert deleted_ids(on, 10) == deleted_ids(on, 10) != deleted_ids(replace(on, seed=1), 10)


def refused(task: Task, targets: int = 3) -> str:
    on: Subject = subject(Retrain(), on=task)
    with pytest.raises(PlanError) as error:
        reconstruct(on, design(noise_scale=0.1), lambda *_: [], 1, targets=targets)
    return str(error.value)


def test_what_cannot_be_rebuilt_says_why() -> None:
    task = linear_task(recipe=SGD(epochs=1, batch_size=20, step_size=0.1))
    network = replace(task, objective=Network(mlp(COLUMNS + 1, [4], CLASSES), 0.01))
    assert "linear in its inputs" in refused(network)
    alike = replace(task.dataset, holdout_features=torch.ones(4, COLUMNS + 1), holdout_labels=torch.zeros(4).long())
    assert "public records that differ" in refused(replace(task, dataset=alike))
    assert "between 1 and 59" in refused(task, 60) and "between 1 and 59" in refused(task, 0)
