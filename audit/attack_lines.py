"""Lines of rung E: one decides, two say how far unlearned models are from retrained ones, and decide nothing.

The deciding line takes the attack on one released model that did best on shadow runs, before any target run is seen,
and the mean AUC of target runs. Under the claim no attack has more than `unlearning.auc.auc_allowed`, so that a lower
limit above it refutes. Nothing is asked of the law of an AUC: the limit is that of independent values in [0, 1].

The theorem compares every unlearned model with the same reference A(R). So it holds in one direction, too; averaged
over seeds where the claim holds for each (f is convex); and where replicas over budget release the reference of their
own seed. The line takes fresh seeds, of which every claim speaks, and one model: an attack that sees the original as
well may have any AUC.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from unlearning.attack_choice import best_on_shadows, deciding_attack
from unlearning.auc import auc_allowed, auc_epsilon_lower, auc_mu_lower
from unlearning.record import Line, line_without_numbers
from unlearning.record_attacks import AttackResult, Attacks, Interval
from unlearning.rounding import text_lower, text_upper
from unlearning.verdict import Outcome

from .attacks.measures import power_forecast
from .bounds.bounded_mean import mean_lower
from .candidates import told_refused
from .controls import HONEST, Defect
from .design import POWER, Design

KEY = "attack"
_TITLE = "Mean AUC of the best attack on shadow runs"
_GAPS = {
    "attack-gap-mia-l": ("Best attack on one model, unlearned less retrained", ("MIA-L", "U-LiRA")),
    "attack-gap-mia-u": ("Best attack on both versions, unlearned less retrained", ("MIA-U",)),
}
_ONE_FIT = "runs' values about normal; one attack, taught by pairs of both kinds, scores both"
_GOLDEN = (math.sqrt(5) - 1) / 2
_HALVINGS = 30


def attack_lines(
    found: Attacks, design: Design, planted: Defect, failure_probability: float | None = None
) -> list[Line]:
    """The lines of rung E for one subject; only doing nothing and retraining are attacked beside the method.

    Guarantee: a true claim is refuted with at most the line's failure probability.

    Args:
        found: what the attacks found.
        design: of the row.
        planted: whose models.
        failure_probability: of the line, instead of its share of the row's; then no power is stated.
    """
    if planted.breaks_noise:
        return []
    against, asked = planted.source, design.attacks
    lines = []
    if asked is not None and asked.decides:
        lines.append(_deciding(found, design, against, failure_probability))
    return lines if planted is not HONEST else [*lines, *_gaps(found)]


def _of(found: Attacks, against: str, families: Sequence[str]) -> list[AttackResult]:
    """Results at the row's own noise, with fresh seeds."""
    return [
        result
        for result in found.results
        if result.against == against
        and result.family in families
        and result.seeds == "fresh"
        and result.noise_factor == 1
    ]


def _deciding(found: Attacks, design: Design, against: str, failure_probability: float | None) -> Line:
    claim = design.claim
    allowed = design.line_failure_probability(KEY) if failure_probability is None else failure_probability
    chosen = deciding_attack(found.results, against)
    if chosen is None:
        why = "; ".join(f"{name}: {reason}" for name, reason in found.reasons.items())
        return line_without_numbers(
            rung="E", key=KEY, title=_TITLE, subject="claim", seeds="independent", reason=f"no attack ran. {why}"
        )
    sizes = found.forgotten, found.candidates - found.forgotten
    lower, largest = mean_lower(chosen.run_aucs, allowed), auc_allowed(claim.tradeoff, *sizes)
    refused = found.refused if against == "unlearned" else 0
    line = Line(
        rung="E",
        key=KEY,
        title=_TITLE,
        subject="claim",
        seeds="independent",
        deciding=True,
        outcome=Outcome.REFUTED if lower > largest else Outcome.NOT_REFUTED,
        finding=(
            f"{chosen.title}: mean AUC {chosen.auc.mean:.3f}, at least {text_lower(lower)}, over {chosen.runs} runs "
            f"with {chosen.positives} forgotten and {chosen.negatives} other records; the claim allows "
            f"{text_upper(largest)}." + told_refused(refused, chosen.runs)
        ),
        failure_probability=allowed,
        assumes=(
            f"the claim covers requests of {found.forgotten} of the {found.candidates} candidates, on the training set "
            "without the others"
        ),
        kind="confidence",
        runs_released=chosen.runs,
        runs_reference=0,
        event="a forgotten record has a larger score than another candidate",
        statistic=lower,
        threshold=largest,
        epsilon_lower=auc_epsilon_lower(lower, *sizes, claim.delta, claim.directions),
        mu_lower=auc_mu_lower(lower, *sizes),
        derivation={
            "auc": chosen.auc.mean,
            "auc_lower": lower,
            "auc_allowed": largest,
            "positives": chosen.positives,
            "negatives": chosen.negatives,
        },
    )
    return line if failure_probability is not None else line.model_copy(update=_power(found, chosen, largest, allowed))


def _power(found: Attacks, chosen: AttackResult, largest: float, allowed: float) -> dict[str, float | str | None]:
    """What the line could have found: forecasts from shadow runs, before target runs were seen."""
    noop = deciding_attack(found.results, "original")
    forecast = None if noop is None or noop.shadow_auc is None else noop.shadow_auc
    deviation = 0.0 if chosen.shadow_auc is None else (chosen.shadow_auc.deviation or 0.0)
    wanted = detectable_mean(deviation, chosen.runs, largest, allowed)
    text = (
        f"no mean AUC in {chosen.runs} runs refutes a claim that allows {text_upper(largest, 4)}"
        if wanted is None
        else f"a mean AUC of {text_upper(wanted)}, with probability {POWER}, where runs deviate as shadow runs did"
    )
    return {
        "detectable": text,
        "noop_power": None
        if forecast is None or found.refused >= found.targets  # nothing of the method was attacked
        else forecast_power(forecast, chosen.runs, largest, allowed),
    }


def forecast_power(foretold: Interval, runs: int, allowed: float, failure_probability: float) -> float:
    """Probability that runs like the shadow runs refute a claim that allows this AUC: a forecast, not a guarantee.

    Args:
        foretold: AUC on shadow runs, out of fold.
        runs: target runs.
        allowed: mean AUC that the claim allows.
        failure_probability: of the line.
    """
    return power_forecast(foretold, runs, lambda deviation: telling_mean(deviation, runs, allowed, failure_probability))


def detectable_mean(deviation: float, runs: int, allowed: float, failure_probability: float) -> float | None:
    """Mean AUC that refutes a claim with probability 0.8 where runs have this deviation; None where none does."""
    least = telling_mean(deviation, runs, allowed, failure_probability)
    wanted = math.inf if least is None else least + float(ndtri(POWER)) * deviation / math.sqrt(runs)
    return wanted if wanted <= 1 else None


@lru_cache(maxsize=256)
def telling_mean(deviation: float, runs: int, allowed: float, failure_probability: float) -> float | None:
    """Smallest mean AUC of typical runs of this deviation that refutes a claim; None where none does.

    Typical runs are the normal quantiles of an even sequence, cut to [0, 1]: the mean is that of what is left.
    """
    order = np.modf((np.arange(runs) + 0.5) * _GOLDEN)[0]
    shape = deviation * ndtri(order)
    shape -= shape.mean()

    def refutes(mean: float) -> bool:
        return mean_lower(np.clip(mean + shape, 0, 1), failure_probability) > allowed

    low, high = 0.0, 1.0 - float(shape.min())  # all runs are cut to 1
    if not refutes(high):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if refutes(middle) else (middle, high)
    return float(np.clip(high + shape, 0, 1).mean())


def _gaps(found: Attacks) -> list[Line]:
    lines = []
    for key, (title, families) in _GAPS.items():
        chosen = best_on_shadows(_of(found, "unlearned", families))
        if chosen is not None:
            lines.append(_gap(key, title, chosen))
    return lines


def _gap(key: str, title: str, chosen: AttackResult) -> Line:
    gap = chosen.gap
    if gap is None or gap.lower is None or gap.upper is None:
        return line_without_numbers(
            rung="E",
            key=key,
            title=title,
            subject="attack",
            seeds="paired",
            kind="estimate",
            deciding=False,
            reason=f"an interval needs at least 5 runs with values that are not all equal, got {chosen.runs} runs",
        )
    return Line(
        rung="E",
        key=key,
        title=title,
        subject="attack",
        seeds="paired",
        deciding=False,
        outcome=Outcome.NOT_REFUTED,
        finding=(
            f"{chosen.title}: difference of AUCs {gap.mean:.3f}, between {text_lower(gap.lower)} and "
            f"{text_upper(gap.upper)} with confidence {1 - gap.failure_probability:g} over {gap.runs} runs; 0 where "
            "there is nothing to see."
        ),
        failure_probability=gap.failure_probability,
        assumes=_ONE_FIT if chosen.family == "MIA-U" else "runs' values about normal",
        kind="estimate",
        runs_released=gap.runs,
        runs_reference=gap.runs,
        statistic=gap.mean,
        derivation={"mean": gap.mean, "deviation": gap.deviation or 0.0, "lower": gap.lower, "upper": gap.upper},
    )
