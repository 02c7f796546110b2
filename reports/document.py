"""What a report is made of, before it is HTML or PDF: plain text in a few shapes, no markup anywhere."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from .text import as_typed


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; `label` is set bold at its beginning, `role` is "text", "lead" or "note" (small)."""

    kind: ClassVar[str] = "paragraph"
    text: str
    label: str = ""
    role: str = "text"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A verdict: its word, always, and what the word means."""

    kind: ClassVar[str] = "stamp"
    word: str
    meaning: str
    large: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, one pair a line."""

    kind: ClassVar[str] = "facts"
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list, numbered or not."""

    kind: ClassVar[str] = "bullets"
    entries: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `align` is "text" (wraps), "number" (right) or "word" (left, never wraps)."""

    title: str
    align: str = "number"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell; `tone` names a verdict or a status to colour by (the text is its word), `note` a small second line."""

    text: str
    note: str = ""
    tone: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as SVG, with caption, a description for those who do not see it, and a width in text widths."""

    kind: ClassVar[str] = "figure"
    svg: str
    caption: str
    description: str
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Code:
    """Text set as typed."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, slots=True)
class Details:
    """Evidence for the reviewer: folded in HTML, in small type in PDF, which only names what is not `printed`."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: "tuple[Block, ...]"
    printed: bool = True


Block = Paragraph | Stamp | Facts | Bullets | Table | Figure | Code | Details


@dataclass(frozen=True, slots=True)
class Section:
    """A question and its answer; `anchor` is never text from outside."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    sections: "tuple[Section, ...]" = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    front: tuple[Block, ...]
    sections: tuple[Section, ...]
    footer: str
    date: str = ""
    keywords: tuple[str, ...] = field(default=("machine unlearning", "certified unlearning", "audit"))


def plain(value: Any, text: Callable[[str], str]) -> Any:
    """Turn a document into dictionaries and lists, with `text` applied to every text in it, pictures excepted."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, tuple):
        return [plain(part, text) for part in value]
    if not hasattr(value, "__dataclass_fields__"):
        return value
    found = {f.name: plain(getattr(value, f.name), text) for f in fields(value) if f.name != "svg"}
    if isinstance(value, Figure):
        found["svg"] = value.svg
    if isinstance(value, Code):
        found["text"] = as_typed(found["text"])
    if hasattr(value, "kind"):
        found["kind"] = value.kind
    return found
