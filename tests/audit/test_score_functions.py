"""Scores of released models against naive formulas; what a user's score may not do; features of fitted ones."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from audit.fleet import Subject
from audit.score_functions import (
    FUNCTIONS,
    ScoreContext,
    class_logits,
    confidences,
    evaluate,
    evaluate_all,
    losses,
    margins,
    score_context,
)
from audit.score_names import DISCRIMINATOR, RULI, SHIPPED_SCORES, U_LIRA
from learning.data import Dataset
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Ridge, Softmax
from learning.task import Task
from unlearning.errors import BadScores, PlanError

from .problems import DESCENT, subject, task

CLASSES, COLUMNS, RUNS = 3, 4, 6


def of(objective: Objective, dtype: torch.dtype, device: str = "cpu", *, classes: int = CLASSES) -> Subject:
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.standard_normal((30, COLUMNS)))
    y = torch.from_numpy(rng.integers(0, classes, 30))
    data = Dataset("drawn", "drawn", x[:20], y[:20], x[20:], y[20:], classes, "none")
    on = Task("drawn", data, objective, DESCENT, torch.device(device), dtype)
    return dataclasses.replace(subject(), task=on, request_ids=(1, 4, 7))


MODELS: dict[str, tuple[Objective, int]] = {
    "binary logistic": (BinaryLogistic(COLUMNS, 0.1), 2),
    "softmax": (Softmax(COLUMNS, CLASSES, 0.1), CLASSES),
    "network": (Network(mlp(COLUMNS, [5], CLASSES), 0.1), CLASSES),
}


def parameters(objective: Objective, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(3).standard_normal((RUNS, objective.size))


def naive(objective: Objective, w: torch.Tensor, context: ScoreContext) -> dict[str, list[float]]:
    """By loops over runs and records, with probabilities."""
    x, y = context.task.features()[context.forget].double(), context.task.labels()[context.forget]
    found: dict[str, list[float]] = {"forget-loss": [], "forget-margin": [], "forget-confidence": []}
    for flat in w.double():
        each: dict[str, list[float]] = {name: [] for name in found}
        for record, label in zip(x, y.tolist(), strict=True):
            if isinstance(objective, BinaryLogistic):
                p = 1 / (1 + math.exp(-float(record @ flat)))
                probabilities = [1 - p, p]
            elif isinstance(objective, Softmax):
                probabilities = torch.softmax(record @ flat.view(COLUMNS, CLASSES), -1).tolist()
            else:
                assert isinstance(objective, Network)
                probabilities = torch.softmax(objective.logits(flat, record[None])[0], -1).tolist()
            others = [p for c, p in enumerate(probabilities) if c != label]
            each["forget-loss"].append(-math.log(probabilities[label]))
            each["forget-margin"].append(math.log(probabilities[label]) - math.log(max(others)))
            each["forget-confidence"].append(math.log(probabilities[label]) - math.log(sum(others)))
        for name, values in each.items():
            found[name].append(sum(values) / len(values))
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", MODELS)
def test_scores_are_their_formulas(name: str, dtype: torch.dtype) -> None:
    objective, classes = MODELS[name]
    on = of(objective, dtype, classes=classes)
    released = parameters(objective)
    context = score_context(on)
    assert context.forget.sum() == 3 and bool((context.retain == ~context.forget).all())
    slow = naive(objective, torch.from_numpy(released).to(dtype), context)
    for score, values in slow.items():
        found = evaluate(score, FUNCTIONS[score], released, context)
        assert found.dtype == np.float64
        assert found == pytest.approx(values, rel=1e-12 if dtype is torch.float64 else 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_the_objective_without_its_regulariser(name: str) -> None:
    objective, classes = MODELS[name]
    on = of(objective, torch.float64, classes=classes)
    w = torch.from_numpy(parameters(objective))
    ids = list(on.request_ids)
    x, y = on.task.features()[ids].expand(RUNS, -1, -1), on.task.labels()[ids].expand(RUNS, -1)
    whole = objective.at(w, x, y).losses() - 0.5 * objective.regularisation * w.square().sum(1, keepdim=True)
    found = evaluate("forget-loss", FUNCTIONS["forget-loss"], w.numpy(), score_context(on))
    assert found == pytest.approx(whole.mean(1).numpy(), rel=1e-12)


@pytest.mark.parametrize("score", SHIPPED_SCORES)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_extreme_logits_give_finite_scores(score: str, name: str, dtype: torch.dtype) -> None:
    objective, classes = MODELS[name]
    on = of(objective, dtype, classes=classes)
    context = score_context(on)
    for scale in (0.0, 1e3, 1e12):
        found = evaluate(score, FUNCTIONS[score], parameters(objective, scale), context)
        assert np.isfinite(found).all()


def test_closed_forms_at_extremes() -> None:
    z = torch.tensor([[[1000.0, 0.0, -1000.0], [-1e6, 0.0, 1e6]]], dtype=torch.float64)
    y = torch.tensor([0, 0])
    assert confidences(z, y).tolist() == [[1000.0, -2e6]]
    assert margins(z, y).tolist() == [[1000.0, -2e6]]
    assert losses(z, y).tolist() == [[0.0, 2e6]]


def test_a_model_without_logits_has_no_class_scores() -> None:
    class Strange:
        size, regularisation, description = COLUMNS, 0.1, "a table"

    with pytest.raises(PlanError, match="a table, which has no logits"):
        class_logits(Strange(), torch.zeros(1, COLUMNS), torch.zeros(1, COLUMNS))  # type: ignore[arg-type]


def test_targets_that_are_no_classes_have_no_class_scores() -> None:
    on = of(Ridge(COLUMNS, 0.1), torch.float64)
    real = dataclasses.replace(on.task.dataset, labels=on.task.dataset.labels.double() / 3)
    on = dataclasses.replace(on, task=dataclasses.replace(on.task, dataset=real))
    with pytest.raises(PlanError, match="labels are no classes"):
        evaluate("forget-loss", FUNCTIONS["forget-loss"], parameters(on.task.objective), score_context(on))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", MODELS)
def test_on_a_gpu(name: str) -> None:
    objective, classes = MODELS[name]
    released = parameters(objective)
    for score in SHIPPED_SCORES:
        pair = [
            evaluate(score, FUNCTIONS[score], released, score_context(of(objective, torch.float64, d, classes=classes)))
            for d in ("cpu", "cuda")
        ]
        assert pair[0] == pytest.approx(pair[1], rel=1e-9)


def length(w: torch.Tensor, context: ScoreContext) -> torch.Tensor:
    return w.norm(dim=1)


def spoils(w: torch.Tensor, context: ScoreContext) -> torch.Tensor:
    w.zero_()
    return w[:, 0]


def test_a_score_of_ones_own() -> None:
    released = parameters(MODELS["softmax"][0])
    on = dataclasses.replace(of(MODELS["softmax"][0], torch.float64), scores=(("length", length), ("spoils", spoils)))
    before = released.copy()
    found = evaluate_all(("length", "forget-loss", "spoils"), on, {"": released, "no-op": released[:2]})
    assert found[""]["length"] == pytest.approx(np.linalg.norm(released, axis=1))
    assert found["no-op"]["length"] == pytest.approx(found[""]["length"][:2])
    assert np.array_equal(released, before)  # it was given a copy
    with pytest.raises(PlanError, match="scores must be among"):
        evaluate_all(("unknown",), on, {"": released})


def _raise(w: torch.Tensor, context: ScoreContext) -> Any:
    raise KeyError("wrong")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda w, c: w, r"score 'mine' must give one number per run, shape \[6\] here, got shape \[6, 12\]"),
        (lambda w, c: w.norm(), r"got shape \[\]"),
        (lambda w, c: None, "score 'mine' must"),
        (lambda w, c: ["a"] * len(w), "must give 6 numbers, got list"),
        (lambda w, c: w[:, 0] / 0, "must be finite"),
        (lambda w, c: w[:, 0] * torch.nan, "must be finite, got nan for run 0"),
        (_raise, "but raised KeyError"),
        (lambda w, c: w.norm(dim=1) - w.norm(dim=1).mean(), "whatever other runs it is given with"),
        (lambda w, c: np.random.default_rng().standard_normal(len(w)), "no randomness"),
    ],
)
def test_what_is_no_score(function: Any, says: str) -> None:
    objective = MODELS["softmax"][0]
    with pytest.raises(BadScores, match=says) as caught:
        evaluate("mine", function, parameters(objective), score_context(of(objective, torch.float64)))
    assert "\n" not in str(caught.value)


def test_a_score_that_ranks_runs_among_themselves_is_caught() -> None:
    objective = MODELS["softmax"][0]

    def rank(w: torch.Tensor, context: ScoreContext) -> torch.Tensor:
        return w[:, 0].argsort().argsort().double()

    released = parameters(objective)
    released[0, 0] = 100.0
    with pytest.raises(BadScores, match="whatever other runs"):
        evaluate("mine", rank, released, score_context(of(objective, torch.float64)))


def test_features_of_the_discriminator_are_of_forgotten_and_held_out_records() -> None:
    on = subject()
    w = np.random.default_rng(4).standard_normal((3, 4))
    found = evaluate(DISCRIMINATOR, FUNCTIONS[DISCRIMINATOR], w, score_context(on))
    assert found.shape == (3, 4)
    x = torch.cat([task().features()[[0, 1]], task().dataset.holdout_features[:2]])
    y = torch.cat([task().labels()[[0, 1]], task().dataset.holdout_labels[:2]])
    assert found == pytest.approx((w @ x.numpy().T) * (2 * y.numpy() - 1))


@pytest.mark.parametrize("name", [U_LIRA, RULI])
def test_features_of_likelihood_ratios_are_confidences_in_the_forgotten_records(name: str) -> None:
    on = subject()
    w = np.random.default_rng(4).standard_normal((3, 4))
    found = evaluate(name, FUNCTIONS[name], w, score_context(on))
    x, y = task().features()[[0, 1]], task().labels()[[0, 1]]
    assert found == pytest.approx((w @ x.numpy().T) * (2 * y.numpy() - 1))
    assert found.mean(1) == pytest.approx(
        evaluate("forget-confidence", FUNCTIONS["forget-confidence"], w, score_context(on))
    )
