"""`python -m benchmarks`: writes docs/benchmarks.md. Every figure is a ratio of two things run in turn."""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from learning.data import embedded, prepare
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Softmax
from learning.task import SGD, Minimise, Task
from learning.training import train
from methods.qiao2025hessianfree import HessianFree
from unlearning.streams import Streams

ROUNDS = 3


def ratio(slow: Callable[[], float], fast: Callable[[], float]) -> tuple[float, float, float]:
    """Median seconds per model of both, run in turn, and the median of the paired ratios."""
    pairs = [(slow(), fast()) for _ in range(ROUNDS)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def timed(run: Callable[[], object], models: int) -> float:
    """Seconds per model."""
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) / models


def one_model(task: Task, replica: int) -> torch.Tensor:
    """The plain loop: one model, torch autograd, the replica's own initial point and batch order."""
    streams = Streams(0, (replica,))
    recipe = task.recipe
    assert isinstance(recipe, SGD)
    w = task.objective.initial(streams.generators("initial"))[0].to(task.dtype).requires_grad_()
    order = streams.generators("order")[0]
    features, labels = task.features(), task.labels()
    for _ in range(recipe.epochs):
        permutation = torch.from_numpy(order.permutation(task.rows))
        for start in range(0, task.rows, recipe.batch_size):
            rows = permutation[start : start + recipe.batch_size]
            loss = task.objective.at(w.unsqueeze(0), features[rows].unsqueeze(0), labels[rows].unsqueeze(0)).losses()
            (gradient,) = torch.autograd.grad(loss.mean(), w)
            with torch.no_grad():
                w -= recipe.step_size * gradient
    return w.detach()


def fleet_row(name: str, objective: Objective, replicas: int) -> list[str]:
    """A retraining fleet against one model after another."""
    bias = not isinstance(objective, Network)
    data = prepare(embedded("digits"), bias=bias)
    task = Task("bench", data, objective, SGD(5, 32, 0.5), torch.device("cpu"))
    streams = Streams(0, tuple(range(replicas)))
    trained = train(task, task.everyone(replicas), streams=streams).parameters
    assert torch.allclose(trained[1], one_model(task, 1), atol=1e-10)
    slow, fast, times = ratio(
        lambda: timed(lambda: [one_model(task, k) for k in range(3)], 3),
        lambda: timed(lambda: train(task, task.everyone(replicas), streams=streams), replicas),
    )
    return [f"training fleet of {replicas}, {name}", "one model after another", _ms(slow), _ms(fast), f"{times:.1f}×"]


def minimiser_row() -> list[str]:
    """Exact retraining against scikit-learn's newton-cholesky at the same gradient norm."""
    data = prepare(embedded("breast-cancer"))
    lam, replicas = 0.01, 100
    task = Task("bench", data, BinaryLogistic(31, lam), Minimise(1e-10), torch.device("cpu"))
    generator = np.random.default_rng(0)
    members = torch.from_numpy(generator.random((replicas, task.rows)) < 0.9)
    x, y = data.features.numpy(), data.labels.numpy()

    def sklearn_fit(own: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=1 / (lam * own.sum()), fit_intercept=False, solver="newton-cholesky", tol=1e-10)
        return model.fit(x[own], y[own]).coef_[0]

    masks = members.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = train(task, members, streams=Streams(0, tuple(range(replicas)))).parameters
        assert np.allclose(ours[0].numpy(), sklearn_fit(masks[0]), atol=1e-7)
        slow, fast, times = ratio(
            lambda: timed(lambda: [sklearn_fit(masks[k]) for k in range(10)], 10),
            lambda: timed(lambda: train(task, members, streams=Streams(0, tuple(range(replicas)))), replicas),
        )
    what = f"exact minimiser, {replicas} training sets"
    return [what, "scikit-learn newton-cholesky", _ms(slow), _ms(fast), f"{times:.1f}×"]


def hessian_free_row() -> list[str]:
    """The set-sum vector of a request, with its certificate, against one retraining."""
    data = prepare(embedded("digits"))
    task = Task("bench", data, Softmax(65, 10, 0.02), SGD(5, 32, 0.5), torch.device("cpu"))
    replicas = 50
    streams = Streams(0, tuple(range(replicas)))
    request = torch.zeros_like(task.everyone(replicas))
    request[:, :2] = True
    method = HessianFree()
    state = method.learn(task, task.everyone(replicas), streams=streams)
    slow, fast, times = ratio(
        lambda: timed(lambda: method.unlearn(state, request, streams=streams), replicas),
        lambda: timed(lambda: train(task, ~request, streams=streams), replicas),
    )
    return [
        "Hessian-free vector and certificate of a request",
        "one retraining",
        _ms(fast),
        _ms(slow),
        f"{1 / times:.2f}×",
    ]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        fleet_row("softmax regression, 650 parameters", Softmax(65, 10, 0.02), 200),
        fleet_row("tanh network 64-64-10", Network(mlp(64, [64], 10), 0.01), 100),
        minimiser_row(),
        hessian_free_row(),
    ]
    header = ["work", "against", "against, per model", "ours, per model", "ratio"]
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    text = (
        "# Benchmarks\n\n"
        "Written by `tox -e bench`; never typed. Each ratio is the median of "
        f"{ROUNDS} pairs run in turn in one process, one thread, float64. Absolute times depend on the machine.\n\n"
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, "
        f"{os.cpu_count()} cores.\n\n{table}\n"
    )
    arguments.out.write_text(text, encoding="utf-8")
    print(table)


main()
