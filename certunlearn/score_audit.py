"""Audit two files of scores: bounds, lines, verdict, record. Needs no torch."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.bounds.result import Kind, LowerBound
from audit.bounds.runs import SelectionRuns, TestRuns, shuffled, split
from audit.bounds.table import BOUNDS, compute, deciding_bounds
from audit.curves import tradeoff_curve
from audit.score_lines import Orientation, Sizes, decide_scores, score_line
from unlearning.errors import BadScores
from unlearning.record import (
    ArrayFile,
    Evidence,
    Histogram,
    Line,
    Record,
    Row,
    Timing,
    TradeOffCurve,
    line_without_numbers,
    make_record,
)
from unlearning.streams import Streams

from .circumstances import array_file, circumstances
from .claim_facts import claim_facts_of_scores
from .score_files import Array, Columns, ScoreFile, read_scores, refuse_overlap, refuse_shared_runs
from .score_plan import DIRECTIONS, ScorePlan

_ORIENTATIONS: dict[str, Orientation] = {"released": 1, "reference": -1, "unknown": None}
_ROW = "scores"
_BINS = 30


@dataclass(frozen=True, slots=True)
class Runs:
    """The files that were read."""

    released: ScoreFile
    reference: ScoreFile
    selection_released: ScoreFile | None
    selection_reference: ScoreFile | None

    @property
    def files(self) -> tuple[ScoreFile | None, ...]:
        """All of them, in a fixed order."""
        return self.released, self.reference, self.selection_released, self.selection_reference


def read_runs(plan: ScorePlan) -> Runs:
    """Read all files and refuse what no bound can be computed from.

    Raises:
        BadScores: a file cannot be used, or two of them are one.
    """
    columns = Columns(plan.column, plan.cluster, plan.run)
    sides = ("released", "reference")
    files = {f"--{side}": read_scores(getattr(plan, side), columns, option=f"--{side}") for side in sides}
    for option in ("--selection-released", "--selection-reference"):
        source = plan.selection_released if option.endswith("released") else plan.selection_reference
        if source is not None:
            files[option] = read_scores(source, columns, option=option)
    options = list(files)
    for place, option in enumerate(options):
        for other in options[:place]:
            refuse_overlap(files[option], files[other], option=option, other=other)
        test = option.replace("selection-", "")
        if test != option:
            refuse_shared_runs(files[option], files[test], option=option, other=test)
    for option, file in files.items():
        if file.values.size < 2:
            raise BadScores(f"{option} must hold at least 2 runs, got 1 in {file.source}. Train more models.")
    return Runs(
        files["--released"],
        files["--reference"],
        files.get("--selection-released"),
        files.get("--selection-reference"),
    )


@dataclass(frozen=True, slots=True)
class _Divided:
    """The runs of a division, and all runs, for bounds that choose nothing."""

    selection: SelectionRuns
    test: TestRuns
    all: TestRuns
    as_read: TestRuns

    @property
    def constant(self) -> bool:
        """Whether all runs have one score."""
        sides = (self.selection.released, self.selection.reference, self.all.released, self.all.reference)
        return bool(np.ptp(np.concatenate(sides)) == 0)

    def sizes(self, name: str) -> Sizes:
        """Numbers of runs that a bound uses."""
        chooses = BOUNDS[name].needs == "selection"
        return Sizes(self.test.sizes if chooses else self.all.sizes, self.selection.sizes)


def audit_scores(plan: ScorePlan, runs: Runs) -> tuple[Record, dict[str, Array]]:
    """Compute every bound and make the record.

    Returns:
        The record and the arrays it speaks of, by name.
    """
    started = time.perf_counter()
    divided = _divide(plan, runs)
    claim, share = plan.claim, plan.failure_probability / len(plan.deciding)
    lines = [_line(name, plan, divided, share) for name in plan.deciding]
    lines += [line for name in BOUNDS if name not in deciding_bounds() for line in _estimate(name, plan, divided)]
    verdict, because = decide_scores(lines, claim)
    arrays = {f"{_ROW}/{name}": array for name, array in _arrays(divided).items()}
    row = Row(
        name=_ROW,
        method="scores from files",
        title="Scores from files",
        citation="",
        parameters={},
        claim=claim_facts_of_scores(claim),
        certificate=None,
        lines=lines,
        distances=None,
        accuracies=[],
        curves=[_curve(divided)],
        histograms=_histograms(divided),
        remarks=_remarks(plan, runs, divided),
        failure_probability=plan.failure_probability,
        shares={name: plan.failure_probability / len(plan.deciding) for name in plan.deciding},
        replicas={"test": min(divided.test.sizes), "selection": min(divided.selection.sizes)},
        verdict=verdict,
        because=because,
        expected=plan.expect,
        as_expected=verdict is plan.expect,
    )
    evidence = Evidence(
        title=plan.title,
        source="files",
        plan=plan.canonical(),
        plan_sha256=plan.sha256(runs.files),
        seed=plan.seed,
        device="none",
        verdict=verdict,
        family="row",
        failure_probability=plan.failure_probability,
        control_failure_probability=0.0,
        tasks=[],
        rows=[row],
        controls=[],
        arrays=_array_files(arrays),
    )
    timings = [Timing(what="audit", row=_ROW, seconds=time.perf_counter() - started)]
    return make_record(evidence, circumstances(1, started, timings)), arrays


def _divide(plan: ScorePlan, runs: Runs) -> _Divided:
    streams = Streams(plan.seed, (0,))
    as_read = TestRuns(runs.released.values, runs.reference.values)
    whole = TestRuns(shuffled(runs.released.values, streams), shuffled(runs.reference.values, streams))
    if runs.selection_released is not None and runs.selection_reference is not None:
        selection = SelectionRuns(runs.selection_released.values, runs.selection_reference.values)
        return _Divided(selection, whole, whole, as_read)
    selection, test = split(runs.released.values, runs.reference.values, plan.pilot, streams)
    return _Divided(selection, test, whole, as_read)


def _generator(plan: ScorePlan, role: str) -> np.random.Generator:
    return Streams(plan.seed, (0,)).child("scores").generator(role, 0)


def _compute(name: str, plan: ScorePlan, divided: _Divided, failure_probability: float) -> LowerBound:
    chooses = BOUNDS[name].needs == "selection"
    anytime = BOUNDS[name].kind is Kind.ANYTIME
    test = divided.test if chooses else divided.as_read if anytime and plan.in_order else divided.all
    bound = compute(
        name,
        divided.selection if chooses else None,
        test,
        plan.claim,
        failure_probability=failure_probability,
        orientation=_ORIENTATIONS[plan.orientation],
    )
    if anytime and not plan.in_order:  # in an order drawn afterwards, the number of runs must have been fixed before
        return replace(bound, kind=Kind.CONFIDENCE, assumes=("independent arms, their sizes fixed beforehand",))
    return bound


def _line(name: str, plan: ScorePlan, divided: _Divided, failure_probability: float) -> Line:
    entry, orientation = BOUNDS[name], _ORIENTATIONS[plan.orientation]
    sizes = divided.sizes(name)
    reason = None
    if divided.constant:
        reason = "the score separates nothing: all runs of both sides have the same one"
    elif min(sizes.test) < entry.least_runs:
        reason = f"it takes at least {entry.least_runs} test runs a side, got {min(sizes.test)}"
    if reason is not None:
        return line_without_numbers(
            rung="C", key=name, title=entry.title, subject="claim", seeds="independent", reason=reason
        )
    bound = _compute(name, plan, divided, failure_probability)
    return score_line(bound, sizes, plan.claim, key=name, orientation=orientation, generator=_generator(plan, name))


def _estimate(name: str, plan: ScorePlan, divided: _Divided) -> list[Line]:
    """A comparison estimate; none where these scores do not allow it."""
    if divided.constant:
        return []
    try:
        bound = _compute(name, plan, divided, plan.failure_probability)
    except BadScores:
        return []
    return [score_line(bound, divided.sizes(name), plan.claim, key=name, generator=_generator(plan, name))]


def _curve(divided: _Divided) -> TradeOffCurve:
    """Trade-off of all runs with its band; oriented so that large scores speak for the released side."""
    sign = 1 if np.median(divided.selection.released) >= np.median(divided.selection.reference) else -1
    score = "as in the files" if sign == 1 else "as in the files, with its sign changed"
    return tradeoff_curve("released", sign * divided.all.released, sign * divided.all.reference, score)


def _histograms(divided: _Divided) -> list[Histogram]:
    sides = {"released": divided.all.released, "reference": divided.all.reference}
    pooled = np.concatenate(list(sides.values()))
    low, high = float(pooled.min()), float(pooled.max())
    if not math.isfinite(high - low):
        return []  # wider than a float: there are no bins
    if high <= low or np.unique(np.linspace(low, high, _BINS + 1)).size <= _BINS:
        low, high = low - max(0.5, 1e-6 * abs(low)), high + max(0.5, 1e-6 * abs(high))
    edges = np.linspace(low, high, _BINS + 1)
    return [
        Histogram(label=label, edges=edges.tolist(), counts=np.histogram(values, edges)[0].tolist())
        for label, values in sides.items()
    ]


def _arrays(divided: _Divided) -> dict[str, Array]:
    return {
        "test_released": divided.test.released,
        "test_reference": divided.test.reference,
        "selection_released": divided.selection.released,
        "selection_reference": divided.selection.reference,
    }


def _array_files(arrays: dict[str, Array]) -> list[ArrayFile]:
    meaning = {"test": "scores that were tested", "selection": "scores that chose the event"}
    return [array_file(name, array, meaning[name.split("/")[1].split("_")[0]]) for name, array in arrays.items()]


def _remarks(plan: ScorePlan, runs: Runs, divided: _Divided) -> list[str]:
    """What a reader must know of how the evidence arose."""
    n, m = divided.all.sizes
    found = [
        "Files hold no model that did nothing, so that nothing shows whether such a model would be refuted.",
        f"{n} released runs and {m} reference runs were read. Every score must come from a run of its own, and the two "
        "sides from independent runs; nobody can see that from the numbers.",
        "The score must have been fixed before these runs were scored. One fitted on them makes every bound invalid.",
        _division_remark(plan, runs, divided),
    ]
    reduced = [file for file in runs.files if file is not None and file.rows != file.values.size]
    if reduced:
        counts = ", ".join(f"{file.rows} rows of {file.values.size} runs" for file in reduced)
        found.append(f"Several scores of one run count as one, their mean: {counts}.")
    found.append(_orientation_remark(plan))
    if plan.in_order:
        found.append(
            "The files were said to hold the runs in the order in which they were drawn: the e-process takes them so, "
            "and holds even if one stopped drawing after a look. A file sorted by score would refute true claims."
        )
    if plan.directions != "both":
        claimed = DIRECTIONS[plan.directions].value
        found.append(f"Only one direction is claimed, {claimed}: it matters which file is which.")
    return [remark for remark in found if remark]


def _division_remark(plan: ScorePlan, runs: Runs, divided: _Divided) -> str:
    text = f"Seed {plan.seed} put the runs of each side into a random order"
    if runs.selection_released is None:
        k, j = divided.selection.sizes
        text += f"; where a bound needs an event, the first {k} released and {j} reference runs chose it"
    return f"{text}. The seed must have been fixed beforehand: the best of several makes every bound invalid."


def _orientation_remark(plan: ScorePlan) -> str:
    unaided = [name for name in plan.deciding if BOUNDS[name].needs == "orientation"]
    if not unaided:
        return ""
    if plan.orientation == "unknown":
        return f"Nobody said which side large scores speak for: {_listed(unaided)} tried both, at half the level each."
    return f"Large scores were said, beforehand, to speak for the {plan.orientation} side ({_listed(unaided)})."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
