"""The laws on where a method's numbers hold: each twin is caught, honest methods obey or say why it is not for them."""

import pytest

from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from methods.zhang2024certified import CertifiedUnlearning
from properties import LAWS, LawBroken, LawNotApplicable
from properties.problems import Descent, Problem
from properties.running import start
from tests.broken.scope import CATCHES
from unlearning.protocols import AnyMethod


def name(value: object) -> str:
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(("law", "twin"), [(law, twin) for law, twins in CATCHES.items() for twin in twins], ids=name)
def test_twin_is_caught(law: str, twin: AnyMethod) -> None:
    with pytest.raises(LawBroken, match=rf"Law broken: {law}\."):
        LAWS[law](twin)


@pytest.mark.parametrize(
    ("law", "method"),
    [
        ("reported_bounds", NewtonStep()),
        ("reported_bounds", CertifiedUnlearning(bound="measured")),
        ("regime", HessianFree()),
        ("prior_sensitivity", NewtonStep()),
        ("prior_sensitivity", CertifiedUnlearning()),
    ],
    ids=name,
)
def test_honest_methods_obey(law: str, method: AnyMethod) -> None:
    LAWS[law](method)


@pytest.mark.parametrize(
    ("law", "method", "reason"),
    [
        ("reported_bounds", Retrain(), "reports no diagnostics"),
        ("reported_bounds", HessianFree(), "reports no bound that holds for certain"),
        ("prior_sensitivity", Retrain(), "no bound from public numbers"),
        ("regime", Retrain(), "cover what the method accepts"),
        ("regime", NewtonStep(), "cover what the method accepts"),
    ],
)
def test_where_they_say_nothing_the_reason_is_given(law: str, method: AnyMethod, reason: str) -> None:
    with pytest.raises(LawNotApplicable, match=reason):
        LAWS[law](method)


def test_newton_reports_the_bounds_that_it_does_not_certify() -> None:
    problem = Problem("binary", 12, 2, 0.1, request_size=3, replicas=2)
    published = NewtonStep("published").certify(
        start(NewtonStep("published"), problem, "cpu").unlearned(), problem.request()
    )
    reported = {
        one.name: one for one in NewtonStep().diagnostics(start(NewtonStep(), problem, "cpu").unlearned().take([1]))
    }
    assert set(reported) == {'bound = "published"', 'bound = "a-posteriori"'}
    assert published is not None and reported['bound = "published"'].values == published.sensitivity_upper[1:]
    assert all(one.is_sensitivity for one in reported.values())


@pytest.mark.parametrize(("residual", "holds"), [(None, False), (0.5, True)])
def test_theorem_3_4_is_no_bound_where_descent_stops_anywhere(residual: float | None, holds: bool) -> None:
    method = CertifiedUnlearning(residual=residual)
    run = start(method, Problem("binary", 6, 2, descent=Descent(2, 3, radius=1.0)), "cpu")
    shown = {one.name: one for one in method.diagnostics(run.unlearned())}
    theorem = shown["Theorem 3.4, as published"]
    assert theorem.is_sensitivity is holds and ("violated" in theorem.meaning) is not holds
