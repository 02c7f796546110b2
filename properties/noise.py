"""The law of the release: unlearned + N(0, σ²I), in scale, shape, tails and independence.

Every test is exact or holds by a stated inequality, on streams that are fixed: nothing is drawn by Hypothesis. The
failure probability of the whole law is at most 1e-9. With N = 12 calls × 200 replicas × 24 coordinates = 57,600 numbers
at each of two scales it finds, with certainty for all practical purposes:

* a scale that is off by 3 % in all, by 15 % in one coordinate or one call;
* noise clipped or truncated at 3.5σ or below, rescaled or not: among N normal numbers the largest is beyond that; and
  Student's noise of unit variance with up to 16 degrees of freedom, from the numbers beyond 3σ;
* noise on a sphere, or of a random scale per replica (up to 30 degrees of freedom), from the lengths of the vectors;
* coordinates or calls that are correlated by 0.25 (replicas by 0.7), or whose sizes are: coordinates that are ± another
  have a correlation of 0, their sizes one of 1; and noise that lies in a subspace.

It does not find noise cut at 4σ and beyond (the law would need a million numbers), Student's noise of more degrees of
freedom, nor dependence that shows in no pair, such as signs whose product over three coordinates is always 1.
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
TAIL = 3.0  # noise scales
_FAILURE_PROBABILITY = 1e-9  # of the law: divided over its tests

_ORDER: tuple[Model, ...] = ("softmax", "ridge", "binary", "network")
_EXAMPLES = tuple(
    Problem(model, rows=6, columns=8, replicas=REPLICAS, seed=11, descent=smallest_descent(recipe))
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
    if not np.isfinite(drawn).all():
        return ["The noise is not finite."]
    calls, replicas, size = drawn.shape
    share = failure_probability / 11  # scale, shape, tails, lengths, rank, and two correlations of three kinds of rows
    found = []
    groups = {
        "overall": drawn.reshape(1, -1),
        "of a coordinate": drawn.reshape(-1, size).T,
        "of a call": drawn.reshape(calls, -1),
        "of a replica": drawn.transpose(1, 0, 2).reshape(replicas, -1),
    }
    for name, rows in groups.items():
        found += _scale_findings(name, rows, share / len(groups))
    found += _distribution_findings("noise is not normal", stats.norm.cdf(drawn.ravel()), share)
    found += _tail_findings(np.abs(drawn.ravel()), share)
    vectors = drawn.reshape(-1, size)
    found += _distribution_findings(
        "lengths are not a normal vector's", stats.chi2.cdf((vectors**2).sum(1), size), share
    )
    found += _rank_findings(vectors, share)
    for name, rows in (
        ("coordinates", groups["of a coordinate"]),
        ("calls", groups["of a call"]),
        ("replicas", groups["of a replica"]),
    ):
        found += _correlation_findings(f"Noise of different {name} is", rows, share)
        found += _correlation_findings(f"The size of the noise of different {name} is", _normal_sizes(rows), share)
    return found


def _distribution_findings(name: str, probabilities: Array, failure_probability: float) -> list[str]:
    """Dvoretzky–Kiefer–Wolfowitz with Massart's constant, P(D > d) ≤ 2 exp(−2Nd²), on values of the right function."""
    values, count = np.sort(probabilities), probabilities.size
    limit = math.sqrt(math.log(2 / failure_probability) / (2 * count))
    gap = np.maximum(np.arange(1, count + 1) / count - values, values - np.arange(count) / count).max()
    return [f"The {name}: the distribution function is off by {gap:.3f}, beyond {limit:.3f}."] if gap > limit else []


def _tail_findings(sizes: Array, failure_probability: float) -> list[str]:
    """How many are beyond `TAIL` noise scales, binomial; and the largest, P(max ≤ x) = (1 − 2Φ(−x))^N; both exact."""
    each, count, found = failure_probability / 4, sizes.size, []
    beyond, probability = int((sizes > TAIL).sum()), 2 * float(stats.norm.sf(TAIL))
    if stats.binom.cdf(beyond, count, probability) < each or stats.binom.sf(beyond - 1, count, probability) < each:
        expected = count * probability
        found.append(f"Of {count} numbers {beyond} are beyond {TAIL:g} noise scales, expected are {expected:.1f}.")
    least = float(stats.norm.isf(-math.expm1(math.log(each) / count) / 2))
    most = float(stats.norm.isf(-math.expm1(math.log1p(-each) / count) / 2))
    if not least <= sizes.max() <= most:
        found.append(f"The largest noise is {sizes.max():.3f} noise scales, outside [{least:.3f}, {most:.3f}].")
    return found


def _rank_findings(vectors: Array, failure_probability: float) -> list[str]:
    """What coordinate i has beside those before it: its square is χ² with N − i degrees of freedom, i from 0: exact."""
    count, size = vectors.shape
    if count <= size:
        return []
    own = np.diag(np.linalg.qr(vectors, mode="r")) ** 2
    degrees = count - np.arange(size)
    each = failure_probability / (2 * size)
    if ((own < stats.chi2.ppf(each, degrees)) | (own > stats.chi2.isf(each, degrees))).any():
        ratios = np.sqrt(own / degrees)
        least, most = ratios.min(), ratios.max()
        return [
            f"Given the other coordinates, the deviation of one is {least:.3f} to {most:.3f} times the noise scale."
        ]
    return []


def _normal_sizes(rows: Array) -> Array:
    """|z| as Φ⁻¹(2Φ(|z|) − 1), which is N(0, 1) where z is."""
    sizes: Array = np.clip(stats.norm.isf(2 * stats.norm.sf(np.abs(rows))), -8.0, 8.0)
    return sizes


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


def _correlation_findings(what: str, rows: Array, failure_probability: float) -> list[str]:
    """Inner products of rows over their norms: for independent normal rows (1 + r)/2 is Beta((n−1)/2, (n−1)/2)."""
    count = rows.shape[1]
    if len(rows) < 2 or count < 3:
        return []
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    upper = np.abs((unit @ unit.T)[np.triu_indices(len(rows), 1)])
    limit = 2 * stats.beta.isf(failure_probability / (2 * len(upper)), (count - 1) / 2, (count - 1) / 2) - 1
    if upper.max() > limit:
        return [f"{what} correlated, by {upper.max():.3f}, beyond {limit:.3f}."]
    return []


def _no_gaussian(method: AnyMethod) -> str | None:
    return None if method.declaration.gaussian_noise else "the method declares gaussian_noise = False"


check_release = Law(
    name="release",
    statement="Release adds N(0, σ²I), new in every call, replica and coordinate, whatever σ; and nothing for σ = 0.",
    fails_for="half, tenth or frozen noise, noise on a copy that is thrown away, noise of another shape or with other "
    "tails, dependent coordinates",
    source="the Gaussian mechanism, on which every certificate of Δ relies (Balle & Wang 2018)",
    body=_release,
    domain=Domain(examples=_EXAMPLES, fixed=1),
    applies=_no_gaussian,
)
