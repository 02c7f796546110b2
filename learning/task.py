"""A task: dataset, model, objective and recipe; and the state that every method shares."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from unlearning.errors import PlanError, ShapeMismatch
from unlearning.streams import Streams

from .objectives import Constants, Objective

if TYPE_CHECKING:
    from .data import Dataset


@dataclass(frozen=True, slots=True)
class SGD:
    """Minibatch gradient descent with recorded batches: η_t = step_size · decay^t, t counted in steps.

    Attributes:
        epochs: passes over the record ids, each in an order of its own.
        batch_size: record ids per step; the last batch of an epoch may be smaller.
        step_size: η_0.
        decay: factor per step.
        momentum: heavy-ball factor, no dampening, no Nesterov.
        divisor: "fixed" keeps |B_t| when records are removed, "remaining" averages over the records that are left and
            skips a step whose batch is empty (with momentum the velocity still moves).
        radius: R_w of the ball ‖w‖ ≤ R_w; after every step (and at the start) the parameters are projected onto it, the
            identity inside. None: no projection.
    """

    epochs: int
    batch_size: int
    step_size: float
    decay: float = 1.0
    momentum: float = 0.0
    divisor: str = "remaining"
    radius: float | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            PlanError: a field is out of range.
        """
        _check_descent(self)
        if not 0 <= self.momentum < 1:
            raise PlanError(f"momentum must be in [0, 1), got {self.momentum}.")

    def __str__(self) -> str:
        """The recipe in words."""
        extra = f", decay {self.decay:g} a step" if self.decay < 1 else ""
        extra += f", momentum {self.momentum:g}" if self.momentum else ""
        return f"gradient descent, {_descent_in_words(self, extra)}"


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam (Kingma & Ba, ICLR 2015) on recorded batches, with bias correction; the regulariser is part of the loss.

    Attributes:
        epochs: passes over the record ids, each in an order of its own.
        batch_size: record ids per step.
        step_size: η_0; η_t = step_size · decay^t.
        decay: factor per step.
        first, second: β₁ and β₂, the memories of the gradient and of its square.
        stability: added to the root of the second moment.
        divisor: as in `SGD`; with "remaining" a step whose batch is empty still moves by the memory.
        radius: as in `SGD`.
    """

    epochs: int
    batch_size: int
    step_size: float
    decay: float = 1.0
    first: float = 0.9
    second: float = 0.999
    stability: float = 1e-8
    divisor: str = "remaining"
    radius: float | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            PlanError: a field is out of range.
        """
        _check_descent(self)
        for name in ("first", "second"):
            if not 0 <= getattr(self, name) < 1:
                raise PlanError(f"{name} must be in [0, 1), got {getattr(self, name)}.")
        if not self.stability > 0:
            raise PlanError(f"stability must be > 0, got {self.stability}.")

    def __str__(self) -> str:
        """The recipe in words."""
        extra = f", decay {self.decay:g} a step" if self.decay < 1 else ""
        return f"Adam ({self.first:g}, {self.second:g}), {_descent_in_words(self, extra)}"


Descent = SGD | Adam


def _check_descent(recipe: Descent) -> None:
    if recipe.epochs < 1 or recipe.batch_size < 1:
        raise PlanError(f"epochs and batch_size must be >= 1, got {recipe.epochs} and {recipe.batch_size}.")
    if not recipe.step_size > 0:
        raise PlanError(f"step_size must be > 0, got {recipe.step_size}.")
    if not 0 < recipe.decay <= 1:
        raise PlanError(f"decay must be in (0, 1], got {recipe.decay}.")
    if recipe.divisor not in ("fixed", "remaining"):
        raise PlanError(f'divisor must be "fixed" or "remaining", got {recipe.divisor!r}.')
    if recipe.radius is not None and not recipe.radius > 0:
        raise PlanError(f"radius must be > 0 or left out, got {recipe.radius}.")


def _descent_in_words(recipe: Descent, extra: str) -> str:
    ball = "" if recipe.radius is None else f", projected onto the ball of radius {recipe.radius:g}"
    return (
        f"{recipe.epochs} epochs, batches of {recipe.batch_size}, step size {recipe.step_size:g}"
        f"{extra}, {recipe.divisor} divisor{ball}"
    )


@dataclass(frozen=True, slots=True)
class Minimise:
    """The exact minimiser: Newton's method to ‖∇F‖ ≤ tolerance. It has no seed."""

    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        """Check the field.

        Raises:
            PlanError: the tolerance is not a positive number.
        """
        if not self.tolerance > 0:
            raise PlanError(f"tolerance must be > 0, got {self.tolerance}.")

    def __str__(self) -> str:
        """The recipe in words."""
        return f"exact minimiser, gradient norm at most {self.tolerance:g}"


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned, on which device.

    Attributes:
        name: as in the plan.
        dataset: prepared data; features [n, d] and labels [n] are moved to `device` here.
        objective: model and loss.
        recipe: how A trains.
        device: where tensors live.
        dtype: of parameters and features; bounds are always computed in float64.
    """

    name: str
    dataset: "Dataset"
    objective: Objective
    recipe: SGD | Adam | Minimise
    device: torch.device
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        """Hold the data to what the constants of the theory are proved from.

        Raises:
            PlanError: an input is longer than the dataset's norm_upper, or a class is not one of its classes.
        """
        data = self.dataset
        if data.norm_upper is not None:
            longest = float(torch.linalg.vector_norm(data.features.double().flatten(1), dim=1).max())
            if not longest <= data.norm_upper * (1 + 1e-9):
                raise PlanError(
                    f"dataset {data.name!r}: norm_upper must be at least {longest:.6g}, the largest norm of its "
                    f"features, got {data.norm_upper:.6g}."
                )
        if not data.labels.is_floating_point() and data.labels.numel():
            low, high = int(data.labels.min()), int(data.labels.max())
            if low < 0 or high >= data.classes:
                raise PlanError(
                    f"dataset {data.name!r}: labels must be 0 … {data.classes - 1}, got {low if low < 0 else high}."
                )

    @property
    def rows(self) -> int:
        """Number of training records n."""
        return int(self.dataset.features.shape[0])

    @property
    def deterministic(self) -> bool:
        """Whether training has no seed."""
        return isinstance(self.recipe, Minimise)

    @property
    def constants(self) -> Constants | None:
        """Proved constants of the objective on this dataset's input norm."""
        return self.objective.constants(self.dataset.norm_upper)

    def features(self) -> Tensor:
        """Training features [n, d] on the device."""
        return self.dataset.features.to(self.device, self.dtype)

    def labels(self) -> Tensor:
        """Training labels [n] on the device."""
        return self.dataset.labels.to(self.device)

    def everyone(self, replicas: int) -> Tensor:
        """Membership [K, n] of all records."""
        return torch.ones(replicas, self.rows, dtype=torch.bool, device=self.device)

    def check_members(self, members: Tensor, name: str = "members") -> None:
        """Refuse a mask of the wrong shape or type.

        Raises:
            ShapeMismatch: the mask is not [K, n].
            TypeError: the mask is not boolean.
        """
        if members.ndim != 2 or members.shape[1] != self.rows:
            raise ShapeMismatch(name, ["K", self.rows], list(members.shape))
        if members.dtype is not torch.bool:
            raise TypeError(f"{name} must be a boolean mask, got {members.dtype}.")


@dataclass(frozen=True, slots=True)
class Learned:
    """A learned or unlearned model of K replicas before any noise, and what it was learned from.

    Attributes:
        parameters: [K, P].
        task: what was learned.
        members: records still in the training set, bool [K, n].
        streams: the training streams, None when replicas were repeated by `take`.
    """

    parameters: Tensor
    task: Task
    members: Tensor
    streams: Streams | None

    def take(self, positions: list[int]) -> Self:
        """State of the replicas at these positions; a position may repeat."""
        unique = len(set(positions)) == len(positions)
        streams = self.streams.select(self.streams.replicas[p] for p in positions) if self.streams and unique else None
        return replace(self, parameters=self.parameters[positions], members=self.members[positions], streams=streams)

    def training_streams(self) -> Streams:
        """The training streams.

        Raises:
            ValueError: the replicas were repeated, so that they no longer are independent runs.
        """
        if self.streams is None:
            raise ValueError("streams must be known to unlearn; this state repeats replicas and can only be released.")
        return self.streams


def check_request(state: Learned, request: Tensor) -> None:
    """Refuse a request that is not a proper part of the training set.

    Raises:
        ShapeMismatch: the mask is not [K, n].
        ValueError: a record is not (or no longer) a member, or nothing would be left.
    """
    state.task.check_members(request, "request")
    if request.shape[0] != state.members.shape[0]:
        raise ShapeMismatch("request", list(state.members.shape), list(request.shape))
    outside = request & ~state.members
    if bool(outside.any()):
        replica, record = (int(x) for x in outside.nonzero()[0])
        raise ValueError(
            f"request must name records still in the training set, got record {record} of replica {replica}."
        )
    if bool((request == state.members).all(1).any()):
        raise ValueError("request must leave at least one record, got all of them. Delete the model instead.")
