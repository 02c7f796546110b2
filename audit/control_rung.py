"""Controls: what each planted defect was predicted to do, line by line, and what it did."""

import math

from scipy.optimize import brentq
from scipy.stats import chi2

from unlearning.record import Control, Distances, Line, Prediction
from unlearning.verdict import Outcome, Verdict

from .bounds.noise import TESTS, NoiseTests
from .controls import Defect
from .design import Design
from .distinguish_rung import EVENT_KEYS, Probabilities, refutation_probability
from .noise_rung import noise_refutation_probability


def judge(
    row: str,
    defect: Defect,
    lines: list[Line],
    design: Design,
    known: Probabilities | None,
    tests: NoiseTests | None,
    distances: Distances,
    coordinates: int,
) -> Control:
    """Compare the lines of a control with its predictions.

    A prediction is made only where the design leaves no doubt: REFUTED where the probability of refutation is at least
    1 − γ/C, NOT_REFUTED where it is at most γ/C, with γ/C the design's control_failure_probability.
    """
    predictions = []
    for line in lines:
        between = _refutation_probability(line.key, defect, design, known, tests)
        predicted = _predicted(between, design.control_failure_probability)
        predictions.append(
            Prediction(
                line=line.key,
                title=line.title,
                predicted=predicted,
                refutation_probability_lower=None if between is None else between[0],
                refutation_probability_upper=None if between is None else between[1],
                observed=line.outcome,
                contradicted=predicted is not None and predicted is not line.outcome,
                failure_probability=line.failure_probability,
            )
        )
    refuted = any(line.outcome is Outcome.REFUTED for line in lines)
    return Control(
        row=row,
        name=defect.name,
        title=defect.title,
        meaning=defect.meaning,
        exact_epsilon=_exact_epsilon(defect, design, distances, coordinates),
        predictions=predictions,
        verdict=Verdict.REFUTED if refuted else Verdict.NOT_REFUTED,
        behaved=not any(p.contradicted for p in predictions),
    )


def _predicted(between: tuple[float, float] | None, level: float) -> Outcome | None:
    if between is None:
        return None
    if between[0] >= 1 - level:
        return Outcome.REFUTED
    return Outcome.NOT_REFUTED if between[1] <= level * (1 + 1e-9) else None


def _refutation_probability(
    key: str, defect: Defect, design: Design, known: Probabilities | None, tests: NoiseTests | None
) -> tuple[float, float] | None:
    if key.startswith("noise-"):
        name = key.removeprefix("noise-")
        if tests is None or name not in TESTS:
            return None
        return noise_refutation_probability(tests, defect, name, design.control_failure_probability)
    if known is None or defect.frozen or (key == "projection-z" and defect.breaks_noise):
        return None
    if key in EVENT_KEYS or key == "projection-z":
        exact = refutation_probability(key, known, design, design.control_failure_probability)
        return exact, exact
    return None


def _exact_epsilon(defect: Defect, design: Design, distances: Distances, coordinates: int) -> float | None:
    if defect.frozen:
        return None
    if defect.noise_factor != 1:
        return epsilon_of_scale(defect.noise_factor, coordinates, design.claim.delta)
    if defect.source == "original":
        found = distances.noop_epsilon
        return found if found is not None and math.isfinite(found) else None
    return 0.0


def epsilon_of_scale(factor: float, coordinates: int, delta: float) -> float:
    """Exact ε at δ between N(0, factor²σ²I) and N(0, σ²I) in `coordinates` dimensions, factor < 1.

    The log-likelihood ratio depends on ‖x‖² only, which is χ² under both.

    >>> round(epsilon_of_scale(0.5, 1, 1e-5), 2) > 0.69
    True

    Raises:
        ValueError: factor is not in (0, 1).
    """
    if not 0 < factor < 1:
        raise ValueError(f"factor must be in (0, 1), got {factor}.")
    slope = (1 / factor**2 - 1) / 2

    def excess(epsilon: float) -> float:
        inner = (-coordinates * math.log(factor) - epsilon) / slope  # released more likely where ‖x‖²/σ² < inner
        outer = (-coordinates * math.log(factor) + epsilon) / slope
        first = second = 0.0
        if inner > 0:
            first = chi2.cdf(inner / factor**2, coordinates) - math.exp(
                min(700.0, epsilon + chi2.logcdf(inner, coordinates))
            )
        second = chi2.sf(outer, coordinates) - math.exp(
            min(700.0, epsilon + chi2.logsf(outer / factor**2, coordinates))
        )
        return float(max(first, second) - delta)

    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-9)) if excess(0.0) > 0 else 0.0
