"""The record: everything one audit found, complete enough to render its report with no other input.

`evidence` is deterministic (same plan, same seed, same machine: the same bytes) and is what is hashed;
`circumstances` holds times, host, date and versions. Identity fields are required; evidence that could not be
computed is absent, and what is absent is NOT_COMPUTABLE. Non-finite numbers are written as null with a reason beside.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from .errors import RecordError
from .record_attacks import Attacks
from .record_facts import (
    BoundSearch,
    BrokenBound,
    CertificateFacts,
    ClaimFacts,
    Constant,
    DatasetFacts,
    KindSearch,
    LawSearch,
    RequestFacts,
    RequestFamily,
    SmallProblem,
    TaskFacts,
    Value,
)
from .verdict import Outcome, Verdict

__all__ = [
    "Accuracy",
    "ArrayFile",
    "BoundSearch",
    "BrokenBound",
    "CertificateFacts",
    "Circumstances",
    "ClaimFacts",
    "Constant",
    "Control",
    "DatasetFacts",
    "Distances",
    "Evidence",
    "Histogram",
    "Identification",
    "KindSearch",
    "LawSearch",
    "Line",
    "Prediction",
    "Quantity",
    "Record",
    "RequestFacts",
    "RequestFamily",
    "Row",
    "SCHEMA_VERSION",
    "SmallProblem",
    "TaskFacts",
    "Timing",
    "TradeOffCurve",
    "Wealth",
    "WealthCurve",
    "canonical",
    "line_without_numbers",
    "make_record",
    "read_record",
    "sha256",
]

SCHEMA_VERSION = 1


class Line(Value):
    """One line of evidence.

    `epsilon_lower` and `mu_lower` are confidence limits (or exact where `kind` is "exact"); None means nothing was
    computed. `detectable_*` is the smallest value this design refutes with probability .8; `noop_power` the
    probability that this line would have refuted releasing the original with the same noise.
    """

    rung: str = Field(description="A to E, as in the ladder of evidence")
    key: str = Field(description="stable identifier of the statistic, e.g. projection-z")
    title: str
    subject: str = Field(description='"claim", "bound" or "noise": what a refutation speaks against')
    seeds: str = Field(description='"paired", "independent" or "one model"')
    deciding: bool
    outcome: Outcome
    finding: str = Field(description="one plain sentence with the numbers")
    failure_probability: float
    assumes: str = Field(description="model under which the line is valid, or 'nothing'")
    kind: str = Field(description='"exact", "confidence" or "estimate"')
    runs_released: int
    runs_reference: int
    counts_released: int | None = None
    counts_reference: int | None = None
    event: str | None = None
    statistic: float | None = None
    threshold: float | None = None
    epsilon_lower: float | None = None
    mu_lower: float | None = None
    detectable_epsilon: float | None = None
    detectable_mu: float | None = None
    detectable: str | None = Field(default=None, description="power in words, where it is no ε or μ")
    noop_power: float | None = None
    reason: str | None = Field(default=None, description="why not computable, and what it would take")
    derivation: dict[str, float] = Field(default_factory=dict, description="numbers that re-derive the bound")


def line_without_numbers(
    *,
    rung: str,
    key: str,
    title: str,
    subject: str,
    seeds: str,
    reason: str | None,
    outcome: Outcome = Outcome.NOT_COMPUTABLE,
    finding: str = "Not computable.",
    kind: str = "confidence",
    deciding: bool = True,
) -> Line:
    """A line of evidence without runs and limits: nothing could be computed, and why, or it needs none."""
    return Line(
        rung=rung,
        key=key,
        title=title,
        subject=subject,
        seeds=seeds,
        deciding=deciding,
        outcome=outcome,
        finding=finding,
        failure_probability=0.0,
        assumes="nothing",
        kind=kind,
        runs_released=0,
        runs_reference=0,
        reason=reason,
    )


class Distances(Value):
    """Rung A: noise-free distances to the claim's reference, one per replica, as quantiles 0, .05, .5, .95, 1."""

    unlearned: list[float]
    original: list[float] = Field(description="the do-nothing distance")
    sensitivity_upper: list[float] | None
    slack_largest: float | None = Field(description="largest d/Δ over the replicas")
    achieved_epsilon: float | None = Field(description="largest exact ε of a replica at the claim's δ")
    achieved_mu: float | None
    noop_epsilon: float | None = Field(description="the same for releasing the original with the same noise")
    noop_mu: float | None


class Accuracy(Value):
    """Mean accuracy over replicas."""

    model: str
    forget: float
    retain: float
    holdout: float


class TradeOffCurve(Value):
    """Trade-off of one score: points (α, β) with a simultaneous band around them."""

    label: str
    alpha: list[float] = Field(description="probability of the event under the reference")
    beta: list[float] = Field(description="probability of its complement under the released model")
    band_alpha_lower: list[float]
    band_beta_lower: list[float]
    band_alpha_upper: list[float]
    band_beta_upper: list[float]
    band_failure_probability: float
    score: str


class Histogram(Value):
    """Histogram of one score over runs."""

    label: str
    edges: list[float]
    counts: list[int]
    score: str | None = Field(default=None, description="which score; None: that of the first trade-off curve")


class Quantity(Value):
    """What a method reports of its own run, over replicas: shown, and decides nothing."""

    name: str
    meaning: str
    least: float | None
    median: float | None
    largest: float | None
    noise_scale_required: float | None = Field(
        default=None, description="where it is a bound Δ: σ that the claim needs at the largest value"
    )
    epsilon_implied: float | None = Field(default=None, description="ε that it and the σ used give")


class Identification(Value):
    """Rung D: the game that was played, and how many names were right in each run."""

    sampling: str = Field(description='"coin": every candidate is forgotten by a fair coin; "fixed": so many of them')
    candidates: int
    members: int | None = Field(description='candidates that are forgotten, for sampling = "fixed"')
    guesses: int = Field(description="names given in each run")
    runs: int
    shadows: int = Field(description="runs with a known draw, from which the adversary learned")
    needed: int | None = Field(description="right names that count as a success; None: one run, its own number counts")
    least_refuting: int | None = Field(description="right names that refute the claim where every run reaches them")
    null_tail: list[float] = Field(description="probability of 0, 1, … right names or more, given blindly")
    right: list[int] = Field(description="right names in each run")
    noop_right: list[int] = Field(description="the same where the original is released with the same noise")
    refused: int = Field(description="runs that released the reference: over budget, or nothing was forgotten")
    candidate_ids: list[int]


class WealthCurve(Value):
    """Wealth that was bet against the claim after some of the pairs of runs."""

    label: str
    pairs: list[int]
    log10_wealth: list[float]


class Wealth(Value):
    """A row that may stop once it refutes: how far it went, and how its wealth grew."""

    allowed: int = Field(description="pairs of runs that the plan allows")
    drawn: int
    refuted_after: int | None = Field(description="pairs after which the wealth first refuted the claim")
    log10_needed: float = Field(description="wealth that refutes: one over the failure probability")
    weights: dict[str, float] = Field(description="of the e-processes whose average the wealth is")
    curves: list[WealthCurve]


class Row(Value):
    """One method, one claim, one task; or one pair of files of scores, of which method and task are unknown."""

    name: str
    task: str | None = None
    method: str
    title: str
    citation: str
    parameters: dict[str, Any]
    differs: list[str] = Field(default_factory=list, description="differences from the paper")
    stores: str | None = Field(default=None, description="what the method must keep")
    claim: ClaimFacts
    noise_scale: float | None = None
    calibration: str | None = Field(default=None, description="how σ was fixed, in words")
    certificate: CertificateFacts | None
    lines: list[Line]
    distances: Distances | None
    accuracies: list[Accuracy]
    curves: list[TradeOffCurve]
    histograms: list[Histogram]
    quantities: list[Quantity] = Field(default_factory=list)
    remarks: list[str] = Field(default_factory=list, description="what a reader must know of how the evidence arose")
    identification: Identification | None = Field(default=None, description="the game of rung D")
    wealth: Wealth | None = Field(default=None, description="where the row stops once it refutes")
    attacks: Attacks | None = Field(default=None, description="rung E: what attacks on released models found")
    failure_probability: float
    shares: dict[str, float] = Field(description="how the failure probability is divided over the lines")
    request: RequestFacts | None = Field(default=None, description="where the row searched for its request")
    bound_search: BoundSearch | None = Field(
        default=None, description="where small problems were searched for a breach"
    )
    replicas: dict[str, int] = Field(description="test and selection runs a side")
    verdict: Verdict
    because: str
    expected: Verdict
    as_expected: bool


class Prediction(Value):
    """What a control was predicted to do on one line, made from noise-free weights before any noise was drawn."""

    line: str
    title: str
    predicted: Outcome | None = Field(description="None: no prediction at this number of runs")
    refutation_probability_lower: float | None
    refutation_probability_upper: float | None
    observed: Outcome
    contradicted: bool
    failure_probability: float


class Control(Value):
    """A defect planted on the released side, or the retrained model in its place."""

    row: str = Field(description="the row it was planted in")
    name: str
    title: str
    meaning: str
    exact_epsilon: float | None = Field(description="exact ε of the defect where it has one")
    predictions: list[Prediction]
    verdict: Verdict = Field(description="what the audit would have said of it")
    behaved: bool


class ArrayFile(Value):
    """One array kept beside the record."""

    name: str
    shape: list[int]
    dtype: str
    sha256: str
    meaning: str


class Evidence(Value):
    """The deterministic part of a record."""

    title: str
    source: str = Field(default="plan", description='"plan": models were trained; "files": scores were read')
    plan: dict[str, Any]
    plan_sha256: str
    seed: int
    device: str
    verdict: Verdict
    family: str = Field(description='"row": the failure probability holds for each row; "plan": for all together')
    failure_probability: float
    control_failure_probability: float
    tasks: list[TaskFacts]
    rows: list[Row]
    controls: list[Control]
    arrays: list[ArrayFile]


class Timing(Value):
    """Seconds spent on one thing; `models` is the number of models it produced."""

    what: str
    row: str | None = None
    seconds: float
    models: int | None = None


class TriedAgain(Value):
    """How a counterexample is tried again, seen from the folder where the audit was started."""

    target: str = Field(description="what the method's class is loaded by")
    command: str | None = Field(description="to be run in that folder; None: the method cannot be named in it")


class Circumstances(Value):
    """Everything about the run that may differ when it is repeated."""

    date: str
    host: str
    command: str
    commit: str | None
    versions: dict[str, str]
    device: str
    jobs: int
    seconds: float
    peak_memory_bytes: int
    timings: list[Timing]
    replays: dict[str, TriedAgain] = Field(default_factory=dict, description="by the counterexamples' files")


class Record(Value):
    """One audit."""

    schema_version: int = SCHEMA_VERSION
    evidence_sha256: str
    evidence: Evidence
    circumstances: Circumstances


def canonical(value: BaseModel | dict[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no blanks, no NaN, UTF-8."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def make_record(evidence: Evidence, circumstances: Circumstances) -> Record:
    """Hash the evidence and put both parts together."""
    return Record(evidence_sha256=sha256(canonical(evidence)), evidence=evidence, circumstances=circumstances)


def read_record(path: Path) -> Record:
    """Read and check a record.

    Raises:
        RecordError: the file is missing, not a record of this version, or its evidence does not match its hash.
    """
    try:
        written = path.read_bytes()
        record = Record.model_validate_json(written)
    except OSError as error:
        raise RecordError(f"record must be a readable file, got {path} ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecordError(f"{path} is not an audit record: {where}: {first['msg']}.") from error
    if record.schema_version != SCHEMA_VERSION:
        raise RecordError(f"{path}: schema_version must be {SCHEMA_VERSION}, got {record.schema_version}.")
    found = sha256(canonical(json.loads(written)["evidence"]))  # as written: fields may have been added since
    if found != record.evidence_sha256:
        raise RecordError(
            f"{path}: evidence was changed: its hash is {found}, the record says {record.evidence_sha256}."
        )
    return record
