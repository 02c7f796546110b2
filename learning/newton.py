"""What second-order updates share: the state they leave, the retained objective at it, and what strong convexity says.

A second-order update moves every replica that was asked something by a step computed from ∇F_r and ∇²F_r, in float64
whatever the task's dtype; the others stay where they are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unlearning.claim import Assumption, Certificate, Status
from unlearning.errors import Diverged, PlanError
from unlearning.protocols import Diagnostic, State
from unlearning.streams import Streams

from .full import FullObjective
from .release import gaussian_release
from .task import Learned, Minimise, Task, check_request
from .training import train

_BYTES = 2**30
DENSE_LIMIT = 2_000  # parameters up to which an eigendecomposition is the default
LARGEST_DENSE = 20_000  # parameters up to which one is made at all: 3 GB a matrix, and five of them


@dataclass(frozen=True, slots=True)
class Moved(Learned):
    """An unlearned state with what was measured on the way.

    Attributes:
        measured: name of a quantity in `MEANINGS` → its value in each replica, [K], float64; of the last request alone
            where there were several, and NaN in a replica whose last request was empty.
    """

    measured: dict[str, Tensor] = field(default_factory=dict)

    def take(self, positions: list[int]) -> "Moved":
        """State of the replicas at these positions."""
        chosen = Learned.take(self, positions)
        return replace(chosen, measured={name: values[positions] for name, values in self.measured.items()})


MEANINGS = {  # one name for one quantity, whichever method measures it
    "step length": "‖w̃ − w‖, how far the last request moved the parameters.",
    "‖∇F_r‖ before": "Gradient norm on the retained records before the last request.",
    "‖∇F_r‖ after": "The same after the last request: a step towards the retrained model lowers it.",
    "λ_min": "Smallest eigenvalue of the retained records' Hessian before the last request.",
    "λ_max": "Largest eigenvalue of the retained records' Hessian before the last request.",
    "λ_min, Lanczos": "Smallest Ritz value of that Hessian before the last request; the eigenvalue is no larger.",
    "λ_max, Lanczos": "Largest Ritz value of that Hessian before the last request; the eigenvalue is no smaller.",
    "residual of the linear system": "‖(H + s)d + g‖/‖g‖, s the damping, of the last request's (worst) step d.",
    "α of the dual": "Length of the last request's longest cubic step: ‖d‖ = α at the optimum.",
    "primal-dual gap": "(m(d) − D(α))/|D(α)|, 0 for the exact minimiser of the cubic model (of its Krylov space).",
    "number of hard cases": "Steps of the last request that met the hard case: g ⟂ the lowest eigenspace.",
    "number of dimensions": "Largest dimension of the space that a step of the last request was computed in.",
    "number of eigenvalues kept": "Eigenvalues above the cutoff of the pseudo-inverse.",
    "number of Cauchy steps": "Steps of the last request along −g, taken where ‖g‖ ≥ L²/M.",
    "L of the Cauchy rule": "Smoothness that decides between the Cauchy step and descent; estimated if not known.",
}


def diagnostics(state: Learned) -> tuple[Diagnostic, ...]:
    """What was measured, one value per replica; nothing before the first request."""
    if not isinstance(state, Moved):
        return ()
    return tuple(Diagnostic(name, MEANINGS[name], tuple(v.tolist())) for name, v in state.measured.items())


class SecondOrder:
    """What the second-order methods share: training, certificate, diagnostics, release."""

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Learned:
        """Run the task's recipe, whichever it is."""
        return train(task, members, streams=streams)

    def certify(self, state: Learned, request: Tensor) -> Certificate | None:
        """(‖∇F_r(w̃)‖ + τ)/λ for exact minimisers of strongly convex losses; None elsewhere: no theorem is known."""
        return posterior_certificate(state)

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I)."""
        return gaussian_release(state, noise_scale, streams=streams)

    def diagnostics(self, state: Learned) -> tuple[Diagnostic, ...]:
        """What was measured in the last request."""
        return diagnostics(state)


def check_dense(task: Task) -> None:
    """Refuse a model whose P × P Hessian is out of reach.

    Raises:
        PlanError: more parameters than an eigendecomposition can take.
    """
    if task.objective.size > LARGEST_DENSE:
        raise PlanError(
            f"model must have at most {LARGEST_DENSE} parameters for a dense Hessian, got {task.objective.size} on "
            f'task {task.name!r}. Use method cure-newton with solver = "krylov", or scure-newton.'
        )


_SHORTEN = "The step leaves the range of {}: raise the method's damping, weight or cutoff, or lower its step size."
_LOOK = "Look for NaN, infinity or huge numbers in the features and the learned parameters."


def refuse_not_finite(
    found: Tensor, what: str, task: Task, positions: Sequence[int] | Tensor, *, way_out: str = _LOOK
) -> None:
    """Refuse NaN and infinity before they touch a model.

    Args:
        found: one row per replica, [B, …].
        what: its name.
        task: the task.
        positions: of these replicas on the replica axis.
        way_out: what the user can do.

    Raises:
        Diverged: an entry is not finite; names the replica.
    """
    bad = ~torch.isfinite(found).flatten(1).all(1)
    if bool(bad.any()):
        position = int(positions[int(bad.nonzero()[0, 0])])
        raise Diverged(
            f"Unlearning on task {task.name!r} must stay finite, got NaN or infinity in {what} of the replica at "
            f"position {position}; the learned model is unchanged. {way_out}"
        )


def refuse_damping(
    damping: float, lowest: Tensor, positions: Sequence[int] | Tensor, of: str = "Hessian of the retained records"
) -> None:
    """Refuse a damped matrix that is not positive definite.

    Args:
        damping: γ.
        lowest: λ_min of each matrix, [B], or an estimate.
        positions: of their replicas on the replica axis.
        of: which matrix.

    Raises:
        PlanError: γ ≤ −λ_min; names the largest −λ_min and its replica.
    """
    worst = int(lowest.argmin())
    least = float(lowest[worst])
    if not (math.isfinite(least) and least + damping > 0):
        raise PlanError(
            f"damping must be > {-least:.6g}, minus the smallest eigenvalue of the {of}, measured in the replica at "
            f"position {int(positions[worst])}, got {damping:g}. Raise parameters.damping."
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Some replicas, to be moved together.

    Attributes:
        task: the task.
        positions: of the replicas on the replica axis, [B].
        kept: records that are left, bool [B, n].
        parameters: where they stand, [B, P], float64.
    """

    task: Task
    positions: Tensor
    kept: Tensor
    parameters: Tensor

    def objective(self, parameters: Tensor) -> FullObjective:
        """F_r at these parameters [B, P]."""
        return FullObjective(self.task, parameters, self.kept)

    def gradient(self, parameters: Tensor, *, way_out: str = _LOOK) -> Tensor:
        """∇F_r, [B, P].

        Raises:
            Diverged: it is not finite.
        """
        found = self.objective(parameters).gradient()
        self.refuse_not_finite(found, "the gradient of the retained records", way_out=way_out)
        return found

    def hessian(self, parameters: Tensor) -> Tensor:
        """∇²F_r, [B, P, P].

        Raises:
            Diverged: it is not finite.
        """
        found = self.objective(parameters).hessian()
        self.refuse_not_finite(found, "the Hessian of the retained records")
        return found

    def refuse_not_finite(self, found: Tensor, what: str, *, way_out: str = _LOOK) -> None:
        """Refuse NaN and infinity in something computed of these replicas, [B, …].

        Raises:
            Diverged: an entry is not finite.
        """
        refuse_not_finite(found, what, self.task, self.positions, way_out=way_out)


def blocks(state: Learned, request: Tensor, *, dense: bool) -> Iterator[Block]:
    """Replicas whose request is not empty, by blocks that fit in memory; dense: several P × P matrices each.

    Raises:
        ShapeMismatch: the request is not [K, n].
        ValueError: a record is not (or no longer) a member, or nothing would be left.
        PlanError: the model is too large for a dense Hessian.
    """
    check_request(state, request)
    if dense:
        check_dense(state.task)
    moving = request.any(1).nonzero().flatten()
    size = state.parameters.shape[1]
    count = max(1, _BYTES // (8 * size * (6 * size if dense else 400)))
    for start in range(0, len(moving), count):
        positions = moving[start : start + count]
        kept = state.members[positions] & ~request[positions]
        yield Block(state.task, positions, kept, state.parameters[positions].double())


def moved(state: Learned, request: Tensor, parts: list[tuple[Block, Tensor, dict[str, Tensor]]]) -> Learned:
    """The state after its blocks were moved to new parameters [B, P]; an empty request everywhere is the identity.

    Raises:
        Diverged: a parameter is not finite.
    """
    if not parts:
        return state
    parameters = state.parameters.clone()
    absent = torch.full((parameters.shape[0],), torch.nan, dtype=torch.float64, device=parameters.device)
    measured = {name: absent.clone() for name in parts[0][2]}
    for block, following, found in parts:
        landed = following.to(parameters.dtype)
        block.refuse_not_finite(landed, "the unlearned parameters", way_out=_SHORTEN.format(parameters.dtype))
        parameters[block.positions] = landed
        for name, values in found.items():
            measured[name][block.positions] = values.double()
    return Moved(parameters, state.task, state.members & ~request, state.streams, measured=measured)


def posterior_certificate(state: Learned) -> Certificate | None:
    """(‖∇F_r(w̃)‖ + τ_r)/λ for any w̃, where the reference is the minimiser up to τ_r; None elsewhere.

    Guarantee: at least ‖w̃ − w_r‖ where F_r is λ-strongly convex and ‖∇F_r(w_r)‖ ≤ τ_r, since ∇F_r is then
    λ-strongly monotone: λ‖w̃ − w_r‖ ≤ ‖∇F_r(w̃) − ∇F_r(w_r)‖.
    """
    task = state.task
    if task.constants is None or not isinstance(task.recipe, Minimise):
        return None
    strong, tolerance = task.constants.strong_convexity, task.recipe.tolerance
    residual = FullObjective(task, state.parameters.double(), state.members).gradient().norm(dim=1)
    assumptions = (
        Assumption("the loss is λ-strongly convex", Status.PROVED, "½λ‖w‖² in every record", strong),
        Assumption(
            "the reference is a minimiser up to the tolerance",
            Status.CHECKED,
            "gradient norm recomputed after training",
            tolerance,
        ),
        Assumption("exact arithmetic", Status.ASSUMED, f"trained in {task.dtype}; rounding is not in Δ"),
    )
    bounds = tuple(((residual + tolerance) / strong).tolist())
    return Certificate("strong convexity, a posteriori: (‖∇F_r(w̃)‖ + τ)/λ", bounds, assumptions)
