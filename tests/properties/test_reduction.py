"""A breach on a large problem is a breach on a small one, of the same kind and as plain to see."""

from collections.abc import Callable

import pytest
from hypothesis import settings

from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from properties import LAWS, LawBroken
from properties.problems import Descent, Problem
from properties.reduction import reduced
from tests.broken.bounds import Understated
from tests.broken.conduct import MixesReplicas
from tests.broken.releases import Noise
from tests.broken.updates import NoOp
from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod

NEWTON = NewtonStep()
LARGE = Problem("softmax", 40, 4, 9.0, 0.3, "aligned", 13, 2, 2, request_by="label")


def attempt(law: str, method: AnyMethod) -> Callable[[Problem], object]:
    return lambda problem: LAWS[law].on(method, problem)


def breach(law: str, method: AnyMethod, problem: Problem) -> LawBroken:
    with pytest.raises(LawBroken) as caught:
        LAWS[law].on(method, problem)
    return caught.value


def test_doing_nothing_is_seen_on_two_records() -> None:
    method = NoOp(NEWTON)
    small = reduced(breach("sensitivity", method, LARGE), attempt("sensitivity", method))
    assert small.problem == Problem("softmax", 2, 1, 1.0, 1.0, "round", 1, 1, small.problem.seed)
    assert str(breach("sensitivity", method, small.problem)) == str(small)


def test_a_recipe_becomes_plain() -> None:
    method = NoOp(Retrain())
    problem = Problem("ridge", 9, 3, 0.3, 1.0, "flat", 4, 3, 5, Descent(3, 4, 0.7, 0.8, 0.5, "fixed"))
    small = reduced(breach("sensitivity", method, problem), attempt("sensitivity", method)).problem
    assert (small.rows, small.columns, small.replicas, small.request_size) == (2, 1, 1, 1)
    assert small.descent == Descent(1, 2, 1.0, 1.0, 0.0, "fixed")


def test_a_clear_breach_stays_clear() -> None:
    method = Understated(NEWTON, 1 / 5)
    large = breach("sensitivity", method, LARGE)
    small = reduced(large, attempt("sensitivity", method))
    assert small.problem.rows < LARGE.rows
    factor = small.measured["distance"] / small.measured["sensitivity_upper"]
    assert factor >= min(2, large.measured["distance"] / large.measured["sensitivity_upper"])


def test_a_clear_breach_of_nothing_allowed_does_not_end_at_rounding() -> None:
    """Δ = 0: any distance is infinitely often what is certified, and what is clear is told by the slack."""

    def found(problem: Problem) -> None:
        distance = 1.0 if problem.rows >= 9 else 1.5e-14
        measured = {"distance": distance, "sensitivity_upper": 0.0, "rounding slack": 1e-14}
        raise LawBroken("sensitivity", "too far", problem, measured)

    with pytest.raises(LawBroken) as caught:
        found(LARGE)
    small = reduced(caught.value, found)
    assert small.problem.rows == 9 and small.measured["distance"] == 1.0


def test_a_breach_is_not_traded_for_an_error() -> None:
    class RaisesOnFew(NoOp):
        def unlearn(self, state, request, *, streams):
            if request.shape[1] < 5:
                raise ZeroDivisionError("few")
            return super().unlearn(state, request, streams=streams)

    method = RaisesOnFew(NEWTON)
    small = reduced(breach("sensitivity", method, LARGE), attempt("sensitivity", method))
    assert small.problem.rows == 5 and "distance" in small.finding
    raised = breach("sensitivity", method, Problem("ridge", 4, 2, replicas=2))
    assert "ZeroDivisionError" in reduced(raised, attempt("sensitivity", method)).finding


def test_refused_problems_are_passed_over() -> None:
    class RefusesFew(NoOp):
        def learn(self, task, members, *, streams):
            if members.shape[1] < 8:
                raise PlanError("rows must be at least 8, got fewer.")
            return super().learn(task, members, streams=streams)

    method = RefusesFew(NEWTON)
    assert reduced(breach("sensitivity", method, LARGE), attempt("sensitivity", method)).problem.rows == 8


def test_a_law_reports_the_smaller_problem() -> None:
    settings.load_profile("ci")  # which shrinks
    with pytest.raises(LawBroken) as caught:
        LAWS["sensitivity"](NoOp(NEWTON))
    assert caught.value.problem.rows == 2


def test_laws_on_fixed_problems_are_left_alone() -> None:
    fixed = LAWS["release"].domain.examples
    settings.load_profile("ci")  # which shrinks
    with pytest.raises(LawBroken) as caught:
        LAWS["release"](Noise(NEWTON, 0.5))
    assert caught.value.problem in fixed


def test_a_law_that_changes_its_problem_comes_to_an_end() -> None:
    method = MixesReplicas(Retrain())
    found = breach("replicas_apart", method, Problem("ridge", 7, 2, 1.0, descent=Descent(2, 3)))
    assert found.problem.replicas == 3
    small = reduced(found, attempt("replicas_apart", method)).problem
    assert (small.rows, small.columns, small.replicas) == (2, 1, 3)
