"""`certunlearn scores`: audits scores that were computed elsewhere. Needs no torch."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unlearning.verdict import Verdict


class Direction(StrEnum):
    """Which inequalities are claimed."""

    BOTH = "both"
    RELEASED = "released"
    REFERENCE = "reference"


class Orientation(StrEnum):
    """Which side large scores speak for, where no selection runs tell."""

    RELEASED = "released"
    REFERENCE = "reference"
    UNKNOWN = "unknown"


def scores(
    released: Annotated[str, typer.Option("--released", help="Scores of released models: FILE or FILE:COLUMN.")],
    reference: Annotated[str, typer.Option("--reference", help="Scores of reference models, one per run.")],
    delta: Annotated[float, typer.Option("--delta", help="δ of the claim.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for record, arrays and reports.")] = Path("out/scores"),
    epsilon: Annotated[float | None, typer.Option("--epsilon", help="Claimed ε, for an (ε, δ) claim.")] = None,
    mu: Annotated[float | None, typer.Option("--mu", help="Claimed μ, for a Gaussian claim.")] = None,
    directions: Annotated[Direction, typer.Option("--directions", help="Inequalities claimed.")] = Direction.BOTH,
    bound: Annotated[
        list[str] | None,
        typer.Option("--bound", help="Bound that decides; may be repeated. Default: joint, at an event of the pilot."),
    ] = None,
    selection_released: Annotated[
        str | None, typer.Option("--selection-released", help="Scores of further released models, to choose the event.")
    ] = None,
    selection_reference: Annotated[
        str | None, typer.Option("--selection-reference", help="Scores of further reference models.")
    ] = None,
    pilot: Annotated[
        float, typer.Option("--pilot", help="Share of the runs that choose the event, where no files do.")
    ] = 0.2,
    failure_probability: Annotated[
        float, typer.Option("--failure-probability", help="Of refuting a true claim, all bounds together.")
    ] = 0.05,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the division into pilot and test runs.")] = 0,
    orientation: Annotated[
        Orientation, typer.Option("--orientation", help="Side that large scores speak for; for bounds without pilot.")
    ] = Orientation.UNKNOWN,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Files hold the runs as they were drawn, unsorted; for the e-process.")
    ] = False,
    column: Annotated[
        str | None, typer.Option("--column", help="Column or array of the scores, in every file.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Column that names the run; scores of one run are averaged.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Column that names the run; a run that comes twice is an error.")
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Title of the report.")] = "Audit of scores from files",
    expect: Annotated[Verdict, typer.Option("--expect", help="Expected verdict.")] = Verdict.NOT_REFUTED,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace another record.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table.")] = False,
) -> None:
    """Audit scores from files: one score per run; the same record and report as an audit.

    Exit status: 0 as expected, 1 an unexpected verdict, 3 unexpectedly not computable, 2 wrong usage or input.

    Raises:
        Exit: always, with the exit status.
    """
    from .circumstances import exit_status
    from .output import check_output, write_output
    from .score_audit import audit_scores, read_runs
    from .score_plan import ScorePlan
    from .summary import explain, summary

    plan = ScorePlan(
        released=released,
        reference=reference,
        epsilon=epsilon,
        mu=mu,
        delta=delta,
        directions=directions.value,
        bounds=tuple(bound or ()),
        selection_released=selection_released,
        selection_reference=selection_reference,
        pilot=pilot,
        failure_probability=failure_probability,
        seed=seed,
        orientation=orientation.value,
        in_order=in_order,
        column=column,
        cluster=cluster,
        run=run,
        title=title,
        expect=expect,
    )
    runs = read_runs(plan)
    asked = plan.sha256(runs.files)
    check_output(out, asked, fresh=fresh)
    record, arrays = audit_scores(plan, runs)
    written = write_output(out, record, arrays)
    if not quiet:
        summary(record, written)
    explain(record)
    raise typer.Exit(exit_status(record))
