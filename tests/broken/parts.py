"""Broken parts: what methods are built from with one thing wrong, each named beside the law that must catch it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learning import cubic
from learning.objectives import BinaryLogistic, Constants, Point, Ridge, Softmax
from learning.solvers import Product, lissa
from methods import sekhari2021newton as newton
from properties.parts import CubicSolver, Model, Profile, Solver
from properties.parts.shipped import by_cholesky, by_conjugate_gradient, by_lissa, lissa_depth
from tests.broken.cubic import BROKEN_CUBIC_STEPS
from tests.broken.twin import Twin, patched
from unlearning.gaussian import delta_of_epsilon, epsilon_of_delta, noise_scale_upper
from unlearning.protocols import AnyMethod
from unlearning.streams import Streams

# Objectives -----------------------------------------------------------------------------------------------------------


def unsquared(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """‖w‖/2 [K, 1], its gradient [K, P] and Hessian [K, P, P]."""
    norm = parameters.norm(dim=1, keepdim=True).clamp(min=1e-12)
    unit = parameters / norm
    identity = torch.eye(parameters.shape[1], dtype=parameters.dtype)
    return norm / 2, unit / 2, (identity - unit.unsqueeze(2) * unit.unsqueeze(1)) / (2 * norm.unsqueeze(2))


class _UnsquaredPoint:
    """½λ‖w‖ in place of ½λ‖w‖², everywhere consistently."""

    def __init__(self, point: Point, parameters: Tensor, lam: float) -> None:
        self.point, self.w, self.lam = point, parameters, lam
        self.value, self.slope, self.curve = unsquared(parameters)

    def losses(self) -> Tensor:
        square = 0.5 * self.w.square().sum(1, keepdim=True)
        return self.point.losses() + self.lam * (self.value - square)

    def gradient(self, weights: Tensor) -> Tensor:
        return self.point.gradient(weights) + self.lam * weights.sum(1, keepdim=True) * (self.slope - self.w)

    def gradients(self, weights: Tensor) -> Tensor:
        return torch.stack([self.gradient(weights[:, r]) for r in range(weights.shape[1])], 1)

    def hvp(self, weights: Tensor, vectors: Tensor) -> Tensor:
        share = self.lam * weights.sum(1)[:, None, None]
        return self.point.hvp(weights, vectors) + share * (vectors @ self.curve - vectors)


class UnsquaredNorm(BinaryLogistic):
    """A regulariser ½λ‖w‖."""

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Point:
        return _UnsquaredPoint(super().at(parameters, features, labels), parameters, self.regularisation)


class _Altered:
    """A point with one function wrong."""

    def __init__(self, point: Point, **wrong: Callable[..., Tensor]) -> None:
        self.point, self.wrong = point, wrong

    def __getattr__(self, name: str) -> Any:
        return self.wrong.get(name) or getattr(self.point, name)


class BareHvp(Softmax):
    """Products with the Hessian without its regulariser."""

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Any:
        point = super().at(parameters, features, labels)
        lam = self.regularisation
        return _Altered(point, hvp=lambda w, v: point.hvp(w, v) - lam * w.sum(1)[:, None, None] * v)


class GaussNewton(BinaryLogistic):
    """The square of the residual in place of the curvature."""

    def curvature(self, scores: Tensor, directions: Tensor) -> Tensor:
        p = torch.sigmoid(scores)
        return (p**2).unsqueeze(2) * directions


class MeanGradient(Ridge):
    """Divides by the number of records once more."""

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Any:
        point = super().at(parameters, features, labels)
        return _Altered(point, gradient=lambda weights: point.gradient(weights) / labels.shape[1])


class PresentOnly(Softmax):
    """Weights as 0 or 1: whoever is present counts once, whatever the divisor."""

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Any:
        point = super().at(parameters, features, labels)
        return _Altered(point, gradients=lambda weights: point.gradients((weights > 0).to(weights.dtype)))


class Ascent(BinaryLogistic):
    """The gradient with the wrong sign."""

    def residual(self, scores: Tensor, labels: Tensor) -> Tensor:
        return -super().residual(scores, labels)


class WholeSquare(Ridge):
    """λ‖w‖² in place of ½λ‖w‖²."""

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Any:
        return Ridge(self.features, 2 * self.regularisation).at(parameters, features, labels)


# Constants ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Understated:
    """An objective with one of its constants too good to be true."""

    objective: Any
    field: str
    factor: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objective, name)

    def constants(self, norm_upper: float | None) -> Constants | None:
        honest = self.objective.constants(norm_upper)
        return honest and replace(honest, **{self.field: getattr(honest, self.field) * self.factor})

    @property
    def __name__(self) -> str:
        return f"{self.field} × {self.factor:.3g} of {self.objective.name}"


_MODELS = (BinaryLogistic(3, 0.3), Softmax(2, 3, 0.3), Ridge(3, 0.3))


def understated(field: str, factor: float) -> list[object]:
    """The shipped models with one constant multiplied; without those whose constant is 0 or unknown."""
    honest = [(model, getattr(model.constants(1.0), field)) for model in _MODELS]
    return [Understated(model, field, factor) for model, value in honest if value]


# Solvers --------------------------------------------------------------------------------------------------------------


def stopped_early(product: Product, right: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """LiSSA with half of the depth."""
    depths = [lissa_depth(float(c / h), 1e-2) // 2 for c, h in zip(low, high, strict=True)]
    return lissa(
        lambda _, v: product(v[:, 0]).unsqueeze(1), right, scale=high, depth=torch.tensor(depths), curvature=low
    ).solution


def unsquared_damping(product: Product, right: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """LiSSA on a matrix whose damping, a tenth of c, is that of an unsquared norm."""
    curve = unsquared(right)[2]
    share = 0.1 * low.view(-1, 1) * right.norm(dim=1, keepdim=True)

    def damped(vectors: Tensor) -> Tensor:
        extra = (curve @ vectors.unsqueeze(2)).squeeze(2)
        return product(vectors) + share * (extra - vectors)

    return by_lissa(damped, right, 0.9 * low, 1.1 * high, tolerance=1e-2)


def as_many_steps_for_all(product: Product, right: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Five steps of Richardson's iteration, whatever c."""
    value = torch.zeros_like(right)
    for _ in range(5):
        value = value + (right - product(value)) / high.unsqueeze(1)
    return value


def shared_step(product: Product, right: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Steepest descent with one length for all replicas."""
    value = torch.zeros_like(right)
    for _ in range(200):
        left = right - product(value)
        value = value + left * (left.square().sum() / (left * product(left)).sum().clamp(min=1e-300))
    return value


def off_where_it_is_hard(product: Product, right: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Cholesky's solution, for (1 + 10⁻¹⁰)·b where the condition is above 2000: as if iterations were stopped there."""
    hard = (high > 2e3 * low).to(right.dtype).unsqueeze(1)
    return by_cholesky(product, (1 + 1e-10 * hard) * right, low, high)


# Cubic steps ----------------------------------------------------------------------------------------------------------


def _dense(twin: Callable[[Tensor, Tensor, float], cubic.CubicStep]) -> CubicSolver:
    def step(hessian: Tensor, gradient: Tensor, weight: float) -> cubic.Solved:
        with patched(cubic, cubic_step=twin):
            return cubic.dense_step(hessian, gradient, weight)

    return CubicSolver(twin.__name__, step)


def _blind_claims_to_see(hessian: Tensor, gradient: Tensor, weight: float) -> cubic.Solved:
    """A Krylov space, which cannot meet the hard case, passed off as the exact step."""
    return cubic.krylov_step(
        lambda v: (hessian @ v.unsqueeze(2)).squeeze(2), gradient, weight, tolerance=1e-10, dimension=gradient.shape[1]
    )


# Calibration ----------------------------------------------------------------------------------------------------------


def classical_anywhere(sensitivity: float, epsilon: float, delta: float) -> float:
    """Dwork and Roth's formula whatever ε."""
    return sensitivity / epsilon * math.sqrt(2 * math.log(1.25 / delta))


def without_the_quarter(sensitivity: float, epsilon: float, delta: float) -> float:
    """√(2 ln(1/δ))·Δ/ε: the classical formula without its 1.25."""
    return sensitivity / epsilon * math.sqrt(2 * math.log(1 / delta))


def a_thousandth_less(sensitivity: float, epsilon: float, delta: float) -> float:
    """The analytic σ, rounded the wrong way."""
    return 0.999 * noise_scale_upper(sensitivity, epsilon, delta)


def grows_with_epsilon(sensitivity: float, epsilon: float, delta: float) -> float:
    """σ multiplied by ε where it should be divided."""
    return sensitivity * epsilon * math.sqrt(2 * math.log(1.25 / delta))


def grows_with_delta(sensitivity: float, epsilon: float, delta: float) -> float:
    """δ for 1 − δ."""
    return noise_scale_upper(sensitivity, epsilon, 1 - delta)


def one_scale_for_all(sensitivity: float, epsilon: float, delta: float) -> float:
    """Noise for Δ = 1 whatever Δ."""
    return noise_scale_upper(1.0, epsilon, delta)


def smaller_for_larger(sensitivity: float, epsilon: float, delta: float) -> float:
    """Divides by Δ."""
    return noise_scale_upper(1.0, epsilon, delta) / sensitivity


def by_the_moments(mu: float, delta: float) -> float:
    """ε = μ²/2 + μ√(2 ln(1/δ)): true of every μ-GDP mechanism, and not its ε(δ)."""
    return mu**2 / 2 + mu * math.sqrt(2 * math.log(1 / delta))


def by_one_tail(mu: float, epsilon: float) -> float:
    """δ = Φ(μ/2 − ε/μ), the second term left out."""
    return 0.5 * math.erfc((epsilon / mu - mu / 2) / math.sqrt(2))


# Projection -----------------------------------------------------------------------------------------------------------


def onto_the_sphere(points: Tensor, radius: float) -> Tensor:
    """Every point to length R, also from inside."""
    return points * (radius / points.norm(dim=1, keepdim=True).clamp(min=1e-300))


def clipped_coordinates(points: Tensor, radius: float) -> Tensor:
    """Every coordinate to ±R."""
    return points.clamp(-radius, radius)


def clipped_to_the_cube_inside(points: Tensor, radius: float) -> Tensor:
    """Every coordinate to ±R/√P: never outside of the ball, and not its nearest point."""
    return points.clamp(-radius / points.shape[1] ** 0.5, radius / points.shape[1] ** 0.5)


def one_norm_for_all(points: Tensor, radius: float) -> Tensor:
    """Projects all replicas by the norm of the longest."""
    return points * min(1.0, radius / max(float(points.norm(dim=1).max()), 1e-300))


def shrunk(points: Tensor, radius: float) -> Tensor:
    """R·w/(R + ‖w‖): always inside, and never the identity."""
    return points * (radius / (radius + points.norm(dim=1, keepdim=True)))


CATCHES: dict[str, list[object]] = {
    "gradient": [
        Model(MeanGradient(3, 0.3), 3, 0),
        PresentOnly(2, 3, 0.3),
        Ascent(3, 0.3),
    ],
    "hvp": [BareHvp(2, 3, 0.3), GaussNewton(3, 0.3)],
    "regulariser": [
        Model(UnsquaredNorm(3, 0.3), 3, 2, BinaryLogistic(3, 0.0)),
        UnsquaredNorm(3, 0.3),
        Model(WholeSquare(3, 0.3), 3, 0, Ridge(3, 0.0)),
        BareHvp(2, 3, 0.3),
    ],
    "strong_convexity": [*understated("strong_convexity", 1 / 0.95), *understated("strong_convexity", 2.0)],
    "smoothness": [*understated("smoothness_upper", 0.95), *understated("smoothness_upper", 0.5)],
    "hessian_lipschitz": [
        *understated("hessian_lipschitz_upper", 0.95),
        *understated("hessian_lipschitz_upper", 0.5),
    ],
    "gradient_bound": [  # 0.53 of this G is still true for two labels: see properties/parts/constants.py
        Understated(Softmax(2, 3, 0.3), "gradient_bound_upper", 0.57),
        Understated(BinaryLogistic(3, 0.3), "gradient_bound_upper", 0.52),
        Understated(Softmax(2, 2, 0.3), "gradient_bound_upper", 0.52),
        Understated(BinaryLogistic(3, 0.3), "gradient_bound_upper", 0.5),
        Understated(Softmax(2, 2, 0.01), "gradient_bound_upper", 0.5),
    ],
    "solver": [
        Solver("LiSSA with half of the depth", stopped_early, 1e-2, 100.0),
        Solver("LiSSA with the damping of an unsquared norm", unsquared_damping, 1e-2, 100.0),
        Solver("conjugate gradients, loose", partial(by_conjugate_gradient, tolerance=1e-5), 1e-8),
        Solver("1e-10 where 1e-12 is stated", off_where_it_is_hard, 1e-12),
        Solver("as many steps for all", as_many_steps_for_all, 1e-2, 100.0),
        Solver("one length for all", shared_step, 1e-6, 100.0),
    ],
    "cubic_step": [
        *(_dense(twin) for twin in BROKEN_CUBIC_STEPS),
        CubicSolver("a Krylov space for the whole", _blind_claims_to_see),
    ],
    "calibration": [
        classical_anywhere,
        without_the_quarter,
        a_thousandth_less,
        grows_with_epsilon,
        one_scale_for_all,
    ],
    "calibration_order": [grows_with_epsilon, grows_with_delta, smaller_for_larger],
    "calibration_inverse": [
        Profile(delta_of_epsilon, by_the_moments),
        Profile(by_one_tail, epsilon_of_delta),
    ],
    "projection": [
        onto_the_sphere,
        clipped_coordinates,
        clipped_to_the_cube_inside,
        one_norm_for_all,
        shrunk,
    ],
}


# Methods --------------------------------------------------------------------------------------------------------------


class UnsquaredRegulariser(Twin):
    """Newton's step for a regulariser ½λ‖w‖ in place of ½λ‖w‖²: in the removed gradients and in the Hessian."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest, hessian, at_all = (
            self.method.unlearn(state, request, streams=streams),
            newton.full_hessian,
            newton.at_all,
        )
        lam = state.task.objective.regularisation

        def wrong_hessian(task: Any, w: Tensor, kept: Tensor) -> Tensor:
            identity = torch.eye(w.shape[1], dtype=w.dtype)
            # a little of the honest damping is left, or no step exists where the data are flat
            return hessian(task, w, kept) + lam * (unsquared(w)[2] - 0.99 * identity)

        def wrong_point(task: Any, w: Tensor) -> Any:
            return _UnsquaredPoint(at_all(task, w), w, lam)

        with patched(newton, full_hessian=wrong_hessian, at_all=wrong_point):
            after = self.method.unlearn(state, request, streams=streams)
        return replace(after, error_upper=honest.error_upper) if request.any() else honest


def method_twins() -> dict[str, list[AnyMethod]]:
    """Broken methods for the table of laws on methods, by the law that must catch them."""
    wrong = UnsquaredRegulariser(newton.NewtonStep())
    return {"quadratic": [wrong], "sensitivity": [wrong]}
