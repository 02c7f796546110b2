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
| C, e-process | Brownian approximation, runs divided by 1.3 for a learned event | approximation |
| D, identification | guesses are right as often as equally long, orthogonal traces give | exact given that |
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr
from scipy.stats import binom, norm

from unlearning.claim import Claim
from unlearning.gaussian import mu_of_epsilon_delta
from unlearning.tradeoff import GaussianTradeOff, TradeOff

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
    scale_chance,
    shift_chance,
    wealth_chance,
)
from .design import POWER

RUNS = (100, 300, 1_000, 3_000, 10_000, 100_000)
LEARNED = 1.3  # how many times the runs of a known event an e-process takes that learns its event
_MOST_RUNS = 10_000_000
LARGEST_MU = 1e3


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
        if not (math.isfinite(self.pilot) and self.pilot >= 0):
            raise ValueError(f"pilot must be a finite number >= 0, got {self.pilot}.")
        if self.coordinates < 1:
            raise ValueError(f"coordinates must be >= 1, got {self.coordinates}.")
        if not 1 <= self.guesses <= self.candidates:
            raise ValueError(f"guesses must be between 1 and {self.candidates} candidates, got {self.guesses}.")


def claimed_mu(claim: Claim) -> float:
    """Largest μ of a Gaussian pair that keeps the claim."""
    if isinstance(claim.tradeoff, GaussianTradeOff):
        return claim.tradeoff.mu
    return mu_of_epsilon_delta(claim.tradeoff.epsilon_value, claim.delta)


Chance = Callable[[Setting, tuple[int, int], float, float], float]  # runs (n, m), μ, threshold of the event


@dataclass(frozen=True, slots=True)
class Way:
    """One way to test a claim.

    Attributes:
        key: as on the command line; where it is a bound, the bound's name.
        rung: of the ladder.
        title: for people.
        worth: what its power numbers are: "exact", "best event", "lower bound" or "approximation".
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


def right_guess_probability(trace: float, share: float) -> float:
    """Probability that a guess is right among the share of candidates whose guess is the most certain.

    A candidate shows N(trace, 1) where it was deleted and N(0, 1) where not, by a fair coin: its posterior log-odds
    are trace·u at the distance u from the middle. With share = 1 this is Φ(trace/2).

    >>> round(right_guess_probability(2.0, 1.0), 4), right_guess_probability(0.0, 0.5)
    (0.8413, 0.5)
    """
    u = np.linspace(0, trace / 2 + 9, 4001)
    density = norm.pdf(u - trace / 2) + norm.pdf(u + trace / 2)
    density[0] /= 2  # the trapezoidal rule
    density = np.maximum(density, 1e-300)
    beyond = np.cumsum(density[::-1])[::-1]
    chosen = density * np.clip((share * beyond[0] - beyond) / density + 1, 0, 1)
    return float((chosen * expit(trace * u)).sum() / chosen.sum()) if trace > 0 else 0.5


def members_named_probability(trace: float, candidates: int, members: int) -> Array:
    """Probability that at least v = 0 … k of the k candidates with the largest score are members.

    Members show N(trace, 1), the others N(0, 1). At least v of the first k are members where the v-th largest member
    exceeds the (k − v + 1)-th largest of the others.

    >>> members_named_probability(0.0, 4, 2).round(5).tolist()
    [1.0, 0.83333, 0.16667]
    """
    y = np.linspace(-9, 9 + trace, 2001)
    others = candidates - members
    found = [1.0]
    for v in range(1, members + 1):
        rank = members - v + 1
        if rank > others:
            found.append(1.0)
            continue
        law = binom.cdf(rank - 1, others, norm.sf(y))  # of the rank-th largest of the others
        exceeds = binom.sf(v - 1, members, norm.sf(y - trace))
        found.append(float((np.diff(law) * (exceeds[1:] + exceeds[:-1]) / 2).sum()))
    return np.asarray(found)


_SEED = "the training seed, and noise N(0, σ²I) after training"
_NONE = "released models only"
_at_event = _event(_half, event_chance)
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
        Way("clopper-pearson", "C", "Event, Clopper–Pearson", "best event", _NONE, _at_event, True, True),
        Way("joint", "C", "Event, exact joint test", "approximation", _NONE, _event(_half, joint_chance), True, True),
        Way("folds", "C", "Events chosen on five folds", "approximation", _NONE, _folds, True),
        Way("band", "C", "Band over all events", "lower bound", _NONE, _event(_local, event_chance), True),
        Way("dkw", "C", "DKW band", "lower bound", _NONE, _event(_half, _dkw_chance), True),
        Way("e-process", "C", "E-process, event learned", "approximation", _NONE, _wealth, True),
        Way("identification", "D", "Naming records, one run", "exact", "the candidates", _coin, runs=1),
        Way("identification-fixed", "D", "Naming k of m, one run", "exact", "the candidates", _fixed, runs=1),
        Way("identification-runs", "D", "Naming records, N runs", "exact", "the candidates", _coin),
    )
}


def best_chance(way: Way, setting: Setting, runs: tuple[int, int], mu: float) -> tuple[float, float]:
    """Largest probability of refutation over the events, and its threshold."""
    if not way.seeks_event:
        return way.chance(setting, runs, mu, 0.0), 0.0
    grid = np.linspace(-4.5, mu + 4.5, 25)
    for _ in range(3):
        chances = [way.chance(setting, runs, mu, float(t)) for t in grid]
        best = int(np.argmax(chances))
        step = (grid[1] - grid[0]) / 2.5
        found = chances[best], float(grid[best])
        if found[0] == 0:
            break
        grid = np.linspace(grid[best] - 2 * step, grid[best] + 2 * step, 5)
    return found


def smallest_mu(way: Way, setting: Setting, runs: tuple[int, int]) -> float | None:
    """Smallest μ of a Gaussian pair that is refuted with the setting's power; None where no μ is."""
    high = max(1.0, 2 * setting.limit)
    while best_chance(way, setting, runs, high)[0] < setting.power:
        high *= 2
        if high > LARGEST_MU:
            return None
    for _ in range(4):  # the best event at a μ, then the smallest μ at that event
        _, threshold = best_chance(way, setting, runs, high)
        smaller = _between(way, setting, runs, threshold, high)
        if smaller > high * (1 - 1e-4):
            return smaller
        high = smaller
    return high


def _between(way: Way, setting: Setting, runs: tuple[int, int], threshold: float, high: float) -> float:
    low = 0.0
    while high - low > 1e-5 * high:
        middle = (low + high) / 2
        if way.chance(setting, runs, middle, threshold) >= setting.power:
            high = middle
        else:
            low = middle
    return high


def runs_needed(way: Way, setting: Setting, mu: float) -> int | None:
    """Runs a side at which a Gaussian pair at distance μ is refuted with the setting's power; None where none is found.

    Chances rise with the runs but for the steps of counts, so that a few runs less may do as well.
    """
    if way.runs is not None:
        enough = best_chance(way, setting, (way.runs, way.runs), mu)[0] >= setting.power
        return way.runs if enough else None
    low, high = 0, 1
    while best_chance(way, setting, (high, high), mu)[0] < setting.power:
        low, high = high, 2 * high
        if high > _MOST_RUNS:
            return None
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if best_chance(way, setting, (middle, middle), mu)[0] >= setting.power:
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
