"""Broken certificates."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from torch import Tensor

from learning import recursion
from methods import qiao2025hessianfree as hf
from unlearning.claim import Certificate
from unlearning.streams import Streams

from .twin import Twin, patched


@dataclass(frozen=True)
class Understated(Twin):
    """Certifies a share of the sensitivity."""

    share: float = 1 / 20

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = self.method.certify(state, request)
        if honest is None:
            return None
        return replace(honest, sensitivity_upper=tuple(self.share * upper for upper in honest.sensitivity_upper))


class IgnoresMomentum(Twin):
    """Certifies a descent with momentum as if it had none."""

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        recipe = state.task.recipe
        plain = replace(recipe, momentum=0.0) if getattr(recipe, "momentum", 0) else recipe
        return self.method.certify(replace(state, task=replace(state.task, recipe=plain)), request)


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


class OneNumber(Twin):
    """A certificate with one sensitivity for all replicas."""

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = self.method.certify(state, request)
        return honest and replace(honest, sensitivity_upper=(honest.largest,))


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
    return tuple(d * (1 - decay) ** 2 for d in recursion.published_upper(trace, bounds, divisor))


def forgets_the_start(constants: Any, trace: Any, start: Any, residual: Any, *, fixed: bool) -> tuple[float, ...]:
    """The a-posteriori bound from e_0 = 0."""
    return recursion.a_posteriori_upper(constants, trace, 0 * start, residual, fixed=fixed)


def contracts_too_much(constants: Any, trace: Any, start: Any, residual: Any, *, fixed: bool) -> tuple[float, ...]:
    """The a-posteriori bound with 1 − ηλ as every step's factor, whatever L says."""
    slow = replace(constants, smoothness_upper=constants.strong_convexity)
    return recursion.a_posteriori_upper(slow, trace, start, residual, fixed=fixed)


def drops_residuals(constants: Any, trace: Any, start: Any, residual: Any, *, fixed: bool) -> tuple[float, ...]:
    """The a-posteriori bound without the gradients at the unlearned model."""
    return recursion.a_posteriori_upper(constants, trace, start, 0 * residual, fixed=fixed)


@dataclass(frozen=True)
class BoundPatched(Twin):
    """Hessian-free with another formula for one of its bounds."""

    formula: Callable[..., tuple[float, ...]] = forgets_the_start
    replaces: str = "a_posteriori_upper"

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        with patched(hf, **{self.replaces: self.formula}):
            return self.method.unlearn(state, request, streams=streams)


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
        if state.norms is None:
            return state
        kept = {f.name: getattr(state.norms, f.name) for f in fields(state.norms)}
        return replace(state, norms=self.norms(**kept))


class ExactStorage(Twin):
    """Hessian-free that leaves the rounding of stored vectors out of its bound."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        extra = after.vectors.rounding_upper(after.deleted.numpy())
        return replace(after, error_upper=tuple(d - e for d, e in zip(after.error_upper, extra, strict=True)))
