"""Noise as it should be, and as it is in broken releases: residuals (released − w)/σ, [calls, replicas, P]."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int, int]], Array]


def honest(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return rng.standard_normal(shape)


def scaled(factor: float) -> Draw:
    return lambda rng, shape: factor * rng.standard_normal(shape)


def half_of_the_coordinates(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    noise = rng.standard_normal(shape)
    noise[:, :, shape[2] // 2 :] = 0
    return noise


def same_total_on_half(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    # twice the variance on half of the coordinates: the scale test alone cannot see it
    return half_of_the_coordinates(rng, shape) * np.sqrt(shape[2] / (shape[2] // 2))


def same_in_every_call(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return np.broadcast_to(rng.standard_normal(shape[1:]), shape)


def same_in_every_replica(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return np.broadcast_to(rng.standard_normal((shape[0], 1, shape[2])), shape)


def same_in_every_coordinate(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return np.broadcast_to(rng.standard_normal((*shape[:2], 1)), shape)


def antithetic_replicas(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    half = rng.standard_normal((shape[0], shape[1] // 2, shape[2]))
    return np.concatenate([half, -half], axis=1)


def laplace(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return rng.laplace(0, np.sqrt(0.5), shape)


def released_in_float16(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    weights = np.linspace(0.5, 1.0, shape[2])  # spacing of float16 there: 4.9e-4
    sigma = 1e-3
    released = (weights + sigma * rng.standard_normal(shape)).astype(np.float16)
    return (released.astype(np.float64) - weights) / sigma


def tiny_noise_in_float16(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return (1e-6 * rng.standard_normal(shape)).astype(np.float16).astype(np.float64) / 1e-6


def shifted(shift: float) -> Draw:
    # what is released is another model than the state says: the original, one shift away
    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
        noise = rng.standard_normal(shape)
        noise[:, :, 0] += shift
        return noise

    return draw


BROKEN: dict[str, tuple[Draw, tuple[str, ...], tuple[int, int, int]]] = {
    # name: draw, tests that must see it, calls × replicas × coordinates
    "σ·.9": (scaled(0.9), ("scale",), (10, 64, 10)),
    "σ·.5": (scaled(0.5), ("scale", "coordinates"), (2, 64, 5)),
    "σ·.1": (scaled(0.1), ("scale", "coordinates", "shape"), (2, 64, 5)),
    "variance for deviation": (scaled(0.02), ("scale", "coordinates", "shape"), (2, 64, 5)),
    "half of the coordinates": (half_of_the_coordinates, ("scale", "coordinates"), (2, 64, 10)),
    "same total on half": (same_total_on_half, ("coordinates",), (4, 64, 10)),
    "same in every call": (same_in_every_call, ("calls",), (10, 64, 10)),
    "same in every replica": (same_in_every_replica, ("replicas",), (10, 64, 10)),
    "same in every coordinate": (same_in_every_coordinate, ("common",), (4, 64, 50)),
    "antithetic replicas": (antithetic_replicas, ("replicas",), (10, 64, 10)),
    "Laplace of the same variance": (laplace, ("shape",), (10, 64, 10)),
    "released in float16": (released_in_float16, ("shape",), (40, 64, 50)),
    "tiny noise in float16": (tiny_noise_in_float16, ("shape",), (40, 64, 50)),
    "another model": (shifted(1.0), ("calls", "replicas"), (10, 64, 10)),
}
