"""Each bound of certified unlearning with one constant too small."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from methods import zhang2024bounds as cu_bounds
from methods import zhang2024step as cu_step

from .twin import patched


def _without(name: str, share: float) -> Any:
    """`newton_error_upper` with one argument multiplied by a share."""
    honest = cu_bounds.newton_error_upper

    def shrunken(distance: float, lipschitz: float, damping: float, curvature: float, residual: float = 0.0) -> float:
        given = {"distance": distance, "lipschitz": lipschitz, "damping": damping, "residual": residual}
        given[name] *= share
        return honest(curvature=curvature, **given)

    return shrunken


# each bound of certified unlearning with one constant too small
BROKEN_BOUNDS: dict[str, dict[str, Any]] = {
    "half of C": {"newton_error_upper": _without("lipschitz", 0.5)},
    "no C": {"newton_error_upper": _without("lipschitz", 0.0)},
    "R for 2R": {"newton_error_upper": _without("distance", 0.5)},
    "0.95 of the damping": {"newton_error_upper": _without("damping", 0.95)},
    "no damping": {"newton_error_upper": _without("damping", 0.0)},
    "half of the residual": {"newton_error_upper": _without("residual", 0.5)},
    "no bias": {"bias_upper": lambda curvature, scale, depth: 0.0},
    "a bias of one step more": {"bias_upper": lambda c, h, depth: (1 - c / h) ** (depth + 2) / c},
    "a deviation of a twentieth": {
        "deviation_upper": lambda rho, c, runs: cu_bounds.math.sqrt(8 * cu_bounds.math.log(2 / rho) / runs) / c / 20
    },
    "no error of LiSSA": {"lissa_error_upper": lambda *_: 0.0},
    "R for the trivial 2R": {"Premises.ball_diameter_upper": property(lambda known: known.radius)},
}


@contextmanager
def broken_bounds(name: str) -> Iterator[None]:
    """Certified unlearning with one of the broken bounds."""
    with ExitStack() as stack:
        for target, function in BROKEN_BOUNDS[name].items():
            if target.startswith("Premises."):
                stack.enter_context(patched(cu_bounds.Premises, **{target.partition(".")[2]: function}))
                continue
            for module in (cu_bounds, cu_step):
                stack.enter_context(patched(module, **{target: function}))
        yield
