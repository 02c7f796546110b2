"""HTML and PDF: the same bytes every time, everything escaped, nothing fetched, no torch."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reports
from reports.numerals import exact, number
from reports.text import printable, visible
from unlearning.errors import RecordError
from unlearning.record import Record, read_record
from unlearning.verdict import Verdict

from . import sample

VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use"}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "script" not in self.open:
            self.text.append(data)


@pytest.fixture(scope="module")
def record() -> Record:
    return sample.record()


@pytest.fixture(scope="module")
def html(record: Record) -> str:
    return reports.render_html(record)


@pytest.fixture(scope="module")
def pdf(record: Record) -> bytes:
    return reports.render_pdf(record)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    found = Page()
    found.feed(html)
    found.close()
    return found


def test_same_record_same_bytes(record: Record, html: str, pdf: bytes) -> None:
    assert reports.render_html(record) == html
    assert reports.render_pdf(record) == pdf


def test_written_record_gives_the_same_report(record: Record, html: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(record.model_dump_json(indent=1))
    assert reports.render_html(read_record(tmp_path / "record.json")) == html


def test_html_is_well_formed_and_small(page: Page, html: str) -> None:
    assert page.open == []
    assert html.startswith("<!DOCTYPE html>")
    assert len(html.encode()) < 2_000_000
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    links = {a["href"] for tag, a in page.tags if tag == "a" and a.get("href")}
    assert {link[1:] for link in links if link} <= set(identifiers)


def test_nothing_is_fetched(page: Page, html: str) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert tag not in {"link", "img", "iframe", "object", "embed"}
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_text_from_outside_is_text(page: Page, html: str) -> None:
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert "<script>alert" not in html
    assert visible(sample.HOSTILE) in "".join(page.text)
    assert "\u202e" not in html


def test_every_row_verdict_and_number_is_there(record: Record, page: Page) -> None:
    text = "".join(page.text)
    for row in record.evidence.rows:
        assert visible(row.name) in text
        assert row.verdict.value in text
        assert number(row.noise_scale) in text
        assert exact(row.claim.epsilon) in text
        if row.distances:
            assert number(row.distances.noop_epsilon) in text
            assert number(row.distances.unlearned[-1]) in text
        for line in row.lines:
            assert line.finding in text
            assert number(line.epsilon_lower, rounding="down") in text or line.kind == "exact"
    for control in record.evidence.controls:
        assert control.title in text
    for constant in record.evidence.tasks[0].constants:
        assert constant.statement in text and constant.how in text
    assert record.evidence_sha256 in text
    assert str(record.circumstances.commit) in text
    assert record.circumstances.date in text


def test_every_evidence_scroller_is_reached_by_keyboard(page: Page) -> None:
    boxes = [a for tag, a in page.tags if tag == "div" and a.get("class") == "scroll"]
    assert boxes and all(a.get("tabindex") == "0" and a.get("aria-label") for a in boxes)
    pictures = [a for tag, a in page.tags if tag == "svg"]
    assert pictures and all(a.get("role") == "img" and a.get("aria-label") for a in pictures)


def test_pdf_is_archival_tagged_and_titled(pdf: bytes) -> None:
    assert pdf.startswith(b"%PDF-1.7")
    assert b"<pdfaid:conformance>A<" in pdf and b"/MarkInfo" in pdf and b"/Outlines" in pdf
    assert b"Which of these methods forget" in pdf
    assert 50_000 < len(pdf) < 5_000_000
    assert len(re.findall(rb"/Type ?/Page\b", pdf)) > 8


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_pdf_has_the_words(record: Record, pdf: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(pdf)
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    for row in record.evidence.rows:
        assert row.verdict.value in text
        assert printable(row.name).split()[0] in text
    assert record.evidence_sha256 in text
    assert "*bold*" in text and "#let x" in text and "$x^2$" in text


def test_missing_evidence_renders() -> None:
    bare = sample.without_evidence()
    html = reports.render_html(bare)
    assert "not run in this plan" in html
    assert "not recorded" in html
    assert reports.render_pdf(bare).startswith(b"%PDF")


def test_audit_without_rows_renders() -> None:
    empty = sample.record(rows=[], controls=[], tasks=[])
    assert "Nothing was audited" in reports.render_html(empty)
    assert reports.render_pdf(empty).startswith(b"%PDF")


def test_files_are_written_whole_or_not_at_all(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = reports.write_reports(record, tmp_path)
    assert written == [tmp_path / "report.html", tmp_path / "report.pdf"]
    before = [path.read_bytes() for path in written]

    def refuse(*_: object) -> bytes:
        raise RecordError("no")

    monkeypatch.setattr(reports, "to_pdf", refuse)
    with pytest.raises(RecordError):
        reports.write_reports(record, tmp_path, html=False)
    assert [path.read_bytes() for path in written] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.pdf"]
    assert reports.write_reports(record, tmp_path / "new", pdf=False) == [tmp_path / "new" / "report.html"]


def test_reports_need_no_torch_and_none_of_the_strangers() -> None:
    code = """
import sys
blocked = ("torch", "learning", "methods", "audit", "properties", "certunlearn")
for name in blocked:
    sys.modules[name] = None
import reports
from tests.reports import sample
record = sample.without_evidence()
assert reports.render_html(record).startswith("<!DOCTYPE html>")
assert reports.render_pdf(record).startswith(b"%PDF")
assert not [m for m in sys.modules if m.split(".")[0] in blocked and sys.modules[m] is not None]
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_date_that_is_none_is_no_obstacle(record: Record) -> None:
    odd = record.model_copy(update={"circumstances": sample.circumstances(date="sometime")})
    assert reports.render_pdf(odd).startswith(b"%PDF")


def test_markdown_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    hostile = sample.record(rows=[sample.row(sample.HOSTILE, Verdict.NOT_REFUTED)])
    written = reports.write_markdown(hostile, tmp_path / "page.md")
    page = written[0].read_text(encoding="utf-8")
    assert "<script" not in page and "<img" not in page
    assert {path.name for path in written} == {"page.md", "page-1.svg", "page-2.svg"}
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines() if line.startswith("|")]
    assert len(columns) == 12 and len(set(columns)) == 4  # four tables of three lines
    again = reports.write_markdown(hostile, tmp_path / "page.md")
    assert page == again[0].read_text(encoding="utf-8")
