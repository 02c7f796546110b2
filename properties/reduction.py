"""A smaller problem that breaks the same law, which a person can follow.

Hypothesis shrinks what it has drawn; a fixed example that breaks a law it reports as it is, all forty records.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from unlearning.errors import PlanError

from .base import RAISED, LawBroken
from .problems import Problem

_ALLOWED = "sensitivity_upper", "reported bound", "allowed"  # names under which laws tell what a distance may be
_CLEAR = 2.0  # a breach by more than this factor must not end as one by less, which would look like rounding
_MOST_TRIES = 200
_SEEDS = 4  # a problem of another size has other records: some seeds are tried


def reduced(broken: LawBroken, attempt: Callable[[Problem], object]) -> LawBroken:
    """The breach on the smallest problem that greedy steps lead to; the breach itself where there is no smaller one.

    Args:
        broken: what a law found.
        attempt: tries the law on a problem, and raises `LawBroken`, or `PlanError` where the method refuses it.
    """
    tries = 0
    shrinking = True
    while shrinking:
        shrinking = False
        for problem in _simpler(broken.problem):
            tries += 1
            if tries > _MOST_TRIES:
                return broken
            found = _breach(attempt, problem)
            if found is not None and _as_clear(found, broken):
                broken, shrinking = found, True
                break
    return broken


def _as_clear(found: LawBroken, before: LawBroken) -> bool:
    """Whether a breach is of the same kind as another, and as plain to see."""
    # no other breach is traded for an error
    same = found.finding.startswith(RAISED) == before.finding.startswith(RAISED)
    return same and _factor(found) >= min(_factor(before), _CLEAR)


def _factor(broken: LawBroken) -> float:
    """How often a measured distance holds what is allowed, or rounding where that is more; ∞ for other measures."""
    measured = broken.measured
    distance = measured.get("distance", measured.get("apart"))
    allowed = next((measured[name] for name in _ALLOWED if name in measured), None)
    if distance is None or allowed is None:
        return math.inf
    least = max(allowed, measured.get("rounding slack", 0.0))
    return distance / least if least else math.inf


def _breach(attempt: Callable[[Problem], object], problem: Problem) -> LawBroken | None:
    try:
        attempt(problem)
    except LawBroken as found:
        return found if found.problem == problem else None  # some laws change the problem before they try it
    except PlanError:
        return None
    return None


def _simpler(problem: Problem) -> Iterator[Problem]:
    """Problems that differ in one respect, the boldest steps first; those of another size with some seeds."""
    for changed in (
        *_less(problem, "replicas", 1),
        *_less(problem, "rows", 2),
        *_less(problem, "request_size", 1),
        *_less(problem, "columns", 1),
    ):
        for seed in dict.fromkeys((problem.seed, *range(_SEEDS))):
            yield replace(changed, seed=seed)
    plain: dict[str, Any] = {"geometry": "round", "request_by": "chance", "norm": 1.0, "regularisation": 1.0}
    yield from _plainer(problem, plain)
    if problem.descent is not None:
        simple: dict[str, Any] = {"epochs": 1, "batch_size": problem.rows, "decay": 1.0, "momentum": 0.0}
        if problem.model != "network":
            simple["stability"] = 1.0
        for descent in _plainer(problem.descent, simple):
            yield replace(problem, descent=descent)


def _less(problem: Problem, field: str, least: int) -> Iterator[Problem]:
    value = getattr(problem, field)
    for smaller in dict.fromkeys((least, value // 2, value - 1)):
        if least <= smaller < value:
            changed = replace(problem, **{field: smaller})
            if changed.descent is not None:
                batch_size = min(changed.descent.batch_size, changed.rows)
                changed = replace(changed, descent=replace(changed.descent, batch_size=batch_size))
            yield replace(changed, request_size=min(changed.request_size, changed.rows - 1))


def _plainer(value: Any, plain: dict[str, Any]) -> Iterator[Any]:
    """The value with one field as in `plain`; settled fields come no more, so that the steps end."""
    for field, simple in plain.items():
        if getattr(value, field) != simple:
            yield replace(value, **{field: simple})
