"""The gate that every bound must pass, the auditors that it is shown, and the simulations of both.

A bound passes while the one-sided Clopper–Pearson lower limit of its refutation rate of true claims, at confidence
1 − 1e-6/GATES, does not exceed its failure probability: all gates together fail by chance once in a million runs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from audit.bounds.fixed_event import EventDesign
from audit.bounds.runs import SelectionRuns
from audit.bounds.selection import most_telling_event
from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.claim import Claim, Reference, SeedPolicy
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

GATES = 1000  # at least the number of gates in tests/audit and tests/statistics
TRIALS = 2000
LEVELS = (0.05, 0.2)

Array = NDArray[np.float64]
TradeOff = EpsilonDelta | GaussianTradeOff

TRADEOFFS: dict[str, TradeOff] = {
    "both": EpsilonDelta(1.0, 1e-5),
    "both, large delta": EpsilonDelta(0.5, 0.05),
    "released only": EpsilonDelta(1.0, 1e-2, Directions.RELEASED),
    "reference only": EpsilonDelta(1.0, 1e-2, Directions.REFERENCE),
    "nothing allowed": EpsilonDelta(0.0, 1e-5),
    "gaussian": GaussianTradeOff(1.0),
    "gaussian, equal laws": GaussianTradeOff(0.0),
}


def caught(refuted: int, trials: int, failure_probability: float) -> bool:
    """Whether so many refutations of a true claim show that the failure probability is exceeded."""
    return bool(clopper_pearson_lower(refuted, trials, 1e-6 / GATES) > failure_probability)


def agrees(successes: int, trials: int, probability: float) -> bool:
    """Whether a simulated count agrees with a computed probability, at the same confidence on either side."""
    tiny = 1e-6 / GATES
    slack = 1e-9
    low = clopper_pearson_lower(successes, trials, tiny)
    return bool(low - slack <= probability <= clopper_pearson_upper(successes, trials, tiny) + slack)


def claim_of(tradeoff: TradeOff) -> Claim:
    return Claim(
        tradeoff,
        1e-5 if isinstance(tradeoff, GaussianTradeOff) else tradeoff.delta_value,
        Reference.RETRAINED,
        SeedPolicy.PER_SEED,
        1,
    )


def refuted_table(events: EventDesign, tradeoff: TradeOff) -> NDArray[np.bool_]:
    """Whether x of n and y of m refute, [n + 1, m + 1]."""
    lower, upper = events.limits()
    return tradeoff.refuted_at(lower[:, None], upper[None, :])


def boundary(tradeoff: TradeOff, q: Array | float) -> Array:
    """The largest P(E) that a claim allows where Q(E) = q."""
    return 1 - tradeoff(q)


def event_refutations(
    tradeoff: TradeOff, q: float, runs: int, level: float, rng: np.random.Generator, trials: int, arms: str
) -> int:
    """Refutations of a claim that holds with equality at the event."""
    p = float(boundary(tradeoff, q))
    table = refuted_table(EventDesign(runs, runs, level), tradeoff)
    if arms == "independent":
        x, y = rng.binomial(runs, p, trials), rng.binomial(runs, q, trials)
    elif arms == "seed-dependent":
        # Q(E_k) differs from seed to seed, and the claim holds with equality at every seed
        spread = rng.beta(4 * q, 4 * (1 - q), (trials, runs))
        x = (rng.random((trials, runs)) < boundary(tradeoff, spread)).sum(1)
        y = (rng.random((trials, runs)) < spread).sum(1)
    else:
        same = rng.random((trials, runs))
        x = (same < p).sum(1)
        y = (same < q if arms == "same noise" else same > 1 - q).sum(1)
    return int(table[x, y].sum())


def laplace(rng: np.random.Generator, runs: int) -> tuple[Array, Array]:
    """Scores at distance ε = 1 exactly: every event in the tails is a best event."""
    return rng.laplace(1.0, 1.0, runs), rng.laplace(0.0, 1.0, runs)


def tied(rng: np.random.Generator, runs: int) -> tuple[Array, Array]:
    """Randomised response over two answers at ε = 1, and a third that says nothing: scores with ties."""
    keep = np.e / (1 + np.e)
    silent = rng.random((2, runs)) < 0.2
    answers = np.stack([rng.random(runs) < keep, rng.random(runs) > keep]).astype(float)
    scores = np.where(silent, 0.5, answers)
    return scores[0], scores[1]


def equal(rng: np.random.Generator, runs: int) -> tuple[Array, Array]:
    """The same law on both sides."""
    return rng.standard_normal(runs), rng.standard_normal(runs)


LAWS: dict[str, tuple[Callable[[np.random.Generator, int], tuple[Array, Array]], TradeOff]] = {
    "laplace": (laplace, EpsilonDelta(1.0, 1e-5)),
    "tied": (tied, EpsilonDelta(1.0, 1e-5)),
    "equal": (equal, EpsilonDelta(0.0, 1e-5)),
}


def selecting_refutations(law: str, runs: int, level: float, rng: np.random.Generator, trials: int) -> int:
    """Refutations by our auditor: the event is chosen on runs of its own."""
    draw, tradeoff = LAWS[law]
    claim, table = claim_of(tradeoff), refuted_table(EventDesign(runs, runs, level), tradeoff)
    found = 0
    for _ in range(trials):
        event = most_telling_event(SelectionRuns(*draw(rng, runs)), (runs, runs), claim, level)
        x, y = (int(event.contains(scores).sum()) for scores in draw(rng, runs))
        found += int(table[x, y])
    return found


def peeking_refutations(law: str, runs: int, level: float, rng: np.random.Generator, trials: int) -> int:
    """Refutations by a naive auditor: the best of all thresholds on the scores that it then tests."""
    draw, tradeoff = LAWS[law]
    table = refuted_table(EventDesign(runs, runs, level), tradeoff)
    found = 0
    for _ in range(trials):
        x, y = (np.sort(scores) for scores in draw(rng, runs))
        cuts = np.concatenate([x, y])
        below_x, below_y = np.searchsorted(x, cuts), np.searchsorted(y, cuts)
        found += bool(table[runs - below_x, runs - below_y].any() or table[below_x, below_y].any())
    return found
