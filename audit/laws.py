"""Pairs of laws of scores whose privacy is known exactly, released P and reference Q.

The hockey-stick divergence says what is true of a pair,

    δ(ε) = max(H(P, Q), H(Q, P)),    H(P, Q) = sup_E P(E) − e^ε Q(E) = ∫ max(0, dP − e^ε dQ)

and ε(δ) is its inverse. Every pair here has it in closed form: its likelihood ratio crosses e^ε at most twice.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from unlearning.gaussian import check_delta, check_epsilon, delta_of_epsilon
from unlearning.tradeoff import Directions

Array = NDArray[np.float64]
_LARGEST = 1e6  # an ε beyond this is called infinite


class Laws(ABC):
    """A pair of laws of scores, with their exact δ(ε); a larger score speaks for the released law."""

    @abstractmethod
    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs, released [runs] and reference [runs]."""

    @abstractmethod
    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """H(P, Q) and H(Q, P) at e^ε, exactly."""

    @abstractmethod
    def tails(self, threshold: float) -> tuple[float, float] | None:
        """P(score ≥ threshold) and Q(score ≥ threshold); None where the law of the score has no closed form."""

    @property
    def mu(self) -> float | None:
        """The μ of which the trade-off of the pair is exactly the Gaussian one; None where it is not Gaussian."""
        return None

    def delta(self, epsilon: float, directions: Directions = Directions.BOTH) -> float:
        """Smallest δ with which the pair keeps (ε, δ) in these directions, exactly.

        Raises:
            ValueError: epsilon is not a finite number ≥ 0.
        """
        check_epsilon(epsilon)
        released, reference = self.one_sided(epsilon)
        if directions is Directions.BOTH:
            return max(released, reference)
        return released if directions is Directions.RELEASED else reference

    def epsilon(self, delta: float, directions: Directions = Directions.BOTH) -> float:
        """Smallest ε with which the pair keeps (ε, delta) in these directions; infinite where none does.

        Raises:
            ValueError: delta is outside (0, 1).
        """
        check_delta(delta)
        if self.delta(0.0, directions) <= delta:
            return 0.0
        high = 1.0
        while self.delta(high, directions) > delta:
            high *= 2
            if high > _LARGEST:
                return math.inf
        return float(brentq(lambda e: self.delta(e, directions) - delta, 0.0, high, xtol=1e-13, rtol=1e-13))


@dataclass(frozen=True, slots=True)
class Finite(Laws):
    """Two laws on the same few values: randomised response, ties, a constant, a rare leak.

    >>> round(randomised_response(1.0).epsilon(1e-5), 6)
    0.999986

    Attributes:
        values: ascending.
        released, reference: probabilities of each.
    """

    values: tuple[float, ...]
    released: tuple[float, ...]
    reference: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: the sizes differ, the values do not ascend, or the probabilities are none.
        """
        if not len(self.values) == len(self.released) == len(self.reference) > 0:
            raise ValueError("values, released and reference must have the same size >= 1.")
        if any(a >= b for a, b in zip(self.values, self.values[1:], strict=False)):
            raise ValueError(f"values must ascend, got {self.values}.")
        for name, law in (("released", self.released), ("reference", self.reference)):
            if min(law) < 0 or abs(sum(law) - 1) > 1e-12:
                raise ValueError(f"{name} must be probabilities that add up to 1, got {law}.")

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs."""
        values = np.asarray(self.values)
        return generator.choice(values, runs, p=self.released), generator.choice(values, runs, p=self.reference)

    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """Σ max(0, p − e^ε q) and its mirror image."""
        p, q, factor = np.asarray(self.released), np.asarray(self.reference), math.exp(min(epsilon, 700.0))
        return float(np.maximum(p - factor * q, 0).sum()), float(np.maximum(q - factor * p, 0).sum())

    def tails(self, threshold: float) -> tuple[float, float]:
        """Sums over the values ≥ threshold."""
        inside = np.asarray(self.values) >= threshold
        return float(np.asarray(self.released)[inside].sum()), float(np.asarray(self.reference)[inside].sum())


def randomised_response(epsilon: float, silent: float = 0.0) -> Finite:
    """Two answers, the true one with probability e^ε/(1 + e^ε), and with probability `silent` neither.

    δ(ε') = (1 − silent)·(e^ε − e^ε')/(1 + e^ε) for ε' ≤ ε.
    """
    keep = (1 - silent) / (1 + math.exp(-epsilon))
    lie = 1 - silent - keep
    if silent == 0:
        return Finite((0.0, 1.0), (lie, keep), (keep, lie))
    return Finite((0.0, 0.5, 1.0), (lie, silent, keep), (keep, silent, lie))


@dataclass(frozen=True, slots=True)
class LaplaceShift(Laws):
    """Laplace noise of scale 1, shifted by ε₀: δ(ε) = 1 − e^{(ε − ε₀)/2} for ε ≤ ε₀ (Dong, Roth & Su 2022).

    Every event in the tails is a best event: whoever takes the best of many overestimates most here.

    >>> round(LaplaceShift(1.0).epsilon(1e-5), 6)
    0.99998
    """

    shift: float

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs."""
        return generator.laplace(self.shift, 1.0, runs), generator.laplace(0.0, 1.0, runs)

    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """Both the same, by symmetry."""
        value = max(0.0, -math.expm1((epsilon - self.shift) / 2))
        return value, value

    def tails(self, threshold: float) -> tuple[float, float]:
        """Laplace tails."""
        first, second = (_laplace_tail(threshold - centre) for centre in (self.shift, 0.0))
        return first, second


def _laplace_tail(x: float) -> float:
    return 0.5 * math.exp(-x) if x > 0 else 1 - 0.5 * math.exp(x)


@dataclass(frozen=True, slots=True)
class Geometric(Laws):
    """Two-sided geometric noise with ratio a = e^{−ε₀}, shifted by 1: δ(ε) = (1 − a·e^ε)/(1 + a) for ε ≤ ε₀.

    Ghosh, Roughgarden & Sundararajan 2009; its trade-off is that of randomised response.

    >>> Geometric(1.0).epsilon(1e-5) == randomised_response(1.0).epsilon(1e-5)
    True
    """

    epsilon_zero: float

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs: a difference of two geometric numbers is two-sided geometric."""
        stop = -math.expm1(-self.epsilon_zero)
        up, down = generator.geometric(stop, (2, 2, runs)).astype(np.float64)
        return 1 + up[0] - down[0], up[1] - down[1]

    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """Both the same, by symmetry."""
        return randomised_response(self.epsilon_zero).one_sided(epsilon)

    def tails(self, threshold: float) -> tuple[float, float]:
        """Geometric tails."""
        first, second = (self._tail(math.ceil(threshold) - centre) for centre in (1, 0))
        return first, second

    def _tail(self, k: int) -> float:
        a = math.exp(-self.epsilon_zero)
        return a**k / (1 + a) if k > 0 else 1 - a ** (1 - k) / (1 + a)


@dataclass(frozen=True, slots=True)
class GaussianPair(Laws):
    """N(shift, factor²) against N(0, 1), factor ≤ 1.

    The log-likelihood ratio is −ln factor − (x − shift)²/(2·factor²) + x²/2. With factor 1 it increases in x, which is
    the score. Otherwise it decreases in the distance of x from c = shift/(1 − factor²), and the score is −(x − c)².

    >>> round(GaussianPair(1.0).epsilon(1e-5), 4)
    4.3772
    >>> round(GaussianPair(0.0, 0.5).epsilon(1e-5), 2)
    27.72
    """

    shift: float
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: the shift is negative or the factor outside (0, 1].
        """
        if not (self.shift >= 0 and 0 < self.factor <= 1):
            raise ValueError(f"shift must be >= 0 and factor in (0, 1], got {self.shift} and {self.factor}.")

    @property
    def mu(self) -> float | None:
        """The shift, where the deviations are equal."""
        return self.shift if self.factor == 1 else None

    @property
    def centre(self) -> float:
        """The point c at which the likelihood ratio is largest, where the deviations differ."""
        return self.shift / (1 - self.factor**2)

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs."""
        released = self.shift + self.factor * generator.standard_normal(runs)
        reference = generator.standard_normal(runs)
        if self.factor == 1:
            return released, reference
        return -((released - self.centre) ** 2), -((reference - self.centre) ** 2)

    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """By the interval around c in which the likelihood ratio exceeds e^ε, and the one outside which it is low."""
        if self.factor == 1:
            value = delta_of_epsilon(self.shift, epsilon)
            return value, value
        p, q = (self._log_inside(self._radius(epsilon), *law) for law in self._laws)
        released = math.exp(p) * -math.expm1(min(epsilon + q - p, 0.0)) if p > -math.inf else 0.0
        p, q = (self._log_outside(self._radius(-epsilon), *law) for law in self._laws)
        return released, math.exp(q) * -math.expm1(min(epsilon + p - q, 0.0))

    def tails(self, threshold: float) -> tuple[float, float]:
        """Gaussian tails, or probabilities of an interval around c."""
        if self.factor == 1:
            return float(ndtr(self.shift - threshold)), float(ndtr(-threshold))
        if threshold > 0:
            return 0.0, 0.0
        first, second = (math.exp(self._log_inside(math.sqrt(-threshold), *law)) for law in self._laws)
        return first, second

    @property
    def _laws(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (self.shift, self.factor), (0.0, 1.0)

    def _radius(self, epsilon: float) -> float:
        """Half the length of {log-likelihood ratio > ε} around c; 0 where it is empty."""
        s = self.factor
        curvature = (1 / s**2 - 1) / 2
        peak = -math.log(s) + self.shift**2 / (2 * (1 - s**2))
        return math.sqrt(max(0.0, peak - epsilon) / curvature)

    def _log_inside(self, radius: float, mean: float, deviation: float) -> float:
        low, high = ((self.centre + side * radius - mean) / deviation for side in (-1, 1))
        if low > 0:  # by symmetry, where the tails are small
            low, high = -high, -low
        return _log_difference(float(log_ndtr(high)), float(log_ndtr(low)))

    def _log_outside(self, radius: float, mean: float, deviation: float) -> float:
        low, high = ((self.centre + side * radius - mean) / deviation for side in (-1, 1))
        return float(np.logaddexp(log_ndtr(low), log_ndtr(-high)))


def _log_difference(larger: float, smaller: float) -> float:
    """ln(e^larger − e^smaller)."""
    return larger + math.log(-math.expm1(smaller - larger)) if smaller < larger else -math.inf


@dataclass(frozen=True, slots=True)
class SubsampledGaussian(Laws):
    """(1 − rate)·N(0, 1) + rate·N(shift, 1) against N(0, 1): one step of DP-SGD (Mironov, Talwar & Zhang 2019).

    The likelihood ratio 1 − rate + rate·exp(shift·x − shift²/2) increases in x, and is at least 1 − rate.

    >>> SubsampledGaussian(1.0, 1.0).epsilon(1e-5) == GaussianPair(1.0).epsilon(1e-5)
    True
    """

    shift: float
    rate: float

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs."""
        sampled = generator.random(runs) < self.rate
        return self.shift * sampled + generator.standard_normal(runs), generator.standard_normal(runs)

    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """At the points where the likelihood ratio is e^ε and e^−ε."""
        if self.rate == 1:
            return GaussianPair(self.shift).one_sided(epsilon)
        above = self._crossing(epsilon)
        p, log_q = self.tails(above)[0], float(log_ndtr(-above))
        released = p - math.exp(epsilon + log_q)
        if math.exp(-epsilon) <= 1 - self.rate:
            return max(0.0, released), 0.0
        below = self._crossing(-epsilon)
        q_low = float(ndtr(below))
        p_low = (1 - self.rate) * q_low + self.rate * float(ndtr(below - self.shift))
        return max(0.0, released), max(0.0, q_low - math.exp(epsilon) * p_low)

    def tails(self, threshold: float) -> tuple[float, float]:
        """Gaussian tails and their mixture."""
        q = float(ndtr(-threshold))
        return (1 - self.rate) * q + self.rate * float(ndtr(self.shift - threshold)), q

    def _crossing(self, epsilon: float) -> float:
        weight = epsilon + math.log1p((self.rate - 1) * math.exp(-epsilon)) - math.log(self.rate)
        return weight / self.shift + self.shift / 2
