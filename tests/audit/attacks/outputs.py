"""Runs of the attacks' game with outputs that are drawn, not trained: the truth is known."""

import numpy as np
from numpy.typing import NDArray

from audit.attacks.runs import FitRuns, ScoreRuns


def members(rng: np.random.Generator, runs: int, candidates: int, forgotten: int) -> NDArray[np.bool_]:
    """Sets of one size, drawn uniformly."""
    return rng.random((runs, candidates)).argsort(1).argsort(1) < forgotten


def drawn_runs(
    kind: type[FitRuns] | type[ScoreRuns],
    seed: int,
    runs: int,
    *,
    candidates: int = 10,
    forgotten: int = 5,
    leak: float = 0.0,
    original: float = 2.0,
    spread: float = 1.0,
    public: int = 20,
) -> FitRuns | ScoreRuns:
    """Two classes: φ of a record is its own mean + N(0, 1), and larger by `leak` (`original`) where it was learned.

    Retrained models leak nothing. Means of the records are the same for every seed.
    """
    rng = np.random.default_rng(seed)
    own = spread * np.random.default_rng(99).standard_normal(candidates)
    who = members(rng, runs, candidates, forgotten)
    shifts = {"unlearned": leak, "original": original, "retrained": 0.0, "first": original}
    labels = np.arange(candidates) % 2
    logits = {m: two_classes(own + s * who + rng.standard_normal(who.shape), labels) for m, s in shifts.items()}
    outside = np.arange(public) % 2
    population = {m: two_classes(rng.standard_normal((runs, public)), outside) for m in shifts}
    names = tuple(f"{kind.__name__}/{seed}/{k}" for k in range(runs))
    return kind(names, who, labels, logits, population, outside)


def two_classes(phi: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logits [K, m, 2] whose confidence in the label is φ."""
    z = np.zeros((*phi.shape, 2))
    z[:, np.arange(len(labels)), labels] = phi
    return z
