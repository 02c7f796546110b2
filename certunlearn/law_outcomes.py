"""What a pytest run found of each law: outcomes that travel between processes, a broken law's text, the closing table.

As a part of the plugin this imports nothing of ours at the top: another project may have packages of the same names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from properties import LawBroken
    from properties.parametrize import Check, Subject

KEY = "certunlearn law"  # of the user property of a report
_COUNTS = "tried", "judged", "refused"


class State(StrEnum):
    """What came of holding one method to one law."""

    NOT_BROKEN = "not broken"
    BROKEN = "broken"
    EXPECTED = "broken as expected"
    NOT_HELD = "does not apply"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One law and one method, in plain values.

    Attributes:
        check: the law, and float32 behind it where that is the precision.
        method: name.
        state: what came of it.
        seconds: that it took.
        problems: tried; 0 where the search did not end.
        tightest: largest ratio of what was measured to what is allowed; None: nothing is measured.
        reason: why the law does not apply, or why it was expected to break.
        judged: problems about which the law said something.
        refused: problems that the method refused.
        remarks: why some problems were refused or not judged.
    """

    check: str
    method: str
    state: State
    seconds: float
    problems: int = 0
    tightest: float | None = None
    reason: str | None = None
    judged: int = 0
    refused: int = 0
    remarks: tuple[str, ...] = ()

    def as_property(self) -> tuple[str, dict[str, Any]]:
        """A user property of a pytest report."""
        return KEY, asdict(self) | {"state": self.state.value}


def outcome_of(check: "Check", outcome: str, error: BaseException | None, seconds: float) -> Outcome:
    """Outcome of a check that was called in a test.

    Args:
        check: after the call.
        outcome: of the report: passed, failed or skipped.
        error: that ended the test.
        seconds: of the test.
    """
    name = _subject(check).name
    if _broken(error):
        state, reason = (State.BROKEN, None) if outcome == "failed" else (State.EXPECTED, check.expected)
        return Outcome(check.name, name, state, seconds, reason=reason)
    if check.result is not None:
        result = check.result
        return Outcome(
            check.name,
            name,
            State.NOT_BROKEN,
            seconds,
            result.problems,
            result.tightest,
            judged=result.judged,
            refused=result.refused,
            remarks=result.remarks,
        )
    state = State.NOT_HELD if check.reason is not None else State.ERROR
    return Outcome(check.name, name, state, seconds, reason=check.reason)


def breach(check: "Check", broken: "LawBroken", folder: Path, current: Path, mistakes: dict[str, str]) -> str:
    """The problem that broke a law, for a person to follow; its file is written into the folder.

    Args:
        check: after the call.
        broken: the breach.
        folder: of counterexamples.
        current: folder from which paths are told.
        mistakes: of methods, and the law whose text shows each; a mistake that breaks many laws is shown in full once.
    """
    from learning.per_replica import lifted
    from properties.counterexample import Counterexample
    from properties.explanation import explain, mistake, replay_command
    from properties.laws import LAWS
    from unlearning.errors import PlanError

    if broken.law not in LAWS:  # a law of someone's own, which no file could name
        return str(broken)
    subject = _subject(check)
    found = Counterexample.from_broken(
        broken,
        target=subject.target,
        parameters=subject.parameters,
        method=lifted(check.method),
        device=check.device,
        precision=check.precision,
    )
    wrong = f"{subject.name}: {mistake(broken) or check.name}"
    shown = mistakes.setdefault(wrong, check.name)
    text = explain(found) if shown == check.name else f"{in_short(broken)}\nThe same is shown in full for {shown}."
    try:
        path = found.write(folder)
    except (OSError, PlanError) as error:
        return f"{text}\n\nNot saved: {error}"
    told = path.relative_to(current) if path.is_relative_to(current) else path
    return f"{text}\n\nSaved in   {told}\nTry again  {replay_command(found, told)}"


def in_short(broken: "LawBroken") -> str:
    """A breach in one line: the law, and the numbers of the finding, or the finding where there are none."""
    from properties.explanation import printable

    numbers = ", ".join(f"{name} {value:.4g}" for name, value in broken.measured.items())
    return printable(f"{broken.law}: {numbers or ' '.join(broken.finding.split())}")


def closing_lines(properties: Iterable[Any]) -> list[str]:
    """Lines for the end of a run, from the user properties of its reports; none where no law was tried."""
    found = [_read(value) for key, value in properties if key == KEY]
    if not found:
        return []
    return [*_table(found), *_reasons(found)]


def _subject(check: "Check") -> "Subject":
    from properties.parametrize import Subject

    return check.subject or Subject.of(check.method)


def _broken(error: BaseException | None) -> bool:
    from properties import LawBroken

    return isinstance(error, LawBroken)


def _read(value: dict[str, Any]) -> Outcome:
    return Outcome(**{**value, "state": State(value["state"]), "remarks": tuple(value.get("remarks", ()))})


def _table(found: Sequence[Outcome]) -> list[str]:
    """One line per law: what it cost, how far it looked, how near the tightest method came, who broke it."""
    rows = [("law", "seconds", "methods", *_COUNTS, "tightest", "")]
    for check in _in_order(found):
        own = [outcome for outcome in found if outcome.check == check]
        tried = [outcome for outcome in own if outcome.state is not State.NOT_HELD]
        nearest = max((o for o in own if o.tightest is not None), key=lambda o: o.tightest or 0.0, default=None)
        broken = [outcome.method for outcome in own if outcome.state is State.BROKEN]
        rows.append((
            check,
            f"{sum(outcome.seconds for outcome in own):.1f}",
            str(len(tried)),
            *_counts(own),
            "" if nearest is None else f"{nearest.tightest:.4f}",
            f"BROKEN by {', '.join(broken)}" if broken else "" if nearest is None else nearest.method,
        ))
    total = sum(outcome.seconds for outcome in found)
    rows.append(("all", f"{total:.1f}", "", *_counts(found), "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for name, *numbers, note in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *cells, note]).rstrip())
    return lines


def _counts(own: Sequence[Outcome]) -> tuple[str, str, str]:
    """Problems tried, judged and refused, as in `_COUNTS`."""
    return (
        str(sum(outcome.problems for outcome in own)),
        str(sum(outcome.judged for outcome in own)),
        str(sum(outcome.refused for outcome in own)),
    )


def _in_order(found: Sequence[Outcome]) -> list[str]:
    """Checks in the order of the laws, whichever process was first to report."""
    from properties.laws import LAWS

    place = {law: number for number, law in enumerate(LAWS)}
    names = {outcome.check for outcome in found}
    return sorted(names, key=lambda name: (place.get(name.partition("-")[0], len(place)), name))


def _reasons(found: Sequence[Outcome]) -> list[str]:
    """Laws that were not tried, not on all problems, or were expected to break, method by method."""
    lines = []
    for state in (State.NOT_HELD, State.EXPECTED, State.ERROR):
        told: dict[tuple[str, str], list[str]] = {}
        for outcome in found:
            if outcome.state is state:
                told.setdefault((outcome.method, outcome.reason or "see above"), []).append(outcome.check)
        lines += _told(state.value, told)
    partly: dict[tuple[str, str], list[str]] = {}
    for outcome in found:
        for remark in outcome.remarks:
            partly.setdefault((outcome.method, remark), []).append(outcome.check)
    return lines + _told("not judged on all problems", partly)


def _told(title: str, told: dict[tuple[str, str], list[str]]) -> list[str]:
    """A title, and a line for each method and reason; none of both without any."""
    lines = [f"  {method}: {', '.join(sorted(names))}: {reason}" for (method, reason), names in sorted(told.items())]
    return ["", f"{title}:", *lines] if lines else []
