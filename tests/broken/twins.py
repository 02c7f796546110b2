"""Broken twins: shipped methods with one thing wrong, each of which a law must catch.

`Twin` wraps an honest method and forwards everything, so that a twin is the one function it gets wrong.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learning.training import Step, sgd_steps
from methods import qiao2025hessianfree as hf
from methods import sekhari2021newton as newton
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


class _SkipsWholeBatches(hf._Errors):
    def _advance_remaining(self, step: Step, present: Tensor, removed: Tensor, injection: Tensor) -> None:
        kept = self.distance, self.error
        super()._advance_remaining(step, present, removed, injection)
        whole = removed == present
        self.distance = torch.where(whole, kept[0], self.distance)
        self.error = torch.where(whole, kept[1], self.error)


class _DropsCurvature(hf._Errors):
    def __init__(self, constants: Any, replicas: int, task: Any) -> None:
        super().__init__(replace(constants, hessian_lipschitz_upper=0.0), replicas, task)


class _DropsRemovedCurvature(hf._Errors):
    def _advance_fixed(self, step: Step, present: Tensor, removed: Tensor, injection: Tensor) -> None:
        kept = self.constants
        self.constants = replace(kept, smoothness_upper=kept.strong_convexity)  # p·L·D becomes p·λ·D, and ρ smaller
        super()._advance_fixed(step, present, removed, injection)
        self.constants = kept


class _DropsAdditivity(hf._Errors):
    def _advance_remaining(self, step: Step, present: Tensor, removed: Tensor, injection: Tensor) -> None:
        pull = injection.norm(dim=1).double() * (present - 1)
        kept = (present - removed).clamp(min=1)
        super()._advance_remaining(step, present, removed, injection)
        extra = step.step_size * (1 / kept - 1 / (present - 1).clamp(min=1)).abs() * pull
        self.error = torch.where(removed == present, self.error, (self.error - extra).clamp(min=0))


@dataclass(frozen=True)
class ErrorsPatched(Twin):
    """Hessian-free with another error recursion."""

    errors: type = _SkipsWholeBatches

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        with patched(hf, _Errors=self.errors):
            return self.method.unlearn(state, request, streams=streams)


BROKEN_RECURSIONS = (_SkipsWholeBatches, _DropsCurvature, _DropsRemovedCurvature, _DropsAdditivity)


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
            moved = vectors + step.step_size * hf._injection(step, chosen, state.task.recipe.divisor)
            vectors = moved - step.step_size * step.point.hvp(step.weights, moved)
        return replace(honest, parameters=state.parameters + vectors.squeeze(1))


class FixedInjection(Twin):
    """Hessian-free that injects ∇ℓ/|B| whatever the divisor of the recipe: the published vector, a real retraining."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = hf._injection

        def fixed(step: Step, chosen: Tensor, divisor: str) -> Tensor:
            return honest(step, chosen, "fixed")

        with patched(hf, _injection=fixed):
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
