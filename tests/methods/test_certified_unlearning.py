"""Certified unlearning against dense autograd, its closed forms, several requests, networks, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from learning.networks import Network, mlp
from learning.task import SGD, Adam, Task
from methods.zhang2024bounds import premises
from methods.zhang2024certified import CertifiedUnlearning, Unlearned
from properties import LAWS
from properties.problems import Descent, Problem
from unlearning.claim import Status
from unlearning.errors import Diverged, NotConverged, PlanError
from unlearning.protocols import HasDiagnostics, HasFailureProbability, HasPriorSensitivity, Method

from .oracles import gradient, hessian

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, cuda])]
CU = CertifiedUnlearning
NETWORK = Problem("network", 8, 2, 0.05, 1.0, "round", 3, 2, 3, Descent(3, 3, 0.3))


def in_ball(problem: Problem, radius: float = 2.0, device: str = "cpu") -> Task:
    """The problem's task, its descent projected onto a ball."""
    task = problem.task(device)
    return replace(task, recipe=replace(task.recipe, radius=radius)) if isinstance(task.recipe, SGD) else task


def unlearn(method: CertifiedUnlearning, task: Task, problem: Problem) -> tuple[Tensor, Unlearned]:
    """Learned parameters, and the state without the request."""
    device = str(task.device)
    learned = method.learn(task, problem.members(device), streams=problem.streams)
    after = method.unlearn(learned, problem.request(device), streams=problem.streams.child("unlearning"))
    return learned.parameters, after


def derivatives(task: Task, flat: Tensor, own: list[int]) -> tuple[Tensor, Tensor]:
    """Gradient and dense Hessian of the mean loss, record by record."""
    return sum(gradient(task, flat, i) for i in own) / len(own), sum(hessian(task, flat, i) for i in own) / len(own)


def inside(w: Tensor, radius: float) -> Tensor:
    return w if w.norm() <= radius else w * radius / w.norm()


@pytest.mark.parametrize("model", ["ridge", "binary", "softmax", "network"])
@pytest.mark.parametrize("radius", [2.0, 0.3])
def test_naive_oracle(model: str, radius: float) -> None:
    problem = replace(NETWORK, model=model)
    task = in_ball(problem, radius)
    start, after = unlearn(CU(damping=1.5), task, problem)
    for k in range(2):
        g, h = derivatives(task, start[k], (~problem.request()[k]).nonzero().flatten().tolist())
        step = torch.linalg.solve(h + 1.5 * torch.eye(len(h), dtype=h.dtype), g)
        torch.testing.assert_close(after.parameters[k], inside(start[k] - step, radius), rtol=1e-8, atol=1e-9)
        values = torch.linalg.eigvalsh(h)
        assert float(after.report.ritz_least[k]) == pytest.approx(float(values[0]), abs=1e-9)
        assert float(after.report.ritz_largest[k]) == pytest.approx(float(values[-1]), abs=1e-9)
        assert float(after.report.gradient_before[k]) == pytest.approx(float(g.norm()), rel=1e-10)
    assert float(after.parameters.norm(dim=1).max()) <= radius * (1 + 1e-12)


@pytest.mark.parametrize("model", ["ridge", "softmax", "network"])
def test_lissa_against_a_plain_loop(model: str) -> None:
    problem = replace(NETWORK, model=model)
    task = in_ball(problem)
    method = CU(damping=6.0, solver="lissa", batch=3, runs=2, depth=7, scale=20.1, bound="measured")
    start, after = unlearn(method, task, problem)
    for k in range(2):
        kept = (~problem.request()[k]).nonzero().flatten().tolist()
        g, _ = derivatives(task, start[k], kept)
        own = [hessian(task, start[k], i) for i in kept]
        generator = problem.streams.child("unlearning").generator("lissa", k)
        generator.standard_normal((2, len(g)))  # the probes of the scale
        if task.constants is None or method.scale < task.constants.smoothness_upper + 6:
            generator.integers(0, len(kept), (2, 3))  # the batch that the scale is first checked on
        v = [g.clone(), g.clone()]
        for _ in range(7):
            drawn = generator.integers(0, len(kept), (2, 3))
            for run in range(2):
                h_t = sum(own[i] for i in drawn[run]) / 3
                v[run] = g + v[run] - (h_t @ v[run] + 6.0 * v[run]) / 20.1
        expected = inside(start[k] - (v[0] + v[1]) / 2 / 20.1, 2.0)
        torch.testing.assert_close(after.parameters[k], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("model", ["binary", "softmax", "network"])
def test_full_batch_lissa_agrees_with_conjugate_gradients(model: str) -> None:
    problem = replace(NETWORK, model=model)
    task = in_ball(problem)
    exact = unlearn(CU(damping=3.0), task, problem)[1]
    method = CU(damping=3.0, solver="lissa", scale=12.0, tolerance=1e-9, compare=True)
    found = unlearn(method, task, problem)[1]
    torch.testing.assert_close(found.parameters, exact.parameters, rtol=0, atol=1e-8)
    assert float(found.report.difference.max()) < 1e-8 and float(found.report.residual.max()) < 1e-8


def test_many_minibatch_runs_approach_the_exact_inverse() -> None:
    problem = Problem("softmax", 20, 3, 0.3, 1.0, "round", 5, 1, 4)
    few, many = (
        unlearn(CU(0.5, "lissa", "measured", batch=2, depth=60, runs=b, compare=True), problem.task(), problem)[1]
        for b in (2, 800)
    )
    assert float(many.report.difference) < 0.03 < float(few.report.difference)


@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_least_squares_in_closed_form(damping: float) -> None:
    # F_r is quadratic with minimiser w_r: w̃ = w* − (H + λ_d)⁻¹H(w* − w_r), and w_r itself without damping
    problem = Problem("ridge", 20, 4, 0.01, 2.0, "flat", 7, 2, 2)
    task = problem.task()
    start, after = unlearn(CU(damping=damping), task, problem)
    for k in range(2):
        kept = ~problem.request()[k]
        x, y = task.features()[kept].numpy(), task.labels()[kept].numpy()
        h = x.T @ x / len(x) + 0.01 * np.eye(4)
        exact = np.linalg.solve(h, x.T @ y / len(x))
        expected = start[k].numpy() - np.linalg.solve(h + damping * np.eye(4), h @ (start[k].numpy() - exact))
        np.testing.assert_allclose(after.parameters[k].numpy(), expected, atol=1e-7)
        if damping == 0:
            np.testing.assert_allclose(after.parameters[k].numpy(), exact, atol=1e-7)
    assert CU(damping=damping).declaration.exact_on_quadratics is (damping == 0)


def test_requests_in_sequence_start_from_the_projected_unnoised_model() -> None:
    problem = replace(NETWORK, request_size=4)
    task, request = in_ball(problem, 0.4), problem.request()
    first = request & (request.cumsum(1) <= 2)
    method = CU(damping=1.5)
    streams = problem.streams.child("unlearning")
    learned = method.learn(task, problem.members(), streams=problem.streams)
    half = method.unlearn(learned, first, streams=streams)
    done = method.unlearn(half, request & ~first, streams=streams)
    assert torch.equal(done.members, ~request)
    for k in range(2):
        g, h = derivatives(task, half.parameters[k], (~request[k]).nonzero().flatten().tolist())
        step = torch.linalg.solve(h + 1.5 * torch.eye(len(h), dtype=h.dtype), g)
        torch.testing.assert_close(done.parameters[k], inside(half.parameters[k] - step, 0.4), rtol=1e-8, atol=1e-9)
    released = method.release(half, 3.0, streams=problem.streams.child("noise"))
    assert float((released - half.parameters).norm()) > 1  # noise is on the released copy only


def test_replicas_with_an_empty_request_stay_as_they_are() -> None:
    problem = replace(NETWORK, replicas=3)
    task, request, streams = in_ball(problem), problem.request(), problem.streams.child("unlearning")
    method = CU(damping=1.5, hessian_lipschitz=0.01, residual=0.0)
    learned = method.learn(task, problem.members(), streams=problem.streams)
    assert method.unlearn(learned, torch.zeros_like(request), streams=streams) is learned
    assert method.certify(learned, request).sensitivity_upper == (0.0,) * 3 and method.diagnostics(learned) == ()
    mixed = request.clone()
    mixed[1] = False
    some = method.unlearn(learned, mixed, streams=streams)
    every = method.unlearn(learned, request, streams=streams)
    assert torch.equal(some.parameters[1], learned.parameters[1])
    torch.testing.assert_close(some.parameters[[0, 2]], every.parameters[[0, 2]], rtol=1e-12, atol=1e-13)
    bounds = method.certify(some, mixed).sensitivity_upper
    assert bounds[1] == 0 and bounds[0] == pytest.approx(method.certify(every, request).sensitivity_upper[0])
    # the replica that waited is unlearned later; what was measured of the others stays
    rest = torch.zeros_like(request)
    rest[1] = request[1]
    later = method.unlearn(some, rest, streams=streams)
    torch.testing.assert_close(later.parameters, every.parameters, rtol=1e-12, atol=1e-13)
    assert later.report.sensitivity_upper.tolist() == pytest.approx(every.report.sensitivity_upper.tolist())
    taken = later.take([2, 0])
    assert torch.equal(taken.report.residual, later.report.residual[[2, 0]])
    assert torch.equal(taken.parameters, later.parameters[[2, 0]])


def test_diagnostics() -> None:
    method = CU(0.5, "lissa", "theorem-3.6", batch=2, depth=40, failure_probability=1e-6, compare=True)
    problem = Problem("binary", 12, 2, 0.1, 1.0, "round", 3, 2, 1)
    after = unlearn(method, problem.task(), problem)[1]
    found = {d.name: d for d in method.diagnostics(after)}
    assert list(found) == [
        "Theorem 3.4, as published",
        "Theorem 3.4 over 2R",
        "Theorem 3.6, as published",
        "2R",
        "λ_min used",
        "λ_min of minibatches",
        "λ_min, Lanczos",
        "λ_max, Lanczos",
        "‖∇F_r‖ before",
        "‖∇F_r‖ after",
        "step length",
        "residual of the linear system",
        "LiSSA against conjugate gradients",
    ]
    assert all(len(d.values) == 2 and np.isfinite(d.values).all() for d in found.values())
    assert found["‖∇F_r‖ after"].values < found["‖∇F_r‖ before"].values
    # an unproved constant makes the theorem infinite, and it is not shown
    plain = CU(damping=1.5)
    names = {d.name for d in plain.diagnostics(unlearn(plain, in_ball(NETWORK), NETWORK)[1])}
    assert "2R" in names and not any("Theorem" in name for name in names)


def test_protocols_and_declaration() -> None:
    assert isinstance(CU(), (Method, HasDiagnostics)) and isinstance(CU(), HasPriorSensitivity)
    assert isinstance(CU(), HasFailureProbability) and CU().failure_probability == 0


# Networks -------------------------------------------------------------------------------------------------------------


def test_assumptions_of_a_network() -> None:
    task, request = in_ball(NETWORK, 20.0), NETWORK.request()
    trivial = CU(damping=1.5).certify(unlearn(CU(damping=1.5), task, NETWORK)[1], request)
    assert trivial.sensitivity_upper == (40.0, 40.0)
    assert [a.status for a in trivial.assumptions] == [Status.PROVED, Status.ASSUMED]  # the ball, and rounding
    task = in_ball(replace(NETWORK, regularisation=1.0), 1.0)
    method = CU(damping=0.5, hessian_lipschitz=1e-3, residual=0.0)
    found = method.certify(unlearn(method, task, NETWORK)[1], request)
    assert max(found.sensitivity_upper) < 2.0
    status = {a.statement: a.status for a in found.assumptions}
    assert status["the Hessian is C-Lipschitz"] is Status.ASSUMED
    assert status["‖∇F_r‖ ≤ G at the retrained model"] is Status.ASSUMED
    assert status["the Hessian's smallest eigenvalue is at least λ_min"] is Status.ESTIMATED
    given = replace(method, minimum_eigenvalue=0.4)
    found = given.certify(unlearn(given, task, NETWORK)[1], request)
    assert {a.value: a.status for a in found.assumptions}[0.4] is Status.ASSUMED
    refuted = unlearn(replace(method, minimum_eigenvalue=10.0), task, NETWORK)[1]  # Lanczos knows better
    assert float(refuted.report.eigenvalue.max()) < 2
    assert torch.equal(refuted.report.eigenvalue, refuted.report.ritz_least)


def kinked(regularisation: float, radius: float) -> Task:
    return replace(in_ball(NETWORK, radius), objective=Network(mlp(2, [3], 2, "relu"), regularisation))


@pytest.mark.parametrize("bound", ["theorem-3.4", "theorem-3.6", "tightened", "measured"])
@pytest.mark.parametrize("radius", [1.0, 20.0])  # the theorem, were it true, is the smaller one; and the larger one
def test_a_kink_is_a_violated_premise_of_the_bound_asked_for_and_delta_rests_on_the_ball(
    bound: str, radius: float
) -> None:
    lissa = {"theorem-3.6": {"solver": "lissa", "failure_probability": 0.1, "scale": 30.0, "smoothness": 20.0}}
    lissa["tightened"] = {"solver": "lissa", "scale": 30.0}
    method = CU(damping=0.5, bound=bound, hessian_lipschitz=1e-3, residual=0.0, **lissa.get(bound, {}))
    after = unlearn(method, kinked(1.0, radius), NETWORK)[1]
    found = method.certify(after, NETWORK.request())
    assert found.sensitivity_upper == (2 * radius,) * 2 and found.theorem == "both models lie in the ball: 2R"
    assert found.failure_probability == 0 and found.status is Status.VIOLATED
    bent = [a for a in found.assumptions if a.status is Status.VIOLATED]
    names = ["the Hessian is C-Lipschitz"] + ["the loss is L-smooth"] * (bound == "theorem-3.6")
    assert [a.statement for a in bent] == names
    for one in bent:
        assert one.how == (
            "not three times differentiable: layer 1 (ReLU); no theorem is used, and Δ = 2R rests on the ball alone"
        )
    shown = {d.name: d for d in method.diagnostics(after)}
    theorem = shown["Theorem 3.4, as published"]
    assert not theorem.is_sensitivity and shown["2R"].is_sensitivity and "violated" not in shown["2R"].meaning
    assert theorem.meaning.endswith("violated and not used: not three times differentiable: layer 1 (ReLU)")
    if radius == 1.0:
        assert max(theorem.values) < 2 * radius  # what would have been certified
    assert method.prior_sensitivity_upper(kinked(1.0, radius), 2) == 2 * radius
    smooth = replace(kinked(1.0, radius), objective=Network(mlp(2, [3], 2), 1.0))
    assert method.certify(unlearn(method, smooth, NETWORK)[1], NETWORK.request()).status is not Status.VIOLATED


def test_a_kink_is_no_premise_where_no_constant_is_given_or_asked_for() -> None:
    for method in (CU(damping=1.5), CU(damping=1.5, bound="trivial", hessian_lipschitz=1.0)):
        learned = method.learn(kinked(0.1, 2.0), NETWORK.members(), streams=NETWORK.streams)
        after = method.unlearn(learned, NETWORK.request(), streams=NETWORK.streams)
        found = method.certify(after, NETWORK.request())
        assert found.sensitivity_upper == (4.0, 4.0) and found.status is Status.ASSUMED
    given = CU(damping=1.5, hessian_lipschitz=1.0)
    nothing = torch.zeros_like(NETWORK.request())
    assert given.certify(given.unlearn(learned, nothing, streams=NETWORK.streams), nothing).largest == 0
    assert given.certify(learned, nothing).status is Status.ASSUMED


def test_what_is_not_known_of_a_module_is_said_where_its_constants_are_assumed() -> None:
    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x).square().sqrt()

    task = replace(in_ball(NETWORK, 1.0), objective=Network(Mine(), 1.0))
    bent = CU(hessian_lipschitz=1e-3, residual=0.0)
    assert "sqrt in Mine" in premises(bent, task).statements["lipschitz"].how
    known = premises(bent, in_ball(NETWORK, 1.0)).statements["lipschitz"]
    assert known.status is Status.ASSUMED and known.how.startswith("given by hand; no known kink")


def test_meanings_speak_of_the_last_request() -> None:
    problem = replace(NETWORK, request_size=4)
    task, request, method = in_ball(problem), problem.request(), CU(damping=1.5)
    first = request & (request.cumsum(1) <= 2)
    streams = problem.streams.child("unlearning")
    learned = method.learn(task, problem.members(), streams=problem.streams)
    half = method.unlearn(learned, first, streams=streams)
    done = method.unlearn(half, request & ~first, streams=streams)
    shown = {d.name: d for d in method.diagnostics(done)}
    for k in range(2):
        g, _ = derivatives(task, half.parameters[k], (~request[k]).nonzero().flatten().tolist())
        assert shown["‖∇F_r‖ before"].values[k] == pytest.approx(float(g.norm()), rel=1e-10)
    lengths = (done.parameters - half.parameters).norm(dim=1).tolist()
    assert shown["step length"].values == pytest.approx(lengths)
    assert "before the last request" in shown["‖∇F_r‖ before"].meaning
    assert all("original" not in d.meaning for d in shown.values())


def test_messages_name_the_position_of_the_replica() -> None:
    problem = replace(NETWORK, regularisation=0.0, replicas=3)
    request = problem.request()
    request[:2] = False
    task = in_ball(problem)
    state = CU().learn(task, problem.members(), streams=problem.streams)
    with pytest.raises(PlanError, match="measured in the replica at position 2, got 0. Raise parameters.damping"):
        CU().unlearn(state, request, streams=problem.streams)
    ridge = Problem("softmax", 30, 6, 1e-3, 3.0, "flat", 5, 3, 1)
    request = ridge.request()
    request[:2] = False
    state = CU().learn(ridge.task(), ridge.members(), streams=ridge.streams)
    with pytest.raises(NotConverged, match="in the replica at position 2 after 2 iterations"):
        CU(iterations=2).unlearn(state, request, streams=ridge.streams)
    with pytest.raises(PlanError, match=r"measured .*, got 5e-05. Write scale = \d"):
        CU(solver="lissa", scale=5e-5, batch=2, depth=9, bound="measured").unlearn(
            state, request, streams=ridge.streams
        )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("solver", ["conjugate-gradient", "lissa"])
def test_single_precision_and_devices(solver: str, device: str) -> None:
    method = CU(damping=6.0, solver=solver, bound="measured", scale=20.0, depth=30, batch=4)
    exact = unlearn(method, in_ball(NETWORK), NETWORK)[1]
    for single in (False, True):
        problem = replace(NETWORK, single_precision=single)
        found = unlearn(method, in_ball(problem, device=device), problem)[1]
        assert found.parameters.dtype is (torch.float32 if single else torch.float64)
        assert found.parameters.device.type == device
        slack = 1e-4 if single else 1e-10
        torch.testing.assert_close(found.parameters.cpu().double(), exact.parameters, rtol=slack, atol=slack)
        assert found.report.sensitivity_upper.dtype is torch.float64


@pytest.mark.parametrize("law", ["replicas_apart"])
def test_laws_with_lissa(law: str) -> None:
    LAWS[law](CU(damping=1.0, solver="lissa", bound="measured", batch=2, runs=2, depth=20))


# Bad input ------------------------------------------------------------------------------------------------------------


def test_recipes_without_a_ball_are_refused() -> None:
    for recipe in (SGD(1, 2, 0.1), Adam(1, 2, 0.1)):
        task = replace(NETWORK.task(), recipe=recipe)
        for refuse in (CU().check_task, lambda t: CU().learn(t, NETWORK.members(), streams=NETWORK.streams)):
            with pytest.raises(PlanError, match=r"recipe.radius must be given .* write radius = 20"):
                refuse(task)
    CU().check_task(replace(NETWORK.task(), recipe=Adam(1, 2, 0.1, radius=20.0)))


def test_requests_that_cannot_be_met() -> None:
    task, request = in_ball(NETWORK), NETWORK.request()
    after = unlearn(CU(damping=1.5), task, NETWORK)[1]
    with pytest.raises(ValueError, match="still in the training set"):
        CU(damping=1.5).unlearn(after, request, streams=NETWORK.streams)
    with pytest.raises(ValueError, match="must leave at least one record"):
        CU(damping=1.5).unlearn(after, ~request, streams=NETWORK.streams)


def test_damping_below_the_curvature_is_refused_with_the_eigenvalue() -> None:
    problem = replace(NETWORK, regularisation=0.0)
    task = in_ball(problem)
    state = CU().learn(task, problem.members(), streams=problem.streams)
    kept = (~problem.request()[0]).nonzero().flatten().tolist()
    least = min(float(torch.linalg.eigvalsh(derivatives(task, state.parameters[k], kept)[1])[0]) for k in range(2))
    assert least < 0
    with pytest.raises(PlanError, match=r"damping must be > 0\.\d+, minus the smallest eigenvalue .*, got 0. Raise"):
        CU().unlearn(state, problem.request(), streams=problem.streams)


def test_a_scale_below_the_hessian_is_refused_with_the_measured_norm() -> None:
    problem = Problem("ridge", 12, 3, 0.1, 3.0, "round", 3, 2, 1)
    with pytest.raises(PlanError, match=r"at least the largest norm .*, measured \d+\.\d+, got 1\. Write scale = \d"):
        unlearn(CU(0.5, "lissa", "measured", scale=1.0, batch=2, depth=50), problem.task(), problem)
    # a scale between the largest norm of a batch and L + λ_d is accepted, as estimated
    method = CU(0.5, "lissa", "tightened", scale=9.0, depth=50)
    found = method.certify(unlearn(method, problem.task(), problem)[1], problem.request())
    scales = [a.status for a in found.assumptions if a.value == 9.0]
    assert scales in ([], [Status.ESTIMATED])
    with pytest.raises(PlanError, match=r"scale must be given for solver = \"lissa\" .* Write scale = "):
        unlearn(CU(5.0, "lissa", "measured", depth=5), in_ball(NETWORK), NETWORK)


def test_a_batch_that_comes_late_is_checked_too() -> None:
    # one record in 400 is long: the first minibatches are short, and the probe meets the long one on the way
    problem = Problem("ridge", 400, 2, 0.1, 1.0, "round", 1, 1, 5)
    task = problem.task()
    features = 0.1 * task.dataset.features
    kept = int((~problem.request()[0]).nonzero()[0])
    features[kept] = torch.tensor([30.0, 30.0])
    task = replace(task, dataset=replace(task.dataset, features=features, norm_upper=43.0))
    method = CU(0.5, "lissa", "measured", scale=50.0, batch=1, runs=1, depth=4000)
    with pytest.raises(PlanError, match=r"scale must be at least .*, got 50. Write scale = "):
        unlearn(method, task, problem)


def test_what_is_not_finite_is_refused_before_the_weights_are_touched() -> None:
    task, request = in_ball(NETWORK), NETWORK.request()
    learned = CU().learn(task, NETWORK.members(), streams=NETWORK.streams)
    broken = learned.parameters.clone()
    broken[1, 0] = torch.nan
    with pytest.raises(Diverged, match="got NaN or infinity in the parameters of the replica at position 1"):
        CU(damping=1.5).unlearn(replace(learned, parameters=broken), request, streams=NETWORK.streams)
    features = task.dataset.features.clone()
    features[int((~request[0] & ~request[1]).nonzero()[0])] = torch.nan
    before = learned.parameters.clone()
    data = replace(task.dataset, features=features, norm_upper=None)
    state = replace(learned, task=replace(task, dataset=data))
    with pytest.raises(Diverged, match="NaN or infinity in the gradient of the retained records of the replica"):
        CU(damping=1.5).unlearn(state, request, streams=NETWORK.streams)
    assert torch.equal(state.parameters, before)


def test_a_solver_that_stops_early_says_so() -> None:
    problem = Problem("softmax", 30, 6, 1e-3, 3.0, "flat", 5, 1, 1)
    with pytest.raises(NotConverged, match="after 2 iterations"):
        unlearn(CU(iterations=2), problem.task(), problem)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"solver": "exact"}, "solver must be"),
        ({"bound": "tight"}, "bound must be one of theorem-3.4"),
        ({"damping": -1.0}, "damping must be a finite number >= 0"),
        ({"damping": float("nan")}, "damping"),
        ({"scale": 0.0}, "scale must be a finite number > 0"),
        ({"smoothness": float("inf")}, "smoothness"),
        ({"depth": 0}, "depth must be a whole number >= 1"),
        ({"batch": 0}, "batch must be a whole number >= 1"),
        ({"tolerance": 1.0}, "tolerance"),
        ({"minimum_eigenvalue": float("nan")}, "minimum_eigenvalue"),
        ({"bound": "theorem-3.6"}, 'needs solver = "lissa"'),
        ({"bound": "theorem-3.6", "solver": "lissa"}, r"failure_probability must be in \(0, 1\)"),
        ({"bound": "tightened", "solver": "lissa", "batch": 3}, r"failure_probability must be in \(0, 1\)"),
        ({"bound": "tightened", "solver": "lissa", "failure_probability": 0.1}, "failure_probability must be 0"),
        ({"failure_probability": 0.1}, "failure_probability must be 0"),
        ({"failure_probability": "a"}, "failure_probability must be a finite number >= 0, got 'a'"),
        ({"runs": 1.5}, "runs must be a whole number >= 1, got 1.5"),
        ({"lanczos_steps": "a"}, "lanczos_steps must be a whole number >= 1, got 'a'"),
        ({"iterations": None}, "iterations must be a whole number >= 1, got None"),
        ({"compare": "yes"}, "compare must be true or false, got 'yes'"),
        ({"damping": "a"}, "damping must be a finite number >= 0, got 'a'"),
        ({"tolerance": "a"}, r"tolerance must be in \(0, 1\), got 'a'"),
        ({"minimum_eigenvalue": "a"}, "minimum_eigenvalue must be a finite number, got 'a'"),
        ({"bound": ["measured"]}, "bound must be one of"),
    ],
    ids=repr,
)
def test_fields_are_checked(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CU(**fields)
