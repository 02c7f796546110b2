"""AUCs, the chance of luck, what a claim allows, intervals and operating points: against loops, closed forms, gates."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import mannwhitneyu, norm

from audit.attacks import measures
from audit.attacks.measures import (
    LEAST_RUNS,
    balanced_accuracies,
    best_threshold,
    chance_upper,
    critical_auc,
    interval,
    operating_points,
    rate_upper,
    roc,
    run_aucs,
)
from audit.bounds.bounded_mean import mean_lower
from unlearning.auc import auc_allowed
from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

from ..gates import LEVELS, TRIALS, agrees, caught
from .outputs import members

RNG = np.random.default_rng


def naive_auc(scores, forgotten):
    pairs = [(i, j) for i in np.flatnonzero(forgotten) for j in np.flatnonzero(~forgotten)]
    return np.mean([1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0 for i, j in pairs])


def test_auc_is_that_of_the_loop_with_ties():
    rng = RNG(0)
    who, scores = members(rng, 30, 9, 4), rng.integers(0, 4, (30, 9)).astype(float)
    assert run_aucs(scores, who) == pytest.approx([naive_auc(s, w) for s, w in zip(scores, who, strict=True)])


@pytest.mark.parametrize("k, others", [(1, 1), (2, 5), (7, 4), (12, 12)])
def test_chance_of_one_run_is_above_the_exact_one_and_not_far(k, others):
    rng = RNG(1)
    who = np.arange(k + others)[None] < k
    for _ in range(20):
        scores = rng.standard_normal((1, k + others))
        auc = run_aucs(scores, who)
        exact = mannwhitneyu(scores[who], scores[~who], alternative="greater", method="exact").pvalue
        found = chance_upper(auc, who)
        assert found >= exact * (1 - 1e-9)
        # Chernoff's price: a factor of about z√(2π)
        assert found <= min(1.0, 12 * exact + 0.02) or exact > 0.05


@pytest.mark.parametrize("runs", [1, 20, 300, 1000, 5000])
def test_chance_is_never_rounded_below_the_exact_one(runs):
    found = chance_upper(np.ones(runs), np.array([[True, False]] * runs))
    assert 0 < 2.0 ** -min(runs, 1074) <= found
    assert found <= max(1e-300, 2.0**-runs * (1 + 1e-3))


@pytest.mark.parametrize("ties", [False, True])
def test_chance_is_no_smaller_than_its_level_where_there_is_nothing_to_see(ties):
    rng = RNG(2)
    wrong = 0
    for _ in range(TRIALS):
        who = members(rng, 20, 6, 2)
        scores = rng.standard_normal(who.shape)
        aucs = run_aucs(np.round(scores) if ties else scores, who)
        wrong += chance_upper(aucs, who) <= 0.05
    assert not caught(wrong, TRIALS, 0.05)


def test_a_twin_that_takes_all_pairs_for_independent_is_caught():
    rng = RNG(2)
    wrong = 0
    for _ in range(400):
        who = members(rng, 20, 40, 20)
        aucs = run_aucs(rng.standard_normal(who.shape), who)
        pairs = 20 * 20 * 20
        wrong += 1 - ndtr((aucs.mean() - 0.5) * math.sqrt(12 * pairs)) <= 0.05
    assert caught(wrong, 400, 0.05)


@pytest.mark.parametrize("runs, candidates, forgotten", [(5, 2, 1), (64, 10, 5), (64, 41, 1), (300, 200, 100)])
def test_the_critical_auc_is_where_the_chance_crosses_the_level(runs, candidates, forgotten):
    who = members(RNG(0), runs, candidates, forgotten)
    found = critical_auc(who, 0.01)
    if runs == 5:  # the best that five pairs can do is 1/32
        assert found > 1
        assert chance_upper(np.ones(5), who) > 0.01
        return
    assert chance_upper(np.full(runs, found + 1e-6), who) <= 0.01
    assert chance_upper(np.full(runs, found - 1e-3), who) > 0.01


def test_what_a_claim_allows():
    """One of two candidates: 1 − f(½)."""
    assert auc_allowed(GaussianTradeOff(0.0), 5, 7) == pytest.approx(0.5)
    assert auc_allowed(GaussianTradeOff(1.3), 1, 1) == pytest.approx(ndtr(1.3))
    assert auc_allowed(EpsilonDelta(0.0, 0.1), 1, 1) == pytest.approx(0.6)
    assert auc_allowed(EpsilonDelta(1.0, 1e-5), 1, 1) == pytest.approx(1 - math.exp(-1) * (0.5 - 1e-5))
    assert auc_allowed(EpsilonDelta(0.4, 1e-9, Directions.RELEASED), 1, 1) == pytest.approx(math.exp(0.4) / 2)


def gaussian_game(rng, mu, runs, candidates, forgotten):
    """Release S ↦ μ·(unit vector of S) + N(0, 1), at distance μ of the reference: the best attack's scores."""
    who = members(rng, runs, candidates, forgotten)
    centred = who - forgotten / candidates
    directions = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return mu * directions + rng.standard_normal(who.shape), who


def telling_orders(rng, mu, runs, candidates, forgotten):
    """The most telling μ-GDP release of S: an order of the candidates, any one where S was not there.

    By Neyman and Pearson: the orders in the order of the AUC that they give S, at rank Φ(N(μ, 1)) for Φ(N(0, 1)).
    """
    who = members(rng, runs, candidates, forgotten)
    places = np.array([np.isin(np.arange(candidates), s) for s in combinations(range(candidates), forgotten)])
    aucs = run_aucs(np.tile(np.arange(candidates, dtype=float), (len(places), 1)), places)
    places, aucs = places[np.argsort(aucs)], np.sort(aucs)
    ranks = ndtr(mu + rng.standard_normal(runs))
    taken = places[(ranks * len(places)).astype(int)]
    scores = np.empty(who.shape)
    for side in (False, True):
        scores[who == side] = rng.permuted(np.nonzero(taken == side)[1].reshape(runs, -1), axis=1).ravel()
    edges = ndtr(ndtri(np.arange(len(places) + 1) / len(places)) - mu)
    return scores, who, float(np.diff(edges) @ aucs)


@pytest.mark.parametrize("candidates, forgotten", [(2, 1), (4, 2), (10, 5), (12, 1)])
def test_no_attack_on_a_mu_gdp_mechanism_has_more_than_the_allowed_auc(candidates, forgotten):
    """By more candidates the AUC goes only as far as Mann and Whitney's law spreads."""
    mu, runs = 0.8, 40_000
    scores, who, exact = telling_orders(RNG(5), mu, runs, candidates, forgotten)
    aucs = run_aucs(scores, who)
    assert abs(aucs.mean() - exact) <= 6 * aucs.std() / math.sqrt(runs)
    assert exact == pytest.approx(ndtr(mu)) if candidates == 2 else 0.6 < exact < ndtr(mu)
    blurred = run_aucs(*gaussian_game(RNG(5), mu, runs, candidates, forgotten))
    assert blurred.mean() <= exact + 6 * blurred.std() / math.sqrt(runs)
    allowed = auc_allowed(GaussianTradeOff(mu), forgotten, candidates - forgotten)
    assert exact == pytest.approx(allowed, abs=1e-8)  # it is reached, for every number of candidates
    assert mean_lower(aucs, 1e-9) <= allowed
    broken = telling_orders(RNG(5), 3 * mu, runs, candidates, forgotten)
    assert mean_lower(run_aucs(*broken[:2]), 1e-9) > allowed


@pytest.mark.parametrize("level", LEVELS)
def test_a_claim_that_holds_with_equality_is_refuted_at_most_at_its_level(level):
    rng, mu = RNG(6), 0.5
    wrong, allowed = 0, auc_allowed(GaussianTradeOff(mu), 3, 3)
    for _ in range(TRIALS):
        scores, who, _ = telling_orders(rng, mu, 40, 6, 3)
        wrong += mean_lower(run_aucs(scores, who), level) > allowed
    assert not caught(wrong, TRIALS, level)


def test_interval_is_students_and_silent_below_five_runs():
    values = np.array([0.4, 0.5, 0.6, 0.7, 0.8])
    found = interval(values)
    half = 2.7764451051977987 * values.std(ddof=1) / math.sqrt(5)
    assert (found.mean, found.lower, found.upper) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    few = interval(values[:4])
    assert few.lower is None and few.upper is None and few.deviation is None and few.runs == 4
    with pytest.raises(ValueError, match="at least one"):
        interval(values[:0])


def test_equal_values_have_no_interval():
    """Models without any randomness, or too few runs to see it: a width of 0 would be a certainty."""
    found = interval(np.full(64, 0.1))
    assert (found.mean, found.deviation, found.lower, found.upper) == (0.1, 0.0, None, None)


@pytest.mark.parametrize("runs, candidates, forgotten", [(64, 10, 5), (20, 40, 20), (64, 4, 2)])
def test_retrained_models_have_intervals_that_cover_a_half_at_the_stated_rate(runs, candidates, forgotten):
    """One model of the rest for all: scores of the records are what they are, and who is who is drawn."""
    rng = RNG(7)
    covered = 0
    for _ in range(TRIALS):
        who = members(rng, runs, candidates, forgotten)
        scores = 3 * rng.standard_normal(candidates) + rng.standard_normal(who.shape)
        found = interval(run_aucs(scores, who))
        covered += found.lower <= 0.5 <= found.upper
    assert agrees(covered, TRIALS, 0.95)


def test_intervals_of_pooled_records_would_not_cover():
    """Runs that share a model: the twin that counts records has intervals that are too short."""
    rng = RNG(8)
    covered = 0
    for _ in range(300):
        shifts = 0.15 * rng.standard_normal((20, 1))
        right = rng.random((20, 50)) < 0.5 + shifts
        half = 1.96 * right.std() / math.sqrt(right.size)
        covered += abs(right.mean() - 0.5) <= half
    assert not agrees(covered, 300, 0.95)
    shared = (interval((rng.random((20, 50)) < 0.5 + 0.15 * rng.standard_normal((20, 1))).mean(1)) for _ in range(300))
    assert agrees(sum(found.lower <= 0.5 <= found.upper for found in shared), 300, 0.95)


def test_operating_points_count_and_never_exceed_their_target():
    rng = RNG(9)
    who = members(rng, 250, 10, 5)
    scores = rng.standard_normal(who.shape) + 2 * who
    one, tenth = operating_points(scores, who)
    assert one.target == 0.01 and tenth.target == 0.001
    called = scores >= one.threshold
    assert one.true_positives == (called & who).sum() and one.false_positives == (called & ~who).sum()
    assert one.false_positive_rate == one.false_positives / 1250 <= 0.01
    assert one.false_positive_rate_upper > one.false_positive_rate
    assert one.true_positive_rate_lower < one.true_positive_rate < one.true_positive_rate_upper
    negatives = np.sort(scores[~who])
    assert one.false_positives == 12 and negatives[-13] < one.threshold <= negatives[-12]
    # 1,250 negatives do not resolve one false positive in a thousand
    assert (tenth.negatives_needed, tenth.negatives, tenth.true_positive_rate) == (10_000, 1250, None)


def limits_missed(shift, trials, records=False):
    """How often the limits of the TPR (lower, upper) and the FPR at 1 % are wrong; twin: limits that count records."""
    rng, missed = RNG(12), np.zeros(3, dtype=int)
    who = np.arange(10) < 5
    for _ in range(trials):
        scores = rng.standard_normal((200, 10)) + shift * rng.standard_normal((200, 1)) + 1.5 * who
        (point, _) = operating_points(scores, np.tile(who, (200, 1)))
        true, false = norm.sf((point.threshold - np.array([1.5, 0])) / math.hypot(1, shift))
        least, most = point.true_positive_rate_lower, point.true_positive_rate_upper
        if records:
            least = clopper_pearson_lower(point.true_positives, 1000, 0.05)
            most = clopper_pearson_upper(point.true_positives, 1000, 0.05)
        missed += [true < least, true > most, false > point.false_positive_rate_upper]
    return missed


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_limits_at_an_operating_point_hold_where_runs_differ(shift):
    assert not any(caught(missed, 1200, 0.05) for missed in limits_missed(shift, 1200))


def test_limits_that_count_records_are_caught():
    assert caught(limits_missed(1.0, 1200, records=True)[:2].max(), 1200, 0.05)


def test_limits_of_rates_need_runs_and_know_clusters():
    sizes = np.full(20, 5)
    assert rate_upper(np.zeros(4, int), sizes[:4], 0.05) is None and LEAST_RUNS == 5
    assert rate_upper(0 * sizes, sizes, 0.05) == clopper_pearson_upper(0, 20, 0.05)
    assert rate_upper(sizes, sizes, 0.05) == 1
    one, two, spread = 0 * sizes, 0 * sizes, 0 * sizes
    one[:1], two[:2], spread[:10] = 5, 5, 1
    assert rate_upper(one, sizes, 0.05) == clopper_pearson_upper(1, 20, 0.05)
    assert rate_upper(two, sizes, 0.05) > rate_upper(spread, sizes, 0.05) >= clopper_pearson_upper(10, 100, 0.05)


def test_below_ten_negatives_to_a_false_positive_nothing_is_said():
    rng = RNG(9)
    for runs, spoken in ((199, False), (200, True)):
        who = members(rng, runs, 10, 5)
        one, _ = operating_points(rng.standard_normal(who.shape), who)
        assert (one.true_positives is not None) is spoken
        assert one.negatives == 5 * runs


def test_equal_scores_move_together():
    who = np.array([[True, False]] * 1000)
    scores = np.zeros(who.shape)
    scores[:5, 1] = 1  # five negatives above all others
    scores[:300, 0] = 1
    one, _ = operating_points(scores, who)
    assert (one.false_positives, one.true_positives, one.threshold) == (5, 300, 1.0)
    scores[:11, 1] = 1  # eleven are too many: nothing at all is called
    one, _ = operating_points(scores, who)
    assert (one.false_positives, one.true_positives, one.threshold) == (0, 0, None)


def test_roc_starts_and_ends_in_the_corners_and_is_monotone():
    rng = RNG(10)
    who = members(rng, 100, 40, 20)
    false, true = roc(rng.standard_normal(who.shape) + who, who)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    assert len(false) <= measures._ROC_POINTS + 1


def test_separable_gaussians_have_the_closed_forms():
    rng, shift = RNG(11), 1.5
    who = members(rng, 4000, 10, 5)
    scores = rng.standard_normal(who.shape) + shift * who
    auc = interval(run_aucs(scores, who), 1e-7)
    assert auc.lower <= ndtr(shift / math.sqrt(2)) <= auc.upper
    for point in operating_points(scores, who, 1e-7):
        least = clopper_pearson_lower(point.false_positives, point.negatives, 1e-7)
        assert point.true_positive_rate_lower is not None
        for limit, rate in ((point.true_positive_rate_lower, point.false_positive_rate_upper), (0.0, least)):
            assert limit <= ndtr(shift + ndtri(rate)) <= 1
        assert ndtr(shift + ndtri(least)) <= point.true_positive_rate_upper


def test_thresholds_and_balanced_accuracies():
    who = np.array([[True, True, False, False]] * 3)
    scores = np.array([[3.0, 2.0, 1.0, 0.0]] * 2 + [[2.0, 0.0, 2.0, 0.0]])
    found = best_threshold(scores[:2], who[:2])
    assert found == 2.0
    assert balanced_accuracies(scores, who, found).tolist() == [1.0, 1.0, 0.5]
