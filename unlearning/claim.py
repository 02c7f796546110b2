"""The vocabulary of promises: claim, reference, seed policy, assumption, certificate."""

import math
from dataclasses import dataclass
from enum import StrEnum

from .gaussian import delta_of_epsilon, epsilon_of_delta
from .tradeoff import Directions, EpsilonDelta, GaussianTradeOff


class Reference(StrEnum):
    """The law that the released unlearned model is compared with."""

    RETRAINED = "retrained"  # release(A(D_r)): Guo et al. 2020, Neel et al. 2021
    EMPTY_REQUEST = "empty request"  # release(U(A(D_r), ∅)): Sekhari et al. 2021, Zhang et al. 2024, Qiao et al. 2025


class SeedPolicy(StrEnum):
    """Which randomness a claim speaks of."""

    PER_SEED = "per seed"  # for every training seed; the randomness is the certificate's noise
    MARGINAL = "marginal"  # training seed included in the randomness
    DETERMINISTIC = "deterministic"  # training has no seed: an exact minimiser


class Released(StrEnum):
    """What the adversary sees."""

    WEIGHTS = "weights"


class Status(StrEnum):
    """How far a constant or an assumption can be trusted, best first."""

    PROVED = "proved"
    CHECKED = "checked"
    ESTIMATED = "estimated"
    ASSUMED = "assumed"
    VIOLATED = "violated"


@dataclass(frozen=True, slots=True)
class Assumption:
    """One premise of a theorem, with its value where it has one."""

    statement: str
    status: Status
    how: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What is promised: the statement that an audit can refute and never prove.

    Attributes:
        tradeoff: least P(Eᶜ) allowed as a function of Q(E).
        delta: the δ at which ε is quoted.
        reference: law on the other side.
        seed_policy: whether the claim holds for every training seed or only over seeds.
        request_size: number of records the claim covers.
        released: what the adversary sees.
        stated_by: "certificate" when a theorem of the method states it, "hand" when a person does.
    """

    tradeoff: EpsilonDelta | GaussianTradeOff
    delta: float
    reference: Reference
    seed_policy: SeedPolicy
    request_size: int
    released: Released = Released.WEIGHTS
    stated_by: str = "hand"

    @property
    def epsilon(self) -> float:
        """The claimed ε at the claim's δ."""
        return self.tradeoff.epsilon(self.delta)

    @property
    def directions(self) -> Directions:
        """Which inequalities are claimed; a Gaussian trade-off claims both."""
        return self.tradeoff.directions if isinstance(self.tradeoff, EpsilonDelta) else Directions.BOTH

    def allows_gaussian(self, mu: float) -> bool:
        """Whether a Gaussian pair at distance μ = ‖mean difference‖/σ keeps this claim, exactly."""
        if isinstance(self.tradeoff, GaussianTradeOff):
            return mu <= self.tradeoff.mu * (1 + 1e-9)
        return math.isfinite(mu) and delta_of_epsilon(mu, self.tradeoff.epsilon_value) <= self.delta * (1 + 1e-9)

    def gaussian_epsilon(self, mu: float) -> float:
        """ε at the claim's δ of a Gaussian pair at distance μ."""
        return epsilon_of_delta(mu, self.delta)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a theorem says about one unlearning of K replicas.

    Attributes:
        theorem: which theorem or bound, with its source.
        sensitivity_upper: Δ per replica. Guarantee: at least ‖unlearned − reference‖₂ under the assumptions.
        assumptions: premises with their status.
        failure_probability: probability that the bound itself fails (0 for deterministic theorems).
    """

    theorem: str
    sensitivity_upper: tuple[float, ...]
    assumptions: tuple[Assumption, ...] = ()
    failure_probability: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a sensitivity is negative or not a number, or the failure probability is outside [0, 1).
        """
        for position, bound in enumerate(self.sensitivity_upper):
            if not bound >= 0:
                raise ValueError(f"sensitivity_upper[{position}] must be >= 0, got {bound}.")
        if not 0 <= self.failure_probability < 1:
            raise ValueError(f"failure_probability must be in [0, 1), got {self.failure_probability}.")

    @property
    def largest(self) -> float:
        """Largest Δ over the replicas."""
        return max(self.sensitivity_upper)

    @property
    def status(self) -> Status:
        """Weakest status among the assumptions."""
        order = list(Status)
        return max((a.status for a in self.assumptions), key=order.index, default=Status.PROVED)
