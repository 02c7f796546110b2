"""From shadow runs to results: power is stated beforehand and kept, gaps are paired, nothing is found in retrained."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from audit.attacks.evaluation import prepare, run_attack
from audit.attacks.runs import FitRuns, ScoreRuns
from audit.score_functions import confidences
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff

from ..gates import agrees, caught
from .outputs import drawn_runs

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


def test_the_power_that_is_stated_is_kept():
    """Where about half of the audits catch it, no fewer do than foretold."""
    stated, kept, audits = 0.0, 0, 150
    for seed in range(audits):
        found = ran(seed=seed, runs=24, leak=0.55)["unlearned"]
        stated += found.power / audits
        kept += found.caught
    assert 0.1 < stated < 0.9
    assert kept / audits > stated  # a forecast from the lower limit: below what comes
    assert not agrees(0, audits, stated)


def test_retrained_models_are_caught_at_most_at_the_level():
    wrong = 0
    for seed in range(300):
        wrong += ran(seed=seed, runs=12)["retrained"].caught
    assert not caught(wrong, 300, LEVEL)


def test_a_planted_leak_is_found():
    found = ran(leak=1.0)["unlearned"]
    assert found.caught and found.gap.lower > 0.1


def test_an_attack_on_both_versions_is_allowed_anything():
    """The first release depends on S: a certificate of the second one bounds no such attack."""
    both = ran(Confidence(family="MIA-U"))
    assert both["unlearned"].auc_allowed is None
    assert ran()["unlearned"].auc_allowed == pytest.approx(0.6179, abs=1e-4)
    assert ran(tradeoff=EpsilonDelta(0.0, 0.1))["unlearned"].auc_allowed == pytest.approx(0.6)


def test_the_gap_of_an_attack_on_pairs_is_that_of_one_fit_to_both_kinds():
    """Two separate fits differ by luck that target runs never show."""
    from audit.attacks.differencing import Differencing

    attack, settings = Differencing("l2", "logistic"), {"seeds": "fresh", "failure_probability": LEVEL}
    missed, audits = 0, 150
    for seed in range(audits):
        shadows, targets = drawn_runs(FitRuns, 2 * seed, 16), drawn_runs(ScoreRuns, 2 * seed + 1, 64)
        generator = np.random.default_rng(seed)
        found = run_attack(attack, shadows, targets, CLAIM, ("unlearned",), generator=generator, **settings)
        missed += not found[1].gap.lower <= 0 <= found[1].gap.upper
    assert found[0].gap is None
    assert not caught(missed, audits, 0.05)


def test_too_few_shadows_state_no_power():
    attack = prepare(Confidence(), drawn_runs(FitRuns, 0, 4), "original", generator=np.random.default_rng(0))
    who = drawn_runs(ScoreRuns, 1, 3, candidates=2, forgotten=1).members
    assert attack.power(who, LEVEL) == 0.0  # three pairs: no AUC is telling enough
