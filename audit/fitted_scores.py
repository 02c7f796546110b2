"""Scores that are learned: a map from features of a model to one number, fitted on selection runs.

A score is fitted on selection runs and applied to test runs, which are different types. Cross-fitting is for choosing
the event: with K folds of the selection runs, map j is fitted without fold j, and the score of a selection run is that
of the map that has not seen it. The score of a test run is the mean over the K maps, whose law is close to that of the
out-of-fold scores; that it is not the same costs power, not validity, for any fixed map may be tested.

Pooling the out-of-fold scores for a bound would not be valid: the maps of the other folds have seen the runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import BadScores

from .bounds.runs import SelectionRuns, TestRuns

Array = NDArray[np.float64]

FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Features:
    """Features [n, F] of released models and [m, F] of reference models.

    Raises:
        BadScores: an array is not two-dimensional, empty, not finite, or of another width.
    """

    released: Array
    reference: Array

    def __post_init__(self) -> None:
        for name, rows in (("released", self.released), ("reference", self.reference)):
            if rows.ndim != 2 or rows.size == 0 or rows.shape[1] != self.released.shape[-1]:
                raise BadScores(f"{name} features must have shape [n, F], the same F, got {list(rows.shape)}.")
            if not np.isfinite(rows).all():
                raise BadScores(f"{name} features must be finite.")


class SelectionFeatures(_Features):
    """Features of runs that choose."""

    __slots__ = ()


class TestFeatures(_Features):
    """Features of runs that are tested."""

    __test__: ClassVar[bool] = False  # not a pytest class
    __slots__ = ()


class ScoreMap(Protocol):
    """A fitted map."""

    def values(self, features: Array) -> Array:
        """One number for each row of features [K, F], [K]."""


Fit = Callable[[Array, Array], ScoreMap]  # from features of released and of reference models


@dataclass(frozen=True, slots=True)
class FittedScore:
    """A fitted score: the mean of the maps of all folds, 0 where nothing could be fitted.

    Attributes:
        maps: one a fold.
    """

    maps: tuple[ScoreMap, ...]

    def scores(self, features: TestFeatures) -> TestRuns:
        """Scores of test runs.

        Raises:
            TypeError: the features are not those of test runs; the score was fitted on the selection runs.
        """
        if not isinstance(features, TestFeatures):
            raise TypeError(
                f"a fitted score must be given TestFeatures, got {type(features).__name__}: it was fitted on the "
                "selection runs, and has learned them."
            )
        return TestRuns(self._mean(features.released), self._mean(features.reference))

    def _mean(self, side: Array) -> Array:
        return np.asarray(sum((own.values(side) for own in self.maps), np.zeros(len(side))) / max(1, len(self.maps)))


def cross_fit(fit: Fit, features: SelectionFeatures) -> tuple[FittedScore, SelectionRuns]:
    """Fit a score on selection runs, and score each of them by the map that has not seen it.

    Runs are dealt to the folds in their order. With fewer than two runs a side nothing can be fitted: every score is 0.

    Raises:
        TypeError: the features are not those of selection runs.
    """
    if not isinstance(features, SelectionFeatures):
        raise TypeError(f"a score must be fitted on SelectionFeatures, got {type(features).__name__}.")
    sides = (features.released, features.reference)
    folds = min(FOLDS, *(len(side) for side in sides))
    unseen = [np.zeros(len(side)) for side in sides]
    if folds < 2:
        return FittedScore(()), SelectionRuns(*unseen)
    turns = [np.arange(len(side)) % folds for side in sides]
    maps = []
    for fold in range(folds):
        own = fit(*(side[turn != fold] for side, turn in zip(sides, turns, strict=True)))
        for scores, side, turn in zip(unseen, sides, turns, strict=True):
            scores[turn == fold] = own.values(side[turn == fold])
        maps.append(own)
    return FittedScore(tuple(maps)), SelectionRuns(*unseen)
