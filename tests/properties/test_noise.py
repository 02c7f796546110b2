"""The law of the release finds what its docstring says it finds, and finds nothing in normal noise."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from properties.noise import CALLS, REPLICAS, _normal_sizes, noise_findings

SHAPE = CALLS, REPLICAS, 24  # as of the law on softmax with 8 columns and 3 classes
AT = 5e-10  # of one of the law's two scales

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Array]


def scaled(factor: float, axis: int | None = None) -> Draw:
    """Noise off by a factor: all of it, one call or one coordinate."""

    def draw(generator: np.random.Generator) -> Array:
        drawn = generator.standard_normal(SHAPE)
        part = drawn if axis is None else np.moveaxis(drawn, axis, 0)[:1]
        part *= factor
        return drawn

    return draw


def correlated(by: float, axis: int) -> Draw:
    """Two calls, replicas or coordinates that are correlated."""

    def draw(generator: np.random.Generator) -> Array:
        drawn = generator.standard_normal(SHAPE)
        rows = np.moveaxis(drawn, axis, 0)
        rows[1] = by * rows[0] + (1 - by**2) ** 0.5 * rows[1]
        return drawn

    return draw


def clipped(limit: float, *, rescaled: bool = False) -> Draw:
    """Noise cut off, brought back to deviation 1 or not."""

    def draw(generator: np.random.Generator) -> Array:
        drawn = generator.standard_normal(SHAPE).clip(-limit, limit)
        return drawn / drawn.std() if rescaled else drawn

    return draw


def student(degrees: float) -> Draw:
    """Student's noise of deviation 1."""
    return lambda generator: generator.standard_t(degrees, SHAPE) * ((degrees - 2) / degrees) ** 0.5


def random_scale(degrees: float) -> Draw:
    """A scale of its own for each release: multivariate Student's noise of deviation 1."""
    return lambda generator: (
        generator.standard_normal(SHAPE) * np.sqrt((degrees - 2) / generator.chisquare(degrees, (CALLS, REPLICAS, 1)))
    )


FOUND: dict[str, tuple[Draw, str]] = {
    "scale": (scaled(0.97), "deviation overall"),
    "scale, larger": (scaled(1.03), "deviation overall"),
    "scale of a call": (scaled(0.85, 0), "deviation of a call"),
    "scale of a coordinate": (scaled(0.85, 2), "deviation of a coordinate"),
    "clipped": (clipped(3.0), "beyond 3 noise scales"),
    "clipped late": (clipped(3.5), "The largest noise"),
    "clipped and rescaled": (clipped(2.2, rescaled=True), "beyond 3 noise scales"),
    "tails": (student(16), "beyond 3 noise scales"),
    "random scale": (random_scale(30), "lengths are not a normal vector's"),
    "correlated calls": (correlated(0.25, 0), "different calls is correlated"),
    "correlated replicas": (correlated(0.7, 1), "different replicas is correlated"),
    "correlated coordinates": (correlated(0.25, 2), "different coordinates is correlated"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_is_found(name: str) -> None:
    draw, words = FOUND[name]
    for seed in range(3):
        assert words in " ".join(noise_findings(draw(np.random.default_rng(seed)), AT))


def test_signs_and_lengths_show_where_nothing_is_correlated() -> None:
    drawn = np.random.default_rng(0).standard_normal(SHAPE)
    signed = drawn.copy()
    signed[:, :, 12:] = drawn[:, :, :12] * np.sign(drawn[:, :, 12:])
    found = " ".join(noise_findings(signed, AT))
    assert "The size of the noise of different coordinates is correlated" in found
    assert "The noise of different coordinates" not in found
    sphere = drawn / np.linalg.norm(drawn, axis=2, keepdims=True) * 24**0.5
    assert "lengths" in " ".join(noise_findings(sphere, AT))
    flat = (drawn - drawn.mean(2, keepdims=True)) * (24 / 23) ** 0.5
    assert "Given the other coordinates" in " ".join(noise_findings(flat, AT))
    assert noise_findings(np.full(SHAPE, np.nan), AT) == ["The noise is not finite."]


def test_what_is_not_found_is_said() -> None:
    """Limits of the law: signs whose product over three coordinates is 1, and noise cut at 4σ."""
    drawn = np.random.default_rng(0).standard_normal(SHAPE)
    drawn[:, :, 2] = np.abs(drawn[:, :, 2]) * np.sign(drawn[:, :, 0] * drawn[:, :, 1])
    assert noise_findings(drawn, AT) == []
    assert noise_findings(clipped(4.0)(np.random.default_rng(0)), AT) == []


@pytest.mark.parametrize("shape", [(3, 20, 4), (2, 5, 1), (1, 1, 3), (2, 3, 9)])
def test_normal_noise_is_found_fault_with_no_more_often_than_stated(shape: tuple[int, int, int]) -> None:
    generator, trials, stated = np.random.default_rng(7), 400, 0.3
    wrong = sum(bool(noise_findings(generator.standard_normal(shape), stated)) for _ in range(trials))
    assert stats.binom.sf(wrong - 1, trials, stated) > 1e-9


def test_sizes_are_normal_again() -> None:
    sizes = _normal_sizes(stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000))
    assert stats.kstest(sizes, "norm").statistic < 1e-4
    assert np.isfinite(_normal_sizes(np.array([0.0, 40.0, -40.0]))).all()
