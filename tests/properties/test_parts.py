"""Each law on a part fails on its broken twins, and holds on the parts of this project."""

import math

import pytest
import torch
from hypothesis import Phase, settings
from torch import Tensor, nn

from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Ridge, Softmax
from learning.training import project
from properties import LAWS, LawBroken, LawNotApplicable, parts
from properties.parts import (
    PARTS,
    SHIPPED_PARTS,
    Model,
    PartBroken,
    check_constants,
    check_gradient,
    check_hvp,
    check_projection,
    check_regulariser,
    part_name,
)
from tests.broken.parts import CATCHES, Understated, method_twins, onto_the_sphere
from unlearning.errors import NotConverged, PlanError


def called(value: object) -> str:
    return value if isinstance(value, str) else part_name(value)


@pytest.mark.parametrize(
    ("law", "twin"),
    [(law, twin) for law, twins in CATCHES.items() for twin in twins],
    ids=called,
)
def test_law_catches(law: str, twin: object) -> None:
    with pytest.raises(PartBroken, match=rf"Law broken: {law}\. ") as caught:
        PARTS[law](twin)
    # the message carries the case, its repr builds it, and it breaks the law again
    case = eval(str(caught.value).partition("Case that broke it: ")[2], vars(parts))
    assert case == caught.value.case
    with pytest.raises(PartBroken):
        PARTS[law].on(twin, case)


def test_every_law_has_a_twin_and_a_part() -> None:
    assert set(CATCHES) == set(PARTS) == set(SHIPPED_PARTS)


@pytest.mark.parametrize(
    ("law", "part"),
    [(law, part) for law, own in SHIPPED_PARTS.items() for part in own],
    ids=called,
)
def test_law_holds_on_shipped_parts(law: str, part: object) -> None:
    found = PARTS[law](part)
    assert found.law == law and found.cases >= 5
    assert found.tightest is None or 0 <= found.tightest <= 1 + 1e-9


@pytest.mark.parametrize("law", ["strong_convexity", "smoothness", "hessian_lipschitz"])
@pytest.mark.parametrize("objective", [BinaryLogistic(3, 0.3), Softmax(2, 3, 0.3)], ids=lambda o: o.name)
def test_constants_are_attained(law: str, objective: object) -> None:
    tightest = PARTS[law](objective).tightest
    assert tightest is not None and tightest > 0.999


@pytest.mark.parametrize("objective", [BinaryLogistic(3, 0.3), Softmax(2, 2, 0.3)], ids=lambda o: o.name)
def test_gradient_bound_of_two_labels_is_half_used(objective: object) -> None:
    # σ(t) + max_c c·σ(−tc) = σ(t) + 0.2785/t has its maximum, 1.0516, near t = 4
    largest = max(1 / (1 + math.exp(-t)) + 0.27846 / t for t in (3.8, 3.9, 4.0, 4.1, 4.2))
    tightest = PARTS["gradient_bound"](objective).tightest
    assert tightest == pytest.approx(largest / 2 * (1 - 1 / 200), rel=2e-3)
    PARTS["gradient_bound"](Understated(objective, "gradient_bound_upper", 0.526))  # still true


@pytest.mark.parametrize("labels", [3, 10])
def test_gradient_bound_of_many_labels(labels: int) -> None:
    tightest = PARTS["gradient_bound"](Softmax(2, labels, 0.3)).tightest
    assert tightest == pytest.approx(math.sqrt((1 - 1 / labels) / 2) * (1 - 1 / 200), rel=1e-3)


def test_a_breach_shrinks_to_a_small_case() -> None:
    settings.register_profile(
        "shrunk",
        max_examples=50,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    settings.load_profile("shrunk")
    law = PARTS["gradient"]
    with pytest.raises(PartBroken) as caught:
        law(CATCHES["gradient"][1])
    assert caught.value.case.rows == caught.value.case.replicas == 1
    with pytest.raises(PartBroken, match="A point of the ball was moved"):
        check_projection(onto_the_sphere)


class Own(nn.Module):
    """Someone's own module."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.line(x))


def test_someones_own_objective_is_held_to_the_laws() -> None:
    own = Model(Network(Own(), 0.1), columns=2, classes=2)
    for check in (check_gradient, check_hvp, check_regulariser):
        assert check(own).refused == 0
    with pytest.raises(LawNotApplicable, match="no proved constants"):
        check_constants(own)
    assert [found.law for found in check_constants(Ridge(2, 0.1))] == [
        "strong_convexity",
        "smoothness",
        "hessian_lipschitz",
    ]


def test_an_objective_that_does_not_say_what_it_takes_is_refused() -> None:
    with pytest.raises(PlanError, match=r"objective must say how wide its records are, got Network .* Wrap it: Model"):
        check_hvp(Network(mlp(2, [2], 2), 0.1))


def test_an_objective_whose_regulariser_cannot_be_left_out_is_refused() -> None:
    class Fixed(Ridge):
        def __init__(self) -> None:
            self.__dict__.update(features=2, outputs=1, regularisation=0.1)

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    with pytest.raises(PlanError, match=r"objective must be given without its regulariser too, .* plain=…"):
        check_regulariser(Fixed())
    check_regulariser(Model(Fixed(), 2, 0, plain=Ridge(2, 0.0)))
    check_hvp(Fixed())


def test_what_a_part_raises_is_a_finding() -> None:
    def raises(points: Tensor, radius: float) -> Tensor:
        return points @ points

    with pytest.raises(PartBroken, match="The part raised RuntimeError"):
        check_projection(raises)


def test_a_part_cannot_hide_by_refusing() -> None:
    def refuses(points: Tensor, radius: float) -> Tensor:
        if points.shape[0] > 0:
            raise NotConverged("no")
        return project(points, radius)

    with pytest.raises(LawNotApplicable, match=r"the part refuses \d+ of \d+ cases"):
        check_projection(refuses)


def test_nan_is_a_breach() -> None:
    for law, part in [
        ("projection", lambda points, radius: points * torch.nan),
        ("calibration", lambda *_: math.nan),
        ("solver", parts.Solver("NaN", lambda product, right, low, high: right * torch.nan, 1e-2)),
    ]:
        with pytest.raises(PartBroken):
            PARTS[law](part)


@pytest.mark.parametrize("law", ["quadratic", "sensitivity"])
def test_a_method_with_an_unsquared_regulariser_is_caught(law: str) -> None:
    for twin in method_twins()[law]:
        with pytest.raises(LawBroken, match=f"Law broken: {law}"):
            LAWS[law](twin)
