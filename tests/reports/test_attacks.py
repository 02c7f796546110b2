"""Attacks in a report: every number of the record, what may be said of it, and nothing where there was no attack."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

import reports
from reports import attack_figures as figures
from reports.attack_readings import contests, one_version, regimes, shown, strongest, swept_attack
from reports.attacks import attacks_section
from reports.build import build
from reports.comparison import comparison
from reports.document import Details, Document, Paragraph, Section, plain
from reports.numerals import count, fixed, number
from reports.text import visible
from unlearning.record import Record, Row
from unlearning.record_attacks import Attacks, Interval
from unlearning.verdict import Outcome, Verdict

from . import attacks_sample, sample

Array = NDArray[np.float64]


def attacked(found: Attacks | None, **more: object) -> Row:
    return sample.row("one", Verdict.NOT_REFUTED, attacks=found, **more)


def words(section: Section) -> str:
    found: list[str] = []

    def keep(text: str) -> str:
        found.append(text)
        return text

    plain(section, keep)
    return "\n".join(found)


def said(found: Attacks) -> str:
    (section,) = attacks_section(attacked(found), "row-1")
    return words(section)


@pytest.fixture(scope="module")
def record() -> Record:
    return attacks_sample.record()


@pytest.fixture(scope="module")
def document(record: Record) -> Document:
    return build(record)


@pytest.fixture(scope="module")
def html(record: Record) -> str:
    return reports.render_html(record)


def limits(found: Interval) -> Iterator[str]:
    yield fixed(found.mean)
    if found.lower is not None:
        yield f"{fixed(found.lower, 3, 'down')} to {fixed(found.upper, 3, 'up')}"


def numbers(found: Attacks) -> Iterator[str]:
    """Every number that the report owes the reader, as it writes it."""
    for result in found.results:
        yield from limits(result.auc)
        if result.against == "unlearned":
            yield from limits(result.gap)
            yield from limits(result.balanced_accuracy)
            yield fixed(result.auc_lower, 3, "down")
        if result.against == "original":
            yield f"power {fixed(result.power, 3, 'down')}"
        point = result.points[0]
        yield f"{count(point.true_positives)} of {count(point.positives)}"
        yield f"{count(point.false_positives)} of {count(point.negatives)}"
    for one in found.records:
        yield f"{count(sum(one.right))} of {count(sum(one.answers))}"
        yield from (fixed(value) for value in one.quantiles.values())
        for group in one.groups:
            yield f"{count(group.right)} of {count(group.answers)}"
            yield from limits(group.mean)
    for pair in found.differencing:
        yield f"{count(pair.wins)} of {count(pair.records)}"
        yield from limits(pair.degradation_count)
        yield from limits(pair.degradation_rate)
    for built in found.reconstructions:
        for interval in (built.cosine, built.average, built.difference, built.gap):
            yield from limits(interval)
        yield fixed(built.gap_allowed, 3, "up")
        yield f"{count(built.above_average)} of {built.cosine.runs}"
    for measure in found.measures:
        for interval in measure.models.values():
            yield number(interval.mean)
            yield f"{number(interval.lower, rounding='down')} to {number(interval.upper, rounding='up')}"
    for point in found.sweep:
        for models in point.aucs.values():
            for interval in models.values():
                yield from limits(interval)
        for interval in point.holdout.values():
            yield fixed(100 * interval.mean, 1)


def test_every_number_is_on_the_page(html: str) -> None:
    text = re.sub(r"<[^>]*>", " ", html)
    assert not sorted({n for n in numbers(attacks_sample.attacks()) if n not in text})


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_every_number_is_in_the_pdf(record: Record, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(reports.render_pdf(record))
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    text = re.sub(r"\s+", " ", subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert not sorted({n for n in numbers(attacks_sample.attacks()) if n not in text})
    assert "*bold*" in text and "#let x" in text


def test_hostile_names_are_text(html: str) -> None:
    assert "<script>alert" not in html and "\u202e" not in html
    assert "&lt;script&gt;alert" in html
    assert visible(sample.HOSTILE) in said(attacks_sample.few()).replace("\u202e", "⟨U+202E⟩")


def test_without_attacks_there_is_no_section_and_no_column() -> None:
    assert attacks_section(attacked(None), "row-1") == ()
    bare = reports.render_html(sample.without_evidence())
    assert "What would an attacker get?" not in bare and "MIA-L gap" not in bare


def test_lines_without_results_say_why() -> None:
    lines = [sample.line("E", "attack", "Attack", "attack", Outcome.NOT_COMPUTABLE)]
    (section,) = attacks_section(attacked(None, lines=lines), "row-1")
    assert "2048 a side would do" in words(section) and section.title.endswith("?")


def test_section_is_a_question_with_anchors_of_its_own(document: Document) -> None:
    anchors = [s.anchor for section in document.sections for s in (section, *section.sections)]
    assert len(set(anchors)) == len(anchors)
    titles = [s.title for section in document.sections for s in section.sections if s.anchor.endswith("-attacked")]
    assert titles == ["What would an attacker get?"] * 3


def test_rung_e_is_evidence_of_this_section_alone(document: Document) -> None:
    row = next(section for section in document.sections if section.anchor == "row-1")
    told = next(s for s in row.sections if s.anchor == "row-1-told")
    mine = next(s for s in row.sections if s.anchor == "row-1-attacked")
    assert "Attack chosen on shadow runs" in words(mine) and "Attack chosen on shadow runs" not in words(told)


def test_nothing_passes_and_doing_nothing_is_caught() -> None:
    text = said(attacks_sample.attacks())
    assert not re.search(r"\bpass(ed|es)?\b|compliant|\bsafe\b|\bprivate\b", text, re.IGNORECASE)
    assert "Doing nothing was caught by 8 of 8 attacks" in text and "stated beforehand" in text
    assert "Forgotten records were told apart" in text
    assert "Exact retraining leaks to such an attacker as well" in text
    assert "0.1\u00a0% is not resolvable: it needs 10\u202f000 records" in text


def test_silence_of_a_weak_audit_means_nothing() -> None:
    found = attacks_sample.attacks()
    weak = [r.model_copy(update={"caught": False, "power": 0.04}) for r in found.results]
    text = said(found.model_copy(update={"results": weak}))
    assert "caught by 0 of 8" in text and "their silence says nothing" in text and "did not" in text
    assert "Forgotten records were not told apart" in text and "A better attack may do it" in text
    assert "their silence means nothing" in said(attacks_sample.few()), "doing nothing was not attacked"


def test_choice_on_shadow_runs_is_not_swayed_by_targets() -> None:
    found = attacks_sample.attacks()

    def lucky(update: dict[str, object]) -> Attacks:
        results = [
            r.model_copy(update={"auc": attacks_sample.interval(0.97)}) if r.attack == "svc" else r
            for r in found.results
        ]
        return found.model_copy(update={"results": [r.model_copy(update=update) for r in results]})

    honest = strongest(one_version(contests(lucky({}), "fresh")))
    assert honest is not None and honest.beforehand and honest.contest.any.attack == "lira-online"
    biased = strongest(one_version(contests(lucky({"shadow_auc": None}), "fresh")))
    assert biased is not None and not biased.beforehand and biased.contest.any.attack == "svc"
    assert "chosen on these very runs" in said(lucky({"shadow_auc": None}))
    assert "chosen on these very runs" not in said(lucky({}))


def test_of_many_combinations_the_chosen_the_median_and_the_largest_are_shown() -> None:
    remarks = [
        remark for remark, contest in shown(contests(attacks_sample.attacks(), "fresh")) if contest.both_versions
    ]
    assert len(remarks) == 2 and "chosen of 20" in remarks[0] and "biased upward" in remarks[0]
    assert "median of 20" in remarks[1]


def test_seeds_stand_apart_and_other_noise_is_left_to_the_sweep() -> None:
    found = attacks_sample.attacks()
    assert regimes(found) == ["fresh", "one seed"]
    noisy = [r.model_copy(update={"noise_factor": 3.0}) for r in found.results]
    assert not contests(found.model_copy(update={"results": noisy}), "fresh")
    (section,) = attacks_section(attacked(found), "row-1")
    assert any(isinstance(b, Details) and b.summary == "The same with one seed" for b in section.blocks)


def test_no_result_at_all_is_not_computable() -> None:
    found = attacks_sample.few().model_copy(update={"results": []})
    (section,) = attacks_section(attacked(found), "row-1")
    assert any(isinstance(b, Paragraph) and b.label == "Not computable." for b in section.blocks)


def test_the_attack_drawn_over_noise_is_the_one_that_sees_doing_nothing_best() -> None:
    assert swept_attack(attacks_sample.sweep()) == "lira-online"


def test_band_of_guessing_is_that_of_random_orders() -> None:
    positives, negatives, wrong, runs = 30, 40, np.array([0, 3, 20]), 4000
    generator = np.random.default_rng(5)
    rates = np.empty((3, runs))
    for run in range(runs):
        called = generator.permutation(positives + negatives) < positives  # from the largest score on
        rates[:, run] = np.cumsum(called)[np.flatnonzero(~called)[wrong]] / positives

    def covered(low: Array, high: Array) -> Array:
        return np.asarray(((low[:, None] <= rates) & (rates <= high[:, None])).mean(1))

    needed = 0.95 - 5 * np.sqrt(0.95 * 0.05 / runs)
    assert (covered(*figures.null_band(positives, negatives, wrong)) >= needed).all()
    share = (wrong + 1) / (negatives + 1)  # the broken twin: the band of a coin, as if the threshold were no draw
    assert (covered(*(binom.ppf(q, positives, share) / positives for q in (0.025, 0.975))) < needed).any()


def test_figures_are_small_repeat_and_bear_gaps() -> None:
    found = attacks_sample.attacks()
    many, few = contests(found, "fresh"), contests(attacks_sample.few(), "fresh")
    rows = attacks_sample.rows()
    unlearned = [built for built in found.reconstructions if built.against == "unlearned"]
    draws = [
        lambda: figures.roc(many[0], "a"),
        lambda: figures.roc(few[0], "a"),
        lambda: figures.aucs(many, 0.606, "a"),
        lambda: figures.aucs(few, None, "a"),
        lambda: figures.reconstruction(found.reconstructions, "a"),
        lambda: figures.reconstruction(unlearned, "a"),
        lambda: figures.sweep(found.sweep, "lira-online", "a"),
        lambda: figures.sweep(found.sweep[:1], "absent", "a"),
        lambda: figures.sweeps(rows, "a"),
    ]
    for draw in draws:
        svg = draw()
        assert draw() == svg and len(svg) < 150_000
        assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_rows_are_compared_by_gap_and_over_noise(html: str) -> None:
    assert "MIA-L gap" in html and "MIA-U gap" in html
    assert "How noise buys privacy" in html
    one = comparison(sample.evidence(rows=attacks_sample.rows()[:1]))
    assert "MIA-L gap" in words(one) and "How noise buys privacy" not in words(one), "one row has its own picture"
