r"""Laws on rates: the error of unlearning vanishes as fast as its theorem says, in m, in n and in the step size.

A bound ‖unlearned − reference‖ = O(m^p) says nothing of the slope between two random requests: their records differ.
So each quantity varies in a family in which nothing else does, made of one problem of r records:

* every record is there c times, n = r·c, and batches are full. The mean loss F, hence its minimiser, its Hessian H and
  the trajectory of full-batch descent, do not depend on c;
* replica k forgets m copies of record k, so that Σ_{u∈D_f}∇ℓ(w; u) = m·∇ℓ(w; k), and with q = m/n the retained
  objective is F_r = (F − q·ℓ_k)/(1 − q): a smooth path in the share q alone, F_r = F at q = 0.

Along that path, with g = ∇ℓ_k and h = ∇²ℓ_k at w:

* minimisers: w_r − w* = q·H⁻¹g + O(q²), and one Newton step on F_r from w* errs by ½H_r⁻¹∇³F_r[w_r − w*]² + … = O(q²).
  A damping λ_d adds (H + λ_d)⁻¹λ_d(w* − w_r) = Θ(q); a cubic weight M adds H⁻¹·½M‖w_r − w*‖(w_r − w*) = Θ(q²);
* descent with the fixed divisor: δ' = (I − ηH)δ + ηq·g + ηq·h·δ − ½η∇³F[δ, δ] + … of which the vectors of the
  Hessian-free method follow the first two terms; with δ = O(ηq) the rest is O(η²q²) after any fixed number of steps;
* descent with the remaining divisor: the same, and (m/(n−m) − m/(n−1))·η(g − ∇F) = O(ηq²), since vectors kept per
  record divide by n − 1; it is 0 for m = 1. So the order in η is 2 for one record, which is what that family forgets.

A mistake of first order, such as doing nothing, doing half, or leaving out the curvature, shows as slope 1, not 2.

Per seed (a replica: its initial point, its record) the slope is fitted by least squares to the logarithms, over the
points whose error is far above rounding. The seeds are the records of one fixed problem, and a theorem that says O(m^p)
says it of each of them: the law is broken where three of the seeds have a slope below the declared order by more than
`TOLERANCE`, which leaves room for the O(q) and O(η) that the smallest shares and steps still have. For a method that
draws nothing these slopes have no chance in them. For one that declares `draws`, each is a mean over `DRAWS` streams of
unlearning, and the upper end of Student's interval over the streams stands for it: a method whose mean slopes are not
too low is faulted with a probability of at most 1e-6, if slopes are normal over the streams. Beside it, Student's
interval over the seeds is printed: where the mean slope of records like these would lie. A spread between records
widens that interval and excuses nothing.

Four things the law cannot do. It does not reach the limit: a method whose next order is so large that shares of 1/1000
are not small to it (cubic weights M of 150 and more) is faulted, and should declare the law exempt with that reason.
In m and n it tries a method on exact minimisers where the method accepts them, and on descents otherwise, as theorems
of both kinds of order are stated: the Newton steps of this library have theirs from a minimiser, and a slope of 0 from
descents that stopped early. What such a method does after a descent is for the other laws. And in single precision
these errors drown in rounding: nothing is said. Of a method that draws, slopes that scatter by more than 0.4 between
draws may be an order too low and pass.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from learning.task import Minimise, Task
from unlearning.claim import Reference
from unlearning.protocols import AnyMethod, Rate

from .base import TOLERANCES, LawBroken, distances, rounding_slack
from .law import Body, Domain, Law
from .problems import Descent, Model, Problem
from .running import Run, checked, start

TOLERANCE = 0.4
REQUESTS = (2, 4, 8, 16)  # copies of one record, and as many copies as a descent has of each
STEPS = (1.0, 0.5, 0.25, 0.125)
DRAWS = 24  # streams of unlearning for methods that draw

_FAILURE_PROBABILITY = 1e-6  # of a law on a method that draws: divided over its problems
_PROBLEMS = 3
_FEWEST_POINTS, _FEWEST_SEEDS = 3, 6
_SLOW = 3  # seeds whose slopes are too low break a law
_ABOVE_ROUNDING = 10.0  # an error is read off where it is so many times what rounding and the solver may add

Array = NDArray[np.float64]
Quantity = Literal["request size", "records", "step size"]


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast the error changed with a quantity: log ‖unlearned − reference‖ against log of the quantity.

    Attributes:
        quantity: what varied.
        points: its values.
        mean: mean of the slopes over the seeds.
        low, high: Student's interval for the mean over records like those of the seeds; each end fails with half the
            failure probability, for slopes that are normal. Nothing is decided by it.
        per_seed: slope of every seed that had enough points above rounding; for methods that draw, its mean over them.
        slowest: what decides: the slope that `_SLOW` seeds do not exceed in size; for methods that draw, of the larger
            ends of the seeds' intervals over the draws, so that this many intervals of slopes lie below it.
        certificate: the same of the certified Δ; None where nothing, 0 or ∞ is certified.
    """

    quantity: Quantity
    points: tuple[float, ...]
    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    slowest: float
    certificate: "Slope | None" = None


@dataclass(frozen=True, slots=True)
class _Copied(Problem):
    """A problem with every record `copies` times, in full batches; replica k forgets `request_size` copies of record k.

    Attributes:
        copies: of every record.
    """

    copies: int = 1

    def task(self, device: str = "cpu") -> Task:
        """The task of all copies."""
        task = Problem.task(self, device)
        features, labels = task.dataset.features.repeat(self.copies, 1), task.dataset.labels.repeat(self.copies)
        recipe = Minimise(self.stopping) if self.descent is None else task.recipe
        return replace(task, dataset=replace(task.dataset, features=features, labels=labels), recipe=recipe)

    @property
    def stopping(self) -> float:
        """Gradient norm at which a minimiser stops: lower than elsewhere, as the errors are small."""
        return TOLERANCES["minimiser"].float32 if self.single_precision else 1e-13

    def noise(self, *parameters: Tensor) -> float:
        """Distance that rounding, and minimisers that stop short of ∇F = 0, put between models."""
        stopping = 2 * self.stopping / self.regularisation if self.descent is None else 0.0
        return stopping + rounding_slack(replace(self, rows=self.rows * self.copies), *parameters)

    def members(self, device: str = "cpu") -> Tensor:
        """Everyone, bool [K, n]."""
        return torch.ones(self.replicas, self.rows * self.copies, dtype=torch.bool, device=device)

    def request(self, device: str = "cpu") -> Tensor:
        """The first copies of each replica's own record, bool [K, n]."""
        number = torch.arange(self.rows * self.copies)
        own = (torch.arange(self.replicas) % self.rows).unsqueeze(1)
        return ((number % self.rows == own) & (number // self.rows < self.request_size)).to(device)


def _copied(problem: Problem, copies: int, request_size: int) -> _Copied:
    given = {field.name: getattr(problem, field.name) for field in fields(Problem)}
    if problem.descent is not None:
        given["descent"] = replace(problem.descent, batch_size=problem.rows * copies)
    return _Copied(**(given | {"request_size": request_size}), copies=copies)


def _copies(problem: Problem) -> tuple[int, ...]:
    """Copies of every record: many for minimisers, whose next order is large; few for descents, which are slow."""
    return tuple(size * (8 if problem.descent is None else 1) for size in REQUESTS)


def _family(quantity: Quantity, problem: Problem) -> list[tuple[float, _Copied]]:
    """Values of the quantity, each with the problem where nothing else varies."""
    copies = _copies(problem)
    if quantity == "request size":
        return [(size, _copied(problem, copies[-1], size)) for size in REQUESTS]
    if quantity == "records":
        return [(problem.rows * number, _copied(problem, number, REQUESTS[0])) for number in copies]
    if problem.descent is None:
        raise ValueError("quantity must not be the step size of a minimiser, which has none. Give a descent.")
    descents = [replace(problem.descent, stability=share * problem.descent.stability) for share in STEPS]
    return [(own.stability, _copied(replace(problem, descent=own), 1, 1)) for own in descents]


def _runs(method: AnyMethod, family: Sequence[tuple[float, _Copied]], device: str) -> Iterator[tuple[_Copied, Run]]:
    """The method at work on each problem of a family, learned anew where more than the request differs."""
    run: Run | None = None
    for _, copied in family:
        same = run is not None and replace(run.problem, request_size=copied.request_size) == copied
        run = replace(run, problem=copied) if run is not None and same else start(method, copied, device)
        yield copied, run


def measured_slope(
    method: AnyMethod, quantity: Quantity, problem: Problem, *, failure_probability: float, device: str = "cpu"
) -> Slope | None:
    """Slope of the error in the family of a problem, and of the certified Δ beside it.

    Args:
        method: what is measured.
        quantity: what varies.
        problem: the records that are copied, the recipe, and the seeds: one per replica.
        failure_probability: of the interval over the seeds, and of `slowest` over the draws of a method that draws.
        device: where it is measured.

    Returns:
        The slope, in the quantity itself: −2 in n is an error of order n⁻². None where too few seeds have enough points
        above rounding: the method is exact on this problem, or as good as.

    Raises:
        ValueError: an unknown quantity, a failure probability outside (0, 1), or a step size of no descent.
    """
    if quantity not in get_args(Quantity):
        raise ValueError(f"quantity must be one of {', '.join(get_args(Quantity))}, got {quantity!r}.")
    if not 0 < failure_probability < 1:
        raise ValueError(f"failure_probability must be in (0, 1), got {failure_probability}.")
    family = _family(quantity, problem)
    points = [value for value, _ in family]
    errors: list[Array] = []
    bounds: list[Array] = []
    for copied, run in _runs(method, family, device):
        pairs = list(_pairs(run))
        error = torch.stack([distances(one.parameters, other.parameters) for one, other in pairs])
        floor = _ABOVE_ROUNDING * max(copied.noise(one.parameters, other.parameters) for one, other in pairs)
        upper = replace(run, problem=problem).sensitivities(pairs[0][0], run.request, law_name(quantity))
        seen = torch.where(error > floor, error, 0.0) if math.isfinite(floor) else torch.full_like(error, math.nan)
        errors.append(seen.numpy())
        bounds.append(np.zeros(error.shape[1]) if upper is None else torch.where(upper.isfinite(), upper, 0.0).numpy())
    found = _slope(quantity, points, np.stack(errors, axis=1), failure_probability)
    return found and replace(found, certificate=_slope(quantity, points, np.array(bounds)[None], failure_probability))


def _pairs(run: Run) -> Iterator[tuple[Any, Any]]:
    """Unlearned states with their references, of equal seeds each: one pair, or many if the method draws."""
    method, problem, request, reference = run.method, run.problem, run.request, run.reference()
    yield run.unlearned(), reference
    if not method.declaration.draws:
        return
    unlearns = method.declaration.reference is Reference.EMPTY_REQUEST
    retained: Any = method.learn(problem.task(run.device), ~request, streams=problem.streams) if unlearns else None
    for draw in range(1, DRAWS):
        streams = problem.streams.child("unlearning", "draw", draw)
        if unlearns:
            nothing = torch.zeros_like(request)
            reference = checked(method.unlearn(retained, nothing, streams=streams), problem, "the reference")
        yield checked(method.unlearn(run.learned, request, streams=streams), problem, "unlearn"), reference


def _slope(quantity: Quantity, points: list[float], sizes: Array, failure_probability: float) -> Slope | None:
    """Slopes of log sizes [draws, points, seeds] by seed; 0 is a point left out; what is no number spoils all."""
    sign = _sign(quantity)
    fits = [[_fit(np.array(points), draw) for draw in seed] for seed in sizes.transpose(2, 0, 1)]
    slopes = np.array([draws for draws in fits if None not in draws], dtype=np.float64)  # [seeds, draws]
    if len(slopes) < _FEWEST_SEEDS:
        return None
    per_seed = slopes.mean(1)
    mean, half = float(per_seed.mean()), float(_half_width(per_seed, failure_probability))
    # P(_SLOW intervals fail) ≤ (expected number that fail) / _SLOW, Markov; only the larger ends count
    each = failure_probability * _SLOW / len(slopes)
    ends = sign * per_seed + (_half_width(slopes, 2 * each) if slopes.shape[1] > 1 else 0.0)
    slowest = math.nan if np.isnan(ends).any() else sign * float(np.sort(ends)[_SLOW - 1])
    return Slope(quantity, tuple(points), mean, mean - half, mean + half, tuple(map(float, per_seed)), slowest)


def _half_width(values: Array, failure_probability: float) -> Array:
    """Student's half width of the mean along the last axis."""
    count = values.shape[-1]
    width: Array = stats.t.isf(failure_probability / 2, count - 1) * values.std(-1, ddof=1) / math.sqrt(count)
    return width


def _fit(points: Array, sizes: Array) -> float | None:
    if not np.isfinite(sizes).all():
        return math.nan
    kept = sizes != 0
    if int(kept.sum()) < _FEWEST_POINTS:
        return None
    across, up = np.log(points[kept]), np.log(sizes[kept])
    centred = across - across.mean()
    return float(centred @ up / (centred @ centred))


def _declared(method: AnyMethod, quantity: Quantity) -> Rate | None:
    return next((rate for rate in method.declaration.rates if rate.quantity == quantity), None)


def _sign(quantity: Quantity) -> int:
    """Sign of an order that makes errors vanish."""
    return -1 if quantity == "records" else 1


def law_name(quantity: Quantity) -> str:
    """Name of the law on a quantity."""
    return f"rate_{quantity.replace(' ', '_')}"


def _body(quantity: Quantity) -> Body:
    sign, law = _sign(quantity), law_name(quantity)

    def body(method: AnyMethod, problem: Problem, device: str) -> float | None:
        rate = _declared(method, quantity)
        if rate is None:
            return None
        if not sign * rate.order > 0:
            found = f"The declared order in the {quantity} must be {'< 0' if sign < 0 else '> 0'}, got {rate.order:g}."
            raise LawBroken(law, found, problem, {"order": rate.order})
        share = _FAILURE_PROBABILITY / _PROBLEMS
        slope = measured_slope(method, quantity, problem, failure_probability=share, device=device)
        if slope is None:
            return None
        missing = sign * (rate.order - slope.slowest)
        if not missing <= TOLERANCE:
            found = (
                f"The error has slope {slope.slowest:.3f} or slower in the {quantity} at {_SLOW} of "
                f"{len(slope.per_seed)} seeds; declared is {rate.order:g}, tolerance {TOLERANCE:g}. Mean over the "
                f"seeds {slope.mean:.3f}, Student's interval [{slope.low:.3f}, {slope.high:.3f}] (fails: {share:.2g})."
            )
            ends = {"slope": slope.slowest, "mean": slope.mean, "mean, low": slope.low, "mean, high": slope.high}
            raise LawBroken(law, found, problem, {"order": rate.order, **ends, "tolerance": TOLERANCE})
        return max(0.0, missing / TOLERANCE)

    return body


def _problem(model: Model, descent: Descent | None = None) -> Problem:
    seeds = 8 if model == "network" else 12
    return Problem(model, seeds, 3, 0.5, 1.0, "round", 1, seeds, 5, descent)


def _descent(divisor: str, radius: float | None = None) -> Descent:
    return Descent(epochs=4, stability=0.1, divisor=divisor, radius=radius)


MINIMISERS = (_problem("binary"), _problem("softmax"))
DESCENTS = (
    _problem("binary", _descent("fixed")),
    _problem("softmax", _descent("remaining")),
    _problem("network", _descent("fixed")),
    _problem("binary", _descent("remaining", radius=100.0)),
)


FROM = "from exact minimisers where the method accepts them, else from descents"


def _law(quantity: Quantity, family: str, *, descents_only: bool = False) -> Law:
    def undeclared(method: AnyMethod) -> str | None:
        return None if _declared(method, quantity) else f"the method declares no order of its error in the {quantity}"

    return Law(
        name=law_name(quantity),
        statement=f"The error vanishes in the {quantity} at least at the declared order, {family}: at most {_SLOW - 1} "
        f"records have a slope of its logarithm that is below the order by more than {TOLERANCE:g}.",
        fails_for="errors of first order under a theorem of second order, and orders declared too high",
        source="the theorem that the method declares in `rates`, in a family where nothing else varies",
        body=_body(quantity),
        domain=Domain(
            recipes=() if descents_only else ("minimise",),
            examples=DESCENTS if descents_only else (*MINIMISERS, *DESCENTS),
            fixed=_PROBLEMS,
        ),
        applies=undeclared,
        measures=f"what the slope in the {quantity} lacks of the order / tolerance",
        silent="the error is at the level of rounding",
    )


check_rate_request_size = _law("request size", f"as copies of one record are forgotten, {FROM}")
check_rate_records = _law("records", f"as all records are repeated and the request is not, {FROM}")
check_rate_step_size = _law("step size", "for a fixed number of steps and one record", descents_only=True)
