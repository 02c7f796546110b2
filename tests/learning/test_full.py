"""The objective over all members, whole and sampled, against dense autograd."""

import numpy as np
import pytest
import torch

from learning.full import FullObjective, SampledObjective, mean_weights
from properties.problems import Descent, Problem
from tests.methods.oracles import gradient, hessian, mean_loss

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, cuda])]
MODELS = ("ridge", "binary", "softmax", "network")


def problem_of(model: str) -> Problem:
    return Problem(model, 9, 2, 0.2, 1.0, "round", 4, 2, 1, Descent())


def at(problem: Problem, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters [K, P], and the retained records of replica 1 beside everyone of replica 0."""
    w = np.random.default_rng(1).standard_normal((problem.replicas, problem.task().objective.size))
    members = ~problem.request(device)
    members[0] = True
    return torch.from_numpy(w).to(device), members


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("memory", [2**28, 1], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("device", DEVICES)
def test_derivatives_against_autograd(model: str, memory: int, device: str) -> None:
    problem = problem_of(model) if memory > 1 else Problem(model, 37, 2, 0.2, 1.0, "round", 4, 2, 1, Descent())
    task, (w, members) = problem.task(), at(problem, device)
    objective = FullObjective(problem.task(device), w, members, memory=memory)
    assert len(list(objective.points())) == (1 if memory > 1 else 3)
    found = {"losses": objective.losses(), "gradient": objective.gradient(), "hessian": objective.hessian()}
    v = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 3, w.shape[1]))).to(device)
    products, single = objective.hvp(v).cpu(), objective.hvp(v[:, 1]).cpu()
    for k in range(2):
        own, flat = members[k].nonzero().flatten().tolist(), w[k].cpu()
        h = sum(hessian(task, flat, i) for i in own) / len(own)
        torch.testing.assert_close(found["hessian"][k].cpu(), h)
        torch.testing.assert_close(found["gradient"][k].cpu(), sum(gradient(task, flat, i) for i in own) / len(own))
        assert float(found["losses"][k]) == pytest.approx(mean_loss(task, flat, own), rel=1e-12)
        torch.testing.assert_close(products[k], v[k].cpu() @ h)
        torch.testing.assert_close(single[k], h @ v[k, 1].cpu())
    assert torch.equal(found["hessian"], found["hessian"].mT)


def test_derivatives_keep_the_type_of_the_parameters() -> None:
    problem = problem_of("softmax")
    w, members = at(problem)
    objective = FullObjective(problem.task(), w.float(), members)
    assert objective.gradient().dtype is objective.hvp(w.float()).dtype is torch.float32
    assert mean_weights(members, torch.float64).sum(1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("model", MODELS)
def test_minibatches_are_members_and_their_hessians_average_to_the_whole(model: str) -> None:
    problem = problem_of(model)
    task, (w, members) = problem.task(), at(problem)
    sampled = SampledObjective(task, w, members, generators=problem.streams.generators("lissa"), runs=3, batch=4)
    rows = [sampled.draw() for _ in range(200)]
    for k in range(2):
        drawn = torch.cat([r.view(2, 3, 4)[k].flatten() for r in rows])
        assert set(drawn.tolist()) == set(members[k].nonzero().flatten().tolist())
    v = torch.from_numpy(np.random.default_rng(2).standard_normal((6, 2, w.shape[1])))
    found = sampled.hvp(rows[0], v)
    for run in range(6):
        batch = rows[0][run].tolist()
        h = sum(hessian(task, w[run // 3], i) for i in batch) / 4
        torch.testing.assert_close(found[run], v[run] @ h)
    # every record is drawn with the same probability: 2,400 draws, an error of 6 standard deviations
    counts = torch.cat([r.view(2, 3, 4)[0].flatten() for r in rows]).bincount(minlength=9)
    assert float((counts - 2400 / 9).abs().max()) < 6 * (2400 / 9) ** 0.5


def test_minibatches_are_a_replicas_own() -> None:
    problem = problem_of("binary")
    task, (w, members) = problem.task(), at(problem)
    together = SampledObjective(task, w, members, generators=problem.streams.generators("x"), runs=2, batch=3)
    alone = SampledObjective(
        task, w[1:], members[1:], generators=problem.streams.select([1]).generators("x"), runs=2, batch=3
    )
    for _ in range(5):
        assert torch.equal(together.draw()[2:], alone.draw())
