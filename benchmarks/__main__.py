"""`python -m benchmarks`: writes docs/benchmarks.md. Every figure is a ratio of two things run in turn."""

import argparse
import os
import platform
import warnings
from dataclasses import fields
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from learning.cubic import dense_step
from learning.data import embedded, prepare
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Constants, Objective, Softmax
from learning.online import DeletionSession, OnlineCertificate
from learning.recursion import RecordNorms
from learning.task import SGD, Minimise, Task
from learning.training import sgd_steps, train
from learning.vectors import VectorStore
from methods.qiao2025hessianfree import HessianFree
from unlearning.ledger import Ledger
from unlearning.streams import Streams

from .attack_speed import attack_rows
from .ratios import ROUNDS, milliseconds, ratio, timed


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
    return [
        f"training fleet of {replicas}, {name}",
        "one model after another",
        milliseconds(slow),
        milliseconds(fast),
        f"{times:.1f}×",
    ]


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
    return [what, "scikit-learn newton-cholesky", milliseconds(slow), milliseconds(fast), f"{times:.1f}×"]


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
        milliseconds(fast),
        milliseconds(slow),
        f"{1 / times:.2f}×",
    ]


def one_record_at_a_time(task: Task, records: list[int]) -> torch.Tensor:
    """Vectors as the public code makes them: one graph differentiated twice per record and step; [R, P]."""
    vectors = torch.zeros(len(records), task.objective.size, dtype=task.dtype)
    features, labels = task.features(), task.labels()
    for step in sgd_steps(task, task.everyone(1), streams=Streams(0, (0,))):
        x, y, batch = features[step.rows], labels[step.rows], step.rows[0].tolist()
        for vector, record in zip(vectors, records, strict=True):
            w = step.parameters.detach().requires_grad_()
            loss = (task.objective.at(w, x, y).losses() * step.weights).sum()
            (gradient,) = torch.autograd.grad(loss, w, create_graph=True)
            (product,) = torch.autograd.grad(gradient, w, vector.unsqueeze(0))
            vector -= step.step_size * product[0]
            if record in batch:
                own = torch.zeros_like(step.weights)
                own[0, batch.index(record)] = 1 / len(batch)
                vector += step.step_size * step.point.gradient(own)[0]
    return vectors


def precomputation_row(name: str, objective: Objective) -> list[str]:
    """The vectors of all n records against one double-backward product per record and step."""
    data = prepare(embedded("digits"), bias=not isinstance(objective, Network))
    task = Task("bench", data, objective, SGD(2, 32, 0.5, divisor="fixed"), torch.device("cpu"))
    everyone, streams, few = task.everyone(1), Streams(0, (0,)), [0, 1, 2]
    ours = HessianFree("all").learn(task, everyone, streams=streams).vectors
    assert ours is not None and torch.allclose(ours.values[0, few], one_record_at_a_time(task, few), atol=1e-9)
    slow, fast, times = ratio(
        lambda: timed(lambda: one_record_at_a_time(task, few), len(few)),
        lambda: timed(lambda: HessianFree("all").learn(task, everyone, streams=streams), task.rows),
    )
    what = f"Hessian-free vectors and norms of all {task.rows} records, {name}, per record"
    return [
        what,
        "one double-backward product per record and step",
        milliseconds(slow),
        milliseconds(fast),
        f"{times:.1f}×",
    ]


def deletion_row() -> list[str]:
    """Deleting one record online, checked and erased, against copying as many numbers."""
    size, rows = 11_000_000, 12
    norms = RecordNorms(*(np.zeros(1) for _ in fields(RecordNorms)))
    certificate = OnlineCertificate(norms, Constants(1.0, 1.0, 1.0, 0.0, None), "fixed")
    store = VectorStore.create(1, range(rows), size, "float32", device=torch.device("cpu"))
    store.values.normal_(generator=torch.Generator().manual_seed(0))
    store.rounding[:] = store.checksums[:] = 0
    session = DeletionSession(torch.zeros(size), store, np.ones(rows, dtype=bool), Ledger(1.0, 1e-5, 1.0), certificate)
    expected, left = store.values[0].sum(0), iter(range(rows - 1))
    source, target = torch.ones(size), torch.zeros(size)
    pairs = []
    for record in left:
        copied = timed(lambda: target.copy_(source), 1)
        deleted = timed(lambda record=record: session.delete([record]), 1)
        pairs.append((copied, deleted))
    assert torch.allclose(session.parameters, expected - store.values[0, rows - 1], atol=1e-4)
    times = median(deleted / copied for copied, deleted in pairs)
    what = "Hessian-free deletion of one record, 11 M parameters in float32"
    return [
        what,
        "one copy of 11 M numbers",
        milliseconds(median(c for c, _ in pairs)),
        milliseconds(median(d for _, d in pairs)),
        f"{times:.2f} copies",
    ]


def set_sum_row() -> list[str]:
    """The set-sum vector of a known request, network, without a certificate, against one retraining."""
    data = prepare(embedded("digits"), bias=False)
    task = Task("bench", data, Network(mlp(64, [64], 10), 0.01), SGD(2, 32, 0.5), torch.device("cpu"))
    replicas = 20
    streams, method = Streams(0, tuple(range(replicas))), HessianFree()
    request = torch.zeros_like(task.everyone(replicas))
    request[:, :2] = True
    state = method.learn(task, task.everyone(replicas), streams=streams)
    slow, fast, times = ratio(
        lambda: timed(lambda: method.unlearn(state, request, streams=streams), replicas),
        lambda: timed(lambda: train(task, ~request, streams=streams), replicas),
    )
    what = "Hessian-free vector of a request, tanh network 64-64-10"
    return [what, "one retraining", milliseconds(fast), milliseconds(slow), f"{times:.1f} retrainings"]


def cubic_row(size: int = 2000) -> list[str]:
    """The cubic step against one eigendecomposition of the same Hessian, which has negative and tiny eigenvalues."""
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.standard_normal((size, size)))[0]
    negative = -(10.0 ** generator.uniform(-6, -1, size // 4))
    values = np.concatenate([negative, 10.0 ** generator.uniform(-8, 1, size - size // 4)])
    half = torch.from_numpy((turn * values) @ turn.T)[None] / 2
    hessian, gradient = half + half.mT, torch.from_numpy(generator.standard_normal((1, size)))
    found = dense_step(hessian, gradient, 5.0)
    assert float(found.gap.abs()) < 1e-10
    slow, fast, times = ratio(
        lambda: timed(lambda: dense_step(hessian, gradient, 5.0), 1),
        lambda: timed(lambda: torch.linalg.eigh(hessian), 1),
    )
    return [
        f"cubic step, P = {size}",
        "one eigendecomposition",
        milliseconds(fast),
        milliseconds(slow),
        f"{1 / times:.2f}×",
    ]


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
        set_sum_row(),
        precomputation_row("softmax regression", Softmax(65, 10, 0.02)),
        precomputation_row("tanh network 64-64-10", Network(mlp(64, [64], 10), 0.01)),
        deletion_row(),
        cubic_row(),
        *attack_rows(),
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


if __name__ == "__main__":
    main()
