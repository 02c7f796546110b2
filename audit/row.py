"""One row from beginning to end: fleets, choices, scores, lines, controls, verdict."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from learning.workers import run_chunks
from unlearning.claim import Certificate
from unlearning.record import Accuracy, Control, Distances, Histogram, Line, Timing, TradeOffCurve
from unlearning.verdict import Outcome, Verdict

from .bounds.band import tradeoff_band
from .bounds.noise import NoiseTests
from .control_rung import judge
from .controls import Defect, defect
from .design import POWER, SHARES, Design
from .distinguish_rung import Probabilities, claimed_mu, distinguish_lines, probabilities
from .fleet import Array, Fleet, Subject, train_fleet
from .noise_rung import noise_lines, test_noise
from .scores import HONEST, Choice, ChunkReleases, Scores, choose, release_chunk, score_chunk
from .sensitivity_rung import Measured, distances, sensitivity_lines
from .verdict import decide, pairs_needed

BAND_FAILURE_PROBABILITY = 0.05
_ACCURACY_REPLICAS = 50

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
        chunk: replicas trained at once; it changes no number beyond rounding.
        jobs: local worker processes; it changes no number.
        progress: told after every chunk.
    """
    planted = [defect(name) for name in design.controls]
    everyone = [HONEST, defect("no-op"), *(p for p in planted if p.name != "no-op")]

    def run(phase: str, function: Callable[..., object], tasks: list[tuple[object, ...]]) -> list[object]:
        finished = iter(range(1, len(tasks) + 1))
        progress(phase, 0, len(tasks))
        return run_chunks(function, tasks, jobs=jobs, done=lambda _: progress(phase, next(finished), len(tasks)))

    selection = run(
        "choosing on selection runs",
        _select_chunk,
        [(subject, design, everyone, ids) for ids in _chunks(design.selection, chunk)],
    )
    releases = ChunkReleases.concatenate([part[0] for part in selection])  # type: ignore[index]
    accuracies: list[Accuracy] = selection[0][1]  # type: ignore[index]
    choices = {d.name: choose(releases.of(d), design.noise_scale, design) for d in everyone}
    coordinates = releases.shared["original"].shape[1]
    del releases

    tested: list[_Tested] = run(  # type: ignore[assignment]
        "testing",
        _test_chunk,
        [(subject, design, everyone, choices, ids) for ids in _chunks(design.test, chunk)],
    )
    noise: dict[str, NoiseTests] = {}
    if "B" in design.rungs and subject.method.declaration.gaussian_noise and design.noise_scale > 0:
        noise = run("testing the noise", _noise, [(subject, design, [HONEST, *planted])])[0]  # type: ignore[assignment]
    return _assemble(subject, design, planted, everyone, choices, tested, noise, accuracies, coordinates)


def _chunks(runs: int, size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, runs, size):
        yield tuple(range(start, min(runs, start + size)))


def _select_chunk(
    subject: Subject, design: Design, everyone: list[Defect], ids: tuple[int, ...]
) -> tuple[ChunkReleases, list[Accuracy]]:
    fleet = train_fleet(subject, design.sensitivity_budget, "selection", ids)
    releases = release_chunk(subject, fleet, everyone, design.noise_scale, "selection", ids)
    accuracies = _accuracies(subject, fleet, releases) if ids[0] == 0 else []
    return releases, accuracies


def _test_chunk(
    subject: Subject, design: Design, everyone: list[Defect], choices: dict[str, Choice], ids: tuple[int, ...]
) -> _Tested:
    fleet = train_fleet(subject, design.sensitivity_budget, "test", ids)
    releases = release_chunk(subject, fleet, everyone, design.noise_scale, "test", ids)
    retrained = releases.shared["retrained"]
    return _Tested(
        {d.name: score_chunk(releases.of(d), choices[d.name], design.noise_scale) for d in everyone},
        np.linalg.norm(releases.shared["unlearned"] - retrained, axis=1),
        np.linalg.norm(releases.shared["original"] - retrained, axis=1),
        fleet.sensitivity_upper,
        fleet.refused.astype(np.float64),
        float(np.linalg.norm(retrained, axis=1).max()),
        fleet.certificate,
        fleet.seconds,
    )


def _noise(subject: Subject, design: Design, defects: list[Defect]) -> dict[str, NoiseTests]:
    fleet = train_fleet(subject, design.sensitivity_budget, "conformance", (0,))
    return {d.name: test_noise(subject, fleet, d, design) for d in defects}


def _accuracies(subject: Subject, fleet: Fleet, releases: ChunkReleases) -> list[Accuracy]:
    task = subject.task
    forget = subject.request(1)[0]
    features, labels = task.features(), task.labels()
    holdout = task.dataset.holdout_features.to(task.device, task.dtype)
    holdout_labels = task.dataset.holdout_labels.to(task.device)
    found = []
    models = {
        "original": releases.shared["original"],
        "retrained": releases.shared["retrained"],
        "unlearned": releases.shared["unlearned"],
        "released": releases.released[HONEST.name],
    }
    for name, parameters in models.items():
        w = torch.from_numpy(parameters[:_ACCURACY_REPLICAS]).to(task.device, task.dtype)
        right = task.objective.predict(w, features) == labels
        outside = task.objective.predict(w, holdout) == holdout_labels
        found.append(
            Accuracy(
                model=name,
                forget=float(right[:, forget].double().mean()),
                retain=float(right[:, ~forget].double().mean()),
                holdout=float(outside.double().mean()),
            )
        )
    return found


def _assemble(
    subject: Subject,
    design: Design,
    planted: list[Defect],
    everyone: list[Defect],
    choices: dict[str, Choice],
    tested: list[_Tested],
    noise: dict[str, NoiseTests],
    accuracies: list[Accuracy],
    coordinates: int,
) -> Findings:
    gaussian = subject.method.declaration.gaussian_noise
    scores = {d.name: Scores.concatenate([t.scores[d.name] for t in tested]) for d in everyone}
    bounds = [t.sensitivity_upper for t in tested]
    measured = Measured(
        np.concatenate([t.unlearned for t in tested]),
        np.concatenate([t.original for t in tested]),
        None if any(b is None for b in bounds) else np.concatenate([b for b in bounds if b is not None]),
        max(t.norm for t in tested),
        float(torch.finfo(subject.task.dtype).eps),
    )
    found = distances(measured, design.claim, design.noise_scale, gaussian=gaussian)
    known = (
        {
            d.name: probabilities(scores[d.name], choices[d.name], d, design.noise_scale, coordinates)
            for d in everyone
            if not d.frozen
        }
        if gaussian and design.noise_scale > 0
        else {}
    )
    lines = _lines(design, HONEST, scores, choices, noise, known, None)
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
    verdict, because = decide(lines, design.claim, found, controls)
    if verdict is Verdict.NOT_COMPUTABLE and "no-op" in known:
        because += _runs_needed(known["no-op"], design)
    runs = [Timing(what=what, row=subject.name, seconds=seconds, models=models) for what, seconds, models in _times(
        subject, design, tested
    )]
    certificate = tested[0].certificate
    arrays = _arrays(measured, scores[HONEST.name], scores["no-op"])
    return Findings(
        lines=lines,
        controls=controls,
        distances=found,
        accuracies=accuracies,
        curves=_curves(scores),
        histograms=_histograms(scores[HONEST.name]),
        verdict=verdict,
        because=because,
        shares={key: design.line_failure_probability(key) for key in SHARES if _runs(key, design)},
        certificate=certificate,
        refused=int(sum(t.refused.sum() for t in tested)),
        arrays=arrays,
        timings=runs,
    )


def _runs(key: str, design: Design) -> bool:
    return ("B" if key.startswith("noise-") else "C") in design.rungs


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
            noop=known.get("no-op"),
            failure_probability=failure_probability,
            known=known.get(subject.name),
        )
    return lines


def _noise_not_computable(design: Design) -> Line:
    return Line(
        rung="B",
        key="noise-scale",
        title="Deviation of the noise",
        subject="noise",
        seeds="one model",
        deciding=True,
        outcome=Outcome.NOT_COMPUTABLE,
        finding="Not computable.",
        failure_probability=0.0,
        assumes="nothing",
        kind="confidence",
        runs_released=0,
        runs_reference=0,
        reason="the method adds no N(0, σ²I) at the end, or σ is 0"
        if design.noise_scale > 0
        else "the noise scale is 0: nothing hides the difference",
    )


def _runs_needed(noop: Probabilities, design: Design) -> str:
    needed = pairs_needed(noop.projected_mu, claimed_mu(design.claim), design.line_failure_probability("projection-z"))
    if needed is None:
        return " No number of runs makes the projection test find doing nothing here."
    return f" The projection test would find doing nothing with power {POWER} at {needed} pairs."


def _times(subject: Subject, design: Design, tested: list[_Tested]) -> Iterator[tuple[str, float, int]]:
    models = len(tested) if subject.task.deterministic else design.test
    for what in ("learn", "unlearn", "retrain"):
        yield what, sum(t.seconds[what] for t in tested), models


def _curves(scores: dict[str, Scores]) -> list[TradeOffCurve]:
    return [
        _curve(label, scores[name].projection_released, scores[name].projection_reference)
        for label, name in (("unlearned", HONEST.name), ("doing nothing", "no-op"))
        if np.all(np.isfinite(scores[name].projection_released))
    ]


def _curve(label: str, released: Array, reference: Array) -> TradeOffCurve:
    band = tradeoff_band(released, reference, BAND_FAILURE_PROBABILITY)
    return TradeOffCurve(
        label=label,
        alpha=band.alpha.tolist(),
        beta=band.beta.tolist(),
        band_alpha_lower=band.alpha_lower.tolist(),
        band_beta_lower=band.beta_lower.tolist(),
        band_alpha_upper=band.alpha_upper.tolist(),
        band_beta_upper=band.beta_upper.tolist(),
        band_failure_probability=BAND_FAILURE_PROBABILITY,
        score="⟨direction, released − retrained of the same seed⟩ / σ",
    )


def _histograms(scores: Scores) -> list[Histogram]:
    x, y = scores.projection_released, scores.projection_reference
    pooled = np.concatenate([x, y])
    if not np.all(np.isfinite(pooled)):
        return []
    edges = np.histogram_bin_edges(pooled, bins=30)
    return [
        Histogram(label=label, edges=edges.tolist(), counts=np.histogram(values, edges)[0].tolist())
        for label, values in (("unlearned", x), ("retrained", y))
    ]


def _arrays(measured: Measured, honest: Scores, noop: Scores) -> dict[str, tuple[Array, str]]:
    found = {
        "distance_unlearned": (measured.unlearned, "‖unlearned − reference‖ per test run, before noise"),
        "distance_original": (measured.original, "‖original − reference‖ per test run, before noise"),
        "projection_released": (honest.projection_released, "paired projection score of the unlearned runs"),
        "projection_reference": (honest.projection_reference, "paired projection score of the retrained runs"),
        "radius_released": (honest.radius_released, "paired radius score of the unlearned runs"),
        "radius_reference": (honest.radius_reference, "paired radius score of the retrained runs"),
        "independent_released": (honest.independent_released, "independent score of the unlearned runs"),
        "independent_reference": (honest.independent_reference, "independent score of the retrained runs"),
        "noop_projection_released": (noop.projection_released, "paired projection score of doing nothing"),
        "noop_projection_reference": (noop.projection_reference, "paired projection score of the retrained runs"),
    }
    if measured.sensitivity_upper is not None:
        found["sensitivity_upper"] = (measured.sensitivity_upper, "certified Δ per test run")
    return found
