"""Training shared within a run: the same numbers, once; and nothing that is not the lent task's plain training."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learning import training
from learning.sharing import sharing
from properties.problems import Descent, Problem

PROBLEM = Problem("softmax", 12, 3, 0.1, 1.0, "round", 2, 3, 7, Descent(3, 5, 0.5))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many trainings were really run."""
    counted = []
    honest = training._run
    monkeypatch.setattr(training, "_run", lambda *a: counted.append(1) or honest(*a))
    return lambda: len(counted)


def test_the_same_training_is_run_once(tmp_path: Path, runs: Callable[[], int]) -> None:
    task, members = PROBLEM.task(), PROBLEM.members()
    alone = training.train(task, members, streams=PROBLEM.streams).parameters
    for _ in range(3):
        with sharing(tmp_path, task) as loan:
            learned = training.train(task, members, streams=PROBLEM.streams)
        assert torch.equal(learned.parameters, alone)
    assert runs() == 2 and loan.seconds_saved > 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_whatever_differs_is_trained(tmp_path: Path, runs: Callable[[], int]) -> None:
    task, members, streams = PROBLEM.task(), PROBLEM.members(), PROBLEM.streams
    fewer = members & ~PROBLEM.request()
    with sharing(tmp_path, task):
        training.train(task, members, streams=streams)
        training.train(task, fewer, streams=streams)
        training.train(task, members, streams=streams.child("other"))
        training.train(task, members[:2], streams=streams.select(streams.replicas[:2]))
        assert runs() == 4
        # a method that trains something else, be it equal by name, is not the audit's business
        changed = replace(task, recipe=replace(task.recipe, step_size=0.1))
        other = training.train(changed, members, streams=streams)
        training.train(replace(task), members, streams=streams)
        assert runs() == 6
    assert torch.equal(other.parameters, training.train(changed, members, streams=streams).parameters)


def test_nothing_is_shared_outside_or_without_a_folder(tmp_path: Path, runs: Callable[[], int]) -> None:
    task, members = PROBLEM.task(), PROBLEM.members()
    with sharing(tmp_path, task):
        training.train(task, members, streams=PROBLEM.streams)
    training.train(task, members, streams=PROBLEM.streams)
    for _ in range(2):
        with sharing(None, task):
            training.train(task, members, streams=PROBLEM.streams)
    assert runs() == 4


def test_another_task_of_the_same_name_is_trained(tmp_path: Path, runs: Callable[[], int]) -> None:
    for regularisation in (0.1, 0.2):
        task = replace(PROBLEM, regularisation=regularisation).task()
        with sharing(tmp_path, task):
            training.train(task, PROBLEM.members(), streams=PROBLEM.streams)
    assert runs() == 2
