r"""Newton-step unlearning.

A. Sekhari, J. Acharya, G. Kamath, A. T. Suresh, *Remember What You Want to Forget: Algorithms for Machine
Unlearning*, NeurIPS 2021, arXiv 2103.03279.

    w̃ = w* + (1/(n−m)) · H_r⁻¹ · Σ_{u∈D_f} ∇ℓ(w*; u),      H_r = ∇²F_r(w*)                      Algorithm 1
    released = w̃ + N(0, σ²I)

================  ======================  ================================================
paper             code                    meaning
================  ======================  ================================================
ŵ                 ``state.parameters``    (approximate) minimiser of F on D
n, m              ``rows``, ``removed``   records before, records to delete
Ĥ                 ``hessian``             Hessian of the mean loss over the records kept
λ, M, L           ``strong_convexity``,   constants of ℓ, regulariser included
                  ``hessian_lipschitz``,
                  ``gradient_bound``
================  ======================  ================================================

Bounds on ‖w̃ − argmin F_r‖, each at least the true distance under its assumptions:

* ``published``      2·C·G²·m² / (λ³·n²), from public numbers only (their Lemma 3), for one deletion from a minimiser;
                     plus what the solver's tolerance adds, τ/λ·(n/(n−m) + 1). Infinite after an earlier deletion.
* ``error``          C·(‖Σ∇ℓ(w*; u)‖ + nτ)² / (2λ³(n−m)²) + nτ/((n−m)λ) + τ_r/λ, with τ = ‖∇F(w*)‖. Newton's error is
                     at most C/(2λ)·‖w* − w_r‖², and ‖w* − w_r‖ ≤ ‖∇F_r(w*)‖/λ ≤ (‖Σ∇ℓ‖ + nτ)/((n−m)λ).
* ``a-posteriori``   (‖∇F_r(w̃)‖ + τ_r)/λ, strong convexity alone.

Differs from the paper: the noise may be calibrated exactly (Balle & Wang 2018); the tolerance of the solver is part of
the bounds; the bias is regularised with the other weights.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from learning.minimiser import at_all, full_gradient, full_hessian, minimise
from learning.objectives import Constants
from learning.release import gaussian_release
from learning.task import Learned, Minimise, Task, check_request
from unlearning.claim import Assumption, Certificate, Reference, SeedPolicy, Status
from unlearning.errors import PlanError
from unlearning.protocols import Declaration, Diagnostic, Rate, Regime, State
from unlearning.streams import Streams

Bound = Literal["published", "error", "a-posteriori"]


@dataclass(frozen=True, slots=True)
class Unlearned(Learned):
    """An unlearned state: the bounds of its last deletion travel with it, each one Δ per replica.

    Attributes:
        error_upper: the bound that is certified; empty without proved constants.
        others: the other bounds by name.
    """

    error_upper: tuple[float, ...] = ()
    others: dict[Bound, tuple[float, ...]] = field(default_factory=dict)

    def take(self, positions: list[int]) -> "Unlearned":
        """State of the replicas at these positions."""
        chosen = Learned.take(self, positions)
        own = self.error_upper
        others = {name: tuple(values[p] for p in positions) for name, values in self.others.items()}
        return replace(chosen, error_upper=tuple(own[p] for p in positions) if own else (), others=others)


@dataclass(frozen=True, slots=True)
class NewtonStep:
    """One Newton step on the objective of the retained records, from the minimiser.

    Attributes:
        bound: which sensitivity bound the certificate states.
    """

    bound: Bound = "error"

    declaration = Declaration(
        title="Newton step",
        citation="Sekhari, Acharya, Kamath & Suresh, Remember What You Want to Forget, NeurIPS 2021, arXiv 2103.03279",
        reference=Reference.EMPTY_REQUEST,
        seed_policy=SeedPolicy.DETERMINISTIC,
        stores="the parameters and the training set (its Hessian is formed at deletion time)",
        differs=(
            "The noise may be calibrated exactly (Balle & Wang 2018) instead of by the classical formula.",
            "The tolerance of the solver is part of the bounds.",
            "The bias is regularised with the other weights.",
        ),
        regime=Regime.STRONGLY_CONVEX,
        exact_on_quadratics=True,
        rates=Rate.in_share(2, "Sekhari et al. 2021, Lemma 3: 2CG²m²/(λ³n²)"),
    )

    def __post_init__(self) -> None:
        """Check the field.

        Raises:
            ValueError: an unknown bound.
        """
        if self.bound not in ("published", "error", "a-posteriori"):
            raise ValueError(f'bound must be "published", "error" or "a-posteriori", got {self.bound!r}.')

    def check_task(self, task: Task) -> None:
        """Refuse a recipe that is no exact minimiser.

        Raises:
            PlanError: the recipe is of another kind.
        """
        _tolerance(task)

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Learned:
        """Minimise the regularised mean loss.

        Raises:
            PlanError: the recipe is no exact minimiser.
        """
        return Learned(minimise(task, members, _tolerance(task)), task, members, streams)

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        """One Newton step; an empty request is the identity."""
        check_request(state, request)
        if not bool(request.any()):
            return state
        task, kept = state.task, state.members & ~request
        total = at_all(task, state.parameters).gradient(request.to(task.dtype))  # a sum, not a mean
        hessian = full_hessian(task, state.parameters, kept)
        step = torch.cholesky_solve(total.unsqueeze(-1), torch.linalg.cholesky(hessian)).squeeze(-1)
        # replicas with an empty request stay where they are: total = 0 there
        parameters = state.parameters + step / kept.sum(1, keepdim=True)
        bounds = _bounds(state, request, total, parameters)
        error = bounds.pop(self.bound, ())
        return Unlearned(parameters, task, kept, state.streams, error_upper=error, others=bounds)

    def certify(self, state: Learned, request: Tensor) -> Certificate | None:
        """Δ by the chosen bound; None where the objective has no proved constants."""
        task = state.task
        constants = task.constants
        if constants is None:
            return None
        replicas = state.parameters.shape[0]
        error = state.error_upper if isinstance(state, Unlearned) else (0.0,) * replicas
        assumptions = (
            Assumption("inputs have norm at most R", Status.PROVED, "rows are clipped to R", constants.norm_upper),
            Assumption(
                "the loss is λ-strongly convex", Status.PROVED, "½λ‖w‖² in every record", constants.strong_convexity
            ),
            Assumption(
                "the Hessian is C-Lipschitz",
                Status.PROVED,
                "closed form in R",
                constants.hessian_lipschitz_upper,
            ),
            Assumption(
                "the models are minimisers up to the tolerance",
                Status.CHECKED,
                "gradient norm recomputed after training",
                _tolerance(task),
            ),
            Assumption("exact arithmetic", Status.ASSUMED, f"{task.dtype} throughout; rounding is not in Δ"),
        )
        return Certificate(_THEOREMS[self.bound], error, assumptions)

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I)."""
        return gaussian_release(state, noise_scale, streams=streams)

    def prior_sensitivity_upper(self, task: Task, request_size: int) -> float:
        """The published bound 2·C·G²·m²/(λ³·n²) with the solver's tolerance: known before any data is seen.

        Raises:
            PlanError: the objective has no proved constants.
        """
        constants = task.constants
        if constants is None or constants.gradient_bound_upper is None:
            raise PlanError(
                f'budget = "prior" needs proved constants, and {task.objective.description} on {task.dataset.name} has '
                "none. Give a number."
            )
        return _published(constants, _tolerance(task), task.rows, request_size)

    def diagnostics(self, state: Learned) -> tuple[Diagnostic, ...]:
        """The bounds of the last deletion that the certificate does not state."""
        others = state.others if isinstance(state, Unlearned) else {}
        return tuple(
            Diagnostic(f'bound = "{name}"', _THEOREMS[name], values, is_sensitivity=True)
            for name, values in others.items()
        )


def _bounds(state: Learned, request: Tensor, total: Tensor, parameters: Tensor) -> dict[Bound, tuple[float, ...]]:
    """Every bound on ‖parameters − argmin F_r‖; none without proved constants."""
    task, constants = state.task, state.task.constants
    if constants is None:
        return {}
    strong, tolerance = constants.strong_convexity, _tolerance(task)
    rows, removed = state.members.sum(1), request.sum(1)
    if isinstance(state, Unlearned):  # the lemma starts at a minimiser, and a Newton step's end is none
        published = (float("inf"),) * len(rows)
    else:
        sizes = zip(rows.tolist(), removed.tolist(), strict=True)
        published = tuple(_published(constants, tolerance, n, m) for n, m in sizes)
    residual = full_gradient(task, parameters, state.members & ~request).norm(dim=1)
    stopping = full_gradient(task, state.parameters, state.members).norm(dim=1)
    moved = total.norm(dim=1) + rows * stopping
    error = (
        constants.hessian_lipschitz_upper * moved**2 / (2 * strong**3 * (rows - removed) ** 2)
        + rows * stopping / ((rows - removed) * strong)
        + tolerance / strong
    )

    def measured(bounds: Tensor) -> tuple[float, ...]:
        return tuple(torch.where(removed > 0, bounds, tolerance / strong).tolist())

    return {"published": published, "error": measured(error), "a-posteriori": measured((residual + tolerance) / strong)}


_THEOREMS: dict[Bound, str] = {
    "published": "Sekhari et al. 2021, Lemma 3: 2CG²m²/(λ³n²)",
    "error": "Newton's error after Sekhari et al. 2021 with the gradients of the removed records: C‖Σ∇ℓ‖²/(2λ³(n−m)²)",
    "a-posteriori": "strong convexity: (‖∇F_r(w̃)‖ + τ)/λ",
}


def _published(constants: Constants, tolerance: float, rows: int, removed: int) -> float:
    """Guarantee: at least ‖w̃ − w_r‖ for any data with these constants and solvers that stop at ‖∇F‖ ≤ tolerance.

    From τ = 0: C/(2λ)·‖w* − w_r‖² with ‖w* − w_r‖ ≤ mG/(nλ); the paper's constant is four times as large.
    """
    gradient = constants.gradient_bound_upper
    if gradient is None:
        return float("inf")
    strong, lipschitz = constants.strong_convexity, constants.hessian_lipschitz_upper
    moved = removed * gradient / rows
    newton = lipschitz / strong**3 * max(2 * moved**2, (moved + tolerance) ** 2 / 2)
    return newton + tolerance / strong * (rows / (rows - removed) + 1)


def _tolerance(task: Task) -> float:
    if not isinstance(task.recipe, Minimise):
        raise PlanError(f'method newton needs recipe.kind = "minimise", got {task.recipe}.')
    return task.recipe.tolerance
