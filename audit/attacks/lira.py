"""LiRA: the likelihood of a record's confidence where it was learned against where it was not, record by record.

Carlini, Chien, Nasr, Song, Terzis, Tramèr: Membership Inference Attacks From First Principles, IEEE S&P 2022.

With φ = log p_y − log Σ_{c≠y} p_c of the attacked model, and Gaussians of φ on shadow models that learned the record
("in") and on those that did not ("out"):

    online     Λ = ln N(φ; μ_in, σ_in²) − ln N(φ; μ_out, σ_out²)                    algorithm 1
    offline    z = (φ − μ_out)/σ_out                                                its offline variant, there Φ(z)

| paper | here |
|---|---|
| shadow models, half of them with the record | original models of shadow runs: of each, S was drawn |
| global or per-example variance | `likelihood.gaussian_fit`: from 64 models a side on a record has its own |
| 1 − P[N(μ_out, σ_out²) > φ] | z: Φ increases strictly, and is 1 in float64 from z = 8.3 on |

Differs from the paper: one query a record, no augmented copies. Λ and z are always finite: a record that no shadow, or
every shadow, learned gets the missing side's mean from the other one, moved by as much as the other records' means
differ, in the offline attack too; deviations have a floor, so that models without randomness can be attacked.
"""

from dataclasses import dataclass

import numpy as np

from .attack import Family, Fitted
from .confidence import record_confidences
from .likelihood import Gaussians, gaussian_fit
from .runs import Array, FitRuns, ScoreRuns


@dataclass(frozen=True, slots=True)
class LiRA:
    """The likelihood-ratio attack on one model.

    Attributes:
        online: weigh "in" against "out"; else ask how unusual φ is among "out" models.
    """

    online: bool = True

    @property
    def key(self) -> str:
        """Name in plans."""
        return "lira-online" if self.online else "lira-offline"

    @property
    def title(self) -> str:
        """Name for people."""
        return "LiRA, online" if self.online else "LiRA, offline"

    @property
    def family(self) -> Family:
        """One model is attacked."""
        return "MIA-L"

    @property
    def source(self) -> str:
        """Paper and equation."""
        return f"Carlini et al. 2022, {'algorithm 1' if self.online else 'the offline variant of algorithm 1'}"

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Fitted:
        """Gaussians of every record from the shadows' original models; nothing is drawn."""
        gaussians = gaussian_fit(record_confidences(runs, "original"), runs.members)
        return FittedLiRA(gaussians, self.online)


@dataclass(frozen=True, slots=True, eq=False)
class FittedLiRA:
    """The attack with its Gaussians.

    Attributes:
        gaussians: of every record, on both sides.
        online: which of the two scores.
    """

    gaussians: Gaussians
    online: bool

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Λ (online) or z (offline) of every candidate, [K, m]."""
        phi, fitted = record_confidences(runs, model), self.gaussians
        return fitted.log_ratio(phi) if self.online else (phi - fitted.mean_out) / fitted.deviation_out
