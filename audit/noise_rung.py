"""Rung B: call `release` on one unlearned and one retrained model many times and test the noise."""

from collections.abc import Iterator

from scipy.stats import chi2

from unlearning.record import Line
from unlearning.verdict import Outcome

from .bounds.noise import TESTS, NoiseTests, both_sides, noise_tests
from .controls import Defect, release
from .design import POWER, Design
from .fleet import Array, Fleet, Subject, numpy64

REPLICAS_PER_CALL = 64

_TITLES = {
    "scale": "Deviation of the noise",
    "coordinates": "Noise in every coordinate",
    "calls": "Fresh noise in every call",
    "replicas": "Fresh noise in every replica",
    "common": "Independent coordinates",
    "shape": "Gaussian shape",
}


def measure_noise(subject: Subject, fleet: Fleet, defect: Defect, design: Design) -> NoiseTests:
    """Release the first replica of the fleet `release_calls` times, 64 replicas to a call.

    The honest method releases the unlearned model in one half and the retrained model in the other, and each half is
    tested by itself: errors of opposite sign on the two sides must not cancel. A defect is on the released side only.
    """
    sources = [defect.source] if defect.name else ["unlearned", "retrained"]
    calls = max(2, design.release_calls // (REPLICAS_PER_CALL * len(sources)))
    return both_sides([
        _measure(subject, fleet, source, side * calls, calls, defect, design) for side, source in enumerate(sources)
    ])


def _measure(
    subject: Subject, fleet: Fleet, source: str, first: int, calls: int, defect: Defect, design: Design
) -> NoiseTests:
    state = fleet.state(source).take([0] * REPLICAS_PER_CALL)

    def residuals() -> Iterator[Array]:
        for call in range(first, first + calls):
            numbers = tuple(range(call * REPLICAS_PER_CALL, (call + 1) * REPLICAS_PER_CALL))
            streams = subject.noise_streams(defect.name, "conformance", replicas=numbers)
            released = release(subject.method, defect, state, design.noise_scale, streams=streams)
            yield (numpy64(released) - numpy64(state.parameters)) / design.noise_scale

    return noise_tests(residuals())


def noise_lines(tests: NoiseTests, design: Design, failure_probability: float | None = None) -> list[Line]:
    """One line per test; each at its share of the row's failure probability, or at the control's."""
    lines = []
    runs = tests.calls * tests.replicas * tests.sides
    for name in TESTS:
        key = f"noise-{name}"
        allowed = design.line_failure_probability(key) if failure_probability is None else failure_probability
        p_value = tests.p_values[name]
        refuted = p_value <= allowed
        factor = tests.detectable_scale(allowed, POWER) if name == "scale" else None
        finding = f"p = {p_value:.3g}"
        if name == "scale":
            finding = f"measured σ is {tests.relative_scale:.5g} of the claimed σ, {finding}"
        lines.append(
            Line(
                rung="B",
                key=key,
                title=_TITLES[name],
                subject="noise",
                seeds="one model",
                deciding=True,
                outcome=Outcome.REFUTED if refuted else Outcome.NOT_REFUTED,
                finding=f"{runs} releases, {tests.coordinates} coordinates: {finding}.",
                failure_probability=allowed,
                assumes="nothing",
                kind="confidence",
                runs_released=runs,
                runs_reference=0,
                statistic=p_value,
                threshold=allowed,
                detectable=None if factor is None else f"σ smaller by {100 * (1 - factor):.2g} % with probability .8",
                derivation={
                    "p_value": p_value,
                    "sides": tests.sides,
                    "calls": tests.calls,
                    "replicas": tests.replicas,
                    "coordinates": tests.coordinates,
                    "relative_scale": tests.relative_scale,
                },
            )
        )
    return lines


def noise_refutation_probability(
    tests: NoiseTests, defect: Defect, name: str, failure_probability: float
) -> tuple[float, float] | None:
    """Lower and upper bound on the probability that one noise test refutes a defect; None where neither is known."""
    if not defect.breaks_noise:
        return failure_probability, failure_probability
    if name == "scale" and not defect.frozen:
        exact = tests.scale_refutation_probability(defect.noise_factor, failure_probability)
        return exact, exact
    if defect.frozen and name in ("calls", "replicas"):
        # one frozen vector: the energy is calls·replicas·χ²(P), against χ²(positions·P)
        positions = tests.replicas if name == "calls" else tests.calls
        high = chi2.isf(failure_probability / 2, positions * tests.coordinates)
        return float(chi2.sf(high / (tests.calls * tests.replicas), tests.coordinates)), 1.0
    return None
