"""RMIA: is a record more likely under the model than it should be, compared with public records?

Zarifzadeh, Liu, Shokri: Low-Cost High-Power Membership Inference Attacks, ICML 2024.

For a record x, public records z and the attacked model θ, p(·|θ) the probability of the label,

    LR_θ(x, z) = [p(x|θ)/p(x)] / [p(z|θ)/p(z)]
    score(x)   = share of the z with LR_θ(x, z) ≥ γ
    p(x)       = ½(p̄_in(x) + p̄_out(x))                                               online
    p(x)       = ½((1 + a)·p̄_out(x) + 1 − a)                                         offline: p̄_in ≈ a·p̄_out + 1 − a

with p̄ the means over the shadows' original models that learned the record, and that did not.

| paper | here |
|---|---|
| p(x), online | where the record was learned by some shadows and not by others, as nearly always |
| p(x), offline | where no shadow learned it; the same line read backwards where every shadow did |
| p(z) | offline: no shadow has learned a public record |
| a, tuned on reference models | a = mean of 1 − p over learned records / over the others: the line of p̄_in, fitted |

Differs from the paper: everything in logarithms, so that no probability underflows; and ties of the share, many where
public records are few, are broken by the mean of ln LR over the z, worth less than one z.

Within one run the order of the scores is that of p(x|θ)/p(x), whatever γ and the public records are: both the share and
what breaks its ties increase with it. What public records add is a common scale for different runs.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from unlearning.errors import BadScores

from ..score_functions import losses
from .attack import Family, Fitted
from .runs import Array, FitRuns, Mask, ScoreRuns

_TINY = 1e-12  # least a that is divided by


@dataclass(frozen=True, slots=True)
class RMIA:
    """The robust membership inference attack on one model.

    Attributes:
        gamma: γ ≥ 1.
    """

    key: ClassVar[str] = "rmia"
    title: ClassVar[str] = "RMIA"
    family: ClassVar[Family] = "MIA-L"
    source: ClassVar[str] = "Zarifzadeh et al. 2024, offline or online as the shadows allow"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        """Check the field.

        Raises:
            ValueError: γ is below 1 or not finite.
        """
        if not 1 <= self.gamma < np.inf:
            raise ValueError(f"gamma must be in [1, inf), got {self.gamma}.")

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Fitted:
        """Take p(x) and p(z) from the shadows' original models; nothing is drawn.

        Raises:
            BadScores: there are no public records.
        """
        own = log_probabilities(runs.of("original"), runs.labels)
        public = log_probabilities(runs.population["original"], runs.population_labels)
        if not public.shape[1]:
            raise BadScores("population must hold public records for RMIA, got none. Use a dataset with a holdout.")
        slope = _slope(own, runs.members)
        nobody = np.zeros(public.shape, dtype=np.bool_)
        return FittedRMIA(
            _log_expected(own, runs.members, slope), _log_expected(public, nobody, slope), float(np.log(self.gamma))
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedRMIA:
    """The attack with what the shadows expect.

    Attributes:
        own: ln p(x), [m].
        public: ln p(z), [z].
        log_gamma: ln γ.
    """

    own: Array
    public: Array
    log_gamma: float

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Share of the public records that a candidate beats γ times, and less than one of them for ties, [K, m]."""
        own = log_probabilities(runs.of(model), runs.labels) - self.own
        public = log_probabilities(runs.population[model], runs.population_labels) - self.public
        beaten = torch.searchsorted(
            torch.from_numpy(np.sort(public, axis=1)), torch.from_numpy(own - self.log_gamma), right=True
        )
        lead = own - public.mean(1, keepdims=True)
        ties = 0.5 + 0.5 * lead / (1 + np.abs(lead))  # in (0, 1), increasing
        return np.asarray((beaten.numpy() + ties) / public.shape[1])


def log_probabilities(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Logarithm of the label's probability, [K, n] for logits [K, n, c] and labels [n]."""
    return np.asarray(-losses(torch.from_numpy(logits), torch.from_numpy(labels)).numpy())


def _slope(log_p: Array, members: Mask) -> float:
    """The a in [0, 1] with 1 − p̄_in ≈ a·(1 − p̄_out): mean over mean of all records and shadows."""
    missing = -np.expm1(log_p)
    learned, others = float(missing[members].mean()), float(missing[~members].mean())
    return min(1.0, learned / others) if others > 0 else 1.0


def _log_expected(log_p: Array, members: Mask, slope: float) -> Array:
    """Logarithm of p(x) from that of p on shadow models, [S, m] → [m]."""
    inside, outside = _log_mean(log_p, members), _log_mean(log_p, ~members)
    by_line = logsumexp(np.stack([outside, np.zeros_like(outside)]), axis=0, b=np.array([[slope], [1 - slope]]))
    backwards = np.minimum(1.0, -np.expm1(np.minimum(inside, 0.0)) / max(slope, _TINY))
    with np.errstate(divide="ignore"):
        outside = np.where(members.all(0), np.log1p(-backwards), outside)
    inside = np.where(members.any(0), inside, by_line)
    return np.asarray(np.logaddexp(inside, outside) - np.log(2))


def _log_mean(log_p: Array, side: Mask) -> Array:
    """Logarithm of the mean of p over the models of a side, [m]; −∞ where there is none."""
    total = logsumexp(np.where(side, log_p, -np.inf), axis=0)
    return np.asarray(total - np.log(np.maximum(side.sum(0), 1)))
