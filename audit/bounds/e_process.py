"""E-processes: evidence that one may look at after every pair of runs, and stop when one likes.

The bets are those of `e_value`. Pairs come in the order given: the event, and the alternatives (p̂, q̂) that are bet on,
are chosen from selection runs and earlier pairs only. They are chosen anew at pairs 2, 3, 5, 8, 12, …; in between, the
wealth is the average over a few alternatives spread over the posterior of (p, q), which costs less than one guess.

The bound on ε: every claim (ε, δ) of a grid fixed beforehand has an e-process of its own over the same events, and ε is
the largest of the first stretch of rejected ones, counted from 0. Were it above the true ε, the first claim of the grid
that is true would be rejected, which has probability ≤ α.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtri
from scipy.stats import beta

from unlearning.claim import Claim
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff

from .e_value import Array, Bets, ClaimedTradeOff, bets_against, epsilon_delta_bets, gaussian_bets
from .result import Event, Kind, LowerBound
from .runs import SelectionRuns, TestRuns
from .selection import Candidates

FIRST_EVENT = 2  # pairs after which an event is first chosen where there are no selection runs
NEXT_EVENT = 1.5  # times as many pairs before it is chosen again
_CUTS = 64  # thresholds tried
POSTERIOR_LEVELS = (np.arange(5) + 0.5) / 5  # of the quantiles, on either side, that are bet on
_CAUTION = 1.0  # standard errors that an estimate is moved towards the claim when events are compared
# shares of the claim: where no event contradicts it, the next that one does
_EASIER = (1.0, 0.75, 0.5, 0.25, 0.1, 0.0)
_AT_ONCE = 32  # claims of a grid that are tested together
_LOOKS = 8  # at the wealth against each of them, in each stretch
EPSILONS = np.concatenate([np.arange(0, 2, 0.02), np.arange(2, 5, 0.05), np.arange(5, 12, 0.1), np.arange(12, 17, 0.5)])


@dataclass(frozen=True, slots=True)
class Estimate:
    """Runs seen in an event before it is bet on: x of n released and y of m reference runs."""

    x: int = 0
    n: int = 0
    y: int = 0
    m: int = 0

    @staticmethod
    def of(event: Event, released: Array, reference: Array) -> "Estimate":
        """Counts of these runs."""
        return Estimate(_inside(event, released), released.size, _inside(event, reference), reference.size)

    def alternatives(self) -> tuple[Array, Array]:
        """Alternatives (p̂, q̂) [J] at the quantiles of two Beta posteriors (Jeffreys' prior)."""
        return _alternatives(self)

    def bets(self, tradeoff: ClaimedTradeOff) -> Bets:
        """One bet [J] for each alternative; their average is the e-process at this event."""
        return bets_against(*self.alternatives(), tradeoff)


@lru_cache(maxsize=256)
def _alternatives(seen: Estimate) -> tuple[Array, Array]:
    p = beta.ppf(POSTERIOR_LEVELS, seen.x + 0.5, seen.n - seen.x + 0.5)
    q = beta.ppf(POSTERIOR_LEVELS, seen.y + 0.5, seen.m - seen.y + 0.5)
    first, second = np.meshgrid(p, q, indexing="ij")
    return first.ravel(), second.ravel()


def event_log_wealth(
    x: ArrayLike, y: ArrayLike, pairs: ArrayLike, estimate: Estimate, tradeoff: ClaimedTradeOff
) -> Array:
    """Logarithm of the wealth at a fixed event after `pairs` pairs, x and y of them in the event, any shape.

    The average over the alternatives of one estimate, which may come from anywhere but these pairs; it depends on the
    counts alone.
    """
    bets = estimate.bets(tradeoff)
    first, second, both = (np.asarray(count, dtype=np.float64)[..., None] for count in (x, y, pairs))
    return _average(bets.log_wealth(first, both, second, both))


def _average(logs: Array) -> Array:
    return np.asarray(logsumexp(logs, axis=-1) - math.log(logs.shape[-1]))


def _inside(event: Event, scores: Array) -> int:
    return int(event.contains(scores).sum())


def choose_growing_event(released: Array, reference: Array, tradeoff: ClaimedTradeOff) -> Event | None:
    """The event on which a bet against the claim grows fastest, judged by runs that are not bet on.

    Estimates are moved towards the claim by one standard error, so that no event is chosen for one lucky run. Where no
    event contradicts the claim, the one that contradicts a claim as near to it as possible; None where none does.
    """
    if not (released.size and reference.size):
        return None
    events = Candidates.of(released, reference, _CUTS)
    p_low = _shifted(events.released, released.size, -_CAUTION)
    q_high = _shifted(events.reference, reference.size, _CAUTION)
    for share in _EASIER:
        growth = bets_against(p_low, q_high, _scaled(tradeoff, share)).growth(p_low, q_high)
        best = int(np.argmax(growth))
        if growth[best] > 0:
            return events.event(best)
    return None


def _shifted(inside: NDArray[np.int64], runs: int, errors: float) -> Array:
    share = (inside + 0.5) / (runs + 1)
    return np.asarray((share + errors * np.sqrt(share * (1 - share) / (runs + 1))).clip(1e-9, 1 - 1e-9))


def _scaled(tradeoff: ClaimedTradeOff, share: float) -> ClaimedTradeOff:
    if isinstance(tradeoff, GaussianTradeOff):
        return GaussianTradeOff(share * tradeoff.mu)
    return EpsilonDelta(share * tradeoff.epsilon_value, tradeoff.delta_value, tradeoff.directions)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Pairs first … last − 1, bet on at one event that the past chose; `released`, `reference`: which are in it."""

    first: int
    last: int
    event: Event | None
    estimate: Estimate
    released: NDArray[np.bool_]
    reference: NDArray[np.bool_]

    def log_wealth(self, tradeoff: ClaimedTradeOff) -> Array:
        """Logarithm of the wealth after each pair of the stretch."""
        pairs = np.arange(1, self.last - self.first + 1, dtype=np.float64)
        if self.event is None:
            return np.zeros(pairs.shape)
        return event_log_wealth(np.cumsum(self.released), np.cumsum(self.reference), pairs, self.estimate, tradeoff)


def stretches(selection: SelectionRuns | None, test: TestRuns, tradeoff: ClaimedTradeOff) -> Iterator[Stretch]:
    """The pairs of test runs in their order, each stretch with an event chosen from selection runs and earlier pairs.

    Where the two arms differ in size, the runs beyond the smaller one are no pairs and are left out.
    """
    pairs, first, last = min(test.sizes), 0, FIRST_EVENT
    while first < pairs:
        last = min(last, pairs)
        past = [side[:first] for side in (test.released, test.reference)]
        if selection is not None:
            past = [np.concatenate(both) for both in zip((selection.released, selection.reference), past, strict=True)]
        event = choose_growing_event(past[0], past[1], tradeoff)
        now = [side[first:last] for side in (test.released, test.reference)]
        if event is None:
            nothing = np.zeros(last - first, dtype=bool)
            yield Stretch(first, last, None, Estimate(), nothing, nothing)
        else:
            inside = [event.contains(side) for side in now]
            yield Stretch(first, last, event, Estimate.of(event, *past), *inside)
        first, last = last, math.ceil(last * NEXT_EVENT)


def log_wealth_path(parts: list[Stretch], tradeoff: ClaimedTradeOff) -> Array:
    """Logarithm of the wealth against one claim after every pair, [pairs].

    Guarantee: exp of it reaches 1/α, at any pair, with probability ≤ α where the claim is true.
    """
    path: list[Array] = []
    before = 0.0
    for part in parts:
        path.append(before + part.log_wealth(tradeoff))
        before = float(path[-1][-1])
    return np.concatenate(path)


def largest_rejected(grid: Array, highest_log_wealth: Callable[[Array], Array], failure_probability: float) -> float:
    """The largest value of the first stretch of rejected ones, scanned upward from the first; 0 if there is none.

    Guarantee: at most the true value, except with probability ≤ failure_probability, where `highest_log_wealth` is the
    highest logarithm of an e-process against the claim with each value [G], and the claims are true from the true value
    on.
    """
    found, wanted = 0.0, -math.log(failure_probability)
    for first in range(0, grid.size, _AT_ONCE):
        values = grid[first : first + _AT_ONCE]
        kept = np.flatnonzero(highest_log_wealth(values) < wanted)
        rejected = values[: kept[0]] if kept.size else values
        found = float(rejected[-1]) if rejected.size else found
        if kept.size:
            break
    return found


def highest_log_wealths(parts: list[Stretch], bets: Callable[[Array, Array], Bets], claims: int) -> Array:
    """Highest logarithm of the wealth against each of several claims, [G], looked at several times in each stretch.

    `bets` makes the bets [G, J] of alternatives [J].
    """
    highest, before = np.zeros(claims), np.zeros(claims)
    for part in parts:
        if part.event is None:
            continue
        size = part.last - part.first
        at = np.unique(np.linspace(1, size, min(size, _LOOKS)).round())
        where = at.astype(np.int64) - 1
        x, y = (np.cumsum(inside)[where][:, None, None] for inside in (part.released, part.reference))
        logs = bets(*part.estimate.alternatives()).log_wealth(x, at[:, None, None], y, at[:, None, None])
        path = before + _average(logs)
        highest, before = np.maximum(highest, path.max(0)), path[-1]
    return highest


def e_process_epsilon_lower(
    selection: SelectionRuns | None, test: TestRuns, claim: Claim, failure_probability: float
) -> LowerBound:
    """Bet against the claim on pairs of test runs, in the order given.

    Guarantee: it refutes a true claim with probability ≤ failure_probability, whenever one stops adding pairs, and
    epsilon_lower and mu_lower exceed the true ε and μ each with probability ≤ failure_probability. The order of the
    runs must not depend on their scores.

    Args:
        selection: runs that seed the choice of events; without them the first pairs only choose.
        test: runs; pairs up to the smaller arm.
        claim: that is tested.
        failure_probability: α.
    """
    parts = list(stretches(selection, test, claim.tradeoff))
    path = log_wealth_path(parts, claim.tradeoff)
    wanted = -math.log(failure_probability)
    reached = np.flatnonzero(path >= wanted)
    pairs = path.size
    epsilon = largest_rejected(
        EPSILONS,
        lambda e: highest_log_wealths(
            parts, lambda p, q: epsilon_delta_bets(p, q, e[:, None], claim.delta, claim.directions), e.size
        ),
        failure_probability,
    )
    mu = largest_rejected(
        mu_grid(pairs),
        lambda m: highest_log_wealths(parts, lambda p, q: gaussian_bets(p, q, m[:, None]), m.size),
        failure_probability,
    )
    events = [part.event for part in parts if part.event is not None]
    stopped = int(reached[0]) + 1 if reached.size else None
    return LowerBound(
        name="e-process",
        epsilon_lower=epsilon,
        mu_lower=mu,
        refuted=stopped is not None,
        failure_probability=failure_probability,
        kind=Kind.ANYTIME,
        model="none",
        directions=claim.directions,
        seed_policy=claim.seed_policy,
        runs_released=pairs,
        runs_reference=pairs,
        assumes=("arms independent, in an order that does not depend on the scores",),
        event=str(events[-1]) if events else None,
        derivation={
            "highest_log_wealth": max(0.0, float(path.max())),
            "log_wealth_needed": wanted,
            "last_log_wealth": float(path[-1]),
            "events_chosen": len(events),
        }
        | ({} if stopped is None else {"pairs_until_refuted": stopped}),
    )


def mu_grid(pairs: int) -> Array:
    """Values of μ that are tested in turn: steps of a fiftieth, up to what so many pairs can prove."""
    return np.arange(0, 2 * max(1.0, -float(ndtri(0.5 / (pairs + 1)))), 0.02)
