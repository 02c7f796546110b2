"""What certified unlearning can be told: its hyperparameters, checked, and what follows from them alone."""

import math
from dataclasses import dataclass
from typing import Literal

from unlearning.fields import as_number, check_count, check_flag, check_number

Solver = Literal["conjugate-gradient", "lissa"]
Bound = Literal["theorem-3.4", "theorem-3.6", "tightened", "measured", "trivial"]

SOLVERS = ("conjugate-gradient", "lissa")
THEOREMS = {
    "theorem-3.4": "Zhang et al. 2024, Theorem 3.4 with the residual: 2R(CR + λ_d)/(λ_d + λ_min) + …, or 2R",
    "theorem-3.6": "Zhang et al. 2024, Theorem 3.6 with Proposition 4.1, or 2R",
    "tightened": "Zhang et al. 2024, Theorem 3.6 with the measured gradient and LiSSA's bias, or 2R",
    "measured": "the derivation of Zhang et al. 2024, Theorem 3.4, with measured gradients, or 2R",
    "trivial": "both models lie in the ball: 2R",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Hyperparameters of certified unlearning (Zhang et al. 2024).

    Attributes:
        damping: λ_d ≥ 0, added to the Hessian; must exceed −λ_min.
        solver: "conjugate-gradient", or "lissa" as the paper.
        bound: which sensitivity bound the certificate states; never more than 2R.
        runs: b, independent runs of LiSSA with minibatches.
        depth: s, steps of LiSSA; without it (h/c)·ln(1/tolerance).
        scale: h ≥ ‖H_t‖ + λ_d on every minibatch; without it L + λ_d.
        batch: records per minibatch of LiSSA; without it all retained records.
        failure_probability: ρ of LiSSA's draws, for the bounds "theorem-3.6" and "tightened".
        residual: G, bound on ‖∇F_r‖ at the retrained model where the recipe is no minimiser: 0 assumes it stationary,
            as the paper does; without it only 2R is certified of gradient descent.
        smoothness: L, where it is not proved.
        hessian_lipschitz: C, where it is not proved; without it, and where a layer has a kink, only 2R is certified.
        minimum_eigenvalue: λ_min, where it is not proved; the smallest Ritz value replaces it where that is smaller.
        tolerance: relative residual of conjugate gradients, and of LiSSA's depth.
        iterations: most steps of conjugate gradients.
        lanczos_steps: dimension of the space in which extreme eigenvalues are estimated.
        compare: with LiSSA, solve by conjugate gradients too and report the difference.
    """

    damping: float = 0.0
    solver: Solver = "conjugate-gradient"
    bound: Bound = "theorem-3.4"
    runs: int = 10
    depth: int | None = None
    scale: float | None = None
    batch: int | None = None
    failure_probability: float = 0.0
    residual: float | None = None
    smoothness: float | None = None
    hessian_lipschitz: float | None = None
    minimum_eigenvalue: float | None = None
    tolerance: float = 1e-10
    iterations: int = 1000
    lanczos_steps: int = 20
    compare: bool = False

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a field is out of range, or the bound does not speak of the solver.
        """
        if self.solver not in SOLVERS:
            raise ValueError(f'solver must be "conjugate-gradient" or "lissa", got {self.solver!r}.')
        if self.bound not in tuple(THEOREMS):
            raise ValueError(f"bound must be one of {', '.join(THEOREMS)}, got {self.bound!r}.")
        for name in ("damping", "failure_probability"):
            check_number(name, getattr(self, name), least=0)
        for name in ("residual", "hessian_lipschitz"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), least=0)
        for name in ("scale", "smoothness"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), above=0)
        for name in ("runs", "iterations", "lanczos_steps"):
            check_count(name, getattr(self, name))
        for name in ("depth", "batch"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.minimum_eigenvalue is not None:
            check_number("minimum_eigenvalue", self.minimum_eigenvalue)
        if not 0 < as_number(self.tolerance) < 1:
            raise ValueError(f"tolerance must be in (0, 1), got {self.tolerance!r}.")
        check_flag("compare", self.compare)
        self._check_bound()

    def _check_bound(self) -> None:
        of_lissa = self.bound in ("theorem-3.6", "tightened")
        if of_lissa and self.solver != "lissa":
            raise ValueError(f'bound = "{self.bound}" needs solver = "lissa", got {self.solver!r}.')
        random = self.bound == "theorem-3.6" or (self.bound == "tightened" and self.batch is not None)
        if random and not 0 < self.failure_probability < 1:
            raise ValueError(
                f'failure_probability must be in (0, 1) for bound = "{self.bound}", got {self.failure_probability}; '
                "it is paid from the claim's delta."
            )
        if not random and self.failure_probability != 0:
            raise ValueError(
                f'failure_probability must be 0 where the bound does not rest on draws (bound = "{self.bound}", '
                f"batch = {self.batch}), got {self.failure_probability}."
            )

    def scale_used(self, smoothness: float) -> float | None:
        """LiSSA's h: the field, else L + λ_d, else None."""
        if self.scale is not None:
            return self.scale
        return smoothness + self.damping if math.isfinite(smoothness) else None

    def depth_used(self, scale: float, curvature: float) -> int:
        """LiSSA's s: the field, else (h/c)·ln(1/tolerance)."""
        return self.depth or max(1, math.ceil(scale / curvature * math.log(1 / self.tolerance)))
