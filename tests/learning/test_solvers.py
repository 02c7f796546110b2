"""Solvers on the replica axis against dense linear algebra, one replica at a time."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from learning.solvers import conjugate_gradient, lanczos, lissa
from unlearning.errors import NotConverged, PlanError

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, cuda])]


def matrices(eigenvalues: list[list[float]], seed: int = 0) -> Tensor:
    """Symmetric matrices [K, P, P] with these eigenvalues."""
    generator = np.random.default_rng(seed)
    found = []
    for row in eigenvalues:
        q, _ = np.linalg.qr(generator.standard_normal((len(row), len(row))))
        found.append(q @ np.diag(row) @ q.T)
    return torch.from_numpy(np.stack(found))


def by(matrix: Tensor):
    return lambda v: (matrix @ v.unsqueeze(2)).squeeze(2)


def vectors(replicas: int, size: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((replicas, size)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_conjugate_gradient(dtype: torch.dtype, device: str) -> None:
    a = matrices([[1.0, 2.0, 3.0, 4.0], [0.1, 1.0, 5.0, 10.0], [5.0] * 4]).to(device, dtype)
    b = vectors(3, 4).to(device, dtype)
    b[2] = 0  # nothing to solve
    tolerance = 1e-12 if dtype is torch.float64 else 1e-4
    found = conjugate_gradient(by(a), b, tolerance=tolerance, iterations=50)
    assert found.dtype is dtype and found.device.type == device
    assert bool(((by(a)(found) - b).norm(dim=1) <= tolerance * b.norm(dim=1)).all())
    assert not found[2].any()
    if dtype is torch.float64:
        torch.testing.assert_close(found, torch.linalg.solve(a, b), rtol=1e-8, atol=1e-9)


def test_conjugate_gradient_solves_a_replica_as_it_would_alone() -> None:
    a, b = matrices([[1.0, 2.0, 3.0], [1e-3, 1.0, 50.0]]), vectors(2, 3)
    together = conjugate_gradient(by(a), b, tolerance=1e-10, iterations=50)
    for k in range(2):
        alone = conjugate_gradient(by(a[k : k + 1]), b[k : k + 1], tolerance=1e-10, iterations=50)
        torch.testing.assert_close(alone[0], together[k], rtol=1e-13, atol=1e-14)


def test_conjugate_gradient_refuses() -> None:
    b = vectors(2, 3)
    indefinite = matrices([[1.0, 2.0, 3.0], [-1.0, 2.0, 3.0]])
    with pytest.raises(NotConverged, match=r"met curvature -.*, needs > 0, in .* position 1: .* Raise the damping"):
        conjugate_gradient(by(indefinite), b, tolerance=1e-10, iterations=50)
    stiff = matrices([[2.0, 2.0, 2.0], [1e-6, 1.0, 1e3]])
    with pytest.raises(
        NotConverged, match=r"residual .*, needs <= .*, in the replica at position 1 after 2 iterations"
    ):
        conjugate_gradient(by(stiff), b, tolerance=1e-10, iterations=2)
    b[0, 0] = torch.nan
    with pytest.raises(NotConverged, match="the replica at position 0"):  # used to return zeros
        conjugate_gradient(by(matrices([[1.0, 2.0, 3.0]] * 2)), b, tolerance=1e-10, iterations=50)


def test_lanczos_in_a_whole_space_is_the_matrix() -> None:
    a = matrices([[-2.0, -1.0, 0.0, 0.5, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    found = lanczos(by(a), vectors(2, 5), steps=9)
    assert found.basis.shape == (2, 5, 5)
    torch.testing.assert_close(found.eigenvalues(), torch.linalg.eigvalsh(a), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.basis @ found.basis.mT, torch.eye(5).double().expand(2, 5, 5))
    torch.testing.assert_close(found.matrix(), found.basis @ a @ found.basis.mT, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_ritz_values_lie_inside_and_find_the_extremes(device: str) -> None:
    spread = np.linspace(-0.3, 0.3, 58).tolist()
    a = matrices([[-2.0, *spread, 5.0], [-0.5, *spread, 1.0]]).to(device)
    exact = torch.linalg.eigvalsh(a)
    for steps in (2, 5, 20):
        ritz = lanczos(by(a), vectors(2, 60).to(device), steps=steps).eigenvalues()
        assert bool((ritz[:, 0] >= exact[:, 0] - 1e-12).all()) and bool((ritz[:, -1] <= exact[:, -1] + 1e-12).all())
    torch.testing.assert_close(ritz[:, [0, -1]], exact[:, [0, -1]], rtol=1e-6, atol=1e-6)


def test_an_exhausted_space_is_padded_inside_its_ritz_values() -> None:
    a = matrices([[1.0, 1.0, 7.0, 7.0, 7.0], [1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 5])
    start = vectors(3, 5)
    found = lanczos(by(a), start, steps=5)
    norms = found.basis.norm(dim=2)
    assert [int((row > 0.5).sum()) for row in norms] == [2, 5, 1]
    assert bool(((norms - 1).abs() < 1e-12).logical_or(norms == 0).all())
    values = found.eigenvalues()
    torch.testing.assert_close(values[:, 0], torch.tensor([1.0, 1.0, 2.0]).double())
    torch.testing.assert_close(values[:, -1], torch.tensor([7.0, 5.0, 2.0]).double())


def test_lanczos_from_nowhere() -> None:
    start = vectors(2, 3)
    start[0] = 0
    for dtype in (torch.float64, torch.float32):
        found = lanczos(by(matrices([[1.0, 2.0, 3.0]] * 2).to(dtype)), start.to(dtype), steps=3)
        assert not found.basis[0].any() and not found.eigenvalues()[0].any()
        assert bool(found.basis.isfinite().all()) and float(found.eigenvalues()[1, -1]) == pytest.approx(3, rel=1e-5)


def lissa_one(at, g: Tensor, h: float, depth: int) -> Tensor:
    """The recursion in a plain loop."""
    v = g.clone()
    for t in range(1, depth + 1):
        v = g + v - at(t) @ v / h
    return v / h


def constant(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_lissa_is_the_plain_loop_with_depths_of_their_own() -> None:
    a, g = matrices([[1.0, 2.0, 3.0], [0.5, 1.0, 4.0]]), vectors(2, 3)
    changing = torch.stack([a * (1 + 0.1 * math.sin(t)) for t in range(20)])
    found = lissa(
        lambda t, v: v @ changing[t],
        g,
        scale=constant(4.0, 5.0),
        depth=torch.tensor([7, 19]),
        curvature=constant(0.5, 0.3),
        probe=vectors(2, 3, 5),
    )
    for k, (h, depth) in enumerate([(4.0, 7), (5.0, 19)]):
        torch.testing.assert_close(found.solution[k], lissa_one(lambda t, k=k: changing[t, k], g[k], h, depth))
        norms = torch.linalg.matrix_norm(changing[1 : depth + 1, k], ord=2)
        assert 0.9 * float(norms.max()) < float(found.norm_lower[k]) <= float(norms.max())
        assert float(found.curvature_upper[k]) >= float(torch.linalg.eigvalsh(changing[1 : depth + 1, k]).min())


def test_lissas_bias_is_attained() -> None:
    # one eigenvalue, the smallest: v_s/h = (1 − (1 − c/h)^{s+1})·g/c exactly
    c, h, g = 0.5, 4.0, constant(1.0).unsqueeze(0)
    for depth in (1, 3, 30):
        found = lissa(
            lambda _, v: c * v, g, scale=constant(h), depth=torch.tensor([depth]), curvature=constant(c)
        ).solution
        assert float(1 / c - found) == pytest.approx((1 - c / h) ** (depth + 1) / c, rel=1e-12)


def test_lissa_refuses() -> None:
    a, g = matrices([[1.0, 2.0, 3.0], [1.0, 2.0, 30.0]]), vectors(2, 3)
    arguments = {"depth": torch.tensor([40, 40]), "curvature": constant(1.0, 1.0)}
    with pytest.raises(
        PlanError, match=r"scale must be at least .* measured 30 in .* position 1, got 5. Write scale = 60"
    ):
        lissa(lambda _, v: v @ a, g, scale=constant(5.0, 5.0), probe=vectors(2, 3, 2), **arguments)
    with pytest.raises(NotConverged, match=r"lissa (grew to norm|met curvature).* in the replica at position 1"):
        lissa(lambda _, v: v @ a, g, scale=constant(5.0, 5.0), **arguments)
    with pytest.raises(NotConverged, match="in the replica at position 7"):
        lissa(lambda _, v: v @ a, g, scale=constant(5.0, 5.0), positions=[4, 7], **arguments)
    indefinite = matrices([[1.0, 2.0, 3.0], [-1.0, 2.0, 3.0]])
    with pytest.raises(NotConverged, match=r"met curvature -.* in .* position 1: a minibatch's damped Hessian"):
        lissa(lambda _, v: v @ indefinite, g, scale=constant(5.0, 5.0), **arguments)
    # an eigenvalue below the one promised: the iterate outgrows h/c·‖g‖ although every curvature is positive
    flat = matrices([[0.1, 0.1, 0.1]] * 2)
    found = lissa(lambda _, v: v @ flat, g, scale=constant(5.0, 5.0), **arguments)
    assert float(found.curvature_upper.max()) == pytest.approx(0.1)
    g[1, 0] = torch.nan
    with pytest.raises(NotConverged, match="position 1"):
        lissa(lambda _, v: v @ a, g, scale=constant(40.0, 40.0), **arguments)
