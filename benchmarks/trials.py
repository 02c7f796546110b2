"""Simulated audits of mechanisms whose ε is known: the bounds of the table, naive auditors, and stopping times.

Everything takes a generator; the same generator gives the same audits.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from audit.bounds.e_process import log_wealth_path, stretches
from audit.bounds.fixed_event import EventDesign
from audit.bounds.result import Kind, LowerBound
from audit.bounds.runs import SelectionRuns, TestRuns
from audit.bounds.table import BOUNDS, compute
from audit.laws import GaussianPair
from audit.mechanisms import TRUE, Mechanism, boundary_claim
from audit.release_laws import Clustered, Pipeline
from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.tradeoff import mu_lower_at_event

Array = NDArray[np.float64]

PILOT = 0.2  # share of the runs that choose, where a bound needs any
POWER = 0.8


def generator_of(*names: object) -> np.random.Generator:
    """A generator of its own for each cell of each table, the same in every run."""
    return np.random.default_rng(crc32(repr(names).encode()))


def pilot_runs(bound: str, runs: int, share: float = PILOT) -> int:
    """How many of the runs a side choose."""
    return max(1, round(share * runs)) if BOUNDS[bound].needs == "selection" else 0


def one_audit(
    bound: str, mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator, share: float = PILOT
) -> LowerBound:
    """A bound of the table on `runs` runs a side, its pilot included."""
    pilot = pilot_runs(bound, runs, share)
    selection = SelectionRuns(*mechanism.draw(pilot, generator=generator)) if pilot else None
    test = TestRuns(*mechanism.draw(runs - pilot, generator=generator))
    return compute(bound, selection, test, mechanism.claim, failure_probability=level)


def what_is_wrong(found: LowerBound, mechanism: Mechanism, epsilon: float) -> tuple[bool, bool, bool]:
    """Whether a bound contradicts what is true of a mechanism: its claim, its ε, its μ."""
    slack = 1 + 1e-9
    mu = mechanism.laws.mu
    return (
        bool(found.refuted and mechanism.holds),
        found.epsilon_lower > epsilon * slack,
        mu is not None and found.mu_lower is not None and found.mu_lower > mu * slack,
    )


def errors(bound: str, mechanism: Mechanism, runs: int, level: float, trials: int) -> int:
    """Simulated audits of a mechanism in which a bound is wrong; its failure probability allows a share `level`.

    Of the refutation, the ε and the μ, each of which keeps the failure probability, the one that is wrong most often;
    for the e-process, whose search for ε is long, the refutation.
    """
    generator = generator_of("errors", bound, mechanism.name, runs, level)
    if bound == "e-process":
        return sum(_wealth_refutes(mechanism, runs, level, generator) for _ in range(trials))
    epsilon = mechanism.epsilon(mechanism.claim.delta)
    audits = (one_audit(bound, mechanism, runs, level, generator) for _ in range(trials))
    return int(np.max(np.sum([what_is_wrong(found, mechanism, epsilon) for found in audits], axis=0)))


def _wealth_refutes(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    """Whether the wealth ever reaches 1/level: the worst rule for stopping."""
    return bool(
        (wealth_path(mechanism, TestRuns(*mechanism.draw(runs, generator=generator))) >= -math.log(level)).any()
    )


def wealth_path(mechanism: Mechanism, test: TestRuns) -> Array:
    """Logarithm of the wealth against the claim after every pair, no pilot."""
    tradeoff = mechanism.claim.tradeoff
    return log_wealth_path(list(stretches(None, test, tradeoff)), tradeoff)


def suits(bound: str, mechanism: Mechanism) -> bool:
    """Whether a mechanism keeps the premises of a bound: those that assume Gaussian scores need them."""
    if BOUNDS[bound].kind in (Kind.CREDIBLE, Kind.ESTIMATE):
        return False
    return bound not in ("z", "student") or mechanism.laws.mu is not None


# Tightness ------------------------------------------------------------------------------------------------------------

# a Gaussian whose ε is asked for, so that events are chosen for ε and not for μ
AT_A_POINT = Mechanism(
    "gaussian-epsilon", "Gaussian, μ = 1, ε at δ = 10⁻⁵", GaussianPair(1.0), boundary_claim(GaussianPair(1.0)), True
)


@dataclass(frozen=True, slots=True)
class Target:
    """A mean lower bound on ε that a bound should reach at α = .05.

    Attributes:
        bound: in the table.
        mechanism: whose ε.
        runs: a side, pilot included.
        least: mean ε_lower over 200 audits or more.
        share: of the runs that choose.
        most_milliseconds: of one audit; None where no time is asked for.
    """

    bound: str
    mechanism: Mechanism
    runs: int
    least: float
    share: float = PILOT
    most_milliseconds: float | None = None


_EPSILON = AT_A_POINT.epsilon(1e-5)
TARGETS = (
    Target("z", AT_A_POINT, 1_000, 0.91 * _EPSILON, most_milliseconds=2),
    Target("z", AT_A_POINT, 10_000, 0.965 * _EPSILON, most_milliseconds=2),
    Target("student", AT_A_POINT, 1_000, 0.91 * _EPSILON, most_milliseconds=2),
    Target("student", AT_A_POINT, 10_000, 0.965 * _EPSILON, most_milliseconds=2),
    Target("band", AT_A_POINT, 1_000, 1.28),
    Target("band", AT_A_POINT, 10_000, 2.05),
    Target("joint", AT_A_POINT, 1_000, 1.45, 0.2, 20),
    Target("joint", AT_A_POINT, 10_000, 2.15, 0.1, 100),
    Target("dkw", TRUE["laplace"], 2_000, 0.82),
    Target("band", TRUE["laplace"], 2_000, 0.80),
    Target("joint", TRUE["response"], 1_250, 0.90),  # 1,000 of them tested
)


def tightness(
    bound: str, mechanism: Mechanism, runs: int, audits: int, share: float = PILOT, level: float = 0.05
) -> tuple[float, float, float]:
    """Mean lower bound on ε, the standard error of that mean, and milliseconds of an audit without its draws."""
    generator = generator_of("tightness", bound, mechanism.name, runs, share)
    pilot = pilot_runs(bound, runs, share)
    found, seconds = [], 0.0
    for _ in range(audits):
        selection = SelectionRuns(*mechanism.draw(pilot, generator=generator)) if pilot else None
        test = TestRuns(*mechanism.draw(runs - pilot, generator=generator))
        started = time.process_time()
        found.append(compute(bound, selection, test, mechanism.claim, failure_probability=level).epsilon_lower)
        seconds += time.process_time() - started
    return float(np.mean(found)), float(np.std(found) / math.sqrt(audits)), 1e3 * seconds / audits


# Naive auditors -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Naive:
    """An auditor that breaks a rule.

    Attributes:
        title: what it does.
        mechanism: a true claim that shows it, by name in `TRUE`.
        runs: a side.
        refutes: whether it refutes the claim in one simulated audit at a level.
    """

    title: str
    mechanism: str
    runs: int
    refutes: Callable[[Mechanism, int, float, np.random.Generator], bool]


def naive_errors(name: str, level: float, trials: int) -> int:
    """Refutations of a true claim by a naive auditor."""
    naive = NAIVE[name]
    generator = generator_of("naive", name, level)
    mechanism = TRUE[naive.mechanism]
    return sum(naive.refutes(mechanism, naive.runs, level, generator) for _ in range(trials))


def _counts_at_every_threshold(released: Array, reference: Array) -> tuple[Array, Array]:
    """Counts of {score ≥ t} at all thresholds, both orientations."""
    x, y = np.sort(released), np.sort(reference)
    cuts = np.concatenate([x, y])
    x_in, y_in = x.size - np.searchsorted(x, cuts), y.size - np.searchsorted(y, cuts)
    return np.concatenate([x_in, x.size - x_in]), np.concatenate([y_in, y.size - y_in])


def _peeks(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    x, y = _counts_at_every_threshold(*mechanism.draw(runs, generator=generator))
    lower, upper = EventDesign(runs, runs, level).limits()
    return bool(mechanism.claim.tradeoff.refuted_at(lower[x], upper[y]).any())


def _tests_what_chose(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    scores = mechanism.draw(runs, generator=generator)
    found = compute(
        "clopper-pearson", SelectionRuns(*scores), TestRuns(*scores), mechanism.claim, failure_probability=level
    )
    return bool(found.refuted)


def _counts_rows(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    assert isinstance(mechanism.laws, Clustered)
    arms = [rows.ravel() for rows in mechanism.laws.rows(runs, generator=generator)]
    design = EventDesign(arms[0].size, arms[1].size, level)
    x, y = (int((arm >= 0).sum()) for arm in arms)  # an event fixed beforehand: the fault is the number of runs
    return design.bound(x, y, mechanism.claim).refuted


def _divides(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    """Best ratio of the counts over thresholds, no confidence limit."""
    x, y = _counts_at_every_threshold(*mechanism.draw(runs, generator=generator))
    return bool(mechanism.claim.tradeoff.refuted_at(x / runs, y / runs).any())


def _drops_empty(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    """One event, limits of the log-ratio by the normal approximation; 0 of n becomes an infinite ε."""
    released, reference = mechanism.draw(runs, generator=generator)
    x, y = int((released >= released.max()).sum()), int((reference >= released.max()).sum())
    return y == 0 and x > 0


def _looks_again(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    """A valid test of fixed N, repeated after every pair until it refutes."""
    released, reference = mechanism.draw(runs, generator=generator)
    used = np.arange(1, runs + 1)
    lower = np.cumsum(released - reference) / used + ndtri(level) * np.sqrt(2 / used)
    mu = mechanism.laws.mu
    return mu is not None and bool((lower > mu).any())


def _pools_folds(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    """Each fold is scored along the direction learned on the other, and all scores are tested as one sample."""
    assert isinstance(mechanism.laws, Pipeline)
    released, reference = mechanism.laws.releases(runs, generator=generator)
    pooled: list[list[Array]] = [[], []]
    half = runs // 2
    for test, fit in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
        direction = released[fit].mean(0) - reference[fit].mean(0)
        for arm, releases in zip(pooled, (released, reference), strict=True):
            arm.append(mechanism.laws.score(releases[test], direction / np.linalg.norm(direction)))
    test_runs = TestRuns(*(np.concatenate(arm) for arm in pooled))
    found = compute("z", None, test_runs, mechanism.claim, failure_probability=level)
    return bool(found.refuted)


def _both_directions(mechanism: Mechanism, runs: int, level: float, generator: np.random.Generator) -> bool:
    """Tests P ≤ e^ε Q + δ and its reverse where only the first is claimed."""
    released, reference = mechanism.draw(runs, generator=generator)
    x, y = (int((arm >= 0.5).sum()) for arm in (reference, released))
    p_lower, q_upper = (
        clopper_pearson_lower(runs - x, runs, level / 2),
        clopper_pearson_upper(runs - y, runs, level / 2),
    )
    return bool(mechanism.claim.tradeoff.refuted_at(p_lower, q_upper))


NAIVE: dict[str, Naive] = {
    "peeking": Naive("best of all thresholds, at the nominal level", "equal", 1000, _peeks),
    "selection is test": Naive("the event is chosen on the runs that test it", "equal", 10_000, _tests_what_chose),
    "rows as runs": Naive("20 records of a run counted as 20 runs", "equal-clustered", 100, _counts_rows),
    "no limits": Naive("ratio of the counts at the best threshold", "laplace", 1000, _divides),
    "infinite ε": Naive("0 of n taken for probability 0", "laplace", 1000, _drops_empty),
    "optional stopping": Naive("a fixed-N z-test, repeated after every pair", "gaussian-1", 1000, _looks_again),
    "pooled folds": Naive("scores of cross-fitted directions pooled", "equal-releases", 40, _pools_folds),
    "wrong direction": Naive("both directions tested, one claimed", "one-direction", 200, _both_directions),
}


# Runs needed ----------------------------------------------------------------------------------------------------------


def best_event_power(mechanism: Mechanism, runs: int, level: float) -> tuple[float, float, int]:
    """Largest probability that one event refutes with n = m = runs, with its threshold and orientation, exactly."""
    design = EventDesign(runs, runs, level)
    best = (0.0, 0.0, 1)
    for threshold in thresholds(mechanism):
        tails = mechanism.laws.tails(threshold)
        assert tails is not None
        for orientation in (1, -1):
            p, q = tails if orientation == 1 else (1 - tails[0], 1 - tails[1])
            power = design.refutation_probability(p, q, mechanism.claim.tradeoff)
            best = max(best, (power, threshold, orientation))
    return best


def thresholds(mechanism: Mechanism) -> Array:
    """A grid of thresholds over the range of the scores."""
    released, reference = mechanism.draw(4000, generator=generator_of("grid", mechanism.name))
    pooled = np.unique(np.concatenate([released, reference]))
    if pooled.size < 32:
        return np.asarray((pooled[1:] + pooled[:-1]) / 2 if pooled.size > 1 else pooled)
    return np.linspace(pooled[0], pooled[-1], 48)


def event_runs_needed(mechanism: Mechanism, level: float, most: int = 1_000_000) -> tuple[int, float, int] | None:
    """Smallest N a side at which the best event refutes with probability .8, with the event; None above `most`."""
    low, high = 1, 4
    while best_event_power(mechanism, high, level)[0] < POWER:
        low, high = high, high * 4
        if high > most:
            return None
    while high - low > max(1, low // 50):
        middle = math.isqrt(low * high) if high > 2 * low else (low + high) // 2
        if best_event_power(mechanism, middle, level)[0] >= POWER:
            high = middle
        else:
            low = middle
    return (high, *best_event_power(mechanism, high, level)[1:])


# Stopping -------------------------------------------------------------------------------------------------------------


def fixed_runs_needed(mechanism: Mechanism, level: float, audits: int, bound: str = "clopper-pearson") -> int:
    """Smallest N a side, pilot included, at which .8 of the simulated audits refute, in steps of one run or 10 %."""
    runs = 4
    while True:
        generator = generator_of("fixed", bound, mechanism.name, runs)
        refuted = sum(bool(one_audit(bound, mechanism, runs, level, generator).refuted) for _ in range(audits))
        if refuted >= POWER * audits:
            return runs
        runs = max(runs + 1, math.ceil((1.1 if refuted >= 0.2 * audits else 1.25) * runs))


def stopping_times(mechanism: Mechanism, level: float, audits: int, first: int) -> Array:
    """Pairs after which the e-process, with no pilot, refutes a broken mechanism; infinite beyond 64·first."""
    generator = generator_of("stops", mechanism.name, level)
    return np.array([_stops(mechanism, level, generator, first) for _ in range(audits)])


def _stops(mechanism: Mechanism, level: float, generator: np.random.Generator, first: int) -> float:
    arms = [np.zeros(0), np.zeros(0)]
    pairs = max(32, 2 * first)
    while arms[0].size < 64 * max(16, first):
        more = mechanism.draw(pairs - arms[0].size, generator=generator)
        arms = [np.concatenate(both) for both in zip(arms, more, strict=True)]
        reached = np.flatnonzero(wealth_path(mechanism, TestRuns(*arms)) >= -math.log(level))
        if reached.size:
            return float(reached[0] + 1)
        pairs *= 2
    return math.inf


def mu_cap(runs: int, level: float) -> float:
    """Largest μ that n = m runs can prove at one event by Clopper–Pearson limits: every run on its side.

    >>> round(mu_cap(10, 0.05), 4)
    1.0001
    """
    p_lower = (level / 2) ** (1 / runs)
    return mu_lower_at_event(p_lower, 1 - p_lower)
