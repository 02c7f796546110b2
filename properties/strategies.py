"""Hypothesis strategies: problems of the kinds that a method accepts."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod, ChecksTask

from .problems import GEOMETRIES, MODELS, REQUESTS, Descent, Model, Problem, Recipe

Kind = tuple[Model, Recipe]

RECIPES: tuple[Recipe, ...] = ("descent", "projected", "minimise")

LARGEST = 60, 8  # records and columns of linear problems; networks stay small

LINEAR: tuple[Model, ...] = ("ridge", "binary", "softmax")


def accepted_kinds(method: AnyMethod, models: Sequence[Model] = MODELS) -> list[Kind]:
    """Kinds of problems that the method can learn: what it refuses with PlanError is not for it."""
    return [(model, recipe) for model in models for recipe in RECIPES if _accepts(method, model, recipe)]


def smallest_descent(recipe: Recipe) -> Descent | None:
    """One epoch of a recipe; None for the minimiser."""
    return None if recipe == "minimise" else Descent(epochs=1, radius=1.0 if recipe == "projected" else None)


def _accepts(method: AnyMethod, model: Model, recipe: Recipe) -> bool:
    problem = Problem(model, descent=smallest_descent(recipe))
    task = problem.task()
    try:
        if isinstance(method, ChecksTask):
            method.check_task(task)
        method.learn(task, problem.members(), streams=problem.streams)
    except PlanError:
        return False
    except (Exception, SystemExit):  # noqa: BLE001  says nothing of the kind: the law meets it again
        return True
    return True


@st.composite
def descents(
    draw: st.DrawFn, rows: int, *, momentum: bool = False, network: bool = False, projected: bool = False
) -> Descent:
    """Recipes: batches that need not divide n, decaying steps, both divisors, steps up to 1.99/L; at most 24 steps."""
    batch_size = draw(st.integers(max(1, rows // 8), rows))
    steps = -(-rows // batch_size)
    return Descent(
        epochs=draw(st.integers(1, 2 if network else max(1, min(6, 24 // steps)))),
        batch_size=batch_size,
        stability=draw(st.floats(0.01, 0.3 if network else 1.99)),
        decay=draw(st.sampled_from([1.0, 0.995, 0.8])),
        momentum=draw(st.sampled_from([0.0, 0.0, 0.5, 0.9])) if momentum else 0.0,
        divisor=draw(st.sampled_from(["remaining", "fixed"])),
        radius=draw(st.sampled_from([0.1, 1.0, 10.0])) if projected else None,
    )


@st.composite
def problems(
    draw: st.DrawFn, kinds: Sequence[Kind], *, momentum: bool = False, largest_request: int | None = None
) -> Problem:
    """Problems of these kinds: all sizes down to the smallest, all geometries, requests from one record to all but one.

    Requests are drawn at random or against the method: the longest records, those with the largest gradients, whole
    classes, all copies of a record. Empty requests, of some replicas or all, are the law `empty_request`'s.

    Args:
        draw: given by Hypothesis.
        kinds: from `accepted_kinds`.
        momentum: whether recipes may have it.
        largest_request: most records to forget; n − 1 without it.
    """
    model, recipe = draw(st.sampled_from(list(kinds)))
    network = model == "network"
    rows = draw(st.integers(2, 10) if network else st.integers(2, 12) | st.integers(2, LARGEST[0]))
    most = rows - 1 if largest_request is None else min(rows - 1, largest_request)
    problem = Problem(
        model=model,
        rows=rows,
        columns=draw(st.integers(1, 3) if network else st.just(1) | st.integers(1, LARGEST[1])),
        regularisation=10.0 ** draw(st.floats(-3, 1)),
        norm=draw(st.sampled_from([1.0, 0.3, 3.0])),
        geometry=draw(st.sampled_from(GEOMETRIES)),
        request_size=draw(st.integers(1, most) | st.integers(1, most) | st.just(most)),
        replicas=draw(st.integers(1, 3)),
        seed=draw(st.just(0) | st.integers(0, 2**16) | st.integers(0, 2**16)),
        descent=None
        if recipe == "minimise"
        else draw(descents(rows, momentum=momentum, network=network, projected=recipe == "projected")),
        request_by=draw(st.sampled_from(REQUESTS)),
    )
    if problem.request_by == "label" and model != "ridge" and draw(st.booleans()):  # the whole class
        return replace(problem, request_size=min(problem.first_class, most))
    return problem


def in_single_precision(problem: Problem) -> Problem:
    """The same problem in float32, well enough conditioned for a solver to meet its tolerance."""
    return replace(problem, single_precision=True, regularisation=max(problem.regularisation, 0.1), norm=1.0)
