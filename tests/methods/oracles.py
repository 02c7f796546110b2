"""Slow and obvious: one model, a Python loop over steps and records, torch.autograd for every derivative."""

import numpy as np
import torch
from torch import Tensor

from learning.networks import Network
from learning.task import SGD, Task
from unlearning.streams import Streams


def record_loss(task: Task, flat: Tensor, record: int) -> Tensor:
    """Loss of one record from the formulas of the README, by hand."""
    x, y, objective = task.features()[record], task.labels()[record], task.objective
    share = 0.5 * objective.regularisation * flat.dot(flat)
    if isinstance(objective, Network):
        return -torch.log_softmax(objective.logits(flat, x.unsqueeze(0))[0], 0)[y] + share
    scores = x @ flat.view(objective.features, objective.outputs)
    if objective.name.startswith("ridge"):
        return 0.5 * (scores[0] - y) ** 2 + share
    if objective.name.startswith("binary"):
        return torch.log1p(torch.exp(-(2 * y - 1) * scores[0])) + share
    return torch.logsumexp(scores, 0) - scores[y] + share


def gradient(task: Task, flat: Tensor, record: int) -> Tensor:
    point = flat.detach().requires_grad_()
    return torch.autograd.grad(record_loss(task, point, record), point)[0]


def hessian(task: Task, flat: Tensor, record: int) -> Tensor:
    return torch.autograd.functional.hessian(lambda w: record_loss(task, w, record), flat.detach())


def descend(
    task: Task, members: set[int], streams: Streams, request: frozenset[int] = frozenset()
) -> tuple[Tensor, Tensor]:
    """Train one model, with the sum of the request's vectors, record by record; parameters [P] and sum [P]."""
    recipe = task.recipe
    assert isinstance(recipe, SGD) and len(streams) == 1
    w = task.objective.initial(streams.generators("initial"))[0]
    order_stream = streams.generator("order", 0)
    velocity, step_size = torch.zeros_like(w), recipe.step_size
    vectors = {u: torch.zeros_like(w) for u in request}
    speeds = {u: torch.zeros_like(w) for u in request}
    for _ in range(recipe.epochs):
        order = order_stream.permutation(task.rows)
        for start in range(0, task.rows, recipe.batch_size):
            whole = [int(i) for i in order[start : start + recipe.batch_size]]
            batch = [i for i in whole if i in members]
            divisor = len(whole) if recipe.divisor == "fixed" else max(len(batch), 1)
            gradients = {i: gradient(task, w, i) for i in batch}
            mean = sum(gradients.values(), torch.zeros_like(w)) / divisor
            curvature = sum((hessian(task, w, i) for i in batch), torch.zeros(len(w), len(w), dtype=w.dtype)) / divisor
            for u in request:
                injection = torch.zeros_like(w)
                if u in batch and recipe.divisor == "fixed":
                    injection = gradients[u] / len(whole)
                elif u in batch and len(batch) == 1:
                    injection = gradients[u]
                elif u in batch:
                    injection = (gradients[u] - mean) / (len(batch) - 1)
                speeds[u] = recipe.momentum * speeds[u] + curvature @ vectors[u] - injection
                vectors[u] = vectors[u] - step_size * speeds[u]
            velocity = recipe.momentum * velocity + mean
            w = w - step_size * velocity
            step_size *= recipe.decay
    return w, sum(vectors.values(), torch.zeros_like(w))


def newton_minimiser(task: Task, members: list[int]) -> Tensor:
    """Minimiser of the mean loss, by undamped Newton steps with dense autograd Hessians, from the origin."""
    w = torch.zeros(task.objective.size, dtype=torch.float64)
    for _ in range(60):
        g = sum(gradient(task, w, i) for i in members) / len(members)
        if g.norm() < 1e-13:
            break
        h = sum(hessian(task, w, i) for i in members) / len(members)
        step = torch.linalg.solve(h, g)
        while mean_loss(task, w - step, members) > mean_loss(task, w, members) + 1e-15:
            step = step / 2
        w = w - step
    return w


def mean_loss(task: Task, w: Tensor, members: list[int]) -> float:
    return float(np.mean([float(record_loss(task, w, i)) for i in members]))
