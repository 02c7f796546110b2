r"""Laws on an objective's derivatives: each is the derivative of the losses, and ½λ‖w‖² contributes exactly its share.

    gradient(weights)      = Σ_b weights_b ∇ℓ_b
    gradients(weights)     = the same for several weights
    hvp(weights, v)        = Σ_b weights_b ∇²ℓ_b · v
    ℓ − ℓ without λ        = ½λ‖w‖²,  λw in the gradient,  λv in the product

The naive side is torch.autograd on `losses`, one scalar at a time; rounding is measured against the sum of the sizes of
what is added, so that cancellation is not taken for a mistake.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from learning.objectives import Objective, Point, Ridge
from unlearning.errors import PlanError

from .law import PartBroken, PartLaw

_ROUNDING = 1e-8  # relative to the sum of the sizes; torch's softplus, linear beyond 20, is worth e⁻²⁰ = 2e-9 of it


@dataclass(frozen=True, slots=True)
class Model:
    """An objective, and what it is an objective of.

    Attributes:
        objective: the part.
        columns: inputs per record.
        classes: labels are 0 … classes − 1; 0: labels are real numbers.
        plain: the same objective with λ = 0; without it a copy whose `regularisation` is set to 0.
    """

    objective: Objective
    columns: int
    classes: int
    plain: Objective | None = None

    @property
    def without_regulariser(self) -> Objective:
        """The same objective with λ = 0.

        Raises:
            PlanError: λ of a copy cannot be set.
        """
        if self.plain is not None:
            return self.plain
        plain = copy(self.objective)
        try:
            plain.regularisation = 0.0  # type: ignore[misc]
        except AttributeError as error:
            raise PlanError(
                f"objective must be given without its regulariser too, got {type(plain).__name__}, whose copy keeps "
                "its own. Write Model(objective, columns=…, classes=…, plain=…)."
            ) from error
        return plain

    def __repr__(self) -> str:
        """In a few words."""
        return f"Model({type(self.objective).__name__}, {self.columns}, {self.classes})"


def model_of(part: Model | Objective) -> Model:
    """The part with its records: as given, or read off a linear model's `features` and `outputs`.

    Raises:
        PlanError: the objective does not say how wide its records are.
    """
    if isinstance(part, Model):
        return part
    features, outputs = getattr(part, "features", None), getattr(part, "outputs", None)
    if not (isinstance(features, int) and isinstance(outputs, int)):
        raise PlanError(
            f"objective must say how wide its records are, got {type(part).__name__} without `features` and `outputs`. "
            "Wrap it: Model(objective, columns=…, classes=…)."
        )
    return Model(part, features, 0 if isinstance(part, Ridge) else max(outputs, 2))


@dataclass(frozen=True, slots=True)
class Records:
    """Records, parameters, weights and directions, from a seed.

    Attributes:
        seed: of everything.
        replicas: K.
        rows: records per replica, B.
        directions: vectors of a product, and sets of weights, R.
        parameters: scale of the parameters; 0: the origin.
        inputs: scale of the inputs; 0: no input at all, so that only biases and the regulariser are left.
    """

    seed: int = 0
    replicas: int = 1
    rows: int = 1
    directions: int = 1
    parameters: float = 1.0
    inputs: float = 1.0


@dataclass(frozen=True, slots=True)
class _Drawn:
    at: Tensor  # [K, P]
    features: Tensor  # [K, B, d]
    labels: Tensor  # [K, B]
    weights: Tensor  # [K, R, B]
    vectors: Tensor  # [K, R, P]

    def point(self, objective: Objective) -> Point:
        return objective.at(self.at, self.features, self.labels)


def _draw(model: Model, case: Records) -> _Drawn:
    generator = np.random.default_rng(case.seed)
    k, b, r, p = case.replicas, case.rows, case.directions, model.objective.size
    labels = generator.integers(0, model.classes, (k, b)) if model.classes else generator.standard_normal((k, b))
    arrays = (
        case.parameters * generator.standard_normal((k, p)),
        case.inputs * generator.standard_normal((k, b, model.columns)),
        labels,
        generator.uniform(0, 1, (k, r, b)) * (generator.random((k, r, b)) < 0.8),  # records may be absent
        generator.standard_normal((k, r, p)),
    )
    return _Drawn(*(torch.from_numpy(array) for array in arrays))


def losses_at(objective: Objective, features: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """The losses [K, B] of these records as a function of parameters [K, P]."""
    return lambda parameters: objective.at(parameters, features, labels).losses()


def differentiated(losses: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """∇ℓ_b of losses [K, B] at parameters [K, P], record by record, by autograd, [K, B, P]."""
    start = at.detach().clone().requires_grad_()
    found = losses(start)
    slopes = [torch.autograd.grad(found[:, b].sum(), start, retain_graph=True)[0] for b in range(found.shape[1])]
    return torch.stack(slopes, 1)


def differentiated_twice(losses: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """∇²ℓ_b of losses [K, B] at parameters [K, P], row by row, by autograd, [K, B, P, P]."""
    start = at.detach().clone().requires_grad_()
    found = losses(start)
    hessians = []
    for b in range(found.shape[1]):
        (gradient,) = torch.autograd.grad(found[:, b].sum(), start, create_graph=True)
        rows = [
            torch.autograd.grad(gradient[:, p].sum(), start, retain_graph=True, materialize_grads=True)[0]
            for p in range(start.shape[1])
        ]
        hessians.append(torch.stack(rows, 1))
    return torch.stack(hessians, 1)


def _used(law: str, what: str, found: Tensor, expected: Tensor, size: Tensor, case: Records) -> float:
    """Share of the allowed rounding that was used; `size` [K] or [K, R] is that of the terms that were added.

    Raises:
        PartBroken: more than rounding lies between the two, or the shapes differ.
    """
    if found.shape != expected.shape:
        raise PartBroken(law, f"{what} has shape {list(found.shape)}, expected {list(expected.shape)}.", case)
    wrong = torch.linalg.vector_norm(found - expected, dim=-1)
    allowed = _ROUNDING * size + 1e-300
    if not bool((wrong <= allowed).all()):
        worst = int((wrong / allowed).flatten().nan_to_num(nan=torch.inf).argmax())
        numbers = {"wrong by": float(wrong.flatten()[worst]), "allowed": float(allowed.flatten()[worst])}
        told = f"{what} is wrong by {numbers['wrong by']:.3g}, rounding explains {numbers['allowed']:.1g}."
        raise PartBroken(law, told, case, numbers)
    return float((wrong / allowed).max())


def _gradient(part: Model | Objective, case: Records) -> float | None:
    model = model_of(part)
    drawn = _draw(model, case)
    expected = differentiated(losses_at(model.objective, drawn.features, drawn.labels), drawn.at)
    point, one = drawn.point(model.objective), drawn.weights[:, 0]
    share = model.objective.regularisation * drawn.at.norm(dim=1)
    sizes = drawn.weights @ (expected.norm(dim=2) + share[:, None] + _features_size(drawn))[..., None]
    return max(
        _used("gradient", "gradient", point.gradient(one), (one[:, None] @ expected).squeeze(1), sizes[:, 0, 0], case),
        _used("gradient", "gradients", point.gradients(drawn.weights), drawn.weights @ expected, sizes[..., 0], case),
    )


def _features_size(drawn: _Drawn) -> Tensor:
    """Size of a record's residual times its input, roughly, [K, B]: what cancels in a gradient."""
    inputs = drawn.features.norm(dim=2)
    size: Tensor = inputs * (1 + inputs * (1 + drawn.at.norm(dim=1, keepdim=True)))
    return size


def _hvp(part: Model | Objective, case: Records) -> float | None:
    model = model_of(part)
    drawn = _draw(model, case)
    hessians = differentiated_twice(losses_at(model.objective, drawn.features, drawn.labels), drawn.at)
    weights = drawn.weights[:, 0]
    expected = drawn.vectors @ (weights[..., None, None] * hessians).sum(1).mT
    norms = torch.linalg.matrix_norm(hessians) + drawn.features.square().sum(2)
    sizes = (weights * norms).sum(1)[:, None] * drawn.vectors.norm(dim=2)
    return _used("hvp", "hvp", drawn.point(model.objective).hvp(weights, drawn.vectors), expected, sizes, case)


def _regulariser(part: Model | Objective, case: Records) -> float | None:
    model = model_of(part)
    drawn, lam = _draw(model, case), model.objective.regularisation
    ours, plain = drawn.point(model.objective), drawn.point(model.without_regulariser)
    weights, total = drawn.weights[:, 0], drawn.weights[:, 0].sum(1)
    gradients = ours.gradient(weights), plain.gradient(weights)
    products = ours.hvp(weights, drawn.vectors), plain.hvp(weights, drawn.vectors)
    square = drawn.at.square().sum(1)
    share = (0.5 * lam * square)[:, None].expand_as(weights)
    without = plain.losses()
    name = "regulariser"
    sizes = (share.abs() + without.abs() + 1).sum(1)
    product_sizes = products[1].norm(dim=2) + total[:, None] * (1 + lam) * drawn.vectors.norm(dim=2)
    slope, curve = lam * total[:, None] * drawn.at, lam * total[:, None, None] * drawn.vectors
    gradient_sizes = gradients[1].norm(dim=1) + slope.norm(dim=1) + total * _features_size(drawn).sum(1)
    return max(
        _used(name, "the regulariser's share of the loss", ours.losses() - without, share, sizes, case),
        _used(name, "its share of the gradient", gradients[0] - gradients[1], slope, gradient_sizes, case),
        _used(name, "its share of hvp", products[0] - products[1], curve, product_sizes, case),
    )


def _cases(part: Model | Objective) -> SearchStrategy[Records]:
    scales = st.sampled_from([1.0, 0.0, 0.01, 0.1, 3.0, 10.0])
    return st.builds(
        Records,
        seed=st.integers(0, 2**16),
        replicas=st.integers(1, 3),
        rows=st.integers(1, 4),
        directions=st.integers(1, 3),
        parameters=scales,
        inputs=scales,
    )


def _says_its_records(part: Model | Objective) -> None:
    """Never a reason not to apply: refuse, before any search, a part that does not say what its records are."""
    model_of(part)


def _says_its_plain(part: Model | Objective) -> None:
    """The same for what it is without λ."""
    _ = model_of(part).without_regulariser


def _examples(part: Model | Objective) -> tuple[Records, ...]:
    return Records(), replace(Records(), replicas=2, rows=3, directions=2)


def _law(
    name: str,
    statement: str,
    fails_for: str,
    source: str,
    body: Callable[[Model | Objective, Records], float | None],
    applies: Callable[[Model | Objective], None] = _says_its_records,
) -> PartLaw[Model | Objective, Records]:
    return PartLaw(
        name,
        statement,
        fails_for,
        source,
        body,
        _cases,
        _examples,
        applies=applies,
        share=0.3,
        measures="rounding / allowed rounding",
    )


check_gradient = _law(
    "gradient",
    "`gradient` and `gradients` are Σ_b weights_b ∇ℓ_b, the derivative of `losses`, and absent records add nothing.",
    "means in place of sums, wrong divisors, wrong signs, a regulariser left out",
    "definition; torch.autograd on `losses`",
    _gradient,
)

check_hvp = _law(
    "hvp",
    "`hvp` is Σ_b weights_b ∇²ℓ_b times a vector, the second derivative of `losses`.",
    "Gauss–Newton in place of the Hessian, products without the regulariser",
    "definition; torch.autograd on `losses`, twice",
    _hvp,
)

check_regulariser = _law(
    "regulariser",
    "λ contributes exactly ½λ‖w‖² to every record's loss, λw to its gradient and λv to its product.",
    "an unsquared norm, λ‖w‖² in place of ½λ‖w‖², a share per batch in place of per record",
    "ℓ(w; z) = loss(w; z) + ½λ‖w‖²; the difference to the same objective with λ = 0",
    _regulariser,
    _says_its_plain,
)
