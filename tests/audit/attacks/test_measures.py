"""AUCs, the chance of luck, what a claim allows, intervals and operating points: against loops, closed forms, gates."""

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import mannwhitneyu

from audit.attacks import measures
from audit.attacks.measures import (
    auc_allowed,
    balanced_accuracies,
    best_threshold,
    chance_upper,
    critical_auc,
    interval,
    operating_points,
    roc,
    run_aucs,
)
from audit.bounds.bounded_mean import mean_lower
from unlearning.binomial import clopper_pearson_lower
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
    assert auc_allowed(GaussianTradeOff(0.0)) == pytest.approx(0.5)
    assert auc_allowed(GaussianTradeOff(1.3)) == pytest.approx(ndtr(1.3))
    assert auc_allowed(EpsilonDelta(0.0, 0.1)) == pytest.approx(0.6)
    assert auc_allowed(EpsilonDelta(1.0, 1e-5)) == pytest.approx(1 - math.exp(-1) * (0.5 - 1e-5))
    assert auc_allowed(EpsilonDelta(0.4, 1e-9, Directions.RELEASED)) == pytest.approx(math.exp(0.4) / 2)


def gaussian_game(rng, mu, runs, candidates, forgotten):
    """Release S ↦ μ·(unit vector of S) + N(0, 1), at distance μ of the reference: the best attack's scores."""
    who = members(rng, runs, candidates, forgotten)
    centred = who - forgotten / candidates
    directions = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return mu * directions + rng.standard_normal(who.shape), who


@pytest.mark.parametrize("candidates, forgotten", [(2, 1), (10, 5), (12, 1)])
def test_no_attack_on_a_mu_gdp_mechanism_has_more_than_the_allowed_auc(candidates, forgotten):
    mu = 0.8
    scores, who = gaussian_game(RNG(5), mu, 40_000, candidates, forgotten)
    found = mean_lower(run_aucs(scores, who), 1e-9)
    assert found <= ndtr(mu)
    if candidates == 2:  # two candidates: the bound is reached
        assert run_aucs(scores, who).mean() == pytest.approx(ndtr(mu), abs=0.012)


@pytest.mark.parametrize("level", LEVELS)
def test_a_claim_that_holds_with_equality_is_refuted_at_most_at_its_level(level):
    rng, mu = RNG(6), 0.5
    wrong = 0
    for _ in range(TRIALS):
        scores, who = gaussian_game(rng, mu, 40, 2, 1)
        wrong += bool(GaussianTradeOff(mu).refuted_at(mean_lower(run_aucs(scores, who), level), 0.5))
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
        for limit, rate in ((point.true_positive_rate_lower, point.false_positive_rate_upper), (0.0, least)):
            assert limit <= ndtr(shift + ndtri(rate)) <= 1
        assert ndtr(shift + ndtri(least)) <= point.true_positive_rate_upper


def test_thresholds_and_balanced_accuracies():
    who = np.array([[True, True, False, False]] * 3)
    scores = np.array([[3.0, 2.0, 1.0, 0.0]] * 2 + [[2.0, 0.0, 2.0, 0.0]])
    found = best_threshold(scores[:2], who[:2])
    assert found == 2.0
    assert balanced_accuracies(scores, who, found).tolist() == [1.0, 1.0, 0.5]
