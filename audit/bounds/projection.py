"""Rung C for Gaussian noise: the projection z-test.

A direction u, ‖u‖ = 1, is fixed beforehand. Given the training seeds, the mean over n pairs of ⟨u, X_k − Y_k⟩/σ is
N(μ̄, 2/n) with |μ̄| ≤ Δ/σ; hence, with probability ≥ 1 − α,

    μ ≥ mean − z_{1−α}·√(2/n)

It takes σ as true (rung B tests σ), and speaks of the largest per-seed μ. Not for independent seeds: training scatter
is not N(0, σ²).
"""

import math

import numpy as np
from scipy.special import ndtr, ndtri

from unlearning.claim import Claim
from unlearning.errors import BadScores

from .result import Kind, LowerBound
from .runs import TestRuns

_LARGEST = 1e100  # ε of larger shifts is no number


def projection_mu_lower(mean: float, pairs: int, failure_probability: float) -> float:
    """Lower bound on μ ≥ 0 from the mean standardised projected difference.

    Guarantee: at most the largest per-seed μ, except with probability ≤ failure_probability.

    >>> round(projection_mu_lower(1.0, 200, 0.05), 4)
    0.8355
    """
    return max(0.0, mean + float(ndtri(failure_probability)) * math.sqrt(2 / pairs))


def projection_detectable(claimed_mu: float, pairs: int, failure_probability: float, power: float = 0.8) -> float:
    """Smallest projected μ for which μ ≤ claimed_mu is refuted with this power."""
    return claimed_mu + (float(ndtri(power)) - float(ndtri(failure_probability))) * math.sqrt(2 / pairs)


def projection_pairs_needed(
    projected_mu: float, claimed_mu: float, failure_probability: float, power: float = 0.8
) -> int | None:
    """Smallest number of pairs at which projected_mu refutes μ ≤ claimed_mu with this power; None where none does.

    >>> projection_pairs_needed(2.0, 1.0, 0.05)
    13
    """
    gap = projected_mu - claimed_mu
    if not (math.isfinite(gap) and gap > 0):
        return None
    return max(1, math.ceil(2 * ((float(ndtri(power)) - float(ndtri(failure_probability))) / gap) ** 2))


def projection_refutation_probability(
    projected_mu: float, claimed_mu: float, pairs: int, failure_probability: float
) -> float:
    """Probability that μ ≤ claimed_mu is refuted when the mean projected μ is projected_mu."""
    spread = math.sqrt(2 / pairs)
    return float(ndtr((projected_mu - claimed_mu) / spread + float(ndtri(failure_probability))))


def z_mu_lower(test: TestRuns, claim: Claim, failure_probability: float) -> LowerBound:
    """The same for two independent arms of scores in units of σ: μ ≥ x̄ − ȳ − z·√(1/n + 1/m).

    Guarantee: at most the true μ (and ε) where both laws are Gaussian of deviation 1, except with probability ≤
    failure_probability.

    Raises:
        BadScores: the scores are too large to be in units of σ.
    """
    n, m = test.sizes
    with np.errstate(over="ignore", invalid="ignore"):
        difference = float(test.released.mean() - test.reference.mean())
    if not abs(difference) < _LARGEST:
        raise BadScores(f"scores must be in units of σ, got a mean difference of {difference:g}. Divide them by σ.")
    lower = max(0.0, difference + float(ndtri(failure_probability)) * math.sqrt(1 / n + 1 / m))
    assumes = "scores are Gaussian of deviation 1 on both sides"
    return gaussian_bound("z", lower, test, claim, failure_probability, assumes, {"difference": difference})


def gaussian_bound(
    name: str,
    mu_lower: float,
    test: TestRuns,
    claim: Claim,
    failure_probability: float,
    assumes: str,
    derivation: dict[str, float],
) -> LowerBound:
    """What a lower limit on the μ of two Gaussian laws says of a claim, as the value that every bound returns."""
    n, m = test.sizes
    return LowerBound(
        name,
        claim.gaussian_epsilon(mu_lower),
        mu_lower,
        not claim.allows_gaussian(mu_lower),
        failure_probability,
        Kind.CONFIDENCE,
        "gaussian",
        runs_released=n,
        runs_reference=m,
        assumes=(assumes,),
        derivation=derivation | {"n": n, "m": m},
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )
