"""U-LiRA and RULI: was this record learned and forgotten, or never there? Asked record by record.

Hayes, Shumailov, Triantafillou, Khalifa & Papernot, "Inexact unlearning needs more careful evaluations to avoid a false
sense of privacy", 2024: shadow models go through unlearning as the attacked one did, and a likelihood ratio of the
record's confidence compares those that forgot it with those that never had it. Naderloui et al., "Rectifying privacy
and efficacy measurements in machine unlearning", USENIX Security 2025, take kernel densities for the Gaussians, and
look at vulnerable and at protected records by themselves (`per_record`).

    in     φ(U(A(R ∪ S), S), z)      over shadow runs with z in S
    out    φ(U(A(R ∪ S), S), z)      over shadow runs without z in S: such a model never had z
    score  ln p_in(φ) − ln p_out(φ)  of the target's φ; above 0 it says "forgotten"

Differs from the papers: both sides unlearn something, so that a trace of unlearning that does not speak of z helps
nobody; and models of another kind ("original", "retrained") are attacked by shadows of their own kind.
"""

from dataclasses import dataclass

import numpy as np

from .attack import Family, Fitted
from .confidence import record_confidences
from .likelihood import Ratio, gaussian_fit, kernel_fit
from .runs import Array, FitRuns, ScoreRuns


@dataclass(frozen=True, slots=True, eq=False)
class RecordRatios:
    """A fitted likelihood ratio for each candidate.

    Attributes:
        ratio: of the confidences.
    """

    ratio: Ratio

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Log likelihood ratios, [K, m]: above 0 where the record seems forgotten."""
        return self.ratio.log_ratio(record_confidences(runs, model))


@dataclass(frozen=True, slots=True)
class ULiRA:
    """The likelihood-ratio attack on unlearned models.

    Attributes:
        kernel: kernel densities (RULI) in place of Gaussians.
    """

    kernel: bool = False

    @property
    def key(self) -> str:
        """Name in plans."""
        return "ruli" if self.kernel else "u-lira"

    @property
    def title(self) -> str:
        """Name for people."""
        return "RULI, kernel likelihood ratio" if self.kernel else "U-LiRA, Gaussian likelihood ratio"

    @property
    def family(self) -> Family:
        """Attacks of single records."""
        return "U-LiRA"

    @property
    def source(self) -> str:
        """Paper and equation."""
        return "Naderloui et al. 2025, RULI" if self.kernel else "Hayes et al. 2024, U-LiRA"

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Fitted:
        """Learn the confidences of both sides from shadow models of the kind; nothing is drawn.

        Raises:
            TypeError: the runs are not shadow runs.
        """
        if not isinstance(runs, FitRuns):
            raise TypeError(f"{self.key} must be fitted on FitRuns, got {type(runs).__name__}.")
        fit = kernel_fit if self.kernel else gaussian_fit
        return RecordRatios(fit(record_confidences(runs, model), runs.members))
