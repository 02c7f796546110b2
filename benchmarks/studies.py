"""What a plan cannot say: correlations of predicted with actual loss changes, and the deletion capacity.

Qiao et al., ICLR 2025, arXiv 2404.01712: their experiments on predicted loss changes, and deletion capacity.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from learning.data import Dataset, Npz, embedded, prepare
from learning.influence import Correlation, Deletions, capacity, capacity_curve, influence
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Softmax
from learning.task import SGD, Task
from methods.qiao2025hessianfree import HessianFree
from reports.drawing import NOTHING, PROMISE, UNLEARNED, new_figure, style, to_svg
from unlearning.streams import Streams

EPSILON, DELTA, LOSS = 1.0, 1e-5, 0.02
SIZES = [1, 2, 3, 5, 8, 13, 21, 34, 55]
RECORDS, REPLICAS = 60, 8


def tasks(data: Path) -> dict[str, Task]:
    """Logistic models at R = 1 and two networks, on real data."""

    def task(name: str, dataset: Dataset, objective: Softmax | BinaryLogistic | Network, recipe: SGD) -> Task:
        return Task(name, dataset, objective, recipe, torch.device("cpu"))

    cancer, digits = prepare(embedded("breast-cancer")), prepare(embedded("digits"))
    wine = prepare(embedded("wine"), bias=False, norm=None)
    images = Npz(data / "mnist.npz", "train_images", "train_labels", "test_images", "test_labels").load()
    mnist = prepare(images, rows=1000, standardise=False)
    return {
        "breast cancer, logistic regression": task(
            "cancer", cancer, BinaryLogistic(31, 0.02), SGD(10, 57, 1.0, decay=1.0)
        ),
        "digits, softmax regression": task("digits", digits, Softmax(65, 10, 0.02), SGD(10, 64, 1.0)),
        "MNIST, softmax regression, n = 1000": task("mnist", mnist, Softmax(785, 10, 0.02), SGD(15, 32, 1.0, 0.995)),
        "Wine, network 13-64-3": task(
            "wine", wine, Network(mlp(13, [64], 3), 0.005), SGD(40, 64, 0.01, decay=0.9995)
        ),
    }
