"""Every derivative against torch.autograd, and every constant against a search for something larger."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Ridge, Softmax
from unlearning.errors import PlanError, ShapeMismatch

K, B, D, R = 2, 5, 3, 4  # replicas, records, inputs, groups or vectors


class Convolution(nn.Module):
    """Someone's own module: a smooth convolutional network with a normalisation layer, on flat rows."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 2)
        self.normalisation = nn.GroupNorm(1, 2)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.normalisation(self.convolution(x.view(-1, 1, 3, 3)))
        return self.out(torch.tanh(hidden).flatten(1))


def convolution() -> Network:
    with torch.random.fork_rng(devices=[]):
        return Network(Convolution(), 0.2)


OBJECTIVES: dict[str, tuple[Objective, int]] = {
    "ridge": (Ridge(D, 0.3), D),
    "binary": (BinaryLogistic(D, 0.3), D),
    "softmax": (Softmax(D, 3, 0.3), D),
    "softmax of ten": (Softmax(D, 10, 0.0), D),
    "network": (Network(mlp(D, [4], 3, "tanh"), 0.3), D),
    "deep network": (Network(mlp(D, [3, 2], 2, "softplus"), 0.0), D),
    "convolution": (convolution(), 9),
}


def case(name: str) -> tuple[Objective, torch.Tensor, torch.Tensor, torch.Tensor, np.random.Generator]:
    objective, columns = OBJECTIVES[name]
    generator = np.random.default_rng(7)
    parameters = torch.from_numpy(generator.standard_normal((K, objective.size)))
    features = torch.from_numpy(generator.standard_normal((K, B, columns)))
    if name == "ridge":
        labels = torch.from_numpy(generator.standard_normal((K, B)))
    else:
        labels = torch.from_numpy(generator.integers(0, 2, (K, B)))
    return objective, parameters, features, labels, generator


def loss(objective: Objective, flat: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One record's loss, written out."""
    share = 0.5 * objective.regularisation * flat.dot(flat)
    if isinstance(objective, Network):
        return nn.functional.cross_entropy(objective.logits(flat, x.unsqueeze(0)), y.unsqueeze(0)) + share
    scores = x @ flat.view(objective.features, objective.outputs)
    if isinstance(objective, Ridge):
        return 0.5 * (scores[0] - y) ** 2 + share
    if isinstance(objective, BinaryLogistic):
        return -torch.log(torch.sigmoid((2 * y - 1) * scores[0])) + share
    return torch.logsumexp(scores, 0) - scores[y] + share


@pytest.mark.parametrize("name", OBJECTIVES)
def test_derivatives(name: str) -> None:
    objective, parameters, features, labels, generator = case(name)
    weights = torch.from_numpy(generator.uniform(0, 1, (K, B)))
    groups = torch.from_numpy(generator.uniform(0, 1, (K, R, B)))
    vectors = torch.from_numpy(generator.standard_normal((K, R, objective.size)))
    point = objective.at(parameters, features, labels)
    found = (point.losses(), point.gradient(weights), point.gradients(groups), point.hvp(weights, vectors))
    for k in range(K):

        def record(w: torch.Tensor, b: int, k: int = k) -> torch.Tensor:
            return loss(objective, w, features[k, b], labels[k, b])

        gradients = torch.stack([torch.func.grad(record)(parameters[k], b) for b in range(B)])
        hessians = torch.stack([
            torch.autograd.functional.hessian(lambda w, b=b: record(w, b), parameters[k]) for b in range(B)
        ])
        losses = torch.stack([record(parameters[k], b) for b in range(B)])
        expected = (
            losses,
            weights[k] @ gradients,
            groups[k] @ gradients,
            vectors[k] @ (weights[k, :, None, None] * hessians).sum(0).T,
        )
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[k], theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ["ridge", "binary", "softmax", "network"])
def test_absent_records_contribute_nothing(name: str) -> None:
    objective, parameters, features, labels, _ = case(name)
    weights = torch.zeros(K, B, dtype=torch.float64)
    assert not objective.at(parameters, features, labels).gradient(weights).any()


def hessian_in_scores(objective: Objective, scores: torch.Tensor) -> torch.Tensor:
    """Second derivative of the loss in the scores, [n, c, c], for scores [n, c]."""
    c = scores.shape[1]
    directions = torch.eye(c, dtype=torch.float64).expand(len(scores), 1, c, c)
    return objective.curvature(scores.unsqueeze(1), directions).squeeze(1)


@pytest.mark.parametrize(
    ("objective", "near"), [(BinaryLogistic(1, 0.1), 1e-3), (Softmax(1, 3, 0.1), 0.02), (Softmax(1, 6, 0.1), 0.08)]
)
@pytest.mark.parametrize("norm", [0.5, 2.0])
def test_smoothness_and_hessian_lipschitz_are_never_exceeded_and_nearly_attained(
    objective: Objective, near: float, norm: float
) -> None:
    # one record of norm R: ∇²ℓ = (second derivative in the scores) ⊗ xxᵀ + λI, so that norms factor with R and R³
    constants = objective.constants(norm)
    assert constants is not None
    generator = np.random.default_rng(3)
    c = objective.outputs
    count = 60_000
    scale = np.repeat([0.3, 1.5, 4.0], count // 3)[:, None]
    scores = torch.from_numpy(scale * generator.standard_normal((count, c)))
    if c > 1:  # all but two or three classes out of the game, where the extremes lie
        scores[::2, 2:] -= 30
        scores[1::4, 3:] -= 30
    top = torch.linalg.eigvalsh(hessian_in_scores(objective, scores))[:, -1]
    largest = float(top.max()) * norm**2 + 0.1
    assert constants.smoothness_upper * (1 - near) <= largest <= constants.smoothness_upper * (1 + 1e-12)
    direction = torch.from_numpy(generator.standard_normal((count, c)))
    if c > 1:
        direction[::2, :2] = torch.tensor([1.0, -1.0], dtype=torch.float64)
        direction[::2, 2:] = 0
    step = 1e-4 * direction / direction.norm(dim=1, keepdim=True)
    # ‖H(w + v) − H(w)‖ / ‖v‖, where v moves the scores by x·v = norm · step: R² from xxᵀ, and R from the scores
    change = hessian_in_scores(objective, scores + step) - hessian_in_scores(objective, scores - step)
    slope = float((torch.linalg.matrix_norm(change, ord=2) / 2e-4).max()) * norm**3
    assert constants.hessian_lipschitz_upper * (1 - near) <= slope
    assert slope <= constants.hessian_lipschitz_upper * (1 + 1e-6)


@pytest.mark.parametrize("objective", [BinaryLogistic(2, 0.05), Softmax(2, 3, 0.05), Softmax(2, 3, 2.0)])
def test_gradients_at_optima_are_within_their_bound(objective: Objective) -> None:
    from properties.problems import GEOMETRIES, Problem
    from tests.methods.oracles import gradient

    largest = 0.0
    for seed in range(24):
        model = "binary" if isinstance(objective, BinaryLogistic) else "softmax"
        problem = Problem(model, 6, 2, objective.regularisation, 1.5, GEOMETRIES[seed % 8], 1, 1, seed)
        task = problem.task()
        from learning.training import train

        state = train(task, problem.members(), streams=problem.streams)
        bound = task.constants.gradient_bound_upper
        largest = max(largest, *(float(gradient(task, state.parameters[0], i).norm()) / bound for i in range(6)))
    assert 0.3 < largest <= 1


def test_constants_need_a_norm_and_a_regulariser() -> None:
    for kind in (Ridge, BinaryLogistic):
        assert kind(2, 0.1).constants(None) is None and kind(2, 0.0).constants(1.0) is None
    assert Softmax(2, 3, 0.1).constants(None) is None
    assert Ridge(2, 0.1).constants(1.0).hessian_lipschitz_upper == 0
    assert Network(mlp(2, [2], 2), 0.1).constants(1.0) is None
    for bad in (-0.1, math.nan, math.inf):
        for make in (lambda lam: Ridge(2, lam), lambda lam: Network(mlp(2, [2], 2), lam)):
            with pytest.raises(ValueError, match="regularisation must be a finite number >= 0"):
                make(bad)


def test_parameters_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"parameters: expected \[1, 6\], got \[1, 5\]"):
        Softmax(2, 3, 0.1).at(torch.zeros(1, 5), torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(3)])
def test_layers_that_are_no_function_are_refused_in_training_mode(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(D, 3), layer, nn.Linear(3, 2))
    with pytest.raises(PlanError, match=r"layer '1' \(\w+\) is in training mode.*Call \.eval\(\)"):
        Network(module, 0.1)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(3), nn.LayerNorm(3)])
def test_layers_in_evaluation_mode_train(layer: nn.Module) -> None:
    network = Network(nn.Sequential(nn.Linear(D, 3), layer, nn.Linear(3, 2)).eval(), 0.1)
    for dtype in (torch.float64, torch.float32):
        w = network.initial([np.random.default_rng(1)]).to(dtype)
        point = network.at(w, torch.ones(1, 2, D, dtype=dtype), torch.zeros(1, 2, dtype=torch.int64))
        assert point.gradient(torch.ones(1, 2, dtype=dtype)).dtype is dtype


def test_frozen_layers_stay_what_they_are() -> None:
    module = nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    network = Network(module, 0.0)
    assert network.size == 8
    w = network.initial([np.random.default_rng(1)])
    x = torch.ones(1, 4, D, dtype=torch.float64)
    gradient = network.at(w, x, torch.zeros(1, 4, dtype=torch.int64)).gradient(torch.ones(1, 4, dtype=torch.float64))
    assert gradient.shape == (1, 8)


def test_building_a_network_leaves_the_global_stream_alone() -> None:
    before = torch.random.get_rng_state()
    mlp(3, [4, 4], 2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_kinks_are_known() -> None:
    assert Network(mlp(2, [3], 2, "tanh"), 0.1).smooth and not Network(mlp(2, [3], 2, "relu"), 0.1).smooth


@pytest.mark.parametrize(
    ("widths", "activation", "says"),
    [([3], "sine", "activation must be one of"), ([], "tanh", "hidden must be"), ([0], "tanh", "hidden must be")],
)
def test_wrong_networks_are_refused(widths: list[int], activation: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        mlp(2, widths, 2, activation)


def test_initial_values_have_their_scale() -> None:
    network = convolution()
    drawn = network.initial([np.random.default_rng(seed) for seed in range(400)])
    assert torch.equal(network.initial([np.random.default_rng(3)])[0], drawn[3])
    weights, biases = drawn[:, :8], drawn[:, 8:10]
    assert float(weights.abs().max()) <= 0.5 and float(weights.abs().max()) > 0.499 and not biases.any()
    assert (drawn[:, 10:12] == 1).all()  # the scale of the normalisation starts where the module has it
