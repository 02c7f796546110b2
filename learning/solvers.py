"""Linear algebra through matrix-vector products, on the replica axis: conjugate gradients, Lanczos, LiSSA.

A matrix is a function v ↦ A·v on [K, P], one symmetric matrix per replica.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import NotConverged, PlanError

Product = Callable[[Tensor], Tensor]
StepProduct = Callable[[int, Tensor], Tensor]  # (step t, vectors [K, R, P]) ↦ A_t·v, [K, R, P]

_GROWTH = 1e-6  # relative rounding that LiSSA's checks allow
_CHECKED_EVERY = 64  # steps between two looks at the numbers, each of which waits for the device


def conjugate_gradient(
    product: Product, right: Tensor, *, tolerance: float, iterations: int, positions: Sequence[int] | None = None
) -> Tensor:
    """Solve A·x = right for x [K, P], for symmetric positive definite A; from x = 0.

    Guarantee: ‖A·x − right‖ ≤ tolerance·‖right‖ for every replica, the residual recomputed at the end.

    Args:
        product: A on vectors [K, P].
        right: [K, P].
        tolerance: relative residual.
        iterations: most steps.
        positions: of the K replicas on the caller's replica axis, for messages; without it 0 … K − 1.

    Raises:
        NotConverged: a direction of curvature ≤ 0 or NaN was met, or the tolerance was not reached.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    direction = residual.clone()
    square = residual.square().sum(1)
    target = tolerance * right.norm(dim=1)
    for _ in range(iterations):
        active = square.sqrt() > 0.5 * target
        if not bool(active.any()):
            break
        image = product(direction)
        curvature = (direction * image).sum(1)
        if bool((active & ~(curvature > 0)).any()):  # NaN too
            replica = int((active & ~(curvature > 0)).nonzero()[0])
            raise NotConverged(
                f"conjugate_gradient met curvature {float(curvature[replica]):.2e}, needs > 0, in the replica at "
                f"position {_called(replica, positions)}: the matrix is not positive definite. Raise the damping."
            )
        length = torch.where(active, square / curvature, 0).unsqueeze(1)
        solution = solution + length * direction
        residual = residual - length * image
        following = residual.square().sum(1)
        ratio = torch.where(active, following / square, 0).unsqueeze(1)
        direction, square = residual + ratio * direction, torch.where(active, following, square)
    left = (product(solution) - right).norm(dim=1)
    if not bool((left <= target).all()):
        worst = int((~(left <= target)).nonzero()[0])
        raise NotConverged(
            f"conjugate_gradient reached residual {float(left[worst]):.2e}, needs <= {float(target[worst]):.2e}, in "
            f"the replica at position {_called(worst, positions)} after {iterations} iterations. Raise the iterations "
            "or the damping."
        )
    return solution


def _called(row: int, positions: Sequence[int] | None) -> int:
    return row if positions is None else positions[row]


@dataclass(frozen=True, slots=True)
class Krylov:
    """An orthonormal basis of a Krylov space, and the matrix in it.

    Attributes:
        basis: Q, [K, s, P]; rows are orthonormal, zero beyond the replica's own dimension.
        diagonal: of the tridiagonal T = Q·A·Qᵀ, [K, s].
        beside: below and above the diagonal, [K, s − 1].
    """

    basis: Tensor
    diagonal: Tensor
    beside: Tensor

    def matrix(self) -> Tensor:
        """T, [K, s, s]."""
        return torch.diag_embed(self.diagonal) + torch.diag_embed(self.beside, 1) + torch.diag_embed(self.beside, -1)

    def eigenvalues(self) -> Tensor:
        """Ritz values, ascending, [K, s].

        The largest is at most A's largest eigenvalue and the smallest at least A's smallest: estimates from inside,
        never to be used in a bound without saying so.
        """
        found: Tensor = torch.linalg.eigvalsh(self.matrix())
        return found


def lanczos(product: Product, start: Tensor, *, steps: int) -> Krylov:
    """Krylov space of symmetric A and `start` [K, P], by Lanczos with full reorthogonalisation.

    A replica whose space is exhausted early (A·q within rounding of the span) gets zero rows of Q from there on, and
    its first diagonal entry in T, so that the padding lies between its Ritz values.
    """
    replicas, size = start.shape
    steps = min(steps, size)
    basis = torch.zeros(replicas, steps, size, dtype=start.dtype, device=start.device)
    diagonal = torch.zeros(replicas, steps, dtype=start.dtype, device=start.device)
    beside = torch.zeros(replicas, steps, dtype=start.dtype, device=start.device)
    tiny = 1e2 * torch.finfo(start.dtype).eps
    norm = start.norm(dim=1, keepdim=True)
    current = torch.where(norm > 0, start / norm.clamp(min=torch.finfo(start.dtype).tiny), 0)
    scale = torch.zeros(replicas, dtype=start.dtype, device=start.device)
    for index in range(steps):
        basis[:, index] = current
        image = product(current)
        present = current.square().sum(1) > 0
        diagonal[:, index] = torch.where(present, (current * image).sum(1), diagonal[:, 0])
        scale = torch.maximum(scale, image.norm(dim=1))
        for _ in range(2):  # twice is enough (Parlett)
            image = image - ((basis @ image.unsqueeze(2)).mT @ basis).squeeze(1)
        length = image.norm(dim=1)
        length = torch.where(length > tiny * scale, length, 0)
        beside[:, index] = length
        current = torch.where(length.unsqueeze(1) > 0, image / length.clamp(min=1e-300).unsqueeze(1), 0)
    return Krylov(basis, diagonal, beside[:, :-1])


@dataclass(frozen=True, slots=True)
class Lissa:
    """What LiSSA returns, with what it saw of its matrices on the way.

    Attributes:
        solution: v_s/h, [K, P].
        norm_lower: largest ‖A_t·u‖ over the unit probes u, [K]; 0 without a probe. At most max ‖A_t‖.
        curvature_upper: smallest v·A_t·v/‖v‖² along the iterates, [K]. At least the smallest eigenvalue of any A_t.
    """

    solution: Tensor
    norm_lower: Tensor
    curvature_upper: Tensor


def lissa(
    product: StepProduct,
    right: Tensor,
    *,
    scale: Tensor,
    depth: Tensor,
    curvature: Tensor,
    probe: Tensor | None = None,
    positions: Sequence[int] | None = None,
) -> Lissa:
    """Estimate A⁻¹·right for A = E[A_t]: v_0 = right, v_t = right + v_{t−1} − A_t·v_{t−1}/h, and v_s/h after s steps.

    Agarwal, Bullins & Hazan, JMLR 2017. The step needs A_t ⪯ h for every t, and every A_t ⪰ c. A probe, multiplied by
    each A_t in turn, measures the norms on the way: a power iteration over the steps, a lower estimate.

    Guarantee: with cI ⪯ A_t ⪯ hI, ‖v_s/h‖ ≤ ‖right‖/c, and where all A_t are A, ‖v_s/h − A⁻¹·right‖ ≤
    (1 − c/h)^{s+1}·‖right‖/c.

    Args:
        product: A_t on vectors [K, R, P]; called once for every t = 1 … s, in order.
        right: [K, P].
        scale: h, [K].
        depth: s, [K], whole numbers.
        curvature: c > 0, [K].
        probe: vectors [K, P] to start the power iteration from, or None.
        positions: what messages call the K rows, as for `conjugate_gradient`; a replica with several runs repeats.

    Raises:
        PlanError: some ‖A_t‖ was measured above the scale; the message gives it.
        NotConverged: the iterate grew beyond h/c·‖right‖ (c, or the smallest curvature met), met a curvature ≤ 0, or
            is not finite.
    """
    value, wide = right.clone(), scale.unsqueeze(1)
    largest, least = torch.zeros_like(scale), torch.full_like(scale, torch.inf)
    longest = right.norm(dim=1) * scale * (1 + _GROWTH)
    for step in range(1, int(depth.max()) + 1):
        active = depth >= step
        images = product(step, value.unsqueeze(1) if probe is None else torch.stack([value, probe], 1))
        square = value.square().sum(1)
        quotient = (value * images[:, 0]).sum(1) / square
        least = torch.where(active & (square > 0) & ~(quotient >= least), quotient, least)  # NaN stays
        value = torch.where(active.unsqueeze(1), right + value - images[:, 0] / wide, value)
        if probe is not None:
            length = images[:, 1].norm(dim=1)
            unit = probe.norm(dim=1)
            largest = torch.where(active & ~(length / unit <= largest), length / unit, largest)
            probe = torch.where((length > 0).unsqueeze(1), images[:, 1] / length.unsqueeze(1), probe)
        if step % _CHECKED_EVERY == 0 or step == int(depth.max()):
            limit = longest / torch.minimum(curvature, least)
            _refuse_broken(value, scale, largest, least, limit, positions)
    return Lissa(value / wide, largest, least)


def _refuse_broken(
    value: Tensor, scale: Tensor, largest: Tensor, least: Tensor, limit: Tensor, positions: Sequence[int] | None
) -> None:
    above = ~(largest <= scale * (1 + _GROWTH))
    if bool(above.any()):
        worst = int(above.nonzero()[0])
        raise PlanError(
            f"scale must be at least the largest norm of a minibatch's Hessian plus the damping, measured "
            f"{float(largest[worst]):.4g} in the replica at position {_called(worst, positions)}, got "
            f"{float(scale[worst]):g}. Write scale = {2 * float(largest[worst]):.2g}."
        )
    negative = ~(least > 0)
    if bool(negative.any()):
        worst = int(negative.nonzero()[0])
        raise NotConverged(
            f"lissa met curvature {float(least[worst]):.2e}, needs > 0, in the replica at position "
            f"{_called(worst, positions)}: a minibatch's damped Hessian is not positive definite. Raise the damping "
            "or the batch."
        )
    grown = ~(value.norm(dim=1) <= limit)
    if bool(grown.any()):
        worst = int(grown.nonzero()[0])
        raise NotConverged(
            f"lissa grew to norm {float(value[worst].norm()):.2e}, beyond {float(limit[worst]):.2e} = scale/(damping + "
            f"smallest eigenvalue) times the gradient, in the replica at position {_called(worst, positions)}. Raise "
            "the damping or the scale."
        )
