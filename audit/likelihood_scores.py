"""U-LiRA and RULI as scores of a model: the log likelihood ratios of its confidences, over the forgotten records.

    score = Σ_z [ln p(φ_z | released) − ln p(φ_z | reference)]

with a law for each record z and side, as in the attacks: Gaussians (Hayes et al. 2024) or kernel densities (Naderloui
et al. 2025). Here the sides are unlearned models and retrained ones with other seeds. The sum takes a model's
confidences in different records as independent, which they are not: that costs power, not validity.
"""

from dataclasses import dataclass

import numpy as np

from .attacks.likelihood import Ratio, gaussian_fit, kernel_fit
from .fitted_scores import Array


@dataclass(frozen=True, slots=True)
class RatioSum:
    """Sum of the records' log ratios.

    Attributes:
        ratio: of each record.
    """

    ratio: Ratio

    def values(self, features: Array) -> Array:
        """One number for each row of confidences [K, F], [K]."""
        return np.asarray(self.ratio.log_ratio(features).sum(1))


def fit_gaussians(released: Array, reference: Array) -> RatioSum:
    """Gaussians of confidences [n, F] of released and [m, F] of reference models."""
    return RatioSum(gaussian_fit(*_stacked(released, reference)))


def fit_kernels(released: Array, reference: Array) -> RatioSum:
    """Kernel densities of confidences [n, F] of released and [m, F] of reference models."""
    return RatioSum(kernel_fit(*_stacked(released, reference)))


def _stacked(released: Array, reference: Array) -> tuple[Array, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    phi = np.concatenate([released, reference])
    return phi, np.broadcast_to(np.arange(len(phi))[:, None] < len(released), phi.shape)
