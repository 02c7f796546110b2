"""Hessian-vector products of networks: one, several, and more than a block, against the dense Hessian."""

import pytest
import torch
from torch import nn

from learning import networks
from learning.networks import Network, mlp
from unlearning.errors import PlanError, ShapeMismatch

SMALL = {
    "mlp": (lambda: mlp(3, [4], 2), (3,)),
    "softplus": (lambda: mlp(3, [3, 2], 3, "softplus"), (3,)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)), (1, 3, 3)),
    "group norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Linear(4, 2)), (3,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)), (3,)),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("replicas", "count"), [(1, 1), (2, 1), (1, 5), (3, 4)])
@pytest.mark.parametrize("cached", [1, 2**19])
def test_products_are_the_dense_hessians(
    name: str, replicas: int, count: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "_CACHED", cached)  # 1: every vector is a block of its own
    build, shape = SMALL[name]
    network = Network(build(), 0.3)
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator)

    parameters, vectors = normal(replicas, network.size), normal(replicas, count, network.size)
    features, labels = normal(replicas, 5, *shape), torch.randint(0, 2, (replicas, 5), generator=generator)
    weights = normal(replicas, 5).abs()
    found = network.at(parameters, features, labels).hvp(weights, vectors)
    assert found.requires_grad is False
    for k in range(replicas):

        def loss(w: torch.Tensor, k: int = k) -> torch.Tensor:
            return (network.record_losses(w, features[k], labels[k]) * weights[k]).sum()

        dense = torch.autograd.functional.hessian(loss, parameters[k])
        torch.testing.assert_close(found[k], vectors[k] @ dense, rtol=1e-7, atol=1e-8)


def test_dropped_regulariser_would_be_seen() -> None:
    with_it, without = Network(mlp(3, [4], 2), 0.3), Network(mlp(3, [4], 2), 0.0)
    w, v = torch.zeros(1, with_it.size).double(), torch.ones(1, 1, with_it.size).double()
    at = torch.zeros(1, 2, 3).double(), torch.zeros(1, 2, dtype=torch.long)
    weights = torch.full((1, 2), 0.5).double()
    difference = with_it.at(w, *at).hvp(weights, v) - without.at(w, *at).hvp(weights, v)
    torch.testing.assert_close(difference, 0.3 * v)


# What is known of kinks -----------------------------------------------------------------------------------------------


class Own(nn.Module):
    """A layer and a function in a forward of its own."""

    def __init__(self, function) -> None:
        super().__init__()
        self.first, self.function = nn.Linear(3, 4), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.first(x))


class Branching(Own):
    """What a trace cannot follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) if x.sum() > 0 else self.first(-x).tanh()


class Deep(nn.Sequential):
    """A container with a name of its own, and no forward."""


KINKED = [
    *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.RReLU().eval(), nn.ELU(), nn.CELU(), nn.SELU()),
    *(nn.Hardshrink(), nn.Softshrink(), nn.Threshold(0.1, 0.0), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh()),
    *(nn.Softsign(), nn.AdaptiveMaxPool1d(2), nn.MaxPool1d(2), nn.LPPool1d(2, 2), nn.Softplus(threshold=1.0)),
    *(nn.RNN(4, 4, nonlinearity="relu"), nn.TransformerEncoderLayer(4, 1, 4).eval(), nn.Embedding(3, 4, max_norm=1.0)),
]
SMOOTH = [
    *(nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.LogSigmoid(), nn.Softmax(-1)),
    *(nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4).eval(), nn.AvgPool1d(2), nn.Identity(), nn.Flatten()),
    *(nn.Embedding(3, 4), nn.Dropout(0.5).eval(), nn.RNN(4, 4), nn.Conv1d(4, 4, 1), Deep(nn.Tanh()), nn.Softplus(2.0)),
]


def around(layer: nn.Module) -> Network:
    return Network(nn.Sequential(nn.Linear(3, 4), layer), 0.1)


@pytest.mark.parametrize("layer", KINKED, ids=lambda layer: type(layer).__name__)
def test_layers_with_a_kink_are_named(layer: nn.Module) -> None:
    network = around(layer)
    assert f"1 ({type(layer).__name__})" in network.kinks and network.smooth is False
    assert network.smoothness_note.startswith("not three times differentiable: layer")


@pytest.mark.parametrize("layer", SMOOTH, ids=lambda layer: type(layer).__name__)
def test_layers_on_the_list_of_smooth_ones(layer: nn.Module) -> None:
    network = around(layer)
    assert network.kinks == () and network.smooth
    assert network.smoothness_note == "no known kink: every layer is on the list of smooth ones"


@pytest.mark.parametrize(
    ("function", "kink"),
    [
        (torch.relu, "relu"),
        (nn.functional.relu, "relu"),
        (lambda x: x.relu_(), "relu_"),
        (lambda x: x.clamp(min=0), "clamp"),
        (lambda x: x / (1 + abs(x)), "abs"),
        (lambda x: nn.functional.max_pool1d(x, 2), "max_pool1d"),
        (lambda x: torch.maximum(x, 0 * x), "maximum"),
        (lambda x: nn.functional.leaky_relu(x, 0.1), "leaky_relu"),
        (lambda x: nn.functional.softplus(x, 1.0, 0.5), "softplus"),
    ],
)
def test_functions_with_a_kink_are_found_by_tracing(function, kink: str) -> None:
    assert Network(Own(function), 0.1).kinks == (f"{kink} in Own",)
    assert Network(nn.Sequential(nn.Tanh(), Own(function)), 0.1).kinks == (f"{kink} in 1 (Own)",)


def test_what_is_traced_and_on_the_list_is_smooth_as_far_as_known() -> None:
    for function in (torch.tanh, lambda x: nn.functional.gelu(x).flatten(1) / 2 + x**2):
        network = Network(Own(function), 0.1)
        assert network.smooth and network.smoothness_note.startswith("no known kink: every layer")


def test_what_is_on_no_list_is_unknown_and_said_to_be() -> None:
    hooked = nn.Linear(3, 4)
    hooked.register_forward_hook(lambda module, given, out: out.relu())
    for module, name in (
        (Branching(torch.tanh), "Branching"),
        (Own(torch.sqrt), "sqrt in Own"),
        (Own(lambda x: x / x.sum()), "truediv in Own"),
        (Own(lambda x: torch.where(x > 0, x, 0 * x)), "where in Own"),
        (nn.Sequential(nn.Linear(3, 4), nn.CosineSimilarity()), "1 (CosineSimilarity)"),
        (nn.Sequential(hooked), "0 (Linear)"),
    ):
        network = Network(module, 0.1)
        assert network.kinks == () and network.smooth
        assert network.smoothness_note.startswith("no known kink; whether there is one is unknown of layer")
        assert name in network.smoothness_note


@pytest.mark.parametrize(
    "layer",
    [
        *(nn.RReLU(), nn.Dropout(), nn.BatchNorm1d(4), nn.InstanceNorm1d(4, track_running_stats=True)),
        *(nn.LSTM(4, 4, 2, dropout=0.5), nn.BatchNorm1d(4, track_running_stats=False).eval()),
        nn.FractionalMaxPool2d(2, 2).eval(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_draw_or_keep_statistics_are_refused(layer: nn.Module) -> None:
    with pytest.raises(PlanError, match=rf"model layer '1' \({type(layer).__name__}\) .*, or leave the layer out"):
        around(layer)
    around(nn.InstanceNorm1d(4))
    around(nn.RReLU().eval())


def test_randomness_in_a_forward_is_refused_with_the_way_out() -> None:
    network = Network(Own(nn.functional.dropout), 0.1)
    at = torch.zeros(2, network.size).double(), torch.ones(2, 5, 3).double(), torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(PlanError, match="model Own must draw no random numbers.*training=self.training"):
        network.at(*at).gradient(torch.ones(2, 5).double())


def test_records_of_another_width_are_refused() -> None:
    network = Network(mlp(3, [4], 2), 0.1)
    labels = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(ShapeMismatch, match=r"in features: expected \[2, 5, 3\], got \[2, 5, 7\]"):
        network.at(torch.zeros(2, network.size), torch.zeros(2, 5, 7), labels)
    with pytest.raises(ShapeMismatch, match=rf"in parameters: expected \[2, {network.size}\], got \[2, 3\]"):
        network.at(torch.zeros(2, 3), torch.zeros(2, 5, 3), labels)
