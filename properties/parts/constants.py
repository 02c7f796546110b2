r"""Laws on the constants of an objective: λI ⪯ ∇²ℓ ⪯ LI, ‖∇²ℓ(w) − ∇²ℓ(v)‖ ≤ C‖w − v‖, ‖∇ℓ(w*; z)‖ ≤ G.

A constant is a promise for every record of norm at most R and every w. Each law climbs towards the edge of its own:
one record of norm R, and parameters along the directions that tell two labels apart,

    u_ab = ∇ℓ(0; x, a) − ∇ℓ(0; x, b),      s_k = ∇ℓ(0; x, k) − ½(∇ℓ(0; x, a) + ∇ℓ(0; x, b)),

where the regulariser cancels: along u the loss runs through its curvature, and along s every other label leaves the
game, which is where the extremes of the softmax lie. No knowledge of how parameters are laid out is needed.

For G the optimum is made: n − 1 records of norm cR < R that the model fits, and one of norm R that it gets wrong. With
t = √k·‖w*‖R (k = 1 for one score, 2 for the softmax of two classes)

    ‖∇ℓ(w*; z)‖ = √k·R·(1 − 1/n)·(σ(t) + c·σ(−tc)) → 1.0516·√k·R   at t ≈ 4.0, c ≈ 1.278/t, n → ∞,

which is 0.5258 of the proved G. For K labels and λ → ∞, where w* → 0, it is 2R·√(1 − 1/K) at c = 1, √((1 − 1/K)/2) of
G: 0.577 for three labels, 0.707 for many. A G that is a larger share of the proved one may still be true.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from learning.data import Dataset
from learning.minimiser import minimise
from learning.objectives import Constants, Objective
from learning.task import Minimise, Task
from unlearning.errors import PlanError

from ..base import LawNotApplicable
from .law import PartLaw, PartResult
from .objectives import Model, differentiated, differentiated_twice, losses_at, model_of

_STILL = 40.0  # scores that take a label out of the game


@dataclass(frozen=True, slots=True)
class Place:
    """One record and one place for the parameters.

    Attributes:
        seed: of the record's direction, and of a direction away from the structured ones.
        norm: R, the record's norm.
        along: score of the contrast of two labels, in units of its own slope.
        alone: whether all other labels are out of the game.
        aside: length of a random offset of the parameters, in units of 1/R.
        step: distance between the two points where Hessians are compared, in units of 1/R.
    """

    seed: int = 0
    norm: float = 1.0
    along: float = 0.0
    alone: bool = True
    aside: float = 0.0
    step: float = 0.01


@dataclass(frozen=True, slots=True)
class Outlier:
    """Records whose optimum has a large gradient at one of them.

    Attributes:
        norm: R in units of √λ.
        share: c, the norm of the other records in units of R.
        rows: n.
        columns_seed: of the direction that all inputs lie along.
    """

    norm: float = 7.6
    share: float = 0.32
    rows: int = 200
    columns_seed: int = 0


def _no_constants(part: Model | Objective) -> str | None:
    if model_of(part).objective.constants(1.0) is None:
        return "the objective has no proved constants"
    return None


def _no_gradient_bound(part: Model | Objective) -> str | None:
    constants = model_of(part).objective.constants(1.0)
    if constants is None or constants.gradient_bound_upper is None:
        return "the objective has no bound on gradients that holds for all data"
    return None


def _proved(model: Model, norm: float) -> Constants:
    found = model.objective.constants(norm)
    if found is None:
        raise PlanError(f"constants must be known for every R > 0, got None for R = {norm:g}.")
    return found


class _Curvature:
    """One record's loss around a place of the parameters."""

    def __init__(self, model: Model, case: Place) -> None:
        generator = np.random.default_rng(case.seed)
        row = generator.standard_normal(model.columns)
        self._objective = model.objective
        self._x = torch.from_numpy(case.norm * row / np.linalg.norm(row))[None, None]
        self._real = not model.classes
        labels = range(max(model.classes, 2))
        at_zero = torch.zeros(1, model.objective.size, dtype=torch.float64)
        slopes = [
            self._objective.at(at_zero, self._x, self._label(k)).gradient(torch.ones(1, 1).double()) for k in labels
        ]
        first, second = slopes[0], slopes[1]
        self.contrast = _unit(first - second)
        aside = generator.standard_normal(model.objective.size)
        self.at = case.along / case.norm * self.contrast
        self.at = self.at + case.aside / case.norm * _unit(torch.from_numpy(aside)[None])
        if case.alone:
            for other in slopes[2:]:
                self.at = self.at + _STILL / case.norm * _unit(other - (first + second) / 2)

    def _label(self, k: int) -> Tensor:
        return torch.tensor([[k]], dtype=torch.float64 if self._real else torch.int64)

    def hessian(self, at: Tensor) -> Tensor:
        """∇²ℓ at parameters [1, P], by autograd, [P, P]."""
        hessians = differentiated_twice(losses_at(self._objective, self._x, self._label(0)), at)
        return hessians[0, 0]


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / vector.norm().clamp(min=1e-300)
    return unit


def _strong_convexity(part: Model | Objective, case: Place) -> float | None:
    model = model_of(part)
    around = _Curvature(model, case)
    constants = _proved(model, case.norm)
    eigenvalues = torch.linalg.eigvalsh(around.hessian(around.at))
    rounding = 1e-14 * float(eigenvalues.abs().max()) * model.objective.size
    return constants.strong_convexity / max(float(eigenvalues[0]) + rounding, 1e-300)


def _smoothness(part: Model | Objective, case: Place) -> float | None:
    model = model_of(part)
    around = _Curvature(model, case)
    largest = float(torch.linalg.eigvalsh(around.hessian(around.at))[-1])
    return largest / _proved(model, case.norm).smoothness_upper


def _hessian_lipschitz(part: Model | Objective, case: Place) -> float | None:
    model = model_of(part)
    around = _Curvature(model, case)
    half = case.step / 2 / case.norm * around.contrast
    above, below = around.hessian(around.at + half), around.hessian(around.at - half)
    change = float(torch.linalg.matrix_norm(above - below, ord=2))
    rounding = 1e-14 * float(torch.linalg.matrix_norm(above)) * model.objective.size
    allowed = _proved(model, case.norm).hessian_lipschitz_upper * 2 * float(half.norm())
    return change / (allowed + rounding)


def _gradient_bound(part: Model | Objective, case: Outlier) -> float | None:
    model = model_of(part)
    objective = model.objective
    norm = case.norm * math.sqrt(objective.regularisation)
    row = np.random.default_rng(case.columns_seed).standard_normal(model.columns)
    row *= norm / np.linalg.norm(row)
    features = np.outer(np.where(np.arange(case.rows) > 0, case.share, -1.0), row)
    data = Dataset(
        name="records and an outlier",
        origin="constructed",
        features=torch.from_numpy(features),
        labels=torch.ones(case.rows, dtype=torch.int64),
        holdout_features=torch.from_numpy(features[:1]),
        holdout_labels=torch.ones(1, dtype=torch.int64),
        classes=max(model.classes, 2),
        preprocessing="none",
        norm_upper=norm * (1 + 1e-12),
    )
    tolerance = 1e-10 * norm
    task = Task("records and an outlier", data, objective, Minimise(tolerance), torch.device("cpu"))
    optimum = minimise(task, task.everyone(1), tolerance)
    gradients = differentiated(losses_at(objective, task.features()[None, :1], task.labels()[None, :1]), optimum)
    upper = _proved(model, norm).gradient_bound_upper
    return None if upper is None else float(gradients.norm()) / (upper + tolerance)


def _places(part: Model | Objective) -> SearchStrategy[Place]:
    return st.builds(
        Place,
        seed=st.integers(0, 2**16),
        norm=st.sampled_from([1.0, 0.1, 10.0]),
        along=st.floats(-4, 4),
        alone=st.booleans(),
        aside=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
        step=st.sampled_from([0.01, 0.1, 1.0]),
    )


def _edges(part: Model | Objective) -> tuple[Place, ...]:
    steepest = math.log(2 + math.sqrt(3))  # where σ'' of the logistic function is largest
    return Place(), Place(along=steepest), Place(along=steepest / math.sqrt(2)), Place(norm=3.0, along=-steepest)


def _outliers(part: Model | Objective) -> SearchStrategy[Outlier]:
    return st.builds(
        Outlier,
        norm=st.floats(0.1, 30),
        share=st.floats(-1, 1),
        rows=st.sampled_from([2, 3, 10, 200]),
        columns_seed=st.integers(0, 100),
    )


def _law(
    name: str,
    statement: str,
    body: Callable[[Model | Objective, Place], float | None],
    measures: str,
) -> PartLaw[Model | Objective, Place]:
    return PartLaw(
        name,
        statement,
        "an understated constant",
        "proofs in learning/objectives.py",
        body,
        _places,
        _edges,
        applies=_no_constants,
        share=0.5,
        measures=measures,
    )


check_strong_convexity = _law(
    "strong_convexity",
    "λI ⪯ ∇²ℓ(w; z) for every record of norm at most R and every w.",
    _strong_convexity,
    "λ / smallest eigenvalue",
)

check_smoothness = _law(
    "smoothness",
    "∇²ℓ(w; z) ⪯ LI for every record of norm at most R and every w.",
    _smoothness,
    "largest eigenvalue / L",
)

check_hessian_lipschitz = _law(
    "hessian_lipschitz",
    "‖∇²ℓ(w; z) − ∇²ℓ(v; z)‖ ≤ C‖w − v‖ for every record of norm at most R and all w, v.",
    _hessian_lipschitz,
    "change of the Hessian / (C · distance)",
)

check_gradient_bound: PartLaw[Model | Objective, Outlier] = PartLaw(
    name="gradient_bound",
    statement="‖∇ℓ(w*; z)‖ ≤ G for every record at every regularised optimum w*.",
    fails_for="an understated constant",
    source="proof in learning/objectives.py: the loss part, and λ‖w*‖ as the norm of its mean",
    body=_gradient_bound,
    cases=_outliers,
    examples=lambda part: (Outlier(), Outlier(norm=7.6 / math.sqrt(2)), Outlier(0.01, 1.0)),
    applies=_no_gradient_bound,
    share=0.3,
    measures="gradient at an optimum / G",
    refusals=(PlanError,),
)

CONSTANTS = (check_strong_convexity, check_smoothness, check_hessian_lipschitz, check_gradient_bound)


def check_constants(part: Model | Objective) -> tuple[PartResult, ...]:
    """Search for a breach of each constant of an objective; those it does not give are left out.

    Raises:
        PartBroken: a constant is understated; the law names it.
        LawNotApplicable: the objective gives none.
    """
    laws = [law for law in CONSTANTS if law.applies(part) is None]
    if not laws:
        raise LawNotApplicable("the objective has no proved constants")
    return tuple(law(part) for law in laws)
