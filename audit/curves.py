"""Trade-off of one score, with its band, as a report draws it. Needs no torch."""

import numpy as np
from numpy.typing import NDArray

from unlearning.record import TradeOffCurve

from .bounds.band import tradeoff_band

Array = NDArray[np.float64]

BAND_FAILURE_PROBABILITY = 0.05


def tradeoff_curve(label: str, released: Array, reference: Array, score: str) -> TradeOffCurve:
    """Trade-off of a score, with its band."""
    band = tradeoff_band(released, reference, BAND_FAILURE_PROBABILITY)
    return TradeOffCurve(
        label=label,
        alpha=band.alpha.tolist(),
        beta=band.beta.tolist(),
        band_alpha_lower=band.alpha_lower.tolist(),
        band_beta_lower=band.beta_lower.tolist(),
        band_alpha_upper=band.alpha_upper.tolist(),
        band_beta_upper=band.beta_upper.tolist(),
        band_failure_probability=BAND_FAILURE_PROBABILITY,
        score=score,
    )
