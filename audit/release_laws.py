"""Pairs of laws about releases rather than scores: models in d coordinates, and runs scored on many records."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from unlearning.gaussian import delta_of_epsilon

from .laws import Array, Laws

_REPRESENTABLE = 1e-9  # distance to the nearest float16 number below which a residual counts as one


@dataclass(frozen=True, slots=True)
class Pipeline(Laws):
    """Releases weights + noise in d coordinates, on both sides, as a method's `release` would, with its mistakes.

    The weights of the two sides differ by `shift`·u in units of the claimed σ, where u, ‖u‖ = 1, has the same size
    in every coordinate that moves and signs that nobody told the auditor. The score is the projection on u.

    Attributes:
        shift: ‖difference of the weights‖ over the claimed σ.
        noise: deviation of the noise over the claimed σ.
        coordinates: d.
        noisy: coordinates that get noise, the first ones.
        moved: coordinates in which the weights differ, the last ones.
        frozen: the same noise in every run of both sides.
        half_precision: noise rounded to float16 before it is added to weights in float64; the score is then whether
            some coordinate of (release − reference weights) is no float16 number, which reads the weights' last bits.
        learned: the score is the projection on the mean difference of as many other runs.
    """

    shift: float
    noise: float = 1.0
    coordinates: int = 10
    noisy: int = 10
    moved: int = 10
    frozen: bool = False
    half_precision: bool = False
    learned: bool = False

    @property
    def direction(self) -> Array:
        """The unit vector u [d]."""
        size = np.where(np.arange(self.coordinates) >= self.coordinates - self.moved, self.moved**-0.5, 0.0)
        return np.asarray(size * np.where(np.arange(self.coordinates) % 3 == 1, -1.0, 1.0))

    @property
    def weights(self) -> tuple[Array, Array]:
        """Weights before noise, released [d] and reference [d], in units of the claimed σ."""
        reference = np.sin(np.arange(1.0, self.coordinates + 1))  # any numbers with all their digits
        return reference + self.shift * self.direction, reference

    @property
    def mu(self) -> float | None:
        """Shift over noise, where fresh continuous noise covers every coordinate that moves."""
        return None if self._told_apart else self.shift / self.noise

    @property
    def _told_apart(self) -> bool:
        """Whether one run tells the two sides apart with certainty."""
        bare = self.noisy < self.coordinates  # the last coordinates both move and are bare
        return self.shift > 0 and (self.noise == 0 or self.frozen or self.half_precision or bare)

    @property
    def _frozen_noise(self) -> Array:
        return np.asarray(np.sqrt(2) * np.cos(np.arange(1.0, self.coordinates + 1)))

    def releases(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Released models of independent runs in units of the claimed σ, [runs, d] a side."""
        drawn = np.broadcast_to(self._frozen_noise, shape := (2, runs, self.coordinates))
        noise = self.noise * (drawn if self.frozen else generator.standard_normal(shape))
        noise[:, :, self.noisy :] = 0
        if self.half_precision:
            noise = noise.astype(np.float16).astype(np.float64)
        released, reference = self.weights
        return released + noise[0], reference + noise[1]

    def score(self, releases: Array, direction: Array | None = None) -> Array:
        """Scores [n] of releases [n, d], by projection on a direction, by default u."""
        if self.half_precision and direction is None:
            residuals = releases - self.weights[1]
            off = np.abs(residuals - residuals.astype(np.float16).astype(np.float64))
            return np.asarray((off > _REPRESENTABLE).any(axis=1), dtype=np.float64)
        chosen = self.direction if direction is None else direction
        return np.asarray((releases - self.weights[1]) @ chosen)

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs."""
        direction = None
        if self.learned:
            first, second = self.releases(runs, generator=generator)
            direction = first.mean(0) - second.mean(0)
            direction = direction / np.linalg.norm(direction)
        released, reference = self.releases(runs, generator=generator)
        return self.score(released, direction), self.score(reference, direction)

    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """Of the releases; no score has more."""
        value = 1.0 if self._told_apart else delta_of_epsilon(self.shift / self.noise, epsilon)
        return value, value

    def tails(self, threshold: float) -> tuple[float, float] | None:
        """Gaussian tails of the projection; None for a learned direction."""
        if self.half_precision:
            return float(threshold <= 1), float(threshold <= 0)
        if self.learned:
            return None
        seen = self.noise * self.direction[: self.noisy]
        if self.frozen or not seen.any():
            offset = float(seen @ self._frozen_noise[: self.noisy]) if self.frozen else 0.0
            return float(threshold <= self.shift + offset), float(threshold <= offset)
        deviation = float(np.linalg.norm(seen))
        return float(ndtr((self.shift - threshold) / deviation)), float(ndtr(-threshold / deviation))


@dataclass(frozen=True, slots=True)
class Clustered(Laws):
    """Equal laws; every run is scored on several records, whose scores share the run's own scatter.

    The runs are independent, the rows are not. A score is the mean over a run's rows; `rows` gives them apart, for
    auditors that count them as runs.
    """

    records: int = 20
    within: float = 0.5

    def rows(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores [runs, records] a side."""
        shared = generator.standard_normal((2, runs, 1))
        own = self.within * generator.standard_normal((2, runs, self.records))
        return shared[0] + own[0], shared[1] + own[1]

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs."""
        released, reference = self.rows(runs, generator=generator)
        return released.mean(1), reference.mean(1)

    def one_sided(self, epsilon: float) -> tuple[float, float]:
        """Nothing to find."""
        return 0.0, 0.0

    def tails(self, threshold: float) -> tuple[float, float]:
        """The same tail twice."""
        value = float(ndtr(-threshold / math.sqrt(1 + self.within**2 / self.records)))
        return value, value
