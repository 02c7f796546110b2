"""SCRUB for one model, and its twin whose optimiser holds the teacher.

M. Kurmanji, P. Triantafillou, J. Hayes, E. Triantafillou, *Towards Unbounded Machine Unlearning*, NeurIPS 2023, eq. 3
and algorithm 1. Teacher w_o, student w, d(x; w) = KL(p(x; w_o) ‖ p(x; w)):

    max-step   w ← w + η ∇ mean_{x ∈ D_f} d(x; w)
    min-step   w ← w − η ∇ [α mean_{x ∈ D_r} d(x; w) + γ mean_{x ∈ D_r} ℓ(x, y; w)]

A min-step in every round, a max-step before it in the first of them. Full batches; ℓ holds its ½λ‖w‖².
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearning import Declaration


@dataclass
class Optimiser:
    """Gradient descent on the parameters it holds, in place."""

    held: Tensor
    step_size: float

    def step(self, gradient: Tensor) -> None:
        self.held.sub_(self.step_size * gradient)


@dataclass(frozen=True)
class Scrub:
    """A student leaves its teacher on what is forgotten, and stays with it on what is retained.

    Attributes:
        objective: linear model or network with its loss.
        step_size: η.
        epochs: full-batch steps of learning.
        rounds: of unlearning.
        max_rounds: rounds with a max-step.
        alpha, gamma: weights of the teacher and of the labels in a min-step.
    """

    objective: Any
    step_size: float = 0.5
    epochs: int = 300
    rounds: int = 20
    max_rounds: int = 15
    alpha: float = 0.5
    gamma: float = 1.0

    declaration = Declaration(
        title="SCRUB",
        citation="Kurmanji et al., Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv 2302.09880",
        stores="the parameters and the training set",
    )

    def learn(self, features: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        w: Tensor = self.objective.initial([generator])[0].to(features)
        optimiser = Optimiser(w, self.step_size)
        for _ in range(self.epochs):
            optimiser.step(self._loss_gradient(w, features, labels))
        return w

    def unlearn(
        self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor, generator: np.random.Generator
    ) -> Tensor:
        teacher, student = parameters.clone(), parameters.clone()
        optimiser = Optimiser(self.held(teacher, student), self.step_size)
        leave = torch.func.grad(lambda w: self._divergence(teacher, w, features[removed]))
        stay = torch.func.grad(lambda w: self._divergence(teacher, w, features[~removed]))
        for turn in range(self.rounds):
            if turn < self.max_rounds:
                optimiser.step(-leave(student))
            own = self._loss_gradient(student, features[~removed], labels[~removed])
            optimiser.step(self.alpha * stay(student) + self.gamma * own)
        return student

    def held(self, teacher: Tensor, student: Tensor) -> Tensor:
        """What the optimiser moves."""
        return student

    def _loss_gradient(self, w: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        point = self.objective.at(w[None], features[None], labels[None])
        mean: Tensor = point.gradient(torch.full((1, len(labels)), 1 / len(labels), dtype=w.dtype))[0]
        return mean

    def _divergence(self, teacher: Tensor, student: Tensor, features: Tensor) -> Tensor:
        p, q = (torch.log_softmax(self._logits(w, features), -1) for w in (teacher, student))
        mean: Tensor = (p.exp() * (p - q)).sum(-1).mean()
        return mean

    def _logits(self, w: Tensor, features: Tensor) -> Tensor:
        if hasattr(self.objective, "logits"):
            found: Tensor = self.objective.logits(w, features)
            return found
        scores: Tensor = self.objective.scores(w[None], features)[0]
        return scores if scores.shape[-1] > 1 else torch.cat([torch.zeros_like(scores), scores], -1)


class HoldsTheTeacher(Scrub):
    """Its optimiser was made of the teacher's parameters: the student never moves."""

    def held(self, teacher: Tensor, student: Tensor) -> Tensor:
        return teacher
