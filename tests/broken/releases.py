"""Broken releases."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearning.streams import Streams

from .twin import Twin


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


class DiscardedNoise(Twin):
    """Adds the noise to a detached copy, and returns what it copied."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        copy = state.parameters.detach().clone()
        copy += self.method.release(state, noise_scale, streams=streams) - state.parameters
        return state.parameters.clone()
