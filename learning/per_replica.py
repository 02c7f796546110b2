"""One adapter that lifts code for one model onto the replica axis, so that anyone's method can be audited.

class Mine:
    declaration = Declaration(title="Mine", citation="…")

    def learn(self, features, labels, generator): ...                     # → parameters [P]
    def unlearn(self, parameters, features, labels, removed, generator): ...  # → parameters [P]

method = PerReplica(Mine())
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unlearning.claim import Certificate
from unlearning.protocols import Declaration, State
from unlearning.streams import Streams

from .release import gaussian_release
from .task import Learned, Task, check_request


class OneModel(Protocol):
    """A method that handles one model at a time."""

    @property
    def declaration(self) -> Declaration:
        """What the method says of itself."""

    def learn(self, features: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        """Parameters [P] learned from features [n, d] and labels [n]."""

    def unlearn(
        self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor, generator: np.random.Generator
    ) -> Tensor:
        """Parameters [P] after forgetting the records of the mask `removed`, bool [n], of the training set."""


class PerReplica:
    """A method for one model, run replica by replica with a generator of its own; released with N(0, σ²I)."""

    def __init__(self, one: OneModel) -> None:
        """Wrap the method."""
        self._one = one

    @property
    def declaration(self) -> Declaration:
        """The wrapped method's."""
        return self._one.declaration

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Learned:
        """Learn each replica on its members."""
        task.check_members(members)
        features, labels = task.features(), task.labels()
        learned = [
            self._one.learn(features[own], labels[own], generator)
            for own, generator in zip(members, streams.generators("learning"), strict=True)
        ]
        return Learned(_stacked(learned, task), task, members, streams)

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        """Unlearn each replica's request."""
        check_request(state, request)
        task = state.task
        features, labels = task.features(), task.labels()
        unlearned = [
            self._one.unlearn(parameters.clone(), features[own], labels[own], removed[own], generator)
            for parameters, own, removed, generator in zip(
                state.parameters, state.members, request, streams.generators("unlearning"), strict=True
            )
        ]
        return Learned(_stacked(unlearned, task), task, state.members & ~request, state.streams)

    def certify(self, state: Learned, request: Tensor) -> Certificate | None:
        """None: no theorem is known for wrapped code."""
        return None

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I)."""
        return gaussian_release(state, noise_scale, streams=streams)


def _stacked(parameters: list[Tensor], task: Task) -> Tensor:
    return torch.stack([torch.as_tensor(one).to(task.device, task.dtype).reshape(-1) for one in parameters])
