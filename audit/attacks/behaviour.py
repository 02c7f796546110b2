"""What papers measure on unlearned models beside attacks: how the models behave, on the target runs of the game.

In a run the models u = U(A(R ∪ S), S), o = A(R ∪ S) and r = A(R) are released; r_s = A(R) has the training seed of o.
(Where the claim compares with an empty request, r is U(A(R), ∅).) No measure here is an attack, bounds anything, or
decides: models can behave alike and be told apart, and the reverse. With p the class probabilities and ℓ_i the loss of
record i without the regulariser:

    accuracy       on S, on R, on the candidates that were never learned, and on the holdout
    relearning     smallest t with L_S(w_t) ≤ L_S(o before noise), L_S the mean of ℓ_i over S, w_0 the released model
                   and w_{t+1} a step of the task's own recipe on all of S
    divergence     JS(p, q) = ½KL(p ‖ m) + ½KL(q ‖ m), m = ½(p + q), to r's: mean over records, in nats, 0 ≤ JS ≤ ln 2
    Tug-of-War     Π (1 − |accuracy − accuracy of r|) over S, R and the holdout                  Zhao et al. 2024, §3
    correlation    over i ∈ S of ℓ_i(u) − ℓ_i(o) with ℓ_i(r_s) − ℓ_i(o), before noise
    distance       ‖w − r_s‖₂ before noise

What compares with retrained models compares r with r_s, too: two independent draws of A(R) where every run has training
seeds of its own ("fresh"), so that divergences and Tug-of-War never are those of equal models, and r_s shows in the
same runs what exact retraining would have. With one seed for all runs r is r_s, and noise is all that parts them.
Correlation and distance take r_s, as the theory of influence does: the change that another seed makes is nothing that a
method could foretell, and larger for networks than what forgetting changes. Of r they say how much the seed does.

Correlations are per run, over its records, and undefined below three records: two points always lie on a line. Pooling
the records of several runs instead would mix how records differ with how runs differ, and leave no unit for an
interval. As ℓ_i(o) is in both changes, any model whose losses vary less than o's correlates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learning.influence import correlation
from learning.task import SGD, Descent, Task
from learning.training import descent_direction, project
from unlearning.record_attacks import Measure

from ..fleet import Array, Subject, numpy64
from ..score_functions import class_logits, losses
from .measures import interval
from .runs import MODELS, Mask

SAME_SEED = "retrained, same seed"
STEPS = 100  # of relearning at most; a run that needs more counts as so many
OUTSIDE = 200  # holdout records on which predictions are compared, at most
_LEAST_RECORDS = 3  # for a correlation
_BLOCK = 2000  # records predicted at once

Measured = dict[str, dict[str, Array]]


@dataclass(frozen=True, slots=True)
class _About:
    """What a measure is called."""

    title: str
    meaning: str
    unit: str = ""
    nothing: float | None = None
    least: float | None = 0.0
    most: float | None = 1.0


_ABOUT = {
    "accuracy-forgotten": _About("Accuracy, forgotten", "share of right answers on the records that were forgotten"),
    "accuracy-retained": _About("Accuracy, retained", "share of right answers on the records that stay"),
    "accuracy-never": _About("Accuracy, never learned", "share of right answers on candidates that were never learned"),
    "accuracy-holdout": _About("Accuracy, holdout", "share of right answers on the holdout"),
    "relearning": _About(
        "Relearning time",
        "steps of the task's own recipe on the forgotten records alone, until their mean loss is at most what the "
        f"original model had before noise; {STEPS} stands for {STEPS} or more",
        unit="steps",
        most=float(STEPS),
    ),
    "divergence-forgotten": _About(
        "Divergence, forgotten",
        "Jensen–Shannon divergence of predictions to those of the retrained model, on the forgotten records; at most "
        "ln 2 = 0.693; of retrained models to another retraining",
        "nats",
        0.0,
        most=math.log(2),
    ),
    "divergence-holdout": _About(
        "Divergence, holdout",
        f"the same on the holdout's first {OUTSIDE} records at most",
        "nats",
        0.0,
        most=math.log(2),
    ),
    "tug-of-war": _About(
        "Tug-of-War",
        "product of 1 − |difference of accuracy to the retrained model| on forgotten, retained and holdout records; "
        "of retrained models to another retraining",
        nothing=1.0,
    ),
    "pearson": _About(
        "Loss change, Pearson",
        "correlation of the change of each forgotten record's loss with the change that retraining with the same seed "
        "makes, before noise; undefined for fewer than three records, and where nothing changes",
        nothing=1.0,
        least=-1.0,
    ),
    "spearman": _About("Loss change, Spearman", "the same of the ranks", nothing=1.0, least=-1.0),
    "distance": _About(
        "Distance",
        "‖w − w of the model retrained with the same seed‖₂ before noise; retrained models have another",
        nothing=0.0,
        most=None,
    ),
}


def behaviour_chunk(
    subject: Subject,
    ids: tuple[int, ...],
    members: Mask,
    released: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
) -> Measured:
    """Measure one chunk of target runs.

    Args:
        subject: method and task.
        ids: the candidates.
        members: S of every run, [K, m] in the order of the ids.
        released: parameters [K, P] by kind of model, the `SAME_SEED` one among them.
        before: the same before noise.

    Returns:
        Measure → kind of model → one value per run, [K]; NaN where it is undefined.
    """
    task, candidates = subject.task, list(ids)
    chosen = torch.from_numpy(members).to(task.device)
    x, y = task.features()[candidates], task.labels()[candidates]
    outside = task.dataset.holdout_features[:OUTSIDE].to(task.device, task.dtype)
    kinds = (*MODELS, SAME_SEED)
    own = {kind: class_logits(task.objective, released[kind], x) for kind in kinds}
    public = {kind: class_logits(task.objective, released[kind], outside) for kind in kinds}
    told = {kind: losses(class_logits(task.objective, before[kind], x), y) for kind in kinds}
    right = {kind: accuracies(task, candidates, chosen, released[kind]) for kind in kinds}
    target = mean_over(told["original"], chosen)
    found: dict[str, dict[str, Tensor | Array]] = {key: {} for key in _ABOUT}
    for kind in MODELS:
        beside = SAME_SEED if kind == "retrained" else "retrained"
        for key, share in right[kind].items():
            found[f"accuracy-{key}"][kind] = share
        found["relearning"][kind] = relearning_steps(task, candidates, chosen, released[kind], target)
        found["divergence-forgotten"][kind] = mean_over(jensen_shannon(own[kind], own[beside]), chosen)
        found["divergence-holdout"][kind] = jensen_shannon(public[kind], public[beside]).mean(1)
        found["tug-of-war"][kind] = tug_of_war(right[kind], right[beside])
        predicted, actual = (numpy64(told[other] - told["original"]) for other in (kind, SAME_SEED))
        found["pearson"][kind], found["spearman"][kind] = correlations(predicted, actual, members)
        found["distance"][kind] = (before[kind] - before[SAME_SEED]).double().norm(dim=1)
    return {
        key: {kind: numpy64(v) if isinstance(v, Tensor) else v for kind, v in values.items()}
        for key, values in found.items()
    }


def measures(parts: Sequence[Measured]) -> list[Measure]:
    """Means over the runs of all chunks, in the order of the runs, with Student's intervals.

    A kind of model without a value in any run is left out, its runs counted as undefined.
    """
    found = []
    for key, about in _ABOUT.items():
        kinds = {kind: np.concatenate([part[key][kind] for part in parts]) for kind in parts[0].get(key, ())}
        defined = {kind: values[~np.isnan(values)] for kind, values in kinds.items()}
        if not kinds:
            continue
        found.append(
            Measure(
                key=key,
                title=about.title,
                meaning=about.meaning,
                unit=about.unit,
                nothing=about.nothing,
                least=about.least,
                most=about.most,
                models={kind: interval(values) for kind, values in defined.items() if values.size},
                undefined={k: kinds[k].size - v.size for k, v in defined.items() if v.size < kinds[k].size},
                capped={k: int((v == STEPS).sum()) for k, v in defined.items() if key == "relearning"},
            )
        )
    return found


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of each run's values over its chosen records, [K], for values and choice [K, m].

    >>> mean_over(torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[True, False, True]])).tolist()
    [3.5]
    """
    return torch.where(chosen, values, 0.0).sum(1) / chosen.sum(1)


def accuracies(task: Task, candidates: list[int], chosen: Tensor, parameters: Tensor) -> dict[str, Tensor]:
    """Share of right answers of each run, [K], on forgotten, retained, never learned and holdout records.

    Args:
        task: data and model.
        candidates: record ids.
        chosen: which of them were forgotten, bool [K, m].
        parameters: [K, P].
    """
    right = _right(task, parameters, task.features(), task.labels())
    data = task.dataset
    outside = _right(task, parameters, data.holdout_features.to(parameters), data.holdout_labels.to(task.device))
    rest = torch.ones(task.rows, dtype=torch.bool, device=task.device)
    rest[candidates] = False
    return {
        "forgotten": mean_over(right[:, candidates], chosen),
        "retained": right[:, rest].mean(1),
        "never": mean_over(right[:, candidates], ~chosen),
        "holdout": outside.mean(1),
    }


def _right(task: Task, parameters: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """1 where an answer is right, else 0, float64 [K, n]."""
    starts = range(0, max(1, len(labels)), _BLOCK)
    predicted = [task.objective.predict(parameters, features[start : start + _BLOCK]) for start in starts]
    return (torch.cat(predicted, 1) == labels).double()


def tug_of_war(right: Mapping[str, Tensor], beside: Mapping[str, Tensor]) -> Tensor:
    """Tug-of-War score of each run, [K], from accuracies of models and of those beside them; Zhao et al. 2024, §3.

    >>> half, whole = torch.tensor([0.5]), torch.tensor([1.0])
    >>> all_right = dict(forgotten=whole, retained=whole, holdout=whole)
    >>> tug_of_war(dict(forgotten=half, retained=whole, holdout=half), all_right).item()
    0.25
    """
    parts = [1 - (right[key] - beside[key]).abs() for key in ("forgotten", "retained", "holdout")]
    return torch.stack(parts).prod(0)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Jensen–Shannon divergence of class probabilities, in nats, […] for finite logits […, c]; Lin 1991.

    Symmetric, and in [0, ln 2] for logits of any size. Below about 1e-16 it is rounding.

    >>> far = torch.tensor([900.0, 0.0]).double()
    >>> bool(jensen_shannon(far, far.flip(0)) == math.log(2)), jensen_shannon(far, far + 1).item()
    (True, 0.0)
    """
    p, q = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
    middle = torch.logaddexp(p, q) - math.log(2)
    found = (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(-1) / 2
    return found.clamp(0.0, math.log(2))


def relearning_steps(task: Task, candidates: list[int], chosen: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Steps on the chosen records until their mean loss is at most the target, [K]; `STEPS` for so many or more.

    The steps are the recipe's own, from its first one on (step size, momentum or Adam's memory, ball), on all chosen
    records at once. An exact minimiser has no step: 1/L stands in, L the proved smoothness; without one NaN is
    returned.

    Args:
        task: data, model and recipe.
        candidates: record ids.
        chosen: which of them are relearned, bool [K, m].
        start: parameters [K, P].
        target: mean loss without the regulariser, [K].
    """
    recipe, constants = task.recipe, task.constants
    if not isinstance(recipe, Descent):
        if constants is None:
            return torch.full_like(target, torch.nan)
        recipe = SGD(1, task.rows, 1 / constants.smoothness_upper)
    x, y = task.features()[candidates], task.labels()[candidates]
    features, labels = (part.expand(len(start), *part.shape) for part in (x, y))
    weights = (chosen / chosen.sum(1, keepdim=True)).to(task.dtype)
    w, direction, step_size = start, descent_direction(recipe, start), recipe.step_size
    steps = torch.full_like(target, STEPS)
    for step in range(STEPS):
        reached = mean_over(losses(class_logits(task.objective, w, x), y), chosen) <= target
        steps = torch.where(reached & (steps == STEPS), step, steps)
        if bool((steps < STEPS).all()):
            break
        gradient = task.objective.at(w, features, labels).gradient(weights)
        w = project(w - step_size * direction(gradient), recipe.radius)
        step_size *= recipe.decay
    return steps


def correlations(predicted: Array, actual: Array, members: Mask) -> tuple[Array, Array]:
    """Pearson's and Spearman's coefficients of each run over its records, [K] each, for changes [K, m].

    NaN where a run has fewer than three records, or one side does not vary.
    """
    found = np.full((2, len(members)), np.nan)
    for run, own in enumerate(members):
        if own.sum() >= _LEAST_RECORDS:
            told = correlation(predicted[run, own], actual[run, own])
            found[:, run] = told.pearson, told.spearman
    return found[0], found[1]
