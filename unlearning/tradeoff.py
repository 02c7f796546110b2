"""Trade-off functions: what a claim allows every test of the released model to achieve.

P is the law of the released unlearned model, Q the law of the reference, E an event. A trade-off function maps
α = Q(E) to f(α), the least value of P(Eᶜ) that the claim allows (Dong, Roth & Su 2022, with the roles named as in
the unlearning definition: α is the reference's probability).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from .gaussian import check_delta, check_epsilon, epsilon_of_delta


class Directions(StrEnum):
    """Which of the two inequalities a claim makes."""

    BOTH = "both"
    RELEASED = "released <= e^epsilon reference"
    REFERENCE = "reference <= e^epsilon released"


class TradeOff(Protocol):
    """Least P(Eᶜ) that a claim allows, as a function of Q(E)."""

    def __call__(self, alpha: ArrayLike) -> NDArray[np.float64]:
        """f(α): non-increasing and convex on [0, 1]."""

    def epsilon(self, delta: float) -> float:
        """Smallest ε for which the claim implies (ε, delta)."""

    def refuted_at(self, p_lower: ArrayLike, q_upper: ArrayLike) -> NDArray[np.bool_]:
        """Whether P(E) ≥ p_lower together with Q(E) ≤ q_upper contradicts the claim."""


class _RefutedAtAnEvent(ABC):
    @abstractmethod
    def __call__(self, alpha: ArrayLike) -> NDArray[np.float64]: ...

    def refuted_at(self, p_lower: ArrayLike, q_upper: ArrayLike) -> NDArray[np.bool_]:
        """Whether P(E) ≥ p_lower together with Q(E) ≤ q_upper contradicts the claim.

        f does not increase, so P(Eᶜ) ≤ 1 − p_lower < f(q_upper) ≤ f(Q(E)) is a contradiction.
        """
        return np.asarray(1 - np.asarray(p_lower, dtype=np.float64) < self(q_upper))


@dataclass(frozen=True, slots=True)
class EpsilonDelta(_RefutedAtAnEvent):
    """The (ε, δ) claim, in one direction or both.

    >>> EpsilonDelta(0.0, 0.1)([0.0, 0.5, 1.0]).tolist()
    [0.9, 0.4, 0.0]
    """

    epsilon_value: float
    delta_value: float
    directions: Directions = Directions.BOTH

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.epsilon_value)
        check_delta(self.delta_value)

    def __call__(self, alpha: ArrayLike) -> NDArray[np.float64]:
        """f(α), of the shape of alpha."""
        a = np.asarray(alpha, dtype=np.float64)
        lines = [np.zeros_like(a)]
        if self.directions is not Directions.REFERENCE:
            with np.errstate(divide="ignore", over="ignore"):
                lines.append(1 - self.delta_value - np.exp(self.epsilon_value + np.log(a)))  # e^ε alone may overflow
        if self.directions is not Directions.RELEASED:
            lines.append(np.exp(-self.epsilon_value) * (1 - self.delta_value - a))
        return np.asarray(np.max(lines, axis=0), dtype=np.float64)

    def epsilon(self, delta: float) -> float:
        """The claimed ε, at the claimed δ only.

        Raises:
            ValueError: another δ than the claim's is asked for.
        """
        if delta != self.delta_value:
            raise ValueError(f"This claim speaks of delta = {self.delta_value} only, got {delta}.")
        return self.epsilon_value


@dataclass(frozen=True, slots=True)
class GaussianTradeOff(_RefutedAtAnEvent):
    """The μ-GDP claim, f(α) = Φ(Φ⁻¹(1 − α) − μ): what sensitivity Δ with Gaussian noise σ = Δ/μ proves.

    >>> GaussianTradeOff(0.0)([0.25, 0.5]).tolist()
    [0.75, 0.5]
    """

    mu: float

    def __post_init__(self) -> None:
        """Check the field.

        Raises:
            ValueError: mu is negative or not finite.
        """
        if not (math.isfinite(self.mu) and self.mu >= 0):
            raise ValueError(f"mu must be a finite number >= 0, got {self.mu}.")

    def __call__(self, alpha: ArrayLike) -> NDArray[np.float64]:
        """f(α), of the shape of alpha."""
        a = np.asarray(alpha, dtype=np.float64)
        if self.mu == 0:
            return 1 - a
        return np.asarray(ndtr(-ndtri(a) - self.mu))  # Φ⁻¹(1 − α) = −Φ⁻¹(α), and 1 − α is 1 for α < 1e-16

    def epsilon(self, delta: float) -> float:
        """ε(δ) of the Gaussian mechanism."""
        return epsilon_of_delta(self.mu, delta)


def mu_lower_at_event(p_lower: float, q_upper: float) -> float:
    """Largest μ ≥ 0 such that every claim μ' < μ is contradicted by P(E) ≥ p_lower and Q(E) ≤ q_upper."""
    if p_lower <= q_upper:
        return 0.0
    return float(ndtri(p_lower) - ndtri(q_upper))


def epsilon_lower_at_event(
    p_lower: float, q_upper: float, delta: float, directions: Directions = Directions.BOTH
) -> float:
    """Largest ε such that every smaller ε is contradicted by P(E) ≥ p_lower and Q(E) ≤ q_upper.

    Guarantee: no (ε', δ) claim with ε' at least the true ε is contradicted, wherever both limits hold.

    >>> round(epsilon_lower_at_event(0.5, 0.1, 1e-5), 4)
    1.6094
    >>> epsilon_lower_at_event(0.1, 0.5, 1e-5)
    0.0
    """
    check_delta(delta)
    found = 0.0
    if directions is not Directions.REFERENCE and p_lower - delta > q_upper:
        found = math.log((p_lower - delta) / q_upper) if q_upper > 0 else math.inf
    if directions is not Directions.RELEASED and 1 - q_upper - delta > 1 - p_lower:
        other = math.log((1 - q_upper - delta) / (1 - p_lower)) if p_lower < 1 else math.inf
        found = max(found, other)
    return found
