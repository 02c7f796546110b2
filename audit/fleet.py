"""Fleets of one row: originals, unlearned models and retrained models, a chunk of replicas at a time.

Paired: replica k's reference is trained with replica k's own seed streams. Independent: with streams of its own.
Deterministic recipes have no seed: one model per world, and every run is a release of it. Noise inside training is a
seed: such a method gets one model per run whatever its recipe.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from learning.sharing import sharing
from learning.task import Task
from unlearning.claim import Certificate, Reference, SeedPolicy
from unlearning.errors import BudgetExceeded
from unlearning.protocols import AnyMethod, Diagnostic, HasDiagnostics, State
from unlearning.streams import Streams

from .contract import check_certificate, check_diagnostics, check_state

Array = NDArray[np.float64]


class Phase(StrEnum):
    """What a part of a row is for: each has training seeds of its own."""

    SEARCH = "search"  # chooses the request
    SELECTION = "selection"  # chooses directions and events
    TEST = "test"  # what bounds are computed from


AuditPhase: TypeAlias = Literal[Phase.SELECTION, Phase.TEST]  # a request is fixed before either of them


@dataclass(frozen=True, slots=True)
class ChosenRequest:
    """A request that was chosen by what models of a phase did with it.

    Attributes:
        ids: records to forget, ascending.
        family: which proposal it came from.
        phase: whose seeds chose it; no other phase may share them.
    """

    ids: tuple[int, ...]
    family: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class Subject:
    """What a row audits: the method on the task, and the records it forgets.

    Attributes:
        name: of the row.
        method: on trial.
        task: what is learned.
        request_ids: records to forget; none until the search has found them.
        reference: the law on the other side.
        seed: of the run.
        parts: successive requests that the records are divided into.
        shared: folder of the run in which rows share plain training, or None.
        chosen: how the request was chosen, where models chose it.
        scores: the user's own scores, name and function.
        attacks: the user's own attacks, name and attack.
    """

    name: str
    method: AnyMethod
    task: Task
    request_ids: tuple[int, ...]
    reference: Reference
    seed: int
    parts: int = 1
    shared: Path | None = None
    chosen: ChosenRequest | None = None
    scores: tuple[tuple[str, Callable[..., Any]], ...] = ()
    attacks: tuple[tuple[str, Any], ...] = ()

    def streams(self, phase: Phase, replicas: tuple[int, ...]) -> Streams:
        """Training streams of a phase: shared by all rows of the task."""
        return Streams(self.seed, replicas).child(self.task.name, phase)

    def noise_streams(self, *names: str | int, replicas: tuple[int, ...]) -> Streams:
        """Noise streams: the row's own."""
        return Streams(self.seed, replicas).child("noise", self.name, *names)

    @property
    def one_model(self) -> bool:
        """Whether all runs are releases of one model per world: nothing in training is random."""
        declared = self.method.declaration
        fixed = declared.gaussian_noise and declared.seed_policy is not SeedPolicy.MARGINAL
        return self.task.deterministic and fixed and not declared.draws

    def request(self, replicas: int) -> torch.Tensor:
        """The request as a mask [K, n], the same for all replicas."""
        return masks(self.task, [self.request_ids]).expand(replicas, -1)

    def requests(self, replicas: int) -> list[torch.Tensor]:
        """The request in `parts` successive ones, in the order of the ids, as masks [K, n]."""
        return [part.expand(replicas, -1) for part in in_parts(self.task, [self.request_ids], self.parts)]


def masks(task: Task, requests: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Requests as masks, one per row, bool [K, n]."""
    found = torch.zeros(len(requests), task.rows, dtype=torch.bool, device=task.device)
    for row, ids in zip(found, requests, strict=True):
        row[list(ids)] = True
    return found


def in_parts(task: Task, requests: Sequence[tuple[int, ...]], parts: int) -> list[torch.Tensor]:
    """Each request in `parts` successive ones, in the order of its ids, as masks [K, n]."""
    shares = [[tuple(share.tolist()) for share in np.array_split(np.asarray(ids), parts)] for ids in requests]
    return [masks(task, [own[part] for own in shares]) for part in range(parts)]


@dataclass(frozen=True, slots=True)
class Fleet:
    """States of K replicas before noise, and Δ per replica.

    Attributes:
        original: A(D).
        unlearned: U(A(D), D_f), with the retrained model in place of it where the budget is exceeded.
        retrained: the claim's reference with the same seeds.
        independent: the claim's reference with other seeds.
        sensitivity_upper: Δ per replica, or None without a certificate.
        refused: replicas whose Δ exceeds the budget.
        certificate: what the method's theorem says of these replicas.
        seconds: time of learning, unlearning (with its certificate) and retraining.
        diagnostics: what the method reports of its own run.
    """

    original: State
    unlearned: State
    retrained: State
    independent: State
    sensitivity_upper: Array | None
    refused: NDArray[np.bool_]
    certificate: Certificate | None
    seconds: dict[str, float]
    diagnostics: tuple[Diagnostic, ...] = ()

    def state(self, source: str) -> State:
        """A state by its name."""
        found: State = getattr(self, source)
        return found


def train_fleet(
    subject: Subject, budget: float | None, phase: AuditPhase, replicas: tuple[int, ...], *, independent: bool = True
) -> Fleet:
    """Train, unlearn and retrain the replicas of these numbers; one replica where nothing in training is random.

    Without `independent` the reference with other seeds is not trained: the paired one stands in its place.

    Raises:
        TypeError: these seeds chose the request.
        ValueError: the request is still to be searched for.
    """
    _refuse_seeds_that_chose(subject, phase)
    if not subject.request_ids:
        raise ValueError("request_ids must name at least one record, got none. Search for the request first.")
    task, method = subject.task, subject.method
    numbers = (0,) if subject.one_model else replicas
    count = len(numbers)
    streams = subject.streams(phase, numbers)
    members = task.everyone(count)
    started = time.perf_counter()
    with sharing(subject.shared, task) as loan:
        original = method.learn(task, members, streams=streams)
    check_state(original, count, task.objective.size, verb="learn")
    learned_at = time.perf_counter()
    learning = learned_at - started + loan.seconds_saved
    unlearned, certificate = forget(method, original, subject.requests(count), streams)
    diagnostics = method.diagnostics(unlearned) if isinstance(method, HasDiagnostics) else ()
    check_diagnostics(diagnostics, count)
    unlearned_at = time.perf_counter()
    retrained, saved = reference_fleet(subject, streams)
    seconds = {
        "learn": learning,
        "unlearn": unlearned_at - learned_at,
        "retrain": time.perf_counter() - unlearned_at + saved,
    }
    other = retrained
    if independent and not subject.one_model:
        other, _ = reference_fleet(subject, streams.child("independent"))
    bound = None if certificate is None else np.asarray(certificate.sensitivity_upper, dtype=np.float64)
    refused = np.zeros(count, dtype=bool)
    if bound is not None and budget is not None:
        refused = bound > budget
        if refused.any():
            unlearned = replace_refused(unlearned, retrained, refused, spent(float(bound.max()), budget))
    return Fleet(original, unlearned, retrained, other, bound, refused, certificate, seconds, diagnostics)


def _refuse_seeds_that_chose(subject: Subject, phase: object) -> None:
    """Refuse to audit a request on the seeds that chose it: the largest of many distances is no fair draw."""
    if phase not in (Phase.SELECTION, Phase.TEST):
        raise TypeError(f"phase must be Phase.SELECTION or Phase.TEST, got {phase!r}; its seeds choose the request.")
    if subject.chosen is not None and subject.chosen.phase == phase:
        raise TypeError(f"phase must be one whose seeds did not choose the request, got {phase!r}, which chose it.")


def forget(
    method: AnyMethod, original: State, requests: Sequence[torch.Tensor], streams: Streams
) -> tuple[State, Certificate | None]:
    """Unlearn successive requests, masks [K, n]; the state and what is certified of it after the last one.

    The last request has the streams that the reference's empty one has: certificates speak of equal seeds there.
    """
    count, size = original.parameters.shape
    unlearned = original
    for number, request in enumerate(requests):
        last = number == len(requests) - 1
        own = streams.child("unlearning") if last else streams.child("unlearning", number)
        unlearned = method.unlearn(unlearned, request, streams=own)
        check_state(unlearned, count, size, verb="unlearn")
    certificate = method.certify(unlearned, requests[-1])
    check_certificate(certificate, count)
    return unlearned, certificate


def reference_fleet(
    subject: Subject, streams: Streams, request: torch.Tensor | None = None, draws: Streams | None = None
) -> tuple[State, float]:
    """The claim's reference before noise: A(D_r), or U(A(D_r), ∅); and the seconds that sharing saved.

    Args:
        subject: whose method and reference.
        streams: of the K replicas.
        request: masks [K, n]; the subject's own without it.
        draws: of what unlearning draws, as `forget` was given them; the streams themselves without it.
    """
    task, method = subject.task, subject.method
    count = len(streams)
    kept = task.everyone(count) & ~(subject.request(count) if request is None else request)
    with sharing(subject.shared, task) as loan:
        state = method.learn(task, kept, streams=streams)
    if subject.reference is Reference.EMPTY_REQUEST:
        empty = torch.zeros_like(kept)
        state = method.unlearn(state, empty, streams=(streams if draws is None else draws).child("unlearning"))
    check_state(state, count, None, verb="learn or unlearn, for the reference,")
    found: State = state
    return found, loan.seconds_saved


def replace_refused(unlearned: State, retrained: State, refused: NDArray[np.bool_], why: str) -> State:
    """The unlearned state with the reference in the place of the refused replicas.

    Raises:
        BudgetExceeded: `why`, where the state is no dataclass whose parameters can be replaced.
    """
    where = torch.from_numpy(refused).to(retrained.parameters.device).unsqueeze(1)
    chosen = torch.where(where, retrained.parameters, unlearned.parameters)
    state: Any = unlearned
    if not is_dataclass(state) or isinstance(state, type):
        raise BudgetExceeded(why)
    merged: Any = replace(state, **{"parameters": chosen})
    found: State = merged
    return found


def spent(largest: float, budget: float) -> str:
    """What to say of a budget that is exceeded."""
    return f"The deletion budget is spent: bound {largest:.3g} > {budget:.3g}. Retrain, or raise the row's budget."


def repeat(fleet: Fleet, count: int) -> Fleet:
    """The fleet of one replica as `count` replicas, to be released many times."""
    again = [0] * count
    bound = None if fleet.sensitivity_upper is None else fleet.sensitivity_upper[again]
    return replace(
        fleet,
        original=fleet.original.take(again),
        unlearned=fleet.unlearned.take(again),
        retrained=fleet.retrained.take(again),
        independent=fleet.independent.take(again),
        sensitivity_upper=bound,
        refused=fleet.refused[again],
    )


def numpy64(tensor: torch.Tensor) -> Array:
    """A tensor as a float64 array on the host."""
    return tensor.detach().to("cpu", torch.float64).numpy()
