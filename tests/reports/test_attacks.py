"""Attacks in a report: every number of the record, what may be said of it, and nothing where there was no attack."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

import reports
from reports import attack_figures as figures
from reports.attack_readings import both_versions, contests, one_version, regimes, shown, strongest, swept_attack
from reports.attacks import attacks_section
from reports.build import build
from reports.comparison import comparison
from reports.document import Block, Cell, Details, Document, Paragraph, Section, Table, plain
from reports.front import rungs_table
from reports.numerals import count, fixed, number, power
from reports.text import visible
from unlearning.attack_choice import deciding_attack
from unlearning.claim import SeedPolicy
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
        yield f"{fixed(found.lower, 3, 'down')} to {fixed(min(1.0, found.upper or 0.0), 3, 'up')}"


def numbers(found: Attacks) -> Iterator[str]:
    """Every number that the report owes the reader, as it writes it."""
    for result in found.results:
        yield from limits(result.auc)
        if result.against == "unlearned":
            yield from limits(result.gap)
            yield from limits(result.balanced_accuracy)
        if result.against == "original":
            yield f"power {power(result.power)}"
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
    text = unescape(re.sub(r"<[^>]*>", " ", html))
    assert not sorted({n for n in numbers(attacks_sample.attacks()) if n not in text})


def printed(found: Attacks) -> Iterator[str]:
    """Those that are in the PDF as well: of the strongest attacks, and of what decides."""
    every = contests(found, "fresh")
    for own in (one_version(every), both_versions(every)):
        choice = strongest(own)
        assert choice is not None
        for result in choice.contest.results.values():
            yield from limits(result.auc)
            yield from limits(result.gap) if result.against == "unlearned" and result.gap else ()
            yield f"{count(result.points[0].true_positives)} of {count(result.points[0].positives)}"
    yield from (fixed(one.quantiles["0.9"]) for one in found.records if one.attack == found.records[0].attack)
    for built in found.reconstructions:
        if built.noise_factor == 1:
            yield from limits(built.cosine)


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_the_pdf_holds_the_strongest_and_says_where_the_rest_is(record: Record, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(reports.render_pdf(record))
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    text = re.sub(r"\s+", " ", subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert not sorted({n for n in printed(attacks_sample.attacks()) if n not in text})
    assert "*bold*" in text and "#let x" in text
    assert "In report.html and record.json: Attacks in numbers" in text and "The same attacks with one seed" in text
    assert "All 20 attacks on both versions." not in text and "Right answers by groups" not in text


def blocks(section: Section) -> list[Block]:
    """Blocks of a section, folded ones too."""

    def within(found: tuple[Block, ...]) -> Iterator[Block]:
        for block in found:
            yield block
            if isinstance(block, Details):
                yield from within(block.blocks)

    return list(within(section.blocks))


def shown_to(row: Row) -> Section:
    (section,) = attacks_section(row, "row-1")
    return section


def tables(section: Section) -> list[Table]:
    return [block for block in blocks(section) if isinstance(block, Table)]


def test_it_opens_with_one_small_table_in_plain_words() -> None:
    first = shown_to(attacks_sample.rows()[0]).blocks[0]
    assert isinstance(first, Table) and len(first.rows) == 4
    who = [row[0].text for row in first.rows]
    assert who == ["One model", "Both versions", "One model, record by record", "Both versions of one deletion"]
    assert all(row[-1].text.endswith(".") for row in first.rows)


def test_power_stands_under_the_answer() -> None:
    labels = [b.label for b in shown_to(attacks_sample.rows()[0]).blocks if isinstance(b, Paragraph)]
    assert labels[:2] == ["Answer.", "Power."]
    text = words(shown_to(attacks_sample.rows()[0]))
    assert "doing nothing with probability <\u00a00.01. So its silence says nothing." in text


def test_the_ladder_is_no_success_without_power() -> None:
    row = attacks_sample.rows()[0]
    line = next(x for x in row.lines if x.key == "attack")

    def rung(noop_power: float) -> tuple[Cell, ...]:
        own = row.model_copy(update={"lines": [line.model_copy(update={"noop_power": noop_power})]})
        found = rungs_table(sample.evidence(rows=[own]))
        return next(cells for cells in found.rows if cells[0].text.startswith("E."))

    blind, able = rung(0.004), rung(0.93)
    assert blind[1].note == "without power" and blind[1].tone != Outcome.NOT_REFUTED.value
    assert "1 without power: they would refute doing nothing with probability <" in blind[2].text
    assert able[1].tone == Outcome.NOT_REFUTED.value and "without power" not in able[2].text
    assert "without the seed" not in words(Section("", "", (rungs_table(sample.evidence(rows=[row])),)))


def test_the_gap_of_both_versions_is_that_of_one_fit() -> None:
    row = attacks_sample.rows()[0]
    section = shown_to(row)
    caption = next(t.caption for t in tables(section) if t.caption.startswith("Attacks on released models"))
    assert "not the difference of the AUCs beside it" in caption and "the run’s own seed" in caption
    for table in tables(section):
        if "gap\u00a0to retrained" in [column.title for column in table.columns]:
            place = [column.title for column in table.columns].index("gap\u00a0to retrained")
            for cells in table.rows:
                assert cells[place].note.endswith("one fit for both") == cells[0].text.startswith("MIA-U")
    text = words(section)
    assert "One attack taught by pairs of both kinds has a gap of" in text
    assert "seeds of their own" not in text and "seeds of its own" not in text
    assert "one\u00a0fit for\u00a0both" in words(comparison(sample.evidence(rows=[row])))


def test_the_limit_and_its_level_are_the_deciding_lines_and_nobody_elses() -> None:
    row = attacks_sample.rows()[0]
    told = "its mean AUC is at least 0.504 except with probability 0.00125, not above the 0.606 that the claim allows"
    assert words(shown_to(row)).count(told) == 1, "once: of the attack and the seeds that it rests on"
    line = next(x for x in row.lines if x.key == "attack").model_copy(update={"outcome": Outcome.REFUTED})
    refuted = words(shown_to(row.model_copy(update={"lines": [line]})))
    assert "probability 0.00125, above the 0.606 that the claim allows" in refuted
    assert "it is refuted" in refuted
    silent = words(shown_to(row.model_copy(update={"lines": []})))
    assert "that the claim allows" not in silent and "not above the 0." not in silent


def test_the_strongest_is_the_one_that_decides_and_no_own_attack() -> None:
    found = attacks_sample.attacks()
    best = attacks_sample.interval(0.99, 0.001, 64)
    own = attacks_sample.on_all(
        "mine", "Mine", "MIA-L", {"retrained": 0.5, "unlearned": 0.97, "original": 0.98}, shadow_auc=best
    )
    both = found.model_copy(update={"results": [*own, *found.results]})
    choice, decides = strongest(one_version(contests(both, "fresh"))), deciding_attack(both.results, "unlearned")
    assert choice is not None and choice.contest.results["unlearned"] is decides and choice.tried == 8
    text = said(both)
    assert "your own: shown, decides nothing" in text and "Mine is strongest" not in text
    only = strongest(one_version(contests(found.model_copy(update={"results": own}), "fresh")))
    assert only is not None and only.contest.any.attack == "mine"
    assert "Mine (your own: it decides nothing)" in said(found.model_copy(update={"results": own}))


def test_runs_that_released_the_reference_are_no_success() -> None:
    found = attacks_sample.attacks()
    equal = [
        r.model_copy(update={"auc": attacks_sample.interval(0.4321), "gap": attacks_sample.interval(0.0)})
        if r.against == "unlearned"
        else r
        for r in found.results
    ]
    gone = found.model_copy(update={"results": equal, "refused": found.targets})
    row = attacked(gone)
    text = words(shown_to(row))
    assert "of unlearned models nothing is known" in text and "0.432" not in text
    for table in tables(shown_to(row)):
        titles = [column.title for column in table.columns]
        if "AUC unlearned" in titles and "told apart" in titles:
            assert {cells[titles.index("AUC unlearned")].text for cells in table.rows} == {"all retrained"}
    compared = words(comparison(sample.evidence(rows=[row])))
    assert compared.count("all retrained") == 4 and "0.432" not in compared
    some = attacked(found)
    assert "2 of 128 runs retrained" in words(shown_to(some))
    assert "2 of 128 runs retrained" in words(comparison(sample.evidence(rows=[some])))
    told = found.model_copy(update={"refused_by": {"fresh": 0, "one seed": found.targets}})
    assert "All 128 target runs with one seed were over budget" in said(told)


def test_it_says_what_is_deleted_in_a_run() -> None:
    text = said(attacks_sample.attacks())
    assert "the row’s request among them" in text and "is not that request but 10 of the candidates" in text


def test_retraining_is_said_to_leak_only_where_it_was_seen_to() -> None:
    found = attacks_sample.attacks()
    assert "Exact retraining leaks to such an attacker as well, here with AUC" in said(found)
    quiet = [
        r.model_copy(update={"caught": False}) if r.family == "MIA-U" and r.against == "retrained" else r
        for r in found.results
    ]
    text = said(found.model_copy(update={"results": quiet}))
    assert "Exact retraining leaks" not in text and "here it shows nothing that could be told" in text
    assert "1 − f(its AUC on retrained models)" in text, "the sample's claim holds at every seed"
    row = attacked(found)
    averaged = row.claim.model_copy(update={"seed_policy": SeedPolicy.MARGINAL})
    assert "1 − f(its AUC" not in words(shown_to(row.model_copy(update={"claim": averaged})))


def test_luck_is_never_nought_and_limits_are_possible() -> None:
    found = attacks_sample.attacks()
    sure = [r.model_copy(update={"chance_upper": 0.0}) for r in found.results]
    text = said(found.model_copy(update={"results": sure}))
    assert "luck ≤ 0\n" not in text and "luck ≤ 1.0·10⁻³⁰⁰" in text and "at most 0," not in text
    wide = attacks_sample.interval(0.95, 0.2)
    measure = found.measures[0].model_copy(
        update={"models": {"unlearned": wide, "original": attacks_sample.interval(-0.95, 0.2)}, "least": -1, "most": 1}
    )
    degradation = found.differencing[0].model_copy(update={"degradation_count": wide})
    text = said(found.model_copy(update={"measures": [measure], "differencing": [degradation]}))
    assert "0.750 to 1.00" in text and "−1.00 to −0.750" in text and "1.15" not in text
    assert "0.750 to 1.000" in text and "cut to values that are possible" in text


def test_keys_of_the_code_are_no_words() -> None:
    found = attacks_sample.attacks()
    coded = [one.model_copy(update={"classical": "classical/mlp"}) for one in found.differencing]
    text = said(found.model_copy(update={"differencing": coded}))
    assert "classical/" not in text and "the model before alone, a perceptron" in text
    assert "fresh\n" not in text and "fresh seeds" in text


def test_rates_without_limits_say_so() -> None:
    found = attacks_sample.attacks()
    names = ("true_positive_rate_lower", "true_positive_rate_upper", "false_positive_rate_upper")
    bare = [
        r.model_copy(update={"points": [p.model_copy(update=dict.fromkeys(names)) for p in r.points]})
        for r in found.results
    ]
    text = said(found.model_copy(update={"results": bare}))
    assert "no limits: too few runs" in text and "— to —" not in text and "≤ —" not in text


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
    assert any(isinstance(b, Details) and b.summary == "The same attacks with one seed" for b in section.blocks)


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
