"""What the wealth of a sequential row will find: lower bounds on the probability of refuting, and what it can refute.

The wealth is at least each e-process times its weight, and it refutes if it does so at the last pair drawn. There each
e-process is a function of one sum or of two counts, whose laws are known given the models before noise.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from unlearning.claim import Claim

from .bounds.e_process import event_log_wealth
from .bounds.fixed_event import count_probabilities
from .design import POWER, Design
from .distinguish_rung import Probabilities, detectable_at_event
from .fleet import Array
from .power import claimed_mu
from .wealth import INDEPENDENT, PAIRED, PROJECTION, Bettor, rounds

_MOST_PAIRS = 10_000  # tried; the tables of counts grow with them
_LEFT_OUT = 1e-12  # probability of a count that a lower bound leaves out
_KEYS = {PAIRED: "paired-event-projection", INDEPENDENT: "independent-event"}


@dataclass(frozen=True, slots=True)
class Planted:
    """What is known of a control before noise.

    Attributes:
        known: probabilities of its events given the models drawn, and the mean shift.
        noise_as_claimed: whether its noise is N(0, σ²I).
        largest_shift: largest distance of a released from its reference model, in units of σ.
    """

    known: Probabilities
    noise_as_claimed: bool
    largest_shift: float


def smallest_total(bettor: Bettor, mu: float, pairs: int, log_wealth: float) -> float:
    """A sum of z at which the projection process has this much wealth after so many pairs; it grows with the sum.

    Guarantee: at least the smallest such sum.
    """

    def own(total: float) -> float:
        return float(bettor.projection_log_wealth(np.asarray(total), np.asarray(pairs), mu))

    low, step = pairs * mu - 1.0, math.sqrt(2 * pairs)
    high = low + step
    while own(high) < log_wealth:
        step *= 2
        high = low + step
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if own(middle) >= log_wealth else (middle, high)
    return high


def _projection_probability(bettor: Bettor, mean: float, claim: Claim, pairs: int, log_wealth: float) -> float:
    needed = smallest_total(bettor, claimed_mu(claim), pairs, log_wealth)
    return float(ndtr((pairs * mean - needed) / math.sqrt(2 * pairs)))


def _event_probability(
    bettor: Bettor, name: str, p: Array, q: Array, claim: Claim, pairs: int, log_wealth: float
) -> float:
    """P(the event process has this much wealth after so many pairs), up to counts that all but never occur."""
    of_x, of_y = count_probabilities(p, pairs), count_probabilities(q, pairs)
    x, y = (np.flatnonzero(of_count > _LEFT_OUT) for of_count in (of_x, of_y))
    first, second = np.meshgrid(x, y, indexing="ij")
    wealth = event_log_wealth(first, second, np.asarray(pairs), bettor.estimates[name], claim.tradeoff)
    return float((of_x[first] * of_y[second] * (wealth >= log_wealth)).sum().clip(0, 1))


def refutation_probability_lower(
    bettor: Bettor,
    known: Probabilities,
    claim: Claim,
    pairs: int,
    failure_probability: float,
    *,
    noise_as_claimed: bool = True,
) -> float:
    """Probability that the wealth refutes the claim by the last of `pairs` pairs.

    Guarantee: at most the true probability given the models before noise, for independent noise N(0, σ²I) on both
    sides; without `noise_as_claimed` the projection is left out.
    """
    found = 0.0
    for name, weight in bettor.weights.items():
        needed = -math.log(failure_probability) - math.log(weight)
        if name != PROJECTION:
            p, q = known.released[_KEYS[name]], known.reference[_KEYS[name]]
            found = max(found, _event_probability(bettor, name, p, q, claim, pairs, needed))
        elif noise_as_claimed:
            found = max(found, _projection_probability(bettor, known.projected_mu, claim, pairs, needed))
    return found


def predicted_probabilities(
    bettor: Bettor, planted: Planted, design: Design, pairs: int, failure_probability: float
) -> dict[str, float]:
    """Limits on the probability that a control is refuted by the round in which the row stops.

    The row stops in one of R rounds, by what the method's own runs say, and those share noise with the control's. A
    control that is missed in round r with probability ≤ m_r is missed where the row stops with probability ≤ Σ m_r; so
    a miss counts R times. A control that keeps the claim in every pair is refuted with probability ≤ the line's own.
    """
    claim = design.claim
    lower = refutation_probability_lower(
        bettor, planted.known, claim, pairs, failure_probability, noise_as_claimed=planted.noise_as_claimed
    )
    found = {"refutation_probability_lower": max(0.0, 1 - len(rounds(design.test)) * (1 - lower))}
    if planted.noise_as_claimed and claim.allows_gaussian(planted.largest_shift):
        allowed = [
            np.all(planted.known.released[_KEYS[name]] <= 1 - claim.tradeoff(planted.known.reference[_KEYS[name]]))
            for name in bettor.weights
            if name != PROJECTION
        ]
        if all(allowed):
            found["refutation_probability_upper"] = failure_probability
    return found


def detectable(bettor: Bettor, claim: Claim, pairs: int, failure_probability: float) -> dict[str, Any]:
    """What the heaviest process alone refutes with power .8 by the last pair allowed: fields of a line."""
    name = max(bettor.weights, key=lambda key: bettor.weights[key])
    needed = -math.log(failure_probability) - math.log(bettor.weights[name])
    if name == PROJECTION:
        mu = (
            smallest_total(bettor, claimed_mu(claim), pairs, needed) + float(ndtri(POWER)) * math.sqrt(2 * pairs)
        ) / pairs
        return {"detectable_mu": mu, "detectable_epsilon": claim.gaussian_epsilon(mu)}
    seen = bettor.estimates[name]
    q = (seen.y + 0.5) / (seen.m + 1)
    least = _least_detected(bettor, name, q, claim, pairs, needed)
    return detectable_at_event(least, q, claim, pairs)


def _least_detected(bettor: Bettor, name: str, q: float, claim: Claim, pairs: int, needed: float) -> float | None:
    """Smallest P(E) on which the event process has the wealth needed with power .8; None where no P(E) will do."""

    def power(p: float) -> float:
        return _event_probability(bettor, name, np.asarray(p), np.asarray(q), claim, pairs, needed)

    if power(1.0) < POWER:
        return None
    low, high = q, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def pairs_needed(bettor: Bettor, noop: Probabilities, design: Design, failure_probability: float) -> int | None:
    """Pairs at which doing nothing is refuted with power .8 where runs are as those drawn; None where none is found."""
    means = Probabilities(
        {key: np.asarray(value.mean()) for key, value in noop.released.items()},
        {key: np.asarray(value.mean()) for key, value in noop.reference.items()},
        noop.projected_mu,
    )
    pairs = design.test
    while pairs <= _MOST_PAIRS:
        if refutation_probability_lower(bettor, means, design.claim, pairs, failure_probability) >= POWER:
            return pairs
        pairs *= 2
    return None
