"""The Newton step against dense autograd, its closed form on least squares, and its three bounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from properties.base import distances
from properties.problems import Problem
from tests.broken.bounds import Understated, WrongPower
from unlearning.errors import PlanError

from .minimisers import minimiser_problems, ratio
from .oracles import gradient, hessian, newton_minimiser

NEWTON = NewtonStep()
BOUNDS = ("published", "error", "a-posteriori")


@pytest.mark.parametrize("model", ["binary", "softmax", "ridge"])
def test_naive_oracle(model: str) -> None:
    problem = Problem(model, 9, 2, 0.05, 1.0, "round", 3, 2, 1)
    task, request = problem.task(), problem.request()
    learned = NEWTON.learn(task, problem.members(), streams=problem.streams)
    unlearned = NEWTON.unlearn(learned, request, streams=problem.streams)
    w = newton_minimiser(task, list(range(9)))
    torch.testing.assert_close(learned.parameters[0], w, rtol=0, atol=1e-8)
    for replica in range(2):
        removed = request[replica].nonzero().flatten().tolist()
        kept = (~request[replica]).nonzero().flatten().tolist()
        h = sum(hessian(task, learned.parameters[replica], i) for i in kept) / len(kept)
        g = sum(gradient(task, learned.parameters[replica], i) for i in removed)
        expected = learned.parameters[replica] + torch.linalg.solve(h, g) / len(kept)
        torch.testing.assert_close(unlearned.parameters[replica], expected, rtol=1e-10, atol=1e-12)


def test_least_squares_in_closed_form() -> None:
    problem = Problem("ridge", 20, 4, 0.01, 2.0, "flat", 7, 2, 2)
    task, request = problem.task(), problem.request()
    state = NEWTON.learn(task, problem.members(), streams=problem.streams)
    unlearned = NEWTON.unlearn(state, request, streams=problem.streams)
    for replica in range(2):
        kept = ~request[replica]
        x, y = task.features()[kept].numpy(), task.labels()[kept].numpy()
        exact = np.linalg.solve(x.T @ x / len(x) + 0.01 * np.eye(4), x.T @ y / len(x))
        np.testing.assert_allclose(
            unlearned.parameters[replica].numpy(), exact, atol=1e-7
        )  # 1e-10 / λ, (n/(n−m)) times


@pytest.mark.parametrize("tolerance", [1e-10, 1e-4, 1e-1])
@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_hold(bound: str, tolerance: float) -> None:
    found = [ratio(problem, NewtonStep(bound), tolerance) for problem in minimiser_problems(72, 2021)]
    print(f"{bound}, tolerance {tolerance:g}: largest distance / bound {max(found):.4f}")
    assert max(found) <= 1


def test_error_bound_is_within_a_factor_of_three() -> None:
    problem = Problem("softmax", 40, 4, 9.0, 0.3, "aligned", 13, 2, 2, request_by="label")
    assert 0.4 < ratio(problem, NEWTON, 1e-10) < 1
    assert ratio(problem, Understated(NEWTON, 0.4), 1e-10) > 1
    assert ratio(problem, WrongPower(NEWTON), 1e-10) > 1


def test_published_bound_in_closed_form() -> None:
    problem = Problem("binary", 10, 2, 0.5, 1.0, "round", 4, 1, 3)
    task, request = problem.task(), problem.request()
    state = NewtonStep("published").learn(task, problem.members(), streams=problem.streams)
    state = NewtonStep("published").unlearn(state, request, streams=problem.streams)
    constants = task.constants
    exact = 2 * constants.hessian_lipschitz_upper * constants.gradient_bound_upper**2 * 16 / (0.5**3 * 100)
    assert state.error_upper[0] == pytest.approx(exact, rel=1e-7) and state.error_upper[0] >= exact
    assert NEWTON.prior_sensitivity_upper(task, 4) == state.error_upper[0]


def test_published_bound_does_not_cover_a_second_deletion() -> None:
    # removing one class and then one record: the second lemma alone is 2 to 20 times below the distance
    problem = Problem("softmax", 40, 4, 9.0, 0.3, "aligned", 13, 1, 2, request_by="label")
    method, request = NewtonStep("published"), problem.request()
    first = request & (request.cumsum(1) < 13)
    learned = method.learn(problem.task(), problem.members(), streams=problem.streams)
    half = method.unlearn(learned, first, streams=problem.streams)
    done = method.unlearn(half, request & ~first, streams=problem.streams)
    retrained = method.learn(problem.task(), ~request, streams=problem.streams)
    alone = method.unlearn(
        method.learn(problem.task(), ~first, streams=problem.streams), request & ~first, streams=problem.streams
    )
    assert float(distances(done.parameters, retrained.parameters)) > 1.5 * alone.error_upper[0]
    assert done.error_upper == (float("inf"),)


def test_without_constants_there_is_no_certificate_and_states_can_be_taken() -> None:
    problem = Problem("binary", 6, 2, 0.1, 1.0, "round", 2, 3, 1)
    task = problem.task()
    task = replace(task, dataset=replace(task.dataset, norm_upper=None))
    state = NEWTON.learn(task, problem.members(), streams=problem.streams)
    state = NEWTON.unlearn(state, problem.request(), streams=problem.streams)
    assert NEWTON.certify(state, problem.request()) is None
    assert torch.equal(state.take([2, 2]).parameters, state.parameters[[2, 2]])
    with pytest.raises(PlanError, match='budget = "prior" needs proved constants'):
        NEWTON.prior_sensitivity_upper(task, 1)


def test_other_recipes_are_refused_by_name() -> None:
    from properties.problems import Descent

    with pytest.raises(PlanError, match='newton needs recipe.kind = "minimise"'):
        NEWTON.check_task(Problem("binary", descent=Descent()).task())
    with pytest.raises(ValueError, match="bound must be"):
        NewtonStep("tight")


def test_retraining_is_retraining() -> None:
    problem = Problem("binary", 8, 2, 0.1, 1.0, "round", 3, 2, 1)
    method = Retrain()
    state = method.learn(problem.task(), problem.members(), streams=problem.streams)
    after = method.unlearn(state, problem.request(), streams=problem.streams)
    assert torch.equal(
        after.parameters, method.learn(problem.task(), ~problem.request(), streams=problem.streams).parameters
    )
    assert method.certify(after, problem.request()).sensitivity_upper == (0.0, 0.0)
