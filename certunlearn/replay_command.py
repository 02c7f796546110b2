"""`certunlearn replay`: tries one law on the problem of one counterexample again, alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from unlearning.errors import NotTrusted, PlanError

if TYPE_CHECKING:
    from properties.counterexample import Counterexample
    from unlearning.protocols import AnyMethod


def replay(
    file: Annotated[Path, typer.Argument(help="Counterexample, a JSON file that `certunlearn check` wrote.")],
    method: Annotated[
        str | None, typer.Option("--method", help="Your own method in place of the file's: TARGET as for `check`.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run code that the file names. Read it first.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda; default: the file's.")] = None,
) -> None:
    """Try the law on the problem of a counterexample again, and show the new numbers beside the old.

    Exit status: 0 no longer broken on this problem, 1 still broken or raises now, 3 not tried, 2 wrong usage or file.

    Raises:
        Exit: always, with the exit status.
    """
    from .loader import check_packages

    check_packages()
    from properties.counterexample import Outcome, read_counterexample
    from properties.explanation import explain, method_in_words, printable

    from .devices import chosen_device
    from .summary import WIDTH, wide_console

    found = read_counterexample(file)
    tried = _method(found, method, trust=trust)
    again = found.replay(tried, device=chosen_device(device or found.device.partition(":")[0]).type)
    console, name = wide_console(WIDTH), method or method_in_words(found.method)
    console.print(Text(explain(found, again, file=str(file), tried=name, width=console.width)))
    console.print()
    said = f"{printable(name)}: {again.outcome.value}"
    if again.outcome is Outcome.NOT_BROKEN:
        said += " on this problem, which says nothing about any other: run certunlearn check again"
    console.print(Text(f"{said}.", style="bold"), soft_wrap=False)
    raise typer.Exit({Outcome.NOT_BROKEN: 0, Outcome.NOT_TRIED: 3}.get(again.outcome, 1))


def _method(found: "Counterexample", own: str | None, *, trust: bool) -> "AnyMethod":
    """The user's own method, or the one that the file names.

    Raises:
        NotTrusted: the file names code and nobody trusts it; nothing has been imported then.
        PlanError: the method cannot be loaded, or the file does not say by what, or not all of its parameters.
    """
    from properties.explanation import printable

    from .loader import load_method, make_method
    from .registry import registered_methods
    from .targets import load_targets

    if own is not None:
        return load_targets([own], where="--method")[0].method
    target, missing = found.method.target, found.method.unwritable
    if ":" in target and not trust:
        raise NotTrusted(
            f"counterexample must not name code unless you trust it, got {printable(target)}; read that code, then add "
            "--trust, or name your own with --method."
        )
    if ":" not in target and target not in registered_methods():
        raise PlanError(
            f"counterexample must name a registered method or code, got {printable(target)}; add --method "
            "path.py:Class."
        )
    if missing:
        raise PlanError(
            f"method must be built from what the file holds, got {printable(target)} without "
            f"{printable(', '.join(missing))}; name a method with --method."
        )
    return make_method(load_method(target), found.method.parameters, target=target)
