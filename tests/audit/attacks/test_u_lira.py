"""U-LiRA and RULI on a network that overfits: doing nothing is caught as foretold, retraining is not."""

from functools import cache

import numpy as np
import pytest
import torch

from audit.attacks.attack import fit_attack
from audit.attacks.catalogue import ATTACKS
from audit.attacks.evaluation import run_attack
from audit.attacks.per_record import run_per_record
from audit.attacks.runs import FitRuns, ScoreRuns
from audit.attacks.u_lira import ULiRA
from methods.retrain import Retrain
from unlearning.record_attacks import AttackResult
from unlearning.tradeoff import GaussianTradeOff

from ..problems import SecretNoOp
from .outputs import drawn_runs
from .overfit import overfit_fleet, overfit_ids, overfit_runs, overfit_subject
from .test_likelihood import naive_gaussian, naive_kernel

BOTH = [ULiRA(), ULiRA(kernel=True)]
LEVEL = 1e-3
MODELS = ("unlearned", "original")


@cache
def fleet(*, honest: bool) -> tuple[FitRuns, ScoreRuns]:
    if honest:
        return overfit_fleet()
    row = overfit_subject(SecretNoOp(Retrain()))
    shadows, targets = overfit_runs("shadow", row), overfit_runs("target", row)
    return shadows, targets


def attacked(attack: ULiRA, *, honest: bool) -> dict[str, AttackResult]:
    shadows, targets = fleet(honest=honest)
    found = run_attack(
        attack,
        shadows,
        targets,
        GaussianTradeOff(1.0),
        MODELS,
        seeds="fresh",
        failure_probability=LEVEL,
        generator=np.random.default_rng(0),
    )
    return {result.against: result for result in found}


@pytest.mark.parametrize("attack", BOTH, ids=lambda attack: attack.key)
def test_doing_nothing_is_caught_at_the_power_stated_beforehand(attack: ULiRA) -> None:
    found = attacked(attack, honest=False)
    for model in MODELS:  # the "unlearned" model is the original with its own noise
        assert found[model].power >= 0.95
        assert found[model].caught and found[model].chance_upper <= LEVEL
        assert found[model].gap.lower > 0.2
    assert found["unlearned"].auc_lower > found["retrained"].auc.mean


@pytest.mark.parametrize("attack", BOTH, ids=lambda attack: attack.key)
@pytest.mark.parametrize("model", ["retrained", "unlearned"])
def test_retraining_is_not(attack: ULiRA, model: str) -> None:
    found = attacked(attack, honest=True)[model]
    assert not found.caught
    assert found.auc.lower <= 0.5 <= found.auc.upper
    assert found.power < 0.05


@pytest.mark.parametrize("attack", BOTH, ids=lambda attack: attack.key)
def test_of_single_records(attack: ULiRA) -> None:
    shadows, targets = fleet(honest=False)
    generator = np.random.default_rng(0)
    found = run_per_record(
        attack, shadows, targets, MODELS, seeds="fresh", candidate_ids=overfit_ids(), generator=generator
    )
    quantiles = {one.against: one.quantiles for one in found}
    for level in ("0.5", "0.9", "max"):
        assert quantiles["unlearned"][level] > quantiles["retrained"][level]
    groups = {(one.against, group.name): group.mean.mean for one in found for group in one.groups}
    assert groups["unlearned", "vulnerable"] > groups["unlearned", "protected"] + 0.1


@pytest.mark.parametrize(("attack", "naive"), [(ULiRA(), naive_gaussian), (ULiRA(kernel=True), naive_kernel)])
@pytest.mark.parametrize("shadows", [20, 200])
def test_scores_equal_loops_over_runs_and_records(attack: ULiRA, naive, shadows: int) -> None:
    fit, score = drawn_runs(FitRuns, 1, shadows, leak=1.0), drawn_runs(ScoreRuns, 2, 5, leak=1.0)
    found = fit_attack(attack, fit, "unlearned", generator=np.random.default_rng(0)).scores(score, "unlearned")

    def log_odds(runs: FitRuns | ScoreRuns) -> np.ndarray:
        logits = torch.from_numpy(runs.of("unlearned"))
        p = torch.softmax(logits, -1).numpy()[..., np.arange(len(runs.labels)), runs.labels]
        return np.log(p / (1 - p))

    assert found == pytest.approx(naive(log_odds(fit), fit.members, log_odds(score)), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("attack", BOTH, ids=lambda attack: attack.key)
def test_it_learns_from_shadow_runs_alone(attack: ULiRA) -> None:
    shadows, targets = drawn_runs(FitRuns, 3, 10), drawn_runs(ScoreRuns, 4, 10)
    generator = np.random.default_rng(0)
    with pytest.raises(TypeError, match=f"{attack.key} must be fitted on FitRuns"):
        attack.fit(targets, "unlearned", generator=generator)
    with pytest.raises(TypeError, match="it has learned from those"):
        fit_attack(attack, shadows, "unlearned", generator=generator).scores(shadows, "unlearned")


def test_they_are_in_the_catalogue() -> None:
    for attack in BOTH:
        assert ATTACKS[attack.key] == attack and attack.title and attack.source and attack.family == "U-LiRA"
