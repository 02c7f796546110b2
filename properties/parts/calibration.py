r"""Laws on the calibration of Gaussian noise: σ keeps its promise, and bends the right way.

Adding N(0, σ²I) to two models at most Δ apart is μ-GDP with μ = Δ/σ, and exactly (ε, δ(ε)) with

    δ(ε) = Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ)                         Balle & Wang, ICML 2018, Theorem 8.

So σ keeps the claim (ε, δ) if and only if δ(ε) at μ = Δ/σ is at most δ.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from unlearning.gaussian import delta_of_epsilon, epsilon_of_delta

from .law import PartBroken, PartLaw

NoiseScale = Callable[[float, float, float], float]  # (Δ, ε, δ) ↦ σ

_ROUNDING = 1e-10


@dataclass(frozen=True, slots=True)
class Profile:
    """A privacy profile of the μ-GDP mechanism with its inverse.

    Attributes:
        delta_of_epsilon: (μ, ε) ↦ δ.
        epsilon_of_delta: (μ, δ) ↦ ε, 0 for δ ≥ δ(0).
    """

    delta_of_epsilon: Callable[[float, float], float]
    epsilon_of_delta: Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Privacy:
    """What noise is calibrated to.

    Attributes:
        sensitivity: Δ.
        epsilon: ε.
        delta: δ.
        factor: what each of the three is multiplied by in turn, > 1.
    """

    sensitivity: float = 1.0
    epsilon: float = 1.0
    delta: float = 1e-5
    factor: float = 1.1


@dataclass(frozen=True, slots=True)
class Level:
    """One place of a profile.

    Attributes:
        mu: μ.
        share: δ/δ(0).
    """

    mu: float = 1.0
    share: float = 0.5


def _calibration(noise_scale_of: NoiseScale, case: Privacy) -> float | None:
    sigma = noise_scale_of(case.sensitivity, case.epsilon, case.delta)
    if not sigma > 0:
        raise PartBroken(
            "calibration", f"σ = {sigma} where Δ = {case.sensitivity:g} > 0.", case, {"noise_scale": sigma}
        )
    mu = case.sensitivity / sigma
    spent = delta_of_epsilon(mu, case.epsilon)
    if not spent <= case.delta * (1 + _ROUNDING):
        implied = epsilon_of_delta(mu, case.delta)
        numbers = {"noise_scale": sigma, "epsilon": implied, "claimed epsilon": case.epsilon}
        told = f"σ = {sigma:.6g} gives ε = {implied:.6g} at δ = {case.delta:g}, claimed is {case.epsilon:g}."
        raise PartBroken("calibration", told, case, numbers)
    return spent / case.delta / (1 + _ROUNDING)


def _calibration_order(noise_scale_of: NoiseScale, case: Privacy) -> float | None:
    sigma = noise_scale_of(case.sensitivity, case.epsilon, case.delta)
    changed = {
        "ε": noise_scale_of(case.sensitivity, case.epsilon * case.factor, case.delta) - sigma,
        "δ": noise_scale_of(case.sensitivity, case.epsilon, min(case.delta * case.factor, 0.999)) - sigma,
        "Δ": sigma - noise_scale_of(case.sensitivity * case.factor, case.epsilon, case.delta),
    }
    for name, by in changed.items():
        if not by <= _ROUNDING * sigma:
            wrong = "decreases" if name == "Δ" else "grows"
            told = f"σ = {sigma:.6g} {wrong} by {by:.3g} as {name} grows by the factor {case.factor:g}."
            raise PartBroken("calibration_order", told, case, {"noise_scale": sigma, "by": by})
    return 0.0


def _calibration_inverse(profile: Profile, case: Level) -> float | None:
    at_zero = profile.delta_of_epsilon(case.mu, 0.0)
    delta = case.share * at_zero
    if not 0 < delta < 1 or delta == at_zero:
        return None
    epsilon = profile.epsilon_of_delta(case.mu, delta)
    back = profile.delta_of_epsilon(case.mu, epsilon)
    due = min(delta, at_zero)
    if case.share > 1 and epsilon != 0:
        raise PartBroken("calibration_inverse", f"ε({delta:g}) = {epsilon:g}, and δ(0) = {at_zero:g} is less.", case)
    # δ(ε) has the slope −e^ε·Φ(…) in ε: rounding of ε is worth at most so much
    allowed = _ROUNDING * 100 * (1 + epsilon) * due
    if not abs(back - due) <= allowed:
        numbers = {"delta": delta, "epsilon": epsilon, "delta of epsilon": back}
        raise PartBroken("calibration_inverse", f"δ(ε({delta:.9g})) = {back:.9g} at ε = {epsilon:.6g}.", case, numbers)
    return 0.0


def _power(exponent: float) -> float:
    return float(10.0**exponent)


def _cases(noise_scale_of: NoiseScale) -> SearchStrategy[Privacy]:
    return st.builds(
        Privacy,
        sensitivity=st.sampled_from([1.0, 1e-6, 1e4]),
        epsilon=st.one_of(st.floats(-4, -0.5), st.floats(-4, -0.5), st.floats(-0.5, 1.5)).map(_power),
        delta=st.floats(-12, -0.05).map(_power),
        factor=st.sampled_from([1.1, 1.001, 3.0]),
    )


def _examples(noise_scale_of: NoiseScale) -> tuple[Privacy, ...]:
    return (
        Privacy(epsilon=0.5),
        Privacy(epsilon=10.0),
        Privacy(epsilon=0.1, delta=0.1),
        Privacy(epsilon=0.8, delta=1e-12),
    )


def _levels(profile: Profile) -> SearchStrategy[Level]:
    return st.builds(
        Level,
        mu=st.floats(-4, 2).map(_power),
        share=st.floats(-9, 0.3).map(_power),
    )


_REFUSED = (ValueError,)  # a formula may say where it is not proved

check_calibration: PartLaw[NoiseScale, Privacy] = PartLaw(
    name="calibration",
    statement="The σ used for (Δ, ε, δ) implies at most the claimed ε at δ.",
    fails_for="a formula used where it is not proved, a forgotten factor",
    source="Balle & Wang, ICML 2018, Theorem 8: necessary and sufficient",
    body=_calibration,
    cases=_cases,
    examples=_examples,
    measures="δ at ε / claimed δ",
    refusals=_REFUSED,
)

check_calibration_order: PartLaw[NoiseScale, Privacy] = PartLaw(
    name="calibration_order",
    statement="σ does not grow with ε or δ, and does not decrease with Δ.",
    fails_for="a bound that loosens as ε shrinks",
    source="a claim with a larger ε or δ, or a smaller Δ, is a weaker one",
    body=_calibration_order,
    cases=_cases,
    examples=_examples,
    refusals=_REFUSED,
)

check_calibration_inverse: PartLaw[Profile, Level] = PartLaw(
    name="calibration_inverse",
    statement="δ(ε(δ)) = δ for δ < δ(0), and ε(δ) = 0 beyond.",
    fails_for="approximations of one of the two functions, tails cut off",
    source="δ(ε) is continuous and strictly decreasing",
    body=_calibration_inverse,
    cases=_levels,
    examples=lambda profile: (Level(), Level(0.01), Level(10.0, 1e-9), Level(1.0, 1.5)),
)
