"""Vectors of all records: chunks, chosen records, storage and a killed run change nothing but what they say."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from learning import propagation
from learning.networks import Network
from learning.propagation import chunk_rows, propagate_groups
from learning.recursion import Trace
from learning.task import Task
from methods.qiao2025hessianfree import HessianFree
from properties.base import distances
from properties.problems import Descent, Problem
from unlearning.errors import DamagedState, Diverged
from unlearning.streams import Streams

PROBLEMS = [
    Problem(model, 9, 2, 0.1, 1.0, "round", 3, replicas, 3, Descent(2, batch, 0.9, 0.9, momentum, divisor))
    for model, replicas, batch, momentum, divisor in [
        ("softmax", 2, 4, 0.0, "remaining"),
        ("binary", 3, 1, 0.0, "remaining"),
        ("ridge", 1, 9, 0.5, "fixed"),
        ("network", 2, 4, 0.0, "fixed"),
        ("network", 1, 2, 0.9, "remaining"),
    ]
]


def learned(problem: Problem, method: HessianFree, members: torch.Tensor | None = None):
    members = problem.members() if members is None else members
    return method.learn(problem.task(), members, streams=problem.streams)


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize("memory", [1, 3000, 2**30])
def test_chunks_change_nothing(problem: Problem, memory: int) -> None:
    members = ~problem.request()  # some records are in no training set
    reference = learned(problem, HessianFree("all"), members)
    found = learned(problem, HessianFree("all", memory=memory), members)
    torch.testing.assert_close(found.vectors.values, reference.vectors.values, rtol=1e-11, atol=1e-13)
    assert bool((found.vectors.values[~members] == 0).all())
    assert torch.equal(found.parameters, reference.parameters)
    if reference.norms is not None:
        for name in ("injection", "vector", "gradient"):
            first, second = getattr(found.norms, name), getattr(reference.norms, name)
            np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-13)
            assert not np.isnan(first).any()
    size = chunk_rows(problem.task(), problem.replicas, memory)
    assert size == 1 or size * problem.replicas * problem.task().objective.size * 8 * 6 <= memory


def test_norms_are_the_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    for few in (0, 1024):  # marks at epoch ends, or at every step
        monkeypatch.setattr(propagation, "_FEW", few)
        for problem in (PROBLEMS[0], replace(PROBLEMS[1], columns=1)):
            task, state = problem.task(), learned(problem, HessianFree("all"))
            steps = len(state.norms.step_sizes)
            assert (len(state.norms.marks) == steps) is (steps <= max(task.objective.size, few))
            for record in range(problem.rows):
                one = torch.zeros_like(problem.members())
                one[:, record] = True
                replay = propagate_groups(task, problem.members(), one.unsqueeze(1), problem.streams).trace
                norms = state.norms.trace(one.numpy(), "remaining")
                for name in ("step_sizes", "batch", "present", "removed", "gradient"):
                    np.testing.assert_allclose(getattr(norms, name), getattr(replay, name), rtol=1e-12, atol=1e-15)
                np.testing.assert_allclose(norms.injection, replay.injection, rtol=1e-9, atol=1e-12)
                at = state.norms.marks
                np.testing.assert_allclose(norms.vector[:, at], replay.vector[:, at], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_chosen_rows(problem: Problem) -> None:
    everything = learned(problem, HessianFree("all")).vectors
    some = learned(problem, HessianFree("all", rows=(7, 2, 3), memory=2000))
    torch.testing.assert_close(some.vectors.values, everything.values[:, [2, 3, 7]], rtol=1e-11, atol=1e-13)
    request = torch.zeros_like(problem.members())
    request[:, [2, 7]] = True
    after = HessianFree("all").unlearn(some, request, streams=problem.streams)
    whole = HessianFree().unlearn(learned(problem, HessianFree()), request, streams=problem.streams)
    torch.testing.assert_close(after.parameters, whole.parameters, rtol=1e-11, atol=1e-12)
    request[:, 0] = True
    with pytest.raises(ValueError, match="got record 0; 3 records have one"):
        HessianFree("all").unlearn(some, request, streams=problem.streams)


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_storage_adds_its_rounding_to_the_bound(storage: str) -> None:
    problem = replace(PROBLEMS[0], request_size=2)
    request, exact = problem.request(), HessianFree("all")
    state = exact.unlearn(learned(problem, exact), request, streams=problem.streams)
    few = HessianFree("all", storage=storage)
    rounded = few.unlearn(learned(problem, few), request, streams=problem.streams)
    apart = distances(state.parameters, rounded.parameters)
    extra = torch.tensor(rounded.error_upper, dtype=torch.float64) - torch.tensor(
        state.error_upper, dtype=torch.float64
    )
    assert bool((apart > 0).all()) and bool((apart <= extra * (1 + 1e-6)).all())
    names = {a.statement for a in few.certify(rounded, request).assumptions}
    assert "Δ holds the rounding of stored vectors" in names


def test_rounding_is_all_there_is_where_the_recursion_is_exact() -> None:
    # one full batch, one step, fixed divisor: first order is exact, Δ is the rounding, and so is the distance
    problem = Problem("binary", 5, 3, 0.1, 1.0, "round", 1, 2, 4, Descent(1, 5, 0.9, divisor="fixed"))
    request, method = problem.request(), HessianFree("all", storage="bfloat16")
    state = method.unlearn(learned(problem, method), request, streams=problem.streams)
    apart = distances(state.parameters, learned(problem, HessianFree(), ~request).parameters)
    upper = torch.tensor(state.error_upper, dtype=torch.float64)
    assert bool((apart > 1e-7).all()) and bool((apart <= upper * (1 + 1e-6)).all())
    assert float((apart / upper).max()) > 0.99
    without = upper - torch.from_numpy(state.vectors.rounding_upper(request.numpy()))  # the twin that leaves it out
    assert bool((apart > 1e3 * without).all())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from learning import checkpoint
from tests.learning.test_propagation import killed_problem, killed_method, learned
honest, count = checkpoint.write_arrays, 0
def write(path, arrays):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    honest(path, arrays)
checkpoint.write_arrays = write
learned(killed_problem(), killed_method({folder!r}))
"""


def killed_problem() -> Problem:
    return Problem("softmax", 12, 2, 0.1, 1.0, "round", 3, 2, 3, Descent(2, 5, 0.9))


def killed_method(folder: str | Path) -> HessianFree:
    return HessianFree("all", folder=folder, storage="bfloat16", memory=2 * 6 * 6 * 8 * 3)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[2])
    code = KILLED.format(root=root, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    runs = []
    honest = propagation.sgd_steps
    monkeypatch.setattr(propagation, "sgd_steps", lambda *a, **k: runs.append(1) or honest(*a, **k))
    problem = killed_problem()
    state = learned(problem, killed_method(tmp_path))
    assert len(runs) == 2  # four chunks, two were finished
    fresh = learned(problem, killed_method(tmp_path / "other"))
    assert torch.equal(state.vectors.values, fresh.vectors.values)
    assert np.array_equal(state.vectors.rounding, fresh.vectors.rounding)
    assert torch.equal(state.parameters, fresh.parameters)
    for name in ("injection", "vector", "gradient", "present"):
        assert np.array_equal(getattr(state.norms, name), getattr(fresh.norms, name))
    runs.clear()
    again = learned(problem, killed_method(tmp_path))
    assert runs == [] and torch.equal(again.parameters, fresh.parameters)
    other = learned(replace(problem, seed=4), killed_method(tmp_path))  # another run lies beside it
    assert len(runs) == 4 and not torch.equal(other.vectors.values, fresh.vectors.values)


@pytest.mark.parametrize("file", ["vectors.bin", "chunk-000000000"])
def test_a_damaged_file_is_named(file: str, tmp_path: Path) -> None:
    problem, method = killed_problem(), killed_method(tmp_path)
    learned(problem, method)
    (path,) = tmp_path.glob(f"*/{file}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedState, match=f"{file} is damaged"):
        learned(problem, method)
    path.write_bytes(data[:-1])
    with pytest.raises(DamagedState, match=file):
        learned(problem, method)


def small_net(activation: str = "tanh", shift: float = 0.0, frozen: float = 0.0) -> Task:
    module = Shaped(activation, shift, frozen)
    problem = Problem("network", 6, 2, 0.1, 1.0, "round", 1, 1, 3, Descent(2, 3, 0.3))
    return replace(problem.task(), objective=Network(module, 0.1))


class Shaped(torch.nn.Module):
    """One printed form for several models: an activation by name, a frozen bias, a buffer."""

    def __init__(self, activation: str, shift: float, frozen: float) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)
        self.first.bias.requires_grad_(False).fill_(frozen)
        self.register_buffer("shift", torch.full((3,), shift))
        self.activation = activation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.second(getattr(torch, self.activation)(self.first(features)) + self.shift)


def test_another_model_is_not_taken_from_the_folder(tmp_path: Path) -> None:
    method, streams = HessianFree("all", "published", folder=tmp_path), Streams(3, (0,))
    tasks = [small_net(), small_net("sin"), small_net(shift=0.5), small_net(frozen=0.5)]
    tasks.append(replace(tasks[0], dtype=torch.float32))
    assert len({task.objective.description for task in tasks}) == 1
    for count, task in enumerate(tasks, 1):
        state = method.learn(task, task.everyone(1), streams=streams)
        fresh = HessianFree("all", "published").learn(task, task.everyone(1), streams=streams)
        assert torch.equal(state.parameters, fresh.parameters)
        assert torch.equal(state.vectors.values, fresh.vectors.values)
        assert len(list(tmp_path.iterdir())) == count
    method.learn(tasks[1], tasks[1].everyone(1), streams=streams)
    assert len(list(tmp_path.iterdir())) == len(tasks)


def test_norms_and_none_do_not_share_a_folder(tmp_path: Path) -> None:
    problem = PROBLEMS[0]
    assert learned(problem, HessianFree("all", "published", folder=tmp_path)).norms is None
    assert learned(problem, HessianFree("all", folder=tmp_path)).norms is not None
    assert learned(problem, HessianFree("all", trace="replay", folder=tmp_path)).norms is None


def test_vectors_that_leave_the_numbers_are_refused() -> None:
    problem = Problem("ridge", 3, 1, 0.1, 1.0, "round", 1, 1, 3, Descent(400, 3, 19.0))
    with pytest.raises(Diverged):
        learned(problem, HessianFree("all"))


def test_trace_of_an_unknown_record() -> None:
    state = learned(PROBLEMS[0], HessianFree("all", rows=(1,)))
    with pytest.raises(ValueError, match="norms were kept, got record 0"):
        state.norms.trace(PROBLEMS[0].members().numpy(), "remaining")
    assert isinstance(state.norms.trace(np.zeros((2, 9), dtype=bool), "remaining"), Trace)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_on_a_device(problem: Problem) -> None:
    host = learned(problem, HessianFree("all"))
    method = HessianFree("all", memory=3000)
    state = method.learn(problem.task("cuda"), problem.members("cuda"), streams=problem.streams)
    torch.testing.assert_close(state.vectors.values.cpu(), host.vectors.values, rtol=1e-10, atol=1e-12)
    request = problem.request("cuda")
    after = method.unlearn(state, request, streams=problem.streams)
    same = HessianFree("all").unlearn(host, problem.request(), streams=problem.streams)
    torch.testing.assert_close(after.parameters.cpu(), same.parameters, rtol=1e-10, atol=1e-12)
