"""Rung E: what a simple attacker sees. Descriptive: no line decides.

The attacker sees one released model and says "member" where the loss of a record is small. Of each run, with losses ℓ
of the m forgotten records and ℓ′ of holdout records that no model has seen,

    AUC = (1/mm′) Σ_i Σ_j (1{ℓ_i < ℓ′_j} + ½·1{ℓ_i = ℓ′_j})        ½ for an attacker who sees nothing

Records of one run share a model, so that runs are the unit: the interval is Student's over the runs' AUCs. The two sets
of records are fixed and need not be alike, so that the AUC of retrained models need not be ½; what unlearning left is
the gap to them.
"""

import math

import numpy as np
import torch
from scipy.stats import t as student

from unlearning.record import Line, line_without_numbers
from unlearning.verdict import Outcome

from .controls import HONEST
from .fleet import Array, Subject
from .score_functions import class_logits, losses
from .scores import ChunkReleases

LEAST_RUNS = 5
FAILURE_PROBABILITY = 0.05  # of each interval
_MODELS = {
    "unlearned": "Membership by loss, unlearned",
    "original": "Membership by loss, nothing unlearned",
    "retrained": "Membership by loss, retrained",
}


def attack_chunk(subject: Subject, releases: ChunkReleases) -> dict[str, Array]:
    """AUC of the loss attack on each run of a chunk, [K], by model; all three as released, with noise."""
    released = {
        "unlearned": releases.released[HONEST.name],
        "original": releases.released["no-op"],
        "retrained": releases.shared["reference"],
    }
    return {name: _loss_attack(subject, parameters) for name, parameters in released.items()}


def _loss_attack(subject: Subject, parameters: Array) -> Array:
    task = subject.task
    forgotten = list(subject.request_ids)
    beside = slice(0, len(forgotten))
    w = torch.from_numpy(parameters).to(task.device, task.dtype)
    features, labels = task.features()[forgotten], task.labels()[forgotten]
    outside, outside_labels = (
        task.dataset.holdout_features[beside].to(w),
        task.dataset.holdout_labels[beside].to(task.device),
    )
    members = losses(class_logits(task.objective, w, features), labels)
    others = losses(class_logits(task.objective, w, outside), outside_labels)
    return auc(members.cpu().numpy(), others.cpu().numpy())


def auc(members: Array, others: Array) -> Array:
    """Share of pairs in which the member has the smaller loss, ties half: [K] for losses [K, m] and [K, m′].

    >>> auc(np.array([[1.0, 2.0]]), np.array([[2.0, 3.0]])).tolist()
    [0.875]
    """
    found = np.empty(len(members))
    for run, (own, beside) in enumerate(zip(members, np.sort(others, axis=1), strict=True)):
        below = np.searchsorted(beside, own, "left") + np.searchsorted(beside, own, "right")
        found[run] = 1 - below.mean() / (2 * beside.size)
    return found


def attack_lines(parts: list[dict[str, Array]]) -> list[Line]:
    """AUC on the three kinds of models, and the gap between unlearned and retrained ones of the same seed."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in _MODELS}
    lines = [_line(f"attack-{name}", title, whole[name], 0.5) for name, title in _MODELS.items()]
    gap = whole["unlearned"] - whole["retrained"]
    return [*lines, _line("attack-gap", "Membership by loss, unlearned less retrained", gap, 0.0)]


def _line(key: str, title: str, values: Array, nothing: float) -> Line:
    runs = values.size
    if runs < LEAST_RUNS:
        return line_without_numbers(
            rung="E",
            key=key,
            title=title,
            subject="attack",
            seeds="paired",
            kind="estimate",
            deciding=False,
            reason=f"an interval over runs needs at least {LEAST_RUNS} of them, got {runs}",
        )
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    half = float(student.ppf(1 - FAILURE_PROBABILITY / 2, runs - 1)) * deviation / math.sqrt(runs)
    return Line(
        rung="E",
        key=key,
        title=title,
        subject="attack",
        seeds="paired",
        deciding=False,
        outcome=Outcome.NOT_REFUTED,
        finding=(
            f"{'AUC' if nothing else 'difference of AUCs'} {mean:.3g}, between {mean - half:.3g} and {mean + half:.3g} "
            f"with confidence {1 - FAILURE_PROBABILITY:g} over {runs} runs; {nothing:g} where there is nothing to see."
        ),
        failure_probability=FAILURE_PROBABILITY,
        assumes="runs' values about normal",
        kind="estimate",
        runs_released=runs,
        runs_reference=runs,
        statistic=mean,
        derivation={"mean": mean, "deviation": deviation, "lower": mean - half, "upper": mean + half},
    )
