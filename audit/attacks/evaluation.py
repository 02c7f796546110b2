"""One attack from shadow runs to results: fitted, its power stated, then scored on target runs it has not seen.

An attack that sees the original model as well (MIA-U) finds S in exact retraining too: the original depends on it. A
certificate bounds the second release alone, so that it allows such an attack any AUC.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlearning.auc import auc_allowed
from unlearning.record_attacks import AttackResult
from unlearning.tradeoff import TradeOff

from ..bounds.bounded_mean import mean_lower
from .attack import Attack, Guarded, fit_attack, out_of_fold
from .differencing import gap_to_retrained
from .measures import (
    balanced_accuracies,
    best_threshold,
    chance_upper,
    critical_auc,
    interval,
    operating_points,
    power_forecast,
    roc,
    run_aucs,
)
from .runs import Array, FitRuns, Mask, ScoreRuns


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An attack that shadow runs have taught, before any target run is seen.

    Attributes:
        attack: the attack.
        model: kind of model it is prepared against.
        fitted: on all shadow runs.
        threshold: with the largest balanced accuracy out of fold.
        shadow_aucs: AUC of each shadow run out of fold.
        fit_runs: number of shadow runs.
    """

    attack: Attack
    model: str
    fitted: Guarded
    threshold: float
    shadow_aucs: Array
    fit_runs: int

    def power(self, members: Mask, failure_probability: float) -> float:
        """Probability that target runs with these numbers of candidates catch the attack's AUC: a forecast."""
        least = critical_auc(members, failure_probability)
        return power_forecast(interval(self.shadow_aucs), len(members), lambda _: least if least <= 1 else None)


def prepare(attack: Attack, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Prepared:
    """Fit an attack, choose its threshold, and foretell its AUC: all from shadow runs.

    Raises:
        TypeError: the runs are not shadow runs.
    """
    fitted = fit_attack(attack, runs, model, generator=generator)
    scores = out_of_fold(attack, runs, model, generator=generator)
    threshold = best_threshold(scores, runs.members)
    return Prepared(attack, model, fitted, threshold, run_aucs(scores, runs.members), len(runs))


def attack_result(
    prepared: Prepared,
    runs: ScoreRuns,
    tradeoff: TradeOff,
    *,
    seeds: str,
    failure_probability: float,
    noise_factor: float = 1.0,
    retrained: Array | None = None,
) -> AttackResult:
    """What a prepared attack finds in target runs.

    Args:
        prepared: the attack.
        runs: target runs.
        tradeoff: of the claim.
        seeds: "fresh" or "one seed".
        failure_probability: of the lower limit of the AUC, and the level of catching.
        noise_factor: noise over the row's σ.
        retrained: AUC of each run of the same attack on retrained models, [K], for the gap.

    Raises:
        TypeError: the runs are no target runs.
        ValueError: the attack was fitted on one of them.
    """
    scores = prepared.fitted.scores(runs, prepared.model)
    members, aucs = runs.members, run_aucs(scores, runs.members)
    false, true = roc(scores, members)
    chance = chance_upper(aucs, members)
    return AttackResult(
        attack=prepared.attack.key,
        title=prepared.attack.title,
        family=prepared.attack.family,
        against=prepared.model,
        seeds=seeds,
        noise_factor=noise_factor,
        fit_runs=prepared.fit_runs,
        runs=len(runs),
        positives=int(members.sum()),
        negatives=int((~members).sum()),
        run_aucs=aucs.tolist(),
        auc=interval(aucs),
        gap=None if retrained is None else interval(aucs - retrained),
        balanced_accuracy=interval(balanced_accuracies(scores, members, prepared.threshold)),
        threshold=prepared.threshold,
        chance_upper=chance,
        auc_lower=mean_lower(aucs, failure_probability),
        auc_allowed=None if prepared.attack.family == "MIA-U" else _allowed(tradeoff, members),
        failure_probability=failure_probability,
        shadow_auc=interval(prepared.shadow_aucs),
        power=prepared.power(members, failure_probability),
        caught=chance <= failure_probability,
        points=operating_points(scores, members),
        roc_false=false,
        roc_true=true,
    )


def _allowed(tradeoff: TradeOff, members: Mask) -> float:
    """Largest mean AUC under the claim, for the numbers of candidates of these runs."""
    forgotten = members.sum(1)
    return max(auc_allowed(tradeoff, int(k), members.shape[1] - int(k)) for k in np.unique(forgotten))


def run_attack(
    attack: Attack,
    shadows: FitRuns,
    targets: ScoreRuns,
    tradeoff: TradeOff,
    models: Sequence[str],
    *,
    seeds: str,
    failure_probability: float,
    generator: np.random.Generator,
    noise_factor: float = 1.0,
) -> list[AttackResult]:
    """One attack on every kind of model, retrained ones first: each attacked by what shadows of its kind taught.

    The gap of an attack on one model is that of the AUCs: on retrained models it has mean ½ whatever it has learned. An
    attack on pairs finds something there as well, more or less of it by the luck of its fit, which target runs do not
    show: its gap is that of one fit to pairs of both kinds.

    Args:
        attack: the attack.
        shadows: to fit on.
        targets: to score.
        tradeoff: of the claim.
        models: kinds of models; "retrained" is always among them.
        seeds: "fresh" or "one seed".
        failure_probability: of each lower limit, and the level of catching.
        generator: of what the attack draws.
        noise_factor: noise over the row's σ.
    """
    results: list[AttackResult] = []
    beside: Array | None = None
    pairs = attack.family == "MIA-U"
    for model in ("retrained", *(m for m in models if m != "retrained")):
        prepared = prepare(attack, shadows, model, generator=generator)
        found = attack_result(
            prepared,
            targets,
            tradeoff,
            seeds=seeds,
            failure_probability=failure_probability,
            noise_factor=noise_factor,
            retrained=None if pairs else beside,
        )
        if pairs and model != "retrained":
            gap = gap_to_retrained(attack, shadows, targets, model, generator=generator)
            found = found.model_copy(update={"gap": gap})
        beside = np.asarray(found.run_aucs) if beside is None else beside
        results.append(found)
    return results
