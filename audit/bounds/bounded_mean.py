"""Lower limit of the mean of independent values in [0, 1], by betting (Waudby-Smith & Ramdas, JRSS B 2024, §4).

Against "the mean is at most a" one stakes λ_t on every value before it is seen; the capital

    K_t(a) = Π_{s ≤ t} (1 + min(λ_s, c/a)(x_s − a)),        λ_s = √(2 ln(1/β)/(n·v_{s−1})),    c = 3/4

is a nonnegative supermartingale where the mean of every value, given those before, is at most a, so that it ever
reaches 1/β with probability at most β (Ville). v_{s−1} is the variance of the values before, started at 1/4. K_t(a)
does not increase in a: what is refuted is an interval [0, limit).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unlearning.errors import BadScores

_CUT = 0.75
_HALVINGS = 50


def mean_lower(values: ArrayLike, failure_probability: float) -> float:
    """Lower confidence limit of the mean.

    Guarantee: at most the true mean, except with probability ≤ failure_probability, for independent values in [0, 1] of
    any law, and for any order of them that was fixed beforehand.

    Args:
        values: one per run, in the order of the runs.
        failure_probability: in (0, 1).

    Raises:
        BadScores: a value is outside [0, 1].
        ValueError: the failure probability is not in (0, 1).

    >>> mean_lower([1.0] * 4, 0.01) < 0.01**0.25  # where no limit can be above
    True
    >>> 0.9 < mean_lower(np.ones(100), 0.01) < 1
    True
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if not ((x >= 0) & (x <= 1)).all():
        raise BadScores("values must be in [0, 1] for a limit of their mean.")
    if not 0 < failure_probability < 1:
        raise ValueError(f"failure_probability must be in (0, 1), got {failure_probability}.")
    if not x.size:
        return 0.0
    stakes = _stakes(x, failure_probability)
    needed = math.log(1 / failure_probability)
    low, high = 0.0, float(x.mean())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle > 0 and _log_capital(x, stakes, middle) >= needed:
            low = middle
        else:
            high = middle
    return low


def _stakes(x: NDArray[np.float64], failure_probability: float) -> NDArray[np.float64]:
    """λ_s: each from the values before it alone."""
    counted = np.arange(1, x.size + 1)
    means = (0.5 + np.cumsum(x)) / (counted + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (counted + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2 * math.log(1 / failure_probability) / (x.size * before)))


def _log_capital(x: NDArray[np.float64], stakes: NDArray[np.float64], mean: float) -> float:
    """Largest logarithm of the capital on the way."""
    return float(np.cumsum(np.log1p(np.minimum(stakes, _CUT / mean) * (x - mean))).max())
