"""What an attack is: fitted on shadow runs, it gives every candidate of a target run a score."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from .runs import FIRST, Array, FitRuns, ScoreRuns, held_out

Family = Literal["MIA-L", "MIA-U", "U-LiRA"]
FOLDS = 4
_PAIR_FOLDS = 2  # of attacks on both versions, whose fits are dear


class Fitted(Protocol):
    """A fitted attack."""

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Score every candidate of every run, [K, m]: larger where the attack says "forgotten" or "member".

        A score of a run depends on that run's outputs alone, and not on who was forgotten in it.
        """


class Attack(Protocol):
    """A membership attack, before it has seen anything."""

    @property
    def key(self) -> str:
        """Name in plans."""

    @property
    def title(self) -> str:
        """Name for people."""

    @property
    def family(self) -> Family:
        """Which question it asks: MIA-L of one model, MIA-U of both versions, U-LiRA of one record."""

    @property
    def source(self) -> str:
        """Paper and equation."""

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Fitted:
        """Learn from shadow runs how to attack models of a kind.

        Attacks of the family MIA-L learn from original models whatever they will attack.

        Raises:
            TypeError: the runs are not shadow runs.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Guarded:
    """A fitted attack that refuses to score what it was fitted on, and sees of a run what an adversary sees.

    That is the outputs of the model it attacks, and for MIA-U those of the first release; never who was forgotten.

    Attributes:
        attack: the fitted one.
        family: of the attack.
        seen: names of the runs it was fitted on.
    """

    attack: Fitted
    family: Family
    seen: frozenset[str]

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Scores of target runs, finite, [K, m].

        Raises:
            TypeError: the runs are no target runs.
            ValueError: a run was fitted on, or the attack gives scores of another shape, or some that are not finite.
        """
        if not isinstance(runs, ScoreRuns):
            raise TypeError(f"an attack must score ScoreRuns, got {type(runs).__name__}: it has learned from those.")
        if known := self.seen.intersection(runs.names):
            raise ValueError(f"an attack must be scored on runs it was not fitted on, got {min(known)!r}.")
        found = np.asarray(self.attack.scores(self._view(runs, model), model), dtype=np.float64)
        if found.shape != runs.members.shape:
            raise ValueError(
                f"scores must be one per run and candidate, shape {list(runs.members.shape)}, got {list(found.shape)}."
            )
        if not np.isfinite(found).all():
            bad = found.size - int(np.isfinite(found).sum())
            raise ValueError(f"scores must be finite, got {bad} of {found.size} that are infinite or no numbers.")
        return found

    def _view(self, runs: ScoreRuns, model: str) -> ScoreRuns:
        """The runs with the forgotten candidates hidden: the first ones, as many as there are, in their place."""
        hidden = np.arange(runs.members.shape[1]) < runs.members.sum(1, keepdims=True)
        kinds = {model, FIRST} & set(runs.logits) if self.family == "MIA-U" else {model}
        return replace(
            runs,
            members=hidden,
            logits={kind: runs.of(kind) for kind in sorted(kinds)},
            population={kind: runs.population[kind] for kind in sorted(kinds)},
        )


def fit_attack(attack: Attack, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Guarded:
    """Fit an attack on shadow runs.

    Raises:
        TypeError: the runs are not shadow runs, or what the attack gives cannot score.
    """
    if not isinstance(runs, FitRuns):
        raise TypeError(f"an attack must be fitted on FitRuns, got {type(runs).__name__}.")
    fitted = attack.fit(runs, model, generator=generator)
    if not callable(getattr(fitted, "scores", None)):
        raise TypeError(
            f"fit of {attack.key} must return an object with scores(runs, model), got {type(fitted).__name__}."
        )
    return Guarded(fitted, attack.family, frozenset(runs.names))


def out_of_fold(attack: Attack, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Array:
    """Scores of shadow runs, [S, m], each by an attack that was fitted on the runs of the other folds.

    For choosing a threshold and for stating power, never for a result: fits of other folds have seen these runs.
    """
    found = np.empty(runs.members.shape)
    folds = _PAIR_FOLDS if attack.family == "MIA-U" else FOLDS
    for others, own, rows in held_out(runs, min(folds, len(runs))):
        found[rows] = fit_attack(attack, others, model, generator=generator).scores(own, model)
    return found
