"""The Dvoretzky–Kiefer–Wolfowitz band: one width at every threshold. For comparison: weak in the tails.

sup_t (F_n(t) − F(t)) exceeds √(ln(1/α)/(2n)) with probability ≤ α ≤ ½ (Massart 1990, Annals of Probability 18,
one-sided; ties only help).
"""

import math

import numpy as np

from unlearning.claim import Claim

from .band import best_of_simultaneous, tails
from .result import LowerBound
from .runs import TestRuns


def dkw_epsilon_lower(test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """Lower bounds on ε and μ over all events {score ≥ t} and their complements, half the failure probability an arm.

    Guarantee: at most the true ε and μ, except with probability ≤ failure_probability, whatever the dependence between
    the arms.
    """
    at, (n, m) = tails(test), test.sizes
    width_released, width_reference = (math.sqrt(math.log(2 / failure_probability) / (2 * runs)) for runs in (n, m))
    p_lower = np.maximum(at.released / n - width_released, 0.0)
    q_upper = np.minimum(at.reference / m + width_reference, 1.0)
    derivation = {"width_released": width_released, "width_reference": width_reference}
    return best_of_simultaneous("dkw", at, (p_lower, q_upper), test, claim, failure_probability, derivation)
