"""Run a built plan and make its record."""

import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from audit.findings import Findings
from audit.row import audit_row
from learning.workers import told
from unlearning.errors import CertunlearnError
from unlearning.record import (
    ArrayFile,
    Circumstances,
    Control,
    Evidence,
    Record,
    Row,
    Timing,
    canonical,
    make_record,
    sha256,
)
from unlearning.verdict import Verdict, worst

from .building import Built, BuiltRow
from .facts import failed_row, row_facts, task_facts
from .plan import Plan

Arrays = dict[str, NDArray[np.float64]]
Progress = Callable[[str, str, int, int], None]  # row, phase, chunks done, chunks in all

_VERSIONS = ("torch", "numpy", "scipy", "statsmodels", "scikit-learn", "certunlearn")


def plan_sha256(plan: Plan) -> str:
    """Hash of what a plan asks for; the seed is the run's, not the plan's."""
    asked = plan.canonical()
    asked.pop("seed")
    return sha256(canonical(asked))


def run_plan(
    built: Built, *, jobs: int, progress: Progress = lambda row, phase, done, total: None
) -> tuple[Record, Arrays]:
    """Audit every row of a plan.

    A row that cannot be run is an ERROR in the record, with its reason; the other rows are audited all the same.

    Returns:
        The record and the arrays it speaks of, by name.
    """
    started = time.perf_counter()
    rows: list[Row] = []
    controls: list[Control] = []
    arrays: Arrays = {}
    files: list[ArrayFile] = []
    timings: list[Timing] = []
    users = Counter(row.spec.task for row in built.rows)
    with tempfile.TemporaryDirectory(prefix="certunlearn-") as folder:
        for row in built.rows:
            began = time.perf_counter()
            name = row.spec.name
            # rows of one task share their plain training
            subject = replace(row.subject, shared=Path(folder) if users[row.spec.task] > 1 else None)
            ran = _run_row(replace(row, subject=subject), jobs, progress)
            if isinstance(ran, str):
                rows.append(failed_row(row, ran))
            else:
                facts, found = ran
                rows.append(facts)
                controls += found.controls
                timings += found.timings
                for array_name, (array, meaning) in found.arrays.items():
                    arrays[f"{name}/{array_name}"] = array
                    files.append(_array_file(f"{name}/{array_name}", array, meaning))
            timings.append(Timing(what="audit", row=name, seconds=time.perf_counter() - began))
    plan = built.plan
    device = built.rows[0].subject.task.device.type
    evidence = Evidence(
        title=plan.title,
        plan=plan.canonical(),
        plan_sha256=plan_sha256(plan),
        seed=plan.seed,
        device=device,
        verdict=worst([row.verdict for row in rows]),
        family=plan.family,
        failure_probability=plan.failure_probability,
        control_failure_probability=plan.control_failure_probability,
        tasks=[task_facts(task, plan.tasks[name], built.requests[name]) for name, task in built.tasks.items()],
        rows=rows,
        controls=controls,
        arrays=files,
    )
    return make_record(evidence, _circumstances(device, jobs, started, timings)), arrays


def _run_row(built: BuiltRow, jobs: int, progress: Progress) -> tuple[Row, Findings] | str:
    name = built.spec.name
    try:
        found = audit_row(
            built.subject,
            built.design,
            chunk=built.chunk,
            jobs=jobs,
            progress=lambda phase, done, total: progress(name, phase, done, total),
        )
        return row_facts(built, found), found
    except CertunlearnError as error:
        return str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a row raises is a finding about the row
        return told(error).splitlines()[0]


def _array_file(name: str, array: NDArray[np.float64], meaning: str) -> ArrayFile:
    little = np.ascontiguousarray(array, dtype="<f8")
    return ArrayFile(
        name=name, shape=list(array.shape), dtype=little.dtype.str, sha256=sha256(little.tobytes()), meaning=meaning
    )


def _circumstances(device: str, jobs: int, started: float, timings: list[Timing]) -> Circumstances:
    shown = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return Circumstances(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        command=" ".join(["certunlearn", *sys.argv[1:]]),
        commit=_commit(),
        versions={"python": platform.python_version()} | {name: _version(name) for name in _VERSIONS},
        device=shown,
        jobs=jobs,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=_peak_memory(),
        timings=timings,
    )


def _peak_memory() -> int:
    """Sum of the peaks of this process and its live workers, in bytes; where that is unknown, of the largest one."""
    status = Path("/proc/self/task")
    if status.is_dir():
        children = [pid for task in status.iterdir() for pid in (task / "children").read_text().split()]
        return sum(_high_water(pid) for pid in ["self", *children])
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak * (1 if sys.platform == "darwin" else 1024)


def _high_water(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """Commit of this code, where it runs from a checkout, or was installed from the one in the current folder."""
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():
        copy = Path.cwd() / "certunlearn" / Path(__file__).name
        if not (Path.cwd() / ".git").exists() or not copy.is_file() or copy.read_bytes() != Path(__file__).read_bytes():
            return None
        here = Path.cwd()
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def exit_status(record: Record) -> int:
    """Exit status of `audit`: 4 any ERROR, 1 unexpected, 3 unexpectedly not computable, 0 all as expected."""
    rows = record.evidence.rows
    if any(row.verdict is Verdict.ERROR for row in rows) or any(not c.behaved for c in record.evidence.controls):
        return 4
    unexpected = [row for row in rows if not row.as_expected]
    if any(row.verdict is not Verdict.NOT_COMPUTABLE for row in unexpected):
        return 1
    return 3 if unexpected else 0
