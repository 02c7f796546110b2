"""One problem, run: learned, unlearned, and the claim's reference beside it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlearning.claim import Reference
from unlearning.errors import BrokenMethod
from unlearning.protocols import AnyMethod
from unlearning.streams import Streams

from .base import LawBroken, rounding_slack
from .problems import Problem


@dataclass(frozen=True, slots=True)
class Run:
    """A method at work on a problem.

    Attributes:
        method: what is tried.
        problem: on what.
        device: where.
        learned: the state after learning on all records.
    """

    method: AnyMethod
    problem: Problem
    device: str
    learned: Any

    @property
    def request(self) -> Tensor:
        """The problem's request, bool [K, n]."""
        return self.problem.request(self.device)

    def streams(self, number: int = 0, requests: int = 1) -> Streams:
        """Streams of one of successive requests: the last one has those of the reference's empty request."""
        last = number == requests - 1
        return self.problem.streams.child("unlearning") if last else self.problem.streams.child("unlearning", number)

    def rounding(self, *states: Tensor) -> float:
        """Distance that rounding may put between two computations of these parameters, each [K, P]."""
        return rounding_slack(self.problem, *states, method=self.method)

    def unlearned(self, *requests: Tensor) -> Any:
        """State after the requests, one after the other; the problem's own without any.

        The last request has the seeds of the reference's empty one: a certificate per seed speaks of models whose last
        requests have equal seeds.

        Raises:
            BrokenMethod: what `unlearn` returns holds no finite parameters [K, P].
        """
        state, asked = self.learned, requests or (self.request,)
        for number, request in enumerate(asked):
            streams = self.streams(number, len(asked))
            state = checked(self.method.unlearn(state, request, streams=streams), self.problem, "unlearn")
        return state

    def reference(self, kept: Tensor | None = None) -> Any:
        """The claim's reference before noise, with the original's streams: A(D_r), or U(A(D_r), ∅).

        Args:
            kept: records of D_r, bool [K, n]; all but the problem's request without it.

        Raises:
            BrokenMethod: what the method returns holds no finite parameters [K, P].
        """
        kept = ~self.request if kept is None else kept
        streams = self.problem.streams
        state: Any = self.method.learn(self.problem.task(self.device), kept, streams=streams)
        if self.method.declaration.reference is Reference.EMPTY_REQUEST:
            state = self.method.unlearn(state, torch.zeros_like(kept), streams=self.streams())
        return checked(state, self.problem, "the reference")

    def sensitivities(self, state: Any, request: Tensor, law: str) -> Tensor | None:
        """Certified Δ per replica, [K]; None where nothing is certified for certain.

        Raises:
            LawBroken: the certificate has another number of sensitivities than there are replicas.
        """
        certificate = self.method.certify(state, request)
        if certificate is None or certificate.failure_probability > 0:
            return None
        if len(certificate.sensitivity_upper) != self.problem.replicas:
            found = (
                f"certify gives {len(certificate.sensitivity_upper)} sensitivities for {self.problem.replicas} models."
            )
            raise LawBroken(law, found, self.problem)
        return torch.tensor(certificate.sensitivity_upper, dtype=torch.float64)


def start(method: AnyMethod, problem: Problem, device: str) -> Run:
    """Learn on all records of the problem.

    Raises:
        BrokenMethod: what `learn` returns holds no finite parameters [K, P].
    """
    learned: Any = method.learn(problem.task(device), problem.members(device), streams=problem.streams)
    return Run(method, problem, device, checked(learned, problem, "learn"))


def checked(state: Any, problem: Problem, verb: str) -> Any:
    """The state, if its parameters are one row of finite numbers for each replica of the problem.

    Raises:
        BrokenMethod: they are not.
    """
    parameters = getattr(state, "parameters", None)
    if not isinstance(parameters, Tensor):
        raise BrokenMethod(f"{verb} must return a state with parameters, a tensor [K, P], got {type(state).__name__}.")
    if parameters.ndim != 2 or parameters.shape[0] != problem.replicas:
        shape = list(parameters.shape)
        raise BrokenMethod(f"{verb} must return parameters [K, P] with K = {problem.replicas}, got shape {shape}.")
    if not _finite(parameters):
        raise BrokenMethod(f"{verb} must return finite parameters [K, P], got NaN or infinity.")
    return state


def _finite(parameters: Tensor) -> bool:
    return bool(torch.isfinite(parameters).all())


def split(request: Tensor, parts: int) -> list[Tensor]:
    """The request as disjoint ones: what is left over, then record by record; of small requests the last are empty."""
    position = request.cumsum(1)
    first = position[:, -1:].clamp(min=parts) - parts + 1  # records of the first part
    return [request & (position <= first), *(request & (position == first + number) for number in range(1, parts))]
