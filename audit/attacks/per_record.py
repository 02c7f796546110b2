"""How often an attack is right about each record: vulnerable records hide in an average.

For every candidate z, over the target runs, a model is called "has forgotten z" where its score is above a threshold
that was fixed before: 0 for likelihood ratios. Of the shares of right answers the report shows upper quantiles over
candidates (Hayes et al. 2024). A quantile of shares is biased upward, the more the fewer the runs: of m candidates
about whom nothing can be known, with K answers each, the best has about ½ + √(ln m / 2K). The same attack on retrained
models has the same bias; its quantiles stand beside. Where k of the m candidates are forgotten, an answer that is
always the same is right in max(k, m − k)/m of all cases: half of them only where half of the candidates are.

Which candidates count as vulnerable and which as protected (Naderloui et al. 2025) is read from ORIGINAL models of
shadow runs: the quarter whose confidences differ most, and least, between models that learned the record and others.
Neither a target run nor what unlearning did has a say in it.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unlearning.record_attacks import PerRecord, RecordGroup

from .attack import Attack, fit_attack
from .confidence import record_confidences
from .likelihood import gaussian_fit
from .measures import interval
from .runs import Array, FitRuns, Mask, ScoreRuns

LEVELS = (0.5, 0.9, 0.95, 0.99)
_SHARE = 4  # one in four candidates is vulnerable, and one in four protected


def right_answers(scores: Array, members: Mask, threshold: float | Array = 0.0) -> Mask:
    """Whether "was forgotten" was answered rightly, [K, m]: yes where the score is above the threshold.

    Args:
        scores: of target runs, [K, m].
        members: who was forgotten, [K, m].
        threshold: one, or one per candidate [m], fixed before the target runs were seen.

    >>> right_answers(np.array([[2.0, -1.0, 0.0]]), np.array([[True, True, False]])).tolist()
    [[True, False, True]]
    """
    return np.asarray((scores > threshold) == members)


def shares_right_quantiles(right: NDArray[np.int64], answers: int) -> dict[str, float]:
    """Upper quantiles over candidates of the share of right answers, each the share of some candidate.

    >>> shares_right_quantiles(np.array([5, 6, 7, 10]), 10)
    {'0.5': 0.6, '0.9': 1.0, '0.95': 1.0, '0.99': 1.0, 'max': 1.0}
    """
    found = np.quantile(right / answers, LEVELS, method="inverted_cdf")
    return {f"{level:g}": float(q) for level, q in zip(LEVELS, found, strict=True)} | {
        "max": float(right.max() / answers)
    }


def separations(shadows: FitRuns) -> Array:
    """How far apart the confidences of original models that learned a candidate, and of others, are: d′ [m].

    (μ_in − μ_out) / √(½(σ_in² + σ_out²)), from shadow runs.

    Raises:
        TypeError: the runs are not shadow runs: who is vulnerable must be settled before target runs are seen.
    """
    if not isinstance(shadows, FitRuns):
        raise TypeError(f"vulnerable records must be chosen on FitRuns, got {type(shadows).__name__}.")
    found = gaussian_fit(record_confidences(shadows, "original"), shadows.members)
    spread = np.sqrt((found.deviation_in**2 + found.deviation_out**2) / 2)
    return np.asarray((found.mean_in - found.mean_out) / spread)


def vulnerable_and_protected(shadows: FitRuns) -> dict[str, Mask]:
    """The quarter of the candidates with the largest, and that with the smallest separation, as masks [m].

    Raises:
        TypeError: the runs are not shadow runs.
    """
    order = separations(shadows).argsort(kind="stable")
    few = math.ceil(order.size / _SHARE)
    everyone = np.arange(order.size)
    return {"vulnerable": np.isin(everyone, order[-few:]), "protected": np.isin(everyone, order[:few])}


def per_record(
    scores: Array,
    members: Mask,
    *,
    attack: str,
    against: str,
    seeds: str,
    candidate_ids: Sequence[int],
    groups: Mapping[str, Mask],
    threshold: float | Array = 0.0,
) -> PerRecord:
    """What the scores of target runs say of every candidate.

    Args:
        scores: [K, m].
        members: who was forgotten, [K, m].
        attack: key.
        against: kind of model.
        seeds: "fresh" or "one seed".
        candidate_ids: m record numbers.
        groups: candidates by name of the group, masks [m], chosen before the target runs were seen.
        threshold: above it the answer is "was forgotten"; one, or one per candidate.
    """
    right = right_answers(scores, members, threshold)
    answers = len(right)
    return PerRecord(
        attack=attack,
        against=against,
        seeds=seeds,
        candidate_ids=list(candidate_ids),
        right=right.sum(0).tolist(),
        answers=[answers] * right.shape[1],
        guessing=float(max(members.mean(), 1 - members.mean())),
        quantiles=shares_right_quantiles(right.sum(0), answers),
        groups=[_group(name, right[:, own]) for name, own in groups.items()],
    )


def _group(name: str, right: Mask) -> RecordGroup:
    """Interval over runs: candidates of one run share its model."""
    return RecordGroup(
        name=name,
        records=right.shape[1],
        right=int(right.sum()),
        answers=right.size,
        mean=interval(right.mean(1)),
    )


def run_per_record(
    attack: Attack,
    shadows: FitRuns,
    targets: ScoreRuns,
    models: Sequence[str],
    *,
    seeds: str,
    candidate_ids: Sequence[int],
    generator: np.random.Generator,
) -> list[PerRecord]:
    """One attack of likelihood ratios on every kind of model, record by record; retrained ones first.

    Args:
        attack: whose scores are log likelihood ratios.
        shadows: to fit on, and to choose the groups.
        targets: to answer about.
        models: kinds of models; "retrained" is always among them.
        seeds: "fresh" or "one seed".
        candidate_ids: m record numbers.
        generator: of what the attack draws.

    Raises:
        TypeError: shadow and target runs are not what they should be.
    """
    groups = vulnerable_and_protected(shadows)
    return [
        per_record(
            fit_attack(attack, shadows, model, generator=generator).scores(targets, model),
            targets.members,
            attack=attack.key,
            against=model,
            seeds=seeds,
            candidate_ids=candidate_ids,
            groups=groups,
        )
        for model in ("retrained", *(m for m in models if m != "retrained"))
    ]
