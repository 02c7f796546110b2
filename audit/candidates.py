"""The game that rungs D and E play: who is a candidate, and fleets that learn on R ∪ S_j and forget S_j.

R is what is always learned, S_j the candidates that replica j learns and forgets, the others are never there. The
reference of every replica is the model of R, with the replica's own seed and draws: it does not depend on S_j.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.sharing import sharing
from unlearning.claim import Certificate
from unlearning.protocols import State
from unlearning.streams import Streams

from .contract import check_state
from .fleet import Subject, forget, in_parts, masks, reference_fleet, replace_refused, spent


def candidate_ids(subject: Subject, candidates: int, key: str) -> tuple[int, ...]:
    """So many candidates: the request, and other training records, drawn by the plan's seed."""
    own = subject.request_ids
    others = np.setdiff1d(np.arange(subject.task.rows), own)
    generator = Streams(subject.seed, (0,)).child(subject.task.name, key, "candidates").generator("others", 0)
    return tuple(sorted([*own, *generator.choice(others, candidates - len(own), replace=False).tolist()]))


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One chunk of the game, before noise.

    Attributes:
        original: A(R ∪ S_j).
        unlearned: U(A(R ∪ S_j), S_j), with the reference in its place where it was refused.
        reference: of R; None where nothing asked for it.
        refused: replicas whose Δ exceeds the budget, or in which nothing is forgotten.
        certificate: what the method's theorem says of them.
    """

    original: State
    unlearned: State
    reference: State | None
    refused: NDArray[np.bool_]
    certificate: Certificate | None

    def state(self, source: str) -> State:
        """A state by what is released: "unlearned", "original" or "retrained".

        Raises:
            ValueError: the reference was not made.
        """
        if source != "retrained":
            found: State = getattr(self, source)
            return found
        if self.reference is None:
            raise ValueError("the reference must be asked for before it is released.")
        return self.reference


def learn_and_forget(
    subject: Subject,
    ids: tuple[int, ...],
    members: NDArray[np.bool_],
    budget: float | None,
    *,
    streams: Streams,
    draws: Streams,
    one_run: bool,
    always: bool,
) -> Forgotten:
    """Learn on R ∪ S_j, forget S_j.

    Args:
        subject: method and task.
        ids: the candidates.
        members: S_j, [K, m] in the order of the ids.
        budget: Δ that σ was fixed for; None: nothing is refused for it.
        streams: training streams of the K replicas.
        draws: streams of what unlearning draws; a replica's reference draws the same.
        one_run: whether the training streams are those of one run, repeated.
        always: make the reference even where no replica is refused.
    """
    method, task, count = subject.method, subject.task, len(members)
    positions = np.asarray(ids)
    requests = [tuple(positions[own].tolist()) for own in members]
    everybody = masks(task, [ids]).expand(count, -1)
    with sharing(None, task):
        original = method.learn(task, (task.everyone(count) & ~everybody) | masks(task, requests), streams=streams)
    check_state(original, count, task.objective.size, verb="learn")
    unlearned, certificate = forget(method, original, in_parts(task, requests, subject.parts), draws)
    refused: NDArray[np.bool_] = np.asarray(~members.any(1))
    why = "unlearn must give a dataclass for the reference to be released where nothing is forgotten."
    if certificate is not None and budget is not None:
        bound = np.asarray(certificate.sensitivity_upper)
        refused = refused | (bound > budget)
        why = spent(float(bound.max()), budget)
    model = model_of_rest(subject, ids, streams, draws, one_run=one_run) if always or refused.any() else None
    if model is not None and refused.any():
        unlearned = replace_refused(unlearned, model, refused, why)
    return Forgotten(original, unlearned, model, refused, certificate)


def model_of_rest(
    subject: Subject, ids: tuple[int, ...], streams: Streams, draws: Streams, *, one_run: bool = False
) -> State:
    """The reference's models of R before noise, one per replica; where all are the same, it is trained once."""
    count = len(streams)
    alike = one_run and not subject.method.declaration.draws
    if alike:
        streams, draws = (own.select(own.replicas[:1]) for own in (streams, draws))
    everybody = masks(subject.task, [ids]).expand(len(streams), -1)
    found, _ = reference_fleet(subject, streams, everybody, draws)
    return found.take([0] * count) if alike else found


def told_refused(refused: int, runs: int) -> str:
    """What a line must say of runs that released the reference; nothing where there are none."""
    return f" In {refused} of {runs} runs the reference was released in place of an unlearned model." if refused else ""
