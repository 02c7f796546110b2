"""A problem small enough for an audit in a second, and methods over it: honest ones and broken ones."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.design import Design
from audit.fleet import Subject
from learning.data import Dataset
from learning.objectives import BinaryLogistic
from learning.task import SGD, Minimise, Task
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from tests.broken.twin import Twin
from unlearning import Certificate, Claim, Declaration, EpsilonDelta, Reference, SeedPolicy, Streams
from unlearning.gaussian import noise_scale_upper

DELTA = 1e-5
REQUEST = (0, 1)
CONTROLS = ("no-op", "tenth-noise", "half-noise", "frozen-noise", "retrained")
DESCENT = SGD(epochs=4, batch_size=10, step_size=0.5)


def task(
    recipe: SGD | Minimise = DESCENT, *, rows: int = 40, columns: int = 4, dtype: torch.dtype = torch.float64
) -> Task:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((rows + 10, columns))
    labels = (features @ np.ones(columns) + 0.3 * rng.standard_normal(rows + 10) > 0).astype(np.int64)
    features /= np.linalg.norm(features, axis=1).max()
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    data = Dataset("tiny", "drawn", x[:rows], y[:rows], x[rows:], y[rows:], 2, "none", norm_upper=1.0)
    return Task("tiny", data, BinaryLogistic(columns, 0.1), recipe, torch.device("cpu"), dtype)


def subject(
    method: Any = None, *, on: Task | None = None, reference: Reference | None = None, seed: int = 0
) -> Subject:
    chosen = HessianFree() if method is None else method
    law = reference or chosen.declaration.reference
    return Subject("tiny row", chosen, on or task(), REQUEST, law, seed)


def claim(epsilon: float = 1.0, *, seed_policy: SeedPolicy = SeedPolicy.PER_SEED) -> Claim:
    tradeoff = EpsilonDelta(epsilon, DELTA)
    return Claim(tradeoff, DELTA, Reference.EMPTY_REQUEST, seed_policy, len(REQUEST))


def design(
    *,
    promise: Claim | None = None,
    budget: float | None = 0.004,
    noise_scale: float | None = None,
    rungs: str = "ABC",
    controls: tuple[str, ...] = CONTROLS,
    test: int = 24,
    selection: int = 20,
    release_calls: int = 6400,
) -> Design:
    stated = promise or claim()
    sigma = noise_scale_upper(budget or 0.0, stated.epsilon, DELTA) if noise_scale is None else noise_scale
    return Design(
        claim=stated,
        noise_scale=sigma,
        sensitivity_budget=budget,
        rungs=frozenset(rungs),
        test=test,
        selection=selection,
        release_calls=release_calls,
        failure_probability=0.01,
        control_failure_probability=1e-3 / (max(1, len(controls)) * 10),
        controls=controls,
    )


class SecretNoOp(Twin):
    """Its certificate is honest work; its parameters never move."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return replace(super().unlearn(state, request, streams=streams), parameters=state.parameters)


class ReleasesTheOriginal(Twin):
    """The state is honest; the release undoes the unlearning."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        found = super().unlearn(state, request, streams=streams)
        return replace(found, learned=state.parameters - found.parameters)  # hidden in a field of the state

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        released = super().release(state, noise_scale, streams=streams)
        return released if getattr(state, "learned", None) is None else released + state.learned


@dataclass(frozen=True)
class Scaled(Twin):
    """Adds `factor` times the noise it was asked for."""

    factor: float = 0.1

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return self.method.release(state, self.factor * noise_scale, streams=streams)


class Understated(Twin):
    """Certifies a thousandth of what its theorem proves."""

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = super().certify(state, request)
        return (
            None
            if honest is None
            else replace(honest, sensitivity_upper=tuple(bound / 1000 for bound in honest.sensitivity_upper))
        )


@dataclass(frozen=True)
class NoiseInside:
    """Retraining whose noise is added by `learn`: what it releases is what it learned. It is correct."""

    noise: float = 0.1
    honest: Retrain = Retrain()

    declaration = Declaration(
        title="noise inside training",
        citation="none",
        reference=Reference.RETRAINED,
        seed_policy=SeedPolicy.PER_SEED,
        gaussian_noise=False,
    )

    def _noisy(self, state: Any, streams: Streams) -> Any:
        noise = torch.from_numpy(streams.normals("inside", state.parameters.shape[1]))
        return replace(state, parameters=state.parameters + self.noise * noise)

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Any:
        return self._noisy(self.honest.learn(task, members, streams=streams), streams)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return self._noisy(self.honest.unlearn(state, request, streams=streams), streams)

    def certify(self, state: Any, request: Tensor) -> None:
        return None

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return state.parameters


@dataclass(frozen=True)
class DrawsAStep:
    """Retraining and a random step much longer than the noise, of one law on both sides: it keeps every claim."""

    step: float = 0.1

    @property
    def declaration(self) -> Declaration:
        return replace(
            Retrain().declaration, reference=Reference.EMPTY_REQUEST, seed_policy=SeedPolicy.PER_SEED, draws=True
        )

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Any:
        return Retrain().learn(task, members, streams=streams)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        found = Retrain().unlearn(state, request, streams=streams)
        drawn = streams.normals(f"step {int(request[0].sum())}", found.parameters.shape[1])
        return replace(found, parameters=found.parameters + self.step * torch.from_numpy(drawn))

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        return None

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return Retrain().release(state, noise_scale, streams=streams)
