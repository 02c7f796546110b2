"""The report as a document, from the record alone."""

from unlearning.record import Record

from .closing import accuracy, constants, controls, cost, glossary, limits, reproduce
from .comparison import comparison
from .document import Document
from .front import front
from .rows import row_section
from .wording import plural


def build(record: Record) -> Document:
    """Write every section; a pure function of the record."""
    evidence = record.evidence
    rows = tuple(row_section(row, place) for place, row in enumerate(evidence.rows, start=1))
    sections = (
        comparison(evidence),
        *rows,
        constants(evidence),
        controls(evidence),
        accuracy(evidence),
        cost(record),
        limits(evidence),
        reproduce(record),
        glossary(),
    )
    subtitle = f"Audit of certified unlearning: {plural(len(rows), 'row')}, {plural(len(evidence.controls), 'control')}"
    return Document(
        title=evidence.title,
        subtitle=subtitle,
        front=front(record),
        sections=sections,
        footer=f"evidence {record.evidence_sha256[:16]}",
        date=record.circumstances.date,
    )
