"""Scores of runs, one number per run: those that choose, and those that are tested.

A run is one released model, and runs are the unit of independence. What a bound relies on (an event, a direction, an
orientation) is chosen on `SelectionRuns`; bounds take `TestRuns`. They are different types, so that scores which chose
an event cannot be used to test it.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unlearning.errors import BadScores
from unlearning.streams import Streams

Array = NDArray[np.float64]

_WHOLE = 2**53  # up to here float64 holds every integer


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """Scores [n] of released models and [m] of reference models, finite, at least one each.

    Raises:
        BadScores: an array is not one-dimensional, empty, or holds a value that is not finite.
    """

    released: Array
    reference: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "released", checked_scores("released", self.released))
        object.__setattr__(self, "reference", checked_scores("reference", self.reference))

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of runs (n, m)."""
        return self.released.size, self.reference.size

    def flipped(self) -> Self:
        """The same runs with every score negated."""
        return type(self)(-self.released, -self.reference)


class SelectionRuns(_Runs):
    """Runs that choose what is measured; no bound takes them."""

    __slots__ = ()


class TestRuns(_Runs):
    """Runs that bounds are computed from; nothing may be chosen on them."""

    __test__: ClassVar[bool] = False  # not a pytest class
    __slots__ = ()


def checked_scores(name: str, scores: ArrayLike) -> Array:
    """Scores as float64 [n].

    >>> checked_scores("released", [1, 2]).tolist()
    [1.0, 2.0]
    >>> checked_scores("released", [1.0, float("nan")])
    Traceback (most recent call last):
    unlearning.errors.BadScores: released must hold finite scores, got nan at position 1.

    Raises:
        BadScores: they are no numbers, not one-dimensional, none at all, not all finite, or integers that float64 does
            not hold.
    """
    try:
        array = np.asarray(scores)
    except ValueError as error:  # ragged
        raise BadScores(f"{name} must hold one score per run, shape [n], got rows of different lengths.") from error
    if array.dtype.kind not in "fiub":
        raise BadScores(f"{name} must hold real numbers, got {array.dtype}.")
    if array.ndim != 1:
        raise BadScores(
            f"{name} must hold one score per run, shape [n], got shape {list(array.shape)}. Flatten it where "
            "every number is a run of its own; where a run has several, average them."
        )
    values = np.ascontiguousarray(array, dtype=np.float64)
    if values.size == 0:
        raise BadScores(f"{name} must hold at least one run, got none.")
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        raise BadScores(f"{name} must hold finite scores, got {values[first]} at position {first}.")
    if array.dtype.kind in "iu":
        _refuse_lossy(name, array, values)
    return values


def holds(written: int) -> bool:
    """Whether float64 holds an integer exactly.

    >>> holds(2**53), holds(2**53 + 1)
    (True, False)
    """
    return abs(written) <= _WHOLE or int(float(written)) == written


def _refuse_lossy(name: str, integers: NDArray[np.integer], values: Array) -> None:
    for place in np.flatnonzero(np.abs(values) >= _WHOLE):
        if not holds(int(integers[place])):
            raise BadScores(
                f"{name} must hold integers that float64 holds exactly, got {integers[place]} at position {place}. "
                "Subtract one number from all scores."
            )


def check_test_runs(runs: object) -> None:
    """Refuse whatever is not meant for testing.

    Raises:
        TypeError: the runs are no `TestRuns`; those that chose an event cannot test it.
    """
    if not isinstance(runs, TestRuns):
        raise TypeError(
            f"a bound must be given TestRuns, got {type(runs).__name__}: runs that chose what is measured cannot test "
            "it."
        )


def shuffled(scores: ArrayLike, streams: Streams) -> Array:
    """Scores [n] in an order drawn from the seed and the scores themselves, so that no bound sees how they were sorted.

    Every arm has a stream of its own, named by its numbers and not by its side: exchanged arms get the same orders.

    Args:
        scores: [n].
        streams: of one replica.

    Raises:
        BadScores: bad scores.
    """
    values = checked_scores("scores", scores) + 0.0  # no negative zeros
    numbers = hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()
    return values[streams.child("scores", int(numbers, 16)).generator("order", 0).permutation(values.size)]


def split(released: ArrayLike, reference: ArrayLike, share: float, streams: Streams) -> tuple[SelectionRuns, TestRuns]:
    """Divide runs at random into those that choose and those that are tested.

    The first of the `shuffled` runs of each arm choose, so that the division is valid whatever the order they came in.

    Args:
        released: scores [n].
        reference: scores [m].
        share: of the runs that choose, in (0, 1).
        streams: of the division, one replica.

    Raises:
        BadScores: there are too few runs to divide, or bad ones.
        ValueError: the share is outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1), got {share}.")
    chosen, tested = [], []
    for name, scores in (("released", released), ("reference", reference)):
        values = checked_scores(name, scores)
        if values.size < 2:
            raise BadScores(f"{name} must hold at least 2 runs to divide them, got {values.size}.")
        order = shuffled(values, streams)
        cut = min(max(1, round(share * values.size)), values.size - 1)
        chosen.append(order[:cut])
        tested.append(order[cut:])
    return SelectionRuns(*chosen), TestRuns(*tested)
