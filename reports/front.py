"""Page one, for the person who must sign: verdict, claim, finding, power, rungs, caveats, identity."""

from collections import Counter

from unlearning.claim import Status
from unlearning.record import Evidence, Record
from unlearning.verdict import Outcome, Verdict

from .comparison import findings_table
from .document import Block, Bullets, Cell, Column, Facts, Paragraph, Table
from .numerals import exact, number, power
from .readings import RUNGS, SILENT, computed, detectable, noop_power, rung_lines, standing, worst_outcome
from .wording import (
    DISCLAIMER,
    DISCLAIMER_OF_SCORES,
    NOT_RUN,
    called,
    ended,
    failure,
    listing,
    plural,
    reference,
    stamp,
    word,
)

_CAVEATS = 5
_FROM_RELEASES = "CDE"  # rungs that need power to see anything


def front(record: Record) -> tuple[Block, ...]:
    """All of page one."""
    evidence, circumstances = record.evidence, record.circumstances
    return (
        stamp(evidence.verdict, large=True, of=len(evidence.rows), from_files=evidence.source == "files"),
        Paragraph(claim_sentence(evidence), "What is claimed."),
        Paragraph(finding_sentence(evidence), "What was found."),
        Paragraph(power_sentence(evidence), "What could have been found."),
        findings_table(evidence),
        rungs_table(evidence),
        Paragraph("", "The five caveats that matter most"),
        Bullets(tuple(caveats(evidence)[:_CAVEATS]), numbered=True),
        Facts((
            ("Evidence (SHA-256)", record.evidence_sha256),
            ("Commit", circumstances.commit or "not recorded"),
            ("Date", circumstances.date),
            ("Seed and failure probability", f"{evidence.seed} · {failure(evidence)}"),
        )),
        Paragraph(DISCLAIMER_OF_SCORES if evidence.source == "files" else DISCLAIMER, role="note"),
    )


def claim_sentence(evidence: Evidence) -> str:
    """The claims of a plan in one sentence: unit, size of the promise, reference, release, adversary."""
    rows = evidence.rows
    claims = [row.claim for row in rows]
    if not claims:
        return "The record holds no row: nothing is claimed."
    if evidence.source == "files":
        return _claim_of_scores(evidence)
    subject = "This row promises" if len(rows) == 1 else f"Each of the {len(rows)} rows promises"
    sizes = _span([float(c.request_size or 0) for c in claims])
    epsilons, deltas = _span([c.epsilon for c in claims]), _span([c.delta for c in claims])
    mus = [c.mu for c in claims if c.mu is not None]
    gaussian = f"; μ = {_rounded(mus)} where the promise is Gaussian" if mus else ""
    against = listing(list(dict.fromkeys(reference(c) for c in claims)))
    released = listing(list(dict.fromkeys(c.released.value for c in claims if c.released)))
    return (
        f"{subject} that, after a request to forget {sizes} training record{'' if sizes == '1' else 's'}, whoever sees "
        f"the released {released} – and knows the data, the request and the method – cannot tell the unlearned model "
        f"from {against} better than ε = {epsilons} at δ = {deltas} allows{gaussian}."
    )


def _claim_of_scores(evidence: Evidence) -> str:
    return " ".join(
        f"{ended(row.claim.sentence)} A person stated this; the files show scores and nothing else of the models."
        for row in evidence.rows
    )


def finding_sentence(evidence: Evidence) -> str:
    """The verdicts counted, worst first, with the reason of the worst row."""
    rows = evidence.rows
    if not rows:
        return "Nothing was audited."
    tally = Counter(row.verdict for row in rows)
    parts = [f"{tally[v]} {v.value}" for v in Verdict if tally[v]]
    unexpected = [called(row) for row in rows if not row.as_expected]
    verdicts = (
        f"The only row is {rows[0].verdict.value}" if len(rows) == 1 else f"Of {len(rows)} rows: " + listing(parts)
    )
    fine = "as expected" if evidence.source == "files" else "all as the plan expected"
    surprise = f"not expected: {listing(unexpected)}" if unexpected else fine
    worst = next((row for v in Verdict for row in rows if row.verdict is v), rows[0])
    reason = ended(worst.because)
    name = "" if len(rows) == 1 else f"The worst, {called(worst)}: "
    return f"{verdicts}; {surprise}. {name}{reason}"


def power_sentence(evidence: Evidence) -> str:
    """What the audit would have refuted with probability .8, over the rows."""
    found = [(row, best) for row in evidence.rows if (best := detectable(row)) is not None]
    blind = [called(row) for row in evidence.rows if detectable(row) is None]
    source = "from these scores" if evidence.source == "files" else "from released models"
    if not found:
        return (
            f"No line of this audit states which ε it would have refuted {source}: "
            "its power is not computable, and its silence means nothing."
        )
    ordered = sorted(found, key=lambda pair: pair[1][0])
    low, high = ordered[0], ordered[-1]
    least = number(low[1][0], rounding="up")
    text = f"{source.capitalize()} this audit would have refuted ε ≥ {least} with probability .8"
    most = number(high[1][0], rounding="up")
    if len(found) > 1 and most == least:
        text += f" in each of {len(found)} rows"
    elif len(found) > 1:
        text += (
            f" in the row it saw best ({called(low[0])}), and ε ≥ {most} in the row it saw worst ({called(high[0])})"
        )
    text += "."
    if blind:
        text += f" For {listing(blind)} no such ε is computable."
    return text


def rungs_table(evidence: Evidence) -> Table:
    """Rungs of evidence, one line each, worst first; a rung that was not run is no success."""
    lines: list[tuple[int, str, tuple[Cell, ...]]] = []
    order = [Outcome.ERROR, Outcome.REFUTED, Outcome.NOT_COMPUTABLE, Outcome.NOT_REFUTED]
    for rung, (name, attacker) in RUNGS.items():
        found = rung_lines(evidence, rung)
        if not found and evidence.source == "files":
            continue
        title = Cell(f"{rung}. {name}")
        who = "someone who sees one score of each model" if evidence.source == "files" else attacker
        if not found:
            cell, text, rank = Cell(NOT_RUN, tone="absent"), "No evidence either way.", len(order)
        else:
            deciding = [line for line in found if line.deciding] or found
            worst = worst_outcome(deciding)
            text, blind = _rung_sentence(evidence, rung)
            cell, rank = word(worst), order.index(worst)
            if blind and worst is Outcome.NOT_REFUTED:  # no colour of success
                cell = Cell(worst.value, "without power", Outcome.NOT_COMPUTABLE.value)
        lines.append((rank, rung, (title, cell, Cell(text), Cell(who))))
    columns = (
        Column("Rung", "word"),
        Column("Worst outcome", "word"),
        Column("Over the rows", "text", 2.2),
        Column("Who attacks", "text", 2.4),
    )
    return Table(
        "The ladder of evidence, worst first.", columns, tuple(cells for *_, cells in sorted(lines, key=_rank))
    )


def _rank(line: tuple[int, str, tuple[Cell, ...]]) -> tuple[int, str]:
    return line[0], line[1]


def _rung_sentence(evidence: Evidence, rung: str) -> tuple[str, bool]:
    """Outcomes of a rung over the rows, and whether none that found nothing would have caught doing nothing."""
    counts: Counter[str] = Counter()
    undecided = True
    powers: list[float | None] = []
    for row in evidence.rows:
        lines = [line for line in row.lines if line.rung == rung]
        deciding = [line for line in lines if line.deciding]
        undecided = undecided and not deciding
        found = worst_outcome(deciding or lines).value if lines else NOT_RUN
        counts[found] += 1
        if found == Outcome.NOT_REFUTED.value and deciding and rung in _FROM_RELEASES:
            powers.append(noop_power(deciding))
    order = ["ERROR", "REFUTED", "NOT_COMPUTABLE", "NOT_REFUTED", NOT_RUN]
    text = ", ".join(f"{counts[w]} {w}" for w in order if counts[w])
    weak = [p for p in powers if p is not None and p < SILENT]
    if weak:
        text += f"; {len(weak)} without power: they would refute doing nothing with probability {power(max(weak))}"
        text += " at most" if len(weak) > 1 else ""
    return f"{text}; shown only, decides nothing" if undecided else text, bool(weak) and len(weak) == len(powers)


def caveats(evidence: Evidence) -> list[str]:
    """Everything a reader must know before relying on the verdict, the most important first."""
    rows = evidence.rows
    found = [
        "An audit can refute a promise and never prove one; NOT_REFUTED means no contradiction within the power stated."
    ]
    wrong = [c.title for c in evidence.controls if not c.behaved]
    if wrong:
        found.append(f"Controls contradicted their predictions ({listing(wrong, 4)}): the audit itself is in doubt.")
    if evidence.source == "files":
        first, *others = _caveats_of_scores(evidence)
        return [first, *found, *others]
    if not evidence.controls:
        found.append("No control was run: nothing shows that this audit would have caught a planted defect.")
    refused = [called(row) for row in rows if row.certificate is not None and row.certificate.refused_replicas]
    if refused:
        found.append(
            f"Some replicas exceeded their budget and were retrained instead of released: {listing(refused, 4)}."
        )
    vacuous = [called(row) for row in rows if row.verdict is Verdict.VACUOUS]
    if vacuous:
        found.append(
            f"Doing nothing would keep these promises too: {listing(vacuous, 4)}. They say nothing of forgetting."
        )
    violated = [called(row) for row in rows if standing(row).word == "premise violated"]
    if violated:
        found.append(f"Theorems do not apply, because a premise is violated: {listing(violated, 4)}.")
    trusted = [called(row) for row in rows if any(c.status is not Status.VIOLATED for c in standing(row).weak)]
    if trusted:
        found.append(f"Premises only estimated or assumed carry {plural(len(trusted), 'row')}: {listing(trusted, 4)}.")
    hand = [called(row) for row in rows if standing(row).word in ("stated by hand", "no certificate")]
    if hand:
        found.append(f"No theorem stands behind claims stated by hand: {listing(hand, 4)}.")
    absent = [rung for rung in RUNGS if not rung_lines(evidence, rung)]
    if absent:
        found.append(f"Rungs {listing(absent)} were not run in this plan: what they would find is unknown.")
    found.append(
        "Only these data sets, requests and seeds were tried; another request may lie further from retraining."
    )
    silent = [called(row) for row in rows if any(line.deciding and not computed(line) for line in row.lines)]
    if silent:
        found.append(f"Deciding lines could not be computed in {listing(silent, 4)}.")
    for task in evidence.tasks:
        if task.dataset.remark:
            found.append(f"Data set {task.dataset.name}: {task.dataset.remark.rstrip('.')}.")
    found.append(failure(evidence))
    found.append(
        "The method's own learning algorithm makes the reference; one that trains badly whenever records are missing "
        "would spoil both sides alike."
    )
    found.append("Backups, caches, logs, derived data and earlier releases are outside of what was examined.")
    return list(dict.fromkeys(found))


def _caveats_of_scores(evidence: Evidence) -> list[str]:
    found = [remark for row in evidence.rows for remark in row.remarks]
    found.append("Only scores were seen: what made them, noise, data and training are outside of this audit.")
    found.append("No theorem stands behind the claim: a person stated it.")
    found.append(failure(evidence))
    return list(dict.fromkeys(found))


def _span(values: list[float]) -> str:
    low, high = min(values), max(values)
    return exact(low) if low == high else f"{exact(low)} to {exact(high)}"


def _rounded(values: list[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"
