"""Hessian-vector products of networks: one, several, and more than a block, against the dense Hessian."""

import pytest
import torch
from torch import nn

from learning import networks
from learning.networks import Network, mlp

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
