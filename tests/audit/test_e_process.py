"""Bets against a claim: their mean on the whole null, their growth, and wealth under the worst stopping rule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from audit.bounds import e_process
from audit.bounds.e_process import (
    EPSILONS,
    FIRST_EVENT,
    Estimate,
    choose_growing_event,
    e_process_epsilon_lower,
    event_log_wealth,
    largest_rejected,
    log_wealth_path,
    stretches,
)
from audit.bounds.e_value import bets_against, gaussian_log_wealth, identification_log_wealth
from audit.bounds.result import Event, Kind
from audit.bounds.runs import SelectionRuns, TestRuns
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

from .gates import LAWS, LEVELS, TRADEOFFS, TRIALS, Array, TradeOff, boundary, caught, claim_of

inside = st.floats(0.001, 0.999)
names = st.sampled_from(sorted(TRADEOFFS))


def null_points(tradeoff: TradeOff) -> tuple[Array, Array]:
    """The edge of the null from end to end, and points below it."""
    q = np.concatenate([np.geomspace(1e-12, 0.5, 200), 1 - np.geomspace(1e-12, 0.5, 200)])
    p = boundary(tradeoff, q)
    below = np.linspace(0, 1, 5)[:, None] * p
    return below.ravel(), np.broadcast_to(q, below.shape).ravel()


def mean_payoff(p_hat: float, q_hat: float, tradeoff: TradeOff) -> Array:
    p, q = null_points(tradeoff)
    bets = bets_against(p_hat, q_hat, tradeoff)
    released = p * np.exp(bets.released_in) + (1 - p) * np.exp(bets.released_out)
    return np.asarray(released * (q * np.exp(bets.reference_in) + (1 - q) * np.exp(bets.reference_out)))


@given(names, inside, inside)
def test_a_bet_never_gains_on_the_null(name: str, p_hat: float, q_hat: float) -> None:
    assert mean_payoff(p_hat, q_hat, TRADEOFFS[name]).max() <= 1 + 1e-12


def test_a_bet_on_the_wrong_line_is_caught() -> None:
    """A twin that bets against p ≤ q where the claim allows p ≤ e·q."""
    p, q = null_points(EpsilonDelta(1.0, 1e-5))
    bets = bets_against(0.6, 0.1, EpsilonDelta(0.0, 1e-5))
    released = p * np.exp(bets.released_in) + (1 - p) * np.exp(bets.released_out)
    assert (released * (q * np.exp(bets.reference_in) + (1 - q) * np.exp(bets.reference_out))).max() > 1.2


@given(names, inside, inside)
def test_no_bet_where_the_alternative_keeps_the_claim(name: str, p_hat: float, q_hat: float) -> None:
    tradeoff = TRADEOFFS[name]
    if p_hat <= boundary(tradeoff, q_hat):
        bets = bets_against(p_hat, q_hat, tradeoff)
        assert bets.log_wealth(3, 5, 4, 5) == 0


def divergence(p: float, q: float, p_star: float, q_star: float) -> float:
    total = xlogy(p, p / p_star) + xlogy(1 - p, (1 - p) / (1 - p_star))
    return float(total + xlogy(q, q / q_star) + xlogy(1 - q, (1 - q) / (1 - q_star)))


@given(names, inside, inside)
def test_growth_is_the_divergence_from_the_null(name: str, p_hat: float, q_hat: float) -> None:
    tradeoff = TRADEOFFS[name]
    growth = float(bets_against(p_hat, q_hat, tradeoff).growth(p_hat, q_hat))
    if p_hat <= boundary(tradeoff, q_hat) + 1e-6:
        return
    found = minimize_scalar(
        lambda q: divergence(p_hat, q_hat, min(float(boundary(tradeoff, q)), 1 - 1e-15), q),
        bounds=(q_hat, 1 - 1e-12),
        method="bounded",
        options={"xatol": 1e-12},
    )
    assert growth <= found.fun + 1e-9  # no bet grows faster
    assert growth >= found.fun - 1e-5 * (1 + found.fun) or growth >= found.fun - 1e-4


def test_one_direction_is_bet_on_alone() -> None:
    reverse = EpsilonDelta(1.0, 1e-2, Directions.REFERENCE)
    assert float(bets_against(0.09, 0.01, reverse).growth(0.09, 0.01)) == 0  # P ≫ Q is allowed
    assert float(bets_against(0.999, 0.9, reverse).growth(0.999, 0.9)) > 0.02


def test_the_gaussian_mixture_is_the_integral() -> None:
    mean, scale, mu, total, pairs = 0.7, 0.3, 1.0, 41.0, 20
    shifted = (total - pairs * mu) / math.sqrt(2)

    def density(bet: float) -> float:
        return math.exp(-(((bet - mean) / scale) ** 2) / 2)

    payoff = quad(lambda b: density(b) * math.exp(b * shifted - pairs * b * b / 2), 0, 6, epsabs=0, limit=200)[0]
    expected = math.log(payoff / quad(density, 0, 6)[0])
    assert float(gaussian_log_wealth(total, pairs, mu, prior_mean=mean, prior_scale=scale)) == pytest.approx(expected)


@pytest.mark.parametrize("level", LEVELS)
def test_gaussian_wealth_under_the_worst_stopping_rule(level: float) -> None:
    """Shifts at the claim in every pair, stopped at the running maximum; noise too small for the claim is caught."""
    rng = np.random.default_rng(11)
    z = 1.0 + math.sqrt(2) * rng.standard_normal((TRIALS, 300))
    pairs = np.arange(1, 301)
    best = gaussian_log_wealth(np.cumsum(z, 1), pairs, 1.0).max(1)
    assert not caught(int((best >= -math.log(level)).sum()), TRIALS, level)
    assert caught(
        int((gaussian_log_wealth(np.cumsum(z, 1), pairs, 0.7).max(1) >= -math.log(level)).sum()), TRIALS, level
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", sorted(TRADEOFFS))
def test_wealth_at_a_fixed_event_under_the_worst_stopping_rule(name: str, level: float) -> None:
    """Laws on the edge of the claim, another edge point for every pair."""
    tradeoff, pairs = TRADEOFFS[name], 200
    rng = np.random.default_rng(12)
    q = rng.choice([0.05, 0.2, 0.5], pairs)
    x = np.cumsum(rng.random((TRIALS, pairs)) < boundary(tradeoff, q), 1)
    y = np.cumsum(rng.random((TRIALS, pairs)) < q, 1)
    wealth = event_log_wealth(x, y, np.arange(1, pairs + 1), Estimate(9, 20, 2, 20), tradeoff)
    assert not caught(int((wealth.max(1) >= -math.log(level)).sum()), TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_adversarial_events_chosen_by_the_past_gain_nothing(level: float) -> None:
    """At each pair the event, and the alternative, that did best so far among many; scores of randomised response."""
    rng = np.random.default_rng(13)
    tradeoff, cells, pairs = EpsilonDelta(1.0, 1e-5), 8, 60
    weights = rng.dirichlet(np.ones(cells))
    keep = np.e / (1 + np.e)
    # the released side moves mass within pairs of cells by randomised response: every event is within e
    p = np.where(np.arange(cells) % 2 == 0, keep, 1 - keep) * np.repeat(weights.reshape(-1, 2).sum(1), 2)
    q = np.where(np.arange(cells) % 2 == 0, 1 - keep, keep) * np.repeat(weights.reshape(-1, 2).sum(1), 2)
    events = np.array([[(mask >> cell) & 1 for cell in range(cells)] for mask in range(1, 255, 7)], dtype=bool)
    draws = [rng.choice(cells, (TRIALS, pairs), p=side) for side in (p, q)]
    wealth, best = np.zeros(TRIALS), np.zeros(TRIALS)
    hits = [np.zeros((TRIALS, len(events))) for _ in draws]
    for i in range(pairs):
        shares = [(seen + 0.5) / (i + 1) for seen in hits]
        chosen = np.argmax(shares[0] - shares[1], axis=1)
        rows = np.arange(TRIALS)
        bets = bets_against(shares[0][rows, chosen], shares[1][rows, chosen], tradeoff)
        now = [events[:, side[:, i]].T for side in draws]
        wealth = wealth + bets.log_wealth(now[0][rows, chosen], 1, now[1][rows, chosen], 1)
        best = np.maximum(best, wealth)
        hits = [seen + own for seen, own in zip(hits, now, strict=True)]
    assert not caught(int((best >= -math.log(level)).sum()), TRIALS, level)


LEARNED_TRIALS = 100


def refutations(law: str, level: float, *, peeks: bool) -> int:
    """Refutations at the running maximum; a peeking twin chooses its event on the pairs that it bets on."""
    draw, tradeoff = LAWS[law]
    rng = np.random.default_rng(14)
    found = 0
    for _ in range(LEARNED_TRIALS):
        test = TestRuns(*draw(rng, 60))
        selection = SelectionRuns(test.released, test.reference) if peeks else None
        path = log_wealth_path(list(stretches(selection, test, tradeoff)), tradeoff)
        found += bool(path.max() >= -math.log(level))
    return found


@pytest.mark.parametrize("law", sorted(LAWS))
def test_learned_events_under_the_worst_stopping_rule(law: str) -> None:
    assert not caught(refutations(law, 0.2, peeks=False), LEARNED_TRIALS, 0.2)


def test_a_twin_that_sees_the_future_is_caught() -> None:
    assert caught(refutations("equal", 0.2, peeks=True), LEARNED_TRIALS, 0.2)


def test_the_future_changes_nothing_of_the_past() -> None:
    rng = np.random.default_rng(15)
    tradeoff = EpsilonDelta(1.0, 1e-5)
    x, y = rng.standard_normal(100) + 2, rng.standard_normal(100)
    whole = log_wealth_path(list(stretches(None, TestRuns(x, y), tradeoff)), tradeoff)
    for cut in (2, 3, 8, 9, 40, 90):
        part = log_wealth_path(list(stretches(None, TestRuns(x[:cut], y[:cut]), tradeoff)), tradeoff)
        assert np.allclose(part, whole[:cut])
    assert np.all(whole[:FIRST_EVENT] == 0)


def test_the_path_is_the_product_of_its_bets() -> None:
    """Naive oracle: pair by pair, one average over alternatives in each stretch."""
    rng = np.random.default_rng(16)
    tradeoff = GaussianTradeOff(0.3)
    test = TestRuns(rng.standard_normal(50) + 1, rng.standard_normal(50))
    expected, fixed = [], 1.0
    for part in stretches(None, test, tradeoff):
        running = np.ones(1)
        for i in range(part.first, part.last):
            if part.event is not None:
                payoff = []
                for place, (p, q) in enumerate(zip(*part.estimate.alternatives(), strict=True)):
                    bets = bets_against(p, q, tradeoff)
                    x, y = (bool(part.event.contains(side[i : i + 1])[0]) for side in (test.released, test.reference))
                    previous = running[place] if running.size > 1 else 1.0
                    payoff.append(previous * math.exp(float(bets.log_wealth(x, 1, y, 1))))
                running = np.array(payoff)
            expected.append(fixed * running.mean())
        fixed = expected[-1]
    assert np.exp(log_wealth_path(list(stretches(None, test, tradeoff)), tradeoff)) == pytest.approx(expected)


def test_bound() -> None:
    rng = np.random.default_rng(17)
    test = TestRuns(rng.standard_normal(1000) + 1, rng.standard_normal(1050))
    claim = claim_of(EpsilonDelta(0.5, 1e-5))
    found = e_process_epsilon_lower(None, test, claim, 0.05)
    assert found.refuted and found.kind is Kind.ANYTIME and found.runs_reference == 1000
    assert 0.6 < found.epsilon_lower < 4.377 and found.mu_lower is not None and 0.5 < found.mu_lower < 1
    surer = e_process_epsilon_lower(None, test, claim, 0.001)
    assert surer.epsilon_lower <= found.epsilon_lower
    assert found.derivation["pairs_until_refuted"] < 1000
    mirrored = e_process_epsilon_lower(None, TestRuns(-test.reference[:1000], -test.released), claim, 0.05)
    assert mirrored.epsilon_lower == pytest.approx(found.epsilon_lower, abs=0.3)  # the claim is symmetric, Jeffreys too


def test_increasing_transforms_change_nothing() -> None:
    rng = np.random.default_rng(18)
    x, y = (rng.integers(low, low + 40, 200).astype(np.float64) for low in (6, 0))
    claim = claim_of(EpsilonDelta(0.2, 1e-5))
    plain = e_process_epsilon_lower(None, TestRuns(x, y), claim, 0.05)
    other = e_process_epsilon_lower(None, TestRuns(np.exp(x / 10), np.exp(y / 10)), claim, 0.05)
    assert (plain.epsilon_lower, plain.mu_lower, plain.refuted) == (other.epsilon_lower, other.mu_lower, other.refuted)


@pytest.mark.parametrize("runs", [1, 2, 30])
def test_constant_and_separated_scores_stay_finite(runs: int) -> None:
    claim = claim_of(EpsilonDelta(1.0, 1e-5))
    constant = e_process_epsilon_lower(None, TestRuns(np.ones(runs), np.ones(runs)), claim, 0.05)
    assert constant.epsilon_lower == 0 and constant.refuted is False
    apart = e_process_epsilon_lower(None, TestRuns(np.ones(runs), np.zeros(runs)), claim, 0.05)
    assert 0 <= apart.epsilon_lower < 6 and apart.refuted is (runs >= 30)


def test_rejected_values_end_at_the_first_gap() -> None:
    grid = np.arange(0, 10, 0.1)
    assert largest_rejected(grid, lambda v: np.where((v < 1.25) | (v > 3), 9.0, 0.0), 0.05) == pytest.approx(1.2)
    assert largest_rejected(grid, lambda v: np.zeros(v.size), 0.05) == 0
    assert largest_rejected(grid, lambda v: np.full(v.size, 9.0), 0.05) == pytest.approx(9.9)
    assert EPSILONS[0] == 0 and np.all(np.diff(EPSILONS) > 0)


def test_no_event_without_differences() -> None:
    claim = EpsilonDelta(1.0, 1e-5)
    assert choose_growing_event(np.ones(5), np.ones(5), claim) is None
    found = choose_growing_event(np.arange(100.0, 120.0), np.arange(20.0), claim)
    assert isinstance(found, Event) and found.orientation == 1 and 19 < found.threshold <= 100


@pytest.mark.parametrize("level", LEVELS)
def test_identification_wealth_under_the_worst_stopping_rule(level: float) -> None:
    rng = np.random.default_rng(19)
    c = rng.choice([0.05, 0.3, 0.9, 1.2], 200)
    right = rng.random((TRIALS, 200)) < c
    best = np.array([identification_log_wealth(row, c).max() for row in right])
    assert not caught(int((best >= -math.log(level)).sum()), TRIALS, level)
    twin = np.array([identification_log_wealth(row, c / 2).max() for row in right])
    assert caught(int((twin >= -math.log(level)).sum()), TRIALS, level)


def test_identification_refuses_what_is_no_game() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        identification_log_wealth([0.5], 0.1)
    with pytest.raises(ValueError, match="> 0"):
        identification_log_wealth([1], 0.0)


def test_one_run_each_stretch_is_bet_on_once() -> None:
    test = TestRuns(np.arange(30.0), np.arange(30.0))
    parts = list(stretches(None, test, EpsilonDelta(0.0, 1e-5)))
    assert [part.first for part in parts] == [0, 2, 3, 5, 8, 12, 18, 27]
    assert parts[-1].last == 30
    assert e_process.NEXT_EVENT > 1
