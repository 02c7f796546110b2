"""The confidence of a model in a record, which most attacks on single records look at."""

import numpy as np
import torch

from ..score_functions import confidences
from .runs import Array, FitRuns, ScoreRuns


def record_confidences(runs: FitRuns | ScoreRuns, model: str) -> Array:
    """Confidences φ = z_y − log Σ_{c≠y} e^{z_c} of a kind of model in the candidates, [K, m], float64."""
    return np.asarray(confidences(torch.from_numpy(runs.of(model)), torch.from_numpy(runs.labels)).numpy())
