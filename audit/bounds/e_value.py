"""Bets against a claim: one pair at an event, one standardised difference, one round of guesses.

An e-value is a payoff E ≥ 0 whose mean is at most 1 wherever the claim is true, given all that came before. The product
of e-values, each chosen before its data, is a test supermartingale; it ever reaches 1/α with probability at most α
(Ville 1939). So one may look after every pair and stop when one likes. Averages of such wealths with weights fixed
beforehand are such wealths.

A pair at an event (Turner, Ly & Grünwald 2024, here for the null p ≤ g(q), g = 1 − f concave). x and y are the
indicators of a released and of a reference run, independent given the past, with P(x = 1) = p and P(y = 1) = q. Let
(p*, q*) be a point of the curve p = g(q), c a slope of the curve there, and a ≥ 0. The bet is

    E = (1 + a·(x − p*))·(1 − a·c·(y − q*))

Both factors are ≥ 0 for a small enough, and their means are 1 + s and 1 + t with s = a(p − p*), t = −a·c(q − q*). g is
concave, so p ≤ g(q) ≤ p* + c(q − q*) and s + t ≤ 0: by the inequality of the means, (1 + s)(1 + t) ≤
(1 + (s + t)/2)² ≤ 1. This holds for every point of the curve, so that an inaccurate projection costs wealth and not
validity. The best point against an alternative (p̂, q̂) is its Kullback–Leibler projection on the null, where E is the
likelihood ratio of (p̂, q̂) to (p*, q*), and its mean logarithm under (p̂, q̂) is their divergence.

The claim need not be tested at one pair of laws: p and q may differ from pair to pair, and be chosen by the past. Where
a claim holds for every training seed, (p, q) is the pair of probabilities given the seed of the pair: the two arms are
independent given the seed, E has mean ≤ 1 given the seed, and so it has without. For a claim over seeds the two arms of
a pair must have seeds of their own.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

Array = NDArray[np.float64]
ClaimedTradeOff = EpsilonDelta | GaussianTradeOff

_HALVINGS = 24  # of an interval of probabilities, or of quantiles; what is lost is of the second order
_TINY = 1e-12
_HUGE_EPSILON = 700.0  # e^ε overflows beyond; such a claim is contradicted by no event


@dataclass(frozen=True, slots=True)
class Bets:
    """Logarithms of the two factors of a bet, inside and outside the event, any shape.

    Guarantee: exp(released + reference) has mean ≤ 1 at every (p, q) of the null, up to rounding.
    """

    released_in: Array
    released_out: Array
    reference_in: Array
    reference_out: Array

    def log_wealth(self, x: ArrayLike, n: ArrayLike, y: ArrayLike, m: ArrayLike) -> Array:
        """Logarithm of the wealth after x of n released and y of m reference runs in the event."""
        x, n, y, m = (np.asarray(count, dtype=np.float64) for count in (x, n, y, m))
        inside = x * self.released_in + y * self.reference_in
        return np.asarray(inside + (n - x) * self.released_out + (m - y) * self.reference_out)

    def growth(self, p: ArrayLike, q: ArrayLike) -> Array:
        """Mean logarithm of E where P(E) = p and Q(E) = q."""
        return self.log_wealth(p, 1.0, q, 1.0)


def bets_against(p: ArrayLike, q: ArrayLike, tradeoff: ClaimedTradeOff) -> Bets:
    """The bet that grows fastest where P(E) = p and Q(E) = q, against all laws that keep the claim.

    No bet (E = 1) where (p, q) itself keeps the claim. Turner, Ly & Grünwald 2024.

    >>> against = bets_against(0.9, 0.1, EpsilonDelta(0.0, 1e-9))
    >>> round(float(np.exp(against.log_wealth(1, 1, 0, 1))), 6)  # (p*, q*) = (1/2, 1/2)
    3.24
    >>> float(bets_against(0.3, 0.3, EpsilonDelta(1.0, 1e-5)).growth(0.3, 0.3))
    0.0
    """
    p, q = np.broadcast_arrays(
        np.asarray(p, dtype=np.float64).clip(_TINY, 1 - _TINY), np.asarray(q, dtype=np.float64).clip(_TINY, 1 - _TINY)
    )
    if isinstance(tradeoff, GaussianTradeOff):
        return gaussian_bets(p, q, tradeoff.mu)
    return epsilon_delta_bets(p, q, tradeoff.epsilon_value, tradeoff.delta_value, tradeoff.directions)


def epsilon_delta_bets(p: Array, q: Array, epsilon: ArrayLike, delta: float, directions: Directions) -> Bets:
    """The same against (ε, δ) claims, one or several at once: shapes broadcast."""
    epsilon = np.asarray(epsilon, dtype=np.float64)
    grown = np.exp(np.minimum(epsilon, _HUGE_EPSILON))
    steep, flat = (grown, np.asarray(delta)), (1 / grown, 1 - (1 - delta) / grown)  # p ≤ c·q + d
    p, q, _ = np.broadcast_arrays(p, q, grown)
    if directions is Directions.BOTH:
        return _two_line_bets(p, q, steep, flat)
    return _line_bets(p, q, *(steep if directions is Directions.RELEASED else flat))


def _bets(p: Array, q: Array, p_star: Array, q_star: Array, slope: ArrayLike, outside: NDArray[np.bool_]) -> Bets:
    """The bet for (p, q) at a point of the null's edge; no bet where (p, q) is in the null."""
    slope = np.asarray(slope, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # equal at the projection; the smaller one keeps both factors > 0 beside it
        stake = np.minimum((p - p_star) / (p_star * (1 - p_star)), (q_star - q) / (slope * q_star * (1 - q_star)))
        stake = np.maximum(stake, 0.0)
        other = stake * slope
        factors = (stake * (1 - p_star), -stake * p_star, -other * (1 - q_star), other * q_star)
        logs = [np.log1p(factor) for factor in factors]
    fit = outside & np.isfinite(logs).all(axis=0)
    return Bets(*(np.where(fit, log, 0.0) for log in logs))


def _on_line(p: Array, q: Array, c: Array, d: Array) -> Array:
    """q* of the projection of (p, q), p > c·q + d, on the line p = c·q + d: between q and (p − d)/c."""
    low, high = q.copy(), (p - d) / c
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at = c * middle + d
        # the divergence falls along the line as long as this is positive
        with np.errstate(divide="ignore", invalid="ignore"):
            falls = c * (p - at) / (at * (1 - at)) > (middle - q) / (middle * (1 - middle))
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return (low + high) / 2


def _line_bets(p: Array, q: Array, c: Array, d: Array) -> Bets:
    q_star = _on_line(p, q, c, d)
    return _bets(p, q, c * q_star + d, q_star, c, p > c * q + d)


def _two_line_bets(p: Array, q: Array, steep: tuple[Array, Array], flat: tuple[Array, Array]) -> Bets:
    """Against both lines: on the one or the other, or at the corner where they meet."""
    (c1, d1), (c2, d2) = steep, flat
    with np.errstate(divide="ignore", invalid="ignore"):
        corner = np.where(c1 > c2, (d2 - d1) / (c1 - c2), np.inf)  # at ε = 0 the lines are one
    first, second = _on_line(p, q, c1, d1), _on_line(p, q, c2, d2)
    on_steep = first <= corner
    on_flat = ~on_steep & (second >= corner)
    q_star = np.where(on_steep, first, np.where(on_flat, second, corner))
    p_star = np.where(on_flat, c2 * q_star + d2, c1 * q_star + d1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = ((q_star - q) / (q_star * (1 - q_star))) / ((p - p_star) / (p_star * (1 - p_star)))
    slope = np.where(on_steep | np.isnan(ratio), c1, np.where(on_flat, c2, np.clip(ratio, c2, c1)))
    return _bets(p, q, p_star, q_star, slope, p > np.minimum(c1 * q + d1, c2 * q + d2))


def gaussian_bets(p: Array, q: Array, mu: ArrayLike) -> Bets:
    """The same against μ-GDP claims, one or several at once: shapes broadcast.

    By halving in z = Φ⁻¹(q*) on the curve p = Φ(z + μ), whose slope there is exp(−μz − μ²/2).
    """
    mu = np.asarray(mu, dtype=np.float64)
    p, q, _ = np.broadcast_arrays(p, q, mu)
    start, end = ndtri(q), ndtri(p) - mu
    low, high = start.copy(), end.copy()
    for _ in range(_HALVINGS):
        z = (low + high) / 2
        above = ndtr(z + mu), ndtr(-z - mu), ndtr(z), ndtr(-z)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slope = np.exp(-mu * z - mu**2 / 2)
            falls = slope * (p - above[0]) / (above[0] * above[1]) > (above[2] - q) / (above[2] * above[3])
        low, high = np.where(falls, z, low), np.where(falls, high, z)
    z = (low + high) / 2
    with np.errstate(over="ignore"):
        return _bets(p, q, ndtr(z + mu), ndtr(z), np.exp(-mu * z - mu**2 / 2), end > start)


def gaussian_log_wealth(
    total: ArrayLike, pairs: ArrayLike, mu: ArrayLike, *, prior_mean: ArrayLike = 0.0, prior_scale: float = 1.0
) -> Array:
    """Logarithm of the wealth against μ ≤ mu after pairs with z = ⟨u, X − Y⟩/σ that add up to `total`.

    Given its seeds z_k ~ N(d_k, 2) with d_k ≤ μ where the claim is true, for any direction u chosen before (the noise
    is N(0, σ²I) on both sides). With t_k = (z_k − μ)/√2 the bet exp(λt_k − λ²/2) has mean exp(λ(d_k − μ)/√2) ≤ 1 for
    every λ ≥ 0, and so has its mixture over a law of λ fixed before: here N(prior_mean, prior_scale²) on λ ≥ 0, in
    closed form (Robbins 1970). λ is the believed (d − μ)/√2. The wealth depends on the sum alone and increases in it.

    >>> round(float(gaussian_log_wealth(0.0, 0, 1.0)), 12)
    0.0
    >>> round(float(gaussian_log_wealth(60.0, 20, 1.0)), 3)
    18.219
    """
    n = np.asarray(pairs, dtype=np.float64)
    s = (np.asarray(total, dtype=np.float64) - n * np.asarray(mu)) / math.sqrt(2)
    believed = np.asarray(prior_mean, dtype=np.float64)
    precision = 1 / prior_scale**2 + n
    centre = (s + believed / prior_scale**2) / precision
    exponent = (precision * centre**2 - (believed / prior_scale) ** 2) / 2
    on_positive = log_ndtr(centre * np.sqrt(precision)) - log_ndtr(believed / prior_scale)
    return np.asarray(exponent - np.log(precision * prior_scale**2) / 2 + on_positive)


def identification_log_wealth(right: ArrayLike, null_probability_upper: ArrayLike) -> Array:
    """Logarithm of the wealth after each run of an identification game, Π(1 + λ_i·(X_i − c_i)).

    X_i = 1 where run i named at least v of its r candidates; where the claim is true P(X_i = 1) ≤ c_i = e^ε·q_v + δ.
    0 ≤ λ_i ≤ 1/c_i keeps every factor ≥ 0, and its mean is 1 + λ_i(P(X_i = 1) − c_i) ≤ 1. λ_i bets on the share of past
    runs that were right (Krichevsky & Trofimov: half a success in one run beforehand): λ = (p̂ − c)/(c(1 − c)), which is
    the likelihood ratio of p̂ to c. There is no bet where c_i ≥ 1.

    >>> [round(float(w), 4) for w in np.exp(identification_log_wealth([1, 1, 1], 0.05))]
    [10.0, 150.0, 2500.0]

    Args:
        right: 0 or 1 for each run, [T], in the order of the runs.
        null_probability_upper: c, one number or one for each run, known before the run.

    Raises:
        ValueError: some run is neither right nor wrong, or a probability is not > 0.
    """
    x = np.asarray(right, dtype=np.float64).ravel()
    if not np.isin(x, (0.0, 1.0)).all():
        raise ValueError("right must hold 0 or 1 for each run.")
    c = np.broadcast_to(np.asarray(null_probability_upper, dtype=np.float64), x.shape)
    if not (c > 0).all():
        raise ValueError(f"null_probability_upper must be > 0, got {c.min()}.")
    past = np.arange(x.size)
    believed = (np.cumsum(x) - x + 0.5) / (past + 1)
    possible = c < 1
    safe = np.where(possible, c, 0.5)
    stake = np.where(possible, np.clip((believed - safe) / (safe * (1 - safe)), 0.0, 1 / safe), 0.0)
    return np.cumsum(np.log1p(stake * (x - safe)))
