"""A counterexample: the problem on which a method breaks a law, in one JSON file that is tried again alone.

The file holds the problem's fields, which rebuild it, and beside them its data in full, for a reader without this code.
"""

import hashlib
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from unlearning.errors import PlanError, RecordError
from unlearning.protocols import AnyMethod, BringsOwnLoss

from .base import LawBroken, raised
from .law import Law, Precision
from .laws import LAWS
from .problems import Problem

FORMAT = "certunlearn counterexample"
FORMAT_VERSION = 1

_VERSIONS = ("torch", "numpy", "hypothesis", "certunlearn")
_SAME = 1e-9  # relative difference of data that two versions of NumPy may build from one seed
_MOST_ROWS, _MOST_COLUMNS, _MOST_REPLICAS = 10_000, 1_000, 1_000  # of a file that somebody sent
_NAME = 40  # characters of a name in a file name


class Outcome(StrEnum):
    """What came of trying a law on a counterexample's problem again."""

    BROKEN = "still broken"
    RAISES = "raises now"
    OTHERWISE = "broken in another way now"
    NOT_BROKEN = "no longer broken"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Replay:
    """A counterexample, tried again.

    Attributes:
        outcome: whether the law is still broken on this problem. It says nothing about any other problem.
        finding: what was found, or why the law was not tried.
        measured: the numbers of a breach, or how much of what the law allows was used.
    """

    outcome: Outcome
    finding: str
    measured: dict[str, float]


@dataclass(frozen=True, slots=True)
class Data:
    """What a problem's fields build: enough to follow it by hand.

    Attributes:
        features: n rows of d numbers.
        labels: n numbers; classes from 0 on.
        requests: for each replica the numbers of the records that it forgets, from 0 on.
        recipe: how the model is learned, in words; of a method that brings its own loss, by what.
    """

    features: tuple[tuple[float, ...], ...]
    labels: tuple[int | float, ...]
    requests: tuple[tuple[int, ...], ...]
    recipe: str

    @classmethod
    def of(cls, problem: Problem) -> "Data":
        """Data of a problem."""
        task = problem.task()
        return cls(
            features=tuple(map(tuple, task.dataset.features.tolist())),
            labels=tuple(task.dataset.labels.tolist()),
            requests=tuple(tuple(row.nonzero().flatten().tolist()) for row in problem.request()),
            recipe=str(task.recipe),
        )

    def differs(self, other: "Data") -> str | None:
        """First thing in which the data differ by more than rounding, in words."""
        if self.requests != other.requests:
            return "requests"
        pairs = {
            "features": (sum(self.features, ()), sum(other.features, ())),
            "labels": (self.labels, other.labels),
        }
        for name, (mine, theirs) in pairs.items():
            if len(mine) != len(theirs) or not all(map(_same, mine, theirs)):
                return name
        return None


@dataclass(frozen=True, slots=True)
class Tried:
    """The method that broke a law.

    Attributes:
        target: name of a registered method, package.module:Class or path.py:Class.
        parameters: its arguments by name.
        unwritable: of the arguments, those that no file can hold; with any the method cannot be built from the file.
        title: of its declaration.
    """

    target: str
    parameters: dict[str, Any]
    unwritable: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A problem that breaks a law, and all that is needed to try it again.

    Attributes:
        law: its name.
        statement: what the law says.
        source: where the law comes from.
        method: what broke it.
        problem: the fields that rebuild the problem.
        data: what they built.
        finding: what was found, in one or two sentences.
        measured: the numbers of the finding by name.
        device: where it was found.
        precision: of the search that found it; the problem says which precision it has itself.
        versions: of Python and the packages that the numbers depend on.
        own_loss: the method brings its own loss: the model and λ of the problem were offered to it, and not learned.
        format: always the same words.
        format_version: raised when an older reader would misread the file.
    """

    law: str
    statement: str
    source: str
    method: Tried
    problem: Problem
    data: Data
    finding: str
    measured: dict[str, float]
    device: str
    precision: Precision
    versions: dict[str, str]
    own_loss: bool = False
    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    @classmethod
    def from_broken(
        cls,
        broken: LawBroken,
        *,
        target: str,
        parameters: Mapping[str, Any],
        method: AnyMethod,
        device: str,
        precision: Precision,
    ) -> "Counterexample":
        """Keep what a law found.

        Args:
            broken: raised by a law of `LAWS`.
            target: what the method's class is loaded by.
            parameters: arguments of the class; those that are no plain values are named only.
            method: the method, for its title and for what it learns.
            device: where it was found.
            precision: of the search.
        """
        law = LAWS[broken.law]
        plain = {name: value for name, value in parameters.items() if _is_plain(value)}
        tried = Tried(target, plain, tuple(sorted(parameters.keys() - plain.keys())), method.declaration.title)
        data, own_loss = Data.of(broken.problem), isinstance(method, BringsOwnLoss)
        if own_loss:
            data = replace(data, recipe=f"by {type(getattr(method, 'one', method)).__name__}.learn")
        return cls(
            law=law.name,
            statement=law.statement,
            source=law.source,
            method=tried,
            problem=broken.problem,
            data=data,
            finding=broken.finding,
            measured={name: float(value) for name, value in broken.measured.items()},
            device=device,
            precision=precision,
            versions={"python": platform.python_version()} | {name: _version(name) for name in _VERSIONS},
            own_loss=own_loss,
        )

    @property
    def file_name(self) -> str:
        """law-method-hash.json: the same for one problem, whatever versions found it and whatever they measured."""
        asked = {"problem": asdict(self.problem), "method": asdict(self.method), "law": self.law, "device": self.device}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
        method = self.method.target.rpartition(":")[2]
        return f"{_plain_name(self.law)}-{_plain_name(method)}-{digest}.json"

    def write(self, folder: Path, name: str | None = None) -> Path:
        """Write the file, which appears whole or not at all; one of that name is replaced.

        Args:
            folder: made where there is none.
            name: of the file; `file_name` without it.

        Raises:
            PlanError: the folder is a file.
        """
        if folder.exists() and not folder.is_dir():
            raise PlanError(f"folder of counterexamples must be a folder, got the file {folder}. Name another.")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (name or self.file_name)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as drafts:
            draft = Path(drafts) / path.name  # in a folder of its own: with the mode that any new file has
            with draft.open("w", encoding="utf-8") as file:
                file.write(json.dumps(json.loads(_FILES.dump_json(self)), ensure_ascii=False, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        return path

    def replay(self, method: AnyMethod, *, device: str = "cpu") -> Replay:
        """Try the law on the problem again, alone.

        Args:
            method: the method of the file, or a mended one.
            device: where.
        """
        law = LAWS[self.law]
        differing = self.data.differs(Data.of(self.problem))
        if differing is not None:
            reason = f"the {differing} in the file are not those that this version builds from the problem's fields"
            return Replay(Outcome.NOT_TRIED, f"{reason}, and the file's are what broke the law", {})
        return _again(law, method, self, device)


def read_counterexample(path: Path) -> Counterexample:
    """Read and check a file.

    Raises:
        RecordError: no readable file, or it holds no counterexample of this version, or one of no known law.
    """
    try:
        written = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"counterexample must be a readable file, got {path} ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} must be a JSON file, got one that is damaged: {error}. Find it again.") from error
    if not isinstance(written, dict) or written.get("format") != FORMAT:
        raise RecordError(f"{path} must be a counterexample of `certunlearn check`, got another file. Name one.")
    if written.get("format_version") != FORMAT_VERSION:
        raise RecordError(
            f"{path}: format_version must be {FORMAT_VERSION}, got {written.get('format_version')}. Use the version of "
            "certunlearn that wrote it."
        )
    try:
        found = _FILES.validate_python(written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}: {where} cannot be used: {first['msg']}. Find the counterexample again.") from error
    wrong = _inconsistent(found)
    if wrong is not None:
        raise RecordError(f"{path}: {wrong}. Find the counterexample again.")
    return found


_FILES = TypeAdapter(Counterexample)


def _again(law: Law, method: AnyMethod, found: Counterexample, device: str) -> Replay:
    try:
        silent = law.reason(method)
        if silent is not None:
            return Replay(Outcome.NOT_TRIED, f"the law does not apply: {silent}", {})
        ratio = law.on(method, found.problem, device=device)
    except LawBroken as broken:
        return Replay(_as_before(found, broken), broken.finding, broken.measured)
    except PlanError as error:
        return Replay(Outcome.NOT_TRIED, f"the method refuses the problem: {error}", {})
    if ratio is None:
        return Replay(Outcome.NOT_TRIED, "the law says nothing about this method on this problem", {})
    if law.measures is None:
        return Replay(Outcome.NOT_BROKEN, "the law holds on it", {})
    finding = f"{law.measures} is {ratio:.4g}, at most 1 is allowed"
    return Replay(Outcome.NOT_BROKEN, finding, {law.measures: float(ratio)})


def _as_before(found: Counterexample, broken: LawBroken) -> Outcome:
    """Whether a breach is of the kind that the file tells: a method that raises is no distance above its Δ."""
    told_error = " raised " in f" {found.finding}" and not found.measured
    if raised(broken):
        return Outcome.BROKEN if told_error else Outcome.RAISES
    other = told_error or (broken.__cause__ is not None and bool(found.measured))
    return Outcome.OTHERWISE if other else Outcome.BROKEN


def _inconsistent(found: Counterexample) -> str | None:
    """What a file says that cannot be: it may have been edited, or come from anyone."""
    problem, data = found.problem, found.data
    if found.law not in LAWS:
        return f"law must be one of {', '.join(LAWS)}, got {found.law!r}"
    shape, most = (problem.rows, problem.columns, problem.replicas), (_MOST_ROWS, _MOST_COLUMNS, _MOST_REPLICAS)
    if not all(1 <= size <= limit for size, limit in zip(shape, most, strict=True)):
        return f"problem must have a size that is tried in a moment, got rows, columns and replicas {shape}"
    if not 1 <= problem.request_size < problem.rows:
        return f"problem.request_size must be in [1, {problem.rows - 1}], got {problem.request_size}"
    if not (0 < problem.regularisation < math.inf and 0 < problem.norm < math.inf and problem.seed >= 0):
        return "problem must have a finite regularisation and norm above 0 and a seed of at least 0, got other ones"
    if (len(data.features), len(data.labels), len(data.requests)) != (problem.rows, problem.rows, problem.replicas):
        return "data must have the numbers of records and replicas that problem says, got others"
    if any(len(row) != problem.columns for row in data.features):
        return f"data.features must have {problem.columns} numbers a record, got another number"
    if any(not 0 <= record < problem.rows for row in data.requests for record in row):
        return f"data.requests must name records from 0 to {problem.rows - 1}, got others"
    return None


def _same(mine: float, theirs: float) -> bool:
    return math.isclose(mine, theirs, rel_tol=_SAME, abs_tol=1e-300) or (math.isnan(mine) and math.isnan(theirs))


def _is_plain(value: object) -> bool:
    """Whether a file holds the value as it is."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def _plain_name(name: str) -> str:
    """A name that is safe in a file name on every system."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:_NAME] or "unnamed"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
