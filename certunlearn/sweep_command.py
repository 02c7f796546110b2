"""`certunlearn sweep`: how strong attacks are at less and at more noise than a plan's rows have, and what it costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from audit.attack_names import SWEPT
from unlearning.errors import PlanError
from unlearning.rounding import text_upper

from .summary import wide_console

if TYPE_CHECKING:
    from unlearning.record import Record
    from unlearning.record_attacks import Interval, SweepPoint

    from .plan import Plan, RowSpec

GRID = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # noise scales over the row's own
_KINDS = ("unlearned", "retrained", "original")
_CAPTION = "AUC and accuracy are means over runs: unlearned / retrained / doing nothing. Intervals are in the report."


def sweep(
    plan: Annotated[Path, typer.Argument(help="Audit plan, a TOML file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for record, arrays and reports.")],
    row: Annotated[list[str] | None, typer.Option("--row", help="Row of the plan, by name; default: all.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the run, in place of the plan's.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Worker processes; 0: one per core.")] = 0,
    data: Annotated[
        Path | None, typer.Option("--data", envvar="CERTUNLEARN_DATA", help="Folder of the files that plans name.")
    ] = None,
    define: Annotated[
        list[str] | None,
        typer.Option("--define", help="NAME=path.py:Object or NAME=package.module:Object: your own code."),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run code that the plan names. Read it first.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace another plan's record.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
) -> None:
    """Attack the rows of a plan at several noise scales: what calibrated noise buys, and what it costs in accuracy.

    Every row has rung E alone, with its own attacks where the plan names some, at 0, 0.1, 0.3, 1, 3 and 10 times its
    noise where the plan names no sweep. Writes record and reports as `audit` does; nothing is expected of a row.

    Exit status: 0 whatever was found, 4 a row could not be run, 2 wrong usage or input.

    Raises:
        Exit: always, with the exit status.
    """
    from unlearning.verdict import Verdict

    from .auditing import audit_to, built_plan

    built = built_plan(
        plan, device, seed, None, data, define, trust, change=lambda read: sweep_plan(read, tuple(row or ()))
    )
    record = audit_to(built, out, jobs=jobs, fresh=fresh, quiet=quiet, show=_show)
    failed = [one for one in record.evidence.rows if one.verdict is Verdict.ERROR]
    for one in failed:
        typer.echo(f"{one.name}: {one.because}", err=True)
    raise typer.Exit(4 if failed else 0)


def sweep_plan(plan: "Plan", names: tuple[str, ...] = ()) -> "Plan":
    """The same plan with rung E alone in every row, a sweep, and no verdict that it expects.

    Args:
        plan: as read.
        names: rows to keep; all without them.

    Raises:
        PlanError: no row of that name.
    """
    from .plan.messages import closest

    known = [row.name for row in plan.rows]
    for name in names:
        if name not in known:
            raise PlanError(f"--row must be the name of a row of the plan, got {name!r}; {closest(name, known)}.")
    rows = tuple(_swept(row) for row in plan.rows if not names or row.name in names)
    return plan.model_copy(update={"title": f"Sweep: {plan.title}", "rows": rows})


def _swept(row: "RowSpec") -> "RowSpec":
    from .plan import AttacksSpec

    asked = row.attacks or AttacksSpec(names=SWEPT, measures=False)
    attacks = asked.model_copy(
        update={"sweep": asked.sweep or GRID, "names": tuple(dict.fromkeys((*asked.names, *SWEPT)))}
    )
    alone = {"rungs": ("E",), "scores": (), "until": None, "identification": None, "attacks": attacks, "expect": None}
    return row.model_copy(update=alone)


def _show(record: "Record", written: list[Path]) -> None:
    """Print what was found at every noise scale, and where the files are."""
    table = Table(title=record.evidence.title, title_justify="left", caption=_CAPTION, caption_justify="left")
    table.add_column("row")
    for name in ("runs", "× σ", "σ", "ε"):
        table.add_column(name, justify="right")
    for name in (*(f"AUC, {key}" for key in SWEPT), "holdout accuracy"):
        table.add_column(name, no_wrap=True)
    for row in record.evidence.rows:
        for place, point in enumerate(row.attacks.sweep if row.attacks else ()):
            first = (row.name, str(row.attacks.targets)) if row.attacks and place == 0 else ("", "")
            table.add_row(*first, *_cells(point))
    console = wide_console()
    console.print(table)
    for path in written:
        console.print(str(path), highlight=False)


def _cells(point: "SweepPoint") -> tuple[str, ...]:
    """Noise, ε, and by kind of model the AUCs and the accuracy."""
    none = "∞" if point.noise_factor == 0 else "–"
    epsilon = none if point.epsilon is None else text_upper(point.epsilon)
    scale = f"{point.noise_factor:g}", f"{point.noise_scale:.3g}", epsilon
    return *scale, *(_means(point.aucs.get(key, {})) for key in SWEPT), _means(point.holdout)


def _means(found: "dict[str, Interval]") -> str:
    return " / ".join(f"{found[kind].mean:.3f}" if kind in found else "–" for kind in _KINDS)
