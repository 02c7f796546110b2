"""Gaussian closed forms, trade-off functions and binomial limits against second opinions."""

import math
from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from statsmodels.stats.proportion import proportion_confint

from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.gaussian import delta_of_epsilon, epsilon_of_delta, mu_of_epsilon_delta, noise_scale_upper
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff, epsilon_lower_at_event, mu_lower_at_event

from . import high_precision

FIXED = settings(max_examples=100, deadline=None, derandomize=True, database=None)

EPSILONS = (0.0, 1e-8, 1e-4, 0.01, 0.5, 1.0, 3.0, 10.0, 100.0, 1e4)
DELTAS = (1e-12, 1e-8, 1e-5, 0.01, 0.3, 0.9)


def test_the_second_opinion_itself() -> None:
    # Abramowitz & Stegun, table 26.1 and 26.2
    assert str(high_precision.normal_cdf(1.0)).startswith("0.8413447460685429")
    assert float(high_precision.normal_cdf(-10.0)) == pytest.approx(7.61985302416e-24, rel=1e-11)
    with localcontext(prec=100):  # the series and the fraction meet
        below, above = (high_precision.normal_cdf(-Decimal(8) + Decimal(s) * Decimal(10) ** -70) for s in (1, -1))
        assert abs(above / below - 1) < Decimal(10) ** -60


@pytest.mark.parametrize("mu", [1e-9, 1e-5, 9.99e-4, 1.01e-3, 0.03, 0.5, 1.0, 4.0, 37.0, 300.0])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_delta_in_high_precision(mu: float, epsilon: float) -> None:
    exact = float(high_precision.delta(mu, epsilon))
    assert delta_of_epsilon(mu, epsilon) == pytest.approx(exact, rel=1e-8, abs=1e-300)
    if epsilon / mu < 8:
        assert delta_of_epsilon(mu, epsilon) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("delta", DELTAS)
def test_noise_scale_keeps_its_promise_in_high_precision(epsilon: float, delta: float) -> None:
    sigma = noise_scale_upper(2.5, epsilon, delta)
    assert high_precision.delta(2.5 / sigma, epsilon) <= Decimal(delta * (1 + 1e-13))
    assert high_precision.delta(2.5 / sigma * (1 + 1e-9), epsilon) > Decimal(delta)  # and no larger than it must be


@pytest.mark.parametrize("mu", [1e-200, 1e-310, 5e-324])
def test_vanishing_distances_have_vanishing_delta(mu: float) -> None:
    assert delta_of_epsilon(mu, 1.0) == 0.0
    assert 0 <= delta_of_epsilon(mu, 0.0) <= mu
    assert epsilon_of_delta(mu, 1e-5) == 0.0


def test_extreme_targets() -> None:
    assert mu_of_epsilon_delta(0.0, 1e-20) == pytest.approx(1e-20 * math.sqrt(2 * math.pi))
    assert noise_scale_upper(1.0, 1e300, 1e-5) == pytest.approx(math.sqrt(0.5e-300))
    assert noise_scale_upper(0.0, 1.0, 1e-5) == 0.0
    assert delta_of_epsilon(math.inf, 3.0) == 1.0 and epsilon_of_delta(math.inf, 0.1) == math.inf


@FIXED
@given(st.floats(0, 50), st.floats(1e-9, 0.9), st.floats(1.001, 3))
def test_noise_decreases_in_epsilon_and_delta_and_grows_with_sensitivity(
    epsilon: float, delta: float, factor: float
) -> None:
    sigma = noise_scale_upper(1.0, epsilon, delta)
    assert noise_scale_upper(1.0, epsilon * factor + 1e-3, delta) < sigma
    assert noise_scale_upper(1.0, epsilon, min(delta * factor, 0.99)) < sigma
    assert noise_scale_upper(factor, epsilon, delta) > sigma
    if 0 < epsilon <= 1:
        assert noise_scale_upper(1.0, epsilon, delta, calibration="classical") >= sigma or delta > 0.5


@FIXED
@given(st.floats(1e-3, 40), st.floats(1e-12, 0.5))
def test_epsilon_and_delta_invert_each_other(mu: float, delta: float) -> None:
    epsilon = epsilon_of_delta(mu, delta)
    if epsilon > 0:
        assert delta_of_epsilon(mu, epsilon) == pytest.approx(delta, rel=1e-8)
        assert mu_of_epsilon_delta(epsilon, delta) == pytest.approx(mu, rel=1e-8)
    else:
        assert delta_of_epsilon(mu, 0.0) <= delta


def test_dp_accounting_agrees() -> None:
    accountant = pytest.importorskip("dp_accounting", reason="dp_accounting is not installed")
    from dp_accounting.pld import privacy_loss_mechanism as mechanisms

    del accountant
    for sigma, epsilon in product((0.3, 1.0, 5.0), (0.0, 0.5, 1.0, 4.0)):
        theirs = mechanisms.GaussianPrivacyLoss(sigma).get_delta_for_epsilon(epsilon)
        assert delta_of_epsilon(1 / sigma, epsilon) == pytest.approx(theirs, rel=1e-9, abs=1e-15)
    for epsilon, delta in product((0.1, 1.0, 5.0), (1e-6, 1e-3)):
        theirs = mechanisms.GaussianPrivacyLoss.from_privacy_guarantee(
            mechanisms.common.DifferentialPrivacyParameters(epsilon, delta)
        ).standard_deviation
        assert noise_scale_upper(1.0, epsilon, delta) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: noise_scale_upper(-1.0, 1.0, 0.1), "sensitivity must be"),
        (lambda: noise_scale_upper(1.0, -1.0, 0.1), "epsilon must be"),
        (lambda: noise_scale_upper(1.0, 1.0, 1.0), "delta must be in"),
        (lambda: noise_scale_upper(1.0, 3.0, 0.1, calibration="classical"), "needs 0 < epsilon <= 1, got 3.0"),
        (lambda: noise_scale_upper(1.0, 1.0, 0.1, calibration="best"), "calibration must be"),
        (lambda: delta_of_epsilon(-0.1, 1.0), "mu must be >= 0"),
        (lambda: delta_of_epsilon(math.nan, 1.0), "mu must be >= 0"),
        (lambda: epsilon_of_delta(math.nan, 0.1), "mu must be >= 0"),
        (lambda: GaussianTradeOff(math.inf), "mu must be a finite number"),
        (lambda: EpsilonDelta(math.nan, 0.1), "epsilon must be"),
        (lambda: EpsilonDelta(1.0, 0.1).epsilon(0.2), "speaks of delta = 0.1 only"),
        (lambda: clopper_pearson_lower(3, 2, 0.1), "between 0 and 2"),
        (lambda: clopper_pearson_upper(0.5, 2, 0.1), "whole numbers"),
        (lambda: clopper_pearson_upper(0, 0, 0.1), "trials must be >= 1"),
        (lambda: clopper_pearson_upper(0, 1, 1.0), "failure_probability must be in"),
    ],
)
def test_bad_arguments_are_named(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


ALPHAS = np.array([0.0, 1e-300, 1e-20, 1e-12, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-12, 1.0])


@pytest.mark.parametrize("mu", [0.0, 0.1, 1.0, 5.0, 30.0])
def test_gaussian_trade_off_in_high_precision(mu: float) -> None:
    """β = Φ(Φ⁻¹(1 − α) − μ): the test that rejects beyond t has α = Φ(−t) and β = Φ(t − μ)."""
    for t in (-8.0, -1.0, 0.0, 2.0, 9.0, 20.0, 37.0):
        alpha = float(norm.sf(t))
        beta = float(high_precision.normal_cdf(t - mu))
        assert float(GaussianTradeOff(mu)(alpha)) == pytest.approx(beta, rel=1e-6, abs=1e-14)


def test_tiny_events_do_not_refute_what_is_true() -> None:
    # at α = 1e-20 the float 1 − α is 1: f used to be 1 there, and any P(E) > 0 refuted every μ
    threshold = norm.isf(1e-20)
    assert not GaussianTradeOff(10.0).refuted_at(norm.sf(threshold - 10.0) * (1 - 1e-9), 1e-20)
    assert GaussianTradeOff(10.0).refuted_at(norm.sf(threshold - 10.0) * 1.001, 1e-20)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0, 800.0, 1e6])
@pytest.mark.parametrize("directions", Directions)
def test_epsilon_delta_trade_off(epsilon: float, directions: Directions) -> None:
    """f(α) is the least β with β ≥ 1 − δ − e^ε α and, the other way, α ≥ 1 − δ − e^ε β."""
    delta = 1e-3
    f = EpsilonDelta(epsilon, delta, directions)(ALPHAS)
    grown = high_precision.exponential(epsilon)
    for alpha, value in zip(ALPHAS, f, strict=True):
        lines = [Decimal(0)]
        if directions is not Directions.REFERENCE:
            lines.append(1 - Decimal(delta) - grown * Decimal(float(alpha)))
        if directions is not Directions.RELEASED:
            lines.append((1 - Decimal(delta) - Decimal(float(alpha))) / grown)
        assert value == pytest.approx(float(max(lines)), rel=1e-9, abs=1e-12)
    assert (np.diff(f) <= 1e-15).all()


def test_directions_matter() -> None:
    # P(E) = .5, Q(E) = .1 speaks against released ≤ e^ε reference; the complement against the other
    released = EpsilonDelta(1.0, 1e-5, Directions.RELEASED)
    reference = EpsilonDelta(1.0, 1e-5, Directions.REFERENCE)
    assert released.refuted_at(0.5, 0.1) and not reference.refuted_at(0.5, 0.1)
    assert reference.refuted_at(0.9, 0.5) and not released.refuted_at(0.9, 0.5)
    both = EpsilonDelta(1.0, 1e-5)
    assert both.refuted_at(0.5, 0.1) and both.refuted_at(0.9, 0.5)


@FIXED
@given(
    st.floats(0, 1), st.floats(0, 1), st.sampled_from([1e-6, 0.01]), st.sampled_from(list(Directions)), st.floats(0, 8)
)
def test_epsilon_lower_is_where_refutation_ends(
    p: float, q: float, delta: float, directions: Directions, epsilon: float
) -> None:
    lower = epsilon_lower_at_event(p, q, delta, directions)
    refuted = bool(EpsilonDelta(epsilon, delta, directions).refuted_at(p, q))
    if epsilon < lower - 1e-9:
        assert refuted
    if epsilon > lower + 1e-9:
        assert not refuted


@FIXED
@given(st.floats(1e-9, 1 - 1e-9), st.floats(1e-9, 1 - 1e-9), st.floats(0, 12))
def test_mu_lower_is_where_refutation_ends(p: float, q: float, mu: float) -> None:
    lower = mu_lower_at_event(p, q)
    if abs(mu - lower) > 1e-5:
        assert bool(GaussianTradeOff(mu).refuted_at(p, q)) == (mu < lower)


def test_mu_lower_at_certain_events() -> None:
    assert mu_lower_at_event(0.5, 0.0) == math.inf and mu_lower_at_event(1.0, 0.5) == math.inf
    assert mu_lower_at_event(0.0, 0.0) == 0.0 and mu_lower_at_event(1.0, 1.0) == 0.0


@pytest.mark.parametrize("trials", [1, 2, 7, 30])
@pytest.mark.parametrize("failure_probability", [0.2, 0.05, 1e-6])
def test_binomial_limits_cover_exactly(trials: int, failure_probability: float) -> None:
    """By enumeration of all outcomes: the limit fails with probability ≤ failure_probability, at every proportion."""
    counts = np.arange(trials + 1)
    lower = clopper_pearson_lower(counts, trials, failure_probability)
    upper = clopper_pearson_upper(counts, trials, failure_probability)
    assert (np.diff(lower) > 0).all() and (np.diff(upper) > 0).all() and (lower < upper).all()
    np.testing.assert_allclose(1 - lower[::-1], upper, atol=1e-12)
    edges = np.concatenate([lower[1:] * (1 - 1e-9), lower[1:], upper[:-1] * (1 + 1e-9), np.linspace(0.001, 0.999, 199)])
    for proportion in edges:
        chances = binom.pmf(counts, trials, proportion)
        assert chances[lower > proportion * (1 + 1e-9)].sum() <= failure_probability * (1 + 1e-6)
        assert chances[upper < proportion * (1 - 1e-9)].sum() <= failure_probability * (1 + 1e-6)
    # and they are the tightest: at the limit itself the chance of so extreme a count is the failure probability
    for count in counts[1:]:
        assert binom.sf(count - 1, trials, lower[count]) == pytest.approx(failure_probability, rel=1e-6)


@pytest.mark.parametrize("trials", [1, 7, 500])
@pytest.mark.parametrize("failure_probability", [0.3, 1e-3, 1e-9])
def test_clopper_pearson_agrees_with_statsmodels(trials: int, failure_probability: float) -> None:
    counts = np.unique(np.linspace(0, trials, 9).round().astype(int))
    low, high = proportion_confint(counts, trials, alpha=2 * failure_probability, method="beta")
    assert np.allclose(clopper_pearson_lower(counts, trials, failure_probability), low, atol=1e-12)
    assert np.allclose(clopper_pearson_upper(counts, trials, failure_probability), high, atol=1e-12)


@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1])
def test_epsilon_of_huge_distances(delta: float) -> None:
    values = [epsilon_of_delta(mu, delta) for mu in (1e6, 0.999e7, 1.001e7, 1e12, 1e17, 1e100, 1e200)]
    assert values == sorted(values) and values[-1] == math.inf
    assert values[2] / values[1] == pytest.approx((1.001 / 0.999) ** 2, rel=1e-6)
