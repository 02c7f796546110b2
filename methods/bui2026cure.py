r"""Cubic-regularised Newton unlearning: CuReNU and its stochastic variant CuReNUS.

Q. M. Bui, X. Lu, R. H. L. Sim, S.-K. Ng, B. K. H. Low, *On Newton's Method to Unlearn Neural Networks*,
arXiv 2406.14507 (ICLR 2026). The stochastic step is that of N. Tripuraneni, M. Stern, C. Jin, J. Regier,
M. I. Jordan, *Stochastic Cubic Regularization for Fast Nonconvex Optimization*, NeurIPS 2018.

A trained network's Hessian is degenerate: thousands of its eigenvalues are tiny but not zero, so that H⁻¹ and H⁺ send
the parameters far away. The cubic term bounds the step, and chooses the damping by itself:

    w⁺ = w + argmin_d ⟨g, d⟩ + ½⟨d, Hd⟩ + (M/6)‖d‖³  =  w − (H + (Mα/2)I)⁻¹g,   α = ‖w⁺ − w‖
    dual:  sup over {α ≥ 0: H + (Mα/2)I ≻ 0} of  −½⟨(H + (Mα/2)I)⁻¹g, g⟩ − (M/12)α³
    g = ∇F_r(w), H = ∇²F_r(w)

    stochastic: on minibatches, from d = 0,   d ← d − η(g + σ_g ζ + Hd + (M/2)‖d‖d),   ζ uniform on the sphere;
    where ‖g‖ ≥ L²/M, the Cauchy step d = −R g/‖g‖,  R = −b + √(b² + 2‖g‖/M),  b = gᵀHg/(M‖g‖²);   then w ← w + d

===================  ==========================  ======================================================
paper                code                        meaning
===================  ==========================  ======================================================
w*                   ``state.parameters``        what training left, or the last unlearning, without noise
L (of the Hessian)   ``weight``, M               cubic weight: 5 FashionMNIST, 50 CIFAR-10, 80 AG-News, 400 TOFU
α                    ``alpha``                   dual variable and length of the step
T                    ``steps``                   steps (stochastic: outer steps, 10 to 20)
ζ, σ                 ``perturbation``, σ_g       length of the perturbation of the minibatch gradient, .1
|B_g|, |B_H|         ``batch_sizes``             128 and 64 (10 and 5 for language models)
T_inner, η           ``inner``, ``step_size``    descent steps on the model, 5 to 10, and their size
ℓ                    ``smoothness``, L           decides where the Cauchy step is taken
===================  ==========================  ======================================================

The problem is solved exactly by one eigendecomposition where the Hessian is small, else in a Krylov space of H and g
(`learning.cubic`). Sample-level, class-level and sequential requests differ in the mask alone; a sequence starts from
the un-noised unlearned model.

No certificate in the paper: none for a loss that is not convex. Where the loss is λ-strongly convex and the reference
the minimiser, Δ = (‖∇F_r(w̃)‖ + τ)/λ. The update lowers the retained loss; on a model that already fits the retained
records ∇F_r ≈ 0, and it forgets nothing.

Differs from the paper: an empty request is the identity, also where ∇F ≠ 0; the hard case is solved; the step is
computed in float64; η has a default (Carmon & Duchi 2020), and so has L, measured on the minibatch where no constant
is proved.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learning.cubic import Solved, cauchy_step, dense_step, krylov_step
from learning.newton import (
    DENSE_LIMIT,
    Block,
    SecondOrder,
    blocks,
    check_dense,
    moved,
)
from learning.objectives import Point
from learning.solvers import Product, lanczos
from learning.task import Learned, Task
from unlearning.claim import Reference, SeedPolicy
from unlearning.fields import check_count, check_number
from unlearning.protocols import Declaration, Rate, Regime
from unlearning.streams import Streams

_FORMED = 32  # parameters up to which a minibatch's Hessian is formed, by one product of as many columns

CITATION = "Bui, Lu, Sim, Ng & Low, On Newton's Method to Unlearn Neural Networks, arXiv 2406.14507, ICLR 2026"
DIFFERS = (
    "An empty request is the identity, also where the gradient of the objective is not zero.",
    "The step is computed in float64 whatever the task's dtype.",
)


@dataclass(frozen=True, slots=True)
class CureNewton(SecondOrder):
    """Cubic-regularised Newton steps on the objective of the retained records (CuReNU).

    Attributes:
        weight: M of the cubic term.
        steps: Newton steps per request.
        solver: "dense" by eigendecomposition, "krylov" by Hessian-vector products; "auto": dense up to 2,000 parameters
            of a linear model, and up to `dimension` of a network, where forming the Hessian costs as much.
        tolerance: relative residual at which the Krylov space is large enough.
        dimension: largest dimension of the Krylov space; the residual then reached is among the diagnostics.
    """

    weight: float = 5.0
    steps: int = 1
    solver: Literal["auto", "dense", "krylov"] = "auto"
    tolerance: float = 1e-8
    dimension: int = 256

    declaration = Declaration(
        title="Cubic-regularised Newton (CuReNU)",
        citation=CITATION,
        reference=Reference.RETRAINED,
        seed_policy=SeedPolicy.PER_SEED,
        stores="the parameters and the training set (its Hessian is formed, or multiplied, at deletion time)",
        differs=(*DIFFERS, "The hard case of the cubic problem is solved."),
        regime=Regime.STRONGLY_CONVEX,
        rates=Rate.in_share(2, "from a minimiser: Newton's error, and ½Mα of the cubic term times a step of length α"),
    )

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a field is out of range.
        """
        check_number("weight", self.weight, above=0)
        check_number("tolerance", self.tolerance, above=0)
        check_count("steps", self.steps)
        check_count("dimension", self.dimension)
        if self.solver not in ("auto", "dense", "krylov"):
            raise ValueError(f'solver must be "auto", "dense" or "krylov", got {self.solver!r}.')

    def check_task(self, task: Task) -> None:
        """Refuse a model whose Hessian is too large to be formed, where the solver is dense.

        Raises:
            PlanError: it has too many parameters.
        """
        if self.solver == "dense":
            check_dense(task)

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        """Cubic Newton steps on F_r in every replica with a request; an empty request is the identity.

        Raises:
            Diverged: a gradient, Hessian or parameter is not finite; the state is unchanged.
        """
        dense = self.solver == "dense" or (self.solver == "auto" and self._prefers_dense(state.task))
        return moved(state, request, [self._move(block, dense) for block in blocks(state, request, dense=dense)])

    def _prefers_dense(self, task: Task) -> bool:
        """A linear model's Hessian is a matrix product; a network's costs one product per parameter."""
        return task.objective.size <= (DENSE_LIMIT if hasattr(task.objective, "scores") else self.dimension)

    def _move(self, block: Block, dense: bool) -> tuple[Block, Tensor, dict[str, Tensor]]:
        parameters, solved, before = block.parameters, [], torch.empty(0)
        for number in range(self.steps):
            gradient = block.gradient(parameters)
            before = gradient.norm(dim=1) if number == 0 else before
            solved.append(self._step(block, parameters, gradient, dense))
            parameters = parameters + solved[-1].step
            block.refuse_not_finite(parameters, "the unlearned parameters", way_out="Raise weight.")
        after = block.gradient(parameters).norm(dim=1)
        return block, parameters, _measured(block, parameters, solved, before, after, dense)

    def _step(self, block: Block, parameters: Tensor, gradient: Tensor, dense: bool) -> Solved:
        if dense:
            return dense_step(block.hessian(parameters), gradient, self.weight)
        objective = block.objective(parameters)

        def product(vectors: Tensor) -> Tensor:
            found = objective.hvp(vectors)
            block.refuse_not_finite(found, "a Hessian-vector product")
            return found

        return krylov_step(product, gradient, self.weight, tolerance=self.tolerance, dimension=self.dimension)


def _measured(
    block: Block, parameters: Tensor, solved: list[Solved], before: Tensor, after: Tensor, exact: bool
) -> dict[str, Tensor]:
    """Over the steps of a request: the first's eigenvalues, the worst gap and residual."""

    def worst(values: list[Tensor]) -> Tensor:
        return torch.stack(values).amax(0)

    how = "" if exact else ", Lanczos"
    return {
        "step length": (parameters - block.parameters).norm(dim=1),
        "α of the dual": worst([one.alpha for one in solved]),
        "primal-dual gap": worst([one.gap.abs() for one in solved]),
        f"λ_min{how}": solved[0].lowest,
        f"λ_max{how}": solved[0].highest,
        "‖∇F_r‖ before": before,
        "‖∇F_r‖ after": after,
        "residual of the linear system": worst([one.residual for one in solved]),
        "number of hard cases": torch.stack([one.hard for one in solved]).sum(0),
        "number of dimensions": worst([one.dimension for one in solved]),
    }


@dataclass(frozen=True, slots=True)
class SCureNewton(SecondOrder):
    """Stochastic cubic Newton on minibatches, by descent on the cubic model and Cauchy steps (CuReNUS).

    Attributes:
        weight: M of the cubic term.
        steps: outer steps.
        inner: descent steps on each model.
        perturbation: σ_g, length of the random perturbation of the minibatch gradient.
        batch_sizes: records in the gradient's and in the Hessian's minibatch, drawn anew in every outer step.
        step_size: η; None: 1/(4(L + MR/2)), R = L/M + √(L²/M² + 2(‖g‖ + σ_g)/M), for which the descent is monotone.
        smoothness: L; None: the proved constant of the objective, else the largest Ritz value of the minibatch Hessian
            after 8 Lanczos steps (estimated: it may be too small, and then η too large).
    """

    weight: float = 5.0
    steps: int = 10
    inner: int = 10
    perturbation: float = 0.1
    batch_sizes: tuple[int, int] = (128, 64)
    step_size: float | None = None
    smoothness: float | None = None

    declaration = Declaration(
        title="Stochastic cubic-regularised Newton (CuReNUS)",
        citation=CITATION,
        reference=Reference.RETRAINED,
        seed_policy=SeedPolicy.PER_SEED,
        stores="the parameters and the training set",
        regime=Regime.STRONGLY_CONVEX,
        draws=True,
        differs=(
            *DIFFERS,
            "The step size of the descent on the model has a default (Carmon & Duchi 2020).",
            "L is measured on the minibatch where no constant is given or proved.",
        ),
    )

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a field is out of range.
        """
        check_number("weight", self.weight, above=0)
        check_number("perturbation", self.perturbation, least=0)
        for name in ("step_size", "smoothness"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), above=0)
        check_count("steps", self.steps)
        check_count("inner", self.inner)
        if not isinstance(self.batch_sizes, (tuple, list)) or len(self.batch_sizes) != 2:
            raise ValueError(f"batch_sizes must be two whole numbers >= 1, got {self.batch_sizes!r}.")
        for place, size in enumerate(self.batch_sizes):
            check_count(f"batch_sizes[{place}]", size)
        object.__setattr__(self, "batch_sizes", tuple(self.batch_sizes))  # a plan gives a list

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        """Outer steps on minibatches in every replica with a request; an empty request is the identity.

        Raises:
            ValueError: streams and replicas differ in number.
            Diverged: a gradient or parameter is not finite; the state is unchanged.
        """
        if len(streams) != state.parameters.shape[0]:
            raise ValueError(f"streams must hold {state.parameters.shape[0]} replicas, got {len(streams)}.")
        own = {role: streams.generators(role) for role in ("minibatches", "perturbations")}
        return moved(state, request, [self._move(block, own) for block in blocks(state, request, dense=False)])

    def _move(self, block: Block, own: dict[str, list[np.random.Generator]]) -> tuple[Block, Tensor, dict[str, Tensor]]:
        draws = {role: [generators[p] for p in block.positions.tolist()] for role, generators in own.items()}
        before = block.gradient(block.parameters).norm(dim=1)
        parameters, cauchy, smoothness = block.parameters, torch.zeros_like(before), torch.zeros_like(before)
        for _ in range(self.steps):
            points = [_minibatch(block, parameters, size, draws["minibatches"]) for size in self.batch_sizes]
            step, along, bound = self._step(block, points, draws["perturbations"])
            parameters = parameters + step
            block.refuse_not_finite(parameters, "the unlearned parameters", way_out=self._way_out)
            cauchy, smoothness = cauchy + along, torch.maximum(smoothness, bound)
        measured = {
            "step length": (parameters - block.parameters).norm(dim=1),
            "‖∇F_r‖ before": before,
            "‖∇F_r‖ after": block.gradient(parameters, way_out=self._way_out).norm(dim=1),
            "number of Cauchy steps": cauchy,
            "L of the Cauchy rule": smoothness,
        }
        return block, parameters, measured

    def _step(
        self, block: Block, points: list[tuple[Point, Tensor]], generators: list[np.random.Generator]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One outer step [B, P], whether it was a Cauchy step [B], and L [B]."""
        (first, own), (second, others) = points
        gradient = first.gradient(own)
        block.refuse_not_finite(gradient, "the gradient of a minibatch", way_out=self._way_out)

        product = _product(second, others, gradient)
        norm = gradient.norm(dim=1)
        smoothness = self._smoothness(block, product, gradient)
        along = norm >= smoothness**2 / self.weight
        cauchy = cauchy_step(gradient, product(gradient), self.weight)
        drawn = np.stack([generator.standard_normal(gradient.shape[1]) for generator in generators])
        ball = torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).to(gradient)
        perturbed = gradient + self.perturbation * ball
        ratio = smoothness / self.weight
        reach = ratio + (ratio**2 + 2 * (norm + self.perturbation) / self.weight).sqrt()
        step_size = 1 / (4 * (smoothness + self.weight / 2 * reach))
        if self.step_size is not None:
            step_size = torch.full_like(step_size, self.step_size)
        step = torch.zeros_like(gradient)
        for _ in range(self.inner):
            cubic = self.weight / 2 * step.norm(dim=1, keepdim=True) * step
            step = step - step_size.unsqueeze(1) * (perturbed + product(step) + cubic)
        return torch.where(along.unsqueeze(1), cauchy, step), along, smoothness

    @property
    def _way_out(self) -> str:
        """What helps where the features are in order, as the first gradient has shown: shorter steps."""
        if self.step_size is not None:
            return f"Lower step_size = {self.step_size:g}, or leave it out."
        return "Raise weight or smoothness, or lower perturbation."

    def _smoothness(self, block: Block, product: Product, gradient: Tensor) -> Tensor:
        constants, known = block.task.constants, self.smoothness
        if known is None and constants is not None:
            known = constants.smoothness_upper
        if known is not None:
            return torch.full_like(gradient[:, 0], known)
        ritz = lanczos(product, gradient, steps=8).eigenvalues()
        return torch.maximum(ritz[:, -1], -ritz[:, 0]).clamp(min=1e-12)


def _product(point: Point, weights: Tensor, like: Tensor) -> Product:
    """The minibatch Hessian on vectors [B, P]; formed where it has few columns: cheaper than a product per step."""
    replicas, size = like.shape
    if size > _FORMED:
        return lambda vectors: point.hvp(weights, vectors.unsqueeze(1)).squeeze(1)
    hessian = point.hvp(weights, torch.eye(size).to(like).expand(replicas, size, size))
    return lambda vectors: (vectors.unsqueeze(1) @ hessian).squeeze(1)


def _minibatch(
    block: Block, parameters: Tensor, size: int, generators: list[np.random.Generator]
) -> tuple[Point, Tensor]:
    """The objective on `size` retained records of each replica, without replacement, and their weights [B, size].

    A replica with fewer records takes them all; what it draws does not depend on the others'.
    """
    task = block.task
    size = min(size, task.rows)
    rows = torch.zeros(len(generators), size, dtype=torch.int64)
    weights = torch.zeros(len(generators), size, dtype=torch.float64)
    for place, (generator, kept) in enumerate(zip(generators, block.kept.cpu(), strict=True)):
        left = kept.nonzero().flatten()
        count = min(size, len(left))
        rows[place, :count] = left[torch.from_numpy(generator.permutation(len(left))[:count])]
        weights[place, :count] = 1 / count
    rows, weights = rows.to(task.device), weights.to(task.device)
    features = task.features()[rows].to(parameters.dtype)
    return task.objective.at(parameters, features, task.labels()[rows]), weights
