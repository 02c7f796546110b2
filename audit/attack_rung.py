"""Rung E: what attackers of released models see.

The game of `audit.attacks.runs` is played with fleets of its own, for each regime of seeds: shadow runs teach the
attacks, and foretell what they will find; target runs are attacked once. What decides is in `audit.attack_lines`; all
else is shown. An attack that cannot be run leaves its reason.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from unlearning.attack_choice import best_on_shadows
from unlearning.auc import auc_allowed
from unlearning.claim import Certificate
from unlearning.gaussian import epsilon_of_delta
from unlearning.protocols import HasFailureProbability
from unlearning.record import Timing
from unlearning.record_attacks import (
    AttackResult,
    Attacks,
    Differencing,
    Interval,
    Measure,
    PerRecord,
    Reconstruction,
    SweepPoint,
)
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff

from .attack_names import MIA_U, RECONSTRUCTION, SWEPT, U_LIRA
from .attack_tasks import Failed, kept, tried, try_attack, try_degradation, try_records
from .attacks.attack import Attack
from .attacks.behaviour import measures
from .attacks.catalogue import ATTACKS
from .attacks.fleet import KEY, Chunk, Game, Seeds, attack_chunk, attacked_ids, draw_members
from .attacks.measures import interval
from .attacks.population import efficacy_measure
from .attacks.reconstruction import reconstruct
from .attacks.runs import MODELS, FitRuns, ScoreRuns
from .certificates import merged
from .design import AttackDesign, Design
from .fleet import Array, Subject

_CHUNKS = 2  # of each role at least, so that few runs occupy several workers; never a function of them

Run = Callable[[str, Callable[..., Any], list[tuple[Any, ...]]], list[Any]]
_Asked = tuple[Attack, str]  # an attack, and the regime of seeds


@dataclass(frozen=True, slots=True)
class Attacked:
    """The game of one row.

    Attributes:
        facts: what every attack found.
        certificate: what the method's theorem says of the target runs.
        timings: of its parts.
    """

    facts: Attacks
    certificate: Certificate | None
    timings: list[Timing]


@dataclass(frozen=True, slots=True, eq=False)
class _Fleets:
    """Outputs of one regime of seeds, by noise factor; and what its target chunks say besides."""

    shadows: dict[float, FitRuns]
    targets: dict[float, ScoreRuns]
    chunks: list[Chunk]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the attacks found at the row's own noise."""

    results: list[AttackResult]
    records: list[PerRecord]
    differencing: list[Differencing]


def attack_design(design: Design) -> AttackDesign:
    """The row's game.

    Raises:
        ValueError: the design has none.
    """
    if design.attacks is None:
        raise ValueError("attacks must be given for rung E, got None.")
    return design.attacks


def play_attacks(subject: Subject, design: Design, run: Run, chunk: int) -> Attacked:
    """Play the game, and attack.

    Args:
        subject: method and task.
        design: of the row, with an attack design.
        run: how chunks are run: phase, function, arguments.
        chunk: replicas trained at once.
    """
    asked, began = attack_design(design), time.perf_counter()
    reasons: dict[str, str] = {}
    rebuilt = _reconstructed(subject, design, run, chunk, reasons)
    if set(asked.keys) <= {RECONSTRUCTION}:  # it plays a game of its own
        timing = Timing(what="attack", row=subject.name, seconds=time.perf_counter() - began)
        return Attacked(_facts(subject, asked, reconstructions=rebuilt, reasons=reasons), None, [timing])
    fleets = {seeds: _fleets(subject, design, cast("Seeds", seeds), run, chunk) for seeds in asked.seeds}
    trained = time.perf_counter()
    attacked = _attack(subject, design, fleets, run, reasons)
    first = fleets[asked.seeds[0]]
    facts = _facts(
        subject,
        asked,
        candidate_ids=list(attacked_ids(subject, _game(asked, "fresh"))),
        refused=_refused(first),
        refused_by={seeds: _refused(fleet) for seeds, fleet in fleets.items()},
        population=len(first.targets[1.0].population_labels),
        results=attacked.results,
        records=attacked.records,
        differencing=attacked.differencing,
        reconstructions=rebuilt,
        measures=_measured(subject, first) if asked.measures else [],
        sweep=_swept(subject, design, first, run, reasons),
        reasons=reasons,
    )
    ended = time.perf_counter()
    models = len(asked.seeds) * 3 * (asked.shadows + asked.targets)
    return Attacked(
        facts,
        merged([part.certificate for part in first.chunks]),
        [
            Timing(what="train for attacks", row=subject.name, seconds=trained - began, models=models),
            Timing(what="attack", row=subject.name, seconds=ended - trained),
        ],
    )


def _facts(subject: Subject, asked: AttackDesign, **found: Any) -> Attacks:
    """The facts of a game; without fleets nobody was attacked."""
    nobody: dict[str, Any] = {"candidate_ids": [], "refused": 0, "population": 0, "results": []}
    return Attacks(
        candidates=asked.candidates,
        forgotten=len(subject.request_ids),
        shadows=asked.shadows,
        targets=asked.targets,
        **(nobody | found),
    )


def _refused(fleet: _Fleets) -> int:
    return sum(int(part.refused.sum()) for part in fleet.chunks)


def _game(asked: AttackDesign, seeds: str) -> Game:
    """The game of a regime; only the first regime is swept."""
    swept = asked.sweep if seeds == asked.seeds[0] else ()
    factors = tuple(sorted({1.0, *swept}))
    return Game(asked.candidates, asked.shadows, asked.targets, asked.population, factors)


def _fleets(subject: Subject, design: Design, seeds: Seeds, run: Run, chunk: int) -> _Fleets:
    asked = attack_design(design)
    game = _game(asked, seeds)
    tasks: dict[str, list[tuple[Any, ...]]] = {}
    for role, runs in (("shadow", asked.shadows), ("target", asked.targets)):
        drawn = draw_members(subject, game, role, seeds)  # type: ignore[arg-type]
        # the Hessians of several minimisers crowd each other out of the caches
        size = 1 if subject.task.deterministic else max(1, min(chunk, -(-runs // _CHUNKS)))
        measured = asked.measures and role == "target" and seeds == asked.seeds[0]
        tasks[role] = [
            (subject, design, game, role, seeds, start, drawn[start : start + size], measured)
            for start in range(0, runs, size)
        ]
    parts = run(f"training shadow and target runs, {seeds}", attack_chunk, tasks["shadow"] + tasks["target"])
    shadows, targets = parts[: len(tasks["shadow"])], parts[len(tasks["shadow"]) :]
    return _Fleets(
        {factor: FitRuns.concatenate([part.runs[factor] for part in shadows]) for factor in game.factors},
        {factor: ScoreRuns.concatenate([part.runs[factor] for part in targets]) for factor in game.factors},
        targets,
    )


def _attack(subject: Subject, design: Design, fleets: dict[str, _Fleets], run: Run, reasons: dict[str, str]) -> _Found:
    """Every attack in every regime, and what some of them say of each record, or beside an attack on one version."""
    attacks = _attacks(subject, design)
    own = {attack.key: name for name, attack in subject.attacks}
    ids, level = attacked_ids(subject, _game(attack_design(design), "fresh")), design.failure_probability

    def found(phase: str, function: Callable[..., Any], asked: list[_Asked], *fixed: Any, more: str = "") -> list[Any]:
        """What a function finds with each attack in each regime, one after the other."""
        tasks = [
            (
                attack,
                fleets[seeds].shadows[1.0],
                fleets[seeds].targets[1.0],
                seeds,
                _generator(subject, attack.key, seeds, more),
                *fixed,
            )
            for attack, seeds in asked
        ]
        names = [
            ", ".join(filter(None, (own.get(attack.key, attack.key), "" if seeds == "fresh" else seeds, more)))
            for attack, seeds in asked
        ]
        return [one for part in kept(_all(run, phase, function, tasks), names, reasons) for one in part]

    everything = [(attack, seeds) for seeds in fleets for attack in attacks]
    results: list[AttackResult] = found("attacking", try_attack, everything, design.claim.tradeoff, level)
    single = [(attack, seeds) for attack, seeds in everything if attack.key in U_LIRA]
    best = [_best_pair(results, seeds) for seeds in fleets]
    pairs = [(ATTACKS[key], seeds) for key, seeds in zip(best, fleets, strict=True) if key is not None]
    return _Found(
        results,
        found("records by themselves", try_records, single, ids, more="record by record"),
        found("both versions beside one", try_degradation, pairs, more="beside one version"),
    )


def _best_pair(results: Sequence[AttackResult], seeds: str) -> str | None:
    """The attack on both versions that does best against unlearned models on shadow runs."""
    own = [one for one in results if one.attack in MIA_U and one.against == "unlearned" and one.seeds == seeds]
    best = best_on_shadows(own)
    return None if best is None else best.attack


def _all(run: Run, phase: str, function: Callable[..., Any], tasks: list[tuple[Any, ...]]) -> list[Any]:
    return run(phase, function, tasks) if tasks else []


def _attacks(subject: Subject, design: Design) -> list[Attack]:
    """The membership attacks of the row: shipped ones and the user's own."""
    own: dict[str, Attack] = dict(subject.attacks)
    return [(ATTACKS | own)[key] for key in attack_design(design).keys if key != RECONSTRUCTION]


def _generator(subject: Subject, *names: str) -> np.random.Generator:
    return subject.noise_streams(KEY, "attacks", replicas=(0,)).generator("/".join(names), 0)


def _reconstructed(
    subject: Subject, design: Design, run: Run, chunk: int, reasons: dict[str, str]
) -> list[Reconstruction]:
    asked = attack_design(design)
    if RECONSTRUCTION not in asked.keys:
        return []
    gaussian = subject.method.declaration.gaussian_noise
    factors = tuple(sorted({0.0, 1.0, *asked.sweep})) if gaussian else (1.0,)
    found = tried(lambda: reconstruct(subject, design, run, chunk, targets=asked.targets, factors=factors))
    return [one for part in kept([found], [RECONSTRUCTION], reasons) for one in part]


def _swept(subject: Subject, design: Design, fleet: _Fleets, run: Run, reasons: dict[str, str]) -> list[SweepPoint]:
    """Two attacks, and the accuracy, at every noise scale of the sweep."""
    asked = attack_design(design)
    tasks, names, at = [], [], []
    for factor in asked.sweep:
        for key in SWEPT:
            generator = _generator(subject, key, "sweep")  # the same at every factor
            runs = fleet.shadows[factor], fleet.targets[factor]
            level = design.failure_probability
            tasks.append((ATTACKS[key], *runs, asked.seeds[0], generator, design.claim.tradeoff, level, factor))
            names.append(f"{key}, {factor:g} times the noise")
            at.append((factor, key))
    parts = _all(run, "sweeping the noise", try_attack, tasks)
    kept(parts, names, reasons)
    found = {place: part for place, part in zip(at, parts, strict=True) if not isinstance(part, Failed)}
    return [
        SweepPoint(
            noise_factor=factor,
            noise_scale=factor * design.noise_scale,
            epsilon=(epsilon := _epsilon(subject, design, factor)),
            auc_allowed=_allowed(design, subject, epsilon, factor),
            aucs={
                key: {result.against: result.auc for result in found[factor, key]}
                for key in SWEPT
                if (factor, key) in found
            },
            holdout=_holdout(fleet.targets[factor]),
        )
        for factor in asked.sweep
    ]


def _epsilon(subject: Subject, design: Design, factor: float) -> float | None:
    """ε that the row's Δ gives at this noise and the claim's δ, less what the bound itself may fail with."""
    method = subject.method
    fails = method.failure_probability if isinstance(method, HasFailureProbability) else 0.0
    if design.sensitivity_budget is None or factor == 0:
        return None
    found = epsilon_of_delta(design.sensitivity_budget / (factor * design.noise_scale), design.claim.delta - fails)
    return found if math.isfinite(found) else None


def _allowed(design: Design, subject: Subject, epsilon: float | None, factor: float) -> float | None:
    """Largest mean AUC under the claim with this ε in the place of its own."""
    claim, forgotten = design.claim, len(subject.request_ids)
    if design.sensitivity_budget is None:
        return None
    if epsilon is None:
        return 1.0
    others = attack_design(design).candidates - forgotten
    if isinstance(claim.tradeoff, GaussianTradeOff):
        mu = design.sensitivity_budget / (factor * design.noise_scale)
        return auc_allowed(GaussianTradeOff(mu), forgotten, others)
    return auc_allowed(EpsilonDelta(epsilon, claim.delta, claim.directions), forgotten, others)


def _measured(subject: Subject, fleet: _Fleets) -> list[Measure]:
    """How the models behave, and one measure of the literature that is an attack turned round."""
    runs = fleet.shadows[1.0], fleet.targets[1.0]
    behaviour = measures([part.measured for part in fleet.chunks if part.measured is not None])
    return [*behaviour, efficacy_measure(*runs, MODELS, generator=_generator(subject, "svc", "efficacy"))]


def _holdout(runs: ScoreRuns) -> dict[str, Interval]:
    """Accuracy on public records of each kind of model."""
    found: dict[str, Interval] = {}
    for model in MODELS:
        right: Array = (runs.population[model].argmax(2) == runs.population_labels).mean(1)
        found[model] = interval(right)
    return found
