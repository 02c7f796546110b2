"""What an audit will be able to find, before anything is run: the smallest ε and μ refutable, and what it costs.

The alternative is a Gaussian pair at distance μ, which is what weights at distance d under noise σ = d/μ are. Each
design is taken as the only one of its audit, with the whole failure probability; an audit that divides it finds less.

| design | probability of refutation | worth |
|---|---|---|
| A, exact distance | 1 above the claim, else 0 | exact |
| B, σ by χ² | χ² tails of noise that is short by the factor μ(claim)/μ | exact |
| C, projection z on paired seeds | normal | exact |
| C, event, Clopper–Pearson | binomial sums at the best event | best event: exact there; a pilot finds a worse one |
| C, exact joint test | normal approximation at the best event | approximation |
| C, five folds | as the joint test, at a fifth of the failure probability on four fifths of the runs | approximation |
| C, band, DKW | limits of the band at the single best threshold | lower bound: the band looks at all thresholds |
| C, e-process | Brownian approximation of the wealth at a known event, runs divided by 2.2 | approximation |
| D, coin | guesses are right independently of each other, as often as equal traces give | approximation |
| D, k of m | the law of the k largest scores of equal, orthogonal traces | exact for such traces |

A lower bound on the probability makes the smallest ε an upper bound; the best event makes it a lower one.
The e-process learns its event and what it bets on. Its smallest μ was compared with simulated audits at six settings:
within 10 % for claims of ε = 1, ε = 5 and μ = .27 with N = 100 to 10 000, and 36 % too large for ε = 5 at N = 1 000,
next to the largest claim that so many runs can refute.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom

from unlearning.claim import Claim
from unlearning.gaussian import mu_of_epsilon_delta
from unlearning.tradeoff import GaussianTradeOff, TradeOff

from .bounds.e_value import bets_against
from .bounds.folds import FOLDS
from .bounds.identification import Game
from .bounds.local_level import local_level_lower
from .chances import (
    Arms,
    Array,
    dkw_margin,
    event_chance,
    joint_chance,
    margin_chance,
    members_named_probability,
    right_guess_probability,
    scale_chance,
    shift_chance,
    wealth_chance,
)
from .design import POWER

RUNS = (100, 300, 1_000, 3_000, 10_000, 100_000)
LEARNED = 2.2  # how many times the runs of a known event an e-process takes that learns its event, about
_MOST_RUNS = 10_000_000
LARGEST_MU = 1e3
LARGEST_PILOT = 10  # times the test runs
MOST_RUNS = 1_000_000_000  # a side: up to there more runs are seen to find more
_FARTHEST = 7.0  # standard deviations from a threshold to the nearer mean
_STEPS = (0.4, 0.13, 0.04)
_PEAKS = 4
_ACCURACY = 1e-4  # of μ


@dataclass(frozen=True, slots=True)
class Setting:
    """What all designs of a table share.

    Attributes:
        claim: what is to be refuted.
        failure_probability: of each design, taken alone.
        power: probability of refutation at which "could find" is stated.
        pilot: further runs that choose an event or a direction, as a share of the test runs.
        coordinates: weights that one release of rung B shows.
        candidates: of rung D.
        guesses: of rung D, at most the candidates.
    """

    claim: Claim
    failure_probability: float
    power: float = POWER
    pilot: float = 0.2
    coordinates: int = 1_000
    candidates: int = 40
    guesses: int = 20

    @property
    def limit(self) -> float:
        """Largest μ of a Gaussian pair that keeps the claim."""
        return claimed_mu(self.claim)

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: one of them is out of range.
        """
        for name, value in (("failure_probability", self.failure_probability), ("power", self.power)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be in (0, 1), got {value}.")
        if not 0 <= self.pilot <= LARGEST_PILOT:
            raise ValueError(f"pilot must be a number from 0 to {LARGEST_PILOT}, got {self.pilot}.")
        if self.coordinates < 1:
            raise ValueError(f"coordinates must be >= 1, got {self.coordinates}.")
        if not 1 <= self.guesses <= self.candidates:
            raise ValueError(f"guesses must be between 1 and {self.candidates} candidates, got {self.guesses}.")


def claimed_mu(claim: Claim) -> float:
    """Largest μ of a Gaussian pair that keeps the claim."""
    if isinstance(claim.tradeoff, GaussianTradeOff):
        return claim.tradeoff.mu
    return mu_of_epsilon_delta(claim.tradeoff.epsilon_value, claim.delta)


_NUMBERS = {
    "exact": "exact",
    "equal traces": "exact, equal traces",
    "best event": "exact, best event",
    "lower bound": "ε at most",
    "approximation": "approximation",
}
Chance = Callable[[Setting, tuple[int, int], float, float], float]  # runs (n, m), μ, threshold of the event


@dataclass(frozen=True, slots=True)
class Way:
    """One way to test a claim.

    Attributes:
        key: as on the command line; where it is a bound, the bound's name.
        rung: of the ladder.
        title: for people.
        worth: what its power numbers are: "exact", "equal traces" (exact for such traces), "best event",
            "lower bound" or "approximation".
        needs: what the auditor must know or hold.
        chance: probability of refutation.
        seeks_event: whether the chance depends on a threshold.
        chooses: whether a pilot has to choose an event or a direction.
        runs: the only number of runs, where it does not depend on N.
    """

    key: str
    rung: str
    title: str
    worth: str
    needs: str
    chance: Chance
    seeks_event: bool = False
    chooses: bool = False
    runs: int | None = None

    @property
    def numbers_are(self) -> str:
        """What the smallest ε that it refutes is, for people."""
        if self.worth == "approximation" and self.seeks_event and self.chooses:
            return "approximation, best event"
        return _NUMBERS[self.worth]

    def models(self, setting: Setting, runs: int) -> int:
        """Models to be trained or unlearned for so many test runs a side."""
        if self.rung in ("A", "B"):
            return 2
        if self.rung == "D":
            return (self.runs or runs) + setting.candidates + 1
        return 2 * (runs + (math.ceil(setting.pilot * runs) if self.chooses else 0))


def _event(level: Callable[[Setting, int], float], chance: Callable[[Arms, float, float, TradeOff], float]) -> Chance:
    def at(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
        arms = Arms(*runs, level(setting, runs[0]), level(setting, runs[1]))
        p, q = float(ndtr(mu - threshold)), float(ndtr(-threshold))
        return chance(arms, p, q, setting.claim.tradeoff)

    return at


def _half(setting: Setting, runs: int) -> float:
    return setting.failure_probability / 2


def _local(setting: Setting, runs: int) -> float:
    return local_level_lower(runs, setting.failure_probability / 2)


def _dkw_chance(arms: Arms, p: float, q: float, tradeoff: TradeOff) -> float:
    margins = dkw_margin(arms.released, arms.level_released), dkw_margin(arms.reference, arms.level_reference)
    return margin_chance(arms, *margins, p, q, tradeoff)


def _wealth(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    p, q = float(ndtr(mu - threshold)), float(ndtr(-threshold))
    return wealth_chance(min(runs) / LEARNED, p, q, setting.claim.tradeoff, setting.failure_probability)


def _shift(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    spread = math.sqrt(1 / runs[0] + 1 / runs[1])
    return shift_chance(mu, setting.limit, spread, setting.failure_probability)


def _student(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    """As with σ known, and the error of the deviation in the spread."""
    freedom = max(1, sum(runs) - 2)
    spread = math.sqrt(1 / runs[0] + 1 / runs[1] + setting.limit**2 / (2 * freedom))
    return shift_chance(mu, setting.limit, spread, setting.failure_probability)


def _folds(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    """One fold's event on the other folds: the further folds add to it."""
    tested = max(1, runs[0] * (FOLDS - 1) // FOLDS), max(1, runs[1] * (FOLDS - 1) // FOLDS)
    level = setting.failure_probability / FOLDS / 2
    p, q = float(ndtr(mu - threshold)), float(ndtr(-threshold))
    return joint_chance(Arms(*tested, level, level), p, q, setting.claim.tradeoff)


def _exact(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    return float(not setting.claim.allows_gaussian(mu))


def _scale(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    if setting.limit == 0 or mu <= setting.limit:
        return 0.0
    return scale_chance(setting.limit / mu, runs[0] * setting.coordinates, setting.failure_probability)


def _coin(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    r = setting.guesses
    right = right_guess_probability(mu / math.sqrt(setting.candidates), r / setting.candidates)
    count = np.arange(r + 1)
    return _named(setting, Game("coin", setting.candidates, r), runs[0], binom.sf(count - 1, r, right))


def _fixed(setting: Setting, runs: tuple[int, int], mu: float, threshold: float) -> float:
    m, k = setting.candidates, setting.guesses
    if k == m:
        return 0.0  # all candidates are members: nothing can be told
    return _named(setting, Game("fixed", m, k, members=k), runs[0], members_named_probability(mu / math.sqrt(k), m, k))


def _named(setting: Setting, game: Game, runs: int, truth: Array) -> float:
    """Largest probability over v that "at least v right" is seen too often in so many runs."""
    null = [game.null_tail(v) for v in range(game.guesses + 1)]
    allowed = 1 - setting.claim.tradeoff(null)
    needed = binom.isf(setting.failure_probability, runs, np.clip(allowed, 0, 1)) + 1
    return float(np.where(allowed < 1, binom.sf(needed - 1, runs, truth), 0.0).max())


_SEED = "the training seed, and noise N(0, σ²I) after training"
_NONE = "released models only"
_limits = _event(_half, event_chance)
WAYS = {
    way.key: way
    for way in (
        Way("distance", "A", "Exact distance", "exact", "weights before noise, and the training seed", _exact, runs=1),
        Way(
            "noise-scale",
            "B",
            "Deviation of the noise",
            "exact",
            "N releases of one model; it sees noise, no bias",
            _scale,
        ),
        Way("z", "C", "Projection z-test, paired", "exact", _SEED, _shift, chooses=True),
        Way("student", "C", "Mean shift, σ unknown", "approximation", "Gaussian scores of one deviation", _student),
        Way("clopper-pearson", "C", "Event, Clopper–Pearson", "best event", _NONE, _limits, True, True),
        Way("joint", "C", "Event, exact joint test", "approximation", _NONE, _event(_half, joint_chance), True, True),
        Way("folds", "C", "Events chosen on five folds", "approximation", _NONE, _folds, True),
        Way("band", "C", "Band over all events", "lower bound", _NONE, _event(_local, event_chance), True),
        Way("dkw", "C", "DKW band", "lower bound", _NONE, _event(_half, _dkw_chance), True),
        Way("e-process", "C", "E-process, event learned", "approximation", _NONE, _wealth, True),
        Way("identification", "D", "Naming records, one run", "approximation", "the candidates", _coin, runs=1),
        Way("identification-fixed", "D", "Naming k of m, one run", "equal traces", "the candidates", _fixed, runs=1),
        Way("identification-runs", "D", "Naming records, N runs", "approximation", "the candidates", _coin),
    )
}


def best_chance(
    way: Way, setting: Setting, runs: tuple[int, int], mu: float, enough: float = 1.0
) -> tuple[float, float]:
    """Largest probability of refutation over the events, and its threshold; any that is `enough`, where one is.

    From the event whose bet grows fastest, which is the best one for many runs, uphill in steps that become smaller;
    from the best of a coarse grid where that one is of no use for so few runs.
    """
    if not way.seeks_event:
        return way.chance(setting, runs, mu, 0.0), 0.0

    def best_of(thresholds: Sequence[float]) -> tuple[float, float]:
        return max((way.chance(setting, runs, mu, t), t) for t in thresholds)

    found = best_of(fastest_thresholds(setting.claim, mu))
    if found[0] == 0:
        found = best_of(np.linspace(-_FARTHEST, mu + _FARTHEST, 31).tolist())
    for step in _STEPS if found[0] > 0 else ():
        while found[0] < enough and (beside := best_of((found[1] - step, found[1] + step)))[0] > found[0]:
            found = beside
    return found


@lru_cache(maxsize=1024)
def fastest_thresholds(claim: Claim, mu: float) -> tuple[float, ...]:
    """Thresholds of the events on which bets against the claim grow faster than on those beside, for scores shifted μ.

    A claim of both directions has two, one for each. The middle where no bet grows.
    """
    thresholds = np.linspace(-_FARTHEST, mu + _FARTHEST, 401)
    p, q = ndtr(mu - thresholds), ndtr(-thresholds)
    growth = bets_against(p, q, claim.tradeoff).growth(p, q)
    peaks = np.flatnonzero((growth[1:-1] > growth[:-2]) & (growth[1:-1] >= growth[2:])) + 1
    return tuple(thresholds[peaks[np.argsort(-growth[peaks])][:_PEAKS]].tolist()) or (mu / 2,)


def smallest_mu(way: Way, setting: Setting, runs: tuple[int, int]) -> float | None:
    """Smallest μ of a Gaussian pair that is refuted with the setting's power; None where no μ is."""

    def enough(mu: float) -> bool:
        return best_chance(way, setting, runs, mu, setting.power)[0] >= setting.power

    if not enough(LARGEST_MU):
        return None
    return least_mu(enough, 0.0, setting.limit, _ACCURACY)


def least_mu(enough: Callable[[float], bool], low: float, limit: float, accuracy: float) -> float | None:
    """Smallest μ above `low` that is enough, to a relative accuracy; None where none up to `LARGEST_MU` is."""
    high = max(1.0, 2 * limit)
    while not enough(high):
        low, high = high, 2 * high
        if high > LARGEST_MU:
            return None
    while high - low > accuracy * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def runs_needed(way: Way, setting: Setting, mu: float) -> int | None:
    """Runs a side at which a Gaussian pair at distance μ is refuted with the setting's power; None where none is found.

    Chances rise with the runs but for the steps of counts, so that a few runs less may do as well.
    """
    if way.runs is not None:
        enough = best_chance(way, setting, (way.runs, way.runs), mu)[0] >= setting.power
        return way.runs if enough else None
    low, high = 0, 1
    while best_chance(way, setting, (high, high), mu, setting.power)[0] < setting.power:
        low, high = high, 2 * high
        if high > _MOST_RUNS:
            return None
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if best_chance(way, setting, (middle, middle), mu, setting.power)[0] >= setting.power:
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True, slots=True)
class Found:
    """What one design finds at one number of runs.

    Attributes:
        runs: a side; its own number where the design has one.
        mu: smallest distance of a Gaussian pair that is refuted; None where none is.
        epsilon: the same as ε at the claim's δ.
        models: to be trained or unlearned.
    """

    runs: int
    mu: float | None
    epsilon: float | None
    models: int


def found_table(ways: Sequence[Way], setting: Setting, sizes: Sequence[int]) -> dict[str, list[Found]]:
    """What every design finds at every number of runs, by key."""
    table: dict[str, list[Found]] = {}
    for way in ways:
        known: dict[int, Found] = {}
        for size in sizes:
            runs = size if way.runs is None else way.runs
            if runs not in known:
                mu = smallest_mu(way, setting, (runs, runs))
                epsilon = None if mu is None else setting.claim.gaussian_epsilon(mu)
                known[runs] = Found(runs, mu, epsilon, way.models(setting, runs))
        table[way.key] = [known[size if way.runs is None else way.runs] for size in sizes]
    return table


def cheapest(ways: Sequence[Way], setting: Setting, mu: float) -> list[tuple[Way, int | None, int | None]]:
    """Runs a side and models that every design takes for a Gaussian pair at distance μ, the cheapest first."""
    costs = []
    for way in ways:
        runs = runs_needed(way, setting, mu)
        costs.append((way, runs, None if runs is None else way.models(setting, runs)))
    return sorted(costs, key=lambda cost: (math.inf if cost[2] is None else cost[2], cost[0].rung))
