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

from .attack_rung import play_attacks
from .bounds.noise import NoiseTests
from .controls import HONEST, Defect, defect, release
from .design import Design
from .figures import ACCURACY_REPLICAS, accuracies, right_answers
from .findings import Findings, Tested, assemble, assemble_games, refuted_exactly
from .fleet import Array, AuditPhase, Fleet, Phase, Subject, numpy64, repeat, train_fleet
from .identification_rung import identify
from .noise_rung import measure_noise
from .score_rung import Measured, ScoreChoice, choose_scores, measure_chunk, score_test_chunk
from .scores import Choice, ChunkReleases, Scores, choose, release_chunk, score_chunk
from .wealth import Bettor, reached, rounds, stakes

_Result = TypeVar("_Result")

Progress = Callable[[str, int, int], None]  # phase, chunks done, chunks in all

_CHUNKS_PER_ROUND = 4  # of a row that may stop, so that a round occupies several workers; never a function of them


def audit_row(
    subject: Subject,
    design: Design,
    *,
    chunk: int,
    jobs: int,
    largest_chunk: int | None = None,
    progress: Progress = lambda phase, done, total: None,
) -> Findings:
    """Audit one row.

    Args:
        subject: method, task, request.
        design: claim, noise, numbers of runs, failure probabilities.
        chunk: replicas trained at once; it changes no number beyond rounding, but for the times.
        jobs: local worker processes; it changes no number.
        largest_chunk: replicas of the attacks' fleets trained at once, at most; `chunk` without it.
        progress: told after every chunk.
    """
    planted = [defect(name) for name in design.controls]
    everyone = [HONEST, defect("no-op"), *(p for p in planted if p.name != "no-op")] if design.compares else [HONEST]

    def run(phase: str, function: Callable[..., _Result], tasks: list[tuple[Any, ...]]) -> list[_Result]:
        finished = iter(range(1, len(tasks) + 1))
        progress(phase, 0, len(tasks))
        return run_chunks(function, tasks, jobs=jobs, done=lambda _: progress(phase, next(finished), len(tasks)))

    named = identify(subject, design, planted, run, chunk) if "D" in design.rungs else None
    attacked = play_attacks(subject, design, run, largest_chunk or chunk) if "E" in design.rungs else None
    if design.only_plays:
        return assemble_games(subject, design, planted, named, attacked)
    world = None
    if subject.one_model:
        world = run("training", train_fleet, [(subject, design.sensitivity_budget, Phase.TEST, (0,))])[0]
    choices: dict[str, Choice] = {}
    further: dict[str, ScoreChoice] = {}
    right: list[Accuracy] = []
    if design.compares:
        selection = run(
            "choosing on selection runs",
            _select_chunk,
            [(subject, design, world, everyone, ids) for ids in _chunks(design.selection, chunk)],
        )
        releases = ChunkReleases.concatenate([part for part, _, _ in selection])
        right = accuracies([part for _, part, _ in selection if part])
        further = choose_scores([part for _, _, part in selection], everyone)
        choices = {d.name: choose(releases.of(d), design.noise_scale, design) for d in everyone}
        del releases, selection

    weights = stakes(subject, design) if design.until_refuted else {}
    bettors = {d.name: Bettor.of(weights, choices[d.name]) for d in everyone if weights}

    def test(first: int, last: int, size: int) -> list[tuple[Any, ...]]:
        return [(subject, design, world, everyone, choices, further, ids) for ids in _chunks(last, size, first)]

    if bettors:
        tested = _until_refuted(subject, run, test, bettors[HONEST.name], design, chunk)
    else:
        tested = run("testing", _test_chunk, test(0, design.test, chunk))
    measure = "B" in design.rungs and subject.method.declaration.gaussian_noise and design.noise_scale > 0
    noisy = [HONEST, *planted] if measure else []
    noise, again = run("testing the noise", _conform, [(subject, design, world, noisy)])[0]
    _check_repeats(again, tested[0], float(torch.finfo(subject.task.dtype).eps))
    right = right or accuracies([t.right for t in tested if t.right])
    return assemble(
        subject, design, planted, everyone, choices, further, tested, noise, right, named, attacked, bettors
    )


def _until_refuted(
    subject: Subject,
    run: Callable[..., list[Tested]],
    test: Callable[[int, int, int], list[tuple[Any, ...]]],
    bettor: Bettor,
    design: Design,
    chunk: int,
) -> list[Tested]:
    """Test runs, round by round, until the wealth of the method as it is, or rung A, refutes, or no run is left."""
    tested: list[Tested] = []
    for first, last in rounds(design.test):
        size = min(chunk, -(-(last - first) // _CHUNKS_PER_ROUND))
        phase = f"testing until refuted, {first} of {design.test} runs done"
        tested += run(phase, _test_chunk, test(first, last, size))
        honest = Scores.concatenate([part.scores[HONEST.name] for part in tested])
        if reached(bettor, honest, design) or refuted_exactly(subject, design, tested):
            break
    return tested


def _chunks(runs: int, size: int, first: int = 0) -> Iterator[tuple[int, ...]]:
    for start in range(first, runs, size):
        yield tuple(range(start, min(runs, start + size)))


def _fleet(subject: Subject, design: Design, world: Fleet | None, phase: AuditPhase, ids: tuple[int, ...]) -> Fleet:
    """The chunk's own models, or the one model of each world as often as the chunk releases it."""
    if world is not None:
        return repeat(world, len(ids))
    return train_fleet(subject, design.sensitivity_budget, phase, ids, independent=design.compares)


def _select_chunk(
    subject: Subject, design: Design, world: Fleet | None, everyone: list[Defect], ids: tuple[int, ...]
) -> tuple[ChunkReleases, dict[str, Array], Measured]:
    fleet = _fleet(subject, design, world, Phase.SELECTION, ids)
    releases = release_chunk(subject, fleet, everyone, design.noise_scale, Phase.SELECTION, ids)
    counted = ACCURACY_REPLICAS - ids[0]
    right = right_answers(subject, releases, counted) if counted > 0 else {}
    return releases, right, measure_chunk(subject, design, releases)


def _test_chunk(
    subject: Subject,
    design: Design,
    world: Fleet | None,
    everyone: list[Defect],
    choices: dict[str, Choice],
    further: dict[str, ScoreChoice],
    ids: tuple[int, ...],
) -> Tested:
    fleet = _fleet(subject, design, world, Phase.TEST, ids)
    releases = release_chunk(subject, fleet, everyone, design.noise_scale, Phase.TEST, ids)
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
        score_test_chunk(measure_chunk(subject, design, releases), further, everyone) if further else {},
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
    fleet = _fleet(subject, design, world, Phase.TEST, (0,))
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
