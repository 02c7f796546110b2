r"""Hessian-free online certified unlearning (HF).

X. Qiao, M. Zhang, M. Tang, E. Wei, *Hessian-Free Online Certified Unlearning*, ICLR 2025, arXiv 2404.01712.

Gradient descent with recorded batches B_t and steps η_t; one vector per record (or per group of records), a_0 = 0:

    a_{t+1} = (I − η_t H_t) a_t + η_t · injection_t,        H_t = ∇² of the batch's mean loss at w_t
    unlearned = w_T + Σ_{u∈D_f} a^u_T

    divisor "fixed":      injection_t = 1[u∈B_t] ∇ℓ(w_t; u) / |B_t|                               (the paper's target)
    divisor "remaining":  injection_t = 1[u∈B_t] (∇ℓ(w_t; u) − ∇F_{B_t}(w_t)) / (|B_t| − 1)        (a real retraining)

=====================  ==========================  =====================================================
paper                  code                        meaning
=====================  ==========================  =====================================================
w_{e,b}                ``step.parameters``         trajectory of the learning run
a^u                    ``vectors``                 approximators, [K, R, P]
I − ηH                 ``learning.propagation``    newest factor on the left
q                      ``recipe.decay``            factor of the step size, per step
ρ, G                   ``GradientBounds``          contraction of a step, bound on a record's gradient
2ηGζ                   ``published_upper``         ζ = Σ_t q^t (m_t/|B_t|) Π_{s>t} ρ_s
=====================  ==========================  =====================================================

Bounds on ‖unlearned − paired retraining‖, each at least the distance under its assumptions:

* ``recursion``      (D, E) of `learning.recursion`, with D ← min(D, ‖a‖ + E). ``trace="replay"`` measures the
                     removed records' gradients along the run; ``"norms"`` bounds them from norms kept per record while
                     learning, by the triangle inequality: looser, and as fast as the deletion.
* ``published``      2ηGζ: the two halves ‖ŵ − w‖ and ‖a‖ bounded apart. Proved for logistic models, where the loss part
                     of a gradient is at most R (softmax: √2·R) and λ‖w‖ follows from the recipe; for networks ρ and G
                     are measured along the run, and the bound is conditional on them.
* ``a-posteriori``   e' = ρe + η‖∇F_t(w̃)‖ from e_0 = ‖w_0 − w̃‖, over the retained records' batches: strong convexity
                     alone, at whatever w̃ came out.

Vectors kept in fewer bits add what rounding did to them, ‖a^u − stored a^u‖, to the first two bounds.

Differs from the paper: u's own injection is not multiplied by its own factor (the public code does: an O(η²) bias);
the remaining-divisor target and its certificates are ours, as is the a-posteriori bound; the series of the published
bound is summed, where the public code prints 1 − q for 1/(1 − q); noise may be calibrated exactly; vectors are
propagated for the records of a request by replaying the recorded trajectory (``vectors="request"``), or for chosen or
all records while learning (``vectors="all"``), with the same result to rounding. Momentum is propagated (v ← βv + Ha −
injection, a ← a − ηv) but has no certificate.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learning.checkpoint import Checkpoint, fingerprint
from learning.minimiser import full_gradient
from learning.newton import refuse_not_finite
from learning.online import DeletionSession, OnlineCertificate
from learning.propagation import (
    batch_gradients,
    chunk_rows,
    counts,
    estimated_gradient_bounds,
    plain_descent,
    propagate_groups,
    propagate_records,
)
from learning.recursion import (
    ErrorRecursion,
    RecordNorms,
    Trace,
    a_posteriori_upper,
    constants_assumptions,
    gradients_assumption,
    proved_gradient_bounds,
    published_upper,
)
from learning.release import gaussian_release
from learning.schedule import schedule
from learning.task import Learned, Task, check_request
from learning.training import train
from learning.vectors import STORAGE, VectorStore, check_folder, record_ids
from unlearning.claim import Assumption, Certificate, Reference, SeedPolicy, Status
from unlearning.errors import PlanError
from unlearning.fields import check_count
from unlearning.ledger import Ledger
from unlearning.protocols import Declaration, Diagnostic, Rate, Regime, State
from unlearning.streams import Streams

Bound = Literal["recursion", "published", "a-posteriori"]


@dataclass(frozen=True, slots=True)
class HessianFreeState(Learned):
    """A learned state with what deletion needs.

    Attributes:
        vectors: approximators of records, or None when they are propagated per request.
        norms: what bounds any request without a replay, where vectors are kept and a theorem applies.
        error_upper: Δ per replica of all deletions so far; None before the first one or without a theorem.
        deleted: records deleted so far, bool [K, n].
        learned: parameters before the first deletion, [K, P].
    """

    vectors: VectorStore | None = None
    norms: RecordNorms | None = None
    error_upper: tuple[float, ...] | None = None
    deleted: Tensor | None = None
    learned: Tensor | None = None

    def take(self, positions: list[int]) -> "HessianFreeState":
        """State of the replicas at these positions."""
        chosen = Learned.take(self, positions)
        return replace(
            chosen,
            vectors=None if self.vectors is None else self.vectors.take(positions),
            norms=None if self.norms is None else self.norms.take(positions),
            error_upper=None if self.error_upper is None else tuple(self.error_upper[p] for p in positions),
            deleted=None if self.deleted is None else self.deleted[positions],
            learned=None if self.learned is None else self.learned[positions],
        )


@dataclass(frozen=True, slots=True)
class HessianFree:
    """Unlearning by adding precomputed vectors.

    Attributes:
        vectors: "request" replays the recorded run for the records of a request (cost of about two trainings, no
            storage); "all" keeps one vector per record while learning and deletes by one addition.
        bound: which sensitivity bound the certificate states.
        rows: with vectors="all", the records whose vectors are kept; None keeps all n.
        storage: of kept vectors: "float64", "float32" or "bfloat16".
        folder: where kept vectors lie, in a file per learning run; a run that was killed goes on where it stopped. None
            keeps them in memory.
        trace: of bound="recursion": "replay" repeats the run, "norms" reads what was kept; None: norms if kept.
        memory: bytes that vectors propagated at once may take, with what is computed from them.
    """

    vectors: Literal["request", "all"] = "request"
    bound: Bound = "recursion"
    rows: tuple[int, ...] | None = None
    storage: Literal["float64", "float32", "bfloat16"] = "float64"
    folder: str | Path | None = None
    trace: Literal["replay", "norms"] | None = None
    memory: int = 2**30

    @property
    def declaration(self) -> Declaration:
        """What the method says of itself: which bound it states, and what it keeps."""
        kept = "the recorded run (seed, batches, training set)"
        if self.vectors == "all":
            kept = f"one vector per {'record' if self.rows is None else 'chosen record'}, in {self.storage}"
        rates = _RATES if self.storage == "float64" else _ROUNDED_RATES
        differs = (*_DECLARATION.differs, _DIFFERS[self.bound])
        # the published bound is stated for networks too, conditional on what is measured of them
        regime = Regime.NON_CONVEX if self.bound == "published" else Regime.STRONGLY_CONVEX
        return replace(_DECLARATION, stores=kept, differs=differs, regime=regime, rates=rates)

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: an unknown choice, or two that do not go together.
        """
        if self.vectors not in ("request", "all"):
            raise ValueError(f'vectors must be "request" or "all", got {self.vectors!r}.')
        if self.bound not in ("recursion", "published", "a-posteriori"):
            raise ValueError(f'bound must be "recursion", "published" or "a-posteriori", got {self.bound!r}.')
        if self.storage not in STORAGE:
            raise ValueError(f"storage must be one of {', '.join(STORAGE)}, got {self.storage!r}.")
        if self.trace not in (None, "replay", "norms"):
            raise ValueError(f'trace must be "replay" or "norms", got {self.trace!r}.')
        check_count("memory", self.memory)
        check_folder("folder", self.folder)
        if self.vectors == "request":
            for name, default in (("rows", None), ("storage", "float64"), ("folder", None)):
                if getattr(self, name) != default:
                    raise ValueError(f'{name} says how vectors are kept, which needs vectors="all".')
            if self.trace == "norms":
                raise ValueError('trace="norms" is kept with the vectors, which needs vectors="all".')
        if self.rows is not None:
            object.__setattr__(self, "rows", tuple(record_ids("rows", self.rows)))
            if not self.rows or len(set(self.rows)) < len(self.rows) or min(self.rows) < 0:
                raise ValueError(f"rows must name different records, at least one, got {list(self.rows)}.")

    def check_task(self, task: Task) -> None:
        """Refuse a recipe that is no plain gradient descent, and rows outside the data.

        Raises:
            PlanError: the recipe is of another kind, or projects; or a row does not exist.
        """
        plain_descent(task)
        if self.rows is not None and max(self.rows) >= task.rows:
            raise PlanError(f"rows must name records below {task.rows}, got {max(self.rows)}.")

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> HessianFreeState:
        """Run gradient descent; with vectors="all", propagate the records' vectors along.

        Raises:
            PlanError: the recipe is no plain gradient descent, a row does not exist, or a session took what an earlier
                run left in the folder into service.
            Diverged: the run left the finite numbers.
            DamagedState: what an earlier run left in the folder is damaged.
        """
        self.check_task(task)
        none = torch.zeros_like(members)
        if self.vectors == "request":
            learned = train(task, members, streams=streams)
            return HessianFreeState(learned.parameters, task, members, streams, deleted=none)
        task.check_members(members)
        records = np.arange(task.rows) if self.rows is None else np.array(self.rows)
        certified = _certified(task) and self.bound == "recursion" and self.trace != "replay"
        folder, checkpoint = None, None
        if self.folder is not None:
            choices = self.rows, self.storage, certified, chunk_rows(task, len(streams), self.memory)
            folder = Path(self.folder) / fingerprint(task, members, streams, *choices)[:16]
            checkpoint = Checkpoint(folder)
        size, replicas = task.objective.size, len(streams)
        store = VectorStore.create(replicas, records, size, self.storage, device=task.device, folder=folder)
        parameters, norms = propagate_records(
            task, members, streams, store, memory=self.memory, norms=certified, checkpoint=checkpoint
        )
        return HessianFreeState(parameters, task, members, streams, vectors=store, norms=norms, deleted=none)

    def unlearn(self, state: HessianFreeState, request: Tensor, *, streams: Streams) -> HessianFreeState:
        """Add the vectors of the records in `request`; an empty request is the identity.

        Raises:
            ValueError: the request is no proper part of the training set, or names a record without a vector.
            DamagedState: a stored vector is not finite.
            Diverged: a parameter or a vector is not finite; the state is unchanged.
        """
        check_request(state, request)
        if not bool(request.any()):
            return state
        refuse_not_finite(state.parameters, "the parameters", state.task, range(len(request)))
        task, deleted = state.task, request if state.deleted is None else state.deleted | request
        learned_from = state.members | (deleted & ~request)
        recursive = self.bound == "recursion" and _certified(task)
        trace, shift = None, None
        if state.vectors is not None:
            shift = state.vectors.total(request, task.dtype, task.device)
        if state.vectors is None or (recursive and state.norms is None):
            # one replay gives the vectors of this request and the numbers of all deletions so far
            first = bool((deleted == request).all())
            groups = request.unsqueeze(1) if first else torch.stack([request, deleted], 1)
            run = propagate_groups(task, learned_from, groups, state.training_streams())
            trace, shift = run.trace, run.vectors[:, 0] if shift is None else shift
        elif recursive and state.norms is not None:
            trace = state.norms.trace(deleted.cpu().numpy(), plain_descent(task).divisor)
        if shift is None:
            raise ValueError("the state must hold vectors, or streams that replay its run, got neither.")
        refuse_not_finite(shift, "the vectors", task, range(len(request)), way_out="Lower recipe.step_size.")
        after = replace(
            state,
            parameters=state.parameters + shift,
            members=state.members & ~request,
            deleted=deleted,
            learned=state.parameters if state.learned is None else state.learned,
        )
        return replace(after, error_upper=self._error_upper(after, learned_from, trace))

    def certify(self, state: HessianFreeState, request: Tensor) -> Certificate | None:
        """Δ by the chosen bound; None where no theorem applies: momentum, and smooth networks unless published.

        A model with a kink gets an infinite Δ and the assumption of smoothness, violated by the layers it names.
        """
        task, recipe = state.task, plain_descent(state.task)
        if recipe.momentum or (_certified(task) is False and task.objective.smooth and self.bound != "published"):
            return None
        error = state.error_upper if state.error_upper is not None else (0.0,) * state.parameters.shape[0]
        theorem = _THEOREMS[self.bound]
        if self.bound == "recursion" and state.norms is not None:
            theorem += ", gradients bounded by norms per record"
        assumptions = (
            *self._constants(task),
            Assumption(
                "the reference uses the same initial point and batches",
                Status.CHECKED,
                f"the audit's paired retraining does, with the {recipe.divisor} divisor",
            ),
            Assumption("no step was clipped", Status.PROVED, "the recipe has no clipping"),
            *self._stored(state),
            Assumption("exact arithmetic", Status.ASSUMED, f"{task.dtype} throughout; rounding is not in Δ"),
        )
        return Certificate(f"{theorem}, {recipe.divisor} divisor", error, assumptions)

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I)."""
        return gaussian_release(state, noise_scale, streams=streams)

    def diagnostics(self, state: HessianFreeState) -> tuple[Diagnostic, ...]:
        """Norm of the added vectors, Δ beside it, and the distance to the minimiser of the retained records."""
        learned = state.parameters if state.learned is None else state.learned
        moved = torch.linalg.vector_norm(state.parameters - learned, dim=1, dtype=torch.float64)
        found = [
            Diagnostic("norm of the added vectors", "how far unlearning moved the model", tuple(moved.tolist())),
        ]
        if state.error_upper is not None:
            ratio = tuple(d / m if m > 0 else 0.0 for d, m in zip(state.error_upper, moved.tolist(), strict=True))
            meaning = "above 1 the bound allows an error larger than the correction itself"
            found.append(Diagnostic("sensitivity over the norm of the added vectors", meaning, ratio))
        constants = state.task.constants
        if constants is not None:
            gradient = full_gradient(state.task, state.parameters, state.members)
            distance = gradient.norm(dim=1).double() / constants.strong_convexity
            meaning = "‖∇F_r‖/λ, at least the distance to the minimiser of the retained records; decides nothing"
            found.append(Diagnostic("distance to the minimiser, upper", meaning, tuple(distance.tolist())))
        return tuple(found)

    def session(self, state: HessianFreeState, ledger: Ledger) -> DeletionSession:
        """Take one learned replica into service: deletions in place, releases on the books.

        The state's vectors become the session's: what it deletes is erased from them.

        Raises:
            ValueError: the state holds several replicas, no vectors, or earlier deletions.
            PlanError: no theorem gives Δ without a replay.
        """
        if state.vectors is None or state.parameters.shape[0] != 1 or state.learned is not None:
            raise ValueError('A session needs one replica, learned with vectors="all" and without earlier deletions.')
        constants = state.task.constants
        if state.norms is None or constants is None:
            raise PlanError(
                'A session certifies from norms: learn a model with proved constants, bound="recursion" and no '
                "momentum. Any other model deletes through unlearn, and noise without a certificate through release."
            )
        certificate = OnlineCertificate(state.norms, constants, plain_descent(state.task).divisor)
        return DeletionSession(
            state.parameters[0].clone(), state.vectors, state.members[0].cpu().numpy().copy(), ledger, certificate
        )

    def _error_upper(
        self, state: HessianFreeState, learned_from: Tensor, trace: Trace | None
    ) -> tuple[float, ...] | None:
        """Δ of all deletions so far, in the state after them; None without a theorem."""
        task, recipe, constants, deleted = state.task, plain_descent(state.task), state.task.constants, state.deleted
        if recipe.momentum or deleted is None:
            return None
        asked = deleted.cpu().numpy()
        if not task.objective.smooth:
            return tuple(math.inf if own.any() else 0.0 for own in asked)
        fixed = recipe.divisor == "fixed"
        if self.bound == "recursion":
            if constants is None or trace is None:
                return None
            found = ErrorRecursion(constants, recipe.divisor).sensitivity_upper(trace)
        else:
            streams = state.training_streams()
            batches = counts(task, learned_from, deleted, streams)
            start = task.objective.initial(streams.generators("initial")).to(task.device, task.dtype)
            if self.bound == "published":
                if constants is None:
                    bounds = estimated_gradient_bounds(task, learned_from, streams)
                else:
                    norm = start.norm(dim=1).double().cpu().numpy()
                    proved = proved_gradient_bounds(constants, batches, norm, fixed=fixed)
                    if proved is None:
                        return tuple(math.inf if own.any() else 0.0 for own in asked)
                    bounds = proved
                found = published_upper(batches, bounds, recipe.divisor)
            elif constants is None:
                return None
            else:
                apart = (start - state.parameters).norm(dim=1).double().cpu().numpy()
                residual = batch_gradients(task, state.parameters, state.members, schedule(task, streams))
                found = a_posteriori_upper(constants, batches, apart, residual, fixed=fixed)
        stored = np.zeros(len(found))
        if state.vectors is not None and self.bound != "a-posteriori":  # which holds at any point, rounded or not
            stored = state.vectors.rounding_upper(asked)
        return tuple(float(d + s) if own.any() else 0.0 for d, s, own in zip(found, stored, asked, strict=True))

    def _constants(self, task: Task) -> tuple[Assumption, ...]:
        """What the bound assumes of the loss."""
        constants, smooth = task.constants, _kinks(task)
        if constants is None:
            measured = (
                Assumption("ρ bounds every step's factor", Status.ESTIMATED, "Ritz values of the batch's Hessian"),
                Assumption("gradients have norm at most G", Status.ESTIMATED, "largest one along the learning run"),
            )
            return (smooth, *measured) if self.bound == "published" else (smooth,)
        found = constants_assumptions(constants, hessian=self.bound == "recursion")
        return (*found, gradients_assumption(constants)) if self.bound == "published" else found

    def _stored(self, state: HessianFreeState) -> tuple[Assumption, ...]:
        if state.vectors is None or state.vectors.storage == "float64" or self.bound == "a-posteriori":
            return ()
        how = f"measured when the vectors were stored in {state.vectors.storage}"
        return (Assumption("Δ holds the rounding of stored vectors", Status.CHECKED, how),)


_DECLARATION = Declaration(
    title="Hessian-free online unlearning",
    citation="Qiao, Zhang, Tang & Wei, Hessian-Free Online Certified Unlearning, ICLR 2025, arXiv 2404.01712",
    reference=Reference.EMPTY_REQUEST,
    seed_policy=SeedPolicy.PER_SEED,
    differs=(
        "A record's own injection is not multiplied by its own factor, as the recursion says and the public code does "
        "not.",
        "The remaining-divisor target (a real retraining averages over what is left) and its certificate are added.",
    ),
    additive=True,
    batch_equals_online=True,
)
_RECURSION = "the error recursion: what the vectors leave out is η²(m/n)² after a fixed number of steps"
_RATES = (*Rate.in_share(2, _RECURSION), Rate("step size", 2, _RECURSION))
_ROUNDING = "vectors kept in fewer bits are off by a share of themselves, of order ηm/n"
_ROUNDED_RATES = (*Rate.in_share(1, _ROUNDING), Rate("step size", 1, _ROUNDING))
_DIFFERS: dict[Bound, str] = {
    "recursion": "The certificate is the checked recursion, not the published noise formula.",
    "published": "The certificate is the published formula with its series summed; the public code prints 1 − q in the "
    "place of 1/(1 − q).",
    "a-posteriori": "The certificate is measured at the unlearned model, not the published noise formula.",
}
_THEOREMS = {
    "recursion": "error recursion after Qiao et al. 2025",
    "published": "2ηGζ after Qiao et al. 2025, the series summed",
    "a-posteriori": "strong convexity along the retained batches, at the unlearned model",
}


def _certified(task: Task) -> bool:
    """Whether constants are proved and the recipe is one that the theorems cover."""
    return task.constants is not None and not plain_descent(task).momentum


def _kinks(task: Task) -> Assumption:
    status = Status.ASSUMED if task.objective.smooth else Status.VIOLATED
    return Assumption("the loss is smooth, with a Lipschitz Hessian", status, task.objective.smoothness_note)
