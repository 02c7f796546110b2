"""What can be read off the attacks of a row: which attack was strongest, chosen where, and what the claim allows it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from unlearning.attack_choice import best_on_shadows, may_decide, shipped
from unlearning.record import Line
from unlearning.record_attacks import AttackResult, Attacks, Interval, SweepPoint

from .numerals import count, fixed, number
from .readings import computed
from .wording import plural

KINDS = {"unlearned": "unlearned", "original": "doing nothing", "retrained": "retrained"}
BOTH_VERSIONS = "MIA-U"
OWN = "your own: shown, decides nothing"
ALL_RETRAINED = "all retrained"
_REGIMES = ("fresh", "one seed")
_BY_SEEDS = ("results", "records", "differencing")  # parts of the record that tell seeds apart
_DECIDES = "attack"  # key of the deciding line
_CLASSIFIERS = {"logistic": "logistic regression", "tree": "a tree", "forest": "a forest", "mlp": "a perceptron"}


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
    def shipped(self) -> bool:
        """Whether it is none of somebody's own."""
        return shipped(self.any)

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
        tried: number of attacks it was chosen from: shipped ones, where there is one.
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
    """The attack that shadow runs say is strongest on a kind of model, by the rule that chooses what decides.

    Where a record does not hold what shadow runs said, the choice is by the results themselves, and says so.
    """
    able = {contest.any.attack: contest for contest in found if model in contest.results}
    results = [contest.results[model] for contest in able.values()]
    beforehand = all(result.shadow_auc is not None for result in results)
    if not beforehand:
        results = [result.model_copy(update={"shadow_auc": result.auc}) for result in results]
    best = best_on_shadows(results)
    if best is None:
        return None
    alike = [result for result in results if shipped(result) == shipped(best)]
    return Choice(able[best.attack], beforehand, len(alike))


def deciding_line(lines: Iterable[Line]) -> Line | None:
    """The line that holds the AUC of an attack against what the claim allows, where it says anything."""
    return next((x for x in lines if x.rung == "E" and x.key == _DECIDES and x.deciding and computed(x)), None)


def decided_by(lines: Iterable[Line], result: AttackResult) -> Line | None:
    """The deciding line, where it rests on this attack: the strongest one by the rule that both share."""
    return deciding_line(lines) if may_decide(result) and result.against == "unlearned" else None


def refused(found: Attacks, seeds: str) -> int:
    """Target runs with these seeds that released the retrained reference, being over budget."""
    return found.refused_by.get(seeds, found.refused)


def all_retrained(found: Attacks, seeds: str) -> bool:
    """Whether no target run with these seeds released an unlearned model."""
    return 0 < found.targets <= refused(found, seeds)


def without_retrained(found: Attacks) -> Attacks:
    """The same without what is said of unlearned models where none was released: no such number is a success."""
    gone = {seeds for seeds in regimes(found) if all_retrained(found, seeds)}
    update: dict[str, Any] = {
        "reconstructions": [x for x in found.reconstructions if x.against != "unlearned" or x.refused < x.cosine.runs]
    }

    def kept(one: Any) -> bool:
        return one.against != "unlearned" or one.seeds not in gone

    update |= {name: [*filter(kept, getattr(found, name))] for name in _BY_SEEDS}
    if found.results and found.results[0].seeds in gone:  # those of the first seeds
        update["measures"] = [m.model_copy(update={"models": _others(m.models)}) for m in found.measures]
        update["sweep"] = [
            point.model_copy(
                update={"aucs": {k: _others(v) for k, v in point.aucs.items()}, "holdout": _others(point.holdout)}
            )
            for point in found.sweep
        ]
    return found.model_copy(update=update)


def _others(models: dict[str, Interval]) -> dict[str, Interval]:
    return {kind: found for kind, found in models.items() if kind != "unlearned"}


def seeds_said(seeds: str) -> str:
    """How runs were seeded, in words.

    >>> seeds_said("fresh"), seeds_said("one seed")
    ('fresh seeds', 'one seed')
    """
    return "fresh seeds" if seeds == "fresh" else seeds


def classical_said(key: str) -> str:
    """The attack on the first version alone, by its key.

    >>> classical_said("classical/mlp"), classical_said("loss")
    ('the model before alone, a perceptron', 'loss')
    """
    classifier = key.removeprefix("classical/")
    return key if classifier == key else f"the model before alone, {_CLASSIFIERS.get(classifier, classifier)}"


def one_version(found: Sequence[Contest]) -> list[Contest]:
    """Attacks of somebody who holds one released model."""
    return [contest for contest in found if not contest.both_versions]


def both_versions(found: Sequence[Contest]) -> list[Contest]:
    """Attacks of somebody who holds the model before and after."""
    return [contest for contest in found if contest.both_versions]


def shown(found: Sequence[Contest]) -> list[tuple[str, Contest]]:
    """Attacks for a table, with a remark: of many on both versions the chosen, the median and the largest."""
    single = [(remark(contest), contest) for contest in one_version(found)]
    many = both_versions(found)
    if len(many) <= 3:
        return single + [(remark(contest), contest) for contest in many]
    ordered = sorted(many, key=lambda contest: _mean(contest.results.get("unlearned")))
    choice, remarks = strongest(many), {}
    if choice is not None and choice.beforehand:
        remarks[id(choice.contest)] = (f"chosen of {len(many)} on shadow runs", choice.contest)
    for said, contest in (
        (f"median of {len(many)}", ordered[(len(ordered) - 1) // 2]),
        (f"largest of {len(many)}, so biased upward", ordered[-1]),
    ):
        before = remarks.get(id(contest))
        remarks[id(contest)] = (f"{before[0]}; {said}" if before else said, contest)
    listed = {id(contest) for _, contest in remarks.values()}
    own = [(remark(c), c) for c in many if id(c) not in listed and not c.shipped]
    return [*single, *((f"{remark(contest)}; {said}", contest) for said, contest in remarks.values()), *own]


def remark(contest: Contest) -> str:
    """Family of an attack, and whether it is somebody's own."""
    return contest.any.family if contest.shipped else f"{contest.any.family}; {OWN}"


def _mean(result: AttackResult | None) -> float:
    return -math.inf if result is None else result.auc.mean


def named(titles: dict[str, str], attack: str) -> str:
    """An attack by its title, or by its key where no result of it is in the record.

    >>> named({"loss": "Loss threshold"}, "loss"), named({}, "reconstruction"), named({}, "mine.py:Attack")
    ('Loss threshold', 'Reconstruction', 'mine.py:Attack')
    """
    return titles.get(attack) or (attack.capitalize() if attack.isalpha() else attack)


def cut(found: Interval, least: float | None = 0.0, most: float | None = 1.0) -> Interval:
    """An interval without the values that are not possible: Student's limits know no range.

    >>> cut(Interval(mean=0.9, lower=0.7, upper=1.2, deviation=0.3, runs=8, failure_probability=0.05)).upper
    1.0
    """
    lower, upper = found.lower, found.upper
    if lower is not None and least is not None:
        lower = max(lower, least)
    if upper is not None and most is not None:
        upper = min(upper, most)
    return found.model_copy(update={"lower": lower, "upper": upper})


def between(found: Interval, places: int = 3) -> str:
    """Limits of an interval, rounded outwards.

    >>> between(Interval(mean=0.5, lower=0.4321, upper=0.5678, deviation=0.1, runs=8, failure_probability=0.05))
    '0.432 to 0.568'
    """
    if found.lower is None or found.upper is None:
        return _no_interval(found)
    return f"{fixed(found.lower, places, 'down')} to {fixed(found.upper, places, 'up')}"


def _no_interval(found: Interval) -> str:
    alike = found.runs > 1 and found.deviation == 0
    return f"equal in {plural(found.runs, 'run')}" if alike else f"{plural(found.runs, 'run')}, no interval"


def spread(found: Interval) -> str:
    """The same for numbers of any size."""
    if found.lower is None or found.upper is None:
        return _no_interval(found)
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
