"""Exact minimisers of strongly convex objectives: damped Newton with Cholesky, true gradient norm checked."""

import torch
from torch import Tensor

from unlearning.errors import NotConverged, PlanError

from .full import FullObjective, mean_weights
from .objectives import Point
from .task import Task


def full_gradient(task: Task, parameters: Tensor, members: Tensor) -> Tensor:
    """Gradient of the mean loss over the members, [K, P], at parameters [K, P]."""
    return FullObjective(task, parameters, members).gradient()


def full_hessian(task: Task, parameters: Tensor, members: Tensor) -> Tensor:
    """Hessian of the mean loss over the members, [K, P, P]."""
    return FullObjective(task, parameters, members).hessian()


def minimise(task: Task, members: Tensor, tolerance: float, *, iterations: int = 100) -> Tensor:
    """Minimiser of the mean loss over the members, [K, P], from the origin.

    Guarantee: ‖∇F‖₂ ≤ tolerance at the result, as computed in the task's dtype.

    Raises:
        PlanError: the objective is not strongly convex.
        ValueError: a replica has no records.
        NotConverged: the tolerance was not reached.
    """
    task.check_members(members)
    if not bool(members.any(1).all()):
        raise ValueError("members must hold at least one record in every replica, got none in one of them.")
    if task.objective.regularisation <= 0 or not hasattr(task.objective, "scores"):
        raise PlanError(
            f"recipe.kind = minimise needs a linear model with regularisation > 0, got {task.objective.description} "
            f'with {task.objective.regularisation:g}. Use kind = "sgd".'
        )
    weights = mean_weights(members, task.dtype)
    parameters = torch.zeros(members.shape[0], task.objective.size, dtype=task.dtype, device=task.device)
    norm = torch.full((members.shape[0],), torch.inf, dtype=task.dtype, device=task.device)
    for _ in range(iterations):
        point = at_all(task, parameters)
        gradient = point.gradient(weights)
        norm = gradient.norm(dim=1)
        done = norm <= tolerance
        if bool(done.all()):
            return parameters
        factor = torch.linalg.cholesky(full_hessian(task, parameters, members))
        step = torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        step = torch.where(done.unsqueeze(1), 0, step)  # a replica stops where it would have stopped alone
        parameters = _decrease(task, parameters, step, weights, (point.losses() * weights).sum(1), gradient)
    raise NotConverged(
        f"minimise reached gradient norm {float(norm.max()):.2e}, needs <= {tolerance:.2e} on task {task.name!r}. "
        "Raise recipe.tolerance or the regularisation."
    )


def _decrease(task: Task, parameters: Tensor, step: Tensor, weights: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """Newton step, halved per replica until the loss has decreased (Armijo); full steps near the minimum."""
    size = torch.ones_like(value)
    slope = (gradient * step).sum(1)
    rounding = 45 * torch.finfo(value.dtype).eps * value.abs()  # what the sums of losses may be off by
    for _ in range(40):
        candidate = parameters - size.unsqueeze(1) * step
        losses = (at_all(task, candidate).losses() * weights).sum(1)
        bad = losses > value - 1e-4 * size * slope + rounding
        if not bool(bad.any()):
            return candidate
        size = torch.where(bad, size / 2, size)
    return parameters - size.unsqueeze(1) * step


def at_all(task: Task, parameters: Tensor) -> Point:
    """The objective at parameters [K, P] on all n training records."""
    replicas = parameters.shape[0]
    features, labels = task.features(), task.labels()
    return task.objective.at(
        parameters,
        features.expand(replicas, *features.shape),
        labels.expand(replicas, *labels.shape),
    )
