"""What forgetting each of many requests comes to: all of them side by side, each on a replica of its own.

The training seed is one of the search's own (`Phase.SEARCH`), the same for all requests of a trial.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from learning.influence import same_run
from learning.task import Learned
from unlearning.errors import BudgetExceeded, Diverged, NotConverged
from unlearning.protocols import State
from unlearning.streams import Streams

from .contract import check_state
from .fleet import Phase, Subject, forget, in_parts, reference_fleet
from .request_families import Request

OVER_BUDGET = "its certified Δ exceeds the budget, so that the records would be retrained away"

_REFUSALS = (BudgetExceeded, NotConverged, Diverged)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one request did.

    Attributes:
        distance: d to the claim's reference, before noise.
        ratio: d/Δ; None without a certificate or where Δ is infinite; infinite where Δ = 0 and d is more than rounding.
        broken: whether d > Δ by more than rounding.
        left_out: why the request cannot be audited, or None.
    """

    distance: float = 0.0
    ratio: float | None = None
    broken: bool = False
    left_out: str | None = None


def worst(trials: Sequence[Trial]) -> Trial:
    """Trials of one request on several seeds as one; left out where one of them is."""
    refused = next((trial for trial in trials if trial.left_out is not None), None)
    if refused is not None:
        return refused
    ratios = [trial.ratio for trial in trials if trial.ratio is not None]
    distance = max(trial.distance for trial in trials)
    return Trial(distance, max(ratios, default=None), any(trial.broken for trial in trials))


def try_requests(subject: Subject, budget: float | None, seed: int, requests: tuple[Request, ...]) -> list[Trial]:
    """Forget each request after training on the search's seed of this number.

    Args:
        subject: method and task; its own request plays no part.
        budget: Δ that σ was fixed for, or None.
        seed: number of a replica of the search.
        requests: of one size.
    """
    streams = subject.streams(Phase.SEARCH, (seed,))
    original = subject.method.learn(subject.task, subject.task.everyone(1), streams=streams)
    check_state(original, 1, subject.task.objective.size, verb="learn")
    return _by_halves(subject, budget, original, streams, requests)


def _by_halves(
    subject: Subject, budget: float | None, original: State, streams: Streams, requests: tuple[Request, ...]
) -> list[Trial]:
    """All side by side; where the method refuses, by halves, until those that it refuses are alone."""
    try:
        return _side_by_side(subject, budget, original, streams, requests)
    except _REFUSALS as error:
        if len(requests) == 1:
            return [Trial(left_out=str(error))]
        half = len(requests) // 2
        parts = requests[:half], requests[half:]
        return [trial for part in parts for trial in _by_halves(subject, budget, original, streams, part)]


def _side_by_side(
    subject: Subject, budget: float | None, original: State, streams: Streams, requests: tuple[Request, ...]
) -> list[Trial]:
    each = same_run(streams, len(requests))
    wanted = in_parts(subject.task, requests, subject.parts)
    unlearned, certificate = forget(subject.method, _copies(subject, original, each), wanted, each)
    reference, _ = reference_fleet(subject, each, torch.stack(wanted).any(0))
    distances = (unlearned.parameters - reference.parameters).double().norm(dim=1)
    if certificate is None:
        return [Trial(distance) for distance in distances.tolist()]
    slacks = rounding_slack(subject, reference.parameters)
    each_bound = certificate.sensitivity_upper
    return [_against(*one, budget) for one in zip(distances.tolist(), each_bound, slacks, strict=True)]


def rounding_slack(subject: Subject, parameters: torch.Tensor) -> list[float]:
    """Allowance for rounding over a whole training run, one per replica, as rung A has it."""
    epsilon = torch.finfo(subject.task.dtype).eps
    return [1e4 * epsilon * (1 + norm) for norm in parameters.double().norm(dim=1).tolist()]


def _against(distance: float, bound: float, slack: float, budget: float | None) -> Trial:
    if budget is not None and bound > budget:
        return Trial(left_out=OVER_BUDGET)
    if math.isinf(bound):
        return Trial(distance)
    broken = distance > bound + slack
    if bound == 0:
        return Trial(distance, math.inf if broken else 0.0, broken)
    return Trial(distance, distance / bound, broken)


def _copies(subject: Subject, original: State, each: Streams) -> State:
    """The state of one replica as often as there are requests, able to unlearn."""
    if isinstance(original, Learned):
        return replace(original.take([0] * len(each)), streams=each)
    found: State = subject.method.learn(subject.task, subject.task.everyone(len(each)), streams=each)
    return found
