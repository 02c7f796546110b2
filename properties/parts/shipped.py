"""All laws on parts by name, and the parts of this project that each is run on."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learning.cubic import dense_step, krylov_step
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Ridge, Softmax
from learning.solvers import Product, conjugate_gradient, lissa
from learning.training import project
from unlearning.gaussian import delta_of_epsilon, epsilon_of_delta, noise_scale_upper

from .calibration import Profile, check_calibration, check_calibration_inverse, check_calibration_order
from .constants import CONSTANTS
from .cubic import CubicSolver, Found, check_cubic_step
from .law import PartLaw
from .objectives import Model, check_gradient, check_hvp, check_regulariser
from .projection import check_projection
from .solvers import Solver, check_solver

PARTS: dict[str, PartLaw[Any, Any]] = {
    law.name: law
    for law in (
        check_gradient,
        check_hvp,
        check_regulariser,
        *CONSTANTS,
        check_solver,
        check_cubic_step,
        check_calibration,
        check_calibration_order,
        check_calibration_inverse,
        check_projection,
    )
}


def by_conjugate_gradient(product: Product, right: Tensor, low: Tensor, high: Tensor, *, tolerance: float) -> Tensor:
    """A⁻¹b by conjugate gradients."""
    return conjugate_gradient(product, right, tolerance=tolerance, iterations=20 * right.shape[1] + 200)


def by_lissa(product: Product, right: Tensor, low: Tensor, high: Tensor, *, tolerance: float) -> Tensor:
    """A⁻¹b by LiSSA with the whole matrix in every step, deep enough for (1 − c/h)^{s+1} ≤ tolerance."""
    depth = torch.tensor([lissa_depth(float(c / h), tolerance) for c, h in zip(low, high, strict=True)])
    return lissa(
        lambda step, vectors: product(vectors[:, 0]).unsqueeze(1), right, scale=high, depth=depth, curvature=low
    ).solution


def lissa_depth(inverse_condition: float, tolerance: float) -> int:
    """Least s ≥ 1 with (1 − c/h)^{s+1} ≤ tolerance.

    >>> lissa_depth(0.5, 0.1), 0.5**4
    (3, 0.0625)
    """
    if inverse_condition >= 1:
        return 1
    return max(1, math.ceil(math.log(tolerance) / math.log1p(-inverse_condition)) - 1)


def by_cholesky(product: Product, right: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A⁻¹b with A from its columns, factored."""
    size = right.shape[1]
    columns = torch.eye(size, dtype=right.dtype).expand(right.shape[0], size, size)
    matrix = torch.stack([product(columns[:, k]) for k in range(size)], 2)
    solution: Tensor = torch.cholesky_solve(right.unsqueeze(2), torch.linalg.cholesky(matrix)).squeeze(2)
    return solution


def in_krylov_space(hessian: Tensor, gradient: Tensor, weight: float) -> Found:
    """The cubic step of `krylov_step` with a matrix in place of products."""

    def product(vectors: Tensor) -> Tensor:
        return (hessian @ vectors.unsqueeze(2)).squeeze(2)

    return krylov_step(product, gradient, weight, tolerance=1e-10, dimension=gradient.shape[1])


MODELS: tuple[Model | Objective, ...] = (
    Ridge(3, 0.3),
    BinaryLogistic(3, 0.3),
    Softmax(2, 3, 0.3),
    Softmax(2, 2, 0.01),
)
NETWORK = Model(Network(mlp(2, [2], 2, "tanh"), 0.3), 2, 2)
SOLVERS = (
    Solver("conjugate gradients", partial(by_conjugate_gradient, tolerance=1e-8), 1e-8),
    Solver("LiSSA", partial(by_lissa, tolerance=1e-2), 1e-2, condition=100.0),
    Solver("Cholesky", by_cholesky, 1e-12),
)
CUBIC_SOLVERS = (
    CubicSolver("dense_step", dense_step),
    CubicSolver("krylov_step", in_krylov_space, blind=True, tolerance=1e-8),
)

SHIPPED_PARTS: dict[str, tuple[Any, ...]] = {
    **{law.name: (*MODELS, NETWORK) for law in (check_gradient, check_hvp, check_regulariser)},
    **{law.name: tuple(model for model in MODELS if law.applies(model) is None) for law in CONSTANTS},
    "solver": SOLVERS,
    "cubic_step": CUBIC_SOLVERS,
    "calibration": (noise_scale_upper, partial(noise_scale_upper, calibration="classical")),
    "calibration_order": (noise_scale_upper, partial(noise_scale_upper, calibration="classical")),
    "calibration_inverse": (Profile(delta_of_epsilon, epsilon_of_delta),),
    "projection": (project,),
}


def part_name(part: object) -> str:
    """A part in a few words, for test ids and tables."""
    if isinstance(part, partial):
        return f"{part_name(part.func)}({', '.join(map(str, part.keywords.values()))})"
    if isinstance(part, Solver | CubicSolver):
        return part.name
    if isinstance(part, Model):
        return type(part.objective).__name__
    return getattr(part, "__name__", None) or getattr(part, "name", None) or type(part).__name__
