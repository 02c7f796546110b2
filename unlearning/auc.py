"""What a claim allows an attack's AUC to be, where the forgotten records were drawn.

Of m = k + l candidates a set S of k is drawn uniformly, learned with the rest and forgotten; a released model x has the
law P_S, the reference the law Q for every S, and the claim says P_S(Eᶜ) ≥ f(Q(E)). An attack gives every candidate a
score, as a function of x. With A(S, x) the share of pairs (i ∈ S, j ∉ S) that it puts in the right order,

    E A = E_S ∫ P_S(A(S, ·) > a) da ≤ ∫ E_S[1 − f(Q(A(S, ·) > a))] da ≤ ∫ 1 − f(E_S Q(A(S, ·) > a)) da

as 1 − f is concave. Under Q the model does not depend on S, so that kl·A has, ties broken by coins, the law of the
Mann–Whitney statistic U whatever the attack is:

    E A ≤ (1/kl) Σ_{u=1..kl} [1 − f(P(U ≥ u))]

For k = l = 1 it is 1 − f(½), Φ(μ) for a μ-GDP claim; f is convex and U is symmetric, so that it never is more. It is
reached by releases that carry the order of the scores alone.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .tradeoff import Directions, EpsilonDelta, GaussianTradeOff, TradeOff

Array = NDArray[np.float64]

_LARGEST_TABLE = 10_000  # pairs kl beyond which the law of U is not tabled
_ROUNDING = 1e-9
_HALVINGS = 60
_MOST = 40.0  # of a μ or an ε that is looked for


@lru_cache(maxsize=64)
def _tails(forgotten: int, others: int) -> Array:
    """P(U ≥ u) for u = 1 … kl, by the recursion on which of all candidates has the largest score."""
    pairs = forgotten * others
    previous = [np.ones(1)] * (others + 1)  # no forgotten one: U = 0
    for k in range(1, forgotten + 1):
        row = [np.ones(1)]
        for n in range(1, others + 1):
            law = np.zeros(k * n + 1)
            law[n:] += k / (k + n) * previous[n]  # a forgotten one is largest: above all n others
            law[: k * (n - 1) + 1] += n / (k + n) * row[n - 1]
            row.append(law)
        previous = row
    law = previous[others]
    return np.asarray(np.minimum(1.0, np.cumsum(law[::-1])[::-1][1:])) if pairs else np.zeros(0)


def auc_allowed(tradeoff: TradeOff, forgotten: int, others: int) -> float:
    """Largest mean AUC of any attack in this game where the claim holds.

    Guarantee: at least the true largest one. Beyond 10,000 pairs it is 1 − f(½), which is larger still.

    Args:
        tradeoff: of the claim, against the reference.
        forgotten: k.
        others: l.

    >>> from scipy.special import ndtr
    >>> bool(abs(auc_allowed(GaussianTradeOff(0.8), 1, 1) - ndtr(0.8)) < 1e-8)
    True
    >>> 0.6 < auc_allowed(GaussianTradeOff(0.8), 5, 5) < 0.7
    True
    >>> round(auc_allowed(GaussianTradeOff(0.0), 7, 4), 6)
    0.5
    """
    if forgotten * others > _LARGEST_TABLE:
        return float(1 - tradeoff(0.5))
    return min(1.0, float((1 - tradeoff(_tails(forgotten, others))).mean()) + _ROUNDING)


def auc_mu_lower(auc: float, forgotten: int, others: int) -> float:
    """Smallest μ of which a μ-GDP claim allows this mean AUC.

    Guarantee: at most the true μ where the mean AUC is at least `auc`.
    """
    return _smallest(lambda mu: auc_allowed(GaussianTradeOff(mu), forgotten, others) >= auc)


def auc_epsilon_lower(auc: float, forgotten: int, others: int, delta: float, directions: Directions) -> float:
    """Smallest ε for which a claim at δ allows this mean AUC.

    Guarantee: at most the true ε at δ where the mean AUC is at least `auc`.
    """
    return _smallest(lambda epsilon: auc_allowed(EpsilonDelta(epsilon, delta, directions), forgotten, others) >= auc)


def _smallest(allows: Callable[[float], bool]) -> float:
    """Where a monotone property begins, from below."""
    if allows(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < _MOST and not allows(high):
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if allows(middle) else (middle, high)
    return low
