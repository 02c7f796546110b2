"""Honest methods that a careless law refutes: losses of their own, marginal claims, draws, requests that are empty."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from learning.per_replica import lifted
from learning.release import gaussian_release
from learning.task import Learned, Task, check_request
from learning.training import train
from methods.retrain import Retrain
from properties import LAWS, LawBroken, LawNotApplicable
from properties.problems import Descent, Problem
from tests.broken.twin import Twin
from unlearning.claim import Certificate, Reference, SeedPolicy
from unlearning.protocols import AnyMethod, Declaration
from unlearning.streams import Streams

ON_DISTANCES = (
    "sensitivity",
    "sequential_sensitivity",
    "empty_request",
    "effect",
    "order",
    "batch_online",
    "quadratic",
)


@dataclass(frozen=True)
class OwnRidge:
    """Ridge regression with its own λ, unlearned exactly by a Newton step: Δ = 0."""

    regularisation: float = 0.1
    declaration = Declaration(
        title="Ridge", citation="none", exact_on_quadratics=True, additive=True, batch_equals_online=True
    )

    def learn(self, features: Tensor, labels: Tensor, generator: Any) -> Tensor:
        return torch.linalg.solve(self.hessian(features), features.T @ labels.to(features.dtype) / len(features))

    def unlearn(self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor, generator: Any) -> Tensor:
        gone, targets = features[removed], labels[removed].to(features.dtype)
        gradients = (gone @ parameters - targets)[:, None] * gone + self.regularisation * parameters
        left = int((~removed).sum())
        return parameters + torch.linalg.solve(self.hessian(features[~removed]), gradients.sum(0) / left)

    def sensitivity_upper(self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor) -> float:
        """Newton's step is exact."""
        return 0.0

    def hessian(self, features: Tensor) -> Tensor:
        return features.T @ features / len(features) + self.regularisation * torch.eye(features.shape[1]).to(features)


@dataclass(frozen=True)
class OffBy(OwnRidge):
    """Errs by a share of the way that it moves."""

    share: float = 0.02

    def unlearn(self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor, generator: Any) -> Tensor:
        honest = super().unlearn(parameters, features, labels, removed, generator)
        return honest + self.share * (honest - parameters)


@pytest.mark.parametrize("regularisation", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("law", ON_DISTANCES)
def test_a_loss_of_its_own_may_be_worse_conditioned_than_the_problems(law: str, regularisation: float) -> None:
    assert LAWS[law](lifted(OwnRidge(regularisation))).judged > 0


@pytest.mark.parametrize("regularisation", [1e-1, 1e-3, 1e-6])
def test_what_is_allowed_for_it_hides_no_breach(regularisation: float) -> None:
    with pytest.raises(LawBroken, match="exceeds the certified 0"):
        LAWS["sensitivity"](lifted(OffBy(regularisation)))


class OwnNoise:
    """Retrains and adds noise of `unlearn`'s own streams: equal seeds of the last request, equal models."""

    declaration = Declaration(
        title="Own noise",
        citation="none",
        reference=Reference.EMPTY_REQUEST,
        draws=True,
        exempt={"empty_request": "it adds noise whatever is asked"},
    )

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Learned:
        return train(task, members, streams=streams)

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        check_request(state, request)
        after = train(state.task, state.members & ~request, streams=state.training_streams())
        size = after.parameters.shape[1]
        drawn = torch.stack([torch.as_tensor(own.standard_normal(size)) for own in streams.generators("own")])
        return replace(after, parameters=after.parameters + 0.1 * drawn.to(after.parameters))

    def certify(self, state: Learned, request: Tensor) -> Certificate:
        return Certificate("equal seeds", (1e-3,) * state.parameters.shape[0])

    def release(self, state: Learned, noise_scale: float, *, streams: Streams) -> Tensor:
        return gaussian_release(state, noise_scale, streams=streams)


@pytest.mark.parametrize("law", ["sensitivity", "sequential_sensitivity", "order", "batch_online", "effect"])
def test_certificates_per_seed_are_held_to_equal_seeds_of_the_last_request(law: str) -> None:
    assert LAWS[law](OwnNoise()).judged > 0


class Fresh(Twin):
    """Retrains with new seeds: the reference's law, and no model of it."""

    @property
    def declaration(self) -> Declaration:
        own = replace(self.method.declaration, seed_policy=SeedPolicy.MARGINAL)
        return replace(own, additive=False, batch_equals_online=False, exact_on_quadratics=False)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        check_request(state, request)
        return train(state.task, state.members & ~request, streams=streams)


@pytest.mark.parametrize("law", ["sensitivity", "sequential_sensitivity", "order", "batch_online"])
def test_a_marginal_claim_is_held_to_no_distance(law: str) -> None:
    with pytest.raises(LawNotApplicable, match="marginal"):
        LAWS[law](Fresh(Retrain()))


def test_either_order_ends_with_the_same_seeds() -> None:
    problem = Problem("ridge", 8, 2, request_size=3, descent=Descent(3, 2))
    assert LAWS["order"].on(Fresh(Retrain()), problem) == LAWS["batch_online"].on(Fresh(Retrain()), problem) == 0.0


class HalfWay:
    """One damped step to the minimiser of what is left, whatever is asked; its Δ is computed."""

    declaration = Declaration(title="Half way", citation="none", reference=Reference.EMPTY_REQUEST)

    def learn(self, features: Tensor, labels: Tensor, generator: Any) -> Tensor:
        return 0.5 * OwnRidge().learn(features, labels, generator)

    def unlearn(self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor, generator: Any) -> Tensor:
        best = OwnRidge().learn(features[~removed], labels[~removed], generator)
        return parameters + 0.5 * (best - parameters)

    def sensitivity_upper(self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor) -> float:
        """The distance, by retraining."""
        kept, none = ~removed, removed[~removed]
        start = self.learn(features[kept], labels[kept], None)
        reference = self.unlearn(start, features[kept], labels[kept], none, None)
        unlearned = self.unlearn(parameters, features, labels, removed, None)
        return float(torch.linalg.vector_norm(unlearned - reference)) * (1 + 1e-9) + 1e-12


def test_empty_requests_that_move_are_told_the_way_out() -> None:
    with pytest.raises(LawBroken, match="does not ask for U.*declare exempt"):
        LAWS["empty_request"](lifted(HalfWay()))
    with pytest.raises(LawBroken) as caught:

        class Restless(Twin):
            def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
                after = self.method.unlearn(state, request, streams=streams)
                return replace(after, parameters=after.parameters + 1e-6)

        LAWS["empty_request"](Restless(Retrain()))
    assert "exempt" not in str(caught.value)  # A(D_r) is the reference: there is no way out


@pytest.mark.parametrize("law", ["sensitivity", "sequential_sensitivity"])
def test_a_certificate_holds_after_an_empty_request(law: str) -> None:
    """The sequence that begins with an empty request is tried; the lifted certificate covers it."""
    method: AnyMethod = lifted(HalfWay())
    assert LAWS[law](method).judged > 0
