"""What the laws share: how a law is searched for a breach, and how a breach is reported."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from functools import reduce

import torch
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod

from .problems import Problem
from .strategies import LINEAR, Kind, accepted_kinds, problems

Body = Callable[[Problem], None]

_NETWORKS_PER_LINEAR = 12  # a network costs about as much as this many linear models


class LawBroken(AssertionError):
    """A method breaks a law; the message carries the problem on which it does."""

    def __init__(self, law: str, finding: str, problem: Problem | None = None) -> None:
        """Name the law, what was found, and the problem."""
        where = "" if problem is None else f"\nProblem that broke it: {problem!r}"
        super().__init__(f"Law broken: {law}. {finding}{where}")


class LawNotApplicable(Exception):
    """A law says nothing about this method; the message is the reason."""


def search(
    body: Body, strategy: SearchStrategy[Problem], *, examples: Iterable[Problem] = (), share: float = 1
) -> None:
    """Run a law on the examples, then on as many drawn problems as the Hypothesis profile says, times `share`."""
    chosen = settings(
        deadline=None,
        max_examples=max(5, round(settings().max_examples * share)),
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.nested_given],
    )

    tried = refused = 0

    def law(problem: Problem) -> None:
        nonlocal tried, refused
        tried += 1
        try:
            body(problem)
        except PlanError:  # a method may refuse what only the data can tell
            refused += 1
            reject()

    searched = given(problem=strategy)(law)
    with suppress(Unsatisfiable):
        reduce(lambda found, fixed: example(problem=fixed)(found), examples, chosen(searched))()
    if 2 * refused > tried:  # but not hide from a law by refusing
        raise LawNotApplicable(f"the method refuses {refused} of {tried} problems that it accepts by kind")


def search_accepted(
    method: AnyMethod,
    body: Body,
    *,
    examples: Sequence[Problem] = (),
    networks: bool = True,
    momentum: bool = False,
    largest_request: int | None = None,
) -> None:
    """Search all kinds of problems that the method accepts: linear models first, then small networks.

    Raises:
        LawNotApplicable: the method accepts none of them.
    """
    linear = accepted_kinds(method, LINEAR)
    deep = accepted_kinds(method, ("network",)) if networks else []
    if not linear and not deep:
        raise LawNotApplicable("the method accepts none of the problems that this law is stated for")
    if linear:
        fixed = [e for e in examples if e.kind in linear]
        drawn = problems(linear, momentum=momentum, largest_request=largest_request)
        search(body, drawn, examples=fixed)
    if deep:
        drawn = problems(deep, momentum=momentum, largest_request=largest_request)
        with suppress(LawNotApplicable) if linear else nullcontext():  # networks it accepts only in name
            search(body, drawn, share=1 / _NETWORKS_PER_LINEAR)


def linear_kinds(method: AnyMethod) -> list[Kind]:
    """Kinds of linear models that the method accepts.

    Raises:
        LawNotApplicable: none.
    """
    found = accepted_kinds(method, LINEAR)
    if not found:
        raise LawNotApplicable("the method accepts no linear model")
    return found


def distances(first: Tensor, second: Tensor) -> Tensor:
    """‖first − second‖₂ per replica, in float64 on the host, [K]."""
    difference = first.detach().double() - second.detach().double()
    norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return norms.cpu()


def rounding_slack(problem: Problem, *states: Tensor) -> float:
    """Distance that float64 rounding may put between two computations of one model of this problem.

    Guarantee: far above n·T·2⁻⁵²·‖w‖·L/λ, and far below any distance that a law is meant to see.
    """
    largest = max(float(torch.linalg.vector_norm(s.double(), dim=1).max()) for s in states)
    unit = 1e-3 if problem.single_precision else 1e-12
    condition = 1.0
    if problem.descent is None:
        condition = 1 + 2 * problem.norm**2 / problem.regularisation
    return unit * (1 + largest) * min(condition, 1e4)
