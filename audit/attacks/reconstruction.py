r"""Reconstruction: the deleted record rebuilt from the models before and after its deletion.

M. Bertran, S. Tang, M. Kearns, J. Morgenstern, A. Roth, Z. S. Wu, *Reconstruction Attacks on Machine Unlearning: Simple
Models are Vulnerable*, NeurIPS 2024, arXiv 2405.20272.

Linear models, scores x·W, loss residual r = ∂loss/∂scores (p − e_y, or x·W − y), ∇ℓ(W; z) = x rᵀ + λW. Let b minimise
the mean loss over the n records D and a over R = D∖{z}. As n∇F_D = (n−1)∇F_R + ∇ℓ(·; z), ∇F_D(b) = 0 and ∇F_R(a) = 0,

    x r(b)ᵀ = (n−1)·(∇F_R(a) − ∇F_R(b)) − λb                                            exact for every such loss

With public records P in the place of R it is the attack. Labels enter r by a constant and leave the difference, so that
the adversary needs none:

    G = (n−1)·[X_Pᵀ(r_P(a) − r_P(b))/|P| + λ(a − b)] − λb,         x̂ = leading left singular vector of G [d, c]

For ridge ∇F_P(a) − ∇F_P(b) = (Ĉ + λI)(a − b). The metric is |cosine| of x̂ and x over the columns that vary in public
data: sign and size of r are unknown, and a bias column is no secret.

=================  ==========================  ==============================================
paper              code                        meaning
=================  ==========================  ==============================================
β, β₋              ``before``, ``after``       parameters before and after the deletion
Ĉ, Ĥ               ``public``                  their second moments, and curvature by them
MaxDiff            ``largest_difference``      public record whose prediction changed most
=================  ==========================  ==============================================

Differs from the paper: the term −λb, which belongs to a regulariser that every record has its share of (here λn‖w‖²/2
in all; in the paper λ is fixed, and x̂ ∝ (Ĉ + λI)(a − b)); the difference of gradients is its Hessian along the segment
from b to a, where the paper takes it at one point; public labels are not used.

**What noise allows.** Given the models before noise, releases of U(A(D), z) and of A(D) itself differ in the second
release alone, by a shift of d = ‖U(A(D), z) − A(D)‖ under N(0, σ²I). A cosine is in [0, 1], so that for any attack

    E|cos| against U(A(D), z)  −  E|cos| where nothing is deleted  ≤  2Φ(d/2σ) − 1

A certificate of the second release bounds its distance to a retrained model, and not d: exact retraining leaks as well.
Where this attack fails, another may not, up to that bound: with noise, the public record of the largest difference can
be nearer than what is rebuilt.

The game: R is what is always learned; run k learns R and its own record z_k, and forgets z_k. Retrained models are
those of R with the run's own seed. The noise of a run is the same in every kind of model. "original" releases A(D)
twice: what remains is what the adversary knows anyway; without noise the guess is b itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor

from learning.task import Task
from unlearning.errors import PlanError
from unlearning.record_attacks import Reconstruction
from unlearning.streams import Streams

from ..attack_names import RECONSTRUCTION
from ..candidates import candidate_ids, learn_and_forget
from ..controls import HONEST, defect, release
from ..design import Design
from ..fleet import Array, Subject, numpy64
from .measures import interval

FACTORS = (0.0, 1.0)
KINDS = ("original", "unlearned", "retrained")  # what the second release is of
_GUESSES = ("rebuilt", "average", "difference")

Run = Callable[[str, Callable[..., Any], list[tuple[Any, ...]]], list[Any]]


@runtime_checkable
class LinearObjective(Protocol):
    """Scores x·W with W [d, c], flat; labels enter the residual by a constant."""

    features: int
    outputs: int
    regularisation: float

    def scores(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Scores [K, n, c] for parameters [K, P] and shared features [n, d]."""

    def residual(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Derivative of the loss in the scores, [K, n, c]."""


@dataclass(frozen=True, slots=True, eq=False)
class Deletions:
    """What a chunk of runs is reduced to.

    Attributes:
        cosines: by kind of model and noise factor, [K, 3]: of the rebuilt record and the two baselines.
        shifts: ‖second − first model‖ before noise, by kind of model, [K].
        refused: runs that released the reference: over budget.
    """

    cosines: dict[tuple[str, float], Array]
    shifts: dict[str, Array]
    refused: NDArray[np.bool_]


def linear(task: Task) -> LinearObjective:
    """The task's objective, where records can be rebuilt from it.

    Raises:
        PlanError: the model is not linear in its inputs, or there is no public record that varies.
    """
    objective = task.objective
    if not isinstance(objective, LinearObjective):
        raise PlanError(
            f"reconstruction must have a model that is linear in its inputs, got {objective.description}: a network's "
            "gradient does not give its input in closed form. Attack it by membership, or audit a linear model."
        )
    if not bool(varying(task.dataset.holdout_features).any()):
        raise PlanError(
            f"reconstruction must have public records that differ, got {len(task.dataset.holdout_features)} alike. "
            "Hold out more rows."
        )
    return objective


def varying(public: Tensor) -> Tensor:
    """Columns that vary over public records [z, d], bool [d]: of the others, as a bias, everybody knows the value."""
    return (public != public[:1]).any(0)


def prediction_changes(objective: LinearObjective, before: Tensor, after: Tensor, public: Tensor) -> Tensor:
    """r(after) − r(before) on public records, [K, z, c]: changes of probabilities, or of scores for ridge."""
    labels = torch.zeros(len(before), len(public), dtype=torch.long, device=public.device)  # they cancel
    new, old = (objective.residual(objective.scores(w, public), labels) for w in (after, before))
    return new - old


def loss_gradients(
    objective: LinearObjective, before: Tensor, after: Tensor, public: Tensor, *, records: int, changes: Tensor
) -> Tensor:
    """G ≈ x r(before)ᵀ of the deleted record, [K, d, c]; exact at minimisers where `public` is what was kept.

    Args:
        objective: linear.
        before: parameters learned with the record, [K, P].
        after: and without it.
        public: records [z, d] in the place of those that were kept.
        records: n, before the deletion.
        changes: of predictions on the public records, [K, z, c].
    """
    shape = (-1, objective.features, objective.outputs)
    kept = public.mT @ changes / len(public) + objective.regularisation * (after - before).view(shape)
    return (records - 1) * kept - objective.regularisation * before.view(shape)


def directions(gradients: Tensor) -> Tensor:
    """Leading left singular vectors of gradients [K, d, c]: x of x rᵀ up to its sign, [K, d].

    >>> gradients = torch.tensor([[[6.0, -3.0], [8.0, -4.0]]])  # (3, 4)ᵀ (2, −1)
    >>> [round(v, 6) for v in directions(gradients).abs()[0].tolist()]
    [0.6, 0.8]
    """
    left: Tensor = torch.linalg.svd(gradients, full_matrices=False)[0]
    return left[..., 0]


def largest_difference(changes: Tensor, public: Tensor) -> Tensor:
    """The public record whose prediction changed most, in Euclidean norm, [K, d]."""
    return public[changes.norm(dim=-1).argmax(1)]


def cosines(guesses: Tensor, records: Tensor) -> Tensor:
    """|cosine| of guesses and records, [K]; 0 where one of them is zero.

    >>> cosines(torch.tensor([[-3.0, 0.0]]), torch.tensor([[3.0, 4.0]])).item()  # doctest: +ELLIPSIS
    0.6...
    """
    tiny = torch.finfo(guesses.dtype).tiny
    product: Tensor = torch.ones_like(guesses)
    for part in (guesses, records):  # each divided by its own norm: their product may underflow
        product = product * (part / part.norm(dim=-1, keepdim=True).clamp(min=tiny))
    return product.sum(-1).abs().clamp(max=1)


def guess(objective: LinearObjective, before: Tensor, after: Tensor, public: Tensor, *, records: int) -> list[Tensor]:
    """The rebuilt record, the average public record, and the one whose prediction changed most, each [K, d].

    None of them sees the deleted record.
    """
    changes = prediction_changes(objective, before, after, public)
    gradients = loss_gradients(objective, before, after, public, records=records, changes=changes)
    average = public.mean(0).expand(len(before), -1)
    return [directions(gradients), average, largest_difference(changes, public)]


def gap_allowed(shifts: Array, noise_scale: float) -> float:
    """Largest mean gap of any attack to models of which nothing was deleted: mean of 2Φ(d/2σ) − 1.

    Guarantee: at least the expected gap, for second releases with noise N(0, σ²I) given the models before noise.

    Args:
        shifts: d of every run, [K].
        noise_scale: σ ≥ 0.

    >>> gap_allowed(np.array([0.0, 1.0]), 0.0)
    0.5
    >>> round(gap_allowed(np.array([2.0]), 1.0), 4)  # 2Φ(1) − 1
    0.6827
    """
    if noise_scale == 0:
        return float((shifts > 0).mean())
    return float(erf(shifts / (2 * math.sqrt(2) * noise_scale)).mean())


def deleted_ids(subject: Subject, targets: int) -> tuple[int, ...]:
    """Records that are deleted, one in each run: of the row's request, then other training records.

    Raises:
        PlanError: fewer than one, or nothing would be left to learn from.
    """
    if not 1 <= targets < subject.task.rows:
        raise PlanError(
            f"targets must be between 1 and {subject.task.rows - 1}, one record less than there are, got {targets}."
        )
    return candidate_ids(subject, max(targets, len(subject.request_ids)), RECONSTRUCTION)[:targets]


def reconstruct(
    subject: Subject, design: Design, run: Run, chunk: int, *, targets: int, factors: Sequence[float] = FACTORS
) -> list[Reconstruction]:
    """Delete one record a run and rebuild it, against every kind of model at every noise scale.

    Where a method's noise is inside its training, it cannot be scaled: then the factor is 1 alone.

    Args:
        subject: method and task.
        design: of the row: noise and budget.
        run: how chunks are run: phase, function, arguments.
        chunk: replicas trained at once.
        targets: runs, each with a record of its own.
        factors: noise scales over the row's σ; 0: the models before noise.

    Raises:
        PlanError: the model is not linear, or there are not so many records.
    """
    linear(subject.task)
    subject = replace(subject, parts=1)  # one record is one request
    ids = deleted_ids(subject, targets)
    scales = tuple(dict.fromkeys(factors)) if subject.method.declaration.gaussian_noise else (1.0,)
    size = 1 if subject.task.deterministic else chunk  # Hessians of several minimisers crowd each other out of caches
    chunks = [range(start, min(targets, start + size)) for start in range(0, targets, size)]
    tasks = [(subject, design, ids, numbers, scales) for numbers in chunks]
    parts = run("rebuilding deleted records", delete_chunk, tasks)
    return [_result(parts, kind, factor, design, subject) for factor in scales for kind in KINDS]


def delete_chunk(
    subject: Subject, design: Design, ids: tuple[int, ...], numbers: Sequence[int], factors: tuple[float, ...]
) -> Deletions:
    """Learn R and z_k, forget z_k, retrain on R, release all, and rebuild z_k: runs of these numbers."""
    task, objective = subject.task, linear(subject.task)
    training = Streams(subject.seed, (0,)).child(task.name, RECONSTRUCTION)
    streams = training.select(numbers)
    found = learn_and_forget(
        subject,
        ids,
        np.eye(len(ids), dtype=bool)[list(numbers)],
        design.sensitivity_budget,
        streams=streams,
        draws=training.child("draws").select(numbers),
        one_run=False,
        always=True,
    )
    public = task.dataset.holdout_features.to(task.device, torch.float64)
    truth = task.dataset.features[[ids[number] for number in numbers]].to(task.device, torch.float64)
    free, records = varying(public), task.rows - len(ids) + 1
    noise = {when: subject.noise_streams(RECONSTRUCTION, when, replicas=tuple(numbers)) for when in ("before", "after")}
    measured = {}
    for factor in factors:
        scale = design.noise_scale * factor
        before = release(subject.method, HONEST, found.original, scale, streams=noise["before"]).double()
        for kind in KINDS:
            planted = defect("no-op") if kind == "original" else HONEST
            after = release(subject.method, planted, found.state(kind), scale, streams=noise["after"]).double()
            guesses = guess(objective, before, after, public, records=records)
            each = [cosines(one[:, free], truth[:, free]) for one in guesses]
            measured[kind, factor] = numpy64(torch.stack(each, 1))
    first = found.original.parameters.double()
    shifts = {kind: numpy64((found.state(kind).parameters.double() - first).norm(dim=1)) for kind in KINDS}
    return Deletions(measured, shifts, found.refused)


def _result(parts: list[Deletions], kind: str, factor: float, design: Design, subject: Subject) -> Reconstruction:
    found = np.concatenate([part.cosines[kind, factor] for part in parts])
    nothing = np.concatenate([part.cosines["original", factor] for part in parts])
    shifts = np.concatenate([part.shifts[kind] for part in parts])
    scale = design.noise_scale * factor
    rebuilt, average, difference = (interval(found[:, column]) for column in range(len(_GUESSES)))
    return Reconstruction(
        attack=RECONSTRUCTION,
        against=kind,
        noise_factor=factor,
        noise_scale=scale,
        cosine=rebuilt,
        average=average,
        difference=difference,
        cosines=found[:, 0].tolist(),
        above_average=int((found[:, 0] > found[:, 1:].max(1)).sum()),
        gap=None if kind == "original" else interval(found[:, 0] - nothing[:, 0]),
        gap_allowed=gap_allowed(shifts, scale) if subject.method.declaration.gaussian_noise else None,
        refused=int(sum(part.refused.sum() for part in parts)) if kind == "unlearned" else 0,
    )
