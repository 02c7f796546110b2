"""Run a built plan and make its record."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from audit.findings import Findings
from audit.row import audit_row
from audit.worst_request import Searched, search_request
from learning.workers import told
from unlearning.errors import CertunlearnError
from unlearning.record import (
    ArrayFile,
    BoundSearch,
    Control,
    Evidence,
    Record,
    Row,
    Timing,
    canonical,
    make_record,
    sha256,
)
from unlearning.verdict import worst

from .bound_search import replays, search_bounds, with_search
from .building import Built, BuiltRow
from .circumstances import array_file, circumstances
from .facts import failed_row, row_facts, task_facts
from .output import COUNTEREXAMPLES
from .plan import Plan

Arrays = dict[str, NDArray[np.float64]]
Progress = Callable[[str, str, int, int], None]  # row ("": before the rows), phase, chunks done, chunks in all


def plan_sha256(plan: Plan) -> str:
    """Hash of what a plan asks for; the seed is the run's, not the plan's."""
    asked = plan.canonical()
    asked.pop("seed")
    return sha256(canonical(asked))


def run_plan(
    built: Built, *, jobs: int, out: Path | None = None, progress: Progress = lambda row, phase, done, total: None
) -> tuple[Record, Arrays]:
    """Audit every row of a plan.

    A row that cannot be run is an ERROR in the record, with its reason; the other rows are audited all the same.

    Args:
        built: the plan.
        jobs: local worker processes; it changes nothing that is found.
        out: folder that the record will be written to, for the commands in it.
        progress: told of every chunk.

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
    bounds = _searched(built, jobs, progress)
    if bounds:
        timings.append(Timing(what="search for a broken bound", seconds=time.perf_counter() - started))
    with tempfile.TemporaryDirectory(prefix="certunlearn-") as folder:
        for row in built.rows:
            began = time.perf_counter()
            name = row.spec.name
            # rows of one task share their plain training
            subject = replace(row.subject, shared=Path(folder) if users[row.spec.task] > 1 else None)
            ran = _run_row(replace(row, subject=subject), jobs, progress, bounds.get(name))
            if isinstance(ran, str):
                rows.append(failed_row(row, ran))
            else:
                facts, found = ran
                rows.append(facts)
                controls += found.controls
                timings += found.timings
                for array_name, (array, meaning) in found.arrays.items():
                    arrays[f"{name}/{array_name}"] = array
                    files.append(array_file(f"{name}/{array_name}", array, meaning))
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
    accelerator = torch.cuda.get_device_name() if device == "cuda" else None
    ran_as = circumstances(
        jobs,
        started,
        timings,
        accelerator=accelerator,
        replays=replays(rows, built.targets, None if out is None else out / COUNTEREXAMPLES),
    )
    return make_record(evidence, ran_as), arrays


def _with_request(
    built: BuiltRow, jobs: int, progress: Callable[[str, int, int], None]
) -> tuple[BuiltRow, Searched | None, list[Timing]]:
    """The row with the request that its search found, where the plan asks for one."""
    if built.search is None:
        return built, None, []
    began = time.perf_counter()
    budget = built.design.sensitivity_budget
    searched = search_request(built.subject, built.search, budget, chunk=built.chunk, jobs=jobs, progress=progress)
    seconds = time.perf_counter() - began
    subject = replace(built.subject, request_ids=searched.chosen.ids, chosen=searched.chosen)
    timing = Timing(what="search", row=built.spec.name, seconds=seconds, models=searched.models)
    return replace(built, subject=subject), searched, [timing]


def _searched(built: Built, jobs: int, progress: Progress) -> dict[str, BoundSearch]:
    """What small problems show of the methods' bounds, by row."""

    def told(done: int, total: int) -> None:
        progress("", "searching small problems", done, total)  # before the rows

    return search_bounds(built, jobs=jobs, told=told)


def _run_row(built: BuiltRow, jobs: int, progress: Progress, bound: BoundSearch | None) -> tuple[Row, Findings] | str:
    name = built.spec.name

    def told_row(phase: str, done: int, total: int) -> None:
        progress(name, phase, done, total)

    try:
        built, searched, timings = _with_request(built, jobs, told_row)
        found = audit_row(
            built.subject,
            built.design,
            chunk=built.chunk,
            jobs=jobs,
            largest_chunk=built.largest_chunk,
            progress=told_row,
        )
        if bound is not None:
            found = with_search(found, built, bound)
        return row_facts(built, found, searched, bound), replace(found, timings=timings + found.timings)
    except CertunlearnError as error:
        return str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a row raises is a finding about the row
        return told(error).splitlines()[0]
