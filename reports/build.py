"""The report as a document, from the record alone."""

from unlearning.record import Record

from .closing import accuracy, constants, controls, cost, glossary, limits, reproduce
from .comparison import comparison
from .document import Document
from .front import front
from .readings import from_files
from .rows import row_section
from .score_rows import score_section
from .wording import plural


def build(record: Record) -> Document:
    """Write every section; a pure function of the record."""
    evidence = record.evidence
    rows = tuple(
        score_section(row, place) if from_files(row) else row_section(row, place, record.circumstances.replays)
        for place, row in enumerate(evidence.rows, start=1)
    )
    trained = evidence.source == "plan"
    sections = (
        *((comparison(evidence),) if trained else ()),
        *rows,
        *((constants(evidence), controls(evidence), accuracy(evidence)) if trained else ()),
        cost(record),
        limits(evidence),
        reproduce(record),
        glossary(evidence),
    )
    made = f"{plural(len(rows), 'row')}, {plural(len(evidence.controls), 'control')}"
    if evidence.source == "files":
        made = "scores from files"
    subtitle = f"Audit of certified unlearning: {made}"
    return Document(
        title=evidence.title,
        subtitle=subtitle,
        front=front(record),
        sections=sections,
        footer=f"evidence {record.evidence_sha256[:16]}",
        date=record.circumstances.date,
    )
