"""Power before the run: against enumeration, simulation, the numbers of the design, and a broken twin."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

from audit.bounds.clopper_pearson import clopper_pearson_epsilon_lower
from audit.bounds.e_process import e_process_epsilon_lower, log_wealth_path, stretches
from audit.bounds.fixed_event import EventDesign
from audit.bounds.joint import joint_epsilon_lower
from audit.bounds.result import Event
from audit.bounds.runs import SelectionRuns, TestRuns
from audit.bounds.table import compute
from audit.chances import (
    Arms,
    event_chance,
    expected_log_wealth,
    joint_chance,
    margin_chance,
    members_named_probability,
    nearest_allowed,
    right_guess_probability,
    scale_chance,
    wealth_chance,
)
from audit.piloted import smallest_mu_with_pilot
from audit.power import (
    WAYS,
    Setting,
    best_chance,
    cheapest,
    found_table,
    runs_needed,
    smallest_mu,
)
from unlearning.gaussian import mu_of_epsilon_delta
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

from .gates import TRADEOFFS, TradeOff, agrees, claim_of

CLAIMED = mu_of_epsilon_delta(1.0, 1e-5)
POINT, CURVE = EpsilonDelta(1.0, 1e-5), GaussianTradeOff(CLAIMED)


def setting(tradeoff: TradeOff, failure_probability: float = 0.05, **other: float) -> Setting:
    return Setting(claim_of(tradeoff), failure_probability, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TRADEOFFS)
@pytest.mark.parametrize(("p", "q"), [(0.3, 0.05), (0.9, 0.5), (0.999, 0.9), (1.0, 0.0), (0.5, 0.5)])
def test_the_chance_at_an_event_is_that_of_the_table_of_limits(name: str, p: float, q: float) -> None:
    for n, m, share in ((40, 70, 0.5), (200, 100, 0.2)):
        expected = EventDesign(n, m, 0.05, share).refutation_probability(p, q, TRADEOFFS[name])
        found = event_chance(Arms(n, m, 0.05 * share, 0.05 * (1 - share)), p, q, TRADEOFFS[name])
        assert found == pytest.approx(expected, abs=1e-9)


def test_blocks_of_counts_err_on_the_safe_side() -> None:
    exact = EventDesign(60_000, 60_000, 0.05).refutation_probability(0.02, 0.0065, POINT)
    found = event_chance(Arms(60_000, 60_000, 0.025, 0.025), 0.02, 0.0065, POINT)
    assert exact - 0.02 <= found <= exact + 1e-9


@pytest.mark.parametrize(
    ("key", "tradeoff", "stated", "slack"),
    [
        ("z", CURVE, 173, 0.0),
        ("z", POINT, 173, 0.0),
        ("clopper-pearson", CURVE, 600, 0.05),
        ("clopper-pearson", POINT, 17_000, 0.1),
    ],
)
def test_runs_needed_are_those_of_the_design_document(key: str, tradeoff: TradeOff, stated: int, slack: float) -> None:
    found = runs_needed(WAYS[key], setting(tradeoff), 2 * CLAIMED)
    assert found is not None
    assert abs(found - stated) <= slack * stated


def test_perfect_separation_proves_what_the_design_document_says() -> None:
    for runs, epsilon in ((100, 3.28), (512, 4.93), (1000, 5.60)):
        able, unable = setting(EpsilonDelta(epsilon - 0.02, 1e-5)), setting(EpsilonDelta(epsilon + 0.02, 1e-5))
        assert smallest_mu(WAYS["clopper-pearson"], able, (runs, runs)) is not None
        assert smallest_mu(WAYS["clopper-pearson"], unable, (runs, runs)) is None


def simulated(key: str, tradeoff: TradeOff, runs: int, mu: float, threshold: float, trials: int) -> int:
    """Refutations where the event is known: selection runs so many and so placed that they choose the threshold."""
    rng, claim, found = np.random.default_rng(7), claim_of(tradeoff), 0
    for _ in range(trials):
        test = TestRuns(rng.normal(mu, 1, runs), rng.standard_normal(runs))
        if key == "clopper-pearson":
            x, y = (int(Event(threshold).contains(side).sum()) for side in (test.released, test.reference))
            found += EventDesign(runs, runs, 0.05).bound(x, y, claim).refuted
        else:
            found += bool(compute(key, None, test, claim, failure_probability=0.05).refuted)
    return found


@pytest.mark.parametrize("key", ["clopper-pearson", "z"])
def test_exact_chances_agree_with_simulation(key: str) -> None:
    chance, threshold = best_chance(WAYS[key], setting(CURVE), (200, 200), 0.75)
    assert agrees(simulated(key, CURVE, 200, 0.75, threshold, 1000), 1000, chance)


@pytest.mark.parametrize("key", ["band", "dkw"])
def test_the_band_finds_at_least_what_its_best_threshold_finds(key: str) -> None:
    for tradeoff, runs in ((CURVE, 300), (POINT, 300)):
        mu = smallest_mu(WAYS[key], setting(tradeoff), (runs, runs))
        assert mu is not None
        found = simulated(key, tradeoff, runs, mu, 0.0, 200)
        assert found / 200 >= 0.8 or agrees(found, 200, 0.8)


def test_the_joint_test_finds_about_what_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    for tradeoff in (CURVE, POINT):
        mu = smallest_mu(WAYS["joint"], setting(tradeoff), (400, 400))
        assert mu is not None
        event = Event(best_chance(WAYS["joint"], setting(tradeoff), (400, 400), mu)[1])
        monkeypatch.setattr("audit.bounds.joint.most_telling_event", lambda *_, chosen=event: chosen)
        selection = SelectionRuns(rng.normal(mu, 1, 20_000), rng.standard_normal(20_000))
        claim, found, trials = claim_of(tradeoff), 0, 120
        for _ in range(trials):
            test = TestRuns(rng.normal(mu, 1, 400), rng.standard_normal(400))
            found += bool(joint_epsilon_lower(selection, test, claim, 0.05).refuted)
        assert 0.66 <= found / trials <= 0.95


def reached(tradeoff: TradeOff, runs: int, mu: float, trials: int) -> float:
    """Share of simulated audits in which the e-process, which learns its event, refutes; the first by the bound too."""
    rng, found = np.random.default_rng(1), 0
    for trial in range(trials):
        test = TestRuns(rng.normal(mu, 1, runs), rng.standard_normal(runs))
        refuted = log_wealth_path(list(stretches(None, test, tradeoff)), tradeoff).max() >= math.log(20)
        if trial == 0:
            assert refuted == e_process_epsilon_lower(None, test, claim_of(tradeoff), 0.05).refuted
        found += refuted
    return found / trials


@pytest.mark.parametrize(("tradeoff", "runs"), [(POINT, 100), (POINT, 1000), (CURVE, 300)])
def test_the_e_process_finds_what_is_stated_within_15_percent_of_mu(tradeoff: TradeOff, runs: int) -> None:
    """The power is .8 between .85 and 1.15 of the stated μ; .09 is two deviations of 80 simulated audits."""
    mu = smallest_mu(WAYS["e-process"], setting(tradeoff), (runs, runs))
    assert mu is not None
    assert reached(tradeoff, runs, 0.85 * mu, 80) <= 0.8 + 0.09
    assert reached(tradeoff, runs, 1.15 * mu, 80) >= 0.8 - 0.09


def test_a_twin_that_counts_the_event_as_known_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.power.LEARNED", 1.0)
    mu = smallest_mu(WAYS["e-process"], setting(POINT), (300, 300))
    assert mu is not None
    assert reached(POINT, 300, mu, 80) < 0.8 - 0.2


def test_the_wealth_of_separated_runs_is_that_of_the_e_process() -> None:
    for epsilon in (1.0, 5.0):
        for runs in (10, 1000):
            test = TestRuns(np.full(runs, 9.0), np.zeros(runs))
            parts = list(stretches(None, test, EpsilonDelta(epsilon, 1e-5)))
            wealth = log_wealth_path(parts, EpsilonDelta(epsilon, 1e-5))[-1]
            own = expected_log_wealth(runs, 1.0, 0.0, EpsilonDelta(epsilon, 1e-5))
            assert own == pytest.approx(wealth, rel=1e-6)
    assert wealth_chance(150, 0.1, 0.08, POINT, 0.05) == 0.0


@pytest.mark.parametrize("epsilon", [5.0, 8.0, 10.0, 25.0, 50.0])
@pytest.mark.parametrize("key", ["clopper-pearson", "joint", "folds", "band", "dkw", "e-process"])
def test_nothing_is_refutable_where_separated_runs_do_not_refute(key: str, epsilon: float) -> None:
    own = setting(EpsilonDelta(epsilon, 1e-5))
    for runs in (30, 100, 1000, 5000):
        mu = smallest_mu(WAYS[key], own, (runs, runs))
        if mu is not None:
            test = TestRuns(np.full(runs, 9.0), np.zeros(runs))
            chosen = SelectionRuns(np.full(20, 9.0), np.zeros(20))
            assert compute(key, chosen, test, own.claim, failure_probability=0.05, orientation=1).refuted
            assert own.claim.gaussian_epsilon(mu) > epsilon


@pytest.mark.parametrize("key", ["joint", "folds", "dkw", "e-process"])
@pytest.mark.parametrize("tradeoff", [POINT, CURVE], ids=["point", "curve"])
def test_ten_times_the_runs_always_find_more_up_to_the_most_allowed(key: str, tradeoff: TradeOff) -> None:
    found = [smallest_mu(WAYS[key], setting(tradeoff), (10**n, 10**n)) or math.inf for n in range(2, 10)]
    assert all(more < fewer for fewer, more in zip(found, found[1:], strict=False))
    assert found[-1] < (1.5 if key == "dkw" else 1.06) * CLAIMED


def test_the_nearest_allowed_pair_is_nearest_by_search() -> None:
    for tradeoff in (POINT, CURVE, EpsilonDelta(0.5, 0.05, Directions.RELEASED)):
        p, q = 0.6, 0.1
        grid = np.linspace(q, 0.6, 200_001)
        grid = grid[1 - tradeoff(grid) < p]
        allowed = 1 - tradeoff(grid)
        entropy = p * np.log(p / allowed) + (1 - p) * np.log((1 - p) / (1 - allowed))
        entropy += q * np.log(q / grid) + (1 - q) * np.log((1 - q) / (1 - grid))
        best = grid[np.argmin(entropy)]
        assert nearest_allowed(p, q, tradeoff)[1] == pytest.approx(best, abs=1e-4)
    for epsilon in (5.0, 10.0, 25.0):  # the corner, where P(Eᶜ) = Q(E)
        near = nearest_allowed(1.0, 0.0, EpsilonDelta(epsilon, 1e-300))[1]
        assert near == pytest.approx(1 / (1 + math.exp(epsilon)), rel=1e-5)


def test_noise_that_is_short_is_found_as_often_as_chi_square_says() -> None:
    rng, draws, factor = np.random.default_rng(2), 400, 0.9
    energy = (factor * rng.standard_normal((4000, draws))) ** 2
    from scipy.stats import chi2

    low, high = chi2.ppf(0.025, draws), chi2.isf(0.025, draws)
    found = int(((energy.sum(1) < low) | (energy.sum(1) > high)).sum())
    assert agrees(found, 4000, scale_chance(factor, draws, 0.05))


def test_records_are_named_right_as_often_as_in_a_simulated_game() -> None:
    rng, m, r, trace, games = np.random.default_rng(4), 40, 20, 1.5, 4000
    members = rng.random((games, m)) < 0.5
    score = rng.standard_normal((games, m)) + trace * members - trace / 2
    surest = np.argsort(-np.abs(score), axis=1)[:, :r]
    right = np.take_along_axis((score > 0) == members, surest, axis=1).mean()
    assert right_guess_probability(trace, r / m) == pytest.approx(right, abs=0.01)
    assert right_guess_probability(trace, 1.0) == pytest.approx(float(ndtr(trace / 2)), abs=1e-5)


def test_members_are_named_as_often_as_in_a_simulated_game() -> None:
    rng, m, k, trace, games = np.random.default_rng(5), 12, 4, 2.0, 20_000
    score = rng.standard_normal((games, m))
    score[:, :k] += trace
    named = (np.argsort(-score, axis=1)[:, :k] < k).sum(1)
    law = members_named_probability(trace, m, k)
    for v in range(k + 1):
        assert agrees(int((named >= v).sum()), games, float(law[v]))


@pytest.mark.parametrize("key", sorted(WAYS))
@pytest.mark.parametrize("tradeoff", [POINT, CURVE], ids=["point", "curve"])
def test_nothing_that_keeps_the_claim_is_called_refutable(key: str, tradeoff: TradeOff) -> None:
    for mu in (0.0, 0.5 * CLAIMED, CLAIMED * (1 - 1e-6)):
        assert best_chance(WAYS[key], setting(tradeoff), (500, 500), mu)[0] <= 0.05 + 1e-9
    assert (smallest_mu(WAYS[key], setting(tradeoff), (500, 500)) or 1.0) >= CLAIMED * (1 - 1e-4)


def test_a_twin_that_forgets_the_second_limit_is_caught() -> None:
    """Power computed as if Q(E) were known promises too much; simulation tells."""
    p, q, runs = 0.25, 0.06, 200
    forgetful = event_chance(Arms(runs, 10**7, 0.05, 1e-6), p, q, POINT)
    rng = np.random.default_rng(6)
    table = EventDesign(runs, runs, 0.05)
    claim = claim_of(POINT)
    found = sum(table.bound(int(rng.binomial(runs, p)), int(rng.binomial(runs, q)), claim).refuted for _ in range(1000))
    assert agrees(found, 1000, event_chance(Arms(runs, runs, 0.025, 0.025), p, q, POINT))
    assert not agrees(found, 1000, forgetful)


def test_more_runs_and_more_failure_probability_find_more() -> None:
    for key in ("z", "student", "clopper-pearson", "joint", "dkw", "e-process", "folds"):
        way = WAYS[key]
        found = [smallest_mu(way, setting(POINT), (runs, runs)) or math.inf for runs in (100, 1000)]
        assert found == sorted(found, reverse=True)
        tighter = smallest_mu(way, setting(POINT, 0.001), (1000, 1000)) or math.inf
        assert tighter >= found[1]


def test_a_worse_event_finds_less() -> None:
    way, rng = WAYS["clopper-pearson"], np.random.default_rng(8)
    own = setting(POINT)
    found = [smallest_mu_with_pilot(way, own, (400, 400), (size, size), rng) or math.inf for size in (20, 2000)]
    best = smallest_mu(way, own, (400, 400))
    assert best is not None and best * (1 - 0.01) <= found[1] <= found[0]
    assert smallest_mu_with_pilot(way, setting(POINT), (5, 5), (5, 5), rng) is None


def test_power_with_a_pilot_is_what_simulated_audits_find() -> None:
    rng, claim = np.random.default_rng(10), claim_of(POINT)
    for key, bound in (("clopper-pearson", clopper_pearson_epsilon_lower), ("joint", joint_epsilon_lower)):
        mu = smallest_mu_with_pilot(WAYS[key], setting(POINT), (400, 400), (100, 100), rng)
        assert mu is not None
        found = 0
        for _ in range(100):
            chosen = SelectionRuns(rng.normal(mu, 1, 100), rng.standard_normal(100))
            test = TestRuns(rng.normal(mu, 1, 400), rng.standard_normal(400))
            found += bool(bound(chosen, test, claim, 0.05).refuted)
        assert 0.62 <= found / 100 <= 0.95


def test_costs_count_models_and_the_cheapest_comes_first() -> None:
    own = setting(CURVE, pilot=0.5)
    assert WAYS["band"].models(own, 100) == 200
    assert WAYS["z"].models(own, 101) == 2 * (101 + 51)
    assert WAYS["distance"].models(own, 10**6) == 2
    assert WAYS["identification"].models(own, 10**6) == 1 + 40 + 1
    costs = cheapest([WAYS[key] for key in ("joint", "z", "distance", "clopper-pearson")], own, 2 * CLAIMED)
    known = [models for _, _, models in costs if models is not None]
    assert known == sorted(known) and costs[0][0].key == "distance"
    table = found_table([WAYS["identification"]], own, (10, 20))["identification"]
    assert table[0] == table[1] and table[0].runs == 1


def test_the_nothing_of_a_new_record_is_told_from_one_model_at_epsilon_eight() -> None:
    own = setting(EpsilonDelta(8.0, 1e-5))
    strong = 40.0 * mu_of_epsilon_delta(8.0, 1e-5)
    assert best_chance(WAYS["identification"], own, (1, 1), strong)[0] > 0.99
    assert smallest_mu(WAYS["clopper-pearson"], own, (30, 30)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"power": 1.0},
        {"pilot": -0.1},
        {"pilot": math.inf},
        {"pilot": 1e9},
        {"coordinates": 0},
        {"guesses": 41},
        {"guesses": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        setting(POINT, **wrong)


def test_arms_of_different_size_are_all_right() -> None:
    for tradeoff in TRADEOFFS.values():
        assert 0 <= joint_chance(Arms(50, 500, 0.025, 0.025), 0.9, 0.1, tradeoff) <= 1
        assert 0 <= margin_chance(Arms(50, 500, 0.025, 0.025), 0.1, 0.05, 0.9, 0.1, tradeoff) <= 1
