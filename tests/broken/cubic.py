"""Broken minimisers of the cubic model."""

from dataclasses import replace

import torch
from torch import Tensor

from learning import cubic

_cubic_step = cubic.cubic_step


def ignores_the_hard_case(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Leaves out the multiple of the lowest eigenvector."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    place = eigenvalues.argmin(1, keepdim=True)
    return replace(honest, d=torch.where(honest.hard.unsqueeze(1), honest.d.scatter(1, place, 0.0), honest.d))


def whole_weight(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Shifts by Mα in place of Mα/2."""
    return _cubic_step(eigenvalues, gradient, 2 * weight)


def climbs(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """The step with the wrong sign."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    return replace(honest, d=-honest.d)


def gap_with_a_sixth(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Reports the gap to a dual with (M/6)α³ in place of (M/12)α³."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    extra = weight / 12 * honest.alpha**3
    return replace(honest, gap=extra / (honest.value.abs() + extra).clamp(min=1e-300))


def loose_root(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Stops at a relative 1e-6 of the root: the gap, its square, does not show it, the length does."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    return replace(honest, d=(1 + 1e-6) * honest.d)


def inverts_the_hessian(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """−H⁻¹g whatever M, scaled to the length α."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    raw = -gradient / torch.where(eigenvalues == 0, 1, eigenvalues)
    length = raw.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return replace(honest, d=raw * honest.alpha.unsqueeze(1) / length)


BROKEN_CUBIC_STEPS = (
    ignores_the_hard_case,
    whole_weight,
    climbs,
    gap_with_a_sixth,
    loose_root,
    inverts_the_hessian,
)
