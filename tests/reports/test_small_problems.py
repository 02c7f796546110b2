"""Small problems in a report: what was searched, what broke, what it does not show."""

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import reports
from reports import figures
from reports.comparison import mechanism_table
from reports.document import Block, Code, Details, Facts, Figure, Paragraph, Table
from reports.evidence import evidence
from reports.small_problems import small_problems, tightest, unfinished
from reports.text import visible
from unlearning.record import BoundSearch, Row, TriedAgain
from unlearning.verdict import Outcome, Verdict

from . import sample


def row(search: BoundSearch | None, **more: str) -> Row:
    return sample.row("one", Verdict.NOT_REFUTED, bound_search=search, **more)


def blocks(search: BoundSearch, **more: str) -> list[Block]:
    return small_problems(row(search, **more), search, "salt")


def words(found: list[Block]) -> str:
    parts = [block.text for block in found if isinstance(block, Paragraph | Code)]
    parts += [cell.text for block in found if isinstance(block, Table) for line in block.rows for cell in line]
    parts += [f"{name} {value}" for block in found if isinstance(block, Facts) for name, value in block.entries]
    return "\n".join(parts + [block.caption for block in found if isinstance(block, Table)])


def test_the_ratio_is_told_with_what_it_does_not_show() -> None:
    found = blocks(sample.bound_search())
    text = words(found)
    assert "0.9987 of Δ on 3 problems" in text, "a ratio below 1 is never rounded up"
    assert "does not show that no problem breaks the bound" in text
    assert "ridge, 3 records (round), 2 columns" in text and "41" in text and "refused" in text
    for said in ("39 ridge by descent, 2 softmax to the minimum (2 refused)", "too wide", "A note on the search."):
        assert said in text
    assert "neither refused nor judged" in "".join(block.caption for block in found if isinstance(block, Table))
    assert any(isinstance(block, Figure) for block in found)


def test_a_counterexample_is_told_as_a_problem_to_follow() -> None:
    text = words(blocks(sample.bound_search(broken=True)))
    for said in ("0.321", "0.124", "0.777", "forgotten", "kept", "record 2", "0.2"):
        assert said in text
    assert "certunlearn replay counterexamples/sensitivity-Mine-0123abcd.json" in text and "--trust" not in text
    assert "--trust" in words(blocks(sample.bound_search(broken=True), method="own.py:Mine"))


def test_the_command_of_the_record_is_shown_with_its_folder() -> None:
    search = sample.bound_search(broken=True)
    again = {search.counterexample.file: TriedAgain(target="own.py:Mine", command="certunlearn replay here")}
    text = words(small_problems(row(search, method="half"), search, "salt", again))
    assert "certunlearn replay here" in text and "where the audit was started" in text and "--trust" not in text
    again = {search.counterexample.file: TriedAgain(target="own.py:Mine", command=None)}
    assert "beside the record" in words(small_problems(row(search, method="own.py:Mine"), search, "salt", again))


@pytest.mark.parametrize(
    ("statistic", "threshold", "shown"),
    [(0.99999999, 1.0, "0.999999"), (0.9999, 1.0, "0.9999"), (0.25, 0.25, "0.25"), (1.0000001, 1.0, "1")],
)
def test_a_statistic_below_its_threshold_is_not_shown_as_the_threshold(
    statistic: float, threshold: float, shown: str
) -> None:
    line = sample.line("A", "bound-on-small-problems", "Search", "bound", Outcome.NOT_REFUTED)
    line = line.model_copy(update={"statistic": statistic, "threshold": threshold})
    [details] = [block for block in evidence([line]) if isinstance(block, Details)]
    assert f"; statistic {shown}; threshold " in details.blocks[0].text


def test_what_is_long_is_cut_and_says_so() -> None:
    found = blocks(sample.bound_search(broken=True, columns=9, records=40))
    table = next(block for block in found if isinstance(block, Table))
    assert len(table.rows) == 12 and len(table.columns) == 9  # record, six columns, label, forgotten or kept
    assert "28 more records and 3 more columns" in table.caption
    assert any(cell.text == "forgotten" for cell in table.rows[-1]), "the forgotten record is always shown"


def test_nothing_that_can_be_said_has_its_reason_and_no_picture() -> None:
    search = sample.bound_search(unfinished=True)
    silent = search.model_copy(update={"laws": search.laws[1:]})
    found = blocks(silent)
    assert "refused" in words(found) and not any(isinstance(block, Figure) for block in found)
    assert tightest(row(silent)) is None and unfinished(row(silent))


def test_a_law_without_an_end_is_no_bound_that_holds() -> None:
    """The ratios found before are told, and that they are not all."""
    search = sample.bound_search(unfinished=True)
    text = words(blocks(search))
    assert "do not show whether d stays below Δ: after two: refused." in text and "none was found" not in text
    assert "stayed below its Δ: after one request it came up to 0.9987 of Δ on 3 problems" in text
    cell = mechanism_table(sample.evidence(rows=[row(search)])).rows[0][4]
    assert (cell.text, cell.note) == ("0.998", "not all could be tried")
    assert not unfinished(row(sample.bound_search())) and not unfinished(row(None))


def test_a_bound_that_breaks_without_a_distance_is_told_in_words() -> None:
    search = sample.bound_search(broken=True)
    broken = search.counterexample.model_copy(update={"measured": {}, "finding": "certify gives 2 for 1 models."})
    text = words(blocks(search.model_copy(update={"counterexample": broken})))
    assert "Δ does not hold. certify gives 2 for 1 models. The problem: ridge" in text and "—" not in text


def test_a_reason_beside_a_breach_is_told() -> None:
    search = sample.bound_search(broken=True)
    both = [*sample.bound_search(unfinished=True).laws[1:], *search.laws]
    assert "After two: refused." in words(blocks(search.model_copy(update={"laws": both})))


def test_a_record_without_counts_by_kind_renders() -> None:
    search = sample.bound_search()
    old = search.model_dump(exclude={"laws": {"__all__": {"kinds", "remarks"}}, "remarks": True})
    text = words(blocks(BoundSearch(**old)))
    assert "0.9987 of Δ on 3 problems" in text and "by descent" not in text


def test_distances_of_zero_are_said_to_be_zero() -> None:
    search = sample.bound_search()
    law = search.laws[0].model_copy(update={"ratios": [0.0], "tightest": 0.0})
    assert "was 0, rounding aside, on 1 problem" in words(blocks(search.model_copy(update={"laws": [law]})))


def test_the_comparison_has_a_column_only_where_something_was_searched() -> None:
    searched = [row(sample.bound_search()), row(sample.bound_search(broken=True)), row(None)]
    table = mechanism_table(sample.evidence(rows=searched))
    assert [line[4].text for line in table.rows] == ["0.998", "> 1", "—"]
    assert len(mechanism_table(sample.evidence(rows=[row(None)])).columns) == len(table.columns) - 1


def test_the_picture_repeats_and_is_svg() -> None:
    search = sample.bound_search()
    svg = figures.small_problems(search, "a")
    assert svg == figures.small_problems(search, "a") and ElementTree.fromstring(svg).tag.endswith("svg")


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_numbers_are_in_both_outputs(tmp_path: Path) -> None:
    rows = [row(sample.bound_search()), row(sample.bound_search(broken=True))]
    record = sample.record(rows=[one.model_copy(update={"name": str(place)}) for place, one in enumerate(rows)])
    reports.write_reports(record, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    typeset = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    typeset = typeset.replace("\u200b", "")  # where a long word may be broken
    for said in ("0.9987", "0.321", "0.124", "0.777", "sensitivity-Mine-0123abcd.json"):
        assert said in page and said in typeset, said
    assert "<script>alert" not in page and visible("alert") in page


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_a_command_can_be_copied_from_the_pdf(tmp_path: Path) -> None:
    """No mark of where a long path may break is hidden in it."""
    broken = sample.bound_search(broken=True)
    command = f"certunlearn replay out/audit/counterexamples/{broken.counterexample.file} --method own.py:Mine"
    record = sample.record(rows=[row(broken)])
    again = {broken.counterexample.file: TriedAgain(target="own.py:Mine", command=command)}
    ran_as = record.circumstances.model_copy(update={"replays": again})
    reports.write_reports(record.model_copy(update={"circumstances": ran_as}), tmp_path)
    pdf = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    assert command in subprocess.run(pdf, capture_output=True, check=True, text=True).stdout
