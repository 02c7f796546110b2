"""The command line. It chooses device, seed and workers; everything below receives them."""

import inspect
import io
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from unlearning.errors import BadScores, CertunlearnError, HiddenPackage, PlanError, RecordError

from . import __version__
from .auditing import audit_to, built_plan, cores
from .check_command import check
from .interruption import Interruption
from .new_method_command import new_method
from .power_command import power
from .replay_command import replay
from .scores_command import scores
from .summary import explain, wide_console
from .sweep_command import sweep

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    pretty_exceptions_enable=False,
    help="Decide whether a machine-unlearning method forgets what it certifies to forget.",
)

_USAGE, _ERROR, _INTERRUPTED = 2, 4, 130

PlanPath = Annotated[Path, typer.Argument(help="Audit plan, a TOML file.")]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="CERTUNLEARN_DATA", help="Folder of the files that plans name.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Run code that the plan names. Read it first.")]
Define = Annotated[
    list[str] | None,
    typer.Option("--define", help="NAME=path.py:Object or NAME=package.module:Object: your own code, for the plan."),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the run, in place of the plan's.")]
Replicas = Annotated[
    int | None,
    typer.Option(
        "--replicas",
        min=2,
        help="Test and selection runs of every row, in place of the plan's; attacks have at most as many, but 32.",
    ),
]


def main() -> NoReturn:
    """Entry point: one line for a user's mistake, never a traceback."""
    signal.signal(signal.SIGINT, Interruption.handle)
    Interruption.kept = "nothing was written"
    for stream in (sys.stdout, sys.stderr):  # a terminal or file that is not in UTF-8 has no ε and no …
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        status = app(standalone_mode=False) or 0  # the status of an Exit, or that of an interruption, is returned
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except SystemExit as left:  # commands end by an Exit of their own: success must not be what somebody's code says
        if isinstance(left.__context__, BrokenPipeError):  # rich leaves so where nobody reads on
            raise
        err.print(f"certunlearn: code that was run ended the program (SystemExit: {left.code}); it must not.")
        status = _ERROR
    except (PlanError, RecordError, HiddenPackage, BadScores) as error:
        err.print(f"certunlearn: {error}")
        status = _USAGE
    except OSError as error:
        err.print(f"certunlearn: cannot read or write {error.filename or 'a file'}: {error.strerror or error}.")
        status = _USAGE
    except CertunlearnError as error:
        err.print(f"certunlearn: {error}")
        status = _ERROR
    except Exception as error:  # noqa: BLE001  the last place: a bug of ours or a click usage error
        show = getattr(error, "show", None)
        if callable(show):
            show()
            status = _USAGE
        else:
            import traceback

            traceback.print_exc()
            err.print("certunlearn: this is a bug of certunlearn; please report it with the lines above.")
            status = _ERROR
    if status == _INTERRUPTED:
        err.print(f"Interrupted: {Interruption.kept}.")
    sys.stdout.flush()
    raise SystemExit(status)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(f"certunlearn {__version__}")
        raise typer.Exit


@app.command()
def audit(
    plan: PlanPath,
    out: Annotated[Path, typer.Option("--out", help="Folder for record, arrays and reports.")],
    device: DeviceName = "auto",
    seed: Seed = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Worker processes; 0: one per core.")] = 0,
    replicas: Replicas = None,
    data: Data = None,
    define: Define = None,
    trust: Trust = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace another plan's record.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
) -> None:
    """Run an audit plan; write record.json, its arrays, report.html and report.pdf.

    Exit status: 0 every row as expected, 1 an unexpected verdict, 3 unexpectedly not computable, 4 an error of the
    audit, 2 wrong usage or input.

    Raises:
        Exit: always, with the exit status.
    """
    from .circumstances import exit_status

    built = built_plan(plan, device, seed, replicas, data, define, trust)
    record = audit_to(built, out, jobs=jobs, fresh=fresh, quiet=quiet)
    explain(record)
    raise typer.Exit(exit_status(record))


@app.command("plan")
def plan_(
    plan: PlanPath,
    check: Annotated[bool, typer.Option("--check", help="Validate and estimate the cost; nothing is run.")] = False,
    device: DeviceName = "auto",
    seed: Seed = None,
    replicas: Replicas = None,
    data: Data = None,
    define: Define = None,
    trust: Trust = False,
) -> None:
    """Show a plan: its rows, what it will train, and what that will cost."""
    from .costs import estimate
    from .evidence import cannot_show

    built = built_plan(plan, device, seed, replicas, data, define, trust)
    costs = estimate(built)
    table = Table(title=built.plan.title, title_justify="left")
    for name, justify in (("row", "left"), ("method", "left"), ("claim", "left"), ("σ", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("models", "core seconds", "memory"):
        table.add_column(name, justify="right")
    for row, cost in zip(built.rows, costs, strict=True):
        claim = row.design.claim
        table.add_row(
            row.spec.name,
            row.spec.method,
            f"ε {claim.epsilon:.4g}, δ {claim.delta:g}",
            f"{row.design.noise_scale:.3g}",
            f"{'up to ' * cost.at_most}{cost.models}",
            f"{'up to ' * cost.at_most}{cost.seconds:.0f}",
            f"{cost.bytes / 2**20:.0f} MiB",
        )
    console = wide_console()
    console.print(table)
    total, usable = sum(cost.seconds for cost in costs), cores()
    models, largest = sum(cost.models for cost in costs), max(cost.bytes for cost in costs) / 2**20
    console.print(
        f"{models} models, about {total:.0f} core seconds ({total / usable:.0f} s on {usable} cores), "
        f"{largest:.0f} MiB per process. Rough: good to a factor of three."
    )
    for row in built.rows:
        for what in cannot_show(row.design.claim.request_size, row.design):
            console.print(f"{row.spec.name}: {what}.", markup=False, highlight=False)
    console.print("The plan is valid." if check else "The plan is valid. Nothing was run; `certunlearn audit` runs it.")


@app.command()
def report(
    record: Annotated[Path, typer.Argument(help="record.json of an audit.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the reports; else the record's.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Instead, write the comparison of all rows to this Markdown file.")
    ] = None,
) -> None:
    """Rebuild report.html and report.pdf from a record. Needs no torch."""
    from reports import write_markdown, write_reports
    from unlearning.record import read_record

    if markdown is not None:
        for path in write_markdown(read_record(record), markdown):
            typer.echo(path)
        return
    folder = out or record.parent
    folder.mkdir(parents=True, exist_ok=True)
    for path in write_reports(read_record(record), folder):
        typer.echo(path)


app.command()(scores)
app.command()(power)
app.command()(check)
app.command()(replay)
app.command()(new_method)
app.command()(sweep)


@app.command()
def schema() -> None:
    """Print the JSON Schema of records."""
    import json

    from unlearning.record import Record

    utf = (sys.stdout.encoding or "").lower().startswith("utf")
    typer.echo(json.dumps(Record.model_json_schema(), indent=1, ensure_ascii=not utf))


for _command in app.registered_commands:  # what a command raises is for those who read its code
    _command.help = (inspect.getdoc(_command.callback) or "").partition("\n\nRaises:")[0]
