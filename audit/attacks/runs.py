"""What an adversary sees: outputs of models on candidates, of shadow runs and of target runs, as different types.

The game of every run: of m candidates, a drawn set S is learned with the rest R and then forgotten; the others are
never learned. "original" is A(R ∪ S), "unlearned" U(A(R ∪ S), S), "retrained" A(R): all as released, with noise. The
adversary must tell S from the other candidates. As S is drawn uniformly among the sets of its size, a model that does
not depend on S, such as a retrained one, tells nothing: every attack has mean AUC ½ on it, whatever the records are.

"first" is the original as released before the request, with noise of its own: what an adversary who kept it holds
besides the attacked model. It depends on S, and so does every pair with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import BadScores

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
MODELS = ("unlearned", "original", "retrained")  # what is attacked
FIRST = "first"


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """Outputs in K runs.

    Attributes:
        names: one per run: two runs of one name are one run.
        members: who was forgotten, [K, m]: learned and then unlearned. The others were never learned.
        labels: classes of the candidates, integers [m].
        logits: of every kind of model on the candidates, [K, m, c], float64.
        population: the same on public records that no model of any run has seen, [K, z, c].
        population_labels: their classes, integers [z].
    """

    names: tuple[str, ...]
    members: Mask
    labels: NDArray[np.int64]
    logits: dict[str, Array]
    population: dict[str, Array]
    population_labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check the fields against each other.

        Raises:
            BadScores: shapes that do not fit, a run without a forgotten or without another candidate, a name twice,
                labels that are no classes, or an output that is not finite.
        """
        if self.members.ndim != 2 or self.members.dtype != np.bool_ or not self.members.size:
            raise BadScores(f"members must be a boolean mask [K, m], got shape {list(self.members.shape)}.")
        runs, candidates = self.members.shape
        if len(self.names) != runs or len(set(self.names)) != runs:
            raise BadScores(f"names must be {runs} different ones, one per run, got {len(set(self.names))}.")
        if not self.members.any(1).all() or self.members.all(1).any():
            raise BadScores("members must hold a forgotten and another candidate in every run, got a run without one.")
        if set(self.population) != set(self.logits) or not self.logits:
            raise BadScores("population must have outputs of the same kinds of models as logits, at least one.")
        for name, labels, outputs in (
            ("logits", self.labels, self.logits),
            ("population", self.population_labels, self.population),
        ):
            for model, z in outputs.items():
                if z.ndim != 3 or z.shape[:2] != (runs, len(labels)) or z.shape[2] < 2:
                    raise BadScores(
                        f"{name} of {model} models must have shape [{runs}, {len(labels)}, classes >= 2], got "
                        f"{list(z.shape)}. One label per record, in the order of the records."
                    )
                if not np.isfinite(z).all():
                    raise BadScores(f"{name} of {model} models must be finite.")
                if len(labels) and not (0 <= labels.min() and labels.max() < z.shape[2]):
                    raise BadScores(f"labels must be 0 … {z.shape[2] - 1}, got {labels.min()} … {labels.max()}.")
        if len(self.labels) != candidates:
            raise BadScores(f"labels must be {candidates}, one per candidate, got {len(self.labels)}.")

    def __len__(self) -> int:
        """Return the number of runs K."""
        return len(self.names)

    def of(self, model: str) -> Array:
        """Logits of a kind of model on the candidates, [K, m, c].

        Raises:
            BadScores: there are none.
        """
        if model not in self.logits:
            raise BadScores(f"model must be among {', '.join(self.logits)}, got {model!r}.")
        return self.logits[model]

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Runs in these rows."""
        return type(self)(*_rows(self, rows))

    @classmethod
    def concatenate(cls, parts: "list[Self]") -> Self:
        """Runs of all chunks, in the order of the chunks."""
        first = parts[0]
        return cls(
            tuple(name for part in parts for name in part.names),
            np.concatenate([part.members for part in parts]),
            first.labels,
            {model: np.concatenate([part.logits[model] for part in parts]) for model in first.logits},
            {model: np.concatenate([part.population[model] for part in parts]) for model in first.population},
            first.population_labels,
        )


class FitRuns(_Runs):
    """Shadow runs: an attack learns from them, and is never scored on them."""

    __slots__ = ()


class ScoreRuns(_Runs):
    """Runs that are attacked."""

    __slots__ = ()


_Fields = tuple[tuple[str, ...], Mask, NDArray[np.int64], dict[str, Array], dict[str, Array], NDArray[np.int64]]


def _rows(runs: _Runs, rows: NDArray[np.int64]) -> _Fields:
    return (
        tuple(runs.names[row] for row in rows),
        runs.members[rows],
        runs.labels,
        {model: z[rows] for model, z in runs.logits.items()},
        {model: z[rows] for model, z in runs.population.items()},
        runs.population_labels,
    )


def held_out(runs: FitRuns, folds: int) -> Iterator[tuple[FitRuns, ScoreRuns, NDArray[np.int64]]]:
    """Divide shadow runs: of each fold, the others to fit on, its own to score, and which rows these are.

    Runs are dealt to the folds in their order.
    """
    turns = np.arange(len(runs)) % folds
    for fold in range(folds):
        rows = np.flatnonzero(turns == fold)
        yield runs.take(np.flatnonzero(turns != fold)), ScoreRuns(*_rows(runs, rows)), rows
