"""Scores of released models: any map from released parameters [K, P] to one number per run.

Of one record with logits z and label y, in float64 whatever the model's own precision:

    confidence   φ = log p_y − log Σ_{c≠y} p_c = z_y − log Σ_{c≠y} e^{z_c}      Carlini et al. 2022, §VI
    loss         −log p_y = log(1 + e^{−φ}), the task's objective without its regulariser
    margin       log p_y − max_{c≠y} log p_c = z_y − max_{c≠y} z_c

No softmax is taken, so that all three are finite for logits of any size. One score (a binary logistic model) stands
for the logits (0, s). A model's score is the mean over the forgotten records.

A score must look at each run by itself: runs are the unit of independence. A user's function is held to that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from learning.objectives import Objective
from learning.task import Task
from unlearning.errors import BadScores, PlanError

from .fleet import Array, Subject
from .score_names import DISCRIMINATOR, FITTED_SCORES, RULI, SHIPPED_SCORES, U_LIRA

_FEATURE_RECORDS = 64  # of each kind that fitted scores look at


@dataclass(frozen=True, slots=True)
class ScoreContext:
    """What a score may know besides the released parameters.

    Attributes:
        task: dataset, model and recipe.
        forget: mask [n] of the forgotten records.
        retain: mask [n] of the others.
    """

    task: Task
    forget: Tensor
    retain: Tensor

    @property
    def objective(self) -> Objective:
        """Model and loss."""
        return self.task.objective


ScoreFunction = Callable[[Tensor, ScoreContext], Any]


@runtime_checkable
class _HasScores(Protocol):
    """A linear model: x·W for all replicas at once."""

    def scores(self, parameters: Tensor, features: Tensor) -> Tensor: ...


@runtime_checkable
class _HasLogits(Protocol):
    """A network: logits of one replica."""

    def logits(self, flat: Tensor, features: Tensor) -> Tensor: ...


def score_context(subject: Subject) -> ScoreContext:
    """The context of a row's scores."""
    forget = subject.request(1)[0].clone()
    return ScoreContext(subject.task, forget, ~forget)


def class_logits(objective: Objective, parameters: Tensor, features: Tensor) -> Tensor:
    """Logits [K, n, c ≥ 2] in float64, for parameters [K, P] and shared features [n, d].

    Raises:
        PlanError: the model has no logits.
    """
    with torch.no_grad():
        if isinstance(objective, _HasScores):
            found = objective.scores(parameters, features)
        elif isinstance(objective, _HasLogits):
            found = torch.func.vmap(lambda flat: objective.logits(flat, features))(parameters)
        else:
            raise PlanError(
                f"scores must suit the model, got a score of class probabilities for {objective.description}, which "
                'has no logits. Write a score of your own, "mine.py:score".'
            )
    wide = found.double()
    return wide if wide.shape[-1] > 1 else torch.cat([torch.zeros_like(wide), wide], -1)


def confidences(logits: Tensor, labels: Tensor) -> Tensor:
    """φ = z_y − log Σ_{c≠y} e^{z_c}, [K, n], for logits [K, n, c] and labels [n].

    >>> z = torch.tensor([[[0.0, 3.0]]])
    >>> confidences(z, torch.tensor([1])).item()  # log odds
    3.0
    """
    own, others = _divided(logits, labels)
    return own - torch.logsumexp(others, -1)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """z_y − max_{c≠y} z_c, [K, n]."""
    own, others = _divided(logits, labels)
    return own - others.amax(-1)


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p_y = log(1 + e^{−φ}), [K, n].

    >>> round(losses(torch.tensor([[[0.0, 0.0, 0.0]]]).double(), torch.tensor([1])).exp().item(), 12)
    3.0
    """
    return torch.nn.functional.softplus(-confidences(logits, labels), threshold=700.0)


def _divided(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """z_y [K, n], and z with −∞ in its place [K, n, c]."""
    if labels.is_floating_point():
        raise PlanError("scores must suit the data, got a score of class probabilities where labels are no classes.")
    mask = torch.nn.functional.one_hot(labels, logits.shape[-1]).bool()
    own = logits.masked_fill(~mask, 0.0).sum(-1)
    return own, logits.masked_fill(mask, -torch.inf)


def _mean_over_forgotten(measure: Callable[[Tensor, Tensor], Tensor]) -> ScoreFunction:
    def score(parameters: Tensor, context: ScoreContext) -> Tensor:
        task = context.task
        logits = class_logits(task.objective, parameters, task.features()[context.forget])
        return measure(logits, task.labels()[context.forget]).mean(1)

    return score


forget_loss = _mean_over_forgotten(losses)
forget_margin = _mean_over_forgotten(margins)
forget_confidence = _mean_over_forgotten(confidences)


def discriminator_features(parameters: Tensor, context: ScoreContext) -> Tensor:
    """Confidences of forgotten and of holdout records, [K, F]: what the discriminator looks at.

    Features of each kind are those of its first 64 records at most, as many holdout records as forgotten ones.
    """
    task = context.task
    forgotten = context.forget.nonzero().flatten()[:_FEATURE_RECORDS]
    beside = slice(0, forgotten.numel())
    features = torch.cat([task.features()[forgotten], task.dataset.holdout_features[beside].to(parameters)])
    labels = torch.cat([task.labels()[forgotten], task.dataset.holdout_labels[beside].to(task.device)])
    return confidences(class_logits(task.objective, parameters, features), labels)


def forgotten_confidences(parameters: Tensor, context: ScoreContext) -> Tensor:
    """Confidences of the forgotten records, [K, F], the first 64 of them at most: what likelihood ratios look at."""
    task = context.task
    forgotten = context.forget.nonzero().flatten()[:_FEATURE_RECORDS]
    logits = class_logits(task.objective, parameters, task.features()[forgotten])
    return confidences(logits, task.labels()[forgotten])


FUNCTIONS: dict[str, ScoreFunction] = {
    "forget-loss": forget_loss,
    "forget-margin": forget_margin,
    "forget-confidence": forget_confidence,
    DISCRIMINATOR: discriminator_features,
    U_LIRA: forgotten_confidences,
    RULI: forgotten_confidences,
}


def score_function(name: str, own: Mapping[str, ScoreFunction]) -> ScoreFunction:
    """A score by its name, shipped or the user's own.

    Raises:
        PlanError: no such score.
    """
    found = FUNCTIONS[name] if name in FUNCTIONS else own.get(name)
    if found is None:
        raise PlanError(f"scores must be among {', '.join(SHIPPED_SCORES)}, or a function, got {name!r}.")
    return found


def evaluate(name: str, function: ScoreFunction, released: Array, context: ScoreContext) -> Array:
    """A score of every run, [K]; of a fitted score its features, [K, F]. Float64, finite.

    A user's function is given a copy of the parameters, and asked again for a part of the runs: each run must have
    the same score whatever its company, or runs would not be independent.

    Raises:
        BadScores: it raises, or returns anything but one finite number per run, or runs depend on each other.
    """
    task = context.task

    def values(rows: slice) -> Array:
        part = torch.tensor(released[rows], device=task.device, dtype=task.dtype)  # a copy
        return _called(name, function, part, context)

    found = values(slice(None))
    if name in FUNCTIONS or len(found) == 1:
        return found
    alone = values(slice(0, 1))
    slack = 1e-6 if task.dtype is torch.float64 else 0.1
    if not np.allclose(alone, found[:1], rtol=slack, atol=slack):
        raise BadScores(
            f"score {name!r} must give a run the same score whatever other runs it is given with, got {alone[0]:.6g} "
            f"for the first run alone and {found[0]:.6g} among {len(found)}. Use no mean over runs and no randomness."
        )
    return found


def _called(name: str, function: ScoreFunction, parameters: Tensor, context: ScoreContext) -> Array:
    try:
        returned = function(parameters, context)
    except PlanError:
        raise
    except (Exception, SystemExit) as error:
        lines = str(error).splitlines() or [""]
        raise BadScores(
            f"score {name!r} must give one number per run, but raised {type(error).__name__}: {lines[0]}"
        ) from error
    plain = returned.detach().cpu().numpy() if isinstance(returned, Tensor) else returned
    runs = int(parameters.shape[0])
    try:
        scores = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadScores(f"score {name!r} must give {runs} numbers, got {type(returned).__name__}.") from error
    shape = (runs, *scores.shape[1:]) if name in FITTED_SCORES else (runs,)
    if scores.shape != shape:
        raise BadScores(
            f"score {name!r} must give one number per run, shape {list(shape)} here, got shape {list(scores.shape)}."
        )
    if not np.isfinite(scores).all():
        run = int(np.flatnonzero(~np.isfinite(scores.reshape(runs, -1)).all(1))[0])
        raise BadScores(f"score {name!r} must be finite, got {scores[run]} for run {run} of its chunk.")
    return scores


def evaluate_all(names: Sequence[str], subject: Subject, released: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Every score of every release: release → score → [K], or [K, F] for fitted scores."""
    context = score_context(subject)
    own = dict(subject.scores)
    return {
        release: {name: evaluate(name, score_function(name, own), parameters, context) for name in names}
        for release, parameters in released.items()
    }
