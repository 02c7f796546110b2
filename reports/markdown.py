"""The comparison of a report as one Markdown page with SVG pictures beside it: for repositories and pull requests."""

from unlearning.record import Record

from .comparison import comparison, findings_table
from .document import Block, Cell, Column, Figure, Paragraph, Table
from .drawing import on_white
from .front import finding_sentence
from .numerals import quantity
from .text import visible
from .wording import plural

_REPORTED = "What the methods report of their own runs, median over replicas; it decides nothing."


def to_markdown(record: Record, stem: str) -> tuple[str, dict[str, str]]:
    """Write the page.

    Args:
        record: an audit's record.
        stem: first part of the pictures' file names.

    Returns:
        The page, and the pictures by file name, to be put beside it.
    """
    evidence, circumstances = record.evidence, record.circumstances
    pictures: dict[str, str] = {}
    blocks: tuple[Block, ...] = (
        Paragraph(finding_sentence(evidence)),
        findings_table(evidence),
        *comparison(evidence).blocks,
        *_quantities(record),
    )
    parts = [f"# {_text(evidence.title)}", *(_block(block, stem, pictures) for block in blocks)]
    hardware = f"{circumstances.device}, {plural(circumstances.jobs, 'worker')}"
    parts.append(
        f"Evidence `{record.evidence_sha256[:16]}`, commit `{(circumstances.commit or 'not recorded')[:12]}`, "
        f"{circumstances.date[:10]}, {circumstances.seconds:.0f} s ({_text(hardware)}). "
        f"Made by `{_text(circumstances.command)}`."
    )
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def _quantities(record: Record) -> list[Block]:
    """What the methods report of their own runs, medians side by side."""
    rows = [row for row in record.evidence.rows if row.quantities]
    names = list(dict.fromkeys(q.name for row in rows for q in row.quantities))
    if not names:
        return []
    bounds = [
        name for name in names if any(q.noise_scale_required for r in rows for q in r.quantities if q.name == name)
    ]
    columns = (
        Column("Row", "text"),
        *(Column(name) for name in names),
        *(Column(f"σ needed: {name}") for name in bounds),
    )
    cells = []
    for row in rows:
        medians = {q.name: q.median for q in row.quantities}
        asked = {q.name: q.noise_scale_required for q in row.quantities}
        values = [medians.get(name) for name in names] + [asked.get(name) for name in bounds]
        cells.append((Cell(row.name), *(Cell(quantity(value)) for value in values)))
    return [
        Table(
            _REPORTED,
            columns,
            tuple(cells),
        )
    ]


def _block(block: Block, stem: str, pictures: dict[str, str]) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        name = f"{stem}-{len(pictures) + 1}.svg"
        pictures[name] = on_white(block.svg)
        return f"![{_text(block.description)}]({name})\n\n*{_text(block.caption)}*"
    if isinstance(block, Paragraph):
        label = f"**{_text(block.label)}** " if block.label else ""
        return f"{label}{_text(block.text)}".strip()
    return ""


def _table(table: Table) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def rule(column: Column) -> str:
        return "---:" if column.align == "number" else ":---"

    body = [
        line([_text(cell.text) + (f" ({_text(cell.note)})" if cell.note else "") for cell in r]) for r in table.rows
    ]
    head = [line([_text(column.title) or " " for column in table.columns]), line([rule(c) for c in table.columns])]
    return "\n".join([*head, *body]) + f"\n\n*{_text(table.caption)}*"


def _text(text: str) -> str:
    """Text from outside as text: what Markdown or HTML would read as markup is escaped."""
    plain = " ".join(visible(text).split())
    for mark in "\\`*_[]<>|#":
        plain = plain.replace(mark, {"<": "&lt;", ">": "&gt;"}.get(mark, f"\\{mark}"))
    return plain
