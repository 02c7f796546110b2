"""Broken twins: shipped methods with one thing wrong, each of which a law must catch.

`Twin` wraps an honest method and forwards everything, so that a twin is the one function it gets wrong.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learning import cubic, propagation
from learning import newton as second_order
from learning.training import Step, sgd_steps
from methods import qiao2025hessianfree as hf
from methods import sekhari2021newton as newton
from methods import zhang2024bounds as cu_bounds
from methods import zhang2024step as cu_step
from unlearning.claim import Certificate
from unlearning.protocols import AnyMethod, Declaration
from unlearning.streams import Streams


@dataclass(frozen=True)
class Twin:
    """An honest method, forwarded."""

    method: AnyMethod

    @property
    def declaration(self) -> Declaration:
        return self.method.declaration

    def check_task(self, task: Any) -> None:
        if hasattr(self.method, "check_task"):
            self.method.check_task(task)

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        return self.method.learn(task, members, streams=streams)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return self.method.unlearn(state, request, streams=streams)

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        return self.method.certify(state, request)

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return self.method.release(state, noise_scale, streams=streams)


@contextmanager
def patched(module: ModuleType, **names: Any) -> Iterator[None]:
    """A module with other values under these names."""
    kept = {name: getattr(module, name) for name in names}
    for name, value in names.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(module, name, value)


# Bounds ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Understated(Twin):
    """Certifies a share of the sensitivity."""

    share: float = 1 / 20

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = self.method.certify(state, request)
        if honest is None:
            return None
        return replace(honest, sensitivity_upper=tuple(self.share * upper for upper in honest.sensitivity_upper))


class WrongPower(Twin):
    """Newton's certificate with (n − m)³ in place of (n − m)²."""

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = self.method.certify(state, request)
        if honest is None:
            return None
        left = state.members.sum(1).tolist()
        return replace(
            honest, sensitivity_upper=tuple(u / n for u, n in zip(honest.sensitivity_upper, left, strict=True))
        )


class LastRequestOnly(Twin):
    """After a second request, certifies what the second alone would have cost."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        fresh = self.method.learn(state.task, state.members, streams=state.streams)
        alone = self.method.unlearn(fresh, request, streams=streams)
        return replace(after, error_upper=alone.error_upper) if request.any() else after


class _SkipsWholeBatches(hf.ErrorRecursion):
    def remaining(self, d, e, eta, present, removed, injection, gradient):
        if removed == present:
            return d, e
        return super().remaining(d, e, eta, present, removed, injection, gradient)


class _DropsCurvature(hf.ErrorRecursion):
    def __init__(self, constants: Any, divisor: str) -> None:
        super().__init__(replace(constants, hessian_lipschitz_upper=0.0), divisor)


class _DropsRemovedCurvature(hf.ErrorRecursion):
    def fixed(self, d, e, eta, batch, present, removed, injection):
        smooth = self.smooth
        self.smooth = self.strong  # p·L·D becomes p·λ·D, and ρ smaller
        try:
            return super().fixed(d, e, eta, batch, present, removed, injection)
        finally:
            self.smooth = smooth


class _DropsAdditivity(hf.ErrorRecursion):
    def remaining(self, d, e, eta, present, removed, injection, gradient):
        distance, error = super().remaining(d, e, eta, present, removed, injection, gradient)
        if removed == present:
            return distance, error
        extra = eta * abs(1 / (present - removed) - 1 / max(present - 1, 1)) * injection * (present - 1)
        return distance, max(error - extra, 0.0)


@dataclass(frozen=True)
class ErrorsPatched(Twin):
    """Hessian-free with another error recursion."""

    errors: type = _SkipsWholeBatches

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        with patched(hf, ErrorRecursion=self.errors):
            return self.method.unlearn(state, request, streams=streams)


BROKEN_RECURSIONS = (_SkipsWholeBatches, _DropsCurvature, _DropsRemovedCurvature, _DropsAdditivity)


def printed_series(trace: Any, bounds: Any, divisor: str) -> tuple[float, ...]:
    """The published bound with 1 − q where its series sums to 1/(1 − q), as the public code prints it."""
    decay = trace.step_sizes[1] / trace.step_sizes[0]
    return tuple(d * (1 - decay) ** 2 for d in hf.published_upper(trace, bounds, divisor))


def forgets_the_start(constants: Any, trace: Any, start: Any, residual: Any, *, fixed: bool) -> tuple[float, ...]:
    """The a-posteriori bound from e_0 = 0."""
    return hf.a_posteriori_upper(constants, trace, 0 * start, residual, fixed=fixed)


def contracts_too_much(constants: Any, trace: Any, start: Any, residual: Any, *, fixed: bool) -> tuple[float, ...]:
    """The a-posteriori bound with 1 − ηλ as every step's factor, whatever L says."""
    slow = replace(constants, smoothness_upper=constants.strong_convexity)
    return hf.a_posteriori_upper(slow, trace, start, residual, fixed=fixed)


def drops_residuals(constants: Any, trace: Any, start: Any, residual: Any, *, fixed: bool) -> tuple[float, ...]:
    """The a-posteriori bound without the gradients at the unlearned model."""
    return hf.a_posteriori_upper(constants, trace, start, 0 * residual, fixed=fixed)


class LargestNorm(hf.RecordNorms):
    """Norms of a request as the largest of its records' in place of their sum."""

    def trace(self, request: Any, divisor: str) -> Any:
        honest = super().trace(request, divisor)
        return replace(honest, injection=honest.injection / np.maximum(honest.removed, 1))


class FreeComplement(hf.RecordNorms):
    """Bounds the fixed divisor's injection by the kept records alone, without the batch's own gradient."""

    def trace(self, request: Any, divisor: str) -> Any:
        return (
            super().trace(request, divisor)
            if divisor == "remaining"
            else hf.RecordNorms.trace(replace(self, gradient=0 * self.gradient), request, divisor)
        )


@dataclass(frozen=True)
class NormsPatched(Twin):
    """Hessian-free whose state carries other norms."""

    norms: type = LargestNorm

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        state = self.method.learn(task, members, streams=streams)
        kept = {f.name: getattr(state.norms, f.name) for f in fields(state.norms)}
        return replace(state, norms=self.norms(**kept))


class ExactStorage(Twin):
    """Hessian-free that leaves the rounding of stored vectors out of its bound."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        extra = after.vectors.rounding_upper(after.deleted.numpy())
        return replace(after, error_upper=tuple(d - e for d, e in zip(after.error_upper, extra, strict=True)))


# Updates --------------------------------------------------------------------------------------------------------------


class NoOp(Twin):
    """Certifies, and unlearns nothing."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return replace(self.method.unlearn(state, request, streams=streams), parameters=state.parameters)


class OwnFactor(Twin):
    """Hessian-free whose injection is multiplied by its own step's factor, as in the public code: an O(η²) bias."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = self.method.unlearn(state, request, streams=streams)
        if not request.any():
            return honest
        vectors = torch.zeros_like(state.parameters).unsqueeze(1)
        learned_from = state.members | state.deleted
        for step in sgd_steps(state.task, learned_from, streams=state.streams):
            chosen = request.unsqueeze(1).gather(2, step.rows.unsqueeze(1)) & step.member.unsqueeze(1)
            moved = vectors + step.step_size * propagation.injection(step, chosen, state.task.recipe.divisor)
            vectors = moved - step.step_size * step.point.hvp(step.weights, moved)
        return replace(honest, parameters=state.parameters + vectors.squeeze(1))


class FixedInjection(Twin):
    """Hessian-free that injects ∇ℓ/|B| whatever the divisor of the recipe: the published vector, a real retraining."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = propagation.injection

        def fixed(step: Step, chosen: Tensor, divisor: str) -> Tensor:
            return honest(step, chosen, "fixed")

        with patched(propagation, injection=fixed):
            after = self.method.unlearn(state, request, streams=streams)
        return replace(after, error_upper=self.method.unlearn(state, request, streams=streams).error_upper)


class OrderMatters(Twin):
    """Damps each request by the share of records left: two requests do not add up."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        share = (after.members.sum(1, keepdim=True) / state.members.sum(1, keepdim=True)).to(after.parameters.dtype)
        return replace(after, parameters=state.parameters + share * (after.parameters - state.parameters))


class FullHessian(Twin):
    """Newton's step with the Hessian of all records in place of the retained ones': not exact on quadratics."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = newton.full_hessian
        with patched(newton, full_hessian=lambda task, w, kept: honest(task, w, state.members)):
            return self.method.unlearn(state, request, streams=streams)


class Restless(Twin):
    """Moves a little even when nothing is asked."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        return replace(after, parameters=after.parameters + 1e-6)


# Releases -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise(Twin):
    """Another scale of the noise."""

    factor: float = 0.5

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return self.method.release(state, self.factor * noise_scale, streams=streams)


class FrozenCalls(Twin):
    """The same noise in every call."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return self.method.release(state, noise_scale, streams=replace(streams, path=(0,)))


class FrozenReplicas(Twin):
    """The same noise in every replica of a call."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return state.parameters + noise_scale * torch.from_numpy(
            streams.normals("noise", state.parameters.shape[1])[:1]
        )


class SharedNoise(Twin):
    """One number for all coordinates of a replica."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return state.parameters + noise_scale * torch.from_numpy(streams.normals("noise", 1))


class UniformNoise(Twin):
    """Uniform noise of the right deviation."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        size = state.parameters.shape[1]
        rows = [generator.uniform(-(3**0.5), 3**0.5, size) for generator in streams.generators("noise")]
        return state.parameters + noise_scale * torch.from_numpy(np.stack(rows))


# Conduct --------------------------------------------------------------------------------------------------------------


class MutatesRequest(Twin):
    """Clears the request it was given."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        request.zero_()
        return after


class MutatesState(Twin):
    """Writes the noise into the state that it releases."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        released = self.method.release(state, noise_scale, streams=streams)
        state.parameters.copy_(released)
        return released


class GlobalNoise(Twin):
    """Draws from torch's global stream."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return state.parameters + noise_scale * torch.randn_like(state.parameters)


class SeedsGlobally(Twin):
    """Seeds Python's global stream."""

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        random.seed(0)  # noqa: TID251
        return self.method.learn(task, members, streams=streams)


class Promotes(Twin):
    """Returns float64 whatever the task's dtype."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        return replace(after, parameters=after.parameters.double())


class MixesReplicas(Twin):
    """Pulls every replica a little towards the mean of its chunk."""

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        state = self.method.learn(task, members, streams=streams)
        return replace(state, parameters=state.parameters + 1e-4 * (state.parameters.mean(0) - state.parameters))


class ForgetsNoTwice(Twin):
    """Accepts a request for records that are gone."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        try:
            return self.method.unlearn(state, request, streams=streams)
        except ValueError:
            return self.method.unlearn(state, request & state.members, streams=streams)


class Swallows(Twin):
    """Returns the state where it should complain."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        try:
            return self.method.unlearn(state, request, streams=streams)
        except (ValueError, TypeError):
            return state


class AnyScale(Twin):
    """Releases whatever the noise scale, taking its absolute value."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return self.method.release(state, abs(noise_scale), streams=streams)


class OneNumber(Twin):
    """A certificate with one sensitivity for all replicas."""

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = self.method.certify(state, request)
        return honest and replace(honest, sensitivity_upper=(honest.largest,))


# Cubic Newton ---------------------------------------------------------------------------------------------------------

_cubic_step = cubic.cubic_step


def ignores_the_hard_case(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Leaves out the multiple of the lowest eigenvector."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    place = eigenvalues.argmin(1, keepdim=True)
    return replace(honest, d=torch.where(honest.hard.unsqueeze(1), honest.d.scatter(1, place, 0.0), honest.d))


def whole_weight(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Shifts by Mα in place of Mα/2."""
    return _cubic_step(eigenvalues, gradient, 2 * weight)


def climbs(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """The step with the wrong sign."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    return replace(honest, d=-honest.d)


def gap_with_a_sixth(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Reports the gap to a dual with (M/6)α³ in place of (M/12)α³."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    extra = weight / 12 * honest.alpha**3
    return replace(honest, gap=extra / (honest.value.abs() + extra).clamp(min=1e-300))


def loose_root(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """Stops at a relative 1e-6 of the root: the gap, its square, does not show it, the length does."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    return replace(honest, d=(1 + 1e-6) * honest.d)


def inverts_the_hessian(eigenvalues: Tensor, gradient: Tensor, weight: float) -> cubic.CubicStep:
    """−H⁻¹g whatever M, scaled to the length α."""
    honest = _cubic_step(eigenvalues, gradient, weight)
    raw = -gradient / torch.where(eigenvalues == 0, 1, eigenvalues)
    length = raw.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return replace(honest, d=raw * honest.alpha.unsqueeze(1) / length)


BROKEN_CUBIC_STEPS = (
    ignores_the_hard_case,
    whole_weight,
    climbs,
    gap_with_a_sixth,
    loose_root,
    inverts_the_hessian,
)


class SumGradient(Twin):
    """A second-order step with the sum of the gradients beside the mean of the Hessians."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = second_order.Block.gradient

        def total(block: Any, parameters: Tensor) -> Tensor:
            return honest(block, parameters) * block.kept.sum(1, keepdim=True)

        kept = second_order.Block.gradient
        second_order.Block.gradient = total  # type: ignore[method-assign]
        try:
            return self.method.unlearn(state, request, streams=streams)
        finally:
            second_order.Block.gradient = kept  # type: ignore[method-assign]


class ForgottenGradient(Twin):
    """A second-order step on the objective of all records, the removed ones included."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = second_order.blocks

        def everyone(state: Any, request: Tensor, *, dense: bool) -> Any:
            for block in honest(state, request, dense=dense):
                yield replace(block, kept=state.members[block.positions])

        from methods import bui2026cure, newton_baselines

        with patched(bui2026cure, blocks=everyone), patched(newton_baselines, blocks=everyone):
            return self.method.unlearn(state, request, streams=streams)


# Certified unlearning -------------------------------------------------------------------------------------------------


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
