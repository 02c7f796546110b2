"""Methods that misbehave as functions."""

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearning.streams import Streams

from .twin import Twin


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


@dataclass(frozen=True)
class SeedsGlobally(Twin):
    """Seeds the global stream of a library."""

    library: str = "random"

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        seeds = {"random": random.seed, "numpy": np.random.seed, "torch": torch.random.manual_seed}  # noqa: TID251
        seeds[self.library](0)
        return self.method.learn(task, members, streams=streams)


class ZeroIsNoSeed(Twin):
    """Takes seed 0 for no seed, and draws one from the machine."""

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        return self.method.learn(task, members, streams=_seeded(streams))

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return self.method.release(state, noise_scale, streams=_seeded(streams))


def _seeded(streams: Streams) -> Streams:
    return streams if streams.seed else replace(streams, seed=int(np.random.SeedSequence().generate_state(1)[0]))


class ScalesData(Twin):
    """Halves the data in place before it learns."""

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        task.dataset.features.mul_(0.5)
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
