"""One attack at a time, in a worker process: what it finds, or why it cannot be run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from learning.workers import told
from unlearning.errors import CertunlearnError
from unlearning.record_attacks import AttackResult, Differencing, PerRecord
from unlearning.tradeoff import TradeOff

from .attacks import differencing
from .attacks.attack import Attack
from .attacks.evaluation import run_attack
from .attacks.per_record import run_per_record
from .attacks.runs import MODELS, FitRuns, ScoreRuns

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """An attack that could not be run, and why."""

    reason: str


def kept(parts: Sequence[T | Failed], names: Sequence[str], reasons: dict[str, str]) -> list[T]:
    """What could be run; of the rest, why not."""
    found = []
    for name, part in zip(names, parts, strict=True):
        if isinstance(part, Failed):
            reasons[name] = part.reason
        else:
            found.append(part)
    return found


def tried(function: Callable[[], T]) -> T | Failed:
    """What a function gives, or why it does not: one attack must not end a row."""
    try:
        return function()
    except CertunlearnError as error:
        return Failed(str(error))
    except Exception as error:  # noqa: BLE001  anyone's attack runs here
        return Failed(told(error))


def try_attack(
    attack: Attack,
    shadows: FitRuns,
    targets: ScoreRuns,
    seeds: str,
    generator: np.random.Generator,
    tradeoff: TradeOff,
    failure_probability: float,
    noise_factor: float = 1.0,
) -> list[AttackResult] | Failed:
    """The attack on every kind of model."""
    return tried(
        lambda: run_attack(
            attack,
            shadows,
            targets,
            tradeoff,
            MODELS,
            seeds=seeds,
            failure_probability=failure_probability,
            generator=generator,
            noise_factor=noise_factor,
        )
    )


def try_records(
    attack: Attack,
    shadows: FitRuns,
    targets: ScoreRuns,
    seeds: str,
    generator: np.random.Generator,
    ids: tuple[int, ...],
) -> list[PerRecord] | Failed:
    """The attack record by record, on every kind of model."""
    return tried(
        lambda: run_per_record(attack, shadows, targets, MODELS, seeds=seeds, candidate_ids=ids, generator=generator)
    )


def try_degradation(
    attack: differencing.Differencing,
    shadows: FitRuns,
    targets: ScoreRuns,
    seeds: str,
    generator: np.random.Generator,
) -> list[Differencing] | Failed:
    """What the second version adds to the first, on every kind of model."""
    return tried(
        lambda: [
            differencing.degradation(attack, shadows, targets, model, seeds=seeds, generator=generator)
            for model in MODELS
        ]
    )
