"""What the commands print of a record. Needs no torch."""

import io
import re
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from unlearning.record import Evidence, Record, Row


def explain(record: "Record") -> None:
    """One line on stderr for every row that is not as expected, also when quiet."""
    for row in record.evidence.rows:
        if not row.as_expected:
            where = f"{row.name}: {row.verdict.value}, expected {row.expected.value}"
            typer.echo(f"{where}. {row.because}", err=True)


WIDTH = 120  # of what `check` and `replay` print to no terminal


class _Trimmed(io.TextIOBase):
    """Standard output without blanks at the ends of lines, which tables leave."""

    def write(self, text: str, /) -> int:
        return sys.stdout.write(re.sub(r" +$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        sys.stdout.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return sys.stdout.encoding


def wide_console(width: int = 160) -> Console:
    """Standard output; of this width where it is no terminal, so that a log keeps whole names, and trimmed."""
    if sys.stdout.isatty():
        return Console(soft_wrap=True)
    return Console(soft_wrap=True, width=width, file=cast("IO[str]", _Trimmed()))


def summary(record: "Record", written: list[Path]) -> None:
    """Print verdicts, what was claimed and found, and where the files are."""
    evidence = record.evidence
    from_files = evidence.source == "files"
    table = Table(title=evidence.title, title_justify="left")
    for name in ("row", "verdict", "expected"):
        table.add_column(name)
    found = ("ε ≥", "would refute ε ≥") if from_files else ("exact ε", "doing nothing")
    for name in ("claimed ε", *found):
        table.add_column(name, justify="right")
    for row in evidence.rows:
        table.add_row(
            row.name,
            row.verdict.value,
            "as expected" if row.as_expected else f"expected {row.expected.value}",
            f"{row.claim.epsilon:.3g}",
            *("–" if value is None else f"{value:.3g}" for value in (_from_scores(row) if from_files else _exact(row))),
        )
    console = wide_console()
    console.print(table)
    if not from_files:
        _controls(evidence, console)
    for path in written:
        console.print(str(path), highlight=False)


def _exact(row: "Row") -> tuple[float | None, float | None]:
    found = row.distances
    return (None, None) if found is None else (found.achieved_epsilon, found.noop_epsilon)


def _from_scores(row: "Row") -> tuple[float | None, float | None]:
    from reports.readings import detectable, epsilon_lower

    able = detectable(row)
    return epsilon_lower(row), able[0] if able else None


def _controls(evidence: "Evidence", console: Console) -> None:
    strange = [c for c in evidence.controls if not c.behaved]
    behaved = len(evidence.controls) - len(strange)
    console.print(f"{behaved} of {len(evidence.controls)} controls did as predicted.")
    for control in strange:
        console.print(f"Control {control.name} of {control.row} contradicts its prediction.")
