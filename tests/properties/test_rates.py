"""Rates: slopes equal closed forms, the laws catch errors of too low an order, and hold on honest methods."""

from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy import stats

from methods.bui2026cure import CureNewton
from methods.newton_baselines import DampedNewton, PseudoInverseNewton
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from methods.zhang2024certified import CertifiedUnlearning
from properties import rates
from properties.base import LawBroken, LawNotApplicable
from properties.problems import Descent, Problem
from properties.promises import check_sensitivity
from properties.rates import Quantity, measured_slope
from tests.broken.rates import CATCHES, POWERS, LooseNoOp, Overclaimed
from tests.broken.twin import Twin
from unlearning.claim import Reference
from unlearning.protocols import AnyMethod, Rate

HF, NEWTON = HessianFree(), NewtonStep()
LAWS = {law.name: law for law in (rates.check_rate_request_size, rates.check_rate_records, rates.check_rate_step_size)}


@pytest.mark.parametrize(("law", "twin"), [(law, twin) for law, twins in CATCHES.items() for twin in twins])
def test_slow_errors_are_caught(law: str, twin: AnyMethod) -> None:
    with pytest.raises(LawBroken, match=rf"Law broken: {law}\. The error has slope") as caught:
        LAWS[law](twin)
    assert type(caught.value.problem) is Problem  # the family is derived from it, and reruns from it
    with pytest.raises(LawBroken, match="has slope"):
        LAWS[law].on(twin, caught.value.problem)
    measured = caught.value.measured
    assert measured["mean, low"] <= measured["mean"] <= measured["mean, high"]
    assert abs(measured["slope"]) < abs(measured["order"]) - measured["tolerance"]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "method",
    [
        NEWTON,
        NewtonStep("published"),
        CertifiedUnlearning(),
        CertifiedUnlearning(damping=0.1),
        CertifiedUnlearning(solver="lissa", batch=8, runs=2, depth=20, bound="trivial"),
        CureNewton(),
        CureNewton(weight=100.0),
        CureNewton(steps=2),
        PseudoInverseNewton(),
        PseudoInverseNewton(cutoff=0.5),
        DampedNewton(),
        DampedNewton(0.0),
        HF,
        HessianFree("all", storage="bfloat16"),
    ],
    ids=repr,
)
def test_honest_methods_keep_their_orders(law: str, method: AnyMethod) -> None:
    try:
        result = LAWS[law](method)
    except LawNotApplicable as note:
        assert law == "rate_step_size" and "declares no order" in str(note), note
        return
    assert result.problems >= 2 and result.refused == 0
    assert result.tightest is not None and result.tightest <= 1


@pytest.mark.parametrize(("quantity", "order"), [("request size", 2), ("records", -2), ("step size", 2)])
def test_slope_is_the_closed_form_of_ridge_in_one_dimension(quantity: Quantity, order: float) -> None:
    """Two full-batch steps on ridge, fixed divisor: the vectors leave out η²q²·h·∇ℓ(w_0), exactly."""
    problem = Problem("ridge", 8, 1, 0.1, replicas=8, seed=3, descent=Descent(2, stability=0.3, divisor="fixed"))
    found = measured_slope(HF, quantity, problem, failure_probability=1e-3)
    assert found is not None and len(found.points) == 4
    np.testing.assert_allclose(found.per_seed, order, atol=1e-6)
    assert found.low <= found.mean <= found.high and found.high - found.low < 1e-5
    assert found.certificate is not None and abs(found.certificate.mean - order) < 0.1


def test_first_order_of_damping() -> None:
    """Damped ridge: γ(H_r + γ)⁻¹(w* − w_r) is of first order, and the a-posteriori Δ sees it."""
    problem = Problem("ridge", 8, 1, 0.5, replicas=8, seed=3)
    found = measured_slope(DampedNewton(), "records", problem, failure_probability=1e-3)
    assert found is not None and abs(found.mean + 1) < 0.02
    assert found.certificate is not None and abs(found.certificate.mean + 1) < 0.02


def test_the_published_noise_of_hessian_free_is_an_order_too_large() -> None:
    """2ηGζ bounds the two models apart: of first order where the error is of second."""
    found = measured_slope(HessianFree(bound="published"), "request size", rates.DESCENTS[0], failure_probability=1e-3)
    assert found is not None and found.low > 1.9
    assert found.certificate is not None and abs(found.certificate.mean - 1) < 0.05


def test_what_decides_is_the_third_slowest_record() -> None:
    found = measured_slope(POWERS[2], "records", rates.MINIMISERS[0], failure_probability=1e-3)
    assert found is not None and len(found.per_seed) == 12
    np.testing.assert_allclose(sorted(found.per_seed), [-2.0] * 9 + [-1.0] * 3, atol=1e-6)
    assert found.slowest == sorted(found.per_seed)[-3]
    assert found.low < -2  # the mean's interval would excuse it


LISSA = CertifiedUnlearning(solver="lissa", batch=8, runs=2, depth=20, bound="trivial")


def test_slopes_of_methods_that_draw_are_means_over_draws() -> None:
    """LiSSA's error is of first order: a single draw's slopes scatter by 0.4, the mean over the draws tells."""
    with pytest.raises(LawBroken, match="declared is -2"):
        rates.check_rate_records(Overclaimed(LISSA))
    found = measured_slope(LISSA, "records", rates.MINIMISERS[0], failure_probability=1e-6 / 3)
    assert found is not None
    np.testing.assert_allclose(found.per_seed, -1, atol=0.25)
    assert found.slowest < max(found.per_seed)  # the interval speaks for the method


class PairedNoise(Twin):
    """Adds noise in unlearning, the same for equal seeds, as its reference does."""

    @property
    def declaration(self) -> Any:
        return replace(self.method.declaration, draws=True, reference=Reference.EMPTY_REQUEST)

    def unlearn(self, state: Any, request: Any, *, streams: Any) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        noise = torch.from_numpy(streams.normals("own", after.parameters.shape[1]))
        return replace(after, parameters=after.parameters + 0.01 * noise)


def test_noise_that_is_paired_with_the_reference_is_no_error() -> None:
    found = measured_slope(PairedNoise(NEWTON), "records", rates.MINIMISERS[0], failure_probability=1e-6)
    honest = measured_slope(NEWTON, "records", rates.MINIMISERS[0], failure_probability=1e-6)
    assert found is not None and honest is not None
    np.testing.assert_allclose(found.per_seed, honest.per_seed, atol=1e-3)


def test_interval_is_students() -> None:
    found = measured_slope(NEWTON, "records", rates.MINIMISERS[0], failure_probability=1e-4)
    assert found is not None
    interval = stats.ttest_1samp(found.per_seed, 0).confidence_interval(1 - 1e-4)
    np.testing.assert_allclose((found.low, found.high), (interval.low, interval.high), rtol=1e-9)


@pytest.mark.parametrize("method", [NEWTON, Retrain()], ids=repr)
def test_exact_methods_have_no_slope(method: AnyMethod) -> None:
    problem = replace(rates.MINIMISERS[0], model="ridge")
    assert measured_slope(method, "request size", problem, failure_probability=1e-3) is None


def test_only_the_rate_sees_a_no_op_under_a_loose_certificate() -> None:
    check_sensitivity(LooseNoOp(HF))


@dataclass(frozen=True)
class Declares(Twin):
    """Declares other rates."""

    rates: tuple[Rate, ...] = ()

    @property
    def declaration(self) -> Any:
        return replace(self.method.declaration, rates=self.rates)


class Enormous(Twin):
    """Ends so far away that the distance is no number."""

    def unlearn(self, state: Any, request: Any, *, streams: Any) -> Any:
        after = self.method.unlearn(state, request, streams=streams)
        return replace(after, parameters=torch.where(request.any(1, keepdim=True), 1e300, after.parameters))


def test_a_next_order_that_is_not_small_shows_first() -> None:
    """A limit of the law: to the largest weights shares of 1/1000 are not small, and an honest method is faulted."""
    assert rates.check_rate_records(CureNewton(weight=50.0)).tightest is not None
    with pytest.raises(LawBroken):
        rates.check_rate_records(CureNewton(weight=1e4))


def test_single_precision_says_nothing() -> None:
    with pytest.raises(LawNotApplicable, match="at the level of rounding"):
        rates.check_rate_request_size(HF, precision="float32")


def test_undeclared_orders_say_so() -> None:
    for law, quantity in zip(LAWS.values(), get_args(Quantity), strict=True):
        with pytest.raises(LawNotApplicable, match=f"the method declares no order of its error in the {quantity}"):
            law(Declares(HF))


def test_errors_that_are_no_number_break_the_law() -> None:
    with pytest.raises(LawBroken, match="slope nan"):
        rates.check_rate_records(Enormous(NEWTON))


def test_orders_of_the_wrong_sign_break_the_law() -> None:
    with pytest.raises(LawBroken, match="The declared order in the records must be < 0, got 2"):
        rates.check_rate_records(Declares(NEWTON, (Rate("records", 2, "a slip"),)))


def test_bad_questions_are_refused() -> None:
    problem = rates.MINIMISERS[0]
    with pytest.raises(ValueError, match="quantity must be one of request size, records, step size, got 'weight'"):
        measured_slope(NEWTON, "weight", problem, failure_probability=1e-3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"failure_probability must be in \(0, 1\), got 0"):
        measured_slope(NEWTON, "records", problem, failure_probability=0)
    with pytest.raises(ValueError, match="Give a descent"):
        measured_slope(NEWTON, "step size", problem, failure_probability=1e-3)
