"""Rung D: which candidates were forgotten? A game whose null law is exact, on unlearned models alone.

Retain set R and candidates c₁ … c_m are fixed, and so are σ and all hyperparameters. S is drawn: every candidate by a
fair coin of its own, or k of them uniformly. The method learns on R ∪ S, unlearns S and releases y. From y, and never
from S, r candidates are named: members or not (coins), members (k of m); r is fixed beforehand, which r is free. V is
the number named right.

Why it needs no reference model. Whatever S was, the reference is the same law Q: of a model that never saw a candidate.
The names g(y) fix, for every S, an event E_S = {y : V(g(y), S) ≥ v}, and under Q the names are independent of S:

    E_S[Q(E_S)] = q_v = P[Bin(r, ½) ≥ v]      (coins),        P[Hypergeometric(m, k, r) ≥ v]      (k of m).

A claim with trade-off f that holds for every S gives 1 − P_S(E_S) ≥ f(Q(E_S)), and f is convex (Jensen):

    P[V ≥ v] ≤ 1 − f(q_v),         for (ε, δ), released over reference:  P[V ≥ v] ≤ e^ε q_v + δ.

One run: 1 − f(q_V) is a p-value, because it falls as V grows. T runs: with v fixed beforehand the number of runs with
V ≥ v is binomial, and its Clopper–Pearson limit takes the place of α.

What the game asks of a claim: requests of every size up to m (coins) or of size k, on a training set of |R| + |S|
records. A run in which nothing is forgotten, or whose Δ exceeds the budget, releases the reference itself, which keeps
every claim whatever S was.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, binom

from unlearning.binomial import clopper_pearson_lower
from unlearning.claim import Claim
from unlearning.errors import BadScores
from unlearning.tradeoff import epsilon_lower_at_event, mu_lower_at_event

from .result import Kind, LowerBound

Sampling = Literal["coin", "fixed"]


@dataclass(frozen=True, slots=True)
class Game:
    """An identification game.

    Attributes:
        sampling: "coin" (every candidate by a fair coin) or "fixed" (k of m, uniformly).
        candidates: m.
        guesses: r of them are named in each run.
        runs: T, each with an S of its own.
        members: k for "fixed", None for "coin".
    """

    sampling: Sampling
    candidates: int
    guesses: int
    runs: int = 1
    members: int | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a number is out of range, or `members` does not fit the sampling.
        """
        if self.sampling not in ("coin", "fixed"):
            raise ValueError(f'sampling must be "coin" or "fixed", got {self.sampling!r}.')
        if not 1 <= self.guesses <= self.candidates:
            raise ValueError(f"guesses must be between 1 and {self.candidates} candidates, got {self.guesses}.")
        if self.runs < 1:
            raise ValueError(f"runs must be >= 1, got {self.runs}.")
        if (self.sampling == "fixed") != (self.members is not None):
            raise ValueError(f'members must be given exactly for sampling = "fixed", got {self.members}.')
        if self.members is not None and not 1 <= self.members < self.candidates:
            raise ValueError(f"members must be between 1 and {self.candidates - 1}, got {self.members}.")

    def null_tail(self, right: int) -> float:
        """q_v: probability that names given without any look at S are right `right` times or more, exactly.

        >>> Game("coin", 40, 20).null_tail(20) == 2.0**-20
        True
        >>> Game("fixed", 4, 2, members=2).null_tail(2) * 6
        1.0
        """
        if right <= 0:
            return 1.0
        return _tails(self)[right] if right <= self.guesses else 0.0

    def draw(self, runs: int, generator: np.random.Generator) -> NDArray[np.bool_]:
        """Memberships S of so many runs, [runs, m]."""
        if self.members is None:
            return generator.random((runs, self.candidates)) < 0.5
        order = generator.random((runs, self.candidates)).argsort(axis=1)
        return np.asarray(order < self.members)


@lru_cache(maxsize=64)
def _tails(game: Game) -> tuple[float, ...]:
    """q_v for v = 0 … r: whole numbers until the one division."""
    r, m, k = game.guesses, game.candidates, game.members
    if k is None:
        ways = [math.comb(r, v) for v in range(r + 1)]
    else:
        ways = [math.comb(r, v) * math.comb(m - r, k - v) if v <= k else 0 for v in range(r + 1)]
    upwards = list(accumulate(reversed(ways)))
    return tuple(total / upwards[-1] for total in reversed(upwards))


def identification_lower(
    game: Game, right: ArrayLike, claim: Claim, failure_probability: float, *, needed: int | None = None
) -> LowerBound:
    """Lower bound on ε and μ from the numbers of right names.

    Guarantee: at most the true ε (at the claim's δ) and the true μ, except with probability ≤ failure_probability, if
    S was drawn as the game says and neither names nor `needed` were chosen with a look at the S of these runs.

    >>> from unlearning import Claim, EpsilonDelta, Reference, SeedPolicy
    >>> claim = Claim(EpsilonDelta(8.0, 1e-5), 1e-5, Reference.RETRAINED, SeedPolicy.PER_SEED, 40)
    >>> bound = identification_lower(Game("coin", 40, 20), [20], claim, 0.05)
    >>> round(bound.epsilon_lower, 2), round(bound.mu_lower, 2), bound.refuted
    (10.87, 3.12, True)

    Args:
        game: as it was played.
        right: V of each run, [T].
        claim: under test.
        failure_probability: α in (0, 1).
        needed: v, fixed before the runs; None for one run, whose own V takes its place (a p-value).

    Raises:
        BadScores: there are not T whole numbers between 0 and r.
        ValueError: v is missing for several runs or not between 1 and r, or α is outside (0, 1).
    """
    found = _checked_right(game, right)
    if needed is None and game.runs > 1:
        raise ValueError(f"needed must be fixed before {game.runs} runs are seen, got None.")
    if needed is not None and not 1 <= needed <= game.guesses:
        raise ValueError(f"needed must be between 1 and {game.guesses} names, got {needed}.")
    cut = max(1, int(found[0])) if needed is None else needed
    hits = int((found >= cut).sum())
    p_lower, q = float(clopper_pearson_lower(hits, game.runs, failure_probability)), game.null_tail(cut)
    return LowerBound(
        name="identification",
        epsilon_lower=epsilon_lower_at_event(p_lower, q, claim.delta, claim.directions),
        mu_lower=mu_lower_at_event(p_lower, q),
        refuted=bool(claim.tradeoff.refuted_at(p_lower, q)),
        failure_probability=failure_probability,
        kind=Kind.CONFIDENCE,
        model="none",
        runs_released=game.runs,
        runs_reference=0,
        counts_released=hits,
        event=f"V ≥ {cut} of {game.guesses} named right",
        assumes=(
            f"the claim covers requests of {_sizes(game)} of the candidates, on the training set without the others",
        ),
        derivation={
            "m": game.candidates,
            "r": game.guesses,
            "k": float(game.members or 0),
            "T": game.runs,
            "v": cut,
            "x": hits,
            "q_v": q,
            "p_lower": p_lower,
        },
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )


def _sizes(game: Game) -> str:
    return f"every size up to {game.candidates}" if game.members is None else f"size {game.members}"


def _checked_right(game: Game, right: ArrayLike) -> NDArray[np.int64]:
    found = np.asarray(right)
    if found.ndim != 1 or found.size != game.runs:
        raise BadScores(f"right must hold one number per run, shape [{game.runs}], got shape {list(found.shape)}.")
    most = game.guesses if game.members is None else min(game.guesses, game.members)
    if found.dtype.kind not in "iu" or found.min() < 0 or found.max() > most:
        raise BadScores(f"right must hold whole numbers from 0 to {most}, got {found.tolist()}.")
    return found.astype(np.int64)


def refuting_runs(game: Game, claim: Claim, failure_probability: float, right: int) -> int | None:
    """Least number of runs with V ≥ `right` that refutes the claim; None where not even all T do."""
    limits = clopper_pearson_lower(np.arange(game.runs + 1), game.runs, failure_probability)
    refuting = np.flatnonzero(claim.tradeoff.refuted_at(limits, game.null_tail(right)))
    return int(refuting[0]) if refuting.size else None


def least_refuting(game: Game, claim: Claim, failure_probability: float) -> int | None:
    """Least V that refutes the claim where every run reaches it; None where the game cannot refute at all."""
    able = (v for v in range(1, game.guesses + 1) if refuting_runs(game, claim, failure_probability, v) is not None)
    return next(able, None)


def choose_needed(game: Game, right: ArrayLike, claim: Claim, failure_probability: float) -> int:
    """Right names v that count as a success in T runs, from V of other games with known S, [G].

    Of those that refute the claim with probability .8 the one with the largest bound on μ that is expected; else the
    one that refutes most often. Only choice, no bound: the bound is on other runs.
    """
    seen = np.asarray(right)
    best, chosen = (-1.0, 0.0), game.guesses
    for v in range(1, game.guesses + 1):
        share = (float((seen >= v).sum()) + 0.5) / (seen.size + 1)
        runs = refuting_runs(game, claim, failure_probability, v)
        if runs is None:
            continue
        often = float(binom.sf(runs - 1, game.runs, share))
        p_lower = float(clopper_pearson_lower(round(share * game.runs), game.runs, failure_probability))
        value = (min(often, 0.8), mu_lower_at_event(p_lower, game.null_tail(v)) if often >= 0.8 else 0.0)
        if value > best:
            best, chosen = value, v
    return chosen


def identification_cap(game: Game, claim: Claim, failure_probability: float) -> tuple[float, float]:
    """Largest ε at the claim's δ and largest μ that the game can prove: every name right in every run.

    >>> from unlearning import Claim, EpsilonDelta, Reference, SeedPolicy
    >>> claim = Claim(EpsilonDelta(8.0, 1e-5), 1e-5, Reference.RETRAINED, SeedPolicy.PER_SEED, 40)
    >>> round(identification_cap(Game("coin", 40, 20), claim, 0.05)[0] - 20 * math.log(2) - math.log(0.05 - 1e-5), 9)
    0.0
    """
    p_lower, q = failure_probability ** (1 / game.runs), game.null_tail(game.guesses)
    return epsilon_lower_at_event(p_lower, q, claim.delta, claim.directions), mu_lower_at_event(p_lower, q)


def identification_detectable(
    game: Game, claim: Claim, failure_probability: float, needed: int, power: float
) -> tuple[float, float] | None:
    """Smallest true ε and μ that this game can refute with a power; None where it cannot refute.

    An adversary reaches at most P[V ≥ v] = 1 − f(q_v) for the true trade-off f: this is the best case, at v = `needed`.
    """
    runs = refuting_runs(game, claim, failure_probability, needed)
    if runs is None:
        return None
    p = float(beta.ppf(power, runs, game.runs - runs + 1))  # P[Bin(T, p) ≥ runs] = power
    q = game.null_tail(needed)
    return epsilon_lower_at_event(p, q, claim.delta, claim.directions), mu_lower_at_event(p, q)


def guesses_needed(claim: Claim, runs: int, failure_probability: float, *, most: int = 512) -> int | None:
    """Least r with which T runs of coin flips, named right throughout, refute the claim; None up to `most`."""

    def refutes(r: int) -> bool:
        return refutes_throughout(Game("coin", r, r, runs), claim, failure_probability)

    found = 1
    while not refutes(found):
        found *= 2
        if found > most:
            return None
    return next(r for r in range(found // 2 + 1, found + 1) if refutes(r))


def refutes_throughout(game: Game, claim: Claim, failure_probability: float) -> bool:
    """Whether every name right in every run refutes the claim."""
    p_lower = failure_probability ** (1 / game.runs)
    return bool(claim.tradeoff.refuted_at(p_lower, game.null_tail(game.guesses)))
