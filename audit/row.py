"""One row from beginning to end: fleets, choices, scores, lines, controls, verdict."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from learning.workers import run_chunks
from unlearning.claim import Certificate
from unlearning.errors import BrokenMethod
from unlearning.protocols import Diagnostic
from unlearning.record import (
    Accuracy,
    Control,
    Distances,
    Histogram,
    Line,
    Timing,
    TradeOffCurve,
    line_without_numbers,
)
from unlearning.verdict import Outcome, Verdict

from .bounds.noise import NoiseTests
from .certificates import merged
from .control_rung import judge
from .controls import HONEST, Defect, defect, release
from .design import POWER, Design
from .distinguish_rung import Probabilities, distinguish_lines, probabilities, runs_needed
from .figures import ACCURACY_REPLICAS, accuracies, arrays, curves, histograms, right_answers
from .fleet import Array, Fleet, Subject, numpy64, repeat, train_fleet
from .noise_rung import measure_noise, noise_lines
from .scores import Choice, ChunkReleases, Scores, choose, release_chunk, score_chunk
from .sensitivity_rung import Measured, distances, sensitivity_lines
from .verdict import decide

_Result = TypeVar("_Result")

Progress = Callable[[str, int, int], None]  # phase, chunks done, chunks in all


@dataclass(frozen=True, slots=True)
class Findings:
    """What one row's audit found."""

    lines: list[Line]
    controls: list[Control]
    distances: Distances
    accuracies: list[Accuracy]
    curves: list[TradeOffCurve]
    histograms: list[Histogram]
    verdict: Verdict
    because: str
    shares: dict[str, float]
    certificate: Certificate | None
    refused: int
    diagnostics: tuple[Diagnostic, ...]
    arrays: dict[str, tuple[Array, str]]
    timings: list[Timing]


@dataclass(frozen=True, slots=True)
class _Tested:
    """A chunk of test runs, reduced to numbers."""

    scores: dict[str, Scores]
    unlearned: Array
    original: Array
    sensitivity_upper: Array | None
    refused: Array
    norm: float
    certificate: Certificate | None
    seconds: dict[str, float]
    diagnostics: tuple[Diagnostic, ...]
    right: dict[str, Array]


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
    return _assemble(subject, design, planted, everyone, choices, tested, noise, right)


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
) -> _Tested:
    fleet = _fleet(subject, design, world, "test", ids)
    releases = release_chunk(subject, fleet, everyone, design.noise_scale, "test", ids)
    retrained = releases.shared["retrained"]
    counted = 0 if choices else ACCURACY_REPLICAS - ids[0]  # where nothing is chosen there are no selection runs
    return _Tested(
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


def _check_repeats(again: _Again, tested: _Tested, epsilon_of_dtype: float) -> None:
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


def _assemble(
    subject: Subject,
    design: Design,
    planted: list[Defect],
    everyone: list[Defect],
    choices: dict[str, Choice],
    tested: list[_Tested],
    noise: dict[str, NoiseTests],
    right: list[Accuracy],
) -> Findings:
    gaussian = subject.method.declaration.gaussian_noise
    coordinates = subject.task.objective.size
    scores = {d.name: Scores.concatenate([t.scores[d.name] for t in tested]) for d in everyone if choices}
    bounds = [t.sensitivity_upper for t in tested]
    certificate = merged([t.certificate for t in tested])
    measured = Measured(
        np.concatenate([t.unlearned for t in tested]),
        np.concatenate([t.original for t in tested]),
        None if any(b is None for b in bounds) else np.concatenate([b for b in bounds if b is not None]),
        max(t.norm for t in tested),
        float(torch.finfo(subject.task.dtype).eps),
        0.0 if certificate is None else certificate.failure_probability,
    )
    if certificate is not None and measured.sensitivity_upper is not None:
        certificate = replace(certificate, sensitivity_upper=tuple(measured.sensitivity_upper.tolist()))
    found = distances(measured, design.claim, design.noise_scale, gaussian=gaussian)
    known = (
        {
            d.name: probabilities(scores[d.name], choices[d.name], d, design.noise_scale, coordinates)
            for d in everyone
            if not d.frozen
        }
        if gaussian and design.noise_scale > 0 and choices
        else {}
    )
    lines = _lines(design, HONEST, scores, choices, noise, known, None)
    if measured.bound_failure_probability > 0:
        lines = [_spared(line) if line.key == "projection-z" else line for line in lines]
    if "A" in design.rungs:
        lines = sensitivity_lines(measured, design.claim, design.noise_scale, gaussian=gaussian) + lines
    if "B" in design.rungs and not noise:
        lines.append(_noise_not_computable(design))
    controls = [
        judge(
            subject.name,
            d,
            _lines(design, d, scores, choices, noise, known, design.control_failure_probability),
            design,
            known.get(d.name),
            noise.get(d.name),
            found,
            coordinates,
        )
        for d in planted
    ]
    refused, runs = int(sum(t.refused.sum() for t in tested)), measured.unlearned.size
    verdict, because = decide(lines, design.claim, found, controls, refused=refused, runs=runs)
    if verdict is Verdict.NOT_COMPUTABLE and "no-op" in known and refused < runs:
        because += _runs_needed(known["no-op"], design)
    return Findings(
        lines=lines,
        controls=controls,
        distances=found,
        accuracies=right,
        curves=curves(scores) if scores else [],
        histograms=histograms(scores[HONEST.name]) if scores else [],
        verdict=verdict,
        because=because,
        shares={key: design.line_failure_probability(key) for key in design.shares},
        certificate=certificate,
        refused=refused,
        diagnostics=_diagnostics([t.diagnostics for t in tested]),
        arrays=arrays(measured, scores.get(HONEST.name), scores.get("no-op")),
        timings=_timings(subject, design, tested),
    )


def _spared(line: Line) -> Line:
    """A line that would hold every draw of unlearning to the claim, where some of them may break it."""
    reason = "the bound may fail with some probability: a mean over draws contradicts no claim on all of them"
    return line.model_copy(update={"deciding": False, "outcome": Outcome.NOT_COMPUTABLE, "reason": reason})


def _diagnostics(parts: list[tuple[Diagnostic, ...]]) -> tuple[Diagnostic, ...]:
    """The method's own quantities over all chunks; one that is missing in a chunk is left out."""
    return tuple(
        replace(first, values=tuple(value for one in same for value in one.values))
        for first in parts[0]
        for same in [[one for part in parts for one in part if one.name == first.name]]
        if len(same) == len(parts)
    )


def _lines(
    design: Design,
    subject: Defect,
    scores: dict[str, Scores],
    choices: dict[str, Choice],
    noise: dict[str, NoiseTests],
    known: dict[str, Probabilities],
    failure_probability: float | None,
) -> list[Line]:
    lines: list[Line] = []
    if subject.name in noise:
        lines += noise_lines(noise[subject.name], design, failure_probability)
    if "C" in design.rungs:
        lines += distinguish_lines(
            scores[subject.name],
            choices[subject.name],
            design,
            paired=bool(known),
            noop=known.get("no-op"),
            failure_probability=failure_probability,
            known=known.get(subject.name),
        )
    return lines


def _noise_not_computable(design: Design) -> Line:
    return line_without_numbers(
        rung="B",
        key="noise-scale",
        title="Deviation of the noise",
        subject="noise",
        seeds="one model",
        reason="the method adds no N(0, σ²I) after training"
        if design.noise_scale > 0
        else "the noise scale is 0: nothing hides the difference",
    )


def _runs_needed(noop: Probabilities, design: Design) -> str:
    needed = runs_needed(noop, design)
    if needed is None:
        return " No number of runs that was tried makes rung C find doing nothing here."
    return f" Rung C would find doing nothing with power {POWER} at {needed} runs a side."


def _timings(subject: Subject, design: Design, tested: list[_Tested]) -> list[Timing]:
    models, timed = (1, tested[:1]) if subject.one_model else (design.test, tested)
    return [
        Timing(what=what, row=subject.name, seconds=sum(t.seconds[what] for t in timed), models=models)
        for what in ("learn", "unlearn", "retrain")
    ]
