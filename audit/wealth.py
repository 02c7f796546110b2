"""Wealth that is bet against a claim while replicas are drawn in rounds, so that a row may stop once it refutes.

Wealth is the average, with weights fixed beforehand, of up to three e-processes over the same test runs:

    projection          z = ⟨u, X − Y⟩/σ, X and Y of the same seed; takes the noise N(0, σ²I) as true
    paired-event        one event on ⟨u, x − w_k⟩/σ, seeds known
    independent-event   one event on ⟨v, x⟩, seeds unknown

The first two need a claim for every seed and noise added after training; the first also that rung B looks at the
noise, a bound that holds in every run, and unlearning that draws nothing; the second that the reference draws nothing.
Directions, events and what is bet on come from selection runs. Given the past, no bet gains on average where the claim
is true, whatever the dependence between the three; so the wealth ever reaches 1/α with probability ≤ α (Ville 1939),
and a row may stop after any round for any reason. No other line of rung C may: their failure probability holds at a
number of runs fixed beforehand.

The wealth is computed in the order of the replicas' numbers, and rounds are numbers of replicas: where a row stops
depends neither on workers nor on chunks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from unlearning.claim import Reference, SeedPolicy
from unlearning.protocols import HasFailureProbability

from .bounds.e_process import Estimate, event_log_wealth
from .bounds.e_value import ClaimedTradeOff, gaussian_log_wealth
from .bounds.result import Event
from .design import Design
from .fleet import Array, Subject
from .power import claimed_mu
from .scores import Choice, Scores

KEY = "sequential"
PROJECTION, PAIRED, INDEPENDENT = "projection", "paired-event", "independent-event"
_FIRST_ROUND, _NEXT_ROUND = 20, 1.5  # pairs after which the wealth is first looked at; times as many before the next
_WEIGHTS = {PROJECTION: 0.6, PAIRED: 0.2, INDEPENDENT: 0.2}


def rounds(test: int) -> list[tuple[int, int]]:
    """First and last + 1 replica of every round, up to `test` replicas.

    >>> rounds(60)
    [(0, 20), (20, 30), (30, 45), (45, 60)]
    """
    found, first, last = [], 0, _FIRST_ROUND
    while first < test:
        last = min(last, test)
        found.append((first, last))
        first, last = last, math.ceil(last * _NEXT_ROUND)
    return found


def stakes(subject: Subject, design: Design) -> dict[str, float]:
    """Weights of the e-processes that are valid for a row, fixed before anything is run; they add up to 1."""
    method = subject.method
    per_seed = design.claim.seed_policy is not SeedPolicy.MARGINAL
    names = {INDEPENDENT}
    if per_seed and method.declaration.gaussian_noise and design.noise_scale > 0:
        draws = method.declaration.draws
        may_fail = isinstance(method, HasFailureProbability) and method.failure_probability > 0
        if not (draws and subject.reference is Reference.EMPTY_REQUEST):  # w_k would hold what the reference drew
            names.add(PAIRED)
        if "B" in design.rungs and not (may_fail or draws):
            names.add(PROJECTION)
    whole = sum(_WEIGHTS[name] for name in names)
    return {name: weight / whole for name, weight in _WEIGHTS.items() if name in names}


@dataclass(frozen=True, slots=True)
class Bettor:
    """What selection runs tell one subject to bet on.

    Attributes:
        weights: of the e-processes.
        events: of the two event processes.
        estimates: what the selection runs saw in them.
        mean: of z over selection runs.
        runs: selection runs behind these.
    """

    weights: dict[str, float]
    events: dict[str, Event]
    estimates: dict[str, Estimate]
    mean: float
    runs: int

    @staticmethod
    def of(weights: dict[str, float], choice: Choice) -> "Bettor":
        """The bettor of a choice made for a sequential row.

        Raises:
            ValueError: the choice kept no selection scores.
        """
        pilot = choice.pilot
        if pilot is None:
            raise ValueError("choice.pilot must hold the selection scores that the events were chosen on, got None.")
        events = {PAIRED: choice.projection, INDEPENDENT: choice.independent}
        estimates = {
            PAIRED: Estimate.of(choice.projection, pilot.projection_released, pilot.projection_reference),
            INDEPENDENT: Estimate.of(choice.independent, pilot.independent_released, pilot.independent_reference),
        }
        z = pilot.projection_released - pilot.projection_reference
        return Bettor(weights, events, estimates, float(z.mean()), z.size)

    def projection_log_wealth(self, total: Array, pairs: Array, mu: float | Array) -> Array:
        """Against μ ≤ mu; λ is believed to be normal about what selection runs saw."""
        believed = np.maximum((self.mean - np.asarray(mu)) / math.sqrt(2), 0.0)
        return gaussian_log_wealth(total, pairs, mu, prior_mean=believed, prior_scale=2 / math.sqrt(self.runs))

    def log_wealth_path(self, scores: Scores, tradeoff: ClaimedTradeOff, mu: float) -> Array:
        """Logarithm of the wealth after each pair, [n].

        Guarantee: exp of it reaches 1/α, after any number of pairs, with probability ≤ α where the claim is true.

        Args:
            scores: of test runs, in the order of their numbers.
            tradeoff: of the claim.
            mu: largest μ of a Gaussian pair that keeps the claim.
        """
        counts = Counts.of(self, scores)
        parts = []
        for name, weight in self.weights.items():
            if name == PROJECTION:
                own = self.projection_log_wealth(counts.total, counts.pairs, mu)
            else:
                own = event_log_wealth(*counts.inside[name], counts.pairs, self.estimates[name], tradeoff)
            parts.append(math.log(weight) + own)
        return np.asarray(logsumexp(parts, axis=0))

    def highest_log_wealths(self, counts: "Counts", tradeoffs: Sequence[ClaimedTradeOff], mu: Array) -> Array:
        """Highest logarithm of the wealth against each of several claims, [G]; `counts` at some pairs only."""
        parts = []
        for name, weight in self.weights.items():
            if name == PROJECTION:
                own = self.projection_log_wealth(counts.total[:, None], counts.pairs[:, None], mu)
            else:
                x, y = counts.inside[name]
                own = np.stack([event_log_wealth(x, y, counts.pairs, self.estimates[name], t) for t in tradeoffs], 1)
            parts.append(math.log(weight) + own)
        return np.asarray(logsumexp(parts, axis=0).max(axis=0))


@dataclass(frozen=True, slots=True)
class Counts:
    """After each pair: how many there were, the sum of z, and how many were in each event on either side."""

    pairs: Array
    total: Array
    inside: dict[str, tuple[Array, Array]]

    @staticmethod
    def of(bettor: Bettor, scores: Scores) -> "Counts":
        """Counts of these test runs, in the order of their numbers."""
        z = scores.projection_released - scores.projection_reference
        sides = {
            PAIRED: (scores.projection_released, scores.projection_reference),
            INDEPENDENT: (scores.independent_released, scores.independent_reference),
        }

        def running(name: str, side: Array) -> Array:
            event = bettor.events[name]
            return np.cumsum(event.contains(side), dtype=np.float64)

        inside = {name: (running(name, x), running(name, y)) for name, (x, y) in sides.items()}
        return Counts(np.arange(1.0, z.size + 1), np.cumsum(z), inside)

    def at(self, places: Array) -> "Counts":
        """Counts after some of the pairs only, by position."""
        where = places.astype(np.int64)
        inside = {name: (x[where], y[where]) for name, (x, y) in self.inside.items()}
        return Counts(self.pairs[where], self.total[where], inside)


def reached(bettor: Bettor, scores: Scores, design: Design) -> bool:
    """Whether the wealth has reached 1/α at some pair."""
    path = bettor.log_wealth_path(scores, design.claim.tradeoff, claimed_mu(design.claim))
    return bool(path.max() >= -math.log(design.line_failure_probability(KEY)))
