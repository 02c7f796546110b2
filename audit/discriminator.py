"""The discriminator: logistic regression between unlearned and retrained models, on features of each model."""

from dataclasses import dataclass

import numpy as np

from .fitted_scores import Array

STRENGTH = 0.1  # inverse weight of ½‖w‖² against the summed loss, in units of standardised features


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A linear function of the features.

    Attributes:
        weights: [F].
        offset: added to the product.
    """

    weights: Array
    offset: float

    def values(self, features: Array) -> Array:
        """One number for each row of features [K, F], [K]."""
        return np.asarray(features @ self.weights + self.offset)


def fit_logistic(released: Array, reference: Array) -> Linear:
    """Logistic regression in the units of the features [n, F] and [m, F]; both sides weigh the same."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    rows = np.concatenate([released, reference])
    centre, spread = rows.mean(0), rows.std(0)
    spread = np.where(spread > 1e-12 * (1 + np.abs(centre)), spread, np.inf)  # a constant feature says nothing
    side = np.repeat([1, 0], [len(released), len(reference)])
    model = LogisticRegression(
        C=STRENGTH, solver="newton-cholesky", tol=1e-10, max_iter=100, class_weight="balanced"
    ).fit((rows - centre) / spread, side)
    weights = model.coef_[0] / spread
    return Linear(weights, float(model.intercept_[0] - weights @ centre))
