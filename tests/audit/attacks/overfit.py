"""A real fleet in seconds: a network that learns 30 records with random labels by heart."""

from functools import cache
from typing import Any

import numpy as np
import torch

from audit.attacks.fleet import Game, attack_chunk, attacked_ids, draw_members
from audit.attacks.runs import FitRuns, ScoreRuns
from audit.fleet import Subject
from learning.data import Dataset
from learning.networks import Network, mlp
from learning.task import SGD, Task
from methods.retrain import Retrain
from unlearning.claim import Reference

from ..problems import design

ROWS, COLUMNS, CLASSES = 30, 12, 3
GAME = Game(candidates=10, shadows=32, targets=24, population=30)
DESIGN = design(budget=None, noise_scale=0.01)


def overfit_subject(method: Any = None) -> Subject:
    """Five records to forget; labels are drawn, so that only a model that has seen a record knows its label."""
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((2 * ROWS, COLUMNS)))
    y = torch.from_numpy(rng.integers(0, CLASSES, 2 * ROWS))
    data = Dataset("random labels", "drawn", x[:ROWS], y[:ROWS], x[ROWS:], y[ROWS:], CLASSES, "none")
    recipe = SGD(epochs=120, batch_size=ROWS, step_size=1.0)
    network = Network(mlp(COLUMNS, [24], CLASSES), 0.0)
    task = Task("random labels", data, network, recipe, torch.device("cpu"), torch.float64)
    return Subject("overfit", method or Retrain(), task, (0, 1, 2, 3, 4), Reference.RETRAINED, 0)


def overfit_runs(role: str, subject: Subject | None = None) -> FitRuns | ScoreRuns:
    """Shadow or target runs of the subject."""
    own = subject or overfit_subject()
    return attack_chunk(own, DESIGN, GAME, role, "fresh", 0, draw_members(own, GAME, role, "fresh")).runs[1.0]


@cache
def overfit_fleet() -> tuple[FitRuns, ScoreRuns]:
    """Shadow and target runs of the honest method."""
    return overfit_runs("shadow"), overfit_runs("target")


def overfit_ids() -> tuple[int, ...]:
    """The candidates."""
    return attacked_ids(overfit_subject(), GAME)


def accuracy(runs: FitRuns | ScoreRuns, model: str) -> float:
    """Share of the learned candidates whose label is the model's prediction."""
    return float((runs.of(model).argmax(2) == runs.labels)[runs.members].mean())
