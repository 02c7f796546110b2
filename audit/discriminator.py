"""A score that is learned: logistic regression between unlearned and retrained models, on features of each model.

It is fitted on selection runs and applied to test runs, which are different types. Cross-fitting is for choosing the
event: with K folds of the selection runs, model j is fitted without fold j, and the score of a selection run is that
of the model that has not seen it. The score of a test run is the mean over the K models, whose law is close to that
of the out-of-fold scores; that it is not the same costs power, not validity, for any fixed map may be tested.

Pooling the out-of-fold scores for a bound would not be valid: the models of the other folds have seen the runs.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import BadScores

from .bounds.runs import SelectionRuns, TestRuns

Array = NDArray[np.float64]

FOLDS = 5
STRENGTH = 0.1  # inverse weight of ½‖w‖² against the summed loss, in units of standardised features


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


@dataclass(frozen=True, slots=True, eq=False)
class Discriminator:
    """A fitted discriminator: the score of a model is the mean of K linear functions of its features.

    Attributes:
        weights: [F].
        offset: added to the product.
    """

    weights: Array
    offset: float

    def scores(self, features: TestFeatures) -> TestRuns:
        """Scores of test runs.

        Raises:
            TypeError: the features are not those of test runs; the discriminator was fitted on the selection runs.
        """
        if not isinstance(features, TestFeatures):
            raise TypeError(
                f"a discriminator must be given TestFeatures, got {type(features).__name__}: it was fitted on the "
                "selection runs, and has learned them."
            )
        return TestRuns(*(side @ self.weights + self.offset for side in (features.released, features.reference)))


def fit_discriminator(features: SelectionFeatures) -> tuple[Discriminator, SelectionRuns]:
    """Fit one on selection runs, and score each of them by the models that have not seen it.

    Runs are dealt to the folds in their order. With fewer than two runs a side nothing can be fitted: every score is 0.

    Raises:
        TypeError: the features are not those of selection runs.
    """
    if not isinstance(features, SelectionFeatures):
        raise TypeError(f"a discriminator must be fitted on SelectionFeatures, got {type(features).__name__}.")
    sides = (features.released, features.reference)
    width = features.released.shape[1]
    folds = min(FOLDS, *(len(side) for side in sides))
    unseen = [np.zeros(len(side)) for side in sides]
    if folds < 2:
        return Discriminator(np.zeros(width), 0.0), SelectionRuns(*unseen)
    turns = [np.arange(len(side)) % folds for side in sides]
    fitted = []
    for fold in range(folds):
        seen = [side[turn != fold] for side, turn in zip(sides, turns, strict=True)]
        weights, offset = _logistic(*seen)
        for scores, side, turn in zip(unseen, sides, turns, strict=True):
            scores[turn == fold] = side[turn == fold] @ weights + offset
        fitted.append((weights, offset))
    mean = Discriminator(np.mean([w for w, _ in fitted], 0), float(np.mean([b for _, b in fitted])))
    return mean, SelectionRuns(*unseen)


def _logistic(released: Array, reference: Array) -> tuple[Array, float]:
    """Weights and offset of logistic regression in the units of the features; both sides weigh the same."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    rows = np.concatenate([released, reference])
    centre, spread = rows.mean(0), rows.std(0)
    spread = np.where(spread > 1e-12 * (1 + np.abs(centre)), spread, np.inf)  # a constant feature says nothing
    side = np.repeat([1, 0], [len(released), len(reference)])
    model = LogisticRegression(
        C=STRENGTH, solver="newton-cholesky", tol=1e-10, max_iter=100, class_weight="balanced"
    ).fit((rows - centre) / spread, side)
    weights = model.coef_[0] / spread
    return weights, float(model.intercept_[0] - weights @ centre)
