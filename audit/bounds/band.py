"""Every threshold at once: tail-sensitive simultaneous Clopper–Pearson limits of both laws.

At every threshold t the limits of P(score ≥ t) and Q(score ≥ t) are Clopper–Pearson limits at a local level at which
all of them hold together (`local_level`; Berk & Jones 1979, Aldor-Noiman et al. 2013). A lower band for P and an upper
band for Q, at half the failure probability each, serve both directions of a claim: P(E) ≥ p_L and Q(E) ≤ q_U are the
same as P(Eᶜ) ≤ 1 − p_L and Q(Eᶜ) ≥ 1 − q_U. With ties the limits are conservative.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearning.claim import Claim

from .fixed_event import epsilon_lower_at_events, mu_lower_at_events
from .local_level import MOST_EXACT, local_level_lower, simultaneous_lower
from .result import Event, Kind, LowerBound
from .runs import TestRuns

_MOST_THRESHOLDS = 2000


@dataclass(frozen=True, slots=True)
class Band:
    """Points (α, β) of a score's trade-off and, at the same events, limits that hold simultaneously.

    Attributes:
        alpha, beta: empirical Q(E) and P(Eᶜ) over events {score ≥ t}.
        alpha_lower, alpha_upper, beta_lower, beta_upper: simultaneous confidence limits.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    alpha_lower: NDArray[np.float64]
    alpha_upper: NDArray[np.float64]
    beta_lower: NDArray[np.float64]
    beta_upper: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tails:
    """Events {score ≥ t}: thresholds, and the counts of both arms at each."""

    thresholds: NDArray[np.float64]
    released: NDArray[np.int64]
    reference: NDArray[np.int64]


def tails(test: TestRuns) -> Tails:
    """Counts at thresholds at scores, at most 2,000, denser towards both ends.

    They may be chosen on the scores: simultaneous limits hold at all of them.
    """
    arms = np.sort(test.released), np.sort(test.reference)
    chosen = []
    for ordered in arms:
        most = min(ordered.size, _MOST_THRESHOLDS // 2)
        place = (ordered.size - 1) * np.sin(np.linspace(0, np.pi / 2, most)) ** 2
        chosen.append(ordered[place.round().astype(np.int64)])
    thresholds = np.unique(np.concatenate(chosen))
    x, y = (ordered.size - np.searchsorted(ordered, thresholds, side="left") for ordered in arms)
    return Tails(thresholds, x, y)


def best_of_simultaneous(
    name: str,
    at: Tails,
    limits: tuple[NDArray[np.float64], NDArray[np.float64]],
    test: TestRuns,
    claim: Claim,
    failure_probability: float,
    derivation: dict[str, float],
) -> LowerBound:
    """The largest lower bounds over thresholds at which p_lower and q_upper hold together."""
    n, m = test.sizes
    epsilon = epsilon_lower_at_events(*limits, claim.delta, claim.directions)
    mu = mu_lower_at_events(*limits)
    best = int(np.argmax(epsilon if epsilon.any() else mu))
    return LowerBound(
        name,
        float(epsilon.max()),
        float(mu.max()),
        bool(np.any(claim.tradeoff.refuted_at(*limits))),
        failure_probability,
        Kind.CONFIDENCE,
        "none",
        runs_released=n,
        runs_reference=m,
        counts_released=int(at.released[best]),
        counts_reference=int(at.reference[best]),
        event=str(Event(float(at.thresholds[best]))),
        derivation=derivation
        | {
            "x": float(at.released[best]),
            "n": n,
            "y": float(at.reference[best]),
            "m": m,
            "p_lower": float(limits[0][best]),
            "q_upper": float(limits[1][best]),
        },
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )


def band_epsilon_lower(test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """Lower bounds on ε and μ over all events {score ≥ t} and their complements, no selection runs.

    Guarantee: at most the true ε and μ, except with probability ≤ failure_probability, whatever the dependence between
    the arms.
    """
    at, half, (n, m) = tails(test), failure_probability / 2, test.sizes
    p_lower = simultaneous_lower(n, half)[at.released]
    q_upper = 1 - simultaneous_lower(m, half)[m - at.reference]
    derivation = {
        "local_level_released": local_level_lower(n, half),
        "local_level_reference": local_level_lower(m, half),
        "exact_level": float(max(n, m) <= MOST_EXACT),
    }
    return best_of_simultaneous("band", at, (p_lower, q_upper), test, claim, failure_probability, derivation)


def tail_limits(
    counts: NDArray[np.int64], runs: int, failure_probability: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Limits on a tail probability that hold for every threshold at once, given the counts beyond each.

    Guarantee: lower ≤ true tail ≤ upper at all thresholds together, except with probability ≤ failure_probability.
    """
    limits = simultaneous_lower(runs, failure_probability / 2)
    return limits[counts], 1 - limits[runs - counts]


def tradeoff_band(
    released: NDArray[np.float64], reference: NDArray[np.float64], failure_probability: float, *, points: int = 80
) -> Band:
    """Trade-off of events {score ≥ t} with its band at half the failure probability per arm."""
    pooled = np.unique(np.concatenate([released, reference]))
    cuts = np.concatenate([[-np.inf], (pooled[1:] + pooled[:-1]) / 2, [np.inf]])
    if cuts.size > points:
        cuts = cuts[np.unique(np.linspace(0, cuts.size - 1, points).round().astype(int))]
    x = released.size - np.searchsorted(np.sort(released), cuts)
    y = reference.size - np.searchsorted(np.sort(reference), cuts)
    p_lower, p_upper = tail_limits(x, released.size, failure_probability / 2)
    q_lower, q_upper = tail_limits(y, reference.size, failure_probability / 2)
    return Band(y / reference.size, 1 - x / released.size, q_lower, q_upper, 1 - p_upper, 1 - p_lower)
