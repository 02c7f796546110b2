"""One-run bounds for differential privacy of training: another game, shown for comparison, never deciding.

T. Steinke, M. Nasr, M. Jagielski, *Privacy Auditing with One (1) Training Run*, NeurIPS 2023, arXiv 2305.08846.
S. Mahloujifar, L. Melis, K. Chaudhuri, *Auditing f-Differential Privacy in One Run*, 2024, arXiv 2410.22235.

Their game: each of m records is trained on or not, by a fair coin; r are guessed, V guesses are right. Their null is
differential privacy of training, for adding or removing a single record: it bounds every guess by a coin of bias
e^ε/(1 + e^ε), so that V of r right prove an ε of a few units, whatever r is. Rung D's null is another one: the
reference never saw a candidate, so names are blind, and the cap is r·ln 2. Neither implies the other.

    Steinke, Theorem 5.2, with W ~ Bin(r, e^ε/(1 + e^ε)):   P[V ≥ v] ≤ P[W ≥ v] + 2mδ · max_i P[v − i ≤ W < v]/i

    Mahloujifar, Algorithm 3: were P[V ≥ v] ≥ τ, then with g the inverse of f̄ = 1 − f, downwards from
    a_v = τ·v/m, b_v = τ·(r − v)/m:
        b_i = max(b_{i+1}, g(a_{i+1})),      a_i = a_{i+1} + i/(r − i)·(b_i − b_{i+1}),
    and a_0 + b_0 ≤ r/m; where that fails, P[V ≥ v] < τ.

Differs from the papers: ε is scanned upwards over a fixed grid and the last value of the first rejected stretch is
reported; no bisection, because the p-value need not be monotone.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from unlearning.claim import Claim
from unlearning.errors import BadScores
from unlearning.gaussian import mu_of_epsilon_delta

from .result import Kind, LowerBound

STEP = 0.01  # of the grid of ε
_LARGEST = 60.0


def steinke_estimate(right: int, guesses: int, candidates: int, claim: Claim, failure_probability: float) -> LowerBound:
    """ε of training by Steinke et al. 2023: an estimate here, since unlearning is not the game that it bounds.

    >>> from unlearning import Claim, EpsilonDelta, Reference, SeedPolicy
    >>> claim = Claim(EpsilonDelta(8.0, 1e-5), 1e-5, Reference.RETRAINED, SeedPolicy.PER_SEED, 40)
    >>> steinke_estimate(20, 20, 40, claim, 0.05).epsilon_lower
    1.82

    Args:
        right: V.
        guesses: r.
        candidates: m.
        claim: whose δ is used.
        failure_probability: in (0, 1).

    Raises:
        BadScores: not 0 ≤ V ≤ r ≤ m.
    """
    _check(right, guesses, candidates)

    def rejected(epsilon: float) -> bool:
        return steinke_p_value_upper(right, guesses, candidates, epsilon, claim.delta) <= failure_probability

    return _result("one-run-steinke", rejected, right, guesses, candidates, claim, failure_probability)


def steinke_p_value_upper(right: int, guesses: int, candidates: int, epsilon: float, delta: float) -> float:
    """Upper bound on P[V ≥ right] for (ε, δ)-private training.

    Guarantee: at least the true probability in the game of Steinke et al. 2023 (Theorem 5.2).

    >>> round(steinke_p_value_upper(20, 20, 40, 0.0, 1e-9) * 2**20, 3)
    1.006
    """
    bias = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, bias))
    below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, bias))  # P[v − i ≤ W < v], i = 1 … v
    steepest = float((below / np.arange(1, right + 1)).max()) if right else 0.0
    return min(1.0, tail + 2 * candidates * delta * steepest)


def mahloujifar_estimate(
    right: int, guesses: int, candidates: int, claim: Claim, failure_probability: float
) -> LowerBound:
    """ε of training by Mahloujifar et al. 2024, if its trade-off is Gaussian: an estimate here, as the other.

    >>> from unlearning import Claim, EpsilonDelta, Reference, SeedPolicy
    >>> claim = Claim(EpsilonDelta(8.0, 1e-5), 1e-5, Reference.RETRAINED, SeedPolicy.PER_SEED, 40)
    >>> mahloujifar_estimate(20, 20, 40, claim, 0.05).epsilon_lower > 1.82
    True

    Args:
        right: V.
        guesses: r.
        candidates: m.
        claim: whose δ is used.
        failure_probability: in (0, 1).

    Raises:
        BadScores: not 0 ≤ V ≤ r ≤ m.
    """
    _check(right, guesses, candidates)

    def rejected(epsilon: float) -> bool:
        mu = mu_of_epsilon_delta(epsilon, claim.delta) if epsilon > 0 else 0.0
        return mahloujifar_refutes(right, guesses, candidates, mu, failure_probability)

    return _result("one-run-mahloujifar", rejected, right, guesses, candidates, claim, failure_probability)


def mahloujifar_refutes(right: int, guesses: int, candidates: int, mu: float, failure_probability: float) -> bool:
    """Whether P[V ≥ right] < failure_probability for μ-GDP training (Mahloujifar et al. 2024, Algorithm 3)."""
    a = failure_probability * right / candidates
    b = failure_probability * (guesses - right) / candidates
    for i in range(right - 1, -1, -1):
        following = max(b, float(ndtr(ndtri(min(a, 1.0)) - mu)))
        a, b = min(1.0, a + i / (guesses - i) * (following - b)), following
    return a + b > guesses / candidates


def _check(right: int, guesses: int, candidates: int) -> None:
    if not 0 <= right <= guesses <= candidates or guesses < 1:
        raise BadScores(
            "right, guesses and candidates must satisfy 0 <= right <= guesses <= candidates and guesses >= 1, got "
            f"{right}, {guesses} and {candidates}."
        )


def _result(
    name: str,
    rejected: Callable[[float], bool],
    right: int,
    guesses: int,
    candidates: int,
    claim: Claim,
    failure_probability: float,
) -> LowerBound:
    """The last ε of the first rejected stretch from 0, and what it is worth here."""
    grid = np.round(np.arange(0.0, _LARGEST, STEP), 10)
    kept = next((index for index, epsilon in enumerate(grid) if not rejected(float(epsilon))), len(grid))
    return LowerBound(
        name=name,
        epsilon_lower=float(grid[kept - 1]) if kept else 0.0,
        mu_lower=None,
        refuted=None,
        failure_probability=failure_probability,
        kind=Kind.ESTIMATE,
        model="Gaussian" if name.endswith("mahloujifar") else "none",
        runs_released=1,
        runs_reference=0,
        counts_released=right,
        event=f"V ≥ {right} of {guesses} guessed right",
        assumes=("another game: differential privacy of training, a single record added or removed",),
        derivation={"V": right, "r": guesses, "m": candidates},
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )
