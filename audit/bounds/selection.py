"""Which event to test: chosen on selection runs by the lower limit that test runs are expected to give.

With p̂, q̂ the shares of the selection runs in E, the limits expected of the test runs are those of Wilson (1927), which
stay sensible where few runs are expected in E or outside:

    ln((p_L − δ)/q_U)        P against e^ε·Q; E and Eᶜ change places for the other direction
    Φ⁻¹(p_L) − Φ⁻¹(q_U)      for a μ-GDP claim

p̂ and q̂ are themselves uncertain, and the largest of many is too large. So the limits are those of fewer runs than will
be tested: n' with 1/n' = 1/n + c/(selection runs). c was measured on shifted Gaussians, Laplace and tied laws with 20
to 5,000 selection runs: 1 is best for μ, which the tails magnify, and .3 for ε.

Only choice, no bound: whatever is chosen here is tested on other runs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from unlearning.claim import Claim
from unlearning.tradeoff import Directions, GaussianTradeOff

from .result import Event
from .runs import SelectionRuns

_MOST_THRESHOLDS = 512
_CAUTION_EPSILON, _CAUTION_MU = 0.3, 1.0  # c
_NONE = 1e-12  # in place of a probability 0 under a logarithm

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Events that can be chosen, each [J]: {score ≥ t} and their complements, and the selection runs inside.

    Thresholds are values of the scores: a strictly increasing transform of all scores changes no event, and exchanging
    the sides changes none either.
    """

    thresholds: Array
    orientations: NDArray[np.int64]
    released: NDArray[np.int64]
    reference: NDArray[np.int64]

    @staticmethod
    def of(released: Array, reference: Array, most: int) -> "Candidates":
        """At most `most` events and their complements, evenly over the ranks; none holds all, if the scores differ."""
        pooled = np.unique(np.concatenate([released, reference]))
        last = pooled.size - 1
        cuts = pooled[np.unique(np.linspace(min(1, last), last, min(max(1, last), most)).round().astype(np.int64))]
        above = [side.size - np.searchsorted(np.sort(side), cuts) for side in (released, reference)]
        inside = (np.concatenate([a, side.size - a]) for a, side in zip(above, (released, reference), strict=True))
        return Candidates(np.tile(cuts, 2), np.repeat(np.array([1, -1]), cuts.size), *inside)

    def event(self, place: int) -> Event:
        """One of them."""
        return Event(float(self.thresholds[place]), int(self.orientations[place]))


def most_telling_event(
    selection: SelectionRuns, sizes: tuple[int, int], claim: Claim, failure_probability: float
) -> Event:
    """Event with the largest lower limit expected from `sizes` = (n, m) test runs; either orientation."""
    n, m = selection.sizes
    caution = _CAUTION_MU if isinstance(claim.tradeoff, GaussianTradeOff) else _CAUTION_EPSILON
    fewer = (1 / (1 / sizes[0] + caution / n), 1 / (1 / sizes[1] + caution / m))
    events = Candidates.of(selection.released, selection.reference, _MOST_THRESHOLDS)
    p, q = (events.released + 0.5) / (n + 1), (events.reference + 0.5) / (m + 1)
    return events.event(int(np.argmax(expected_lower(p, q, fewer, claim, failure_probability))))


def expected_lower(p: Array, q: Array, sizes: tuple[float, float], claim: Claim, failure_probability: float) -> Array:
    """Lower limit of ε, or of μ for a Gaussian claim, that n and m runs are expected to give where P(E) = p, Q(E) = q.

    It estimates; no guarantee.
    """
    forward, backward = _expected(p, q, sizes, claim.delta, failure_probability)
    if isinstance(claim.tradeoff, GaussianTradeOff):
        p_lower, q_upper = _wilson(p, q, sizes, failure_probability)
        return np.asarray(ndtri(p_lower.clip(_NONE, 1)) - ndtri(q_upper.clip(0, 1 - _NONE)))
    if claim.directions is Directions.BOTH:
        return np.maximum(forward, backward)
    return forward if claim.directions is Directions.RELEASED else backward


def smoothed_shares(selection: SelectionRuns, event: Event) -> tuple[float, float]:
    """Shares of the two arms in the event, never 0 or 1."""
    arms = (selection.released, selection.reference)
    inside = [float(event.contains(arm).sum()) for arm in arms]
    return (inside[0] + 0.5) / (arms[0].size + 1), (inside[1] + 0.5) / (arms[1].size + 1)


def expected_direction(
    p: float, q: float, sizes: tuple[int, int], claim: Claim, failure_probability: float
) -> Directions:
    """Which of the claimed inequalities is expected to be the more violated: RELEASED by E, REFERENCE by Eᶜ."""
    if claim.directions is not Directions.BOTH:
        return claim.directions
    forward, backward = _expected(np.array([p]), np.array([q]), sizes, claim.delta, failure_probability)
    return Directions.RELEASED if forward[0] >= backward[0] else Directions.REFERENCE


def _expected(
    p: Array, q: Array, sizes: tuple[float, float], delta: float, failure_probability: float
) -> tuple[Array, Array]:
    """Limits of ε by E and by Eᶜ."""
    p_lower, q_upper = _wilson(p, q, sizes, failure_probability)
    return _log_ratio(p_lower, q_upper, delta), _log_ratio(1 - q_upper, 1 - p_lower, delta)


def _log_ratio(larger: Array, smaller: Array, delta: float) -> Array:
    return np.asarray(np.log(np.maximum(larger - delta, _NONE) / np.maximum(smaller, _NONE)))


def _wilson(p: Array, q: Array, sizes: tuple[float, float], failure_probability: float) -> tuple[Array, Array]:
    """Lower limit of p from n runs, upper limit of q from m."""
    z = -float(ndtri(failure_probability))
    limits = []
    for share, runs, side in ((p, sizes[0], -1), (q, sizes[1], 1)):
        centre, half = share + z**2 / (2 * runs), z * np.sqrt(share * (1 - share) / runs + (z / (2 * runs)) ** 2)
        limits.append(np.asarray((centre + side * half) / (1 + z**2 / runs)))
    return limits[0], limits[1]
