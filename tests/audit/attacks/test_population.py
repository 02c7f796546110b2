"""Attacks that ask the same of every record, against formulas by hand, on real fleets, and twins of public code."""

import math
from dataclasses import replace

import numpy as np
import pytest

from audit.attacks.attack import fit_attack
from audit.attacks.measures import chance_upper, run_aucs
from audit.attacks.population import (
    LossThreshold,
    ModifiedEntropy,
    SVCEfficacy,
    efficacy_measure,
    mia_efficacies,
    modified_entropies,
)
from audit.attacks.rmia import log_probabilities
from audit.attacks.runs import FitRuns, ScoreRuns
from tests.broken.attacks import modified_entropies_of_a_batch

from ..gates import LEVELS, caught
from .outputs import drawn_runs
from .overfit import overfit_fleet

Array = np.ndarray
ATTACKS = [LossThreshold(), ModifiedEntropy(), SVCEfficacy()]
TINY = 1e-9


def fitted(attack, shadows: FitRuns, model: str, seed: int = 0):
    return fit_attack(attack, shadows, model, generator=np.random.default_rng(seed))


def auc_values(attack, shadows: FitRuns, targets: ScoreRuns, model: str) -> Array:
    return run_aucs(fitted(attack, shadows, model).scores(targets, model), targets.members)


def drawn_logits(scale: float, classes: int = 5) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    return scale * rng.standard_normal((4, 7, classes)), rng.integers(0, classes, 7)


# ---------------------------------------------------------------------- modified entropy


def naive_entropies(logits: Array, labels: Array) -> Array:
    """One run, record and class at a time."""
    found = np.empty(logits.shape[:2])
    for k, i in np.ndindex(found.shape):
        p = [math.exp(z) / sum(math.exp(other) for other in logits[k, i]) for z in logits[k, i]]
        found[k, i] = -sum((1 - q) * math.log(q) if c == labels[i] else q * math.log(1 - q) for c, q in enumerate(p))
    return found


def equals_the_loops(entropies) -> bool:
    return all(
        np.allclose(entropies(z, y), naive_entropies(z, y), rtol=1e-10, atol=1e-10)
        for z, y in (drawn_logits(0.1), drawn_logits(1.0), drawn_logits(3.0), drawn_logits(2.0, classes=2))
    )


def test_entropies_are_those_of_each_row_with_its_own_label() -> None:
    assert equals_the_loops(modified_entropies)


def test_columns_of_all_labels_at_once_are_noticed() -> None:
    assert not equals_the_loops(modified_entropies_of_a_batch)


def test_entropies_of_certain_models_are_right_to_the_last_digit() -> None:
    """Two classes with log odds s for the label: 2(1 − p)·(−log p), which is 2e^{−2s} where s is large."""
    s = np.array([20.0, 40.0, 100.0, 300.0])
    z = np.stack([s, np.zeros(4)], -1)[None]
    np.testing.assert_allclose(modified_entropies(z, np.zeros(4, dtype=int))[0], 2 * np.exp(-2 * s), rtol=1e-8)
    wrong = modified_entropies(z, np.ones(4, dtype=int))[0]  # −2p₀·log(1 − p₀) ≈ 2s
    np.testing.assert_allclose(wrong, 2 * s, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_entropies_of_any_logits_are_finite(scale: float) -> None:
    found = modified_entropies(*drawn_logits(scale))
    assert np.isfinite(found).all() and (found >= 0).all()


def test_scores_fall_with_the_entropy() -> None:
    _, targets = overfit_fleet()
    scores = ModifiedEntropy().scores(targets, "original")
    np.testing.assert_array_equal(scores, -modified_entropies(targets.of("original"), targets.labels))


# ---------------------------------------------------------------------- loss


def test_scores_are_in_the_order_of_the_loss() -> None:
    _, targets = overfit_fleet()
    scores = LossThreshold().scores(targets, "retrained")
    loss = -log_probabilities(targets.of("retrained"), targets.labels)
    np.testing.assert_allclose(loss, np.log1p(np.exp(-scores)), rtol=1e-12)


def test_losses_too_small_for_a_number_are_told_apart() -> None:
    targets = drawn_runs(ScoreRuns, 0, 5)
    sure = replace(targets, logits={m: 1000 * np.abs(z) for m, z in targets.logits.items()})
    loss = -log_probabilities(sure.of("original"), sure.labels)
    assert (loss == 0).mean() > 0.3
    assert len(np.unique(LossThreshold().scores(sure, "original"))) == sure.members.size


# ---------------------------------------------------------------------- SVC


def naive_decisions(classifier, p: float) -> float:
    """Σ α_i e^{−(p − s_i)²} + b."""
    terms = zip(classifier.dual_coef_[0], classifier.support_vectors_[:, 0], strict=True)
    return sum(a * math.exp(-((p - s) ** 2)) for a, s in terms) + classifier.intercept_[0]


def test_scores_are_the_decisions_on_the_confidence() -> None:
    shadows, targets = overfit_fleet()
    attack = SVCEfficacy().fit(shadows, "unlearned", generator=np.random.default_rng(0))
    scores = attack.scores(targets, "retrained")
    p = np.exp(log_probabilities(targets.of("retrained"), targets.labels))
    for k, i in ((0, 0), (3, 7), (20, 9)):
        assert scores[k, i] == pytest.approx(naive_decisions(attack.classifier, p[k, i]), abs=1e-10)
    assert scores[p > 0.9].min() > scores[p < 0.1].max()  # members are certain


def test_it_learns_from_as_many_records_a_side_as_asked_for() -> None:
    shadows, _ = overfit_fleet()
    few = SVCEfficacy(most=20).fit(shadows, "original", generator=np.random.default_rng(0))
    assert few.classifier.shape_fit_ == (40, 1)
    again = SVCEfficacy(most=20).fit(shadows, "original", generator=np.random.default_rng(0))
    other = SVCEfficacy(most=20).fit(shadows, "original", generator=np.random.default_rng(1))
    assert np.array_equal(few.classifier.support_vectors_, again.classifier.support_vectors_)
    assert not np.array_equal(few.classifier.support_vectors_, other.classifier.support_vectors_)


def test_it_learns_from_originals_whatever_it_attacks() -> None:
    shadows, targets = overfit_fleet()
    one, other = (fitted(SVCEfficacy(), shadows, model) for model in ("original", "retrained"))
    np.testing.assert_array_equal(one.scores(targets, "unlearned"), other.scores(targets, "unlearned"))


def test_efficacy_counts_forgotten_records_that_are_called_non_members() -> None:
    shadows, targets = overfit_fleet()
    attack = fitted(SVCEfficacy(), shadows, "original")
    found = {m: mia_efficacies(attack.scores(targets, m), targets.members) for m in ("original", "retrained")}
    decisions = attack.scores(targets, "retrained")
    naive = [
        sum(d <= 0 for d, s in zip(own, who, strict=True) if s) / who.sum()
        for own, who in zip(decisions, targets.members, strict=True)
    ]
    np.testing.assert_allclose(found["retrained"], naive)
    assert found["original"].mean() < 0.1 < 0.4 < found["retrained"].mean() < 1
    measure = efficacy_measure(shadows, targets, tuple(found), generator=np.random.default_rng(0))
    for model, values in found.items():
        assert measure.models[model].mean == pytest.approx(values.mean())
        assert measure.models[model].runs == len(targets)


@pytest.mark.parametrize(
    ("fields", "message"), [({"penalty": 0.0}, "penalty must be in"), ({"most": 0}, "most must be >= 1")]
)
def test_fields_are_checked(fields, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SVCEfficacy(**fields)


# ---------------------------------------------------------------------- what they find


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.key)
def test_a_network_that_learns_by_heart_is_told_and_a_retrained_one_is_not(attack) -> None:
    shadows, targets = overfit_fleet()
    original, retrained = (auc_values(attack, shadows, targets, model) for model in ("original", "retrained"))
    assert original.mean() > 0.85 and chance_upper(original, targets.members) < TINY
    assert chance_upper(retrained, targets.members) > TINY and chance_upper(1 - retrained, targets.members) > TINY


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.key)
def test_luck_is_rarer_than_stated(attack) -> None:
    trials = 150
    found = []
    for trial in range(trials):
        shadows, targets = drawn_runs(FitRuns, 2 * trial, 12), drawn_runs(ScoreRuns, 2 * trial + 1, 8)
        found.append(chance_upper(auc_values(attack, shadows, targets, "retrained"), targets.members))
    for level in LEVELS:
        assert not caught(int((np.array(found) <= level).sum()), trials, level)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.key)
def test_a_planted_leak_is_found(attack) -> None:
    shadows, targets = drawn_runs(FitRuns, 0, 64, leak=2.0), drawn_runs(ScoreRuns, 1, 64, leak=2.0)
    assert chance_upper(auc_values(attack, shadows, targets, "unlearned"), targets.members) < TINY
