"""Methods held to laws: what `certunlearn check` finds, law by law, before anything is printed."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from hypothesis import Verbosity, settings
from hypothesis.configuration import set_hypothesis_home_dir

from properties import LawBroken, LawNotApplicable, SearchResult
from properties.base import raised
from properties.counterexample import Counterexample
from properties.explanation import mistake
from properties.parametrize import Check
from properties.profiles import register_profiles

from .targets import Target


class Outcome(StrEnum):
    """What a search for a breach came to; no search shows that a law holds."""

    BROKEN = "BROKEN"
    RAISED = "raised"  # which breaks a law too
    NOT_BROKEN = "not broken"
    EXEMPT = "exempt"
    NOT_APPLICABLE = "does not apply"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Finding:
    """One law and one method.

    Attributes:
        check: name of the law, and of the precision where it is single.
        outcome: what the search came to.
        reason: why the law was not tried, or what went wrong; empty otherwise.
        seconds: of the search; None where there was none.
        result: of a search without a breach.
        counterexample: of a breach.
        mistake: what a method did wrong whatever the law, alike for similar problems; None: what only this forbids.
        file: of the counterexample, once written.
    """

    check: str
    outcome: Outcome
    reason: str = ""
    seconds: float | None = None
    result: SearchResult | None = None
    counterexample: Counterexample | None = None
    mistake: str | None = None
    file: Path | None = None


@contextmanager
def searching_as(profile: str) -> Iterator[None]:
    """Search as many problems as a profile says, and leave nothing behind: no database, no folder, no profile."""
    before = settings.get_current_profile_name()
    register_profiles()
    own = settings(settings.get_profile(profile), database=None, print_blob=False, verbosity=Verbosity.quiet)
    settings.register_profile(f"check {profile}", own)
    settings.load_profile(f"check {profile}")
    with tempfile.TemporaryDirectory(prefix="certunlearn-") as home:
        set_hypothesis_home_dir(Path(home))
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)
            settings.load_profile(before)


def check_method(
    target: Target, checks: Sequence[Check], *, device: str, before: Callable[[str], None], folder: Path
) -> Iterator[Finding]:
    """Search for a breach of each law by a method; what is found is written at once.

    Args:
        target: the method.
        checks: the laws.
        device: where problems are computed.
        before: called with the names of method and check before each search.
        folder: of counterexamples.
    """
    for check in checks:
        before(f"{target.name}: {check.name}")
        found = _finding(target, check, device)
        yield found if found.counterexample is None else replace(found, file=found.counterexample.write(folder))


def _finding(target: Target, check: Check, device: str) -> Finding:
    reason = target.method.declaration.exempt.get(check.law.name)
    if reason is not None:
        return Finding(check.name, Outcome.EXEMPT, reason)
    began = time.perf_counter()
    found = _searched(target, check, device)
    return replace(found, seconds=time.perf_counter() - began)


def _searched(target: Target, check: Check, device: str) -> Finding:
    try:
        result = check(target.method, device=device)
    except LawNotApplicable as note:
        return Finding(check.name, Outcome.NOT_APPLICABLE, check.reason or str(note))
    except LawBroken as broken:
        return _broken(broken, target, check, device)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a method's own, where it is asked which problems it accepts
        return Finding(check.name, Outcome.ERROR, f"the method raised {type(error).__name__}: {_first_line(error)}")
    return Finding(check.name, Outcome.NOT_BROKEN, result=result)


def _broken(broken: LawBroken, target: Target, check: Check, device: str) -> Finding:
    counterexample = Counterexample.from_broken(
        broken,
        target=target.target,
        parameters=target.parameters,
        method=target.method,
        device=device,
        precision=check.precision,
    )
    outcome = Outcome.RAISED if raised(broken) else Outcome.BROKEN
    return Finding(check.name, outcome, counterexample=counterexample, mistake=mistake(broken))


def exit_status(found: Sequence[Finding]) -> int:
    """4 a law could not be tried, 1 a law is broken, 3 no law says anything, 0 none broken."""
    outcomes = {finding.outcome for finding in found}
    if Outcome.ERROR in outcomes:
        return 4
    if outcomes & {Outcome.BROKEN, Outcome.RAISED}:
        return 1
    return 0 if Outcome.NOT_BROKEN in outcomes else 3


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
