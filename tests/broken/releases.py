"""Broken releases."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import stats
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


@dataclass(frozen=True)
class StudentNoise(Twin):
    """Student's noise of the right deviation."""

    degrees: float = 10.0

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        size = state.parameters.shape[1]
        rows = [generator.standard_t(self.degrees, size) for generator in streams.generators("noise")]
        deviation = (self.degrees / (self.degrees - 2)) ** 0.5
        return state.parameters + noise_scale / deviation * torch.from_numpy(np.stack(rows))


class _Reshaped(Twin):
    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        noise = self.method.release(state, 1.0, streams=streams) - state.parameters
        return state.parameters + noise_scale * self.reshaped(noise)

    def reshaped(self, noise: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class ClippedNoise(_Reshaped):
    """Noise that is cut off at a multiple of its scale."""

    limit: float = 3.0

    def reshaped(self, noise: Tensor) -> Tensor:
        return noise.clamp(-self.limit, self.limit)


@dataclass(frozen=True)
class RescaledClippedNoise(_Reshaped):
    """Noise that is cut off at a multiple of its scale, and brought back to the right deviation."""

    limit: float = 2.2

    def reshaped(self, noise: Tensor) -> Tensor:
        c = self.limit
        variance = 1 - 2 * c * stats.norm.pdf(c) + 2 * (c * c - 1) * stats.norm.sf(c)
        return noise.clamp(-c, c) / variance**0.5


class NoiseOnTheSphere(_Reshaped):
    """Noise of the right deviation and direction that always has the same length."""

    def reshaped(self, noise: Tensor) -> Tensor:
        return noise / noise.norm(dim=1, keepdim=True) * noise.shape[1] ** 0.5


class SignedCopies(_Reshaped):
    """The second half of the coordinates is the first one, each with a sign at random: uncorrelated, and no noise."""

    def reshaped(self, noise: Tensor) -> Tensor:
        half = noise.shape[1] // 2
        copies = noise[:, :half] * noise[:, half : 2 * half].sign()
        return torch.cat([noise[:, :half], copies, noise[:, 2 * half :]], dim=1)


class NoiseInASubspace(_Reshaped):
    """Noise of the right deviation whose coordinates add up to 0."""

    def reshaped(self, noise: Tensor) -> Tensor:
        size = noise.shape[1]
        return (noise - noise.mean(1, keepdim=True)) * (size / (size - 1)) ** 0.5


class NoNumber(_Reshaped):
    """Noise that is no number."""

    def reshaped(self, noise: Tensor) -> Tensor:
        return noise * torch.nan

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        released = super().release(state, noise_scale, streams=streams)
        return released if noise_scale else state.parameters


class DiscardedNoise(Twin):
    """Adds the noise to a detached copy, and returns what it copied."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        copy = state.parameters.detach().clone()
        copy += self.method.release(state, noise_scale, streams=streams) - state.parameters
        return state.parameters.clone()
