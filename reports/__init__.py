"""Reports: an audit's record as HTML and PDF, without torch, clock or network."""

import os
import tempfile
from pathlib import Path

from unlearning.record import Record

from .build import build
from .html import to_html
from .markdown import to_markdown
from .pdf import to_pdf

__all__ = ["render_html", "render_pdf", "write_markdown", "write_reports"]


def render_html(record: Record) -> str:
    """Write a record as one self-contained HTML page; the same record gives the same page."""
    return to_html(build(record))


def render_pdf(record: Record) -> bytes:
    """Typeset a record as PDF/A; the same record gives the same bytes.

    Raises:
        RecordError: the record could not be typeset.
    """
    return to_pdf(build(record))


def write_reports(record: Record, folder: Path, *, html: bool = True, pdf: bool = True) -> list[Path]:
    """Write `report.html` and `report.pdf` into a folder, whole or not at all, and return their paths.

    Raises:
        RecordError: the record could not be typeset.
        OSError: the folder cannot be written to.
    """
    document = build(record)
    written = []
    if html:
        written.append(_replace(folder / "report.html", to_html(document).encode("utf-8")))
    if pdf:
        written.append(_replace(folder / "report.pdf", to_pdf(document)))
    return written


def write_markdown(record: Record, path: Path) -> list[Path]:
    """Write the comparison of all rows as a Markdown page with its pictures beside it, and return their paths.

    Raises:
        OSError: the folder cannot be written to.
    """
    page, pictures = to_markdown(record, path.stem)
    written = [_replace(path.parent / name, svg.encode("utf-8")) for name, svg in pictures.items()]
    return [_replace(path, page.encode("utf-8")), *written]


def _replace(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
