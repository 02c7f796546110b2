"""Law on a projection onto the ball ‖w‖ ≤ R: the nearest point, which is what every proof with a ball relies on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from .law import PartBroken, PartLaw

Projection = Callable[[Tensor, float], Tensor]  # (points [K, P], R) ↦ [K, P]

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Points:
    """Points around a ball: directions from a seed, and how far out they lie.

    Attributes:
        seed: of the directions.
        size: parameters P.
        radius: R.
        lengths: ‖w‖/R of each replica.
    """

    seed: int = 0
    size: int = 1
    radius: float = 1.0
    lengths: tuple[float, ...] = (0.5, 2.0)

    def points(self) -> Tensor:
        """The points, [K, P]."""
        generator = np.random.default_rng(self.seed)
        directions = generator.standard_normal((len(self.lengths), self.size))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return torch.from_numpy(self.radius * np.array(self.lengths)[:, None] * directions)


def _projection(project: Projection, case: Points) -> float | None:
    points, radius = case.points(), case.radius
    found = project(points.clone(), radius)
    if found.shape != points.shape:
        raise PartBroken("projection", f"Points {list(points.shape)} became {list(found.shape)}.", case)
    norms = points.norm(dim=1)
    slack = _ROUNDING * (norms + radius)
    nearest = points * (radius / norms.clamp(min=1e-300)).clamp(max=1)[:, None]
    inside = norms <= radius
    moved = (found - points).norm(dim=1)
    moves = {
        "A point of the ball was moved": torch.where(inside, moved, 0),
        "A point from outside is not on the sphere": torch.where(inside, 0, (found.norm(dim=1) - radius).abs()),
        "A point is not the nearest one of the ball": (found - nearest).norm(dim=1),
        "Projecting again moves a point": (project(found.clone(), radius) - found).norm(dim=1),
        "Two points are farther apart after the projection": (_apart(found) - _apart(points)).amax(1),
    }
    for what, by in moves.items():
        wrong = ~(by <= (slack.max() if "Two" in what else slack))
        if bool(wrong.any()):
            worst = int(wrong.nonzero()[0])
            told = f"{what}: replica {worst}, ‖w‖ = {float(norms[worst]):.6g}, by {float(by[worst]):.3g}."
            raise PartBroken("projection", told, case, {"by": float(by[worst]), "radius": radius})
    return 0.0


def _apart(points: Tensor) -> Tensor:
    """Distances between replicas, [K, K]."""
    distances: Tensor = (points.unsqueeze(0) - points.unsqueeze(1)).norm(dim=2)
    return distances


def _cases(project: Projection) -> SearchStrategy[Points]:
    return st.builds(
        Points,
        seed=st.integers(0, 2**16),
        size=st.integers(1, 6),
        radius=st.sampled_from([1.0, 1e-3, 1e3]),
        lengths=st.lists(st.sampled_from([0.0, 0.1, 0.999, 1.0, 1.001, 2.0, 1e6]), min_size=1, max_size=4).map(tuple),
    )


check_projection: PartLaw[Projection, Points] = PartLaw(
    name="projection",
    statement="The projection is the nearest point of the ball, replica by replica: the identity inside, on the sphere "
    "for points outside, idempotent, and no two points are farther apart after it.",
    fails_for="the sphere in place of the ball, clipped coordinates, one norm for all replicas",
    source="definition; nearest points of a convex set are nonexpansive",
    body=_projection,
    cases=_cases,
    examples=lambda project: (Points(), Points(1, 3, 1.0, (0.5, 2.0, 1.0, 0.0))),
)
