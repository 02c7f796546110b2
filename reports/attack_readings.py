"""What can be read off the attacks of a row: which attack was strongest, chosen where, and what the claim allows it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unlearning.gaussian import mu_of_epsilon_delta
from unlearning.record import ClaimFacts
from unlearning.record_attacks import AttackResult, Attacks, Interval, SweepPoint

from .numerals import count, fixed, number
from .readings import claimed
from .wording import plural

KINDS = {"unlearned": "unlearned", "original": "doing nothing", "retrained": "retrained"}
BOTH_VERSIONS = "MIA-U"
_REGIMES = ("fresh", "one seed")


@dataclass(frozen=True, slots=True)
class Contest:
    """One attack at the row's own noise.

    Attributes:
        results: what it found, by kind of model; never empty.
    """

    results: dict[str, AttackResult]

    @property
    def any(self) -> AttackResult:
        """A result, for what all of them share."""
        return next(iter(self.results.values()))

    @property
    def title(self) -> str:
        """Name for people."""
        return self.any.title

    @property
    def both_versions(self) -> bool:
        """Whether the attacker holds the original model too."""
        return self.any.family == BOTH_VERSIONS


@dataclass(frozen=True, slots=True)
class Choice:
    """The strongest of several attacks on a kind of model.

    Attributes:
        contest: the attack.
        beforehand: chosen on shadow runs; else on the very runs that the report shows.
        tried: number of attacks it was chosen from.
    """

    contest: Contest
    beforehand: bool
    tried: int


def regimes(attacks: Attacks) -> list[str]:
    """How runs were seeded, fresh seeds first."""
    found = dict.fromkeys(result.seeds for result in attacks.results)
    return sorted(found, key=lambda seeds: _REGIMES.index(seeds) if seeds in _REGIMES else len(_REGIMES))


def contests(attacks: Attacks, seeds: str) -> list[Contest]:
    """All attacks with these seeds at the row's own noise, in the order of the record."""
    found: dict[str, dict[str, AttackResult]] = {}
    for result in attacks.results:
        if result.seeds == seeds and result.noise_factor == 1:
            found.setdefault(result.attack, {})[result.against] = result
    return [Contest(results) for results in found.values()]


def strongest(found: Iterable[Contest], model: str = "unlearned") -> Choice | None:
    """The attack that shadow runs say is strongest on a kind of model, by the lower limit of its AUC there.

    Where a record does not hold what shadow runs said, the choice is by the results themselves, and says so.
    """
    able = [contest for contest in found if model in contest.results]
    if not able:
        return None
    beforehand = all(contest.results[model].shadow_auc is not None for contest in able)

    def strength(contest: Contest) -> float:
        result = contest.results[model]
        seen = result.shadow_auc if beforehand and result.shadow_auc is not None else result.auc
        return seen.mean if seen.lower is None else seen.lower

    return Choice(max(able, key=strength), beforehand, len(able))


def one_version(found: Sequence[Contest]) -> list[Contest]:
    """Attacks of somebody who holds one released model."""
    return [contest for contest in found if not contest.both_versions]


def both_versions(found: Sequence[Contest]) -> list[Contest]:
    """Attacks of somebody who holds the model before and after."""
    return [contest for contest in found if contest.both_versions]


def shown(found: Sequence[Contest]) -> list[tuple[str, Contest]]:
    """Attacks for a table, with a remark: of many on both versions the chosen, the median and the largest."""
    own = [(contest.any.family, contest) for contest in one_version(found)]
    many = both_versions(found)
    if len(many) <= 3:
        return own + [(contest.any.family, contest) for contest in many]
    ordered = sorted(many, key=lambda contest: _mean(contest.results.get("unlearned")))
    choice, remarks = strongest(many), {}
    if choice is not None and choice.beforehand:
        remarks[id(choice.contest)] = (f"chosen of {len(many)} on shadow runs", choice.contest)
    for remark, contest in (
        (f"median of {len(many)}", ordered[(len(ordered) - 1) // 2]),
        (f"largest of {len(many)}, so biased upward", ordered[-1]),
    ):
        before = remarks.get(id(contest))
        remarks[id(contest)] = (f"{before[0]}; {remark}" if before else remark, contest)
    return own + [(f"{BOTH_VERSIONS}; {remark}", contest) for remark, contest in remarks.values()]


def _mean(result: AttackResult | None) -> float:
    return -math.inf if result is None else result.auc.mean


def named(titles: dict[str, str], attack: str) -> str:
    """An attack by its title, or by its key where no result of it is in the record.

    >>> named({"loss": "Loss threshold"}, "loss"), named({}, "reconstruction"), named({}, "mine.py:Attack")
    ('Loss threshold', 'Reconstruction', 'mine.py:Attack')
    """
    return titles.get(attack) or (attack.capitalize() if attack.isalpha() else attack)


def between(found: Interval, places: int = 3) -> str:
    """Limits of an interval, rounded outwards.

    >>> between(Interval(mean=0.5, lower=0.4321, upper=0.5678, deviation=0.1, runs=8, failure_probability=0.05))
    '0.432 to 0.568'
    """
    if found.lower is None or found.upper is None:
        return f"{plural(found.runs, 'run')}, no interval"
    return f"{fixed(found.lower, places, 'down')} to {fixed(found.upper, places, 'up')}"


def spread(found: Interval) -> str:
    """The same for numbers of any size."""
    if found.lower is None or found.upper is None:
        return f"{plural(found.runs, 'run')}, no interval"
    return f"{number(found.lower, rounding='down')} to {number(found.upper, rounding='up')}"


def runs_said(found: Iterable[Interval]) -> str:
    """Number of runs behind intervals.

    >>> one = Interval(mean=0.5, lower=None, upper=None, deviation=None, runs=4, failure_probability=0.05)
    >>> runs_said([one, one]), runs_said([one, one.model_copy(update={"runs": 3})])
    ('4 runs', '3 to 4 runs')
    """
    runs = sorted({interval.runs for interval in found})
    if len(runs) > 1:
        return f"{count(runs[0])} to {plural(runs[-1], 'run')}"
    return plural(runs[0], "run") if runs else "no runs"


def confidence_said(found: Iterable[Interval]) -> str:
    """Confidence of intervals in words.

    >>> confidence_said([])
    'without intervals'
    """
    levels = sorted({interval.failure_probability for interval in found if interval.lower is not None})
    said = " or ".join(f"{100 * (1 - level):g} %" for level in levels)
    return f"{said} confidence" if said else "without intervals"


def allowed_at(claim: ClaimFacts, sweep: Sequence[SweepPoint], point: SweepPoint) -> float | None:
    """Largest mean AUC that the claim with this noise's ε allows, 1 − f(½); None: the record holds no Δ."""
    if point.epsilon is None:
        return 1.0 if unlimited(sweep, point) else None
    update: dict[str, float] = {"epsilon": point.epsilon}
    if claim.mu is not None:
        update["mu"] = mu_of_epsilon_delta(point.epsilon, claim.delta)
    return float(1 - claimed(claim.model_copy(update=update))(0.5))


def unlimited(sweep: Sequence[SweepPoint], point: SweepPoint) -> bool:
    """Whether ε is missing because it is infinite: there is a Δ, as other noise has an ε, and this noise is smaller."""
    return point.epsilon is None and any(
        other.epsilon is not None and other.noise_scale > point.noise_scale for other in sweep
    )


def swept_attack(sweep: Sequence[SweepPoint]) -> str | None:
    """The attack to draw over noise scales: the one that sees doing nothing best, whatever it sees of unlearning."""
    seen: dict[str, list[float]] = {}
    for point in sweep:
        for attack, models in point.aucs.items():
            if "original" in models:
                seen.setdefault(attack, []).append(models["original"].mean)
    if seen:
        return max(seen, key=lambda attack: sum(seen[attack]) / len(seen[attack]))
    return next((attack for point in sweep for attack in point.aucs), None)
