"""The schedule is what training does, without training."""

import numpy as np
import pytest

from learning.schedule import schedule
from learning.training import sgd_steps
from properties.problems import Descent, Problem


@pytest.mark.parametrize(("rows", "batch"), [(7, 3), (6, 6), (5, 1), (8, 4)])
def test_schedule_is_the_loops(rows: int, batch: int) -> None:
    problem = Problem("binary", rows, 2, 0.1, replicas=3, seed=4, descent=Descent(3, batch, 0.5, 0.9))
    task, members = problem.task(), ~problem.request()
    plan = schedule(task, problem.streams)
    turns, counts = plan.turns(), plan.counts(members.numpy())
    steps = list(sgd_steps(task, members, streams=problem.streams))
    assert plan.steps == len(steps)
    for step in steps:
        assert np.array_equal(plan.rows(step.index), step.rows.numpy())
        assert plan.step_sizes[step.index] == step.step_size and plan.sizes()[step.index] == step.rows.shape[1]
        assert np.array_equal(counts[:, step.index], step.member.sum(1).numpy())
        epoch = step.index // plan.steps_per_epoch
        for replica, records in enumerate(step.rows.tolist()):
            assert set(turns[replica, epoch, records]) == {step.index}


def test_first_seen_is_the_first_epochs_order() -> None:
    problem = Problem("binary", 6, 2, replicas=2, seed=1, descent=Descent(2, 4))
    plan = schedule(problem.task(), problem.streams)
    chosen = np.array([True, False, True, True, False, False])
    for replica, ids in enumerate(plan.first_seen(chosen)):
        assert [r for r in plan.orders[0][replica] if chosen[r]] == ids.tolist()


def test_minimisers_have_none() -> None:
    with pytest.raises(TypeError, match="recipe must be SGD or Adam"):
        schedule(Problem("binary").task(), Problem("binary").streams)
