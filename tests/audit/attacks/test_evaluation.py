"""From shadow runs to results: power is stated beforehand and kept, gaps are paired, nothing is found in retrained."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from audit.attacks.differencing import Differencing, gap_to_retrained
from audit.attacks.evaluation import Prepared, prepare, run_attack
from audit.attacks.measures import POWER_FAILURE_PROBABILITY, chance_upper, critical_auc, run_aucs
from audit.attacks.runs import FitRuns, ScoreRuns
from audit.score_functions import confidences
from unlearning.auc import auc_allowed
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff

from ..gates import TRIALS, caught
from .outputs import drawn_runs, members

LEVEL = 0.01
CLAIM = GaussianTradeOff(0.3)


@dataclass(frozen=True)
class Confidence:
    """φ less its mean over the shadow runs."""

    key: str = "confidence"
    title: str = "Confidence"
    family: str = "MIA-L"
    source: str = "test"

    def fit(self, runs, model, *, generator):
        return _Centred(_phi(runs, model).mean(0))


@dataclass(frozen=True)
class _Centred:
    mean: np.ndarray

    def scores(self, runs, model):
        return _phi(runs, model) - self.mean


def _phi(runs, model):
    return confidences(torch.from_numpy(runs.of(model)), torch.from_numpy(runs.labels)).numpy()


def ran(attack=Confidence(), seed=0, *, runs=64, leak=0.0, tradeoff=CLAIM):
    found = run_attack(
        attack,
        drawn_runs(FitRuns, 2 * seed, runs, leak=leak),
        drawn_runs(ScoreRuns, 2 * seed + 1, runs, leak=leak),
        tradeoff,
        ("unlearned", "original", "retrained"),
        seeds="fresh",
        failure_probability=LEVEL,
        generator=np.random.default_rng(seed),
    )
    return {result.against: result for result in found}


def test_results_carry_counts_and_are_paired_with_retrained():
    found = ran(leak=0.5)
    one = found["unlearned"]
    assert (one.runs, one.fit_runs, one.positives, one.negatives) == (64, 64, 320, 320)
    assert one.auc.mean == pytest.approx(np.mean(one.run_aucs))
    paired = np.asarray(one.run_aucs) - np.asarray(found["retrained"].run_aucs)
    assert one.gap.mean == pytest.approx(paired.mean()) and one.gap.deviation == pytest.approx(paired.std(ddof=1))
    assert found["retrained"].gap is None
    assert [p.true_positive_rate for p in one.points] == [None, None]  # 320 negatives
    assert 0.5 < one.balanced_accuracy.mean < 1


def test_doing_nothing_is_caught_at_the_power_stated_beforehand_and_retraining_is_not():
    found = ran()
    assert found["original"].power > 0.999 and found["original"].caught
    assert found["original"].auc_lower > found["original"].auc_allowed  # an attack alone refutes the claim for it
    for clean in ("retrained", "unlearned"):
        assert found[clean].power < 0.1 and not found[clean].caught
        assert found[clean].auc.lower <= 0.5 <= found[clean].auc.upper


def coin(mean):
    """AUC of runs with one forgotten record and one other."""
    return lambda rng, shape: (rng.random(shape) < mean).astype(float)


def about_normal(mean, deviation):
    return lambda rng, shape: rng.normal(mean, deviation, shape).clip(0, 1)


# law of a run's AUC, shadow runs, target runs, candidates
LAWS = {
    "coin": (coin(0.85), 8, 16, 2),
    "nearly certain": (coin(0.95), 16, 8, 2),
    "many runs": (coin(0.7), 64, 64, 2),
    "known well": (coin(0.75), 400, 32, 2),
    "normal": (about_normal(0.6, 0.15), 24, 24, 10),
    "normal, known well": (about_normal(0.6, 0.15), 400, 24, 10),
}


def plug_in(prepared, who, level):
    """Broken: the shadow runs' mean and deviation for those of the law."""
    aucs, least = prepared.shadow_aucs, critical_auc(who, level)
    error = aucs.std(ddof=1) / np.sqrt(len(who))
    return float(ndtr((aucs.mean() - least) / error)) if error else float(aucs.mean() >= least)


def threefold(prepared, who, level):
    """Broken: three times as much."""
    return min(1.0, 3 * prepared.power(who, level))


def overstated(stated, law, draws):
    """How often shadow runs state a power that exceeds the achieved one by more than 0.05."""
    draw, shadows, targets, candidates = LAWS[law]
    rng = np.random.default_rng(21)
    who = members(rng, targets, candidates, candidates // 2)
    achieved = (draw(rng, (50_000, targets)).mean(1) >= critical_auc(who, LEVEL)).mean()
    assert 0.1 < achieved < 0.9  # where both errors can be seen
    attack = Confidence()
    found = (Prepared(attack, "unlearned", None, 0.0, draw(rng, shadows), shadows) for _ in range(draws))
    return sum(stated(prepared, who, LEVEL) > achieved + 0.05 for prepared in found)


@pytest.mark.parametrize("law", LAWS)
def test_a_stated_power_is_achieved(law):
    assert not caught(overstated(Prepared.power, law, 800), 800, POWER_FAILURE_PROBABILITY)


@pytest.mark.parametrize("twin, law", [(plug_in, "coin"), (plug_in, "normal"), (threefold, "known well")])
def test_broken_powers_are_caught(twin, law):
    assert caught(overstated(twin, law, 800), 800, POWER_FAILURE_PROBABILITY)


def test_the_power_of_a_fitted_attack_is_achieved():
    """Scores out of fold, thresholds, and all: few shadows, and a leak that about half of the audits catch."""
    wrong, audits, some = 0, 100, 0.0
    for seed in range(audits):
        prepared = prepare(
            Confidence(), drawn_runs(FitRuns, seed, 24, leak=0.6), "unlearned", generator=np.random.default_rng(seed)
        )
        targets = drawn_runs(ScoreRuns, 1000 + seed, 24 * 30, leak=0.6)
        aucs = run_aucs(prepared.fitted.scores(targets, "unlearned"), targets.members).reshape(30, 24).mean(1)
        stated = prepared.power(targets.members[:24], LEVEL)
        wrong += stated > (aucs >= critical_auc(targets.members[:24], LEVEL)).mean() + 0.05
        some += stated / audits
    assert not caught(wrong, audits, POWER_FAILURE_PROBABILITY)
    assert some > 0.005


def test_alike_shadow_runs_promise_nothing_for_certain():
    who = members(np.random.default_rng(0), 64, 2, 1)
    stated = [Prepared(Confidence(), "original", None, 0.0, np.ones(n), n).power(who, LEVEL) for n in (2, 4, 5, 8, 64)]
    assert stated[:2] == [0.0, 0.0]  # below five runs
    assert stated[2] < 0.1 and stated[3] < 0.5 and stated[4] > 0.999


def chances_of_retrained(runs, trials):
    """The chance that audits state of an attack on models that do not depend on who was forgotten; fitted once."""
    prepared = prepare(Confidence(), drawn_runs(FitRuns, 0, 64), "retrained", generator=np.random.default_rng(0))
    targets = drawn_runs(ScoreRuns, 1, runs * trials)
    aucs = run_aucs(prepared.fitted.scores(targets, "retrained"), targets.members).reshape(trials, runs)
    return np.array([chance_upper(own, targets.members[:runs]) for own in aucs])


def test_retrained_models_are_caught_at_most_at_the_level():
    chances = chances_of_retrained(12, TRIALS)
    for level in (LEVEL, 0.05):
        assert not caught(int((chances <= level).sum()), TRIALS, level)
    assert caught(int((chances <= 0.3).sum()), TRIALS, LEVEL)  # the gate would see it


def test_a_planted_leak_is_found():
    found = ran(leak=1.0)["unlearned"]
    assert found.caught and found.gap.lower > 0.1


def test_an_attack_on_both_versions_is_allowed_anything():
    """The first release depends on S: a certificate of the second one bounds no such attack."""
    both = ran(Confidence(family="MIA-U"))
    assert both["unlearned"].auc_allowed is None
    assert ran()["unlearned"].auc_allowed == auc_allowed(CLAIM, 5, 5)
    assert ran(tradeoff=EpsilonDelta(0.0, 0.1))["unlearned"].auc_allowed == auc_allowed(EpsilonDelta(0.0, 0.1), 5, 5)


def test_the_gap_of_an_attack_on_pairs_is_that_of_one_fit_to_both_kinds():
    """Two separate fits differ by luck that target runs never show: its gate is with the attack."""
    attack, rng = Differencing("l2", "logistic"), np.random.default_rng
    shadows, targets = drawn_runs(FitRuns, 0, 16), drawn_runs(ScoreRuns, 1, 64)
    found = run_attack(
        attack, shadows, targets, CLAIM, ("unlearned",), seeds="fresh", failure_probability=LEVEL, generator=rng(0)
    )
    assert found[0].gap is None
    assert found[1].gap == gap_to_retrained(attack, shadows, targets, "unlearned", generator=rng(0))


def test_too_few_shadows_state_no_power():
    attack = prepare(Confidence(), drawn_runs(FitRuns, 0, 4), "original", generator=np.random.default_rng(0))
    who = drawn_runs(ScoreRuns, 1, 3, candidates=2, forgotten=1).members
    assert attack.power(who, LEVEL) == 0.0  # three pairs: no AUC is telling enough
