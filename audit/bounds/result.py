"""What every bound returns: one value, whatever the bound."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from unlearning.claim import SeedPolicy
from unlearning.tradeoff import Directions


class Kind(StrEnum):
    """What a number is worth."""

    EXACT = "exact"  # no chance of being wrong: computed, not estimated
    CONFIDENCE = "confidence"  # wrong with at most the failure probability
    ANYTIME = "anytime confidence"  # the same, whenever one stops
    CREDIBLE = "credible"  # Bayesian: no promise on the frequency of errors
    ESTIMATE = "estimate"  # no promise at all


DECIDING = (Kind.EXACT, Kind.CONFIDENCE, Kind.ANYTIME)


@dataclass(frozen=True, slots=True)
class Event:
    """{score ≥ threshold}, or for orientation −1 its complement {score < threshold}; fixed before the test runs."""

    threshold: float
    orientation: int = 1

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: the orientation is neither 1 nor −1, or the threshold is not a number.
        """
        if self.orientation not in (1, -1):
            raise ValueError(f"orientation must be 1 or -1, got {self.orientation}.")
        if math.isnan(self.threshold):
            raise ValueError("threshold must be a number, got nan.")

    def contains(self, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which scores lie in the event."""
        return np.asarray((scores >= self.threshold) == (self.orientation == 1))

    def __str__(self) -> str:
        """The event in symbols."""
        return f"score {'≥' if self.orientation == 1 else '<'} {self.threshold:.4g}"


@dataclass(frozen=True, slots=True)
class LowerBound:
    """A lower bound on the ε, at the claim's δ, of the pair of laws that the scores came from, and on its μ.

    Attributes:
        name: of the bound, as in plans and tables.
        epsilon_lower: finite, ≥ 0. Guarantee: at most the true ε at the claim's δ, as `kind` says.
        mu_lower: the same for the smallest μ of which the pair is μ-GDP; None where the bound gives none.
        refuted: whether the claim is contradicted; None for what decides nothing.
        failure_probability: with which the bound may be wrong; 0 for exact ones.
        kind: what the number is worth.
        model: "none", or the family of laws that the bound assumes, in one word.
        assumes: premises in words; empty: independent runs only.
        directions: which inequalities the bound used.
        seed_policy: the weakest claim that it speaks against: a marginal claim by evidence over fresh seeds only.
        runs_released, runs_reference: independent runs that the bound saw.
        counts_released, counts_reference: runs in the event, where there is one event.
        event: in symbols.
        derivation: finite numbers from which the bound can be computed again.
    """

    name: str
    epsilon_lower: float
    mu_lower: float | None
    refuted: bool | None
    failure_probability: float
    kind: Kind
    model: str
    directions: Directions
    seed_policy: SeedPolicy
    runs_released: int
    runs_reference: int
    assumes: tuple[str, ...] = ()
    counts_released: int | None = None
    counts_reference: int | None = None
    event: str | None = None
    derivation: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that nothing is infinite, negative, or decided by an estimate.

        Raises:
            ValueError: a bound that no run can prove.
        """
        for name, value in (("epsilon_lower", self.epsilon_lower), ("mu_lower", self.mu_lower)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number >= 0, got {value}.")
        if (self.refuted is None) == (self.kind in DECIDING):
            raise ValueError(f"refuted must be {'given' if self.kind in DECIDING else 'None'} for kind {self.kind}.")
        if not 0 <= self.failure_probability < 1:
            raise ValueError(f"failure_probability must be in [0, 1), got {self.failure_probability}.")
