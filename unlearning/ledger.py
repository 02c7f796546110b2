r"""The ledger of one deployed model: what its releases have spent, and when to retrain.

The k-th release adds N(0, σ²I) to a model that lies within Δ_k of its reference, where Δ_k covers the union of all
deletions so far. It is μ_k-GDP with μ_k = Δ_k/σ, and the releases together are μ-GDP with

    μ_total = √(Σ_k μ_k²)                          Dong, Roth & Su, Gaussian Differential Privacy, JRSS B 2022

Requests, and through them Δ_k, may depend on earlier releases: stopping *before* μ_total would pass a bound that was
fixed in advance keeps the promise all the same (Smith & Thakurta, Fully Adaptive Composition for Gaussian Differential
Privacy, arXiv 2210.17520). They may not depend on the noise otherwise, nor on the weights before noise.
"""

import json
import math
from dataclasses import dataclass, replace

from .errors import BudgetExceeded, DamagedState
from .gaussian import check_delta, check_epsilon, epsilon_of_delta, mu_of_epsilon_delta

_OUTWARD = 1 + 1e-12


@dataclass(frozen=True, slots=True)
class Release:
    """One release that has left the house.

    Attributes:
        sensitivity_upper: Δ_k, of all deletions up to this release.
        noise_scale: σ of its noise.
        deleted: records deleted up to this release.
    """

    sensitivity_upper: float
    noise_scale: float
    deleted: int

    def __post_init__(self) -> None:
        """Check the fields: a row that spends nothing by accident would break the promise.

        Raises:
            ValueError: a number is out of range, or there is a distance and no noise.
        """
        if not (math.isfinite(self.sensitivity_upper) and self.sensitivity_upper >= 0):
            raise ValueError(f"sensitivity_upper must be a finite number >= 0, got {self.sensitivity_upper}.")
        if not (math.isfinite(self.noise_scale) and self.noise_scale >= 0) or self.deleted < 0:
            raise ValueError(f"noise_scale and deleted must be >= 0, got {self.noise_scale} and {self.deleted}.")
        if self.sensitivity_upper > 0 and self.noise_scale == 0:
            raise ValueError(f"noise_scale must be > 0 for sensitivity {self.sensitivity_upper:.4g}, got 0.")

    @property
    def mu(self) -> float:
        """μ_k = Δ_k/σ; 0 for a release that is its own reference."""
        return self.sensitivity_upper / self.noise_scale if self.sensitivity_upper > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was promised of all releases together, and what they have spent.

    >>> ledger = Ledger(epsilon=1.0, delta=1e-5, noise_scale=0.1)
    >>> ledger = ledger.charge(0.003, deleted=1).charge(0.004, deleted=2)
    >>> round(ledger.mu_total, 6)
    0.05

    Attributes:
        epsilon: ε of the promise on all releases together.
        delta: its δ.
        noise_scale: σ, fixed before the data was seen; 0 is allowed for models that are their own reference.
        releases: in order.
    """

    epsilon: float
    delta: float
    noise_scale: float
    releases: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: ε, δ or σ is out of range.
        """
        check_epsilon(self.epsilon)
        check_delta(self.delta)
        if not (math.isfinite(self.noise_scale) and self.noise_scale >= 0):
            raise ValueError(f"noise_scale must be a finite number >= 0, got {self.noise_scale}.")

    @property
    def mu_budget(self) -> float:
        """Largest μ that keeps the promise."""
        return mu_of_epsilon_delta(self.epsilon, self.delta)

    @property
    def mu_total(self) -> float:
        """μ of all releases so far.

        Guarantee: at least √(Σ μ_k²), rounded up.
        """
        return math.hypot(*(release.mu for release in self.releases)) * _OUTWARD if self.releases else 0.0

    @property
    def epsilon_spent(self) -> float:
        """ε at the promised δ of all releases so far."""
        return epsilon_of_delta(self.mu_total, self.delta)

    def charge(self, sensitivity_upper: float, *, deleted: int) -> "Ledger":
        """The ledger with one more release; to be kept before the weights leave.

        Args:
            sensitivity_upper: Δ of all deletions up to now, not of the last request alone.
            deleted: records deleted up to now.

        Raises:
            ValueError: Δ is negative or no number, or deletions were taken back.
            BudgetExceeded: the promise would be broken; nothing may be released.
        """
        if not sensitivity_upper >= 0:
            raise ValueError(f"sensitivity_upper must be >= 0, got {sensitivity_upper}.")
        before = self.releases[-1].deleted if self.releases else 0
        if deleted < before:
            raise ValueError(
                f"deleted must count all deletions so far, and {before} were on the books, got {deleted}. "
                "Give the union of all requests."
            )
        if sensitivity_upper > 0 and self.noise_scale == 0:
            raise BudgetExceeded(
                f"A release without noise needs sensitivity 0, got {sensitivity_upper:.4g}. Retrain, or open "
                "the ledger of the next model with noise_scale > 0."
            )
        if math.isinf(sensitivity_upper):
            raise BudgetExceeded("The deletion budget is spent: the sensitivity is infinite. Retrain.")
        after = replace(self, releases=(*self.releases, Release(sensitivity_upper, self.noise_scale, deleted)))
        if not after.mu_total <= self.mu_budget:
            raise BudgetExceeded(
                f"The deletion budget is spent: mu {after.mu_total:.4g} > {self.mu_budget:.4g}, which "
                f"(epsilon = {self.epsilon:g}, delta = {self.delta:g}) allows for all releases together. Retrain, and "
                "open the next model's Ledger with a larger noise_scale."
            )
        return after

    def to_json(self) -> str:
        """The ledger as text."""
        rows = [[r.sensitivity_upper, r.noise_scale, r.deleted] for r in self.releases]
        return json.dumps({
            "epsilon": self.epsilon,
            "delta": self.delta,
            "noise_scale": self.noise_scale,
            "releases": rows,
        })

    @staticmethod
    def from_json(text: str) -> "Ledger":
        """The ledger of a text that `to_json` wrote.

        Raises:
            DamagedState: the text is something else.
        """
        try:
            found = json.loads(text)
            releases = tuple(Release(float(s), float(n), int(d)) for s, n, d in found["releases"])
            return Ledger(float(found["epsilon"]), float(found["delta"]), float(found["noise_scale"]), releases)
        except (ValueError, TypeError, KeyError, OverflowError) as problem:
            raise DamagedState(
                f"The ledger cannot be read: {problem}. Retrain: a backup forgets what was released since."
            ) from None
