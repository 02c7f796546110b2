"""`certunlearn check`: holds methods to the laws, and shows every breach as a problem that a person can follow."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearning.errors import PlanError

from .interruption import Interruption

if TYPE_CHECKING:
    from properties.parametrize import Check

    from .checking import Finding
    from .targets import Target

FOOTER = (
    "A search finds breaches and proves nothing: a law that is not broken was not broken on the problems tried. "
    "Judged: problems about which the law could say something; refused: problems that the method refused. "
    "Tightest: the largest share that was used of what the law allows."
)

_COLUMNS = "tried", "judged", "refused", "tightest", "seconds"


class Precision(StrEnum):
    """Precision of the problems."""

    DOUBLE = "float64"
    SINGLE = "float32"
    BOTH = "both"


def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET",
            help="Methods: a registered name, package.module:Class or path/to/mine.py:Class, parameters in brackets: "
            "newton\\[bound=published].",
        ),
    ],
    law: Annotated[list[str] | None, typer.Option("--law", help="Only this law; may be repeated.")] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="Problems a law: dev 30, ci 100 (the same every time), nightly 2000.")
    ] = "dev",
    precision: Annotated[Precision, typer.Option("--precision", help="Precision of the problems.")] = Precision.DOUBLE,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path, typer.Option("--out", help="Folder for counterexamples; made when there is one.")] = Path(
        "out/counterexamples"
    ),
) -> None:
    """Hold methods to the laws: search for a problem that breaks one, and save the smallest one found.

    Exit status: 0 no law broken, 1 a law broken, 3 no law says anything, 4 a law could not be tried, 2 wrong usage.

    Raises:
        Exit: always, with the exit status.
        PlanError: an option, a target or its declaration cannot be used.
        KeyboardInterrupt: after what was found until then has been shown.
    """
    from .loader import check_packages

    check_packages()
    from .checking import check_method, exit_status, searching_as
    from .devices import chosen_device
    from .progress import Steps
    from .targets import load_targets

    checks = _checks(law or [], profile, precision)
    where = chosen_device(device).type
    nearest = next(folder for folder in (out, *out.parents) if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise PlanError(f"--out must be a folder that can be written, got {out}. Name another.")
    methods = load_targets(targets, where="TARGET")
    for target in methods:
        _check_exemptions(target)
    found: list[tuple[Target, list[Finding]]] = []
    try:
        with Steps(len(methods) * len(checks)) as steps, searching_as(profile):

            def before(name: str) -> None:
                Interruption.check()
                steps.next(name)

            for target in methods:
                found.append((target, []))
                for finding in check_method(target, checks, device=where, before=before, folder=out):
                    found[-1][1].append(finding)
            Interruption.check()
    except KeyboardInterrupt:
        _keep(found, len(methods) * len(checks), out)
        _print(found, f"{where}, profile {profile}")
        raise
    _print(found, f"{where}, profile {profile}")
    raise typer.Exit(exit_status([finding for _, findings in found for finding in findings]))


def _keep(found: "Sequence[tuple[Target, Sequence[Finding]]]", total: int, out: Path) -> None:
    """Say what an interruption leaves."""
    findings = [finding for _, own in found for finding in own]
    files = {finding.file for finding in findings if finding.file is not None}
    if findings:
        counterexamples = f"{len(files)} counterexample{'' if len(files) == 1 else 's'}"
        Interruption.kept = f"{len(findings)} of {total} laws were tried, " + (
            f"{counterexamples} kept in {out}" if files else "nothing was written"
        )


def _print(found: "Sequence[tuple[Target, Sequence[Finding]]]", circumstances: str) -> None:
    """The breaches, then a table for each method of which something is known."""
    from .summary import WIDTH, wide_console

    console = wide_console(WIDTH)
    for _, findings in found:
        _breaches(console, findings)
    shown = [(target, findings) for target, findings in found if findings]
    for target, findings in shown:
        _show(console, f"{target.name} · {target.method.declaration.title} · {circumstances}", findings)
    if shown:
        console.print(f"\n{FOOTER}", style="dim", highlight=False, soft_wrap=False)


def _checks(laws: Sequence[str], profile: str, precision: Precision) -> "list[Check]":
    """The checks asked for.

    Raises:
        PlanError: no such law or profile.
    """
    from properties.parametrize import checks
    from properties.profiles import PROFILES

    if profile not in PROFILES:
        raise PlanError(f"--profile must be one of {', '.join(PROFILES)}, got {profile!r}.")
    try:
        found = list(checks(laws or None, precision=precision.value))
    except ValueError as error:
        raise PlanError(f"--law: {error}") from error
    if not found:
        raise PlanError(f"--law must name a law that is tried in {precision.value}, got {', '.join(laws)}.")
    return found


def _check_exemptions(target: "Target") -> None:
    from properties import LAWS

    for law, reason in target.method.declaration.exempt.items():
        if law not in LAWS or not reason.strip():
            raise PlanError(
                f"declaration.exempt of {target.name} must map laws ({', '.join(LAWS)}) to reasons, got "
                f"{law!r}: {reason!r}. Correct the declaration."
            )


def _show(console: Console, title: str, findings: "Sequence[Finding]") -> None:
    """Table of the laws, and why some were not tried."""
    from properties.explanation import printable

    from .checking import Outcome

    table = Table(box=None, pad_edge=False)
    table.add_column("law")
    table.add_column("outcome")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    styles = {
        Outcome.BROKEN: "bold red",
        Outcome.RAISED: "bold red",
        Outcome.ERROR: "bold yellow",
        Outcome.NOT_BROKEN: "",
    }
    for finding in findings:
        outcome = Text(finding.outcome.value, style=styles.get(finding.outcome, "dim"))
        table.add_row(finding.check, outcome, *_numbers(finding))
    console.print()
    console.print(Text(printable(" ".join(title.split("\n"))), style="bold"))
    console.print(table, soft_wrap=False)
    _reasons(console, findings)
    _remarks(console, findings)


def _numbers(finding: "Finding") -> tuple[str, ...]:
    """The numbers of a row, in the order of its columns."""
    result, seconds = finding.result, "" if finding.seconds is None else f"{finding.seconds:.1f}"
    if result is None:
        return "", "", "", "", seconds
    counts = (str(count) for count in (result.problems, result.judged, result.refused))
    return *counts, "" if result.tightest is None else f"{result.tightest:.3f}", seconds


def _reasons(console: Console, findings: "Sequence[Finding]") -> None:
    """Why laws were not tried: each reason once, behind the laws that it concerns."""
    from properties.explanation import printable

    told: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        if finding.reason:
            told.setdefault((finding.outcome.value, finding.reason), []).append(finding.check)
    if told:
        table = Table(box=None, pad_edge=False, show_header=False)
        for (outcome, reason), laws in told.items():
            table.add_row(Text(f"{outcome}:"), Text(", ".join(laws)), Text(printable(reason)), style="dim")
        console.print()
        console.print(table, soft_wrap=False)


def _breaches(console: Console, findings: "Sequence[Finding]") -> None:
    """Each breach, and a mistake that breaks many laws in one way once."""
    told: dict[str, list[Finding]] = {}
    for number, finding in enumerate(findings):
        if finding.counterexample is not None:
            told.setdefault(finding.mistake or str(number), []).append(finding)
    for first, *others in told.values():
        _breach(console, first, [finding.check for finding in others])


def _remarks(console: Console, findings: "Sequence[Finding]") -> None:
    """Why laws were not judged on all problems: each reason once, before the laws that it concerns."""
    from properties.explanation import printable

    told: dict[str, list[str]] = {}
    for finding in findings:
        for remark in finding.result.remarks if finding.result is not None else ():
            told.setdefault(remark, []).append(finding.check)
    if told:
        console.print()
    for remark, laws in told.items():
        console.print(Text(f"{printable(remark)} ({', '.join(laws)})", style="dim"), soft_wrap=False)


def _breach(console: Console, finding: "Finding", others: Sequence[str]) -> None:
    """The problem as a person can follow it, its file, the command that tries it again, and who else broke so."""
    from properties.explanation import explain, replay_command

    found, path = finding.counterexample, finding.file
    if found is None or path is None:
        return
    console.print()
    console.print(Text(explain(found, width=console.width)))
    console.print(Text(f"\n  file      {path}\n  again     {replay_command(found, path)}"))
    if others:
        console.print(Text(f"  also      the same in {', '.join(others)}, a file each"))
