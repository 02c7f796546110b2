"""Progress on stderr: bars on a terminal, a line per row elsewhere, nothing when quiet."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class _Shown:
    """Bars that are shown inside a with block."""

    _progress: Progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class Bars(_Shown):
    """One bar for the rows, one for the chunks of the row at work."""

    def __init__(self, rows: list[str], *, quiet: bool) -> None:
        """Show nothing yet."""
        self._rows, self._quiet = rows, quiet
        self._console = Console(stderr=True)
        self._live = not quiet and sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._all = self._progress.add_task("rows", total=len(rows))
        self._one = self._progress.add_task("", total=1)
        self._current: str | None = None

    def advance(self, row: str, phase: str, done: int, total: int) -> None:
        """Show how far a row is; without one, how far something is that comes before the rows."""
        if not row and done == 0 and not self._live and not self._quiet:
            self._console.print(f"{phase} ({total} method{'' if total == 1 else 's'})", highlight=False)
        if row and row != self._current:
            self._current = row
            self._progress.update(self._all, completed=self._rows.index(row))
            if not self._live and not self._quiet:
                self._console.print(f"row {self._rows.index(row) + 1} of {len(self._rows)}: {row}", highlight=False)
        if done == 0:
            self._progress.reset(self._one)  # each phase has its own clock
        self._progress.update(self._one, description=f"{row}: {phase}" if row else phase, completed=done, total=total)

    def say(self, what: str) -> None:
        """Show what comes after the rows."""
        self._progress.update(self._all, completed=len(self._rows))
        self._progress.update(self._one, description=what, completed=0, total=1)


class Steps(_Shown):
    """One bar for steps that have names, on a terminal; a line per step elsewhere."""

    def __init__(self, total: int) -> None:
        """Show nothing yet."""
        self._total, self._begun = total, 0
        self._console = Console(stderr=True)
        self._live = sys.stderr.isatty()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True, disable=not self._live)
        self._bar = self._progress.add_task("", total=total)

    def next(self, name: str) -> None:
        """Show that a step begins."""
        from properties.explanation import printable  # imports torch, which other commands do without

        name = printable(name)
        self._progress.update(self._bar, description=escape(name), completed=self._begun)
        self._begun += 1
        if not self._live:
            self._console.print(f"{self._begun} of {self._total}: {name}", highlight=False, markup=False)
