"""The search: what it draws, how it shrinks, what it makes of methods that raise, and how much precision hides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from torch import Tensor

from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from properties import LAWS, TOLERANCES, LawBroken, LawNotApplicable
from properties.base import rounding_slack
from properties.problems import GEOMETRIES, REQUESTS, Descent, Problem
from properties.strategies import LARGEST, LINEAR, RECIPES, problems
from tests.broken.releases import Noise
from tests.broken.twin import Twin
from tests.broken.updates import Huge, NoOp
from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod, Declaration
from unlearning.streams import Streams


@pytest.fixture
def shrinking() -> Iterator[None]:
    """A search that shrinks what it finds."""
    before = settings.get_current_profile_name()
    settings.register_profile(
        "shrinking",
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    settings.load_profile("shrinking")
    yield
    settings.load_profile(before)


@dataclass(frozen=True)
class Raises(Twin):
    """Raises where a problem is large enough."""

    rows: int = 2
    columns: int = 1

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        features = state.task.features()
        if features.shape[0] >= self.rows and features.shape[1] >= self.columns:
            raise ZeroDivisionError("too large")
        return self.method.unlearn(state, request, streams=streams)


class Undeclared(Twin):
    """Cannot say what it is."""

    @property
    def declaration(self) -> Declaration:
        raise RuntimeError("no declaration")


class Unlearnable(Twin):
    """Raises before anything is learned, by an error that is no refusal."""

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        raise KeyError("features")


class RefusesAll(Twin):
    """Is for no task."""

    def check_task(self, task: Any) -> None:
        raise PlanError("not for me")


@dataclass(frozen=True)
class Returns(Twin):
    """Returns other parameters."""

    change: Callable[[Tensor], Any] = lambda parameters: parameters

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        return replace(after, parameters=self.change(after.parameters))


class Stateless(Twin):
    """Returns the parameters in place of a state."""

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return self.method.unlearn(state, request, streams=streams).parameters


def broken(law: str, method: AnyMethod, **where: Any) -> LawBroken:
    with pytest.raises(LawBroken) as caught:
        LAWS[law](method, **where)
    return caught.value


@pytest.mark.usefixtures("shrinking")
def test_the_smallest_breach_of_doing_nothing_is_two_records_and_one_column() -> None:
    problem = broken("effect", NoOp(Retrain())).problem
    assert (problem.model, problem.rows, problem.columns, problem.request_size) == ("ridge", 2, 1, 1)
    assert (problem.replicas, problem.seed, problem.geometry, problem.request_by) == (1, 0, "round", "chance")


@pytest.mark.usefixtures("shrinking")
@pytest.mark.parametrize("law", ["effect", "order", "bad_requests"])
def test_what_a_method_raises_is_a_breach_on_the_smallest_problem(law: str) -> None:
    found = broken(law, Raises(Retrain(), 5, 2))
    assert found.finding == "The method raised ZeroDivisionError: too large" or law == "bad_requests"
    assert (found.problem.rows, found.problem.columns, found.problem.replicas) == (5, 2, 1)


def test_what_a_method_raises_before_it_learns_is_a_breach() -> None:
    assert "raised RuntimeError: no declaration" in str(broken("quadratic", Undeclared(Retrain())))
    assert "raised KeyError" in str(broken("sensitivity", Unlearnable(Retrain())))


def test_a_method_for_no_task_is_told_so() -> None:
    with pytest.raises(LawNotApplicable, match="accepts none of the problems"):
        LAWS["effect"](RefusesAll(Retrain()))


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
@pytest.mark.parametrize("law", ["sensitivity", "certificate_form", "effect", "order", "quadratic", "empty_request"])
def test_numbers_that_are_not_finite_are_a_breach(law: str, number: float) -> None:
    found = broken(law, Returns(Retrain(), lambda parameters: parameters * 0 + number))
    assert "must return finite parameters" in found.finding


@pytest.mark.parametrize(
    "law",
    ["sensitivity", "sequential_sensitivity", "effect", "order", "batch_online", "quadratic", "empty_request"],
)
def test_rounding_that_hides_everything_is_told(law: str) -> None:
    """A parameter of 10¹⁵ makes rounding larger than any movement: the law says nothing, and says so."""
    with pytest.raises(LawNotApplicable, match="rounding would hide a breach: on all of the problems tried"):
        LAWS[law](Huge(Retrain()))


def test_a_breach_above_rounding_is_told_however_large_a_parameter_is() -> None:
    class Thrown(Huge):
        def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
            return replace(state, parameters=1.5 * state.parameters)

    assert "exceeds the certified 0" in broken("sensitivity", Thrown(Retrain())).finding


@pytest.mark.parametrize(
    "law",
    [
        "sensitivity",
        "sequential_sensitivity",
        "certificate_form",
        "regime",
        "reported_bounds",
        "prior_sensitivity",
        "effect",
    ],
)
def test_momentum_is_drawn(law: str) -> None:
    assert LAWS[law].domain.momentum


def test_what_is_judged_and_why_the_rest_is_not() -> None:
    found = LAWS["sensitivity"](HessianFree())
    assert 0 < found.judged < found.problems and found.refused == 0
    assert ("network", "descent") in found.kinds and ("ridge", "minimise") not in found.kinds
    [remark] = found.remarks
    assert remark.startswith("not judged where the method gives no deterministic certificate")
    assert LAWS["repeatable"](Retrain()).remarks == ()


class RarelyCertified(Twin):
    """Certifies where there are two records only."""

    def certify(self, state: Any, request: Tensor) -> Any:
        honest = self.method.certify(state, request)
        few = state.members.shape[1] == 2
        return honest if few else replace(honest, sensitivity_upper=(torch.inf,) * len(honest.sensitivity_upper))


def test_a_law_that_could_judge_next_to_nothing_does_not_say_not_broken() -> None:
    class OnlySpikes(RarelyCertified):
        def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
            return NoOp(self.method).unlearn(state, request, streams=streams)

        def certify(self, state: Any, request: Tensor) -> Any:
            honest = Retrain().certify(state, request)
            still = float(state.task.features().norm()) == 1.0 and state.members.shape[1] == 60
            return honest if still else replace(honest, sensitivity_upper=(torch.inf,) * len(honest.sensitivity_upper))

    with pytest.raises(LawNotApplicable, match=r"says something about \d+ of \d+ problems only|or Δ = ∞: on all"):
        LAWS["sensitivity"](OnlySpikes(Retrain()))


@pytest.mark.parametrize(
    "change",
    [lambda w: w[0], lambda w: torch.cat([w, w]), lambda w: w[:, None], lambda w: w.numpy()],
    ids=["one model", "twice as many models", "one axis more", "an array"],
)
@pytest.mark.parametrize("law", ["sensitivity", "effect", "empty_request", "release"])
def test_parameters_of_another_shape_are_a_breach(law: str, change: Callable[[Tensor], Any]) -> None:
    found = broken(law, Returns(Retrain(), change))
    assert "unlearn must return" in found.finding


def test_fewer_parameters_are_a_breach() -> None:
    assert "must keep their shape" in broken("sensitivity", Returns(Retrain(), lambda w: w[:, :0])).finding


def test_no_state_is_a_breach() -> None:
    assert "must return a state" in broken("sensitivity", Stateless(Retrain())).finding


def test_a_release_of_another_shape_is_a_breach() -> None:
    class Flat(Twin):
        def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
            return self.method.release(state, noise_scale, streams=streams)[:1]

    assert "the shape" in broken("release", Flat(Retrain())).finding


def test_all_corners_are_drawn() -> None:
    seen: list[Problem] = []
    kinds = [(model, recipe) for model in (*LINEAR, "network") for recipe in RECIPES]

    @settings(
        max_examples=400,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(problem=problems([kind for kind in kinds if kind != ("network", "minimise")], momentum=True))
    def draw(problem: Problem) -> None:
        seen.append(problem)

    draw()
    linear = [problem for problem in seen if problem.model != "network"]
    assert {problem.geometry for problem in seen} == set(GEOMETRIES)
    assert {problem.request_by for problem in seen} == set(REQUESTS)
    assert all(1 <= problem.request_size < problem.rows <= LARGEST[0] for problem in seen)
    assert max(problem.rows for problem in linear) > 50 and max(problem.columns for problem in linear) == LARGEST[1]
    assert max(problem.rows for problem in seen if problem.model == "network") <= 10
    corners: tuple[Callable[[Any], Any], ...] = (
        lambda p: p.rows == 2,
        lambda p: p.columns == 1,
        lambda p: p.seed == 0,
        lambda p: p.rows > 2 and p.request_size == p.rows - 1,
        lambda p: p.rows > 20 and p.request_size == 1,
        lambda p: p.request_by == "label" and p.model != "ridge" and 1 < p.request_size == p.first_class,
        lambda p: p.descent is not None and p.rows % p.descent.batch_size,
        lambda p: p.descent is not None and p.descent.batch_size == p.rows,
        lambda p: p.descent is not None and p.descent.momentum,
    )
    for corner in corners:
        assert sum(bool(corner(problem)) for problem in seen) >= 3
    exponents = np.log10([problem.regularisation for problem in seen])
    assert exponents.min() < -2.5 and exponents.max() > 0.5


def test_adversarial_requests_take_what_they_say() -> None:
    problem = Problem("binary", 20, 3, request_size=5, seed=3)
    features = problem.task().features()
    lengths = features.norm(dim=1)
    longest = replace(problem, request_by="norm").request()[0]
    assert lengths[longest].min() >= lengths[~longest].max() - 1e-9
    whole = replace(problem, request_by="label", request_size=problem.first_class).request()[0]
    assert torch.equal(whole, problem.task().labels() == 0)
    ridge = Problem("ridge", 20, 3, request_size=1, seed=3, descent=None)
    moved = []
    for record in range(20):
        kept = torch.ones(1, 20, dtype=torch.bool)
        kept[0, record] = False
        moved.append(Retrain().learn(ridge.task(), kept, streams=ridge.streams).parameters)
    whole_model = Retrain().learn(ridge.task(), ridge.members(), streams=ridge.streams).parameters
    effect = torch.stack([(other - whole_model).norm() for other in moved])
    chosen = int(replace(ridge, request_by="influence").request()[0].nonzero())
    assert effect[chosen] >= 0.8 * effect.max()


WRONG_SIGN = Returns(Retrain(), lambda parameters: -parameters)


@pytest.mark.parametrize(
    ("law", "twin"),
    [
        ("effect", NoOp(Retrain())),
        ("sensitivity", NoOp(HessianFree())),
        ("sensitivity", NoOp(NewtonStep())),
        ("sensitivity", WRONG_SIGN),
        ("quadratic", NoOp(NewtonStep())),
        ("release", Noise(Retrain(), 0.5)),
    ],
)
def test_gross_mistakes_are_caught_in_single_precision(law: str, twin: AnyMethod) -> None:
    assert broken(law, twin, precision="float32").problem.single_precision


@pytest.mark.parametrize("law", ["sensitivity", "order", "effect", "quadratic", "empty_request", "replicas_apart"])
@pytest.mark.parametrize("method", [HessianFree(), NewtonStep(), Retrain()], ids=["hessian-free", "newton", "retrain"])
def test_honest_methods_obey_in_single_precision(law: str, method: AnyMethod) -> None:
    try:
        LAWS[law](method, precision="float32")
    except LawNotApplicable as note:
        assert law == "quadratic" and isinstance(method, HessianFree), note


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_slack_is_between_rounding_and_what_a_law_is_meant_to_see(precision: str) -> None:
    """A model moved by ten times the slack breaks the law, one moved by a tenth of it does not."""
    problem = Problem("ridge", 8, 2, 0.1, descent=Descent(2, 4), single_precision=precision == "float32")
    learned = Retrain().learn(problem.task(), ~problem.request(), streams=problem.streams).parameters
    slack = rounding_slack(problem, learned)
    assert slack < 1e-3 * float(learned.norm()) if precision == "float32" else slack < 1e-11

    def moved(share: float) -> AnyMethod:
        return Returns(Retrain(), lambda w: w + share * slack / w.shape[1] ** 0.5)

    LAWS["sensitivity"].on(moved(0.1), problem)
    with pytest.raises(LawBroken):
        LAWS["sensitivity"].on(moved(10.0), problem)


def test_every_tolerance_says_what_it_is_of() -> None:
    for tolerance in TOLERANCES.values():
        assert 0 < tolerance.float64 <= tolerance.float32 <= 0.1 and tolerance.meaning
