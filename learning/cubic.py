r"""The cubic-regularised Newton step, exactly: one eigendecomposition and one scalar equation; or in a Krylov space.

    minimise  m(d) = ⟨g, d⟩ + ½⟨d, Hd⟩ + (M/6)‖d‖³                            Nesterov & Polyak, Math. Program. 2006
    maximise  D(α) = −½⟨(H + (Mα/2)I)⁻¹g, g⟩ − (M/12)α³    over α ≥ 0 with H + (Mα/2)I ≻ 0
    optimum   (H + (Mα/2)I)d = −g,   ‖d‖ = α,   H + (Mα/2)I ⪰ 0,   m(d) = D(α)

For (H + (Mα/2)I)d = −g the gap is m(d) − D(α) = (M/12)(α − ‖d‖)²(α + 2‖d‖) ≥ 0: zero exactly where ‖d‖ = α.

The unknown is the distance t ≥ 0 of the shift s = Mα/2 = s₀ + t from its least value s₀ = max(0, −λ_min), so that
λ_i + s = (λ_i + s₀) + t keeps its digits where the root lies next to the pole. Newton runs on

    ψ(t) = 1/‖d(t)‖ − M/(2(s₀ + t)),

increasing and concave (Conn, Gould & Toint 2000, §7.3; Cartis, Gould & Toint 2011, §6.1), from a point left of the
root: it increases to the root. From the components alone, with c = M|g_i|/2 and the root t_i(c) of
(λ_i + s₀ + t)(s₀ + t) = c, the root lies between max t_i(c) and max t_i(√P·c).

Hard case: λ_min < 0, g ⟂ the lowest eigenspace, and ‖(H + s₀I)⁺g‖ ≤ α₀ = 2s₀/M. Then α = α₀ and a multiple of an
eigenvector of λ_min fills the length; both signs are optimal and the positive one is taken, the eigenvector's first
largest entry made positive (`dense_step`). g = 0 and H ⪰ 0: d = 0.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import ShapeMismatch

from .solvers import Product, lanczos

_ITERATIONS = 100
_FIRST_KRYLOV = 16


@dataclass(frozen=True, slots=True)
class CubicStep:
    """Minimiser of the cubic model in the eigenbasis of H.

    Attributes:
        d: the step, [K, P], one entry per eigenvalue.
        alpha: α of the dual, [K]; ‖d‖ = α to rounding.
        value: m(d) ≤ 0, [K].
        gap: (m(d) − D(α))/|D(α)|, [K], each side computed by itself; 0 where both are 0.
        hard: whether the hard case was met, bool [K].
    """

    d: Tensor
    alpha: Tensor
    value: Tensor
    gap: Tensor
    hard: Tensor


def cubic_step(eigenvalues: Tensor, gradient: Tensor, weight: float) -> CubicStep:
    """Minimise Σ g_i d_i + ½ Σ λ_i d_i² + (M/6)‖d‖³, replica by replica.

    Guarantee: λ_i + Mα/2 ≥ 0 for every i, ‖d‖ = α and gap = 0, each to rounding (a few 1e-15, relative), for numbers
    within 1e±100.

    >>> step = cubic_step(torch.tensor([[0.0]]).double(), torch.tensor([[-8.0]]).double(), 4.0)
    >>> float(step.d), float(step.alpha)  # d = √(2|g|/M) where H = 0
    (2.0, 2.0)
    >>> step = cubic_step(torch.tensor([[-3.0]]).double(), torch.tensor([[0.0]]).double(), 2.0)
    >>> float(step.d), bool(step.hard)  # g = 0: along the negative curvature by −2λ/M
    (3.0, True)

    Args:
        eigenvalues: λ of each replica's H, [K, P], in any order.
        gradient: g in the same basis, [K, P].
        weight: M > 0.

    Raises:
        ValueError: the weight is not a positive number, or an input is not finite.
        ShapeMismatch: eigenvalues and gradient differ in shape.
    """
    _check(eigenvalues, gradient, weight)
    half = weight / 2
    lowest, place = eigenvalues.min(1, keepdim=True)
    base = (-lowest).clamp(min=0)
    above = eigenvalues + base  # ≥ 0, and exactly 0 at a negative lowest eigenvalue
    reach = _length(gradient, above)
    hard = (base > 0) & (half * reach <= base)
    still = (gradient == 0).all(1, keepdim=True)
    t = _root(above, base, gradient, half, hard | still)
    d = _divide(-gradient, above + t)
    fill = ((base / half - reach) * (base / half + reach)).clamp(min=0).sqrt()
    d = torch.where(hard, d.scatter_add(1, place, torch.where(hard, fill, 0)), d)
    d = torch.where(still & ~hard, 0, d)
    shift = torch.where(still & ~hard, 0, base + t)
    value, dual = _primal(eigenvalues, gradient, d, weight), _dual(above, t, gradient, shift, weight)
    gap = torch.where(dual == 0, value - dual, (value - dual) / dual.abs())
    return CubicStep(d, (shift / half).squeeze(1), value, gap, hard.squeeze(1))


def _check(eigenvalues: Tensor, gradient: Tensor, weight: float) -> None:
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"weight must be a finite number > 0, got {weight}.")
    if eigenvalues.ndim != 2 or eigenvalues.shape != gradient.shape:
        raise ShapeMismatch("gradient", list(eigenvalues.shape), list(gradient.shape))
    for name, given in (("eigenvalues", eigenvalues), ("gradient", gradient)):
        if not bool(torch.isfinite(given).all()):
            raise ValueError(f"{name} must be finite, got NaN or infinity. Look at the parameters and the data.")


def _primal(eigenvalues: Tensor, gradient: Tensor, d: Tensor, weight: float) -> Tensor:
    """m(d), [K]."""
    value: Tensor = (gradient * d + 0.5 * eigenvalues * d**2).sum(1) + weight / 6 * d.norm(dim=1) ** 3
    return value


def _dual(above: Tensor, t: Tensor, gradient: Tensor, shift: Tensor, weight: float) -> Tensor:
    """D(α) at α = 2·shift/M, [K]; (H + (Mα/2)I)⁺ in the hard case."""
    return (-0.5 * gradient * _divide(gradient, above + t)).sum(1) - weight / 12 * (2 * shift.squeeze(1) / weight) ** 3


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator/denominator, and 0 where the numerator is 0."""
    return torch.where(numerator == 0, 0, numerator / torch.where(numerator == 0, 1, denominator))


def _length(gradient: Tensor, denominator: Tensor) -> Tensor:
    """‖g/denominator‖, [K, 1]; infinite where a component is divided by 0."""
    length: Tensor = _divide(gradient, denominator).norm(dim=1, keepdim=True)
    return length


def _root(above: Tensor, base: Tensor, gradient: Tensor, half: float, done: Tensor) -> Tensor:
    """Root t > 0 of ψ, [K, 1]; 0 where done. A replica stops where it would have stopped alone."""

    def bracket(factor: float) -> Tensor:
        pull = half * factor * gradient.abs()
        excess = (pull - above * base).clamp(min=0)
        each = 2 * excess / (above + base + ((above - base) ** 2 + 4 * pull).sqrt())
        return torch.where(excess > 0, each, 0).amax(1, keepdim=True)

    low = torch.zeros_like(base)
    high = 2 * bracket(math.sqrt(above.shape[1]))
    t = torch.where(done, 0, bracket(1))
    for _ in range(_ITERATIONS):
        if bool(done.all()):
            break
        divisor = torch.where(done, 1, above + t)
        scaled = _divide(gradient, divisor)
        length = torch.where(done, 1, scaled.norm(dim=1, keepdim=True))
        shift = torch.where(done, 1, base + t)
        value = 1 / length - half / shift
        slope = (scaled**2 / torch.where(scaled == 0, 1, divisor)).sum(1, keepdim=True) / length**3 + half / shift**2
        low, high = torch.where(value <= 0, t, low), torch.where(value >= 0, t, high)
        proposed = t - value / slope
        inside = (proposed >= low) & (proposed <= high)
        proposed = torch.where(inside, proposed, (low + high) / 2)
        settled = (proposed - t).abs() <= 2 * torch.finfo(t.dtype).eps * t
        t = torch.where(done, t, proposed)
        done = done | settled
    return t


@dataclass(frozen=True, slots=True)
class Solved:
    """A cubic step in the parameters' own basis, with what shows that it is one.

    Attributes:
        step: d, [K, P].
        alpha: α, [K].
        value: m(d) ≤ 0, [K].
        gap: relative primal–dual gap, [K]; in the Krylov space where one was used.
        hard: whether the hard case was met, bool [K].
        lowest: λ_min, [K]; from a Krylov space an estimate from above.
        highest: λ_max, [K]; from a Krylov space an estimate from below.
        residual: ‖(H + (Mα/2)I)d + g‖/‖g‖ by a product with H itself, [K]; 0 where g = 0.
        dimension: of the space the problem was solved in, [K].
    """

    step: Tensor
    alpha: Tensor
    value: Tensor
    gap: Tensor
    hard: Tensor
    lowest: Tensor
    highest: Tensor
    residual: Tensor
    dimension: Tensor


def dense_step(hessian: Tensor, gradient: Tensor, weight: float) -> Solved:
    """Exact cubic step by one eigendecomposition.

    Components of g along the lowest eigenspace that are within rounding of 0 are taken for 0, so that the hard case is
    met as such and not decided by the last bit; it changes the gradient by at most 64·√P·2⁻⁵²·‖g‖.

    Args:
        hessian: H, symmetric, [K, P, P], float64.
        gradient: g, [K, P], float64.
        weight: M > 0.
    """
    eigenvalues, vectors = torch.linalg.eigh(hessian)
    turned = (vectors.mT @ gradient.unsqueeze(2)).squeeze(2)
    found = cubic_step(eigenvalues, _without_rounding(eigenvalues, turned), weight)
    d = found.d.clone()
    d[:, 0] = torch.where(found.hard, d[:, 0] * _sign(vectors[:, :, 0]), d[:, 0])
    step = (vectors @ d.unsqueeze(2)).squeeze(2)
    image = (hessian @ step.unsqueeze(2)).squeeze(2)
    return _solved(found, eigenvalues, step, image, gradient, weight)


def _solved(
    found: CubicStep, eigenvalues: Tensor, step: Tensor, image: Tensor, gradient: Tensor, weight: float
) -> Solved:
    """The step d in full space with H·d, found in the space of these eigenvalues [K, s]."""
    return Solved(
        step,
        found.alpha,
        found.value,
        found.gap,
        found.hard,
        eigenvalues[:, 0],
        eigenvalues[:, -1],
        _residual(image, step, gradient, found.alpha, weight),
        torch.full_like(found.alpha, eigenvalues.shape[1]),
    )


def _without_rounding(eigenvalues: Tensor, gradient: Tensor) -> Tensor:
    size, eps = eigenvalues.shape[1], torch.finfo(eigenvalues.dtype).eps
    scale = eigenvalues.abs().amax(1, keepdim=True)
    low = eigenvalues - eigenvalues[:, :1] <= size * eps * scale
    tiny = gradient.abs() <= 64 * math.sqrt(size) * eps * gradient.norm(dim=1, keepdim=True)
    return torch.where(low & tiny & (eigenvalues[:, :1] <= size * eps * scale), 0, gradient)


def _sign(vector: Tensor) -> Tensor:
    """Sign of each row's first entry that is the largest, up to rounding."""
    size = vector.abs()
    first = (size >= (1 - 1e-6) * size.amax(1, keepdim=True)).to(torch.int8).argmax(1, keepdim=True)
    return torch.where(vector.gather(1, first).squeeze(1) < 0, -1.0, 1.0).to(vector.dtype)


def _residual(image: Tensor, step: Tensor, gradient: Tensor, alpha: Tensor, weight: float) -> Tensor:
    left = (image + weight / 2 * alpha.unsqueeze(1) * step + gradient).norm(dim=1)
    size = gradient.norm(dim=1)
    return torch.where(size > 0, left / torch.where(size > 0, size, 1), 0)


def krylov_step(product: Product, gradient: Tensor, weight: float, *, tolerance: float, dimension: int) -> Solved:
    """Cubic step in the Krylov space of H and g, the space doubled until the residual meets the tolerance.

    A Krylov space holds nothing orthogonal to g: it cannot see the hard case, and at g = 0 the step is 0 whatever H.
    The step decreases the model and ‖d‖ = α in any space; the residual says how far it is from the full minimiser,
    and is left as it is, not an error, where the largest space does not meet the tolerance.

    Args:
        product: H·v, [K, P] → [K, P].
        gradient: g, [K, P], float64.
        weight: M > 0.
        tolerance: relative residual asked for.
        dimension: largest dimension of the space.
    """
    largest = min(dimension, gradient.shape[1])
    current = min(_FIRST_KRYLOV, largest)
    found = _in_krylov_space(product, gradient, weight, current)
    while current < largest and bool((found.residual > tolerance).any()):
        current = min(2 * current, largest)
        open_ = found.residual > tolerance  # a replica that has met the tolerance keeps its step
        more = _in_krylov_space(product, torch.where(open_.unsqueeze(1), gradient, 0), weight, current)
        found = _where(open_, more, found)
    return found


def _in_krylov_space(product: Product, gradient: Tensor, weight: float, dimension: int) -> Solved:
    space = lanczos(product, gradient, steps=dimension)
    values, vectors = torch.linalg.eigh(space.matrix())
    found = cubic_step(values, gradient.norm(dim=1, keepdim=True) * vectors[:, 0, :], weight)
    inside = (vectors @ found.d.unsqueeze(2)).squeeze(2)
    step = (inside.unsqueeze(1) @ space.basis).squeeze(1)
    return _solved(found, values, step, product(step), gradient, weight)


def _where(chosen: Tensor, first: Solved, second: Solved) -> Solved:
    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (a.ndim - 1)), a, b)

    names = Solved.__slots__
    return Solved(*(pick(getattr(first, name), getattr(second, name)) for name in names))


def cauchy_step(gradient: Tensor, curvature: Tensor, weight: float) -> Tensor:
    """Minimiser of the cubic model along −g: d = −R·g/‖g‖, R = −b + √(b² + 2‖g‖/M), b = ⟨g, Hg⟩/(M‖g‖²); [K, P].

    Tripuraneni, Stern, Jin, Regier & Jordan, NeurIPS 2018, Algorithm 2.

    >>> float(cauchy_step(torch.tensor([[8.0]]), torch.tensor([[0.0]]), 4.0))
    -2.0

    Args:
        gradient: g, [K, P].
        curvature: H·g, [K, P].
        weight: M > 0.
    """
    norm = gradient.norm(dim=1, keepdim=True)
    unit = _divide(gradient, norm)
    b = (unit * curvature).sum(1, keepdim=True) / (weight * torch.where(norm > 0, norm, 1))
    root = (b**2 + 2 * norm / weight).sqrt()
    # without cancellation for b > 0
    radius = torch.where(b > 0, _divide(2 * norm / weight, b + root), root - b)
    return -radius * unit
