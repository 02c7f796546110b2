"""Training fleets against one model at a time, the minimiser against scikit-learn, and what stops both."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge

from learning.minimiser import full_gradient, full_hessian, minimise
from learning.networks import Network
from learning.release import gaussian_release
from learning.task import SGD, Adam, Learned, Minimise, Task, check_request
from learning.training import project, sgd_steps, train
from learning.workers import run_chunks
from properties.problems import Descent, Problem
from tests.methods.oracles import descend, gradient, hessian
from unlearning.errors import BrokenMethod, Diverged, NotConverged, PlanError, ShapeMismatch
from unlearning.streams import Streams

from .test_objectives import Convolution, convolution

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, cuda])]

PROBLEMS = [
    Problem(model, 7, 2, 0.1, 1.0, "round", 4, 3, 9, Descent(2, batch, 0.7, decay, momentum, divisor))
    for model in ("ridge", "binary", "softmax", "network")
    for batch, decay, momentum, divisor in (
        (3, 0.9, 0.0, "remaining"),
        (1, 1.0, 0.5, "remaining"),
        (4, 1.0, 0.9, "fixed"),
    )
]


def members(problem: Problem, device: str = "cpu") -> torch.Tensor:
    """Everyone in replica 0, the retained records in the others."""
    return (~problem.request(device)) | (torch.arange(problem.replicas, device=device) == 0).unsqueeze(1)


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize("device", DEVICES)
def test_fleet_equals_one_model_at_a_time(problem: Problem, device: str) -> None:
    mask = members(problem, device)
    fleet = train(problem.task(device), mask, streams=problem.streams)
    assert fleet.parameters.device.type == device
    for replica in range(problem.replicas):
        own = set(mask[replica].nonzero().flatten().tolist())
        w, _ = descend(problem.task(), own, problem.streams.select([replica]))
        torch.testing.assert_close(fleet.parameters[replica].cpu(), w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("problem", [*PROBLEMS[::3], Problem("softmax", 9, 3, 0.1, replicas=7, seed=2)], ids=repr)
@pytest.mark.parametrize("device", DEVICES)
def test_chunks_change_nothing(problem: Problem, device: str) -> None:
    problem = replace(problem, replicas=7)
    task, mask = problem.task(device), members(problem, device)
    together = train(task, mask, streams=problem.streams).parameters
    for chunk in ([0], [6], [3, 1], [2, 4, 5]):
        apart = train(task, mask[chunk], streams=problem.streams.select(chunk)).parameters
        torch.testing.assert_close(apart, together[chunk], rtol=1e-12, atol=1e-13)


def test_a_replica_of_the_minimiser_stops_where_it_would_stop_alone() -> None:
    # one replica needs many more steps than the other; on a loose tolerance its company used to sharpen the first
    problem = Problem("binary", 12, 3, 1e-3, 3.0, "separable", 10, 2, 5)
    task = replace(problem.task(), recipe=Minimise(1e-2))
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1] = ~problem.request()[1]
    together = minimise(task, mask, 1e-2)
    for k in range(2):
        torch.testing.assert_close(minimise(task, mask[k : k + 1], 1e-2)[0], together[k], rtol=0, atol=1e-13)


RECIPES = {
    "adam": Adam(3, 3, 0.05),
    "adam, decaying, other memories": Adam(3, 2, 0.3, 0.9, 0.5, 0.9, 1e-3),
    "adam, fixed divisor, in a ball": Adam(3, 3, 0.2, divisor="fixed", radius=0.3),
    "momentum, in a ball": SGD(3, 3, 0.5, 0.9, 0.5, radius=0.3),
    "descent, in a ball": SGD(3, 1, 0.5, radius=0.2),
}


def one_by_torch(task: Task, members: set[int], streams: Streams) -> torch.Tensor:
    """One model, by torch.optim, projected after every step; parameters [P]."""
    recipe = task.recipe

    def inside(w: torch.Tensor) -> torch.Tensor:
        return w if recipe.radius is None or w.norm() <= recipe.radius else w / w.norm() * recipe.radius

    w = inside(task.objective.initial(streams.generators("initial"))[0]).requires_grad_()
    order_stream = streams.generator("order", 0)
    if isinstance(recipe, Adam):
        optimiser = torch.optim.Adam([w], recipe.step_size, (recipe.first, recipe.second), recipe.stability)
    else:
        optimiser = torch.optim.SGD([w], recipe.step_size, recipe.momentum)
    for _ in range(recipe.epochs):
        order = order_stream.permutation(task.rows)
        for start in range(0, task.rows, recipe.batch_size):
            whole = [int(i) for i in order[start : start + recipe.batch_size]]
            batch = [i for i in whole if i in members]
            divisor = len(whole) if recipe.divisor == "fixed" else max(len(batch), 1)
            w.grad = sum((gradient(task, w, i) for i in batch), torch.zeros_like(w)) / divisor
            optimiser.step()
            with torch.no_grad():
                w.copy_(inside(w))
            for group in optimiser.param_groups:
                group["lr"] *= recipe.decay
    return w.detach()


@pytest.mark.parametrize(
    ("name", "model"), [*((name, "softmax") for name in RECIPES), ("adam, fixed divisor, in a ball", "network")]
)
@pytest.mark.parametrize("device", DEVICES)
def test_recipes_against_torch_optim(name: str, model: str, device: str) -> None:
    problem = Problem(model, 7, 2, 0.1, 1.0, "round", 4, 3, 9, Descent())
    mask, recipe = members(problem, device), RECIPES[name]
    task = replace(problem.task(device), recipe=recipe)
    fleet = train(task, mask, streams=problem.streams).parameters
    assert recipe.radius is None or float(fleet.norm(dim=1).max()) <= recipe.radius * (1 + 1e-15)
    on_cpu = replace(problem.task(), recipe=recipe)
    for replica in range(problem.replicas):
        own = set(mask[replica].nonzero().flatten().tolist())
        expected = one_by_torch(on_cpu, own, problem.streams.select([replica]))
        torch.testing.assert_close(fleet[replica].cpu(), expected, rtol=1e-10, atol=1e-10)
    for chunk in ([2], [1, 0]):
        apart = train(task, mask[chunk], streams=problem.streams.select(chunk)).parameters
        torch.testing.assert_close(apart, fleet[chunk], rtol=1e-12, atol=1e-13)


def test_projection_is_the_identity_inside_and_exact_outside() -> None:
    w = torch.tensor([[0.3, -0.4], [3.0, -4.0], [0.6, 0.8], [0.0, 0.0]], dtype=torch.float64)
    found = project(w, 1.0)
    assert torch.equal(found[[0, 2, 3]], w[[0, 2, 3]])
    torch.testing.assert_close(found[1], torch.tensor([0.6, -0.8], dtype=torch.float64), rtol=1e-15, atol=0)
    assert project(w, None) is w
    points = torch.from_numpy(np.random.default_rng(0).standard_normal((100, 2)))
    points = points / points.norm(dim=1, keepdim=True).clamp(min=1)
    assert bool(((points - w[1]).norm(dim=1) >= (found[1] - w[1]).norm()).all())  # the nearest point of the ball


def test_every_step_ends_in_the_ball() -> None:
    problem = Problem("network", 7, 2, 0.1, 1.0, "round", 4, 2, 9, Descent())
    task = replace(problem.task(), recipe=Adam(3, 2, 0.5, radius=0.4))
    steps = list(sgd_steps(task, problem.members(), streams=problem.streams))
    assert all(float(s.following.norm(dim=1).max()) <= 0.4 * (1 + 1e-15) for s in steps)
    assert float(steps[0].parameters.norm(dim=1).max()) <= 0.4 * (1 + 1e-15)  # the initial point too


def test_recipes_in_words_and_their_checks() -> None:
    assert str(SGD(2, 8, 0.1, radius=20.0)).endswith("remaining divisor, projected onto the ball of radius 20")
    assert str(Adam(2, 8, 0.1, 0.5)).startswith("Adam (0.9, 0.999), 2 epochs, batches of 8, step size 0.1, decay 0.5")
    for fields in ({"radius": 0.0}, {"radius": float("nan")}, {"first": 1.0}, {"second": -0.1}, {"stability": 0.0}):
        with pytest.raises(PlanError, match=next(iter(fields))):
            Adam(1, 1, 0.1, **fields)
    with pytest.raises(PlanError, match="radius must be > 0 or left out, got -1.0"):
        SGD(1, 1, 0.1, radius=-1.0)


def test_divisors_differ_only_where_records_are_missing() -> None:
    base = Problem("binary", 8, 2, 0.1, 1.0, "round", 3, 2, 1, Descent(2, 3, 1.0))
    ends = {}
    for divisor in ("fixed", "remaining"):
        problem = replace(base, descent=replace(base.descent, divisor=divisor))
        ends[divisor] = train(problem.task(), members(problem), streams=problem.streams).parameters
    assert torch.equal(ends["fixed"][0], ends["remaining"][0])
    assert not torch.equal(ends["fixed"][1], ends["remaining"][1])


def test_steps_tell_what_was_done() -> None:
    problem = Problem("softmax", 7, 2, 0.1, 1.0, "round", 4, 2, 3, Descent(2, 3, 1.0, decay=0.5))
    mask = members(problem)
    task = problem.task()
    steps = list(sgd_steps(task, mask, streams=problem.streams))
    assert [step.index for step in steps] == list(range(6))
    assert [step.step_size for step in steps] == [task.recipe.step_size * 0.5**t for t in range(6)]
    for epoch in (steps[:3], steps[3:]):
        for k in range(2):
            assert sorted(torch.cat([step.rows[k] for step in epoch]).tolist()) == list(range(7))
    for before, after in zip(steps, steps[1:], strict=False):
        assert torch.equal(before.following, after.parameters)
    for step in steps:
        assert torch.equal(step.member, mask.gather(1, step.rows))
        total = step.weights.sum(1)
        torch.testing.assert_close(total, step.member.any(1).double())


def test_steps_with_no_record_left_are_skipped() -> None:
    problem = Problem("binary", 4, 2, 0.5, 1.0, "round", 3, 1, 0, Descent(1, 1, 1.0))
    mask = ~problem.request()
    steps = list(sgd_steps(problem.task(), mask, streams=problem.streams))
    still = [bool(torch.equal(step.parameters, step.following)) for step in steps]
    assert still == [not bool(step.member.any()) for step in steps] and sum(still) == 3


def test_initial_point_and_order_do_not_depend_on_members() -> None:
    problem = PROBLEMS[0]
    first = list(sgd_steps(problem.task(), problem.members(), streams=problem.streams))
    second = list(sgd_steps(problem.task(), members(problem), streams=problem.streams))
    assert torch.equal(first[0].parameters, second[0].parameters)
    assert all(torch.equal(a.rows, b.rows) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("seed", [0, 1])
def test_minimiser_against_scikit_learn(seed: int) -> None:
    n, lam = 40, 0.05
    for model in ("ridge", "binary", "softmax"):
        problem = Problem(model, n, 4, lam, 2.0, "round", 5, 2, seed)
        task, mask = problem.task(), members(problem)
        found = minimise(task, mask, 1e-12)
        for k in range(2):
            x, y = task.features()[mask[k]].numpy(), task.labels()[mask[k]].numpy()
            if model == "ridge":
                theirs = SklearnRidge(alpha=lam * len(x), fit_intercept=False, tol=1e-12).fit(x, y).coef_
            else:
                c = 1 / (lam * len(x))
                fitted = LogisticRegression(C=c, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cg")
                theirs = fitted.fit(x, y).coef_.T.ravel()
            np.testing.assert_allclose(found[k].numpy(), theirs, atol=1e-7)


def test_full_derivatives() -> None:
    problem = Problem("softmax", 6, 2, 0.2, 1.0, "round", 2, 2, 1)
    task, mask = problem.task(), members(problem)
    w = torch.from_numpy(np.random.default_rng(1).standard_normal((2, task.objective.size)))
    for k in range(2):
        own = mask[k].nonzero().flatten().tolist()
        g = sum(gradient(task, w[k], i) for i in own) / len(own)
        h = sum(hessian(task, w[k], i) for i in own) / len(own)
        torch.testing.assert_close(full_gradient(task, w, mask)[k], g)
        torch.testing.assert_close(full_hessian(task, w, mask)[k], h)


def test_minimiser_says_what_it_needs() -> None:
    problem = Problem("softmax", 40, 4, 0.1)
    with pytest.raises(NotConverged, match=r"reached gradient norm .*, needs <= 1.00e-30 on task 'problem'"):
        minimise(problem.task(), problem.members(), 1e-30)
    problem = Problem("network", 6, 2, 0.1, descent=Descent())
    with pytest.raises(PlanError, match="needs a linear model with regularisation > 0"):
        train(replace(problem.task(), recipe=Minimise()), problem.members(), streams=problem.streams)


def test_divergence_names_replica_step_and_cause() -> None:
    problem = Problem("ridge", 6, 2, 0.1, 3.0, "aligned", 1, 2, 1, Descent(200, 1, 1.0))
    task = problem.task()
    task = replace(task, recipe=replace(task.recipe, step_size=30.0))
    mask = problem.members()
    mask[0] = False  # the first replica never moves
    streams = problem.streams.select([4, 17])
    with pytest.raises(Diverged) as caught:
        train(task, mask, streams=streams)
    message = str(caught.value)
    assert "replica 17 is not finite after step" in message and "exceeds 2/smoothness" in message
    step = int(message.partition("after step ")[2].partition(".")[0])
    following = [s.following for s in _until(task, mask, streams, step)]
    assert torch.isfinite(following[step - 1]).all() and not torch.isfinite(following[step]).all()


def _until(task: Task, mask: torch.Tensor, streams: Streams, last: int) -> list:
    found = []
    for step in sgd_steps(task, mask, streams=streams):
        found.append(step)
        if step.index == last:
            break
    return found


def test_divergence_without_constants_looks_at_the_data() -> None:
    problem = Problem("network", 6, 2, 0.1, descent=Descent(1, 2, 0.1))
    task = problem.task()
    features = task.dataset.features.clone()
    features[0, 0] = float("inf")
    task = replace(task, dataset=replace(task.dataset, features=features, norm_upper=None))
    with pytest.raises(Diverged, match="look for infinite or huge features"):
        train(task, problem.members(), streams=problem.streams)


@pytest.mark.parametrize("device", DEVICES)
def test_someones_own_module_trains(device: str) -> None:
    problem = Problem("network", 8, 9, 0.1, replicas=3, descent=Descent(2, 3, 0.1))
    with torch.random.fork_rng(devices=[]):
        module = Convolution()
    before = [p.clone() for p in module.parameters()]
    task = replace(problem.task(device), objective=Network(module, 0.1))
    fleet = train(task, problem.members(device), streams=problem.streams).parameters
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    alone = train(
        replace(problem.task(device), objective=convolution_like(module)),
        problem.members(device)[:1],
        streams=problem.streams.select([2]),
    ).parameters
    torch.testing.assert_close(fleet[2:], alone, rtol=1e-10, atol=1e-12)


def convolution_like(module: Convolution) -> Network:
    assert convolution().size == sum(p.numel() for p in module.parameters())
    return Network(module, 0.1)


def test_masks_are_checked() -> None:
    problem = PROBLEMS[0]
    task = problem.task()
    with pytest.raises(ShapeMismatch, match=r"members: expected \['K', 7\], got \[3, 6\]"):
        train(task, problem.members()[:, 1:], streams=problem.streams)
    with pytest.raises(TypeError, match="members must be a boolean mask"):
        train(task, problem.members().int(), streams=problem.streams)


def test_requests_are_checked() -> None:
    problem = PROBLEMS[0]
    state = Learned(torch.zeros(3, 2), problem.task(), problem.members(), problem.streams)
    check_request(state, problem.request())
    gone = replace(state, members=~problem.request())
    first = int(problem.request()[0].nonzero()[0])
    with pytest.raises(ValueError, match=rf"still in the training set, got record {first} of replica 0"):
        check_request(gone, problem.request())
    with pytest.raises(ValueError, match="must leave at least one record"):
        check_request(state, problem.members())


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", 0), ("step_size", 0.0), ("step_size", float("nan")), ("decay", 0.0), ("decay", 1.1),
     ("momentum", 1.0), ("momentum", -0.1), ("divisor", "left")],
)  # fmt: skip
def test_recipes_are_checked(field: str, value: object) -> None:
    with pytest.raises(PlanError, match=field):
        SGD(**({"epochs": 1, "batch_size": 1, "step_size": 0.1} | {field: value}))
    with pytest.raises(PlanError, match="tolerance must be > 0"):
        Minimise(0.0)


def test_release_adds_the_noise_of_each_replicas_stream() -> None:
    problem = PROBLEMS[2]
    state = train(problem.task(), problem.members(), streams=problem.streams)
    noise = problem.streams.child("noise")
    released = gaussian_release(state, 0.5, streams=noise)
    expected = state.parameters + 0.5 * torch.from_numpy(noise.normals("noise", state.parameters.shape[1]))
    assert torch.equal(released, expected)
    assert torch.equal(gaussian_release(state, 0.0, streams=noise), state.parameters)


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    chunks = [(index, str(tmp_path / f"killed-{index}")) for index in range(5)]
    done: list[int] = []
    results = run_chunks(_dies_once, chunks, jobs=2, done=done.append)
    assert results == [index**2 for index in range(5)]
    assert sorted(done) == list(range(5))
    assert (tmp_path / "killed-3").exists()


def _dies_once(index: int, marker: str) -> int:
    if index == 3 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), 9)
    return index**2


def test_errors_in_a_worker_are_the_users() -> None:
    for jobs in (1, 2):
        with pytest.raises(BrokenMethod, match=r"ZeroDivisionError at test_training.py:\d+"):
            run_chunks(_divide, [(1,), (0,)], jobs=jobs)


def _divide(by: int) -> float:
    return 1 / by


def test_results_come_in_order() -> None:
    assert run_chunks(_divide, [(1,), (2,), (4,)], jobs=2) == [1.0, 0.5, 0.25]
    assert run_chunks(_divide, [], jobs=2) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"norm_upper": 0.01}, "norm_upper must be at least"),
        ({"classes": 1}, r"labels must be 0 … 0, got 1"),
    ],
)
def test_data_that_break_the_constants_are_refused(change: dict, says: str) -> None:
    task = Problem("binary", 8, 2, 0.1, 1.0, "separable", 2, 1, 1).task()
    with pytest.raises(PlanError, match=says):
        replace(task, dataset=replace(task.dataset, **change))
