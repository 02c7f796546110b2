"""Law on solvers of A·x = b through products with A: each keeps the residual it states, and so all of them agree.

With A ⪰ cI, ‖A·x − b‖ ≤ τ‖b‖ implies ‖x − A⁻¹b‖ ≤ τ‖b‖/c: two solvers lie at most the sum of theirs apart. LiSSA's
recursion with A ⪯ hI leaves the residual (I − A/h)^{s+1}·b, of norm at most (1 − c/h)^{s+1}·‖b‖, attained where b is an
eigenvector of c: the residual is one measure for iterative solvers of every kind.

Rounding allows every solver a few u·‖A‖·‖x‖ more, u the unit of rounding: the residual of the solution rounded to
floating point. Over thousands of systems of condition ≤ 10⁴ and P ≤ 30, factorisations left at most 3.4 of that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from learning.solvers import Product

from .law import PartBroken, PartLaw

Solve = Callable[[Product, Tensor, Tensor, Tensor], Tensor]  # (v ↦ A·v, b [K, P], c [K], h [K]) ↦ x [K, P]
Right = Literal["random", "lowest", "none"]

_ROUNDING = 8 * 2**-53  # times (P + 1)·‖A‖·‖x‖: what a backward stable solver may leave, five times over


@dataclass(frozen=True, slots=True)
class Solver:
    """A solver with the accuracy it states.

    Attributes:
        name: in messages.
        solve: (v ↦ A·v on [K, P], b [K, P], c [K], h [K]) ↦ x [K, P], told that cI ⪯ A ⪯ hI.
        tolerance: ‖A·x − b‖ ≤ tolerance·‖b‖ is stated for every replica.
        condition: largest h/c that it is meant for.
    """

    name: str
    solve: Solve
    tolerance: float
    condition: float = 1e4

    def __repr__(self) -> str:
        """Its name."""
        return f"Solver({self.name!r})"


@dataclass(frozen=True, slots=True)
class System:
    """Linear systems, from a seed.

    Attributes:
        seed: of matrices and right-hand sides.
        size: P.
        smallest: c.
        condition: h/c; the eigenvalues lie between, evenly in the logarithm.
        rights: kind of each replica's right-hand side: any, an eigenvector of c, or zero.
    """

    seed: int = 0
    size: int = 2
    smallest: float = 1.0
    condition: float = 10.0
    rights: tuple[Right, ...] = ("random",)

    def build(self) -> tuple[Tensor, Tensor]:
        """A [K, P, P] and b [K, P]."""
        generator = np.random.default_rng(self.seed)
        turns = np.linalg.qr(generator.standard_normal((len(self.rights), self.size, self.size)))[0]
        eigenvalues = self.smallest * np.geomspace(1, self.condition, self.size)
        matrices = turns @ (eigenvalues[:, None] * turns.transpose(0, 2, 1))
        vectors = {
            "random": generator.standard_normal((len(self.rights), self.size)),
            "lowest": turns[:, :, 0],
            "none": np.zeros((len(self.rights), self.size)),
        }
        right = np.stack([vectors[kind][k] for k, kind in enumerate(self.rights)])
        return torch.from_numpy((matrices + matrices.transpose(0, 2, 1)) / 2), torch.from_numpy(right)


def _solver(solver: Solver, case: System) -> float | None:
    a, b = case.build()
    largest = case.smallest * (case.condition if case.size > 1 else 1.0)
    low, high = (
        torch.full((len(b),), x * f, dtype=b.dtype) for x, f in ((case.smallest, 1 - 1e-9), (largest, 1 + 1e-9))
    )
    found = solver.solve(lambda v: (a @ v.unsqueeze(2)).squeeze(2), b.clone(), low, high)
    if found.shape != b.shape:
        raise PartBroken("solver", f"A solution of {list(b.shape)} was due, got {list(found.shape)}.", case)
    values, vectors = torch.linalg.eigh(a)
    exact = (vectors @ ((vectors.mT @ b.unsqueeze(2)) / values.unsqueeze(2))).squeeze(2)
    left = ((a @ found.unsqueeze(2)).squeeze(2) - b).norm(dim=1)
    size = b.norm(dim=1)
    allowed = solver.tolerance * (1 + 1e-6) * size + _ROUNDING * (case.size + 1) * largest * exact.norm(dim=1)
    checks = {
        "residual": (left, allowed),
        # twice: the solution by eigenvalues is rounded as well
        "distance from the solution by eigenvalues": ((found - exact).norm(dim=1), 2 * allowed / case.smallest),
    }
    for what, (by, limit) in checks.items():
        if not bool((by <= limit).all()):
            worst = int((~(by <= limit)).nonzero()[0])
            numbers = {"by": float(by[worst]), "allowed": float(limit[worst])}
            told = (
                f"Replica {worst}: {what} {numbers['by']:.3g} exceeds {numbers['allowed']:.3g}, as {solver!r} states."
            )
            raise PartBroken("solver", told, case, numbers)
    asked = size > 0
    return float((left / allowed)[asked].max()) if bool(asked.any()) else 0.0


def _cases(solver: Solver) -> SearchStrategy[System]:
    conditions = [c for c in (1.0, 3.0, 10.0, 100.0, 1e3, 1e4) if c <= solver.condition]
    kinds: tuple[Right, ...] = ("random", "lowest", "none")
    return st.builds(
        System,
        seed=st.integers(0, 2**16),
        size=st.sampled_from([1, 2, 3, 8, 30]),  # conjugate gradients end after as many steps: 30 shows them on the way
        smallest=st.sampled_from([1.0, 1e-3, 1e3]),
        condition=st.sampled_from(conditions),
        rights=st.lists(st.sampled_from(kinds), min_size=1, max_size=3).map(tuple),
    )


check_solver: PartLaw[Solver, System] = PartLaw(
    name="solver",
    statement="A solver keeps the residual it states, ‖A·x − b‖ ≤ τ‖b‖ in every replica, and with it lies within "
    "τ‖b‖/c of the solution by eigenvalues.",
    fails_for="iterations stopped early, residuals updated and never recomputed, other damping than asked for",
    source="definition; strong convexity of ½⟨x, Ax⟩ − ⟨b, x⟩; Agarwal, Bullins & Hazan, JMLR 2017 for LiSSA",
    body=_solver,
    cases=_cases,
    examples=lambda solver: (
        System(condition=min(100.0, solver.condition), rights=("lowest", "random", "none")),
        System(size=8, condition=solver.condition),
        System(size=30, condition=min(100.0, solver.condition)),
    ),
    share=0.5,
    measures="residual / what the solver states",
)
