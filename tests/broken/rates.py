"""Twins whose error vanishes more slowly than declared, under certificates that a law on distances cannot fault."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learning import propagation
from learning.training import sgd_steps
from methods.newton_baselines import DampedNewton
from methods.qiao2025hessianfree import HessianFree
from methods.sekhari2021newton import NewtonStep
from unlearning.claim import Certificate
from unlearning.protocols import AnyMethod, Declaration, Rate
from unlearning.streams import Streams

from .twin import Twin
from .updates import FixedInjection, MeanForgetGradient, NoOp, OwnFactor, Scaled


class LooseNoOp(NoOp):
    """Unlearns nothing, and certifies so much that the distance stays below it."""

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = self.method.certify(state, request)
        return honest and replace(honest, sensitivity_upper=(1e3,) * len(request))


class NoCurvature(Twin):
    """Hessian-free that adds up the injections without propagating them."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        shift = torch.zeros_like(state.parameters)
        for step in sgd_steps(state.task, state.members, streams=state.streams):
            chosen = request.unsqueeze(1).gather(2, step.rows.unsqueeze(1))
            shift += step.step_size * propagation.injection(step, chosen, state.task.recipe.divisor).squeeze(1)
        return replace(after, parameters=state.parameters + shift)


@dataclass(frozen=True)
class Overclaimed(Twin):
    """Declares one order more than its error has."""

    @property
    def declaration(self) -> Declaration:
        honest = self.method.declaration
        rates = tuple(Rate(r.quantity, r.order + (1 if r.order > 0 else -1), r.source) for r in honest.rates)
        return replace(honest, rates=rates)


HF, NEWTON = HessianFree(), NewtonStep()

CATCHES: dict[str, list[AnyMethod]] = {
    "rate_request_size": [
        LooseNoOp(NEWTON),
        LooseNoOp(HF),
        Scaled(NEWTON, 0.5),
        Scaled(HF, 0.5),
        MeanForgetGradient(NEWTON),
        MeanForgetGradient(HF),
        NoCurvature(HF),
        OwnFactor(HF),
        Overclaimed(NEWTON),
        Overclaimed(DampedNewton()),
    ],
    "rate_records": [
        LooseNoOp(NEWTON),
        LooseNoOp(HF),
        Scaled(NEWTON, 0.5),
        MeanForgetGradient(HF),
        NoCurvature(HF),
        OwnFactor(HF),
        Overclaimed(HF),
    ],
    "rate_step_size": [LooseNoOp(HF), Scaled(HF, 0.5), FixedInjection(HF), Overclaimed(HF)],
}
