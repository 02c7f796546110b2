"""A document as PDF/A by typst: text travels as JSON data and is never read as markup."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import typst

from unlearning.errors import RecordError

from .document import Document, plain
from .text import printable

_TEMPLATE = Path(__file__).with_name("report.typ")
_STANDARD: Literal["a-2a"] = "a-2a"


def to_pdf(document: Document) -> bytes:
    """Typeset the document.

    Raises:
        RecordError: typst refused or warned.
    """
    data = plain(document, printable)
    try:
        pdf, warnings = typst.compile_with_warnings(
            _TEMPLATE.read_bytes(),
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"document": json.dumps(data, ensure_ascii=False)},
            pdf_standards=[_STANDARD],
            timestamp=_timestamp(document.date),
        )
    except typst.TypstError as error:
        raise RecordError(f"The report of this record could not be typeset: {_brief(error.message)}") from error
    if warnings:
        raise RecordError(f"The report of this record was typeset with a warning: {_brief(warnings[0].message)}")
    return bytes(pdf)


def _timestamp(date: str) -> int:
    """Seconds since 1970, or 0 where the date cannot be read: PDF/A asks for some date, and a clock is no source."""
    try:
        found = datetime.fromisoformat(date)
    except ValueError:
        return 0
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return max(0, int(aware.timestamp()))


def _brief(message: str) -> str:
    return re.sub(r"\s+", " ", message)[:300]
