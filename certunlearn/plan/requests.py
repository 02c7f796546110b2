"""Which records a plan asks to delete: resolved once the data are there."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from unlearning.errors import PlanError

from .messages import spell
from .models import Plan
from .tasks import RequestSpec


class HasLabels(Protocol):
    """What the checks need of a dataset."""

    @property
    def labels(self) -> Any:
        """Whole numbers [n], 0 … classes − 1."""

    @property
    def classes(self) -> int:
        """Number of classes."""


def resolve_request(spec: RequestSpec, labels: Any, seed: int, *, where: str = "request") -> list[int]:
    """Sorted numbers of the training rows to delete; none for a request that each row searches for.

    Args:
        spec: request of a task.
        labels: labels of the training rows, whole numbers [n].
        seed: the plan's; a random request is drawn from SeedSequence(seed, spawn_key=(crc32("request"),)).
        where: place in the plan, for messages.

    Raises:
        PlanError: a record or class that does not exist, or nothing would be left.
    """
    classes = np.asarray(labels)
    rows = len(classes)
    if spec.kind == "class":
        ids = [int(record) for record in np.flatnonzero(classes == spec.label)]
        if not ids or len(ids) == rows:
            known = ", ".join(str(label) for label in np.unique(classes))
            raise PlanError(
                f"{where}.label must be one of several classes of the training rows, got {spec.label}; they are "
                f"{known}."
            )
        return ids
    if spec.kind == "ids":
        largest = max(spec.ids)
        if largest >= rows:
            raise PlanError(
                f"{where}.ids must be < {rows}, the number of training rows, got {largest}; ids count from 0."
            )
        if len(spec.ids) >= rows:
            raise PlanError(f"{where}.ids must be fewer than all {rows} training rows, got all; delete fewer records.")
        return sorted(spec.ids)
    if spec.size >= rows:
        raise PlanError(
            f"{where}.size must be < {rows}, the number of training rows, got {spec.size}; delete fewer records."
        )
    if spec.kind == "worst":
        return []
    key = (zlib.crc32(b"request"),)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
    return sorted(int(record) for record in generator.choice(rows, spec.size, replace=False))


def check_requests(plan: Plan, datasets: Mapping[str, HasLabels]) -> dict[str, list[int]]:
    """Records to delete of every task, once the data are there.

    Args:
        plan: a plan.
        datasets: prepared datasets by their names in the plan.

    Raises:
        PlanError: a request that does not fit its data, or a binary model for several classes.
    """
    resolved = {}
    for name, task in plan.tasks.items():
        data = datasets[task.dataset]
        if task.model == "binary-logistic" and data.classes != 2:
            raise PlanError(
                f'{spell(("tasks", name, "model"))} must be "softmax" or "mlp" for {data.classes} classes, got '
                f'"binary-logistic"; write model = "softmax".'
            )
        where = spell(("tasks", name, "request"))
        resolved[name] = resolve_request(task.request, data.labels, plan.seed, where=where)
        size = request_size(task.request, resolved[name])
        if task.request.parts > size:
            raise PlanError(
                f"{where}.parts must be at most {size}, the number of records to delete, got {task.request.parts}."
            )
    return resolved


def request_size(spec: RequestSpec, ids: Sequence[int]) -> int:
    """Number of records to delete, known before a search has found them."""
    return spec.size if spec.kind == "worst" else len(ids)
