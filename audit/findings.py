"""From the numbers of all test runs of a row to its lines, controls and verdict."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from unlearning.claim import Certificate, Reference
from unlearning.protocols import Diagnostic
from unlearning.record import (
    Accuracy,
    Control,
    Distances,
    Histogram,
    Identification,
    Line,
    Timing,
    TradeOffCurve,
    Wealth,
    line_without_numbers,
)
from unlearning.record_attacks import Attacks
from unlearning.verdict import Outcome, Verdict

from .attack_lines import attack_lines
from .attack_rung import Attacked
from .bounds.noise import NoiseTests
from .certificates import merged
from .control_rung import judge
from .controls import HONEST, Defect
from .design import POWER, Design
from .distinguish_rung import Probabilities, distinguish_lines, probabilities, runs_needed
from .figures import arrays, curves, histograms
from .fleet import Array, Subject
from .identification_rung import Identified, identification_facts, identification_line
from .noise_rung import noise_lines
from .one_run_lines import one_run_lines
from .score_rung import ScoreChoice, Scored, joined, score_arrays, score_curves, score_histograms, score_lines
from .scores import Choice, Scores
from .sensitivity_rung import Measured, distances, sensitivity_lines
from .sequential import Betting
from .verdict import decide
from .wealth import PROJECTION, Bettor


@dataclass(frozen=True, slots=True)
class Findings:
    """What one row's audit found."""

    lines: list[Line]
    controls: list[Control]
    distances: Distances | None
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
    identification: Identification | None = None
    wealth: Wealth | None = None
    attacks: Attacks | None = None


@dataclass(frozen=True, slots=True)
class Tested:
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
    further: Scored


def assemble(
    subject: Subject,
    design: Design,
    planted: list[Defect],
    everyone: list[Defect],
    choices: dict[str, Choice],
    further: dict[str, ScoreChoice],
    tested: list[Tested],
    noise: dict[str, NoiseTests],
    right: list[Accuracy],
    named: Identified | None = None,
    attacked: Attacked | None = None,
    bettors: dict[str, Bettor] | None = None,
) -> Findings:
    """Lines, controls, figures and the verdict of a row.

    Args:
        subject: method, task, request.
        design: of the row.
        planted: defects of the controls.
        everyone: whose releases were scored: the method, doing nothing, the controls.
        choices: of the selection runs.
        further: choices for further scores.
        tested: chunks of test runs.
        noise: tests of the noise.
        right: accuracies.
        named: the game of rung D.
        attacked: the game of rung E.
        bettors: of a row that may stop once it refutes.
    """
    gaussian = subject.method.declaration.gaussian_noise
    coordinates = subject.task.objective.size
    scores = {d.name: Scores.concatenate([t.scores[d.name] for t in tested]) for d in everyone if choices}
    scored = joined([t.further for t in tested])
    certificate = merged([t.certificate for t in tested])
    measured = measure(subject, tested)
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
    betting = Betting(design, bettors, scores, known) if bettors else None
    lines = _lines(design, HONEST, scores, choices, noise, known, None, betting)
    lines += score_lines(design, HONEST, further, scored)
    if not measured.every_draw:
        lines = [_spared(line) if _speaks_of_one_draw(line, subject) else line for line in lines]
    if "A" in design.rungs:
        lines = sensitivity_lines(measured, design.claim, design.noise_scale, gaussian=gaussian) + lines
    if "B" in design.rungs and not noise:
        lines.append(_noise_not_computable(design))
    lines += game_lines(named, attacked, design, HONEST)
    controls = [
        judge(
            subject.name,
            d,
            _lines(design, d, scores, choices, noise, known, design.control_failure_probability, betting)
            + score_lines(design, d, further, scored, design.control_failure_probability)
            + game_lines(named, attacked, design, d, design.control_failure_probability),
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
        because += _runs_needed(known["no-op"], design, betting)
    return Findings(
        lines=lines,
        controls=controls,
        distances=found,
        accuracies=right,
        # a band holds at a number of runs fixed beforehand
        curves=(curves(scores) if scores and betting is None else []) + score_curves(scored),
        histograms=(histograms(scores[HONEST.name]) if scores else []) + score_histograms(scored),
        verdict=verdict,
        because=because,
        shares={key: design.line_failure_probability(key) for key in design.shares},
        certificate=certificate,
        refused=refused,
        diagnostics=_diagnostics([t.diagnostics for t in tested]),
        arrays=arrays(measured, scores.get(HONEST.name), scores.get("no-op")) | score_arrays(further, scored),
        timings=_timings(subject, tested) + ([] if attacked is None else attacked.timings),
        identification=None if named is None else identification_facts(named, subject, design),
        wealth=None if betting is None else betting.facts(),
        attacks=None if attacked is None else attacked.facts,
    )


def measure(subject: Subject, tested: list[Tested]) -> Measured:
    """Noise-free numbers of the test runs so far."""
    bounds = [t.sensitivity_upper for t in tested]
    certificate = merged([t.certificate for t in tested])
    fails = 0.0 if certificate is None else certificate.failure_probability
    return Measured(
        np.concatenate([t.unlearned for t in tested]),
        np.concatenate([t.original for t in tested]),
        None if any(b is None for b in bounds) else np.concatenate([b for b in bounds if b is not None]),
        max(t.norm for t in tested),
        float(torch.finfo(subject.task.dtype).eps),
        fails,
        every_draw=fails == 0 and (certificate is not None or not subject.method.declaration.draws),
    )


def refuted_exactly(subject: Subject, design: Design, tested: list[Tested]) -> bool:
    """Whether rung A, where the row asks for it, has refuted: it is exact, so that a row may stop on it."""
    if "A" not in design.rungs:
        return False
    gaussian = subject.method.declaration.gaussian_noise
    lines = sensitivity_lines(measure(subject, tested), design.claim, design.noise_scale, gaussian=gaussian)
    return any(line.deciding and line.outcome is Outcome.REFUTED for line in lines)


def assemble_games(
    subject: Subject, design: Design, planted: list[Defect], named: Identified | None, attacked: Attacked | None
) -> Findings:
    """Lines, controls and the verdict of a row whose only evidence is the games of rungs D and E.

    Args:
        subject: method, task, request.
        design: of the row.
        planted: defects of the controls.
        named: the game of rung D; None where it is not asked for, or can refute nothing.
        attacked: the game of rung E; None where it is not asked for.
    """
    lines, level = game_lines(named, attacked, design, HONEST), design.control_failure_probability
    controls = [
        judge(
            subject.name,
            d,
            game_lines(named, attacked, design, d, level),
            design,
            None,
            None,
            None,
            subject.task.objective.size,
        )
        for d in planted
    ]
    played = [game.certificate for game in (named, attacked) if game is not None]
    certificate = merged(played) if played else None
    bound = None if certificate is None else np.asarray(certificate.sensitivity_upper)
    refused, runs = _refused(named, attacked)
    verdict, because = decide(lines, design.claim, None, controls, refused=refused, runs=runs)
    return Findings(
        lines=lines,
        controls=controls,
        distances=None,
        accuracies=[],
        curves=[],
        histograms=[],
        verdict=verdict,
        because=because,
        shares={key: design.line_failure_probability(key) for key in design.shares},
        certificate=certificate,
        refused=refused,
        diagnostics=(),
        arrays={} if bound is None else {"sensitivity_upper": (bound, "certified Δ of each run of the games")},
        timings=[] if attacked is None else attacked.timings,
        identification=None if named is None else identification_facts(named, subject, design),
        attacks=None if attacked is None else attacked.facts,
    )


def _refused(named: Identified | None, attacked: Attacked | None) -> tuple[int, int]:
    """Runs of both games that released the reference, and all of them."""
    refused, runs = 0, 0
    if named is not None:
        refused, runs = int(named.played.refused.sum()), len(named.played.refused)
    if attacked is not None:
        refused, runs = refused + attacked.facts.refused, runs + attacked.facts.targets
    return refused, max(1, runs)


def game_lines(
    named: Identified | None,
    attacked: Attacked | None,
    design: Design,
    planted: Defect,
    failure_probability: float | None = None,
) -> list[Line]:
    """The lines of rungs D and E for one subject, where the row asks for them.

    For the method as it is, what others estimate, too.
    """
    lines = []
    if "D" in design.rungs:
        lines.append(identification_line(named, design, planted, failure_probability))
    if "D" in design.rungs and named is not None and planted is HONEST:
        lines += one_run_lines(named, design, int(named.right(HONEST)[0]))
    if attacked is not None:
        lines += attack_lines(attacked.facts, design, planted, failure_probability)
    return lines


def _speaks_of_one_draw(line: Line, subject: Subject) -> bool:
    """Whether a line conditions on what unlearning drew, which a claim over all draws allows to be bad luck.

    The projection conditions on the draws of both sides. Paired events are centred on the reference of the same seed:
    where the reference is unlearned too, that centre holds its draws.
    """
    drawn = subject.method.declaration.draws and subject.reference is Reference.EMPTY_REQUEST
    of_one = line.key == "projection-z" or f"weight_{PROJECTION}" in line.derivation
    return of_one or (drawn and line.key.startswith("paired-event"))


def _spared(line: Line) -> Line:
    """A line that would hold one draw of unlearning to a claim on all of them."""
    reason = "unlearning draws random numbers, and no Δ holds in every draw: one draw contradicts no claim on all"
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
    betting: Betting | None,
) -> list[Line]:
    lines: list[Line] = []
    if subject.name in noise:
        lines += noise_lines(noise[subject.name], design, failure_probability)
    if betting is not None:
        lines.append(betting.line(subject, failure_probability))
    elif "C" in design.rungs:
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


def _runs_needed(noop: Probabilities, design: Design, betting: Betting | None) -> str:
    needed = runs_needed(noop, design) if betting is None else betting.pairs_needed()
    if needed is None:
        return " No number of runs that was tried makes rung C find doing nothing here."
    return f" Rung C would find doing nothing with power {POWER} at {needed} runs a side."


def _timings(subject: Subject, tested: list[Tested]) -> list[Timing]:
    models, timed = (1, tested[:1]) if subject.one_model else (sum(t.unlearned.size for t in tested), tested)
    return [
        Timing(what=what, row=subject.name, seconds=sum(t.seconds[what] for t in timed), models=models)
        for what in ("learn", "unlearn", "retrain")
    ]
