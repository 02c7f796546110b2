"""Predicted against actual loss change, and the deletion capacity."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from learning.influence import Deletions, capacity, capacity_curve, correlation, influence, same_run
from learning.propagation import propagate_groups, propagate_records
from learning.task import SGD, Adam, Minimise
from learning.training import train
from learning.vectors import VectorStore
from methods.qiao2025hessianfree import HessianFree
from properties.problems import Descent, Problem
from tests.broken.twin import Twin
from tests.methods.oracles import descend, record_loss
from unlearning.errors import PlanError, ShapeMismatch
from unlearning.streams import Streams

PROBLEM = Problem("binary", 30, 3, 0.05, 2.0, "round", 3, 1, 6, Descent(6, 10, 0.9))


def with_holdout(problem: Problem):
    task = problem.task()
    other = replace(problem, seed=problem.seed + 1).task().dataset
    return replace(task, dataset=replace(task.dataset, holdout_features=other.features, holdout_labels=other.labels))


@pytest.mark.parametrize("divisor", ["remaining", "fixed"])
def test_naive_oracle(divisor: str) -> None:
    problem = replace(PROBLEM, rows=7, descent=Descent(2, 3, 0.9, 0.9, 0.0, divisor))
    task, records = problem.task(), [5, 0, 2]
    found = influence(task, records, streams=problem.streams)
    for index, record in enumerate(records):
        w, vector = descend(task, set(range(7)), problem.streams, frozenset([record]))
        without, _ = descend(task, set(range(7)) - {record}, problem.streams)
        before = float(record_loss(task, w, record))
        assert found.own.predicted[index] == pytest.approx(float(record_loss(task, w + vector, record)) - before)
        assert found.own.actual[index] == pytest.approx(float(record_loss(task, without, record)) - before)
    assert found.records == (5, 0, 2)


@pytest.mark.parametrize("first_order", [False, True])
def test_prediction_follows_retraining(first_order: bool) -> None:
    task = with_holdout(PROBLEM)
    found = influence(task, range(20), streams=PROBLEM.streams, first_order=first_order)
    for part in (found.own, found.holdout):
        assert part.pearson > 0.95 and part.spearman > 0.95, part
    assert all(change > 0 for change in found.own.actual)  # a record is fitted worse without itself


def test_shuffled_predictions_would_be_seen() -> None:
    task = with_holdout(PROBLEM)
    own = influence(task, range(20), streams=PROBLEM.streams).own
    shuffled = correlation(np.roll(own.predicted, 1), np.array(own.actual))
    assert abs(shuffled.pearson) < 0.9 and abs(shuffled.spearman) < 0.9


def test_networks_too() -> None:
    problem = Problem("network", 12, 2, 0.01, 2.0, "round", 1, 1, 2, Descent(5, 4, 0.3))
    found = influence(with_holdout(problem), range(12), streams=problem.streams)
    assert found.own.pearson > 0.9


def test_correlation_in_closed_form() -> None:
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array([-1.0, -2.0, -4.0])).spearman == pytest.approx(-1.0)
    assert correlation(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])).pearson == pytest.approx(0.0)
    assert math.isnan(correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])).pearson)


def test_same_run() -> None:
    task = PROBLEM.task()
    with pytest.raises(ValueError, match="streams must hold 1 replica, got 2"):
        same_run(replace(PROBLEM, replicas=2).streams, 3)
    many = same_run(PROBLEM.streams.child("x"), 3)
    assert len(many) == 3 and type(many.child("y")) is type(many)
    assert len({g.integers(2**60) for g in many.generators("order")}) == 1
    found = train(task, PROBLEM.members().expand(3, -1), streams=many).parameters
    torch.testing.assert_close(found[0], found[2], rtol=1e-14, atol=0)


@pytest.mark.parametrize("records", [[1], [3, 3], [0, 30], [-1, 2]])
def test_wrong_records(records: list[int]) -> None:
    with pytest.raises(PlanError, match="records must name two different records or more below 30"):
        influence(PROBLEM.task(), records, streams=PROBLEM.streams)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (SGD(2, 5, 0.1, radius=1.0), "no theorem for projected steps"),
        (Adam(2, 5, 0.1), 'needs recipe.kind = "sgd", got Adam'),
        (Minimise(), 'needs recipe.kind = "sgd", got exact minimiser'),
    ],
)
def test_other_recipes_are_refused(recipe: object, message: str) -> None:
    task, everyone = replace(PROBLEM.task(), recipe=recipe), PROBLEM.members()
    groups = torch.zeros(1, 1, 30, dtype=torch.bool)
    store = VectorStore.create(1, [1], task.objective.size, "float64", device=task.device)
    for call in (
        lambda: influence(task, [1, 2], streams=PROBLEM.streams),
        lambda: propagate_groups(task, everyone, groups, PROBLEM.streams),
        lambda: propagate_records(task, everyone, PROBLEM.streams, store, memory=2**20, norms=False),
    ):
        with pytest.raises(PlanError, match=message):
            call()


def test_wrong_types_and_shapes_are_refused_before_anything_runs() -> None:
    task, two = PROBLEM.task(), Streams(0, (0, 1))
    with pytest.raises(ValueError, match="records must be a list of record ids, whole numbers, got 3.0 among them"):
        influence(task, [3.0, 4.0], streams=PROBLEM.streams)
    with pytest.raises(ValueError, match="streams must hold 1 replica, got 2"):
        influence(task, [3, 4], streams=two)
    with pytest.raises(ValueError, match="streams must hold 1 replicas, got 2"):
        propagate_groups(task, PROBLEM.members(), torch.zeros(1, 1, 30, dtype=torch.bool), two)
    with pytest.raises(ShapeMismatch, match="groups"):
        propagate_groups(task, PROBLEM.members(), torch.zeros(1, 30, dtype=torch.bool), PROBLEM.streams)


def test_capacity_curve_is_the_methods_own_certificates() -> None:
    problem = replace(PROBLEM, rows=40, regularisation=0.5, norm=1.0, replicas=4)
    task, method = with_holdout(problem), HessianFree("all")
    curve = capacity_curve(method, task, [1, 4, 16], epsilon=1.0, delta=1e-5, streams=problem.streams)
    assert [point.size for point in curve] == [1, 4, 16]
    uppers = [point.sensitivity_upper for point in curve]
    assert uppers == sorted(uppers) and uppers[0] > 0
    for point in curve:
        assert point.noise_scale == pytest.approx(point.sensitivity_upper * 3.7306, rel=1e-4)
        assert 0 <= point.utility <= 1 and 0 <= point.retrained <= 1
    learned = method.learn(task, task.everyone(4), streams=problem.streams)
    orders = [g.permutation(40) for g in problem.streams.child("requests").generators("order")]
    request = torch.zeros_like(task.everyone(4))
    for k, order in enumerate(orders):
        request[k, order[:4]] = True
    state = method.unlearn(learned, request, streams=problem.streams)
    assert curve[1].sensitivity_upper == max(state.error_upper)


def test_capacity_reads_the_curve() -> None:
    curve = [Deletions(m, 1.0, 1.0, u, 0.9) for m, u in ((1, 0.9), (2, 0.88), (4, 0.7), (8, 0.89))]
    assert capacity(curve, utility_loss=0.05) == 2  # what recovers by luck does not count
    assert capacity(curve, utility_loss=0.3) == 8 and capacity(curve[2:], utility_loss=0.01) == 0


def test_capacity_needs_a_certificate_and_sizes() -> None:
    network = Problem("network", 6, 2, 0.1, replicas=2, descent=Descent())
    with pytest.raises(PlanError, match="capacity needs a certificate"):
        capacity_curve(HessianFree(), network.task(), [1], epsilon=1, delta=1e-5, streams=network.streams)
    with pytest.raises(PlanError, match="sizes must lie between 1 and 29"):
        capacity_curve(HessianFree(), PROBLEM.task(), [30], epsilon=1, delta=1e-5, streams=PROBLEM.streams)
    kinked = capacity_curve(
        HessianFree(bound="published"), Problem("ridge", 6, 2, 0.1, descent=Descent()).task(), [1], epsilon=1,
        delta=1e-5, streams=PROBLEM.streams,
    )  # fmt: skip
    assert kinked[0].noise_scale == math.inf and kinked[0].utility == 0.0


def test_capacity_pays_for_bounds_that_may_fail() -> None:
    class MayFail(Twin):
        def certify(self, state: object, request: torch.Tensor) -> object:
            return replace(self.method.certify(state, request), failure_probability=9e-6)

    problem = Problem("binary", 20, 2, 0.1, 1.0, "round", 2, 2, 5, Descent(2, 5, 1.0))
    arguments = {"epsilon": 1.0, "streams": problem.streams}
    honest = capacity_curve(HessianFree(), problem.task(), [1], delta=1e-6, **arguments)[0]
    paid = capacity_curve(MayFail(HessianFree()), problem.task(), [1], delta=1e-5, **arguments)[0]
    assert paid.noise_scale == pytest.approx(honest.noise_scale, rel=1e-6)
    with pytest.raises(PlanError, match="delta must be > 9e-06"):
        capacity_curve(MayFail(HessianFree()), problem.task(), [1], delta=9e-6, **arguments)
