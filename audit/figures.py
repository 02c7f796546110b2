"""What a report draws and what is kept beside the record: curves, histograms, arrays, accuracies of one row."""

import numpy as np
import torch

from unlearning.record import Accuracy, Histogram, TradeOffCurve

from .controls import HONEST
from .curves import tradeoff_curve
from .fleet import Array, Subject
from .scores import ChunkReleases, Scores
from .sensitivity_rung import Measured

ACCURACY_REPLICAS = 50


def right_answers(subject: Subject, releases: ChunkReleases, replicas: int) -> dict[str, Array]:
    """Accuracy of each of the first replicas on the forget set, the retain set and the holdout, [K, 3], by model."""
    task = subject.task
    forget = subject.request(1)[0]
    features, labels = task.features(), task.labels()
    holdout = task.dataset.holdout_features.to(task.device, task.dtype)
    holdout_labels = task.dataset.holdout_labels.to(task.device)
    models = {name: releases.shared[name] for name in ("original", "retrained", "unlearned")}
    found = {}
    for name, parameters in (models | {"released": releases.released[HONEST.name]}).items():
        w = torch.from_numpy(parameters[:replicas]).to(task.device, task.dtype)
        right = task.objective.predict(w, features) == labels
        outside = task.objective.predict(w, holdout) == holdout_labels
        shares = [part.double().mean(1) for part in (right[:, forget], right[:, ~forget], outside)]
        found[name] = torch.stack(shares, 1).cpu().numpy()
    return found


def accuracies(parts: list[dict[str, Array]]) -> list[Accuracy]:
    """Means over the replicas of all chunks."""
    return [
        Accuracy(model=name, **dict(zip(("forget", "retain", "holdout"), map(float, mean), strict=True)))
        for name in parts[0]
        for mean in [np.concatenate([part[name] for part in parts]).mean(0)]
    ]


def curves(scores: dict[str, Scores]) -> list[TradeOffCurve]:
    """Trade-off of the paired projection for the method and for doing nothing."""
    described = "u·(released − retrained of the same seed)/σ, direction u chosen on selection runs"
    return [
        tradeoff_curve(label, scores[name].projection_released, scores[name].projection_reference, described)
        for label, name in (("unlearned", HONEST.name), ("doing nothing", "no-op"))
    ]


def histograms(scores: Scores) -> list[Histogram]:
    """Paired projections of the unlearned and of the retrained runs."""
    return histograms_of(scores.projection_released, scores.projection_reference)


def histograms_of(released: Array, reference: Array, score: str | None = None) -> list[Histogram]:
    """Histograms of a score of the unlearned and of the retrained runs, over the same bins."""
    edges = np.histogram_bin_edges(np.concatenate([released, reference]), bins=30)
    return [
        Histogram(label=label, edges=edges.tolist(), counts=np.histogram(values, edges)[0].tolist(), score=score)
        for label, values in (("unlearned", released), ("retrained", reference))
    ]


def arrays(measured: Measured, honest: Scores | None, noop: Scores | None) -> dict[str, tuple[Array, str]]:
    """The arrays from which every line can be computed again, with their meaning; no scores without rung C."""
    found = {
        "distance_unlearned": (measured.unlearned, "‖unlearned − reference‖ per test run, before noise"),
        "distance_original": (measured.original, "‖original − reference‖ per test run, before noise"),
    }
    if honest is not None and noop is not None:
        found |= _score_arrays(honest, noop)
    if measured.sensitivity_upper is not None:
        found["sensitivity_upper"] = (measured.sensitivity_upper, "certified Δ per test run")
    return found


def _score_arrays(honest: Scores, noop: Scores) -> dict[str, tuple[Array, str]]:
    return {
        "projection_released": (honest.projection_released, "paired projection score of the unlearned runs"),
        "projection_reference": (honest.projection_reference, "paired projection score of the retrained runs"),
        "radius_released": (honest.radius_released, "paired radius score of the unlearned runs"),
        "radius_reference": (honest.radius_reference, "paired radius score of the retrained runs"),
        "independent_released": (honest.independent_released, "independent score of the unlearned runs"),
        "independent_reference": (honest.independent_reference, "independent score of the retrained runs"),
        "noop_projection_released": (noop.projection_released, "paired projection score of doing nothing"),
        "noop_projection_reference": (noop.projection_reference, "paired projection score of the retrained runs"),
    }
