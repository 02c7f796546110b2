"""Law on minimisers of the cubic model m(d) = ⟨g, d⟩ + ½⟨d, Hd⟩ + (M/6)‖d‖³: their optimality, from H and g alone.

A step is optimal if and only if, for α = ‖d‖, (H + (Mα/2)I)d = −g and H + (Mα/2)I ⪰ 0 (Nesterov & Polyak, Math.
Program. 2006); then m(d) = D(α), the dual, and m(d) ≤ 0. The naive side is NumPy on one model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray
from torch import Tensor

from .law import PartBroken, PartLaw

Kind = Literal["round", "definite", "indefinite", "degenerate", "hard", "nearly hard", "no gradient", "flat gradient"]
Array = NDArray[np.float64]

KINDS: tuple[Kind, ...] = (
    *("round", "definite", "indefinite", "degenerate"),
    *("hard", "nearly hard", "no gradient", "flat gradient"),
)
_BLIND: tuple[Kind, ...] = ("hard", "nearly hard", "no gradient")


class Found(Protocol):
    """What a minimiser of the cubic model gives back."""

    @property
    def step(self) -> Tensor:
        """d, [K, P]."""

    @property
    def alpha(self) -> Tensor:
        """α, [K]."""

    @property
    def value(self) -> Tensor:
        """m(d), [K]."""

    @property
    def gap(self) -> Tensor:
        """Relative primal–dual gap, [K]."""


@dataclass(frozen=True, slots=True)
class CubicSolver:
    """A minimiser of the cubic model.

    Attributes:
        name: in messages.
        step: (H [K, P, P], g [K, P], M) ↦ `Found`.
        blind: whether it looks along g alone, and so cannot meet the hard case.
        tolerance: relative to ‖g‖ and ‖H‖‖d‖, of the residual.
    """

    name: str
    step: Callable[[Tensor, Tensor, float], Found]
    blind: bool = False
    tolerance: float = 1e-9

    def __repr__(self) -> str:
        """Its name."""
        return f"CubicSolver({self.name!r})"


@dataclass(frozen=True, slots=True)
class CubicModel:
    """A cubic model, from a seed.

    Attributes:
        seed: of H and g.
        size: P.
        weight: M.
        kind: how H and g lie. "degenerate": half of the eigenvalues are within 1e-6 of 0; "hard": g is orthogonal to
            the eigenvector of a negative eigenvalue; "flat gradient": g misses some eigenvectors of a definite H.
    """

    seed: int = 0
    size: int = 1
    weight: float = 1.0
    kind: Kind = "definite"

    def build(self) -> tuple[Array, Array]:
        """H [P, P] and g [P]."""
        return cubic_model(self.kind, self.size, np.random.default_rng(self.seed))


def cubic_model(kind: Kind, size: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """A symmetric matrix and a gradient of a kind, H [P, P] and g [P]."""
    turn = np.linalg.qr(generator.standard_normal((size, size)))[0]
    eigenvalues = np.sort(generator.standard_normal(size))
    turned = turn.T @ generator.standard_normal(size)
    if kind in ("definite", "flat gradient"):
        eigenvalues = np.abs(eigenvalues) + 0.1
    if kind in ("indefinite", "hard", "nearly hard", "no gradient"):
        eigenvalues[0] = -2 - eigenvalues[0] ** 2
    if kind == "degenerate":
        small = 10.0 ** generator.uniform(-12, -6, size)
        eigenvalues = np.sort(np.where(np.arange(size) < size // 2, small, 1.0))
    if kind in ("hard", "nearly hard"):
        turned[1:] *= 1e-3
        turned[0] = 0.0 if kind == "hard" else 1e-9
    if kind == "no gradient":
        turned[:] = 0.0
    if kind == "flat gradient":
        turned[generator.random(size) < 0.5] = 0.0
    hessian = turn @ np.diag(eigenvalues) @ turn.T
    return (hessian + hessian.T) / 2, turn @ turned


def optimality(
    found: Found, hessian: Array, gradient: Array, weight: float, *, tolerance: float = 1e-9
) -> dict[str, tuple[float, float]]:
    """Each condition that the first replica's step must meet: what it comes to, and what is allowed at most.

    Args:
        found: what is tried.
        hessian: H, [P, P].
        gradient: g, [P].
        weight: M.
        tolerance: as in `CubicSolver`.
    """
    d, alpha, m = found.step[0].numpy(), float(found.alpha[0]), weight
    eigenvalues = np.linalg.eigvalsh(hessian)
    size, length = float(np.linalg.norm(gradient)), float(np.linalg.norm(d))
    scale, loose = float(np.abs(eigenvalues).max()), tolerance / 1e-9
    primal = float(gradient @ d + 0.5 * d @ hessian @ d + m / 6 * length**3)
    dual, unseen = _dual(hessian, gradient, m, alpha)
    residual = float(np.linalg.norm((hessian + m * alpha / 2 * np.eye(len(d))) @ d + gradient))
    misreported = abs(float(found.value[0]) - primal)
    return {
        "| ‖d‖ − α |": (abs(length - alpha), 1e-8 * alpha),
        "−(smallest eigenvalue of H + (Mα/2)I)": (-float(eigenvalues[0]) - m * alpha / 2, 1e-13 * scale * loose),
        "m(d)": (primal, 1e-15 * size * alpha),
        "| m(d) − D(α) |": (abs(primal - dual), 1e-10 * loose * abs(dual) + unseen),
        "the gap it reports": (abs(float(found.gap[0])), 1e-10),
        "the error of the value it reports": (misreported, 1e-9 * abs(primal) + 1e-15 * scale * alpha**2),
        "‖(H + (Mα/2)I)d + g‖": (residual, tolerance * (size + 1e-3 * scale * alpha)),
    }


def _dual(hessian: Array, gradient: Array, weight: float, alpha: float) -> tuple[float, float]:
    """D(α) without what is singular to rounding, and what that may leave out, at most |g_i|·α."""
    eigenvalues, vectors = np.linalg.eigh(hessian)
    shifted = eigenvalues + weight * alpha / 2
    turned = vectors.T @ gradient
    seen = shifted > 1e-13 * np.abs(eigenvalues).max()
    dual = -0.5 * np.sum(turned[seen] ** 2 / shifted[seen]) - weight / 12 * alpha**3
    return float(dual), float(np.abs(turned[~seen]).sum() * alpha)


def _cubic_step(solver: CubicSolver, case: CubicModel) -> float | None:
    if solver.blind and case.kind in _BLIND:
        return None
    h, g = case.build()
    found = solver.step(torch.from_numpy(h)[None], torch.from_numpy(g)[None], case.weight)
    for what, (by, allowed) in optimality(found, h, g, case.weight, tolerance=solver.tolerance).items():
        if not by <= allowed:
            told = f"{what} is {by:.3g}, allowed is {allowed:.3g}."
            raise PartBroken("cubic_step", told, case, {"by": by, "allowed": allowed})
    return 0.0


def _cases(solver: CubicSolver) -> SearchStrategy[CubicModel]:
    return st.builds(
        CubicModel,
        seed=st.integers(0, 2**16),
        size=st.sampled_from([1, 2, 3, 5, 12]),
        weight=st.sampled_from([1.0, 1e-9, 1e-3, 5.0, 400.0, 1e6, 1e12]),
        kind=st.sampled_from(KINDS),
    )


check_cubic_step: PartLaw[CubicSolver, CubicModel] = PartLaw(
    name="cubic_step",
    statement="The step solves (H + (Mα/2)I)d = −g with ‖d‖ = α and H + (Mα/2)I ⪰ 0, decreases the model, and leaves "
    "no gap to the dual.",
    fails_for="the hard case left out, Mα for Mα/2, a root found too loosely, a gap to the wrong dual",
    source="Nesterov & Polyak, Math. Program. 2006, Theorem 10; weak duality",
    body=_cubic_step,
    cases=_cases,
    examples=lambda solver: tuple(CubicModel(1, 3, 1.0, kind) for kind in KINDS) + (CubicModel(2, 3, 0.1, "hard"),),
)
