"""Circumstances of a run, hashes of its arrays, and its exit status: what audits of any kind share. Needs no torch."""

import os
import platform
import resource
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearning.record import ArrayFile, Circumstances, Record, Timing, TriedAgain, sha256
from unlearning.verdict import Verdict

_VERSIONS = ("torch", "numpy", "scipy", "statsmodels", "scikit-learn", "certunlearn")


def array_file(name: str, array: NDArray[np.float64], meaning: str) -> ArrayFile:
    """An array of the record, as it is written beside it."""
    little = np.ascontiguousarray(array, dtype="<f8")
    return ArrayFile(
        name=name, shape=list(array.shape), dtype=little.dtype.str, sha256=sha256(little.tobytes()), meaning=meaning
    )


def circumstances(
    jobs: int,
    started: float,
    timings: list[Timing],
    *,
    accelerator: str | None = None,
    replays: Mapping[str, TriedAgain] | None = None,
) -> Circumstances:
    """Where, when and at what cost a run was made.

    Args:
        jobs: worker processes.
        started: `time.perf_counter()` at its beginning.
        timings: of its parts.
        accelerator: name of the device, where it was not the processor.
        replays: how counterexamples are tried again, by their files.
    """
    shown = accelerator or platform.processor() or platform.machine()
    return Circumstances(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        command=shlex.join(["certunlearn", *sys.argv[1:]]),
        commit=_commit(),
        versions={"python": platform.python_version()} | {name: _version(name) for name in _VERSIONS},
        device=shown,
        jobs=jobs,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=_peak_memory(),
        timings=timings,
        replays=dict(replays or {}),
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
    """Exit status of audits: 4 any ERROR, 1 unexpected, 3 unexpectedly not computable, 0 all as expected."""
    rows = record.evidence.rows
    if any(row.verdict is Verdict.ERROR for row in rows) or any(not c.behaved for c in record.evidence.controls):
        return 4
    unexpected = [row for row in rows if not row.as_expected]
    if any(row.verdict is not Verdict.NOT_COMPUTABLE for row in unexpected):
        return 1
    return 3 if unexpected else 0
