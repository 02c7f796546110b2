"""From a built plan to the files of its record: what the commands `audit` and `sweep` share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .interruption import Interruption
from .summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from unlearning.record import Record

    from .building import Built
    from .plan import Plan


def audit_to(
    built: "Built",
    out: Path,
    *,
    jobs: int,
    fresh: bool,
    quiet: bool,
    show: "Callable[[Record, list[Path]], None]" = summary,
) -> "Record":
    """Run a plan; write record.json, its arrays, report.html and report.pdf.

    Args:
        built: the plan.
        out: folder of the files.
        jobs: worker processes; 0: one per core.
        fresh: whether another plan's record may be replaced.
        quiet: no progress, no table.
        show: what is printed of the record and the files.

    Raises:
        PlanError: the folder cannot be written, or holds another plan's record.
    """
    from .output import check_output, write_output
    from .progress import Bars
    from .running import plan_sha256, run_plan

    check_output(out, plan_sha256(built.plan), fresh=fresh)
    workers = jobs or cores()
    if built.rows[0].subject.task.device.type == "cuda":
        workers = 1
    with Bars([row.spec.name for row in built.rows], quiet=quiet) as bars:

        def progress(row: str, phase: str, done: int, total: int) -> None:
            Interruption.check()
            bars.advance(row, phase, done, total)

        record, arrays = run_plan(built, jobs=workers, out=out, progress=progress)
        Interruption.check()
        bars.say("writing the reports")
        check_output(out, plan_sha256(built.plan), fresh=fresh)  # another run may have been here meanwhile
        written = write_output(out, record, arrays)
    if not quiet:
        show(record, written)
    return record


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def built_plan(
    path: Path,
    device: str,
    seed: int | None,
    replicas: int | None,
    data: Path | None,
    define: list[str] | None,
    trust: bool,
    *,
    change: "Callable[[Plan], Plan]" = lambda plan: plan,
) -> "Built":
    """Read a plan and load everything it names.

    Args:
        path: a TOML file.
        device: auto, cpu or cuda.
        seed: in place of the plan's.
        replicas: test and selection runs of every row, in place of the plan's.
        data: folder of the files that plans name.
        define: NAME=TARGET, the user's own code.
        trust: whether code that the plan names may be run.
        change: what a command makes of the plan before anything is loaded.

    Raises:
        PlanError: it is no plan, or does not fit its data or code.
        NotTrusted: the plan names code and nobody trusts it.
    """
    from .loader import parse_definitions
    from .plan import read_plan

    defined = parse_definitions(define or [])
    plan = read_plan(path, defined=defined)
    if seed is not None:
        plan = plan.with_seed(seed)
    if replicas is not None:
        plan = plan.with_replicas(replicas)
    plan = change(plan)
    from .building import build
    from .devices import chosen_device

    return build(plan, device=chosen_device(device), data=data, trust=trust, defined=defined)
