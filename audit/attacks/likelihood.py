"""Likelihood ratios of single records: the law of a record's confidence where it was learned, and where it never was.

For every record z with confidences φ on models of runs in which z was in S ("in") and in which it was not ("out"):

    Gaussian   Λ(φ) = ln N(φ; μ_in, σ_in²) − ln N(φ; μ_out, σ_out²)                 Carlini et al. 2022, algorithm 1
    kernel     Λ(φ) = ln p̂_in(φ) − ln p̂_out(φ),
               p̂(φ) = (Σ_j N(φ; φ_j, h²) + b(φ)) / (n + 1),  h = (4/3n)^{1/5}·σ       Silverman 1986, equation 3.28

Means are those of the record. Deviations are, too, where both of its sides have 64 models; with fewer all records share
one deviation a side, of what is left after each record's own mean is taken off. b is one wide Gaussian for both sides,
with the mean and the deviation of all the record's models, so that a value far from everything seen says nothing.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .runs import Array, Mask

OWN_DEVIATION = 64  # models a side from which on a record has a deviation of its own
_RESOLUTION = 1e-6  # smallest deviation, over 1 + |mean|: models without any randomness
_LARGEST = 1e100  # of |φ|: squares of larger ones overflow
_BLOCK = 4_000_000  # kernels that are evaluated at once


class Ratio(Protocol):
    """The fitted laws of both sides, record by record."""

    def log_ratio(self, phi: Array) -> Array:
        """Λ for φ [K, m], [K, m]: finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """A Gaussian for each record and side.

    Attributes:
        mean_in: of models that learned the record, [m].
        mean_out: of models that did not, [m].
        deviation_in: above 0, [m].
        deviation_out: above 0, [m].
    """

    mean_in: Array
    mean_out: Array
    deviation_in: Array
    deviation_out: Array

    def log_ratio(self, phi: Array) -> Array:
        """Λ = ln N(φ; μ_in, σ_in²) − ln N(φ; μ_out, σ_out²), [K, m].

        >>> one = np.ones(1)
        >>> Gaussians(one, -one, one, one).log_ratio(np.array([[0.5], [-2.0]])).ravel().tolist()  # 2φ
        [1.0, -4.0]
        """
        phi = _cut(phi)
        return _log_normal(phi, self.mean_in, self.deviation_in) - _log_normal(phi, self.mean_out, self.deviation_out)


def gaussian_fit(phi: Array, members: Mask) -> Gaussians:
    """Gaussians of the confidences φ [S, m] of shadow models, members [S, m] of which learned the record.

    A record that no model learned, or every model did, gets on that side the mean of the other, moved by as much as the
    means of the records with both sides differ on average.
    """
    phi, counts = _cut(phi), np.stack([members.sum(0), (~members).sum(0)])
    sides = np.stack([members, ~members])
    means = np.where(sides, phi, 0.0).sum(1) / np.maximum(counts, 1)
    both = (counts > 0).all(0)
    shift = float((means[0] - means[1])[both].mean()) if both.any() else 0.0
    means = np.where(counts > 0, means, means[::-1] + np.array([[shift], [-shift]]))
    squares = (np.where(sides, phi - means[:, None], 0.0) ** 2).sum(1)
    freedom = np.maximum(counts - 1, 0)
    pooled = squares.sum(1) / np.maximum(freedom.sum(1), 1)
    if (freedom.sum(1) == 0).any():  # a side with one model a record at most: it borrows the other's
        pooled[:] = pooled.max()
    own = (counts >= OWN_DEVIATION).all(0)
    variances = np.where(own, squares / np.maximum(freedom, 1), pooled[:, None])
    deviations = np.maximum(np.sqrt(variances), _RESOLUTION * (1 + np.abs(means)))
    return Gaussians(*means, *deviations)


@dataclass(frozen=True, slots=True, eq=False)
class KernelSide:
    """Kernel densities of one side, one for each record.

    Attributes:
        points: φ of the side's shadow models, filled up to the largest number of them, [n, m].
        present: which are no filling, [n, m].
        width: bandwidths h, [m].
        background: mean and deviation of b, [2, m].
    """

    points: Array
    present: Mask
    width: Array
    background: Array

    def log_density(self, phi: Array) -> Array:
        """Log density but for −½ ln 2π, [K, m], through [K, n, m]."""
        kernels = ((phi[:, None] - self.points) / self.width) ** 2
        kernels *= -0.5
        kernels -= np.log(self.width)
        kernels[:, ~self.present] = -np.inf
        wide = _log_normal(phi, *self.background)
        top = np.maximum(wide, kernels.max(1, initial=-np.inf))
        kernels -= top[:, None]
        mass = np.exp(kernels, out=kernels).sum(1) + np.exp(wide - top)
        return np.asarray(top + np.log(mass / (self.present.sum(0) + 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """A kernel density for each record and side."""

    learned: KernelSide
    others: KernelSide

    def log_ratio(self, phi: Array) -> Array:
        """Λ = ln p̂_in − ln p̂_out, [K, m]."""
        step = max(1, _BLOCK // max(self.learned.points.size, self.others.points.size))
        phi = _cut(phi)
        blocks = (phi[start : start + step] for start in range(0, len(phi), step))
        return np.concatenate([self.learned.log_density(own) - self.others.log_density(own) for own in blocks])


def kernel_fit(phi: Array, members: Mask) -> Kernels:
    """Kernel densities of the confidences φ [S, m] of shadow models, members [S, m] of which learned the record.

    A side without a model has the wide Gaussian alone.
    """
    phi = _cut(phi)
    normal = gaussian_fit(phi, members)
    wide = np.maximum(phi.std(0), np.maximum(normal.deviation_in, normal.deviation_out))
    background = np.stack([phi.mean(0), wide])
    return Kernels(
        _kernel_side(phi, members, normal.deviation_in, background),
        _kernel_side(phi, ~members, normal.deviation_out, background),
    )


def _kernel_side(phi: Array, side: Mask, deviation: Array, background: Array) -> KernelSide:
    counts = side.sum(0)
    order = (~side).argsort(0, kind="stable")[: counts.max()]
    width = (4 / (3 * np.maximum(counts, 1))) ** 0.2 * deviation
    return KernelSide(np.take_along_axis(phi, order, 0), np.take_along_axis(side, order, 0), width, background)


def _cut(phi: Array) -> Array:
    return np.clip(phi, -_LARGEST, _LARGEST)


def _log_normal(x: Array, mean: Array, deviation: Array) -> Array:
    """Log density but for −½ ln 2π, which no ratio keeps."""
    return np.asarray(-0.5 * ((x - mean) / deviation) ** 2 - np.log(deviation))
