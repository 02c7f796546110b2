"""One-sided Clopper–Pearson limits, exact at 0 and at n (Clopper & Pearson 1934)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

SMALLEST = 1e-100  # failure probability: below, quantiles of the Beta law lose their digits


def clopper_pearson_lower(successes: ArrayLike, trials: int, failure_probability: float) -> NDArray[np.float64]:
    """Lower confidence limit of a binomial proportion.

    Guarantee: at most the true proportion, except with probability ≤ failure_probability.

    >>> float(clopper_pearson_lower(0, 10, 0.05))
    0.0
    >>> round(float(clopper_pearson_lower(10, 10, 0.05)), 6) == round(0.05 ** 0.1, 6)
    True
    """
    count = _checked(successes, trials, failure_probability)
    with np.errstate(invalid="ignore"):
        limit = beta.ppf(failure_probability, count, trials - count + 1)
    return np.where(count == 0, 0.0, limit)


def clopper_pearson_upper(successes: ArrayLike, trials: int, failure_probability: float) -> NDArray[np.float64]:
    """Upper confidence limit of a binomial proportion.

    Guarantee: at least the true proportion, except with probability ≤ failure_probability.

    >>> float(clopper_pearson_upper(10, 10, 0.05))
    1.0
    """
    count = _checked(successes, trials, failure_probability)
    with np.errstate(invalid="ignore"):
        limit = beta.isf(failure_probability, count + 1, trials - count)
    return np.where(count == trials, 1.0, limit)


def _checked(successes: ArrayLike, trials: int, failure_probability: float) -> NDArray[np.float64]:
    count = np.asarray(successes, dtype=np.float64)
    if trials < 1:
        raise ValueError(f"trials must be >= 1, got {trials}.")
    if not SMALLEST <= failure_probability < 1:
        raise ValueError(f"failure_probability must be in [{SMALLEST:g}, 1), got {failure_probability}.")
    if np.any((count < 0) | (count > trials) | (count != np.round(count))):
        raise ValueError(f"successes must be whole numbers between 0 and {trials}, got {successes!r}.")
    return count
