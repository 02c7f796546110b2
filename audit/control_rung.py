"""Controls: what each planted defect was predicted to do, line by line, and what it did."""

import math

from unlearning.record import Control, Distances, Line, Prediction
from unlearning.verdict import Outcome, Verdict

from .bounds.noise import NoiseTests
from .bounds.scale import epsilon_of_scale
from .controls import Defect
from .design import Design
from .distinguish_rung import Probabilities, refutation_probability
from .noise_rung import noise_refutation_probability
from .wealth import KEY as SEQUENTIAL


def judge(
    row: str,
    defect: Defect,
    lines: list[Line],
    design: Design,
    known: Probabilities | None,
    tests: NoiseTests | None,
    distances: Distances | None,
    coordinates: int,
) -> Control:
    """Compare the lines of a control with its predictions.

    A prediction is made only where the design leaves no doubt: REFUTED where the probability of refutation is at least
    1 − γ/C, NOT_REFUTED where it is at most γ/C, with γ/C the design's control_failure_probability. It rests on the
    models of the test runs before noise, never on the noise.
    """
    predictions = []
    for line in lines:
        between = _refutation_probability(line, defect, design, known, tests)
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
    computed = [line for line in lines if line.outcome is not Outcome.NOT_COMPUTABLE]
    refuted = any(line.outcome is Outcome.REFUTED for line in computed)
    silent = Verdict.NOT_REFUTED if computed else Verdict.NOT_COMPUTABLE
    return Control(
        row=row,
        name=defect.name,
        title=defect.title,
        meaning=defect.meaning,
        exact_epsilon=_exact_epsilon(defect, design, known, distances, coordinates),
        predictions=predictions,
        verdict=Verdict.REFUTED if refuted else silent,
        behaved=not any(p.contradicted for p in predictions),
    )


def _predicted(between: tuple[float, float] | None, level: float) -> Outcome | None:
    if between is None:
        return None
    if between[0] >= 1 - level:
        return Outcome.REFUTED
    return Outcome.NOT_REFUTED if between[1] <= level * (1 + 1e-9) else None


def _refutation_probability(
    line: Line, defect: Defect, design: Design, known: Probabilities | None, tests: NoiseTests | None
) -> tuple[float, float] | None:
    """Lower and upper bound on the probability that a line refutes; None where neither is known."""
    level = design.control_failure_probability
    if line.outcome is Outcome.NOT_COMPUTABLE:
        return None
    if line.rung == "B":
        name = line.key.removeprefix("noise-")
        return None if tests is None else noise_refutation_probability(tests, defect, name, level)
    if defect.source == "retrained" and not defect.breaks_noise:
        return 0.0, level  # the claim holds, whatever it is: this is the line's validity
    if line.rung == "D" or line.key == SEQUENTIAL:
        least = line.derivation.get("refutation_probability_lower")
        return None if least is None else (least, line.derivation.get("refutation_probability_upper", 1.0))
    if line.rung == "E" or known is None or (line.key == "projection-z" and defect.breaks_noise):
        return None  # a forecast from shadow runs is no bound
    if line.key != "projection-z" and line.key not in known.released:
        return None  # a score of released models: weights before noise do not tell
    exact = refutation_probability(line.key, known, design, level)
    return exact, exact


def _exact_epsilon(
    defect: Defect, design: Design, known: Probabilities | None, distances: Distances | None, coordinates: int
) -> float | None:
    if defect.source == "retrained" and not defect.breaks_noise:
        return 0.0
    if known is None or distances is None:
        return None
    if defect.noise_factor != 1:
        return epsilon_of_scale(defect.noise_factor, coordinates, design.claim.delta)
    found = distances.noop_epsilon if defect.source == "original" else None
    return found if found is not None and math.isfinite(found) else None
