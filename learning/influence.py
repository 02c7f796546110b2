"""How well first-order vectors predict what retraining does: correlations per record, and the deletion capacity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from unlearning.errors import PlanError
from unlearning.gaussian import noise_scale_upper
from unlearning.protocols import AnyMethod
from unlearning.streams import Streams

from .propagation import plain_descent, propagate_groups
from .task import Task
from .training import train
from .vectors import record_ids

Array = NDArray[np.float64]


class SameRun(Streams):
    """One run's streams for K models that differ in their training set alone: all draw what the first one draws."""

    __slots__ = ()

    def generator(self, role: str, position: int) -> np.random.Generator:
        """Fresh generator for one role: the same in every position."""
        return super().generator(role, 0)


def same_run(streams: Streams, count: int) -> SameRun:
    """The streams of one replica, for `count` models.

    Raises:
        ValueError: the streams hold several replicas.
    """
    if len(streams) != 1:
        raise ValueError(f"streams must hold 1 replica, got {len(streams)}.")
    first = streams.replicas[0]
    return SameRun(streams.seed, tuple(range(first, first + count)), streams.path)


@dataclass(frozen=True, slots=True)
class Correlation:
    """Predicted and actual change of one loss when one record is removed.

    Attributes:
        predicted: one per record.
        actual: one per record, by paired retraining.
        pearson: linear correlation; not a number where one side does not vary.
        spearman: correlation of the ranks.
    """

    predicted: tuple[float, ...]
    actual: tuple[float, ...]
    pearson: float
    spearman: float


@dataclass(frozen=True, slots=True)
class Influence:
    """Removing each of these records alone.

    Attributes:
        records: record ids.
        own: change of the removed record's own loss, its share of the regulariser included.
        holdout: change of the mean loss on the holdout records.
    """

    records: tuple[int, ...]
    own: Correlation
    holdout: Correlation


def influence(task: Task, records: Sequence[int], *, streams: Streams, first_order: bool = False) -> Influence:
    """Predict by vectors, and retrain without each record: all retrainings side by side, with the same seed.

    Args:
        task: with a gradient descent as recipe.
        records: to remove, one at a time.
        streams: of one replica.
        first_order: predict g·a^u from the gradient at w in place of evaluating the loss at w + a^u.

    Raises:
        PlanError: fewer than two records, or one that does not exist; or the recipe is no plain gradient descent.
        ValueError: records are no whole numbers, or the streams hold several replicas.
    """
    plain_descent(task)
    chosen = record_ids("records", records)
    if len(set(chosen)) < 2 or not all(0 <= record < task.rows for record in chosen):
        raise PlanError(f"records must name two different records or more below {task.rows}, got {chosen}.")
    each = same_run(streams, len(chosen))
    groups = torch.zeros(1, len(chosen), task.rows, dtype=torch.bool, device=task.device)
    groups[0, torch.arange(len(chosen)), torch.tensor(chosen)] = True
    run = propagate_groups(task, task.everyone(1), groups, streams)
    w, vectors = run.parameters, run.vectors[0]
    retrained = train(task, ~groups[0], streams=each).parameters
    x, y = task.features()[chosen].unsqueeze(1), task.labels()[chosen].unsqueeze(1)  # [R, 1, …]
    held = task.dataset.holdout_features.to(task.device, task.dtype), task.dataset.holdout_labels.to(task.device)
    found = []
    for features, labels in ((x, y), tuple(part.unsqueeze(0).expand(len(chosen), *part.shape) for part in held)):
        before = _mean_loss(task, w.expand(len(chosen), -1), features, labels)
        if first_order:
            point = task.objective.at(w.expand(len(chosen), -1), features, labels)
            weights = torch.full(labels.shape, 1 / labels.shape[1], dtype=task.dtype, device=task.device)
            predicted = (point.gradient(weights) * vectors).sum(1)
        else:
            predicted = _mean_loss(task, w + vectors, features, labels) - before
        actual = _mean_loss(task, retrained, features, labels) - before
        found.append(correlation(predicted.double().cpu().numpy(), actual.double().cpu().numpy()))
    return Influence(tuple(chosen), *found)


def _mean_loss(task: Task, parameters: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    return task.objective.at(parameters, features, labels).losses().mean(1)


def correlation(predicted: Array, actual: Array) -> Correlation:
    """Pearson's and Spearman's coefficients.

    >>> round(correlation(np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 16.0])).spearman, 12)
    1.0
    """
    varies = np.ptp(predicted) > 0 and np.ptp(actual) > 0
    pearson = float(pearsonr(predicted, actual).statistic) if varies else float("nan")
    spearman = float(spearmanr(predicted, actual).statistic) if varies else float("nan")
    return Correlation(tuple(predicted.tolist()), tuple(actual.tolist()), pearson, spearman)


@dataclass(frozen=True, slots=True)
class Deletions:
    """What deleting m records costs.

    Attributes:
        size: m.
        sensitivity_upper: largest certified Δ over the requests drawn.
        noise_scale: σ that (ε, δ) needs for it.
        utility: mean holdout accuracy of the released models.
        retrained: mean holdout accuracy of the paired retrained models, without noise.
    """

    size: int
    sensitivity_upper: float
    noise_scale: float
    utility: float
    retrained: float


def capacity_curve(
    method: AnyMethod,
    task: Task,
    sizes: Sequence[int],
    *,
    epsilon: float,
    delta: float,
    streams: Streams,
) -> list[Deletions]:
    """Empirical deletion capacity: sizes of random requests, one request per replica, and what their release is worth.

    Args:
        method: with a certificate.
        task: with holdout records.
        sizes: of the requests, ascending.
        epsilon: ε of one release.
        delta: its δ.
        streams: of the replicas; each draws its own requests.

    Raises:
        PlanError: the method gives no certificate, or a size is out of range.
    """
    if not sizes or not all(1 <= size < task.rows for size in sizes):
        raise PlanError(f"sizes must lie between 1 and {task.rows - 1}, got {list(sizes)}.")
    replicas = len(streams)
    learned: Any = method.learn(task, task.everyone(replicas), streams=streams)
    orders = np.stack([generator.permutation(task.rows) for generator in streams.child("requests").generators("order")])
    curve = []
    for size in sizes:
        request = task.everyone(replicas) & False
        request.scatter_(1, torch.from_numpy(orders[:, :size].copy()).to(task.device), True)
        part = streams.child("capacity", size)
        unlearned: Any = method.unlearn(learned, request, streams=part)
        certificate = method.certify(unlearned, request)
        if certificate is None:
            raise PlanError(f"The capacity needs a certificate, and {method.declaration.title} gives none here.")
        upper = certificate.largest
        left = delta - certificate.failure_probability
        if left <= 0:
            raise PlanError(
                f"delta must be > {certificate.failure_probability:g}, the probability that the certificate fails, got "
                f"{delta:g}."
            )
        scale = noise_scale_upper(upper, epsilon, left) if np.isfinite(upper) else float("inf")
        utility = 0.0
        if np.isfinite(scale):
            utility = _accuracy(task, method.release(unlearned, scale, streams=part))
        reference: Any = method.learn(task, ~request, streams=streams)
        curve.append(Deletions(size, upper, scale, utility, _accuracy(task, reference.parameters)))
    return curve


def _accuracy(task: Task, parameters: Tensor) -> float:
    features = task.dataset.holdout_features.to(task.device, task.dtype)
    labels = task.dataset.holdout_labels.to(task.device)
    return float((task.objective.predict(parameters, features) == labels).double().mean())


def capacity(curve: Sequence[Deletions], *, utility_loss: float) -> int:
    """Largest m of the curve up to which no release loses more accuracy than this against retraining; 0 for none."""
    found = 0
    for point in sorted(curve, key=lambda p: p.size):
        if point.retrained - point.utility > utility_loss:
            break
        found = point.size
    return found
