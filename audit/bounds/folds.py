"""K folds: an event chosen on each fold, and certified on all other runs at α/K.

Fold k holds the runs k, k + K, k + 2K, … of each arm: a division that looks at no score, provided that the order of the
runs does not depend on their scores (`shuffled` draws one that does not). Runs are independent, so the
event of fold k is fixed for the runs of the other folds, and its joint test errs with probability ≤ α/K. All K hold
together except with probability ≤ α (the folds share runs, which the union bound does not mind), so that the largest of
the K lower bounds is one.
"""

from dataclasses import replace

import numpy as np

from unlearning.claim import Claim

from .joint import joint_epsilon_lower
from .result import LowerBound
from .runs import Array, SelectionRuns, TestRuns

FOLDS = 5


def folds_epsilon_lower(test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """Largest lower bounds on ε and on μ over the folds; needs two runs of each arm.

    Guarantee: at most the true ε and μ where the two arms are independent, except with probability ≤
    failure_probability. The order of the runs must not depend on their scores.
    """
    folds = min(FOLDS, *test.sizes)
    bounds = [_of_fold(test, fold, folds, claim, failure_probability / folds) for fold in range(folds)]
    best = max(bounds, key=lambda bound: (bound.epsilon_lower, bound.mu_lower))
    return replace(
        best,
        name="folds",
        mu_lower=max(bound.mu_lower for bound in bounds if bound.mu_lower is not None),
        refuted=any(bound.refuted for bound in bounds),
        failure_probability=failure_probability,
        derivation=best.derivation | {"folds": folds, "fold": bounds.index(best)},
    )


def _of_fold(test: TestRuns, fold: int, folds: int, claim: Claim, failure_probability: float) -> LowerBound:
    def parts(scores: Array) -> tuple[Array, Array]:
        inside = np.arange(scores.size) % folds == fold
        return scores[inside], scores[~inside]

    (own_released, released), (own_reference, reference) = parts(test.released), parts(test.reference)
    selection = SelectionRuns(own_released, own_reference)
    return joint_epsilon_lower(selection, TestRuns(released, reference), claim, failure_probability)
