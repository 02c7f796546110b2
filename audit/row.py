"""One row from beginning to end: fleets, choices, scores, lines, controls, verdict."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from learning.workers import run_chunks
from unlearning.errors import BrokenMethod
from unlearning.record import (
    Accuracy,
)

from .bounds.noise import NoiseTests
from .controls import HONEST, Defect, defect, release
from .design import Design
from .figures import ACCURACY_REPLICAS, accuracies, right_answers
from .findings import Findings, Tested, assemble
from .fleet import Array, Fleet, Subject, numpy64, repeat, train_fleet
from .noise_rung import measure_noise
from .scores import Choice, ChunkReleases, choose, release_chunk, score_chunk

_Result = TypeVar("_Result")

Progress = Callable[[str, int, int], None]  # phase, chunks done, chunks in all


def audit_row(
    subject: Subject,
    design: Design,
    *,
    chunk: int,
    jobs: int,
    progress: Progress = lambda phase, done, total: None,
) -> Findings:
    """Audit one row.

    Args:
        subject: method, task, request.
        design: claim, noise, numbers of runs, failure probabilities.
        chunk: replicas trained at once; it changes no number beyond rounding, but for the times.
        jobs: local worker processes; it changes no number.
        progress: told after every chunk.
    """
    planted = [defect(name) for name in design.controls]
    everyone = [HONEST, defect("no-op"), *(p for p in planted if p.name != "no-op")] if design.compares else [HONEST]

    def run(phase: str, function: Callable[..., _Result], tasks: list[tuple[Any, ...]]) -> list[_Result]:
        finished = iter(range(1, len(tasks) + 1))
        progress(phase, 0, len(tasks))
        return run_chunks(function, tasks, jobs=jobs, done=lambda _: progress(phase, next(finished), len(tasks)))

    world = None
    if subject.one_model:
        world = run("training", train_fleet, [(subject, design.sensitivity_budget, "test", (0,))])[0]
    choices: dict[str, Choice] = {}
    right: list[Accuracy] = []
    if design.compares:
        selection = run(
            "choosing on selection runs",
            _select_chunk,
            [(subject, design, world, everyone, ids) for ids in _chunks(design.selection, chunk)],
        )
        releases = ChunkReleases.concatenate([part for part, _ in selection])
        right = accuracies([part for _, part in selection if part])
        choices = {d.name: choose(releases.of(d), design.noise_scale, design) for d in everyone}
        del releases, selection

    tested = run(
        "testing",
        _test_chunk,
        [(subject, design, world, everyone, choices, ids) for ids in _chunks(design.test, chunk)],
    )
    measure = "B" in design.rungs and subject.method.declaration.gaussian_noise and design.noise_scale > 0
    noisy = [HONEST, *planted] if measure else []
    noise, again = run("testing the noise", _conform, [(subject, design, world, noisy)])[0]
    _check_repeats(again, tested[0], float(torch.finfo(subject.task.dtype).eps))
    right = right or accuracies([t.right for t in tested if t.right])
    return assemble(subject, design, planted, everyone, choices, tested, noise, right)


def _chunks(runs: int, size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, runs, size):
        yield tuple(range(start, min(runs, start + size)))


def _fleet(subject: Subject, design: Design, world: Fleet | None, phase: str, ids: tuple[int, ...]) -> Fleet:
    """The chunk's own models, or the one model of each world as often as the chunk releases it."""
    if world is not None:
        return repeat(world, len(ids))
    return train_fleet(subject, design.sensitivity_budget, phase, ids, independent=design.compares)


def _select_chunk(
    subject: Subject, design: Design, world: Fleet | None, everyone: list[Defect], ids: tuple[int, ...]
) -> tuple[ChunkReleases, dict[str, Array]]:
    fleet = _fleet(subject, design, world, "selection", ids)
    releases = release_chunk(subject, fleet, everyone, design.noise_scale, "selection", ids)
    counted = ACCURACY_REPLICAS - ids[0]
    return releases, right_answers(subject, releases, counted) if counted > 0 else {}


def _test_chunk(
    subject: Subject,
    design: Design,
    world: Fleet | None,
    everyone: list[Defect],
    choices: dict[str, Choice],
    ids: tuple[int, ...],
) -> Tested:
    fleet = _fleet(subject, design, world, "test", ids)
    releases = release_chunk(subject, fleet, everyone, design.noise_scale, "test", ids)
    retrained = releases.shared["retrained"]
    counted = 0 if choices else ACCURACY_REPLICAS - ids[0]  # where nothing is chosen there are no selection runs
    return Tested(
        {d.name: score_chunk(releases.of(d), choices[d.name], design.noise_scale) for d in everyone if choices},
        np.linalg.norm(releases.shared["unlearned"] - retrained, axis=1),
        np.linalg.norm(releases.shared["original"] - retrained, axis=1),
        fleet.sensitivity_upper,
        fleet.refused.astype(np.float64),
        float(np.linalg.norm(retrained, axis=1).max()),
        fleet.certificate,
        fleet.seconds,
        fleet.diagnostics,
        right_answers(subject, releases, counted) if counted > 0 else {},
    )


@dataclass(frozen=True, slots=True)
class _Again:
    """The first test run, trained once more by itself, and one release drawn twice."""

    unlearned: float
    original: float
    same_release: bool


def _conform(
    subject: Subject, design: Design, world: Fleet | None, defects: list[Defect]
) -> tuple[dict[str, NoiseTests], _Again]:
    """Rung B on the first test run, and whether the same streams give the same models and the same noise."""
    fleet = _fleet(subject, design, world, "test", (0,))
    streams = subject.noise_streams("repeat", replicas=(0,))
    first, second = (
        release(subject.method, HONEST, fleet.unlearned, design.noise_scale, streams=streams) for _ in range(2)
    )
    unlearned, original, retrained = (
        numpy64(state.parameters)[0] for state in (fleet.unlearned, fleet.original, fleet.retrained)
    )
    again = _Again(
        float(np.linalg.norm(unlearned - retrained)),
        float(np.linalg.norm(original - retrained)),
        bool(torch.equal(first, second)),
    )
    return {d.name: measure_noise(subject, fleet, d, design) for d in defects}, again


def _check_repeats(again: _Again, tested: Tested, epsilon_of_dtype: float) -> None:
    """Refuse a method that does not repeat with the same streams: nothing in the record could be repeated either.

    Raises:
        BrokenMethod: the first test run, trained by itself, or a release differs beyond rounding.
    """
    slack = 1e9 * epsilon_of_dtype * (1 + tested.norm) if epsilon_of_dtype < 1e-10 else 0.1 * (1 + tested.norm)
    pairs = ((again.unlearned, float(tested.unlearned[0])), (again.original, float(tested.original[0])))
    for verb, (alone, among) in zip(("unlearn", "learn"), pairs, strict=True):
        if abs(alone - among) > slack:
            raise BrokenMethod(
                f"{verb} must give the same model for the same streams, got distances {among:.4g} and {alone:.4g} to "
                "the reference for the same replica. Draw all randomness from `streams`."
            )
    if not again.same_release:
        raise BrokenMethod(
            "release must give the same parameters for the same streams, got others. Draw the noise from `streams`."
        )
