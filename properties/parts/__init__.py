"""Laws on what methods are built from: `check_<law>(part)`, each with its own search for a breach."""

from .calibration import (
    Level,
    NoiseScale,
    Privacy,
    Profile,
    check_calibration,
    check_calibration_inverse,
    check_calibration_order,
)
from .constants import (
    Outlier,
    Place,
    check_constants,
    check_gradient_bound,
    check_hessian_lipschitz,
    check_smoothness,
    check_strong_convexity,
)
from .cubic import CubicModel, CubicSolver, check_cubic_step
from .law import PartBroken, PartLaw, PartResult
from .objectives import Model, Records, check_gradient, check_hvp, check_regulariser
from .projection import Points, check_projection
from .shipped import PARTS, SHIPPED_PARTS, part_name
from .solvers import Solver, System, check_solver

__all__ = [
    "PARTS",
    "SHIPPED_PARTS",
    "CubicModel",
    "CubicSolver",
    "Level",
    "Model",
    "NoiseScale",
    "Outlier",
    "PartBroken",
    "PartLaw",
    "PartResult",
    "Place",
    "Points",
    "Privacy",
    "Profile",
    "Records",
    "Solver",
    "System",
    "check_calibration",
    "check_calibration_inverse",
    "check_calibration_order",
    "check_constants",
    "check_cubic_step",
    "check_gradient",
    "check_gradient_bound",
    "check_hessian_lipschitz",
    "check_hvp",
    "check_projection",
    "check_regulariser",
    "check_smoothness",
    "check_solver",
    "check_strong_convexity",
    "part_name",
]
