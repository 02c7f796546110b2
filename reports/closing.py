"""What follows the rows: constants, controls, accuracy, cost, limits, reproduction, glossary."""

from unlearning.record import Control, DatasetFacts, Evidence, Record, TaskFacts

from .document import Block, Bullets, Cell, Code, Column, Details, Facts, Paragraph, Section, Table
from .front import caveats
from .numerals import MISSING, count, duration, exact, number, percent, storage
from .plan_text import toml
from .wording import (
    DISCLAIMER,
    DISCLAIMER_OF_SCORES,
    GLOSSARY,
    GLOSSARY_OF_SCORES,
    STATUS_MEANING,
    constants_table,
    meanings,
    plural,
    word,
)

# titles only: paragraphs are for lawyers to name
_QUESTIONS = (
    ("Verdict, finding, distances", "GDPR, Article 17: right to erasure (“right to be forgotten”)"),
    ("Record, hashes, command", "GDPR, Article 5(2): accountability"),
    ("Rungs C to E", "EDPB Opinion 28/2024 on data protection aspects of AI models"),
    ("Claim, constants with status", "NIST SP 800-226: evaluating differential privacy guarantees"),
    ("Power, controls, caveats", "NIST AI RMF, MEASURE 2.10: privacy risk is examined and documented"),
    ("Plan, circumstances", "ISO/IEC 42001: artificial intelligence management system"),
)
_PARTS_OF_SCORES = {  # of a report on files, which holds less
    "Verdict, finding, distances": "Verdict, finding",
    "Rungs C to E": "Rung C",
    "Claim, constants with status": "Claim",
    "Power, controls, caveats": "Power, caveats",
    "Plan, circumstances": "What was asked for, circumstances",
}


def constants(evidence: Evidence) -> Section:
    """Per task: data, model, recipe, and every constant with its status."""
    legend = tuple((status.value, meaning) for status, meaning in STATUS_MEANING.items())
    sections = tuple(_task(task, place) for place, task in enumerate(evidence.tasks, start=1))
    blocks = (Paragraph("Every number that a bound rests on has a status, best first."), Facts(legend))
    return Section("constants", "What do the bounds rest on?", blocks, sections)


def _task(task: TaskFacts, place: int) -> Section:
    size = plural(task.parameters, "parameter")
    facts = (
        ("Model", task.model if task.model.endswith("parameters") else f"{task.model}, {size}"),
        ("Recipe", task.recipe),
        ("Regularisation", exact(task.regularisation)),
        ("Request", f"{task.request} ({plural(task.request_size, 'record')})"),
        *_dataset(task.dataset),
    )
    blocks: list[Block] = [Facts(facts)]
    if task.constants:
        blocks.append(constants_table("Constants of the task.", tuple(task.constants)))
    else:
        blocks.append(Paragraph("The record lists no constants for this task.", role="note"))
    ids = ", ".join(str(i) for i in task.request_ids)
    blocks.append(Details("Records in the request", (Code(ids or "in each row, which searched for its own"),)))
    return Section(f"task-{place}", task.name, tuple(blocks))


def _dataset(data: DatasetFacts) -> tuple[tuple[str, str], ...]:
    size = f"{count(data.rows)} rows, {count(data.features)} features, {count(data.classes)} classes"
    facts = [
        ("Data set", f"{data.name}: {size}; {count(data.holdout_rows)} held out"),
        ("Origin", data.origin),
        ("Preprocessing", data.preprocessing),
        ("SHA-256 of the data", data.sha256),
    ]
    return (*facts, ("Remark", data.remark)) if data.remark else tuple(facts)


def controls(evidence: Evidence) -> Section:
    """Planted defects: predictions against observations."""
    found = evidence.controls
    title = "Did the controls behave?"
    if not found:
        text = "No control was run: nothing here shows that this audit would have caught a planted defect."
        return Section("controls", title, (Paragraph(text, "Answer."),))
    good = sum(c.behaved for c in found)
    made = [p for c in found for p in c.predictions if p.predicted is not None]
    silent = sum(p.predicted is None for c in found for p in c.predictions)
    wrong = sum(p.contradicted for p in made)
    answer = (
        f"{good} of {plural(len(found), 'control')} behaved. Predictions were made from noise-free weights before any "
        f"noise was drawn: {plural(len(made), 'prediction')}, {count(wrong)} contradicted; "
        f"{count(silent)} lines allowed none at this number of runs. A sound audit sees any contradiction with "
        f"probability at most {exact(evidence.control_failure_probability)}."
    )
    columns = (
        Column("Planted in", "text", 1.6),
        Column("Control", "text", 1.6),
        Column("Exact\u00a0ε"),
        Column("Verdict it would get", "word"),
        Column("Behaved", "word"),
    )
    rows = []
    for place, c in enumerate(found):
        first = place == 0 or found[place - 1].row != c.row
        behaved = Cell("yes") if c.behaved else Cell("NO", tone="ERROR")
        rows.append((
            Cell(c.row if first else ""),
            Cell(c.title),
            Cell(number(c.exact_epsilon)),
            word(c.verdict),
            behaved,
        ))
    meanings = tuple(dict.fromkeys((c.title, c.meaning) for c in found))
    blocks: list[Block] = [
        Paragraph(answer, "Answer."),
        Facts(meanings),
        Table("Controls by row.", columns, tuple(rows)),
    ]
    for row in dict.fromkeys(c.row for c in found):
        members = [c for c in found if c.row == row and c.predictions]
        if members:
            blocks.append(Details(f"Predictions and observations: {row}", (_predictions(members),)))
    return Section("controls", title, tuple(blocks))


def _predictions(members: list[Control]) -> Table:
    columns = (
        Column("Control", "text", 1.4),
        Column("Line", "text", 2.0),
        Column("P(refuted)"),
        Column("Predicted", "word"),
        Column("Observed", "word"),
        Column("As predicted", "word"),
    )
    rows = []
    for control in members:
        for place, p in enumerate(control.predictions):
            low = number(p.refutation_probability_lower, rounding="down")
            high = number(p.refutation_probability_upper, rounding="up")
            chance = low if low == high else f"{low} to {high}"
            predicted = word(p.predicted) if p.predicted is not None else Cell("no prediction", tone="absent")
            agrees = "NO" if p.contradicted else ("yes" if p.predicted is not None else MISSING)
            tone = "ERROR" if p.contradicted else ""
            name = Cell(control.title if place == 0 else "")
            rows.append((name, Cell(p.title), Cell(chance), predicted, word(p.observed), Cell(agrees, tone=tone)))
    return Table("What was foretold of every line, and what came.", columns, tuple(rows))


def accuracy(evidence: Evidence) -> Section:
    """All accuracies in the record."""
    rows = []
    for row in evidence.rows:
        for place, a in enumerate(row.accuracies):
            name = row.name if place == 0 else ""
            rows.append((Cell(name), Cell(a.model), *(Cell(percent(v)) for v in (a.forget, a.retain, a.holdout))))
    columns = (Column("Row", "text"), Column("Model", "text"), Column("forget"), Column("retain"), Column("holdout"))
    blocks: tuple[Block, ...]
    if rows:
        note = "High accuracy on forgotten records is no failure by itself: compare with the retrained model."
        blocks = (Table("Mean accuracy over replicas, in percent.", columns, tuple(rows)), Paragraph(note, role="note"))
    else:
        blocks = (Paragraph("Not computable: the record holds no accuracies.", "Answer."),)
    return Section("accuracy", "What did it cost in accuracy?", blocks)


def cost(record: Record) -> Section:
    """Times and memory."""
    found = record.circumstances
    facts = (
        ("Whole audit", duration(found.seconds)),
        ("Peak memory", storage(found.peak_memory_bytes)),
        ("Machine", f"{found.host}, {found.device}, {plural(found.jobs, 'job')}"),
    )
    columns = (
        Column("What", "text", 2.0),
        Column("Row", "text"),
        Column("Time"),
        Column("Models"),
        Column("Time a\u00a0model"),
    )
    rows = tuple(
        (
            Cell(t.what),
            Cell(t.row or "all"),
            Cell(duration(t.seconds)),
            Cell(count(t.models)),
            Cell(duration(t.seconds / t.models) if t.models else MISSING),
        )
        for t in found.timings
    )
    stores = tuple((row.name, row.stores) for row in record.evidence.rows if row.stores is not None)
    blocks: list[Block] = [Facts(facts)]
    blocks.append(Table("Times.", columns, rows) if rows else Paragraph("The record holds no timings."))
    if stores:
        blocks += [Paragraph("", "What each method must keep"), Facts(stores)]
    return Section("cost", "What did it cost in time and memory?", tuple(blocks))


def limits(evidence: Evidence) -> Section:
    """What this audit does not show."""
    columns = (
        Column("Part of this report", "text", 1.4),
        Column("Question it informs, and does not decide", "text", 2.6),
    )
    from_files = evidence.source == "files"
    cells = tuple((Cell(_PARTS_OF_SCORES.get(a, a) if from_files else a), Cell(b)) for a, b in _QUESTIONS)
    mapping = Table("Where this evidence can be used.", columns, cells)
    disclaimer = Paragraph(DISCLAIMER_OF_SCORES if from_files else DISCLAIMER)
    return Section("limits", "What does this not show?", (Bullets(tuple(caveats(evidence))), disclaimer, mapping))


def reproduce(record: Record) -> Section:
    """Commands, hashes, versions and the plan."""
    evidence, found = record.evidence, record.circumstances
    same = "files" if evidence.source == "files" else "plan"
    again = "# this report again, from its record alone\ncertunlearn report record.json"
    anew = f"# save the plan below as plan.toml, then\npython -m certunlearn audit plan.toml --seed {evidence.seed}"
    if evidence.source == "files":
        anew = f"# on the same files\n{found.command}"
    facts = (
        ("Command that was run", found.command),
        ("Commit", found.commit or "not recorded"),
        ("Date", found.date),
        ("Device", evidence.device),
        ("SHA-256 of the evidence", record.evidence_sha256),
        ("SHA-256 of the plan", evidence.plan_sha256),
    )
    versions = Facts(tuple(sorted(found.versions.items())))
    blocks: list[Block] = [
        Code(f"{anew}\n{again}"),
        Facts(facts),
        Details("Versions", (versions,)),
        Details("What was asked for" if same == "files" else "The plan", (Code(toml(evidence.plan)),)),
    ]
    if evidence.arrays:
        columns = (Column("Array", "text", 2), Column("Shape", "word"), Column("SHA-256, first 16 digits", "word"))
        rows = tuple(
            (Cell(a.name), Cell(" × ".join(count(s) for s in a.shape)), Cell(a.sha256[:16])) for a in evidence.arrays
        )
        table = Table("Arrays in arrays.npz; the record holds the full hashes.", columns, rows)
        meanings = Facts(tuple(dict.fromkeys((a.name.rpartition("/")[2], a.meaning) for a in evidence.arrays)))
        blocks.append(Details("Arrays kept beside the record", (meanings, table)))
    text = f"Same {same}, same seed, same machine: the same evidence, and so the same hash. Times and dates may differ."
    return Section("reproduce", "How to reproduce it?", (Paragraph(text), *blocks))


def glossary(evidence: Evidence) -> Section:
    """Words, and the verdicts."""
    from_files = evidence.source == "files"
    found = meanings(from_files=from_files)
    verdicts = Facts(tuple((verdict.value, meaning) for verdict, meaning in found.items()))
    words = Facts(GLOSSARY_OF_SCORES if from_files else GLOSSARY)
    return Section("glossary", "What do the words mean?", (words, Paragraph("", "The verdicts"), verdicts))
