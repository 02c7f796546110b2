"""Small learning problems: a handful of numbers that build a task, training sets and requests, the same every time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning.data import Dataset
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Ridge, Softmax
from learning.task import SGD, Minimise, Task
from unlearning.streams import Streams

Model = Literal["ridge", "binary", "softmax", "network"]
Recipe = Literal["minimise", "descent", "projected"]
RequestBy = Literal["chance", "label", "norm", "influence"]
Geometry = Literal["round", "flat", "duplicated", "constant column", "separable", "one class", "aligned", "spike"]

MODELS: tuple[Model, ...] = ("ridge", "binary", "softmax", "network")
GEOMETRIES: tuple[Geometry, ...] = (
    "round",
    "flat",
    "duplicated",
    "constant column",
    "separable",
    "one class",
    "aligned",
    "spike",
)
REQUESTS: tuple[RequestBy, ...] = ("chance", "label", "norm", "influence")
STOPPING = {False: 1e-10, True: 1e-5}  # gradient norm at which minimisers stop, in double and in single precision
CLASSES = {"ridge": 1, "binary": 2, "softmax": 3, "network": 2}


@dataclass(frozen=True, slots=True)
class Descent:
    """A gradient descent whose step size is a share of 1/L, so that its stability does not depend on the data.

    Attributes:
        epochs: passes over the record ids.
        batch_size: record ids per step.
        stability: η·L for linear models, below 2; η itself for networks.
        decay: factor per step.
        momentum: heavy-ball factor.
        divisor: "fixed" or "remaining".
        radius: of the ball that every step is projected onto, or None.
    """

    epochs: int = 2
    batch_size: int = 4
    stability: float = 1.0
    decay: float = 1.0
    momentum: float = 0.0
    divisor: str = "remaining"
    radius: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One learning problem with its request: everything a law needs, and its repr builds it again.

    Attributes:
        model: which objective.
        rows: training records n.
        columns: inputs d.
        regularisation: λ.
        norm: R, the largest input norm.
        geometry: how the inputs lie. "flat": columns over four decades; "aligned": every input is R·e₁; "spike":
            record 0 is R·e₁, all others are 0, and record 0 is always in the request.
        request_size: records to forget, m; 1 ≤ m ≤ n − 1.
        request_by: which records the request takes: any; those with the smallest labels, so that whole classes go; the
            longest ones; or those with the largest gradients at a linear fit. Replicas break ties differently.
        replicas: trained copies, each with its own request.
        seed: of the records, the requests and the training.
        descent: the recipe, or None for the exact minimiser.
        single_precision: float32 instead of float64.
    """

    model: Model = "ridge"
    rows: int = 4
    columns: int = 2
    regularisation: float = 0.1
    norm: float = 1.0
    geometry: Geometry = "round"
    request_size: int = 1
    replicas: int = 1
    seed: int = 0
    descent: Descent | None = None
    request_by: RequestBy = "chance"
    single_precision: bool = False

    @property
    def objective(self) -> Objective:
        """The objective."""
        if self.model == "ridge":
            return Ridge(self.columns, self.regularisation)
        if self.model == "binary":
            return BinaryLogistic(self.columns, self.regularisation)
        if self.model == "softmax":
            return Softmax(self.columns, CLASSES["softmax"], self.regularisation)
        return Network(mlp(self.columns, [3], CLASSES["network"], "tanh"), self.regularisation)

    @property
    def kind(self) -> tuple[Model, Recipe]:
        """Which objective, and how it is learned."""
        if self.descent is None:
            return self.model, "minimise"
        return self.model, "descent" if self.descent.radius is None else "projected"

    @property
    def first_class(self) -> int:
        """Records with the smallest label: as a request by label, the whole class."""
        labels = _records(self)[1]
        return int((labels == labels.min()).sum())

    @property
    def streams(self) -> Streams:
        """Training streams of the replicas."""
        return Streams(self.seed, tuple(range(self.replicas))).child("properties")

    def task(self, device: str = "cpu") -> Task:
        """The task, its data on the device."""
        features, labels = _records(self)
        norm_upper = float(np.linalg.norm(features, axis=1).max()) * (1 + 1e-12)
        dataset = Dataset(
            name=f"{self.geometry} records",
            origin=f"seed {self.seed}",
            features=torch.from_numpy(features),
            labels=torch.from_numpy(labels),
            holdout_features=torch.from_numpy(features[:1]),
            holdout_labels=torch.from_numpy(labels[:1]),
            classes=max(CLASSES[self.model], 2),
            preprocessing="rows scaled to the norm",
            norm_upper=max(norm_upper, 1e-6),
        )
        dtype = torch.float32 if self.single_precision else torch.float64
        return Task("problem", dataset, self.objective, self._recipe(norm_upper), torch.device(device), dtype)

    def members(self, device: str = "cpu") -> Tensor:
        """Everyone, bool [K, n]."""
        return torch.ones(self.replicas, self.rows, dtype=torch.bool, device=device)

    def request(self, device: str = "cpu") -> Tensor:
        """The request of each replica, bool [K, n]."""
        generator = np.random.default_rng((self.seed, 1))
        mask = np.zeros((self.replicas, self.rows), dtype=bool)
        rank = _rank(self)
        for row in mask:
            chosen = generator.permutation(self.rows)
            chosen = chosen[np.argsort(rank[chosen], kind="stable")]
            if self.geometry == "spike":
                chosen = np.concatenate([[0], chosen[chosen != 0]])
            row[chosen[: self.request_size]] = True
        return torch.from_numpy(mask).to(device)

    def _recipe(self, norm_upper: float) -> SGD | Minimise:
        if self.descent is None:
            return Minimise(STOPPING[self.single_precision])
        constants = self.objective.constants(max(norm_upper, 1e-6))
        smoothness = 1.0 if constants is None else constants.smoothness_upper
        d = self.descent
        return SGD(d.epochs, d.batch_size, d.stability / smoothness, d.decay, d.momentum, d.divisor, d.radius)


def _rank(problem: Problem) -> NDArray[np.float64]:
    """Number by which records are asked for, the smallest first, [n]; equal ones, copies among them, in any order."""
    features, labels = _records(problem)
    if problem.request_by == "label":
        return labels.astype(np.float64)
    lengths = np.linalg.norm(features, axis=1)
    if problem.request_by == "norm":
        return _rounded(-lengths)
    if problem.request_by == "influence":
        targets = labels - labels.mean()
        hessian = features.T @ features + problem.rows * problem.regularisation * np.eye(problem.columns)
        fitted = features @ np.linalg.solve(hessian, features.T @ targets)
        return _rounded(-lengths * np.abs(targets - fitted))
    return np.zeros(problem.rows)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values to nine decimals, so that those of copies are equal."""
    rounded: NDArray[np.float64] = np.round(values, 9)
    return rounded


def _records(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.generic]]:
    generator = np.random.default_rng((problem.seed, 0))
    rows, columns = problem.rows, problem.columns
    features = generator.standard_normal((rows, columns))
    if problem.geometry == "flat":
        features *= np.logspace(0, -4, columns)
    if problem.geometry == "constant column":
        features[:, -1] = 1.0
    if problem.geometry in ("aligned", "spike"):
        features[:] = 0.0
        features[: 1 if problem.geometry == "spike" else rows, 0] = 1.0
    labels: NDArray[np.generic]
    if problem.model == "ridge":
        labels = generator.standard_normal(rows)
    elif problem.geometry == "one class":
        labels = np.zeros(rows, dtype=np.int64)
    elif problem.geometry == "separable":
        labels = (features[:, 0] > 0).astype(np.int64)
    elif problem.geometry == "aligned":
        labels = (generator.random(rows) > 0.3).astype(np.int64)
    else:
        labels = generator.integers(0, CLASSES[problem.model], rows)
    if problem.geometry == "duplicated":
        same = generator.integers(0, max(rows // 3, 1), rows)
        features, labels = features[same], labels[same]
    largest = np.linalg.norm(features, axis=1).max()
    return features * (problem.norm / max(largest, 1e-12)), labels
