"""The objective over all retained records at once: gradient, Hessian-vector products, dense Hessian.

Records are taken in chunks, so that a network on thousands of records stays within a memory budget.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .objectives import Point
from .task import Task

_BYTES = 256 * 2**20
_ACTIVATIONS = 24  # numbers kept per input number and record while a network is differentiated twice; a rough guess


def mean_weights(members: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights [K, n] of the mean over the members."""
    return members.to(dtype) / members.sum(1, keepdim=True)


class FullObjective:
    """F_S(w) = mean loss over the members S, at parameters [K, P]; each record's loss holds its share ½λ‖w‖²."""

    def __init__(self, task: Task, parameters: Tensor, members: Tensor, *, memory: int = _BYTES) -> None:
        """Bind the point.

        Args:
            task: what is learned.
            parameters: w, [K, P].
            members: S of each replica, bool [K, n].
            memory: bytes that one chunk of records may take, roughly.
        """
        task.check_members(members)
        self._task, self._parameters, self._memory = task, parameters, memory
        self._features, self._labels = task.features().to(parameters.dtype), task.labels()
        self.weights = mean_weights(members, parameters.dtype)

    def points(self, copies: int = 1) -> Iterator[tuple[slice, Point]]:
        """The objective on consecutive chunks of all n records; `copies` derivatives are taken at once."""
        replicas, rows = self._parameters.shape[0], self._task.rows
        width = self._features[0].numel()
        each = self._parameters.element_size() * replicas * copies * width * _ACTIVATIONS
        chunk = min(rows, max(16, self._memory // max(each, 1)))
        for start in range(0, rows, chunk):
            part = slice(start, start + chunk)
            features, labels = self._features[part], self._labels[part]
            yield (
                part,
                self._task.objective.at(
                    self._parameters,
                    features.expand(replicas, *features.shape),
                    labels.expand(replicas, *labels.shape),
                ),
            )

    def losses(self) -> Tensor:
        """F_S(w), [K]."""
        found = [(point.losses() * self.weights[:, part]).sum(1) for part, point in self.points()]
        return torch.stack(found).sum(0)

    def gradient(self) -> Tensor:
        """∇F_S(w), [K, P]."""
        return torch.stack([point.gradient(self.weights[:, part]) for part, point in self.points()]).sum(0)

    def hvp(self, vectors: Tensor) -> Tensor:
        """∇²F_S(w)·v for vectors [K, R, P] or [K, P]; the same shape."""
        columns = vectors if vectors.ndim == 3 else vectors.unsqueeze(1)
        product = torch.zeros_like(columns)
        for part, point in self.points(columns.shape[1]):
            product = product + point.hvp(self.weights[:, part], columns)
        return product if vectors.ndim == 3 else product.squeeze(1)

    def hessian(self) -> Tensor:
        """∇²F_S(w), [K, P, P], symmetric to the last bit."""
        replicas, size = self._parameters.shape
        identity = torch.eye(size, dtype=self._parameters.dtype, device=self._parameters.device)
        # a network's columns by blocks: vmap keeps the activations of every column at once
        block = size if hasattr(self._task.objective, "scores") else 64
        parts = [identity[start : start + block] for start in range(0, size, block)]
        columns = [self.hvp(rows.expand(replicas, *rows.shape)) for rows in parts]
        hessian = torch.cat(columns, 1)
        return (hessian + hessian.mT) / 2


class SampledObjective:
    """The mean loss over minibatches of the members: R independent runs of each replica, on the axis [K·R].

    Batches are drawn with replacement, so that the Hessian of a batch has the full Hessian as its mean.
    """

    def __init__(
        self,
        task: Task,
        parameters: Tensor,
        members: Tensor,
        *,
        generators: Sequence[np.random.Generator],
        runs: int,
        batch: int,
    ) -> None:
        """Bind the point.

        Args:
            task: what is learned.
            parameters: w, [K, P].
            members: bool [K, n].
            generators: one per replica.
            runs: R.
            batch: records per minibatch.
        """
        self._task, self._runs, self._batch, self._generators = task, runs, batch, generators
        self._parameters = parameters.repeat_interleave(runs, 0)
        self._features, self._labels = task.features().to(parameters.dtype), task.labels()
        self._own = [np.flatnonzero(row) for row in members.numpy(force=True)]

    def draw(self) -> Tensor:
        """Record ids of a fresh minibatch for every run, [K·R, B]."""
        drawn = [
            own[generator.integers(0, len(own), (self._runs, self._batch))]
            for own, generator in zip(self._own, self._generators, strict=True)
        ]
        return torch.from_numpy(np.concatenate(drawn)).to(self._parameters.device)

    def hvp(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """Hessian of the mean loss over the records `rows`, [K·R, B], on vectors [K·R, S, P]."""
        point = self._task.objective.at(self._parameters, self._features[rows], self._labels[rows])
        weights = torch.full(rows.shape, 1 / self._batch, dtype=vectors.dtype, device=vectors.device)
        return point.hvp(weights, vectors)
