"""Exact privacy of the Gaussian mechanism: μ, ε, δ and the noise scale in closed form.

With ‖unlearned − reference‖₂ ≤ Δ, adding N(0, σ²I) to both sides gives μ-GDP with μ = Δ/σ, and exactly

    δ(ε) = Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ)          Balle & Wang, ICML 2018, Theorem 8

All functions work in float64 and in logarithms, so that they neither underflow nor overflow.
"""

import math

from scipy.optimize import brentq
from scipy.special import erfcx, log_ndtr, ndtri

_RELATIVE = 1e-12  # accuracy asked of the root finder, and the outward rounding of every noise scale


def check_epsilon(epsilon: float, *, name: str = "epsilon") -> None:
    """Refuse an ε that is negative or not finite.

    Raises:
        ValueError: the value is not a finite number ≥ 0.
    """
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"{name} must be a finite number >= 0, got {epsilon}.")


def check_delta(delta: float, *, name: str = "delta") -> None:
    """Refuse a δ outside (0, 1).

    Raises:
        ValueError: the value is outside (0, 1).
    """
    if not 0 < delta < 1:
        raise ValueError(f"{name} must be in (0, 1), got {delta}.")


def delta_of_epsilon(mu: float, epsilon: float) -> float:
    """δ(ε) of a μ-GDP mechanism, exactly.

    >>> round(delta_of_epsilon(1.0, 1.0), 6)
    0.126937
    >>> delta_of_epsilon(0.0, 0.0)
    0.0

    Raises:
        ValueError: mu is negative or epsilon is not a finite number ≥ 0.
    """
    check_epsilon(epsilon)
    if not mu >= 0:
        raise ValueError(f"mu must be >= 0, got {mu}.")
    if mu == 0:
        return 0.0
    if math.isinf(mu):
        return 1.0
    centre = epsilon / mu
    first = float(log_ndtr(mu / 2 - centre))
    if first == -math.inf:
        return 0.0
    if mu < 1e-3 and centre < 30:
        return _delta_of_small_mu(mu, centre)
    second = epsilon + float(log_ndtr(-mu / 2 - centre))
    return math.exp(first) * -math.expm1(min(second - first, 0.0))


def _delta_of_small_mu(mu: float, centre: float) -> float:
    """δ where the two terms above all but cancel, to a relative 1e-12.

    With the Mills ratio M(t) = Φ(−t)/φ(t), which has M' = tM − 1, δ = φ(c − μ/2)·(M(c − μ/2) − M(c + μ/2)) at c = ε/μ:
    two terms of its Taylor series in μ.
    """
    mills = math.sqrt(math.pi / 2) * float(erfcx(centre / math.sqrt(2)))
    slope = centre * mills - 1
    third = 2 * slope + centre * (mills + centre * slope)
    density = math.exp(-((centre - mu / 2) ** 2) / 2) / math.sqrt(2 * math.pi)
    return density * mu * max(-slope - mu**2 / 24 * third, 0.0)


_HUGE = 1e7


def epsilon_of_delta(mu: float, delta: float) -> float:
    """Smallest ε ≥ 0 with δ(ε) ≤ delta for a μ-GDP mechanism.

    >>> [round(epsilon_of_delta(mu, 1e-5), 4) for mu in (0.1, 1.0, 4.0)]
    [0.3407, 4.3772, 24.3816]
    >>> epsilon_of_delta(0.0, 1e-5)
    0.0

    Raises:
        ValueError: mu is negative or delta is outside (0, 1).
    """
    check_delta(delta)
    if not mu >= 0:
        raise ValueError(f"mu must be >= 0, got {mu}.")
    if math.isinf(mu):
        return math.inf
    if delta_of_epsilon(mu, 0.0) <= delta:
        return 0.0
    # δ(ε) ≤ Φ(μ/2 − ε/μ), so this end satisfies the inequality
    above = mu * (mu / 2 - float(ndtri(delta))) + mu
    if mu > _HUGE or math.isinf(above):  # the limit: the second term of δ(ε) is below the last digit
        return mu * (mu / 2 - float(ndtri(delta)))
    return float(brentq(lambda e: delta_of_epsilon(mu, e) - delta, 0.0, above, xtol=1e-300, rtol=_RELATIVE))


def mu_of_epsilon_delta(epsilon: float, delta: float) -> float:
    """Largest μ for which a μ-GDP mechanism is (ε, δ)-indistinguishable.

    >>> round(mu_of_epsilon_delta(1.0, 1e-5), 4)
    0.2681

    Raises:
        ValueError: epsilon is not a finite number ≥ 0 or delta is outside (0, 1).
    """
    check_epsilon(epsilon)
    check_delta(delta)
    below, above = 1e-12, 1.0
    while delta_of_epsilon(below, epsilon) > delta:
        below /= 1024
    while delta_of_epsilon(above, epsilon) <= delta:
        above *= 2
    return float(brentq(lambda m: delta_of_epsilon(m, epsilon) - delta, below, above, xtol=1e-300, rtol=_RELATIVE))


def noise_scale_upper(sensitivity: float, epsilon: float, delta: float, *, calibration: str = "analytic") -> float:
    """Standard deviation σ per coordinate that makes sensitivity Δ (ε, δ)-indistinguishable.

    Guarantee: at least the σ that the theorem asks for (rounded up).

    >>> round(noise_scale_upper(1.0, 1.0, 1e-5), 4)
    3.7306
    >>> round(noise_scale_upper(1.0, 1.0, 1e-5, calibration="classical"), 4)
    4.8448

    Args:
        sensitivity: Δ ≥ 0, in the units of the parameters.
        epsilon: ε > 0.
        delta: δ in (0, 1).
        calibration: "analytic" (Balle & Wang 2018, exact) or "classical" (Dwork & Roth 2014, proved for ε ≤ 1).

    Raises:
        ValueError: an argument is out of range, or the classical formula is asked for where it is not proved.
    """
    if not (math.isfinite(sensitivity) and sensitivity >= 0):
        raise ValueError(f"sensitivity must be a finite number >= 0, got {sensitivity}.")
    check_epsilon(epsilon)
    check_delta(delta)
    if calibration == "analytic":
        return sensitivity / mu_of_epsilon_delta(epsilon, delta) * (1 + 2 * _RELATIVE)
    if calibration == "classical":
        if not 0 < epsilon <= 1:
            raise ValueError(
                f'The classical Gaussian bound needs 0 < epsilon <= 1, got {epsilon}. Use calibration="analytic".'
            )
        return sensitivity / epsilon * math.sqrt(2 * math.log(1.25 / delta)) * (1 + _RELATIVE)
    raise ValueError(f'calibration must be "analytic" or "classical", got {calibration!r}.')
