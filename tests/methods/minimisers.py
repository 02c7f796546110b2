"""Random problems with an exact minimiser, and how near a certificate they come."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from learning.task import Minimise, Task
from properties.base import distances
from properties.problems import GEOMETRIES, Problem
from properties.running import split


def minimiser_problem(generator: np.random.Generator, index: int) -> Problem:
    """Linear models of every geometry; requests of one record, all but one, or any number."""
    rows = int(generator.choice([2, 3, 5, 8, 20]))
    return Problem(
        ("binary", "softmax", "ridge")[index % 3],
        rows,
        int(generator.integers(1, 5)),
        10 ** float(generator.uniform(-2.5, 1)),
        float(generator.choice([0.3, 1.0, 3.0])),
        GEOMETRIES[index % len(GEOMETRIES)],
        int(generator.choice([1, rows - 1, generator.integers(1, rows)])),
        2,
        index,
        request_by="label" if index % 2 else "chance",
    )


def minimiser_problems(count: int, seed: int) -> list[Problem]:
    generator = np.random.default_rng(seed)
    return [minimiser_problem(generator, index) for index in range(count)]


def ratio(
    problem: Problem, method: Any, tolerance: float | None = None, *, parts: int = 1, task: Task | None = None
) -> float:
    """Largest distance to the retrained model over Δ after `parts` requests; 0 where the distance is rounding."""
    task = task or problem.task()
    if tolerance is not None:
        task = replace(task, recipe=Minimise(tolerance))
    state = method.learn(task, problem.members(), streams=problem.streams)
    for number, part in enumerate(split(problem.request(), parts)):
        state = method.unlearn(state, part, streams=problem.streams.child("unlearning", number))
    retrained = method.learn(task, ~problem.request(), streams=problem.streams)
    upper = torch.tensor(method.certify(state, part).sensitivity_upper, dtype=torch.float64)
    distance = distances(state.parameters, retrained.parameters)
    return float(torch.where(distance > 1e-9, distance / upper.clamp(min=1e-300), 0).max())
