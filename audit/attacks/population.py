"""Attacks that ask the same of every record: loss threshold, modified entropy, and the SVC of "MIA efficacy".

They are what the unlearning literature reports; attacks that calibrate each record (LiRA, RMIA) see more. With p the
probabilities of the classes and y the label:

    loss       log p_y                                          Yeom et al. 2018 (CSF), adversary 2
    entropy    (1 − p_y) log p_y + Σ_{c≠y} p_c log(1 − p_c)      Song & Mittal 2021 (USENIX): minus "Mentr"
    SVC        decision function of an RBF support-vector classifier of p_y, members against non-members
               Jia et al. 2023 (NeurIPS): the share of forgotten records called non-members is "efficacy"

Scores are larger where a record looks learned. The entropy is that of each row with that row's own label. The
classifier learns from original models of shadow runs, S against the candidates that were not learned, and is told
nothing of the models it is scored on; the paper fits it on the attacked model's own retained records, which the
model has learned in both worlds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.record_attacks import Measure

from .attack import Family, Fitted, fit_attack
from .confidence import record_confidences
from .measures import interval
from .rmia import log_probabilities
from .runs import Array, FitRuns, Mask, ScoreRuns


class _Untaught:
    """An attack that asks the same of every record, whatever shadow runs show; the threshold is every attack's."""

    __slots__ = ()

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Self:
        """Nothing is learned."""
        return self


@dataclass(frozen=True, slots=True)
class LossThreshold(_Untaught):
    """The loss of the record: small where it was learned."""

    key: ClassVar[str] = "loss"
    title: ClassVar[str] = "Loss threshold"
    family: ClassVar[Family] = "MIA-L"
    source: ClassVar[str] = "Yeom et al. 2018, adversary 2"

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """φ of every candidate, [K, m]: in the order of log p_y = −log(1 + e^{−φ}), and never rounded to 0 as it is."""
        return record_confidences(runs, model)


@dataclass(frozen=True, slots=True)
class ModifiedEntropy(_Untaught):
    """The entropy of the prediction that knows the label."""

    key: ClassVar[str] = "entropy"
    title: ClassVar[str] = "Modified entropy"
    family: ClassVar[Family] = "MIA-L"
    source: ClassVar[str] = "Song & Mittal 2021, modified prediction entropy"

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Minus the modified entropy of every candidate, [K, m]."""
        return -modified_entropies(runs.of(model), runs.labels)


def modified_entropies(logits: Array, labels: NDArray[np.int64]) -> Array:
    """−(1 − p_y) log p_y − Σ_{c≠y} p_c log(1 − p_c), in nats ≥ 0, [K, n] for logits [K, n, c] and labels [n].

    Of two classes with p_y = ½ it is ½ ln 2 + ½ ln 2:

    >>> float(modified_entropies(np.zeros((1, 1, 2)), np.array([1]))[0, 0]) == float(np.log(2))
    True
    """
    log_p, log_rest = (side.numpy() for side in _log_shares(torch.from_numpy(logits)))
    own = np.arange(logits.shape[2]) == labels[:, None]
    terms = np.where(own, np.exp(log_rest) * log_p, np.exp(log_p) * log_rest)
    return np.asarray(-terms.sum(2))


def _log_shares(z: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of p_c and of 1 − p_c for every class, without a difference of equal numbers anywhere, [K, n, c]."""
    top = torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).bool()
    others = torch.logsumexp(z.masked_fill(top, -torch.inf), -1, keepdim=True)
    lead = z.amax(-1, keepdim=True) - others  # log odds of the largest class
    rest = -torch.nn.functional.softplus(lead, threshold=700.0)  # log of what the others share
    log_p = torch.where(top, -torch.nn.functional.softplus(-lead, threshold=700.0), z - others + rest)
    log_rest = torch.where(top, rest, torch.log1p(-torch.exp(log_p)))  # p ≤ ½ of every other class
    return log_p, log_rest


@dataclass(frozen=True, slots=True)
class SVCEfficacy:
    """A support-vector classifier of the label's probability, as the unlearning literature uses it.

    Attributes:
        penalty: C.
        most: records a side that it learns from, drawn: its cost grows with their square.
    """

    key: ClassVar[str] = "svc"
    title: ClassVar[str] = 'SVC of the confidence ("MIA efficacy")'
    family: ClassVar[Family] = "MIA-L"
    source: ClassVar[str] = "Jia et al. 2023, MIA-efficacy"
    penalty: float = 3.0
    most: int = 250

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a field is out of range.
        """
        if not 0 < self.penalty < np.inf:
            raise ValueError(f"penalty must be in (0, inf), got {self.penalty}.")
        if self.most < 1:
            raise ValueError(f"most must be >= 1, got {self.most}.")

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Fitted:
        """Learn members from non-members on the shadows' original models; draws which records it learns from."""
        from sklearn.svm import SVC  # slow to import

        seen = np.exp(log_probabilities(runs.of("original"), runs.labels))
        sides = [generator.permutation(values)[: self.most] for values in (seen[runs.members], seen[~runs.members])]
        classifier = SVC(C=self.penalty, kernel="rbf", gamma="auto", class_weight="balanced")
        learned = np.repeat([1, 0], [len(side) for side in sides])
        return _FittedSVC(classifier.fit(np.concatenate(sides)[:, None], learned))


class _Classifier(Protocol):
    def decision_function(self, rows: Array) -> Array: ...


@dataclass(frozen=True, slots=True, eq=False)
class _FittedSVC:
    classifier: _Classifier

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Decision function of every candidate, [K, m]: above 0 it is called a member."""
        seen = np.exp(log_probabilities(runs.of(model), runs.labels))
        return np.asarray(self.classifier.decision_function(seen.reshape(-1, 1))).reshape(seen.shape)


def mia_efficacies(scores: Array, members: Mask) -> Array:
    """Share of each run's forgotten records that the classifier calls non-members, [K]: the literature's efficacy.

    It has no baseline: compare it with that of retrained models. Jia et al. 2023.

    >>> mia_efficacies(np.array([[0.5, -0.5, 2.0]]), np.array([[True, True, False]])).tolist()
    [0.5]
    """
    return np.asarray(((scores <= 0) & members).sum(1) / members.sum(1))


def efficacy_measure(
    shadows: FitRuns, targets: ScoreRuns, models: Sequence[str], *, generator: np.random.Generator
) -> Measure:
    """MIA efficacy of target runs by kind of model, with Student's intervals over runs.

    Raises:
        TypeError: the runs are not shadow runs and target runs.
        ValueError: the classifier was fitted on one of the target runs.
    """
    classifier = fit_attack(SVCEfficacy(), shadows, models[0], generator=generator)
    found = {model: mia_efficacies(classifier.scores(targets, model), targets.members) for model in models}
    return Measure(
        key="mia-efficacy",
        title="MIA efficacy",
        meaning="share of forgotten records that a classifier of confidences calls non-members; compare with retrained",
        least=0.0,
        most=1.0,
        models={model: interval(values) for model, values in found.items()},
    )
