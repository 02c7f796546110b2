"""The law of the release: unlearned + N(0, σ²I), in scale, shape and independence.

Every test is exact or holds by a stated inequality, on streams that are fixed: nothing is drawn by Hypothesis. The
failure probability of the whole law is at most 1e-9, and a deviation of 30 % in the scale is found with certainty for
all practical purposes.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unlearning.protocols import AnyMethod

from .base import LawBroken
from .law import Domain, Law
from .problems import Model, Problem
from .running import start
from .strategies import RECIPES, smallest_descent

REPLICAS, CALLS, SCALE = 200, 12, 0.37
_FAILURE_PROBABILITY = 1e-9  # of the law: divided over its tests

_ORDER: tuple[Model, ...] = ("softmax", "ridge", "binary", "network")
_EXAMPLES = tuple(
    Problem(model, rows=6, columns=4, replicas=REPLICAS, seed=11, descent=smallest_descent(recipe))
    for model in _ORDER
    for recipe in RECIPES
)

Array = NDArray[np.float64]


def _release(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    state, streams = run.unlearned(), problem.streams
    centre = state.parameters.double().cpu().numpy()
    silent = method.release(state, 0.0, streams=streams.child("zero"))
    if silent.shape != state.parameters.shape:
        shapes = f"{list(silent.shape)} of parameters {list(state.parameters.shape)}"
        raise LawBroken("release", f"Release gives the shape {shapes}.", problem)
    if not np.array_equal(silent.double().cpu().numpy(), centre):
        raise LawBroken("release", "With noise_scale = 0 the released parameters are not the unlearned ones.", problem)
    for scale in (SCALE, 1e3 * SCALE):
        calls = [method.release(state, scale, streams=streams.child("noise", call)) for call in range(CALLS)]
        drawn = np.stack([(released.double().cpu().numpy() - centre) / scale for released in calls])
        findings = noise_findings(drawn, _FAILURE_PROBABILITY / 2)
        if findings:
            raise LawBroken("release", f"noise_scale = {scale:g}: {' '.join(findings)}", problem)
    return 0.0


def noise_findings(drawn: Array, failure_probability: float) -> list[str]:
    """What speaks against independent N(0, 1) entries, in words.

    Guarantee: for independent N(0, 1) entries a finding appears with probability ≤ failure_probability.

    Args:
        drawn: standardised noise, [calls, replicas, parameters].
        failure_probability: of all tests together.
    """
    calls, replicas, size = drawn.shape
    share = failure_probability / 6
    found = []
    groups = {
        "overall": drawn.reshape(1, -1),
        "of a coordinate": drawn.reshape(-1, size).T,
        "of a call": drawn.reshape(calls, -1),
        "of a replica": drawn.transpose(1, 0, 2).reshape(replicas, -1),
    }
    for name, rows in groups.items():
        found += _scale_findings(name, rows, share / len(groups))
    standardised = np.sort(drawn.ravel())
    count = standardised.size
    # Dvoretzky–Kiefer–Wolfowitz with Massart's constant: P(D > d) ≤ 2 exp(−2 n d²)
    limit = math.sqrt(math.log(2 / share) / (2 * count))
    distribution = stats.norm.cdf(standardised)
    gap = np.maximum(np.arange(1, count + 1) / count - distribution, distribution - np.arange(count) / count).max()
    if gap > limit:
        found.append(f"The noise is not normal: its distribution function is off by {gap:.3f}, beyond {limit:.3f}.")
    by_coordinate = drawn.reshape(-1, size).T
    by_call = drawn.reshape(calls, -1)
    by_replica = drawn.transpose(1, 0, 2).reshape(replicas, -1)
    for name, rows in (("coordinates", by_coordinate), ("calls", by_call), ("replicas", by_replica)):
        found += _correlation_findings(name, rows, share)
    return found


def _scale_findings(name: str, rows: Array, failure_probability: float) -> list[str]:
    """χ² for the sum of squares and a normal limit for the mean of each row, exact."""
    each = failure_probability / (2 * len(rows))
    count = rows.shape[1]
    squares = (rows**2).sum(1)
    low, high = stats.chi2.ppf(each / 2, count), stats.chi2.isf(each / 2, count)
    found = []
    outside = (squares < low) | (squares > high)
    if outside.any():
        factor = math.sqrt(float(squares[outside.argmax()]) / count)
        found.append(f"The deviation {name} is {factor:.3f} times the noise scale.")
    limit = stats.norm.isf(each / 2) / math.sqrt(count)
    means = np.abs(rows.mean(1))
    if (means > limit).any():
        found.append(f"The mean {name} is {means.max():.3f} noise scales, beyond {limit:.3f}.")
    return found


def _correlation_findings(name: str, rows: Array, failure_probability: float) -> list[str]:
    """Inner products of rows over their norms: for independent normal rows (1 + r)/2 is Beta((n−1)/2, (n−1)/2)."""
    count = rows.shape[1]
    if len(rows) < 2 or count < 3:
        return []
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    upper = np.abs((unit @ unit.T)[np.triu_indices(len(rows), 1)])
    limit = 2 * stats.beta.isf(failure_probability / (2 * len(upper)), (count - 1) / 2, (count - 1) / 2) - 1
    if upper.max() > limit:
        return [f"Noise of different {name} is correlated, by {upper.max():.3f}, beyond {limit:.3f}."]
    return []


def _no_gaussian(method: AnyMethod) -> str | None:
    return None if method.declaration.gaussian_noise else "the method declares gaussian_noise = False"


check_release = Law(
    name="release",
    statement="Release adds N(0, σ²I), new in every call, replica and coordinate, whatever σ; and nothing for σ = 0.",
    fails_for="half, tenth or frozen noise, noise on a copy that is thrown away, noise of another shape",
    source="the Gaussian mechanism, on which every certificate of Δ relies (Balle & Wang 2018)",
    body=_release,
    domain=Domain(examples=_EXAMPLES, fixed=1),
    applies=_no_gaussian,
)
