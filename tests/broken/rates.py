"""Twins whose error vanishes more slowly than declared, under certificates that a law on distances cannot fault."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learning import propagation
from learning.training import sgd_steps
from methods.newton_baselines import DampedNewton
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
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


@dataclass(frozen=True)
class PowersOfTheShare(Twin):
    """Declares order 2 and errs by powers of m/n: one for every so many records, another for the rest."""

    usual: float = 1.0
    other: float = 2.0
    every: int = 12

    @property
    def declaration(self) -> Declaration:
        kept = replace(self.method.declaration, additive=False, batch_equals_online=False, exact_on_quadratics=False)
        return replace(kept, rates=Rate.in_share(2, "a theorem that does not hold"))

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        share = request.sum(1, keepdim=True) / state.members.sum(1, keepdim=True)
        first = request.double().argmax(1, keepdim=True)
        order = torch.where(first % self.every == 0, self.other, self.usual).double()
        return replace(after, parameters=after.parameters + 0.1 * share**order)


HF, NEWTON, RETRAIN = HessianFree(), NewtonStep(), Retrain()
POWERS: list[AnyMethod] = [
    PowersOfTheShare(RETRAIN, usual=1.0, other=1.25, every=2),
    PowersOfTheShare(RETRAIN, usual=1.0, other=2.0, every=12),
    PowersOfTheShare(RETRAIN, usual=2.0, other=1.0, every=4),
]

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
        *POWERS,
    ],
    "rate_records": [
        LooseNoOp(NEWTON),
        LooseNoOp(HF),
        Scaled(NEWTON, 0.5),
        MeanForgetGradient(HF),
        NoCurvature(HF),
        OwnFactor(HF),
        Overclaimed(HF),
        *POWERS,
    ],
    "rate_step_size": [LooseNoOp(HF), Scaled(HF, 0.5), FixedInjection(HF), Overclaimed(HF)],
}
