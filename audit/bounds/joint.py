"""Rung C at one event fixed beforehand: the exact joint test of both counts.

A of n runs of one arm and B of m runs of the other fall into an event, A ~ Bin(n, a) and B ~ Bin(m, b) independent. For
P ≤ e^ε·Q + δ the event is E, a = P(E), b = Q(E); for the other direction it is Eᶜ, a = Q(Eᶜ), b = P(Eᶜ).

Statistic. Contours k_t(y), one for each t, increase in t and in y; T(x, y) is the largest t with k_t(y) ≤ x. Hence T
increases in x and decreases in y, and {T ≥ t} = {x ≥ k_t(y)}. The contours are fixed before the test runs are seen and
do not depend on the claim.

    ratio    score test of a ≤ r·b, t = r:   (x/n − r·y/m)² = K·(x + y),  K = z²·r·((1 − a₀)/n + r·(1 − b₀)/m)/(r·n + m)
             with a₀, b₀ guesses of a, b from selection runs; solved for x it is k_r(y) (Miettinen & Nurminen 1985)
    shift    Φ⁻¹((x + ½)/(n + 1)) − Φ⁻¹((y + ½)/(m + 1)) = t

p-value of (a, b): P_{a,b}(T ≥ T observed), ties exceed. It increases in a and decreases in b (couple the binomials).
Let a*(b) be the largest a for which it is ≤ α − β; then a* increases in b.

Nuisance (Berger & Boos 1994, JASA 89). Let [b_L, b_U] be the Clopper–Pearson interval of b at β, β fixed beforehand.
Except with probability ≤ α, b is in the interval *and* a > a*(b): the first fails with probability ≤ β, the second with
≤ α − β. No claim is needed for this, so that it refutes every claim at once: ε and μ are lower limits together.

Supremum, rigorously. For b in a cell [b₀, b₁], a > a*(b) ≥ a*(b₀), so that the corner (a*(b₀), b₁) stands for the whole
cell; a claim is refuted when it is contradicted at the corner of every cell. Cells that decide are divided until the
corners lose no more than `_TOLERANCE`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, ndtri
from scipy.stats import binom

from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.claim import Claim
from unlearning.tradeoff import Directions, GaussianTradeOff

from .clopper_pearson import counts
from .fixed_event import epsilon_lower_at_events, mu_lower_at_events
from .result import Kind, LowerBound
from .runs import SelectionRuns, TestRuns
from .selection import expected_direction, most_telling_event, smoothed_shares

Array = NDArray[np.float64]
Contour = Callable[[float, Array], Array]  # t, y -> x

NUISANCE_SHARE = 1e-3  # β/α
_STEEPER = 1.05  # z of the contours over Φ⁻¹(1 − α): the p-value then has its supremum at one end of the interval
_TOLERANCE = 1e-3
_TAIL = 1e-9  # of α: what sums of probabilities may leave out, and add
_CELLS, _ROUNDS = 16, 8


def ratio_contour(n: int, m: int, a_guess: float, b_guess: float, failure_probability: float) -> Contour:
    """Contours of the score test of a ≤ r·b, t = ln r.

    With K as above and s = r·y/m, x/n = s + Kn/2 + √(s·K·n + K²n²/4 + K·y): every term increases in y, and in r.
    """
    z = max(1.0, -_STEEPER * float(ndtri(failure_probability)))

    def contour(t: float, y: Array) -> Array:
        r = math.exp(t)
        k = z**2 * r * ((1 - a_guess) / n + r * (1 - b_guess) / m) / (r * n + m)
        s = r * y / m
        return np.asarray(n * (s + k * n / 2 + np.sqrt(s * k * n + (k * n / 2) ** 2 + k * y)))

    return contour


def shift_contour(n: int, m: int) -> Contour:
    """Contours of equal difference of the smoothed normal quantiles."""

    def contour(t: float, y: Array) -> Array:
        return np.asarray((n + 1) * ndtr(ndtri((y + 0.5) / (m + 1)) + t) - 0.5)

    return contour


@dataclass(frozen=True, slots=True)
class Cells:
    """Confidence region of (a, b): the union over the cells of {a > numerator_lower, b ≤ denominator_upper}."""

    numerator_lower: Array
    denominator_upper: Array


@dataclass(frozen=True, slots=True)
class JointTest:
    """x of n and y of m in the event whose probabilities are a and b.

    Attributes:
        x, n: count and runs of the arm of which the event is expected more.
        y, m: of the other.
        contour: fixed before the counts were seen.
        failure_probability: α.
    """

    x: int
    n: int
    y: int
    m: int
    contour: Contour
    failure_probability: float

    def region(self, worth: Callable[[Array, Array], Array]) -> Cells:
        """Cells of the confidence region, fine where `worth(a_lower, b_upper)` is smallest.

        Guarantee: (a, b) is in the region except with probability ≤ failure_probability, whatever `worth`.
        """
        beta = self.failure_probability * NUISANCE_SHARE
        low = float(clopper_pearson_lower(self.y, self.m, beta / 2))
        high = float(clopper_pearson_upper(self.y, self.m, beta / 2))
        edges = np.linspace(math.sqrt(low), math.sqrt(high), _CELLS + 1) ** 2
        edges[0], edges[-1] = low, high
        y, least = self._contour(low, high)
        limits = self._numerator_lower(edges, y, least, None)
        for _ in range(_ROUNDS):
            corner, reached = worth(limits[:-1], edges[1:]), worth(limits, edges).min()
            coarse = np.flatnonzero((corner < reached - _TOLERANCE) & (np.diff(edges) > 1e-12 * edges[1:]))
            if coarse.size == 0:
                break
            new = (edges[coarse, None] + np.diff(edges)[coarse, None] * np.array([0.25, 0.5, 0.75])).ravel()
            found = self._numerator_lower(new, y, least, np.interp(new, edges, limits))
            order = np.argsort(np.concatenate([edges, new]), kind="stable")
            limits, edges = np.concatenate([limits, found])[order], np.concatenate([edges, new])[order]
        return Cells(limits[:-1], edges[1:])

    def numerator_lower(self, b: Array) -> Array:
        """a*(b) for each b, rounded down.

        Guarantee: P_{a,b}(T ≥ T observed) ≤ α − β for every a ≤ a*(b).
        """
        return self._numerator_lower(b, *self._contour(float(b.min()), float(b.max())), None)

    def _numerator_lower(self, b: Array, y: Array, least: Array, start: Array | None) -> Array:
        target = self.failure_probability * (1 - NUISANCE_SHARE)
        weights = _mass(y, self.m, b)
        outside = np.asarray(binom.cdf(y[0] - 1, self.m, b) + binom.sf(y[-1], self.m, b))
        low, high = np.zeros_like(b), np.ones_like(b)
        a = self._start(least, weights, target) if start is None else start
        a = np.clip(a, 1e-3 / self.n, 1 - 1e-3 / self.n)
        for _ in range(60):
            tail, slope = _tails(a, self.n, least, weights)
            tail += outside
            low, high = np.where(tail <= target, a, low), np.where(tail > target, a, high)
            done = (tail <= target) & (tail >= target * (1 - 1e-3)) | (high - low < 1e-9 * high)
            if done.all():
                break
            z = ndtri(np.clip(tail, 1e-300, 1 - 1e-16))
            with np.errstate(all="ignore"):
                step = (ndtri(target) - z) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / slope
            # a little less than Newton's step: the limit must be approached from below
            goal = a + step - 2e-4 * a * (1 - a) / np.sqrt(self.n * a * (1 - a) + 1)
            a = np.where(done, a, np.where((goal > low) & (goal < high), goal, (low + high) / 2))
        return low

    def _start(self, least: Array, weights: Array, target: float) -> Array:
        a = np.clip((weights @ np.minimum(least, self.n)) / self.n, 0.5 / self.n, 1 - 0.5 / self.n)
        return np.asarray(np.clip(a + ndtri(target) * np.sqrt(a * (1 - a) / self.n), a / 4, a))

    def _contour(self, low: float, high: float) -> tuple[Array, Array]:
        """Counts y that matter for b in [low, high], and for each the smallest x that exceeds."""
        first, last = _window(self.m, low, high, self.failure_probability * _TAIL)
        y = np.arange(min(first, self.y), max(last, self.y) + 1, dtype=np.float64)
        least = np.ceil(self.contour(self._observed(), y) - 1e-6).clip(0, self.n + 1)
        # the observed pair ties with itself, whatever was rounded
        return y, np.where(y <= self.y, np.minimum(least, self.x), least)

    def _observed(self) -> float:
        """T of the observed counts, rounded down: the region {T ≥ t} is then no smaller than it must be."""
        y, low, high = np.array([float(self.y)]), -50.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.contour(middle, y)[0] <= self.x else (low, middle)
        return low


def _window(runs: int, low: float, high: float, tiny: float) -> tuple[int, int]:
    """Counts outside which, for probabilities in [low, high], there is not much more than `tiny` (Bernstein)."""
    c = -2 * math.log(tiny)
    first = runs * low - math.sqrt(c * runs * low)
    last = runs * high + math.sqrt(c * runs * high * (1 - high)) + c / 3
    return max(0, math.floor(first)), min(runs, math.ceil(last))


def _mass(k: Array, runs: int, p: Array) -> Array:
    """Binomial probabilities of the counts k, [len(p), len(k)], rounded up."""
    p = p[:, None]
    base = gammaln(runs + 1.0) - gammaln(k + 1) - gammaln(runs - k + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_mass = base + k * np.log(p) + (runs - k) * np.log1p(-p)
    # 0·ln 0 = 0
    log_mass = np.where((p <= 0) | (p >= 1), np.where(k == np.where(p <= 0, 0, runs), 0.0, -np.inf), log_mass)
    slack = 1 + 1e-12 + 4e-16 * float(gammaln(runs + 2.0))
    return np.asarray(np.exp(log_mass) * slack)


def _tails(a: Array, n: int, least: Array, weights: Array) -> tuple[Array, Array]:
    """Σ_y weight·P_a(X ≥ least_y) for each a, rounded up, and its derivative in a, roughly."""
    first, last = _window(n, float(a.min()), float(a.max()), 1e-15)
    k = np.arange(first, last + 1, dtype=np.float64)
    mass = _mass(k, n, a)
    beyond = np.asarray(binom.sf(last, n, a))[:, None]
    tail = np.minimum(np.cumsum(mass[:, ::-1], axis=1)[:, ::-1] + beyond, 1.0)
    tail = np.concatenate([np.ones_like(beyond), tail, beyond], axis=1)  # below the window 1, above it what is beyond
    index = np.clip(least - first + 1, 0, k.size + 1).astype(np.int64)
    index = np.where(least > n, k.size + 2, index)
    tail = np.concatenate([tail, np.zeros_like(beyond)], axis=1)
    at = np.concatenate([np.zeros_like(beyond), mass, np.zeros((a.size, 2))], axis=1)
    slope = (weights * at[:, index] * least).sum(1) / a
    return (weights * tail[:, index]).sum(1), slope


def joint_epsilon_lower(
    selection: SelectionRuns, test: TestRuns, claim: Claim, failure_probability: float
) -> LowerBound:
    """Lower bounds on ε and μ from the counts at one event chosen on selection runs.

    Guarantee: at most the true ε and μ where the two arms are independent, except with probability ≤
    failure_probability.
    """
    n, m = test.sizes
    event = most_telling_event(selection, test.sizes, claim, failure_probability)
    p_guess, q_guess = smoothed_shares(selection, event)
    complement = expected_direction(p_guess, q_guess, test.sizes, claim, failure_probability) is Directions.REFERENCE
    x, y = counts(test, event)
    gaussian = isinstance(claim.tradeoff, GaussianTradeOff)
    if complement:
        contour = (
            shift_contour(m, n) if gaussian else ratio_contour(m, n, 1 - q_guess, 1 - p_guess, failure_probability)
        )
        trial = JointTest(m - y, m, n - x, n, contour, failure_probability)
    else:
        contour = shift_contour(n, m) if gaussian else ratio_contour(n, m, p_guess, q_guess, failure_probability)
        trial = JointTest(x, n, y, m, contour, failure_probability)

    def limits(a: Array, b: Array) -> tuple[Array, Array]:
        return (1 - b, 1 - a) if complement else (a, b)

    def epsilon_lower(a: Array, b: Array) -> Array:
        return epsilon_lower_at_events(*limits(a, b), claim.delta, claim.directions)

    cells = trial.region(mu_lower_at_events if gaussian else epsilon_lower)  # μ is the same at (1 − b, 1 − a)
    a, b = cells.numerator_lower, cells.denominator_upper
    return LowerBound(
        "joint",
        float(epsilon_lower(a, b).min()),
        float(mu_lower_at_events(a, b).min()),
        bool(np.all(claim.tradeoff.refuted_at(*limits(a, b)))),
        failure_probability,
        Kind.CONFIDENCE,
        "none",
        runs_released=n,
        runs_reference=m,
        assumes=("the two arms are independent",),
        counts_released=x,
        counts_reference=y,
        event=str(event),
        derivation={
            "x": x,
            "n": n,
            "y": y,
            "m": m,
            "p_guess": p_guess,
            "q_guess": q_guess,
            "complement": float(complement),
            "nuisance_share": NUISANCE_SHARE,
            "cells": a.size,
        },
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )
