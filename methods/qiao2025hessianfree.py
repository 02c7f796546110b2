r"""Hessian-free online certified unlearning (HF).

X. Qiao, M. Zhang, M. Tang, E. Wei, *Hessian-Free Online Certified Unlearning*, ICLR 2025, arXiv 2404.01712.

Gradient descent with recorded batches B_t and steps η_t; one vector per record (or per group of records), a_0 = 0:

    a_{t+1} = (I − η_t H_t) a_t + η_t · injection_t,        H_t = ∇² of the batch's mean loss at w_t
    unlearned = w_T + Σ_{u∈D_f} a^u_T

    divisor "fixed":      injection_t = 1[u∈B_t] ∇ℓ(w_t; u) / |B_t|                               (the paper's target)
    divisor "remaining":  injection_t = 1[u∈B_t] (∇ℓ(w_t; u) − ∇F_{B_t}(w_t)) / (|B_t| − 1)        (a real retraining)

=====================  =====================  =====================================================
paper                  code                   meaning
=====================  =====================  =====================================================
w_{e,b}                ``step.parameters``    trajectory of the learning run
a^u                    ``vectors``            approximators, [K, R, P] for R groups of records
I − ηH                 ``_propagate``         newest factor on the left
ζ, Δ                   ``_Errors``            recursion bound, one number per replica
=====================  =====================  =====================================================

Certificate (``bound="recursion"``), with e = ŵ − w, c records in the batch, m of them removed, b the divisor,
θ = (c−m)/b, p = m/b and ρ(θ) = max(|1 − ηθλ|, |1 − ηθL|):

    fixed       D' = ρ(θ) D + η‖Σ∇ℓ‖/b                E' = ρ(c/b) E + η[θ(C/2)D² + pLD]
    remaining   D' = ρ(1) D + η‖s‖/(c−m)              E' = ρ(1) E + η[(C/2)D² + p(L−λ)D + |1/(c−m) − 1/(c−1)|·‖s‖]
                s = Σ_{u removed}(∇ℓ(w; u) − ∇F_B(w)), known during training
    a whole batch removed (remaining): the retraining skips the step,
                D' = D + η‖∇F_B(w)‖                   E' = ρ(1) E + η[L·D + ‖∇F_B(w) − injection‖]
    D ← min(D, ‖a‖ + E) after each step,               Δ = min(E_T, D_T + ‖a_T‖)

    D bounds ‖ŵ − w‖, E bounds ‖ŵ − w − a‖: expand ∇F(ŵ) − ∇F(w) to first order; C bounds the remainder.

Differs from the paper: u's own injection is not multiplied by its own factor (the public code does: an O(η²) bias);
the remaining-divisor target and its certificate are ours; noise may be calibrated exactly; vectors are propagated for
the records of a request by replaying the recorded trajectory (``vectors="request"``), or for all n records while
learning (``vectors="all"``), with the same result to rounding. Momentum is propagated (v ← βv + Ha − injection,
a ← a − ηv) but has no certificate.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from learning.objectives import Constants
from learning.release import gaussian_release
from learning.task import SGD, Learned, Task, check_request
from learning.training import Step, sgd_steps, train
from unlearning.claim import Assumption, Certificate, Reference, SeedPolicy, Status
from unlearning.errors import PlanError
from unlearning.protocols import Declaration, State
from unlearning.streams import Streams


@dataclass(frozen=True, slots=True)
class HessianFreeState(Learned):
    """A learned state with what deletion needs.

    Attributes:
        vectors: approximators of all records, [K, n, P], or None when they are propagated per request.
        error_upper: Δ per replica of all deletions so far; None before the first one or without a theorem.
        deleted: records deleted so far, bool [K, n].
    """

    vectors: Tensor | None = None
    error_upper: tuple[float, ...] | None = None
    deleted: Tensor | None = None

    def take(self, positions: list[int]) -> "HessianFreeState":
        """State of the replicas at these positions."""
        chosen = Learned.take(self, positions)
        return replace(
            chosen,
            vectors=None if self.vectors is None else self.vectors[positions],
            error_upper=None if self.error_upper is None else tuple(self.error_upper[p] for p in positions),
            deleted=None if self.deleted is None else self.deleted[positions],
        )


@dataclass(frozen=True, slots=True)
class HessianFree:
    """Unlearning by adding precomputed vectors.

    Attributes:
        vectors: "request" replays the recorded run for the records of a request (cost of about two trainings, no
            storage); "all" stores n·P numbers per replica while learning and deletes by one addition.
    """

    vectors: Literal["request", "all"] = "request"

    declaration = Declaration(
        title="Hessian-free online unlearning",
        citation="Qiao, Zhang, Tang & Wei, Hessian-Free Online Certified Unlearning, ICLR 2025, arXiv 2404.01712",
        reference=Reference.EMPTY_REQUEST,
        seed_policy=SeedPolicy.PER_SEED,
        stores="the recorded run (seed, batches, training set), or one vector per record",
        differs=(
            "A record's own injection is not multiplied by its own factor, as the recursion says and the public code "
            "does not.",
            "The remaining-divisor target (a real retraining averages over the records left) and its certificate are "
            "added.",
            "The certificate is the checked recursion, not the published noise formula.",
        ),
        additive=True,
    )

    def __post_init__(self) -> None:
        """Check the field.

        Raises:
            ValueError: an unknown choice.
        """
        if self.vectors not in ("request", "all"):
            raise ValueError(f'vectors must be "request" or "all", got {self.vectors!r}.')

    def check_task(self, task: Task) -> None:
        """Refuse a recipe that is no gradient descent.

        Raises:
            PlanError: the recipe is of another kind.
        """
        _recipe(task)

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> HessianFreeState:
        """Run gradient descent; with vectors="all", propagate every record's vector along."""
        _recipe(task)
        none = torch.zeros_like(members)
        if self.vectors == "request":
            learned = train(task, members, streams=streams)
            return HessianFreeState(learned.parameters, task, members, streams, deleted=none)
        own = torch.eye(task.rows, dtype=torch.bool, device=task.device)
        groups = own.expand(members.shape[0], -1, -1) & members.unsqueeze(2)
        run = _propagate(task, members, groups, streams, errors=False)
        return HessianFreeState(run.parameters, task, members, streams, vectors=run.vectors, deleted=none)

    def unlearn(self, state: HessianFreeState, request: Tensor, *, streams: Streams) -> HessianFreeState:
        """Add the vectors of the records in `request`; an empty request is the identity."""
        check_request(state, request)
        if not bool(request.any()):
            return state
        task, deleted = state.task, request if state.deleted is None else state.deleted | request
        kept = state.members & ~request
        learned_from = state.members | (deleted & ~request)
        certified = task.constants is not None and not _recipe(task).momentum
        error = None
        if state.vectors is None or certified:
            # one replay gives the vectors of this request and the error of all deletions so far
            first = bool((deleted == request).all())
            groups = request.unsqueeze(1) if first else torch.stack([request, deleted], 1)
            run = _propagate(task, learned_from, groups, state.training_streams(), errors=certified)
            error = None if run.error_upper is None else tuple(run.error_upper.tolist())
            shift = run.vectors[:, 0]
        if state.vectors is not None:
            shift = (request.to(state.vectors.dtype).unsqueeze(1) @ state.vectors).squeeze(1)
        return replace(state, parameters=state.parameters + shift, members=kept, error_upper=error, deleted=deleted)

    def certify(self, state: HessianFreeState, request: Tensor) -> Certificate | None:
        """The recursion bound; None for networks and with momentum, where no constant is proved."""
        task = state.task
        constants = task.constants
        if constants is None or _recipe(task).momentum:
            return None
        error = state.error_upper if state.error_upper is not None else (0.0,) * state.parameters.shape[0]
        divisor = _recipe(task).divisor
        assumptions = (
            Assumption("inputs have norm at most R", Status.PROVED, "rows are clipped to R", constants.norm_upper),
            Assumption(
                "the loss is λ-strongly convex", Status.PROVED, "½λ‖w‖² in every record", constants.strong_convexity
            ),
            Assumption("the loss is L-smooth", Status.PROVED, "closed form in R", constants.smoothness_upper),
            Assumption(
                "the Hessian is C-Lipschitz", Status.PROVED, "closed form in R", constants.hessian_lipschitz_upper
            ),
            Assumption(
                "the reference uses the same initial point and batches",
                Status.CHECKED,
                f"the audit's paired retraining does, with the {divisor} divisor",
            ),
            Assumption("no step was clipped", Status.PROVED, "the recipe has no clipping"),
            Assumption("exact arithmetic", Status.ASSUMED, f"{task.dtype} throughout; rounding is not in Δ"),
        )
        return Certificate(f"error recursion after Qiao et al. 2025, {divisor} divisor", error, assumptions)

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I)."""
        return gaussian_release(state, noise_scale, streams=streams)


@dataclass(frozen=True, slots=True)
class _Run:
    parameters: Tensor
    vectors: Tensor
    error_upper: Tensor | None


def _propagate(task: Task, members: Tensor, groups: Tensor, streams: Streams, *, errors: bool) -> _Run:
    """Replay the run on `members` with one vector per group, groups bool [K, R, n]; bound the last group's error."""
    recipe = _recipe(task)
    replicas, count, _ = groups.shape
    vectors = torch.zeros(replicas, count, task.objective.size, dtype=task.dtype, device=task.device)
    velocity = torch.zeros_like(vectors)
    constants = task.constants if errors else None
    bound = _Errors(constants, replicas, task) if constants is not None else None
    step = None
    for step in sgd_steps(task, members, streams=streams):
        chosen = groups.gather(2, step.rows.unsqueeze(1).expand(-1, count, -1)) & step.member.unsqueeze(1)
        injection = _injection(step, chosen, recipe.divisor)
        change = step.point.hvp(step.weights, vectors) - injection
        if bound is not None:
            bound.advance(step, chosen[:, -1], injection[:, -1], recipe.divisor)
        if recipe.momentum:
            velocity = recipe.momentum * velocity + change
            change = velocity
        vectors = vectors - step.step_size * change
        if bound is not None:
            bound.tighten(vectors[:, -1])
    if step is None:
        raise ValueError("A recipe must have at least one step.")
    return _Run(step.following, vectors, None if bound is None else bound.sensitivity_upper(vectors[:, -1]))


def _injection(step: Step, chosen: Tensor, divisor: str) -> Tensor:
    """What each group's vector receives in this step, [K, R, P], for the chosen records, bool [K, R, B]."""
    weights = chosen.to(step.parameters.dtype)
    if divisor == "fixed":
        return step.point.gradients(weights / step.divisor[:, None, None])
    present = step.member.sum(1)
    # a batch of one record that is removed: the retraining skips the step, and the record's own gradient comes back
    alone = (present == 1).to(weights.dtype)
    removed = weights.sum(2, keepdim=True)
    below = (present - 1).clamp(min=1).to(weights.dtype)[:, None, None]
    total = step.point.gradients(weights / below)
    return total - (1 - alone)[:, None, None] * removed / below * step.gradient.unsqueeze(1)


class _Errors:
    """The recursion of the module's docstring, one (D, E) per replica.

    Guarantee: D bounds ‖retrained − learned‖ and E bounds ‖retrained − learned − vectors‖ after every step.
    """

    def __init__(self, constants: Constants, replicas: int, task: Task) -> None:
        self.constants = constants
        self.distance = torch.zeros(replicas, dtype=torch.float64, device=task.device)
        self.error = torch.zeros_like(self.distance)

    def _contraction_upper(self, step_size: float, share: Tensor) -> Tensor:
        strong, smooth = self.constants.strong_convexity, self.constants.smoothness_upper
        return torch.maximum((1 - step_size * share * strong).abs(), (1 - step_size * share * smooth).abs())

    def advance(self, step: Step, chosen: Tensor, injection: Tensor, divisor: str) -> None:
        """Bounds at t + 1 from bounds at t; `chosen` bool [K, B] are the removed records, `injection` [K, P]."""
        present, removed = step.member.sum(1).to(torch.float64), chosen.sum(1).to(torch.float64)
        if divisor == "fixed":
            self._advance_fixed(step, present, removed, injection)
        else:
            self._advance_remaining(step, present, removed, injection)

    def _advance_fixed(self, step: Step, present: Tensor, removed: Tensor, injection: Tensor) -> None:
        eta, c = step.step_size, self.constants
        kept, share = (present - removed) / step.divisor, removed / step.divisor
        error = self._contraction_upper(eta, present / step.divisor) * self.error + eta * (
            kept * c.hessian_lipschitz_upper / 2 * self.distance**2 + share * c.smoothness_upper * self.distance
        )
        self.distance = self._contraction_upper(eta, kept) * self.distance + eta * injection.norm(dim=1).double()
        self.error = error

    def _advance_remaining(self, step: Step, present: Tensor, removed: Tensor, injection: Tensor) -> None:
        eta, c = step.step_size, self.constants
        contraction = self._contraction_upper(eta, torch.ones_like(present))
        # injection = s/(c−1); s = 0 where the only record of a batch is removed, and c − 1 = 0 there
        pull = injection.norm(dim=1).double() * (present - 1)
        kept = (present - removed).clamp(min=1)
        additive = (1 / kept - 1 / (present - 1).clamp(min=1)).abs() * pull
        error = contraction * self.error + eta * (
            c.hessian_lipschitz_upper / 2 * self.distance**2
            + removed / present.clamp(min=1) * (c.smoothness_upper - c.strong_convexity) * self.distance
            + additive
        )
        distance = contraction * self.distance + eta * pull / kept
        gradient = step.gradient.norm(dim=1).double()
        missing = (step.gradient - injection).norm(dim=1).double()
        whole_error = contraction * self.error + eta * (c.smoothness_upper * self.distance + missing)
        whole = (removed == present) & (present > 0)
        empty = present == 0
        error = torch.where(whole, whole_error, error)
        distance = torch.where(whole, self.distance + eta * gradient, distance)
        self.error, self.distance = torch.where(empty, self.error, error), torch.where(empty, self.distance, distance)

    def tighten(self, vector: Tensor) -> None:
        """D ← min(D, ‖a‖ + E)."""
        self.distance = torch.minimum(self.distance, vector.norm(dim=1).double() + self.error)

    def sensitivity_upper(self, vector: Tensor) -> Tensor:
        """Δ = min(E, D + ‖a‖), per replica.

        Guarantee: at least ‖unlearned − retrained‖ in exact arithmetic.
        """
        return torch.minimum(self.error, self.distance + vector.norm(dim=1).double())


def _recipe(task: Task) -> SGD:
    if not isinstance(task.recipe, SGD):
        raise PlanError(f'method hessian-free needs recipe.kind = "sgd", got {task.recipe}.')
    return task.recipe
