"""What the bodies of laws share: how a breach is reported, how far apart models are, what rounding explains."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .problems import Problem


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


class LawNotApplicable(Exception):
    """A law says nothing about this method; the message is the reason."""


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
