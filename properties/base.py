"""What the bodies of laws share: how a breach is reported, how far apart models are, what rounding explains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import BrokenMethod
from unlearning.protocols import BringsOwnLoss

from .problems import STOPPING, Problem

HIDDEN = "rounding would hide a breach"


class LawBroken(AssertionError):
    """A method breaks a law on a problem.

    Attributes:
        law: name of the law.
        finding: what was found, in one or two sentences.
        problem: the problem; its repr, which the message ends in, builds it again.
        measured: the numbers of the finding by name, for the replica that shows it.
    """

    def __init__(self, law: str, finding: str, problem: Problem, measured: Mapping[str, float] | None = None) -> None:
        """Name the law, what was found, and the problem."""
        super().__init__(f"Law broken: {law}. {finding}\nProblem that broke it: {problem!r}")
        self.law, self.finding, self.problem, self.measured = law, finding, problem, dict(measured or {})


RAISED = "The method raised"  # how the finding about an error begins


def breach_by_error(law: str, error: BaseException, problem: Problem) -> LawBroken:
    """The breach that an error of the method is, on a problem that it accepts."""
    return LawBroken(law, f"{RAISED} {type(error).__name__}: {error}", problem)


def raised(broken: LawBroken) -> bool:
    """Whether the finding is an error that the method raised."""
    error = broken.__cause__
    return broken.finding.startswith(RAISED) or (isinstance(error, BrokenMethod) and error.__cause__ is not None)


class LawNotApplicable(Exception):
    """A law says nothing about this method, or about one problem; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A number that a law allows for finite arithmetic.

    Attributes:
        float64: in double precision.
        float32: in single precision.
        meaning: of what, in one sentence.
    """

    float64: float
    float32: float
    meaning: str

    def of(self, problem: Problem) -> float:
        """The number for a problem's precision."""
        return self.float32 if problem.single_precision else self.float64


_WORST_CONDITION, _NETWORK_CONDITION = 1e4, 1e2
_OWN_CONDITION = 1e7  # of a loss that a method brings; in float32 this hides everything, in float64 half the digits

TOLERANCES: dict[str, Tolerance] = {
    "rounding": Tolerance(
        4 * 2**-52,
        4 * 2**-23,
        "distance that rounding may put between two computations of one model, per unit of (n + T)·κ·(1 + ‖w‖): n "
        "records, T steps, κ = (1 + 2R²/λ)/(1 − momentum), at most 10⁴; 10² for networks, 10⁷ for a method that brings "
        "its own loss",
    ),
    "hidden": Tolerance(
        0.01,
        0.1,
        "share that rounding may be of the larger of Δ and the way that retraining moves the model: above it a law "
        "says nothing about a problem",
    ),
    "minimiser": Tolerance(
        STOPPING[False],
        STOPPING[True],
        "gradient norm at which exact minimisers of the problems stop; it is part of certificates",
    ),
    "solver": Tolerance(
        1e-10,
        2.5e-4,
        "relative residual at which a method may stop solving its linear system, in `quadratic` and `reported_bounds`",
    ),
    "standstill": Tolerance(
        1e-4, 1e-4, "share of the retrained model's way that counts as no way at all, in the law `effect`"
    ),
    "agreement": Tolerance(
        1e-6, 1e-3, "relative difference of one replica's Δ alone and among others, in the law `replicas_apart`"
    ),
}


def distances(first: Tensor, second: Tensor) -> Tensor:
    """‖first − second‖₂ per replica, in float64 on the host, [K].

    Raises:
        BrokenMethod: the two have different shapes.
    """
    if first.shape != second.shape:
        raise BrokenMethod(
            f"Parameters must keep their shape [K, P], got {list(first.shape)} beside {list(second.shape)}."
        )
    difference = first.detach().double() - second.detach().double()
    norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return norms.cpu()


def rounding_slack(problem: Problem, *states: Tensor, method: object = None) -> float:
    """Distance that rounding may put between two computations of one model of this problem: `TOLERANCES["rounding"]`.

    One evaluation of a gradient over n records errs by at most a few n·u·(L‖w‖ + G), u the unit of rounding. A step of
    descent adds η ≤ 2/L times that, and later steps do not enlarge it (momentum: 1/(1 − β) times); a solve with the
    Hessian adds 1/λ times that. With G of the order of L this is a few (n + T)·u·κ·(1 + ‖w‖), κ ≥ L/λ.

    An estimate and no guarantee: over thousands of problems in either precision honest methods stayed below a twentieth
    of it. Of a method that brings its own loss no κ is known, and a large one is allowed.
    """
    condition = _NETWORK_CONDITION if problem.model == "network" else 1 + 2 * problem.norm**2 / problem.regularisation
    steps = 0
    if problem.descent is not None:
        steps = problem.descent.epochs * -(-problem.rows // problem.descent.batch_size)
        condition /= 1 - problem.descent.momentum
    own = isinstance(method, BringsOwnLoss)
    condition = _OWN_CONDITION if own else min(condition, _WORST_CONDITION)
    return TOLERANCES["rounding"].of(problem) * (problem.rows + steps) * condition * (1 + _largest(states))


def solver_slack(problem: Problem, *states: Tensor, method: object = None) -> float:
    """Distance that stopping rules explain: minimisers stop at a gradient, solvers of a method at a residual.

    A gradient of norm τ is worth τ/λ of distance, n/(n − m) times that at the original; a relative residual r is worth
    r·κ·(1 + ‖w‖). 0 after descent, where the reference is what descent gives. A method that brings its own loss brings
    its own solver: a large κ is allowed, for 1/λ too.
    """
    condition, inverse = 1 + problem.norm**2 / problem.regularisation, 1 / problem.regularisation
    if isinstance(method, BringsOwnLoss):
        condition = inverse = _WORST_CONDITION
    elif problem.descent is not None:
        return 0.0
    stopped = TOLERANCES["minimiser"].of(problem) * (1 + problem.rows) * inverse
    return stopped + TOLERANCES["solver"].of(problem) * condition * (1 + _largest(states))


def visible(problem: Problem, slack: float, moved: Tensor) -> Tensor:
    """Replicas of which a law can tell something, bool [K]: rounding is a small share of these distances, [K]."""
    return moved * TOLERANCES["hidden"].of(problem) >= slack


def check_visible(problem: Problem, slack: float, moved: Tensor) -> None:
    """Say nothing about a problem on which rounding is no small share of any of these distances, [K].

    Raises:
        LawNotApplicable: it is not.
    """
    if not bool(visible(problem, slack, moved).any()):
        raise LawNotApplicable(HIDDEN)


def _largest(states: Sequence[Tensor]) -> float:
    return max(float(torch.linalg.vector_norm(state.double(), dim=1).max()) for state in states)
