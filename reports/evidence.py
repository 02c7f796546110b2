"""Lines of evidence as a table, findings and derivations."""

from unlearning.record import Line
from unlearning.verdict import Outcome

from .document import Block, Bullets, Cell, Column, Details, Paragraph, Table
from .numerals import MISSING, count, exact, number, power
from .readings import RUNGS, SILENT, computed, noop_power, worst_outcome
from .wording import (
    OUTCOME_MEANING,
    ended,
    plural,
    word,
)


def answer(lines: list[Line], about: str) -> str:
    """What these lines say together, the worst word first."""
    if not lines:
        return f"No line of this plan speaks {about}: there is no evidence either way."
    deciding = [line for line in lines if line.deciding]
    worst = worst_outcome(deciding or lines)
    said = sum(line.outcome is worst for line in deciding or lines)
    verb = OUTCOME_MEANING[worst][said > 1]
    if deciding:
        subject = f"{said} of {plural(len(deciding), 'deciding line')}"
    else:
        subject = (
            "the only line, which decides nothing,"
            if len(lines) == 1
            else f"{said} of {len(lines)} lines, none of which decides,"
        )
    caution = "" if worst is not Outcome.NOT_REFUTED else "; that is no proof"
    return f"{worst.value}: {subject} {verb}{caution}."


def power_on_nothing(lines: list[Line]) -> Paragraph:
    """Whether these lines would have caught doing nothing: silence without it means nothing."""
    found = noop_power(lines)
    if found is None:
        return Paragraph("Whether this audit would have caught doing nothing is not computable.", "Power.")
    text = f"A deciding line would have refuted doing nothing with probability {power(found)}."
    silent = all(line.outcome is not Outcome.REFUTED for line in lines)
    return Paragraph(text + (" So its silence says nothing." if silent and found < SILENT else ""), "Power.")


def evidence(lines: list[Line]) -> list[Block]:
    """These lines as a table, in words, and with what they were computed from."""
    if not lines:
        return []
    columns = (
        Column("Line of evidence", "text", 2.4),
        Column("Outcome", "word"),
        Column("ε\u00a0≥"),
        Column("μ\u00a0≥"),
        Column("would refute"),
        Column("power on doing\u00a0nothing"),
        Column("runs released\u00a0+ reference"),
        Column("failure probability"),
    )
    cells = [_line(line) for line in lines]
    told = [place for place in range(len(columns)) if any(row[place].text != MISSING for row in cells)]
    rows = tuple(tuple(row[place] for place in told) for row in cells)
    blocks: list[Block] = [Table("Lines of evidence.", tuple(columns[place] for place in told), rows)]
    blocks.append(Bullets(tuple(f"{line.title}: {_finding(line)}" for line in lines)))
    blocks.append(Details("Events, counts and derivations", tuple(_derivation(line) for line in lines)))
    return blocks


def _line(line: Line) -> tuple[Cell, ...]:
    known = computed(line)
    limit = "down" if "confidence" in line.kind else "nearest"
    return (
        Cell(f"{line.rung} · {line.title}", "" if line.deciding else "shown only, decides nothing"),
        word(line.outcome) if line.kind != "estimate" else Cell("no outcome", "an estimate", "absent"),
        Cell(number(line.epsilon_lower if known else None, rounding=limit)),
        Cell(number(line.mu_lower if known else None, rounding=limit)),
        Cell(_refutable(line)),
        Cell(power(line.noop_power)),
        Cell(f"{count(line.runs_released)} + {count(line.runs_reference)}"),
        Cell(exact(float(f"{line.failure_probability:.4g}"))),
    )


def _refutable(line: Line) -> str:
    if line.detectable_epsilon is not None:
        return f"ε ≥ {number(line.detectable_epsilon, rounding='up')}"
    if line.detectable_mu is not None:
        return f"μ ≥ {number(line.detectable_mu, rounding='up')}"
    return MISSING


def _finding(line: Line) -> str:
    text = ended(line.finding)
    if line.reason:
        text += f" Reason: {ended(line.reason)}"
    return text + (f" Power: {ended(line.detectable)}" if line.detectable else "")


def _derivation(line: Line) -> Paragraph:
    parts = [f"rung {line.rung} ({RUNGS[line.rung][0].lower()})" if line.rung in RUNGS else f"rung {line.rung}"]
    parts += [f"seeds {line.seeds}", f"kind {line.kind}", f"valid under: {line.assumes}", f"key {line.key}"]
    parts.append(f"event {line.event}" if line.event else "no event")
    if line.counts_released is not None:
        parts.append(f"released {count(line.counts_released)} of {count(line.runs_released)}")
    if line.counts_reference is not None:
        parts.append(f"reference {count(line.counts_reference)} of {count(line.runs_reference)}")
    if line.statistic is not None:
        parts.append(f"statistic {_six(line.statistic, below=line.threshold)}")
    if line.threshold is not None:
        parts.append(f"threshold {_six(line.threshold)}")
    parts += [f"{name} = {_six(v)}" for name, v in sorted(line.derivation.items())]
    return Paragraph("; ".join(parts) + ".", f"{line.title}.", "note")


def _six(value: float, *, below: float | None = None) -> str:
    """Six digits; a value below a limit is not rounded up to it."""
    rounded = float(f"{value:.6g}")
    if below is not None and value < below <= rounded:
        return number(value, 6, rounding="down")
    return exact(rounded)
