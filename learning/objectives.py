"""Objectives on the replica axis: gradients, Hessian-vector products and the constants of the theory.

The loss of one record includes its share of the regulariser: ℓ(w; z) = loss(w; z) + ½λ‖w‖². Every function takes
`weights` [K, B] that already hold membership / divisor, so that Σ_b weights_b ∇ℓ_b is the mean gradient over the
records present, whatever the divisor.

Constants for inputs with ‖x̃‖₂ ≤ R (x̃ includes the 1 of the bias, which is regularised):

    binary logistic   L = R²/4 + λ    C = R³/(6√3)         G = 2R     at any regularised optimum
    softmax           L = R²/2 + λ    C = √2·R³/(3√3)      G = 2√2·R
    ridge             L = R² + λ      C = 0                (no data-free G: targets are unbounded)

C for softmax: in logits the third derivative is E[(u−ū)(v−v̄)(t−t̄)], a symmetric trilinear form, whose norm is attained
on the diagonal (Banach); a third central moment is at most range³/(6√3), and range ≤ √2‖u‖. G: the loss part is at most
R (softmax: √2·R), and λ‖w*‖ equals the norm of its mean.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unlearning.errors import ShapeMismatch


@dataclass(frozen=True, slots=True)
class Constants:
    """λ, L, C and G of an objective; each is proved for every dataset with inputs of norm at most `norm_upper`.

    Guarantee: λI ⪯ ∇²ℓ ⪯ LI, ‖∇²ℓ(w) − ∇²ℓ(v)‖ ≤ C‖w − v‖, and ‖∇ℓ(w*; z)‖ ≤ G at any regularised optimum w*.
    """

    norm_upper: float
    strong_convexity: float
    smoothness_upper: float
    hessian_lipschitz_upper: float
    gradient_bound_upper: float | None


class Point(Protocol):
    """An objective at given parameters [K, P] and records [K, B]: one forward pass, reused."""

    def losses(self) -> Tensor:
        """Loss of each record with its regulariser, [K, B]."""

    def gradient(self, weights: Tensor) -> Tensor:
        """Σ_b weights_b ∇ℓ_b, [K, P], for weights [K, B]."""

    def gradients(self, weights: Tensor) -> Tensor:
        """R weighted sums of gradients at once, [K, R, P], for weights [K, R, B]."""

    def hvp(self, weights: Tensor, vectors: Tensor) -> Tensor:
        """Σ_b weights_b ∇²ℓ_b · v for R vectors, [K, R, P], for weights [K, B] and vectors [K, R, P]."""


class Objective(Protocol):
    """A model with its loss."""

    @property
    def size(self) -> int:
        """Number of parameters P."""

    @property
    def description(self) -> str:
        """The model in words."""

    @property
    def regularisation(self) -> float:
        """λ of ½λ‖w‖²."""

    @property
    def smooth(self) -> bool:
        """Whether no part of the model is known to have a kink."""

    @property
    def kinks(self) -> tuple[str, ...]:
        """Parts of the model that are known not to be three times differentiable in the parameters."""

    @property
    def smoothness_note(self) -> str:
        """What is known of that, and what is not, in one line."""

    def initial(self, generators: Sequence[np.random.Generator]) -> Tensor:
        """Initial parameters [K, P], float64, one generator per replica."""

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Point:
        """The objective at parameters [K, P] on records features [K, B, …], labels [K, B]."""

    def predict(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Predicted class, [K, n], for shared features [n, …]."""

    def constants(self, norm_upper: float | None) -> Constants | None:
        """Proved constants; None where there are none."""


class _Linear(ABC):
    """Models whose scores are x·W, W of shape [d, c], stored flat."""

    name: str

    def __init__(self, features: int, outputs: int, regularisation: float) -> None:
        if not (math.isfinite(regularisation) and regularisation >= 0):
            raise ValueError(f"regularisation must be a finite number >= 0, got {regularisation}.")
        self.features, self.outputs, self.regularisation = features, outputs, float(regularisation)

    @property
    def size(self) -> int:
        """Number of parameters P = d·c."""
        return self.features * self.outputs

    @property
    def description(self) -> str:
        """The model in words."""
        return f"{self.name}, {self.features} inputs with bias, {self.size} parameters"

    @property
    def smooth(self) -> bool:
        """Linear models are."""
        return True

    @property
    def kinks(self) -> tuple[str, ...]:
        """None: the losses are analytic."""
        return ()

    @property
    def smoothness_note(self) -> str:
        """In one line."""
        return "no kink: the loss is analytic in the parameters"

    def initial(self, generators: Sequence[np.random.Generator]) -> Tensor:
        """Independent N(0, 0.1²) entries."""
        return torch.from_numpy(np.stack([0.1 * g.standard_normal(self.size) for g in generators]))

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Point:
        """The objective at parameters [K, P] on records features [K, B, d], labels [K, B].

        Raises:
            ShapeMismatch: the parameters are not [K, P].
        """
        if parameters.shape[-1] != self.size:
            raise ShapeMismatch("parameters", [parameters.shape[0], self.size], list(parameters.shape))
        return _LinearPoint(self, parameters, features, labels)

    def scores(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Scores [K, n, c] for features [K, n, d] or shared [n, d]."""
        return features @ parameters.view(-1, self.features, self.outputs)

    def predict(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Predicted class, [K, n]."""
        return self.scores(parameters, features).argmax(-1)

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss per record without the regulariser."""

    @abstractmethod
    def residual(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Derivative of the loss in the scores, [K, B, c]."""

    @abstractmethod
    def curvature(self, scores: Tensor, directions: Tensor) -> Tensor:
        """Second derivative in the scores applied to directions [K, B, R, c]."""

    @abstractmethod
    def constants(self, norm_upper: float | None) -> Constants | None: ...


class BinaryLogistic(_Linear):
    """Logistic regression for labels 0 and 1: log(1 + e^{−±x·w}) + ½λ‖w‖²."""

    name = "binary logistic regression"

    def __init__(self, features: int, regularisation: float) -> None:
        super().__init__(features, 1, regularisation)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss per record without the regulariser, [K, B]."""
        sign = (2 * labels - 1).to(scores.dtype)
        return torch.nn.functional.softplus(-sign * scores.squeeze(-1))

    def residual(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Derivative of the loss in the scores, [K, B, c]."""
        return torch.sigmoid(scores) - labels.unsqueeze(-1).to(scores.dtype)

    def curvature(self, scores: Tensor, directions: Tensor) -> Tensor:
        """Second derivative in the scores applied to directions [K, B, R, c]."""
        p = torch.sigmoid(scores)
        return (p * (1 - p)).unsqueeze(2) * directions

    def predict(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Predicted class, [K, n]."""
        return (self.scores(parameters, features).squeeze(-1) > 0).long()

    def constants(self, norm_upper: float | None) -> Constants | None:
        """Constants of binary logistic regression; None without a norm bound or without λ > 0."""
        if norm_upper is None or self.regularisation <= 0:
            return None
        r, lam = norm_upper, self.regularisation
        return Constants(r, lam, r**2 / 4 + lam, r**3 / (6 * math.sqrt(3)), 2 * r)


class Softmax(_Linear):
    """Softmax regression for labels 0 … c−1: cross-entropy + ½λ‖W‖²."""

    name = "softmax regression"

    def __init__(self, features: int, classes: int, regularisation: float) -> None:
        super().__init__(features, classes, regularisation)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss per record without the regulariser, [K, B]."""
        return -torch.log_softmax(scores, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)

    def residual(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Derivative of the loss in the scores, [K, B, c]."""
        p = torch.softmax(scores, -1)
        return p.scatter_add(-1, labels.unsqueeze(-1), -torch.ones_like(p[..., :1]))

    def curvature(self, scores: Tensor, directions: Tensor) -> Tensor:
        """Second derivative in the scores applied to directions [K, B, R, c]."""
        p = torch.softmax(scores, -1).unsqueeze(2)
        return p * (directions - (p * directions).sum(-1, keepdim=True))

    def constants(self, norm_upper: float | None) -> Constants | None:
        """Constants of softmax regression; None without a norm bound or without λ > 0."""
        if norm_upper is None or self.regularisation <= 0:
            return None
        r, lam = norm_upper, self.regularisation
        return Constants(r, lam, r**2 / 2 + lam, math.sqrt(2) * r**3 / (3 * math.sqrt(3)), 2 * math.sqrt(2) * r)


class Ridge(_Linear):
    """Least squares for real targets: ½(x·w − y)² + ½λ‖w‖². Quadratic: the test bed of exact identities."""

    name = "ridge regression"

    def __init__(self, features: int, regularisation: float) -> None:
        super().__init__(features, 1, regularisation)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss per record without the regulariser, [K, B]."""
        return 0.5 * (scores.squeeze(-1) - labels.to(scores.dtype)) ** 2

    def residual(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Derivative of the loss in the scores, [K, B, c]."""
        return scores - labels.unsqueeze(-1).to(scores.dtype)

    def curvature(self, scores: Tensor, directions: Tensor) -> Tensor:
        """Second derivative in the scores applied to directions [K, B, R, c]."""
        return directions

    def constants(self, norm_upper: float | None) -> Constants | None:
        """Constants of ridge regression; None without a norm bound or without λ > 0."""
        if norm_upper is None or self.regularisation <= 0:
            return None
        return Constants(norm_upper, self.regularisation, norm_upper**2 + self.regularisation, 0.0, None)


class _LinearPoint:
    """A linear model at given parameters: every derivative is one or two batched matrix products."""

    def __init__(self, objective: _Linear, parameters: Tensor, features: Tensor, labels: Tensor) -> None:
        self._objective, self._parameters, self._features, self._labels = objective, parameters, features, labels
        self._scores = objective.scores(parameters, features)
        self._residual: Tensor | None = None

    def _residuals(self) -> Tensor:
        if self._residual is None:
            self._residual = self._objective.residual(self._scores, self._labels)
        return self._residual

    def losses(self) -> Tensor:
        share = 0.5 * self._objective.regularisation * self._parameters.square().sum(-1, keepdim=True)
        return self._objective.loss(self._scores, self._labels) + share

    def gradient(self, weights: Tensor) -> Tensor:
        product = self._features.mT @ (self._residuals() * weights.unsqueeze(-1))
        share = self._objective.regularisation * weights.sum(-1, keepdim=True)
        return product.flatten(1) + share * self._parameters

    def gradients(self, weights: Tensor) -> Tensor:
        replicas, groups, _ = weights.shape
        spread = self._residuals().unsqueeze(2) * weights.mT.unsqueeze(-1)  # [K, B, R, c]
        product = self._back(spread, replicas, groups)
        share = self._objective.regularisation * weights.sum(-1).unsqueeze(-1)
        return product + share * self._parameters.unsqueeze(1)

    def hvp(self, weights: Tensor, vectors: Tensor) -> Tensor:
        replicas, count, _ = vectors.shape
        d, c = self._objective.features, self._objective.outputs
        columns = vectors.view(replicas, count, d, c).permute(0, 2, 1, 3).reshape(replicas, d, count * c)
        along = (self._features @ columns).view(replicas, -1, count, c)
        curved = self._objective.curvature(self._scores, along) * weights[..., None, None]
        share = self._objective.regularisation * weights.sum(-1)
        return self._back(curved, replicas, count) + share[:, None, None] * vectors

    def _back(self, spread: Tensor, replicas: int, count: int) -> Tensor:
        d, c = self._objective.features, self._objective.outputs
        product = self._features.mT @ spread.reshape(replicas, -1, count * c)
        return product.view(replicas, d, count, c).permute(0, 2, 1, 3).reshape(replicas, count, d * c)
