"""The cubic step against brute force, its dual and its closed forms; the Krylov version against the dense one."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from learning.cubic import cauchy_step, cubic_step, dense_step, krylov_step
from learning.solvers import lanczos
from properties.parts.cubic import KINDS, cubic_model, optimality
from unlearning.errors import ShapeMismatch

WEIGHTS = (1e-9, 1e-3, 1.0, 5.0, 400.0, 1e6, 1e12)


def instances(count: int) -> list[tuple[str, float, Tensor, Tensor]]:
    """kind, M, H [1, P, P], g [1, P]."""
    found = []
    for index in range(count):
        generator = np.random.default_rng((2406, index))
        size = int(generator.choice([1, 2, 3, 5, 12]))
        h, g = cubic_model(KINDS[index % len(KINDS)], size, generator)
        weight = WEIGHTS[index // len(KINDS) % len(WEIGHTS)]
        found.append((KINDS[index % len(KINDS)], weight, torch.from_numpy(h)[None], torch.from_numpy(g)[None]))
    return found


INSTANCES = instances(280)


def model(h: np.ndarray, g: np.ndarray, weight: float, d: np.ndarray) -> float:
    return float(g @ d + 0.5 * d @ h @ d + weight / 6 * np.linalg.norm(d) ** 3)


@pytest.mark.parametrize("kind", KINDS)
def test_acceptance_numbers(kind: str) -> None:
    for own, weight, h, g in INSTANCES:
        if own == kind:
            found = dense_step(h, g, weight)
            for what, (by, allowed) in optimality(found, h[0].numpy(), g[0].numpy(), weight).items():
                assert by <= allowed, what
            if kind in ("hard", "no gradient"):
                reach = h[0].numpy() + max(0, -np.linalg.eigvalsh(h[0].numpy())[0]) * np.eye(h.shape[1])
                rest = np.linalg.norm(np.linalg.pinv(reach, rcond=1e-10, hermitian=True) @ g[0].numpy())
                limit = -2 * np.linalg.eigvalsh(h[0].numpy())[0] / weight
                assert bool(found.hard) == (rest <= limit), (kind, weight)
            else:
                assert not bool(found.hard)


def test_the_dual_is_maximal_at_alpha() -> None:
    # oracle: scipy on the concave dual of one variable, from H and g
    tried = 0
    for kind, weight, h, g in INSTANCES:
        if kind in ("hard", "no gradient", "nearly hard"):
            continue
        a, b = h[0].numpy(), g[0].numpy()
        eigenvalues, vectors = np.linalg.eigh(a)
        turned = vectors.T @ b
        floor = max(0.0, -2 * eigenvalues[0] / weight)
        width = 1 + math.sqrt(2 * np.linalg.norm(b) / weight) + floor + 2 * abs(eigenvalues).max() / weight

        def negative(log_t: float, e=eigenvalues, q=turned, m=weight, f=floor, w=width) -> float:
            alpha = f + w * math.exp(log_t)
            return 0.5 * float(np.sum(q**2 / (e + m * alpha / 2))) + m / 12 * alpha**3

        best = minimize_scalar(negative, bounds=(-60, 3), method="bounded", options={"xatol": 1e-12, "maxiter": 500})
        found = dense_step(h, g, weight)
        assert -float(found.value) == pytest.approx(best.fun, rel=1e-6), (kind, weight)
        assert -float(found.value) <= best.fun * (1 + 1e-10)  # weak duality: no dual value lies above the minimum
        tried += 1
    assert tried >= 150


@pytest.mark.parametrize("size", [1, 2])
def test_no_point_of_a_grid_is_lower(size: int) -> None:
    generator = np.random.default_rng(size)
    for _ in range(60):
        for kind in KINDS:
            h, g = cubic_model(kind, size, generator)
            weight = float(generator.choice([0.1, 1.0, 10.0]))
            found = dense_step(torch.from_numpy(h)[None], torch.from_numpy(g)[None], weight)
            radius = 1.5 * max(float(found.alpha), 1e-3)
            axes = [np.linspace(-radius, radius, 801 if size == 1 else 81)] * size
            points = np.stack(np.meshgrid(*axes), -1).reshape(-1, size)
            values = points @ g + 0.5 * np.einsum("ni,ij,nj->n", points, h, points)
            values += weight / 6 * np.linalg.norm(points, axis=1) ** 3
            assert float(found.value) <= values.min() + 1e-12


def test_no_local_descent_from_many_starts_is_lower() -> None:
    generator = np.random.default_rng(3)
    for kind in KINDS:
        h, g = cubic_model(kind, 4, generator)
        weight = 2.0
        found = dense_step(torch.from_numpy(h)[None], torch.from_numpy(g)[None], weight)
        ends = [
            minimize(lambda d: model(h, g, weight, d), 3 * generator.standard_normal(4), tol=1e-12).fun  # noqa: B023
            for _ in range(12)
        ]
        assert float(found.value) <= min(ends) + 1e-9
        assert float(found.value) == pytest.approx(min(ends), abs=1e-6)


def test_one_parameter_in_closed_form() -> None:
    # gd + ½hd² + (M/6)|d|³: |d| = (√(h² + 2M|g|) − h)/M against the sign of g
    for h, g, weight in [(2.0, 3.0, 1.0), (0.0, -8.0, 4.0), (-3.0, 1e-3, 0.5), (1e-12, 1.0, 1e-3), (5.0, 0.0, 1.0)]:
        found = cubic_step(torch.tensor([[h]], dtype=torch.float64), torch.tensor([[g]], dtype=torch.float64), weight)
        root = math.sqrt(h**2 + 2 * weight * abs(g))
        length = 2 * abs(g) / (root + h) if h > 0 else (root - h) / weight
        assert float(found.d) == pytest.approx(-math.copysign(1, g) * length, rel=1e-12, abs=0)


def test_small_weight_gives_the_newton_step() -> None:
    generator = np.random.default_rng(5)
    h, g = cubic_model("definite", 8, generator)
    newton = np.linalg.solve(h, g)
    apart = []
    for weight in (1e-4, 1e-8, 1e-12):
        found = dense_step(torch.from_numpy(h)[None], torch.from_numpy(g)[None], weight)
        apart.append(np.linalg.norm(found.step[0].numpy() + newton) / np.linalg.norm(newton))
    assert apart[0] < 1e-2 and apart[1] < 1e-6 and apart[2] < 1e-10
    assert apart[1] / apart[0] == pytest.approx(1e-4, rel=0.1)  # the difference is O(M)


def test_hard_case_in_closed_form() -> None:
    # H = diag(−2, 1), g = (0, 3), M = 1: α₀ = 4, rest = −3/(1+2) = −1, fill = √(16 − 1)
    found = cubic_step(torch.tensor([[-2.0, 1.0]]).double(), torch.tensor([[0.0, 3.0]]).double(), 1.0)
    torch.testing.assert_close(found.d, torch.tensor([[math.sqrt(15), -1.0]]).double())
    assert bool(found.hard) and float(found.alpha) == 4.0
    # the same g, M = 20: α₀ = .2 < 1, so that orthogonality alone makes no hard case
    found = cubic_step(torch.tensor([[-2.0, 1.0]]).double(), torch.tensor([[0.0, 3.0]]).double(), 20.0)
    assert not bool(found.hard) and float(found.alpha) > 0.2 and float(found.d[0, 0]) == 0


def test_no_gradient() -> None:
    zero = torch.zeros(2, 3).double()
    found = cubic_step(torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.5, -1.0]]).double(), zero, 2.0)
    assert torch.equal(found.d, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).double())  # −2λ/M along the first
    assert found.hard.tolist() == [False, True] and float(found.gap.abs().max()) < 1e-15


def test_the_hard_case_takes_one_sign_whatever_the_eigenvectors() -> None:
    generator = np.random.default_rng(8)
    h, g = (torch.from_numpy(x)[None] for x in cubic_model("hard", 6, generator))
    first = dense_step(h, g, 0.01)
    assert bool(first.hard)
    lowest = torch.linalg.eigh(h[0])[1][:, 0]
    along = float(first.step[0] @ lowest) * float(torch.sign(lowest[lowest.abs().argmax()]))
    assert along > 0
    flipped = torch.flip(torch.eye(6).double(), [0])
    again = dense_step(flipped @ h @ flipped, g @ flipped, 0.01)
    torch.testing.assert_close(again.step @ flipped, first.step, rtol=1e-9, atol=1e-9)


def test_each_replica_is_solved_as_if_alone() -> None:
    h = torch.cat([h for kind, _, h, _ in INSTANCES if h.shape[1] == 5])
    g = torch.cat([g for _, _, _, g in INSTANCES if g.shape[1] == 5])
    assert len(h) > 20
    together = dense_step(h, g, 3.0)
    for place in range(len(h)):
        alone = dense_step(h[[place]], g[[place]], 3.0)
        torch.testing.assert_close(alone.step[0], together.step[place], rtol=1e-10, atol=1e-12)
        assert bool(alone.hard) == bool(together.hard[place])


def random_symmetric(size: int, seed: int, lowest: float) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((2, size, size)))[0]
    eigenvalues = np.linspace(lowest, 2, size)
    h = turn @ (eigenvalues[:, None] * turn.transpose(0, 2, 1))
    return torch.from_numpy((h + h.transpose(0, 2, 1)) / 2), torch.from_numpy(generator.standard_normal((2, size)))


@pytest.mark.parametrize(("lowest", "weight"), [(0.1, 5.0), (-1.0, 5.0), (-1.0, 0.5), (1e-8, 50.0)])
def test_krylov_step_is_the_dense_one(lowest: float, weight: float) -> None:
    h, g = random_symmetric(120, 4, lowest)
    dense = dense_step(h, g, weight)
    found = krylov_step(lambda v: (h @ v.unsqueeze(2)).squeeze(2), g, weight, tolerance=1e-10, dimension=120)
    assert float(found.residual.max()) <= 1e-10
    torch.testing.assert_close(found.step, dense.step, rtol=1e-6, atol=1e-8)
    assert bool((found.lowest >= dense.lowest - 1e-12).all()) and bool((found.highest <= dense.highest + 1e-12).all())
    assert float(found.gap.abs().max()) < 1e-10


def test_krylov_space_too_small_says_so_and_still_decreases() -> None:
    h, g = random_symmetric(150, 6, -1.0)
    found = krylov_step(lambda v: (h @ v.unsqueeze(2)).squeeze(2), g, 0.1, tolerance=1e-10, dimension=5)
    assert float(found.residual.min()) > 1e-6 and found.dimension.tolist() == [5, 5]
    assert float(found.value.max()) < 0 and float((found.step.norm(dim=1) / found.alpha - 1).abs().max()) < 1e-8
    for k in range(2):
        expected = model(h[k].numpy(), g[k].numpy(), 0.1, found.step[k].numpy())
        assert float(found.value[k]) == pytest.approx(expected, rel=1e-10)


def test_krylov_spaces_of_low_dimension_and_of_no_gradient() -> None:
    # g in a space invariant under H, of dimension 2; a replica at rest; a replica that needs the whole space
    eigenvalues = torch.linspace(-1, 3, 40).double()
    h = torch.diag(eigenvalues).expand(3, 40, 40)
    g = torch.zeros(3, 40).double()
    g[0, [5, 30]] = torch.tensor([1.0, -2.0]).double()
    g[2] = 1.0
    found = krylov_step(lambda v: (h @ v.unsqueeze(2)).squeeze(2), g, 2.0, tolerance=1e-9, dimension=40)
    torch.testing.assert_close(found.step[[0, 2]], dense_step(h, g, 2.0).step[[0, 2]], rtol=1e-7, atol=1e-9)
    assert float(found.step[1].norm()) == 0 and bool((found.residual <= 1e-9).all())
    assert found.dimension[0] == found.dimension[1] == 16


def test_krylov_cannot_see_the_hard_case() -> None:
    h, g = torch.diag(torch.tensor([-2.0, 1.0, 1.5])).double()[None], torch.tensor([[0.0, 3.0, 1.0]]).double()
    dense = dense_step(h, g, 0.5)
    blind = krylov_step(lambda v: (h @ v.unsqueeze(2)).squeeze(2), g, 0.5, tolerance=1e-9, dimension=3)
    assert bool(dense.hard) and not bool(blind.hard)
    assert float(dense.value) < float(blind.value) - 1 and float(blind.step[0, 0]) == 0


def test_steps_are_orders_of_magnitude_shorter_where_the_hessian_is_degenerate() -> None:
    generator = np.random.default_rng(9)
    h, g = cubic_model("degenerate", 12, generator)
    pseudo = np.linalg.pinv(h, hermitian=True) @ g
    found = dense_step(torch.from_numpy(h)[None], torch.from_numpy(g)[None], 5.0)
    assert np.linalg.norm(pseudo) > 1e4 * float(found.alpha)


def test_cauchy_step_is_the_best_along_the_gradient() -> None:
    for _, weight, h, g in INSTANCES:
        step = cauchy_step(g, (h @ g.unsqueeze(2)).squeeze(2), weight)[0].numpy()
        a, b = h[0].numpy(), g[0].numpy()
        if not b.any():
            assert not step.any()
            continue
        value, unit = model(a, b, weight, step), b / np.linalg.norm(b)
        assert value < 0 and float(dense_step(h, g, weight).value) <= value * (1 - 1e-12)
        for factor in (0.5, 0.99, 1.01, 2.0):
            assert model(a, b, weight, factor * step) > value
        slope = b @ unit + step @ a @ unit + weight / 2 * np.linalg.norm(step) * (step @ unit)
        assert abs(slope) <= 1e-12 * (np.linalg.norm(b) + abs(step @ a @ unit))  # terms of the size of h²/M for tiny M


def test_bad_input() -> None:
    one = torch.ones(1, 2).double()
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight must be a finite number > 0"):
            cubic_step(one, one, weight)
    with pytest.raises(ShapeMismatch, match="gradient"):
        cubic_step(one, torch.ones(1, 3).double(), 1.0)
    with pytest.raises(ValueError, match="gradient must be finite"):
        cubic_step(one, one * math.nan, 1.0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_a_gpu() -> None:
    for _, weight, h, g in INSTANCES[:56]:
        here, there = dense_step(h, g, weight), dense_step(h.cuda(), g.cuda(), weight)
        assert float(there.value) == pytest.approx(float(here.value), rel=1e-9)
        assert bool(there.hard) == bool(here.hard)
    h, g = random_symmetric(120, 4, 0.1)
    space = lanczos(lambda v: (h.cuda() @ v.unsqueeze(2)).squeeze(2), g.cuda(), steps=20)
    assert space.basis.device.type == "cuda"
