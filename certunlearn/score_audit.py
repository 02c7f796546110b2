"""Audit two files of scores: bounds, lines, verdict, record. Needs no torch."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from audit.bounds.band import tradeoff_band
from audit.bounds.result import LowerBound
from audit.bounds.runs import SelectionRuns, TestRuns, split
from audit.bounds.table import BOUNDS, compute, deciding_bounds
from audit.score_lines import Orientation, Sizes, decide_scores, score_line
from unlearning.claim import Claim
from unlearning.errors import BadScores, PlanError
from unlearning.record import (
    ArrayFile,
    Evidence,
    Histogram,
    Line,
    Record,
    Row,
    Timing,
    TradeOffCurve,
    canonical,
    line_without_numbers,
    make_record,
    sha256,
)
from unlearning.streams import Streams
from unlearning.tradeoff import Directions
from unlearning.verdict import Verdict

from .circumstances import array_file, circumstances
from .claim_facts import claim_facts_of_scores, claim_of_numbers
from .score_files import Array, Columns, ScoreFile, read_scores, refuse_overlap, refuse_shared_runs

DEFAULT_BOUNDS = ("joint",)
_DIRECTIONS = {"both": Directions.BOTH, "released": Directions.RELEASED, "reference": Directions.REFERENCE}
_ORIENTATIONS: dict[str, Orientation] = {"released": 1, "reference": -1, "unknown": None}
_BAND_FAILURE_PROBABILITY = 0.05
_ROW = "scores"
_BINS = 30


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """What `certunlearn scores` was asked for.

    Attributes:
        released, reference, selection_released, selection_reference: files, or file:column.
        epsilon, mu, delta, directions: the claim; either ε or μ.
        bounds: that decide; the failure probability is divided equally over them. Empty: the default.
        pilot: share of the runs that choose the event, where no selection files do.
        failure_probability: of all deciding bounds together.
        seed: of the division into pilot and test runs.
        orientation: side that large scores speak for, for bounds that choose nothing.
        column, cluster, run: names of columns.
        title: of the report.
        expect: expected verdict.
    """

    released: str
    reference: str
    delta: float
    epsilon: float | None = None
    mu: float | None = None
    directions: str = "both"
    bounds: tuple[str, ...] = ()
    selection_released: str | None = None
    selection_reference: str | None = None
    pilot: float = 0.2
    failure_probability: float = 0.05
    seed: int = 0
    orientation: str = "unknown"
    column: str | None = None
    cluster: str | None = None
    run: str | None = None
    title: str = "Audit of scores from files"
    expect: Verdict = Verdict.NOT_REFUTED

    def __post_init__(self) -> None:
        """Check what can be checked without the files.

        Raises:
            PlanError: an option is out of range, or two options exclude each other.
        """
        claim_of_numbers(self.epsilon, self.mu, self.delta, _DIRECTIONS[self.directions])
        for name, value in (("--failure-probability", self.failure_probability), ("--pilot", self.pilot)):
            if not 0 < value < 1:
                raise PlanError(f"{name} must be in (0, 1), got {value}.")
        if (self.selection_released is None) != (self.selection_reference is None):
            raise PlanError("--selection-released and --selection-reference must be given together, got one of them.")
        if self.expect not in (Verdict.REFUTED, Verdict.NOT_REFUTED, Verdict.NOT_COMPUTABLE):
            raise PlanError(
                f"--expect must be REFUTED, NOT_REFUTED or NOT_COMPUTABLE, got {self.expect}: files hold no model that "
                "did nothing."
            )
        for name in self.bounds:
            if name not in deciding_bounds():
                near = get_close_matches(name, deciding_bounds(), n=3, cutoff=0.4) or deciding_bounds()
                kind = "which decides nothing" if name in BOUNDS else "which is unknown"
                raise PlanError(f"--bound must be one that decides, got {name!r}, {kind}. Use {', '.join(near)}.")
        if len(set(self.bounds)) < len(self.bounds):
            raise PlanError(f"--bound must name every bound once, got {', '.join(self.bounds)}.")

    @property
    def deciding(self) -> tuple[str, ...]:
        """The bounds that decide."""
        return self.bounds or DEFAULT_BOUNDS

    @property
    def claim(self) -> Claim:
        """What is tested."""
        return claim_of_numbers(self.epsilon, self.mu, self.delta, _DIRECTIONS[self.directions])

    def canonical(self) -> dict[str, Any]:
        """As in the record."""
        return asdict(self) | {"bounds": list(self.deciding), "expect": self.expect.value}

    def sha256(self, runs: "Runs") -> str:
        """Hash of the question: the options and the numbers, wherever the files lie, and whatever the seed."""
        asked = self.canonical()
        for name in ("seed", "released", "reference", "selection_released", "selection_reference", "title"):
            asked.pop(name)
        asked["scores"] = [None if file is None else file.sha256 for file in runs.files]
        return sha256(canonical(asked))


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
        shares={name: 1 / len(plan.deciding) for name in plan.deciding},
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
        plan_sha256=plan.sha256(runs),
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
    whole = TestRuns(runs.released.values, runs.reference.values)
    if runs.selection_released is not None and runs.selection_reference is not None:
        return _Divided(SelectionRuns(runs.selection_released.values, runs.selection_reference.values), whole, whole)
    selection, test = split(runs.released.values, runs.reference.values, plan.pilot, _generator(plan, "division"))
    return _Divided(selection, test, whole)


def _generator(plan: ScorePlan, role: str) -> np.random.Generator:
    return Streams(plan.seed, (0,)).child("scores").generator(role, 0)


def _compute(name: str, plan: ScorePlan, divided: _Divided, failure_probability: float) -> LowerBound:
    chooses = BOUNDS[name].needs == "selection"
    return compute(
        name,
        divided.selection if chooses else None,
        divided.test if chooses else divided.all,
        plan.claim,
        failure_probability=failure_probability,
        orientation=_ORIENTATIONS[plan.orientation],
    )


def _line(name: str, plan: ScorePlan, divided: _Divided, failure_probability: float) -> Line:
    entry, orientation = BOUNDS[name], _ORIENTATIONS[plan.orientation]
    sizes = divided.sizes(name)
    if min(sizes.test) < entry.least_runs:
        return line_without_numbers(
            rung="C",
            key=name,
            title=entry.title,
            subject="claim",
            seeds="independent",
            reason=f"it takes at least {entry.least_runs} test runs a side, got {min(sizes.test)}",
        )
    bound = _compute(name, plan, divided, failure_probability)
    return score_line(bound, sizes, plan.claim, key=name, orientation=orientation, generator=_generator(plan, name))


def _estimate(name: str, plan: ScorePlan, divided: _Divided) -> list[Line]:
    """A comparison estimate; none where these scores do not allow it."""
    try:
        bound = _compute(name, plan, divided, plan.failure_probability)
    except BadScores:
        return []
    return [score_line(bound, divided.sizes(name), plan.claim, key=name, generator=_generator(plan, name))]


def _curve(divided: _Divided) -> TradeOffCurve:
    """Trade-off of all runs with its band; oriented so that large scores speak for the released side."""
    released, reference = divided.all.released, divided.all.reference
    sign = 1 if np.median(divided.selection.released) >= np.median(divided.selection.reference) else -1
    band = tradeoff_band(sign * released, sign * reference, _BAND_FAILURE_PROBABILITY)
    return TradeOffCurve(
        label="released",
        alpha=band.alpha.tolist(),
        beta=band.beta.tolist(),
        band_alpha_lower=band.alpha_lower.tolist(),
        band_beta_lower=band.beta_lower.tolist(),
        band_alpha_upper=band.alpha_upper.tolist(),
        band_beta_upper=band.beta_upper.tolist(),
        band_failure_probability=_BAND_FAILURE_PROBABILITY,
        score="as in the files" if sign == 1 else "as in the files, with its sign changed",
    )


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
        f"{n} released runs and {m} reference runs were read. Every score must come from a run of its own, and the two "
        "sides from independent runs; nobody can see that from the numbers.",
        "The score must have been fixed before these runs were scored. One fitted on them makes every bound invalid.",
    ]
    reduced = [file for file in runs.files if file is not None and file.rows != file.values.size]
    if reduced:
        counts = ", ".join(f"{file.rows} rows of {file.values.size} runs" for file in reduced)
        found.append(f"Several scores of one run count as one, their mean: {counts}.")
    if runs.selection_released is None:
        k, j = divided.selection.sizes
        found.append(
            f"{k} released and {j} reference runs, drawn by seed {plan.seed} without a look at the scores, chose the "
            "event; the others tested it."
        )
    found.append(_orientation_remark(plan))
    found.append(
        "Both directions are claimed: to swap the two files changes no verdict."
        if plan.directions == "both"
        else f"Only one direction is claimed, {_DIRECTIONS[plan.directions].value}: it matters which file is which."
    )
    found.append("Files hold no model that did nothing, so that nothing shows whether such a model would be refuted.")
    return [remark for remark in found if remark]


def _orientation_remark(plan: ScorePlan) -> str:
    unaided = [name for name in plan.deciding if BOUNDS[name].needs != "selection"]
    if not unaided:
        return ""
    if plan.orientation == "unknown":
        return f"Nobody said which side large scores speak for: {_listed(unaided)} tried both, at half the level each."
    return f"Large scores were said, beforehand, to speak for the {plan.orientation} side ({_listed(unaided)})."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
