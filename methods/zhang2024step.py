"""One step of certified unlearning (Zhang et al., ICML 2024): spectrum, solve, project, every bound of the result."""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from learning.full import FullObjective, SampledObjective
from learning.newton import refuse_damping, refuse_not_finite
from learning.solvers import conjugate_gradient, lanczos, lissa
from learning.task import Task
from learning.training import project
from unlearning.errors import PlanError
from unlearning.streams import Streams

from .zhang2024bounds import (
    bias_upper,
    deviation_upper,
    lissa_error_upper,
    newton_error_upper,
    premises,
    theorem_3_4,
)
from .zhang2024settings import Settings

_FLOOR = 2e3  # times the unit of rounding: relative residual that a solver can be asked for


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured in each replica's last request, float64, [K]; infinite where nothing was.

    Attributes:
        sensitivity_upper: Δ by the chosen bound, at most 2R; 2R where a layer has a kink.
        theorem_34, theorem_36: as published, whether or not their premises hold.
        trivial: 2R.
        eigenvalue: λ_min of H that the bounds use.
        eigenvalue_batches: λ_min over LiSSA's minibatches that its error terms use.
        ritz_least, ritz_largest: extreme Ritz values of H.
        gradient_before, gradient_after: ‖∇F_r‖ where the request found the model and at w̃.
        step_length: ‖w̃ − w‖, after the projection.
        residual: ‖(H + λ_d)x − ∇F_r(w*)‖ / ‖∇F_r(w*)‖.
        difference: ‖LiSSA − conjugate gradients‖ / ‖conjugate gradients‖.
    """

    sensitivity_upper: Tensor
    theorem_34: Tensor
    theorem_36: Tensor
    trivial: Tensor
    eigenvalue: Tensor
    eigenvalue_batches: Tensor
    ritz_least: Tensor
    ritz_largest: Tensor
    gradient_before: Tensor
    gradient_after: Tensor
    step_length: Tensor
    residual: Tensor
    difference: Tensor

    @classmethod
    def before(cls, replicas: int) -> "Report":
        """Nothing unlearned: the learned model is its own reference."""
        unknown = torch.full((replicas,), torch.inf, dtype=torch.float64)
        return cls(torch.zeros_like(unknown), *(unknown.clone() for _ in fields(cls)[1:]))

    def take(self, positions: list[int]) -> "Report":
        """Report of the replicas at these positions."""
        return Report(*(getattr(self, f.name)[positions] for f in fields(self)))

    def put(self, positions: list[int], own: "Report") -> "Report":
        """This report, with the replicas at these positions replaced by those of `own`."""
        merged = [getattr(self, f.name).clone() for f in fields(self)]
        for whole, f in zip(merged, fields(self), strict=True):
            whole[positions] = getattr(own, f.name)
        return Report(*merged)


class Step:
    """One damped Newton step of the replicas at `positions`: solve, project, bound."""

    def __init__(
        self,
        method: Settings,
        task: Task,
        start: Tensor,
        kept: Tensor,
        streams: Streams,
        positions: list[int],
    ) -> None:
        self.method, self.task, self.start, self.kept = method, task, start, kept
        self.streams, self.positions = streams, positions
        self.known = premises(method, task)
        self.objective = FullObjective(task, start, kept)
        self.gradient = self.objective.gradient()
        self.refuse_not_finite(start, "the parameters")
        self.refuse_not_finite(self.gradient, "the gradient of the retained records")
        self.scale, self.depth = math.nan, [0] * len(positions)

    def refuse_not_finite(self, found: Tensor, what: str) -> None:
        """Refuse NaN and infinity in one row per replica."""
        refuse_not_finite(found, what, self.task, self.positions)

    def damped(self, vectors: Tensor) -> Tensor:
        """(H + λ_d)·v for vectors [K, P] or [K, R, P]."""
        return self.objective.hvp(vectors) + self.method.damping * vectors

    def take(self) -> tuple[Tensor, Report]:
        """The unlearned parameters [K, P], and what was measured."""
        method, size = self.method, self.start.shape[1]
        normals = torch.from_numpy(self.streams.normals("lanczos", size)[self.positions]).to(self.start)
        ritz = _doubles(lanczos(self.objective.hvp, normals, steps=method.lanczos_steps).eigenvalues())
        eigenvalue = self.at_most(ritz[:, 0])
        refuse_damping(method.damping, eigenvalue, self.positions)
        exact = None
        if method.solver == "conjugate-gradient" or method.compare:
            tolerance = relative_tolerance(method.tolerance, self.start.dtype)
            exact = conjugate_gradient(
                self.damped,
                self.gradient,
                tolerance=tolerance,
                iterations=method.iterations,
                positions=self.positions,
            )
        solution, batches = exact, eigenvalue
        if method.solver == "lissa" or solution is None:
            solution, batches = self.solve_by_lissa(eigenvalue)
        self.refuse_not_finite(solution, "the step")
        left = (self.damped(solution) - self.gradient).norm(dim=1)
        found = project(self.start - solution, self.known.radius)
        after = FullObjective(self.task, found, self.kept).gradient().norm(dim=1)
        measured = [_doubles(x) for x in (self.gradient.norm(dim=1), after, left)]
        length = _doubles((found - self.start).norm(dim=1))
        difference = torch.full_like(eigenvalue, torch.inf)
        if exact is not None and method.solver == "lissa":
            difference = _doubles((solution - exact).norm(dim=1) / exact.norm(dim=1))
        return found, self.report(measured, (eigenvalue, batches), ritz, length, difference)

    def at_most(self, estimate: Tensor) -> Tensor:
        """λ_min that the bounds use, [K]: proved, or the smaller of the one given and an estimate."""
        if self.known.strong_convexity is not None:
            return torch.full_like(estimate, self.known.strong_convexity)
        given = self.method.minimum_eigenvalue
        return estimate if given is None else estimate.clamp(max=given)

    def solve_by_lissa(self, eigenvalue: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of the runs [K, P], and λ_min over the minibatches' Hessians as far as it was seen, [K]."""
        method, known = self.method, self.known
        replicas, size = self.start.shape
        runs = 1 if method.batch is None else method.runs
        generators = [self.streams.generator("lissa", position) for position in self.positions]
        starts = np.stack([g.standard_normal((runs, size)) for g in generators]).reshape(-1, size)
        probe = torch.from_numpy(starts).to(self.start)
        sampled = None
        if method.batch is not None:
            sampled = SampledObjective(
                self.task, self.start, self.kept, generators=generators, runs=runs, batch=method.batch
            )
        scale = method.scale_used(known.smoothness) or math.nan
        proved = known.scale_proved(scale, method.damping)
        if not proved:
            rows = None if sampled is None else sampled.draw()

            def first(vectors: Tensor) -> Tensor:
                if sampled is None or rows is None:
                    return self.objective.hvp(vectors)
                return sampled.hvp(rows, vectors.unsqueeze(1)).squeeze(1)

            ritz = _doubles(lanczos(first, probe, steps=method.lanczos_steps).eigenvalues())
            scale = _check_scale(scale, float(ritz.abs().max()) + method.damping)
            eigenvalue = self.at_most(torch.minimum(eigenvalue, ritz[:, 0].view(replicas, runs).amin(1)))
            refuse_damping(method.damping, eigenvalue, self.positions, "Hessian of a minibatch")
        curvature = eigenvalue + method.damping
        self.scale, self.depth = scale, [method.depth_used(scale, c) for c in curvature.tolist()]

        def at(step: int, vectors: Tensor) -> Tensor:
            if sampled is None:
                return self.damped(vectors)
            return sampled.hvp(sampled.draw(), vectors) + method.damping * vectors

        found = lissa(
            at,
            self.gradient.repeat_interleave(runs, 0),
            scale=torch.full((replicas * runs,), scale, dtype=torch.float64).to(self.start),
            depth=torch.tensor(self.depth, device=self.start.device).repeat_interleave(runs),
            curvature=curvature.to(self.start).repeat_interleave(runs),
            probe=None if proved else probe,
            positions=[position for position in self.positions for _ in range(runs)],
        )
        seen = _doubles(found.curvature_upper).view(replicas, runs).amin(1) - method.damping
        return found.solution.view(replicas, runs, size).mean(1), self.at_most(torch.minimum(eigenvalue, seen))

    def report(
        self,
        measured: list[Tensor],
        eigenvalues: tuple[Tensor, Tensor],
        ritz: Tensor,
        length: Tensor,
        difference: Tensor,
    ) -> Report:
        """Every bound of every replica, from gradient norms, the system's residual, λ_min and Ritz values.

        Guarantee: where a layer has a kink, Δ is 2R, whatever constants were given.
        """
        before, after, left = measured
        columns = [x.tolist() for x in (*measured, *eigenvalues)]
        rows = [self.bounds(*numbers) for numbers in zip(*columns, self.depth, strict=True)]
        chosen, published, of_lissa = (torch.tensor(x, dtype=torch.float64) for x in zip(*rows, strict=True))
        trivial = torch.full_like(chosen, self.known.ball_diameter_upper)
        return Report(
            trivial.clone() if self.known.kinks else torch.minimum(chosen, trivial),
            published,
            of_lissa,
            trivial,
            *eigenvalues,
            ritz[:, 0],
            ritz[:, -1],
            before,
            after,
            length,
            torch.where(before > 0, left / before, 0),
            difference,
        )

    def bounds(
        self, before: float, after: float, left: float, eigenvalue: float, batches: float, depth: int
    ) -> tuple[float, float, float]:
        """The chosen bound, and Theorems 3.4 and 3.6 as published (the latter infinite without ρ), of one replica.

        Guarantee: the first is at least ‖w̃ − w_r‖ under the premises, a loss without a kink among them.
        """
        method, known = self.method, self.known
        curvature, radius, damping = eigenvalue + method.damping, known.radius, method.damping
        if curvature <= 0:
            return math.inf, math.inf, math.inf
        published = theorem_3_4(radius, known.lipschitz, damping, curvature)
        stationary = theorem_3_4(radius, known.lipschitz, damping, curvature, known.residual)
        of_lissa, size, stochastic = math.inf, self.start.shape[1], batches + damping
        if method.solver == "lissa" and method.failure_probability > 0 and stochastic > 0:
            error = lissa_error_upper(size, method.failure_probability, stochastic, self.scale, depth)
            of_lissa = stationary + error * known.gradient_start_upper
        if method.bound == "theorem-3.6":
            return of_lissa, published, of_lissa
        if method.bound == "tightened":
            if stochastic <= 0:
                return math.inf, published, of_lissa
            error = bias_upper(stochastic, self.scale, depth)
            if method.batch is not None:
                error += deviation_upper(method.failure_probability, stochastic, method.runs)
            return stationary + min(error, 2 / stochastic) * before, published, of_lissa
        if method.bound == "measured":
            distance, posterior = 2 * radius, math.inf
            if known.strong_convexity is not None:
                distance = min(distance, (before + known.residual) / known.strong_convexity)
                posterior = (after + known.residual) / known.strong_convexity
            found = newton_error_upper(distance, known.lipschitz, damping, curvature, left + known.residual)
            return min(found, posterior), published, of_lissa
        if method.bound == "trivial":
            return math.inf, published, of_lissa
        return stationary + left / curvature, published, of_lissa


def relative_tolerance(asked: float, dtype: torch.dtype) -> float:
    """The relative residual that a solver is held to: what was asked, or what the type can reach."""
    return max(asked, _FLOOR * torch.finfo(dtype).eps)


def _doubles(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)


def _check_scale(scale: float, measured: float) -> float:
    if math.isnan(scale):
        raise PlanError(
            f'scale must be given for solver = "lissa" where no smoothness is proved or given; ‖H_t‖ + damping was '
            f"measured as {measured:.4g} on the first minibatches. Write scale = {2 * measured:.2g}."
        )
    if not scale >= measured * (1 - 1e-6):
        raise PlanError(
            f"scale must be at least the largest norm of a minibatch's Hessian plus the damping, measured "
            f"{measured:.4g}, got {scale:g}. Write scale = {2 * measured:.2g}."
        )
    return scale
