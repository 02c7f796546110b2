"""Rung C at one event fixed beforehand: exact Clopper–Pearson limits against the claim's trade-off function.

x of n released runs and y of m reference runs fall into E. With p_L the lower limit of P(E) at α₁ and q_U the upper
limit of Q(E) at α₂, a claim f is refuted when 1 − p_L < f(q_U); a true claim is refuted with probability ≤ α₁ + α₂,
whatever the dependence between the two arms.

Paired seeds: the event E_k may depend on the training seed k. Seeds are independent draws, so x and y are binomial
with the seed-averages p̄, q̄, and a claim that holds for every seed holds for the averages too: 1 − p̄ = E[1 − p_k] ≥
E[f(q_k)] ≥ f(q̄), because f is convex (Jensen).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import fftconvolve
from scipy.special import ndtri
from scipy.stats import binom

from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.claim import Claim
from unlearning.tradeoff import Directions, TradeOff, epsilon_lower_at_event, mu_lower_at_event


@dataclass(frozen=True, slots=True)
class EventBound:
    """What the counts at one event prove.

    Attributes:
        refuted: whether the claim is contradicted.
        p_lower, q_upper: confidence limits of P(E) and Q(E).
        epsilon_lower, mu_lower: every smaller ε (at the claim's δ), every smaller μ, is contradicted.
    """

    refuted: bool
    p_lower: float
    q_upper: float
    epsilon_lower: float
    mu_lower: float


@dataclass(frozen=True, slots=True)
class EventDesign:
    """Numbers of runs and the division of the failure probability between the two limits.

    Attributes:
        released: runs n of the released arm.
        reference: runs m of the reference arm.
        failure_probability: α₁ + α₂.
        share_released: α₁ over α₁ + α₂.
    """

    released: int
    reference: int
    failure_probability: float
    share_released: float = 0.5

    def limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """p_L for every count 0 … n and q_U for every count 0 … m."""
        return _limits(self)

    def bound(self, x: int, y: int, claim: Claim) -> EventBound:
        """Compare x of n and y of m with the claim."""
        lower, upper = self.limits()
        p_lower, q_upper = float(lower[x]), float(upper[y])
        return EventBound(
            bool(claim.tradeoff.refuted_at(p_lower, q_upper)),
            p_lower,
            q_upper,
            epsilon_lower_at_event(p_lower, q_upper, claim.delta, claim.directions),
            mu_lower_at_event(p_lower, q_upper),
        )

    def refutation_probability(self, p: ArrayLike, q: ArrayLike, tradeoff: TradeOff) -> float:
        """Probability that the claim is refuted when P(E) = p and Q(E) = q, independent arms.

        One number each, or one for each run where the models of the runs are given: then it is exact for these models.
        """
        lower, upper = self.limits()
        needed = _smallest_refuting(lower, upper, tradeoff)
        of_count = count_probabilities(p, self.released)
        tail = np.append(np.cumsum(of_count[::-1])[::-1], 0.0)  # P(x ≥ k) for k = 0 … n + 1
        return float(np.sum(count_probabilities(q, self.reference) * tail[needed]).clip(0, 1))

    def detectable(self, q: float, tradeoff: TradeOff, power: float = 0.8) -> float | None:
        """Smallest P(E) that is refuted with this power when Q(E) = q; None where no P(E) is."""
        if self.refutation_probability(1.0, q, tradeoff) < power:
            return None
        low, high = q, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            if self.refutation_probability(middle, q, tradeoff) >= power:
                high = middle
            else:
                low = middle
        return high


def count_probabilities(p: ArrayLike, runs: int) -> NDArray[np.float64]:
    """Probabilities of 0 … n successes in independent runs with success probabilities p, one number or one per run.

    >>> count_probabilities([1.0, 0.5], 2).round(12).tolist()
    [0.0, 0.5, 0.5]

    Raises:
        ValueError: there are neither one nor `runs` probabilities.
    """
    each = np.asarray(p, dtype=np.float64).ravel()
    if each.size == 1:
        return np.asarray(binom.pmf(np.arange(runs + 1), runs, each[0]))
    if each.size != runs:
        raise ValueError(f"p must hold 1 or {runs} probabilities, got {each.size}.")
    # the product of the polynomials (1 − p) + p·z, by halves
    factors = np.stack([1 - each, each], axis=1)
    while factors.shape[0] > 1:
        if factors.shape[0] % 2:
            factors = np.concatenate([factors, np.eye(1, factors.shape[1])])
        factors = fftconvolve(factors[::2], factors[1::2], axes=1)
    return np.asarray(factors[0, : runs + 1].clip(0, 1))


def _smallest_refuting(lower: NDArray[np.float64], upper: NDArray[np.float64], tradeoff: TradeOff) -> NDArray[np.int64]:
    """For each count y the smallest x that refutes; n + 1 where none does."""
    # refuted when 1 − p_L(x) < f(q_U(y)), and p_L increases in x
    target = tradeoff(upper)
    missing = 1 - lower  # decreasing in x
    return np.searchsorted(-missing, -target, side="right")


@lru_cache(maxsize=64)
def _limits(design: EventDesign) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = design.failure_probability * design.share_released
    second = design.failure_probability - first
    lower = clopper_pearson_lower(np.arange(design.released + 1), design.released, first)
    upper = clopper_pearson_upper(np.arange(design.reference + 1), design.reference, second)
    return lower, upper


def epsilon_lower_at_events(
    p_lower: NDArray[np.float64], q_upper: NDArray[np.float64], delta: float, directions: Directions
) -> NDArray[np.float64]:
    """`epsilon_lower_at_event` of many events, at once.

    Guarantee: the same, event by event.
    """
    found = np.zeros_like(p_lower)
    with np.errstate(divide="ignore", invalid="ignore"):
        if directions is not Directions.REFERENCE:
            found = np.where(p_lower - delta > q_upper, np.log((p_lower - delta) / q_upper), found)
        if directions is not Directions.RELEASED:
            other = np.log((1 - q_upper - delta) / (1 - p_lower))
            found = np.where(1 - q_upper - delta > 1 - p_lower, np.maximum(found, other), found)
    return found


def mu_lower_at_events(p_lower: NDArray[np.float64], q_upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """`mu_lower_at_event` of many events, at once.

    Guarantee: the same, event by event.
    """
    above = p_lower > q_upper
    return np.where(above, ndtri(np.where(above, p_lower, 0.5)) - ndtri(np.where(above, q_upper, 0.5)), 0.0)
