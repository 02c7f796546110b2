"""Broken updates."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learning import newton as second_order
from learning import propagation
from learning.training import Step, sgd_steps
from methods import bui2026cure, newton_baselines, zhang2024step
from methods import sekhari2021newton as newton
from unlearning.streams import Streams

from .twin import Twin, patched


class NoOp(Twin):
    """Certifies, and unlearns nothing."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return replace(self.method.unlearn(state, request, streams=streams), parameters=state.parameters)


def _without_momentum(state: Any) -> Any:
    recipe = state.task.recipe
    if not getattr(recipe, "momentum", 0):
        return state
    return replace(state, task=replace(state.task, recipe=replace(recipe, momentum=0.0)))


class ForgetsMomentum(Twin):
    """Retrains without the momentum that the model was learned with."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(_without_momentum(state), request, streams=streams)
        return replace(after, task=state.task)


class ReseedsWhenEmpty(Twin):
    """An empty request changes the seeds of later retraining, and nothing that can be seen at once."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        return after if request.any() else replace(state, streams=state.streams.child("again"))


class Crumb(Twin):
    """Goes a hundred-thousandth of the way."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        return replace(after, parameters=state.parameters + 1e-5 * (after.parameters - state.parameters))


class Huge(Twin):
    """Does nothing, and hides it behind a parameter that is huge: rounding is a share of all of them."""

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        state = self.method.learn(task, members, streams=streams)
        huge = torch.full_like(state.parameters[:, :1], 1e15)
        return replace(state, parameters=torch.cat([state.parameters, huge], dim=1))

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return replace(state, members=state.members & ~request)


class OwnFactor(Twin):
    """Hessian-free whose injection is multiplied by its own step's factor, as in the public code: an O(η²) bias."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = self.method.unlearn(state, request, streams=streams)
        if not request.any():
            return honest
        vectors = torch.zeros_like(state.parameters).unsqueeze(1)
        learned_from = state.members | state.deleted
        for step in sgd_steps(state.task, learned_from, streams=state.streams):
            received = propagation.injection(step, _in_batch(step, request), state.task.recipe.divisor)
            moved = vectors + step.step_size * received
            vectors = moved - step.step_size * step.point.hvp(step.weights, moved)
        return replace(honest, parameters=state.parameters + vectors.squeeze(1))


class FixedInjection(Twin):
    """Hessian-free that injects ∇ℓ over the batch size whatever the divisor: as published, not as a real retraining."""

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


class SumGradient(Twin):
    """A second-order step with the sum of the gradients beside the mean of the Hessians."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = second_order.Block.gradient

        def total(block: Any, parameters: Tensor) -> Tensor:
            return honest(block, parameters) * block.kept.sum(1, keepdim=True)

        with patched(second_order.Block, gradient=total):
            return self.method.unlearn(state, request, streams=streams)


class ForgottenGradient(Twin):
    """A second-order step on the objective of all records, the removed ones included."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = second_order.blocks

        def everyone(state: Any, request: Tensor, *, dense: bool) -> Any:
            for block in honest(state, request, dense=dense):
                yield replace(block, kept=state.members[block.positions])

        with patched(bui2026cure, blocks=everyone), patched(newton_baselines, blocks=everyone):
            return self.method.unlearn(state, request, streams=streams)


@dataclass(frozen=True)
class Scaled(Twin):
    """Moves by a multiple of the honest shift: −1 is the wrong sign."""

    factor: float = -1.0

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        return replace(after, parameters=state.parameters + self.factor * (after.parameters - state.parameters))


class MeanForgetGradient(Twin):
    """The mean gradient of the removed records in place of their sum, in an update that is linear in it."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        count = request.sum(1, keepdim=True).clamp(min=1)
        return replace(after, parameters=state.parameters + (after.parameters - state.parameters) / count)


class AllRecordsDivisor(Twin):
    """Newton's step divided by n in place of n − m."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        share = after.members.sum(1, keepdim=True) / state.members.sum(1, keepdim=True)
        return replace(after, parameters=state.parameters + share * (after.parameters - state.parameters))


class Swapped(Twin):
    """Forgets the records to retain, and retains those to forget."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = self.method.unlearn(state, request, streams=streams)
        others = state.members & ~request & request.any(1, keepdim=True)
        return replace(honest, parameters=self.method.unlearn(state, others, streams=streams).parameters)


class ReversedFactors(Twin):
    """Hessian-free whose products of step Jacobians have the newest factor on the right."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = self.method.unlearn(state, request, streams=streams)
        parameters, later = state.parameters, []
        for step in reversed(list(sgd_steps(state.task, state.members | state.deleted, streams=state.streams))):
            later.append(step)
            vector = step.step_size * propagation.injection(step, _in_batch(step, request), state.task.recipe.divisor)
            for other in later[:-1]:
                vector = vector - other.step_size * other.point.hvp(other.weights, vector)
            parameters = parameters + vector.squeeze(1)
        return replace(honest, parameters=parameters) if request.any() else honest


class StaleVectors(Twin):
    """Hessian-free whose vectors end an epoch before the parameters: training went on without them."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        honest = self.method.unlearn(state, request, streams=streams)
        recipe = state.task.recipe
        steps = list(sgd_steps(state.task, state.members | state.deleted, streams=state.streams))
        vectors = torch.zeros_like(state.parameters).unsqueeze(1)
        for step in steps[: len(steps) // recipe.epochs * max(recipe.epochs - 1, 1)]:
            received = propagation.injection(step, _in_batch(step, request), recipe.divisor)
            vectors = vectors - step.step_size * (step.point.hvp(step.weights, vectors) - received)
        return replace(honest, parameters=state.parameters + vectors.squeeze(1))


def _in_batch(step: Step, request: Tensor) -> Tensor:
    """The request's records in the batch of each replica, bool [K, 1, B]."""
    return request.unsqueeze(1).gather(2, step.rows.unsqueeze(1)) & step.member.unsqueeze(1)


class OntoTheSphere(Twin):
    """Projects the unlearned model onto the sphere in place of the ball: also what lies inside."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        def sphere(parameters: Tensor, radius: float) -> Tensor:
            return parameters * (radius / parameters.norm(dim=1, keepdim=True).clamp(min=1e-12))

        with patched(zhang2024step, project=sphere):
            return self.method.unlearn(state, request, streams=streams)
