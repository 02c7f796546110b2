"""What the report says, and what it must never say."""

import math
import re
import tomllib

import pytest

from reports import document as parts
from reports.build import build
from reports.document import Document, Section, plain
from reports.front import caveats, finding_sentence, power_sentence, rungs_table
from reports.plan_text import toml
from reports.readings import achieved_epsilon, epsilon_lower, guess_probability, noop_epsilon, standing
from unlearning.claim import Status
from unlearning.verdict import Outcome, Verdict

from . import sample


def texts(document: Document) -> list[str]:
    found: list[str] = []

    def keep(text: str) -> str:
        found.append(text)
        return text

    plain(document, keep)
    return found


def everything(document: Document) -> str:
    return "\n".join(texts(document))


def sections(document: Document) -> list[Section]:
    return [inner for section in document.sections for inner in (section, *section.sections)]


def test_nothing_ever_passes() -> None:
    words = everything(build(sample.record(rows=sample.rows()[:6])))
    assert not re.search(r"\bpass(ed|es)?\b|compliant", words, re.IGNORECASE)


def test_titles_of_sections_are_questions() -> None:
    document = build(sample.record())
    titles = [s.title for s in sections(document) if not s.anchor.startswith(("row-", "task-")) or "-p" in s.anchor]
    assert titles and all(title.endswith("?") for title in titles)


def test_anchors_are_unique_and_ours() -> None:
    anchors = [section.anchor for section in sections(build(sample.record()))]
    assert len(set(anchors)) == len(anchors)
    assert all(re.fullmatch(r"[a-z0-9-]+", anchor) for anchor in anchors)


def test_every_row_has_verdict_reason_and_sections() -> None:
    record = sample.record()
    document = build(record)
    for place, row in enumerate(record.evidence.rows, start=1):
        section = next(s for s in document.sections if s.anchor == f"row-{place}")
        stamps = [b for b in section.blocks if isinstance(b, parts.Stamp)]
        assert [b.word for b in stamps] == [row.verdict.value]
        assert len(section.sections) == 4
        for line in row.lines:
            assert any(line.title in text for text in texts(document))


def test_absent_rungs_are_no_success() -> None:
    table = rungs_table(sample.evidence())
    words = {row[0].text[0]: row[1].text for row in table.rows}
    assert words == {
        "A": "REFUTED",
        "B": "NOT_REFUTED",
        "C": "ERROR",
        "D": "not run in this plan",
        "E": "not run in this plan",
    }
    assert [row[0].text[0] for row in table.rows] == ["C", "A", "B", "D", "E"]


def test_deleted_evidence_is_not_computable_and_never_a_success() -> None:
    record = sample.without_evidence()
    document = build(record)
    words = everything(document)
    assert {row[1].text for row in rungs_table(record.evidence).rows} == {"not run in this plan"}
    assert "power is not computable" in words
    assert "there is no evidence either way" in words
    assert "No control was run" in words
    assert "holds no accuracies" in words
    assert not [
        b for s in sections(document) for b in s.blocks if isinstance(b, parts.Figure) and s.anchor != "comparison"
    ]
    said = [b.word for s in sections(document) for b in s.blocks if isinstance(b, parts.Stamp)]
    assert said == ["NOT_COMPUTABLE"]


@pytest.mark.parametrize(
    ("certificate", "word"),
    [
        (sample.certificate(Status.PROVED), "certified"),
        (sample.certificate(Status.CHECKED), "certified"),
        (sample.certificate(Status.ESTIMATED), "conditional"),
        (sample.certificate(Status.ASSUMED), "conditional"),
        (sample.certificate(Status.VIOLATED), "premise violated"),
        (sample.certificate(Status.ASSUMED, assumptions=[]), "conditional"),
    ],
)
def test_certified_only_where_every_premise_is_sound(certificate: object, word: str) -> None:
    found = standing(sample.row("a", Verdict.NOT_REFUTED, certificate=certificate))
    assert found.word == word
    assert found.sentence.startswith("Certified") == (word == "certified")


def test_claims_by_hand_and_refuted_theorems_are_not_certified() -> None:
    hand = sample.row("a", Verdict.NOT_REFUTED, claim=sample.claim(1.0, gaussian=True, hand=True))
    assert standing(hand).word == "stated by hand"
    assert standing(sample.row("a", Verdict.NOT_REFUTED, certificate=None)).word == "no certificate"
    assert standing(sample.row("a", Verdict.REFUTED)).word == "contradicted"


def test_estimates_and_uncomputed_lines_never_bound() -> None:
    lines = [
        sample.line("C", "a", "a", "claim", kind="estimate", epsilon_lower=9.0),
        sample.line("C", "b", "b", "claim", Outcome.NOT_COMPUTABLE, epsilon_lower=8.0),
        sample.line("C", "c", "c", "claim", deciding=False, epsilon_lower=7.0),
    ]
    assert epsilon_lower(sample.row("a", Verdict.NOT_COMPUTABLE, lines=lines)) is None


def test_no_noise_is_infinite_only_where_there_is_a_distance() -> None:
    gone = {"achieved_epsilon": None, "noop_epsilon": None}
    distances = sample.distances(1e-3, 1e-2, 1.0).model_copy(update=gone)
    assert achieved_epsilon(sample.row("a", Verdict.REFUTED, distances=distances, noise_scale=0.0)) == math.inf
    assert achieved_epsilon(sample.row("a", Verdict.REFUTED, distances=distances, noise_scale=1.0)) is None
    zero = distances.model_copy(update={"original": [0.0] * 5})
    assert noop_epsilon(sample.row("a", Verdict.REFUTED, distances=zero, noise_scale=0.0)) == 0.0


def test_plain_reading_of_epsilon() -> None:
    both = sample.claim(1.0, gaussian=False)
    assert math.isclose(guess_probability(both), (math.e + 1e-5) / (1 + math.e), rel_tol=1e-12)
    one = sample.claim(1.0, gaussian=False, one=True)
    assert math.isclose(guess_probability(one), 1 - (1 - 1e-5) / math.e / 2, rel_tol=1e-12)


def test_contradicted_controls_come_second_of_the_caveats() -> None:
    wrong = sample.control(1).model_copy(update={"behaved": False})
    assert "audit itself is in doubt" in caveats(sample.evidence(controls=[wrong]))[1]


def test_finding_and_power_of_one_row() -> None:
    evidence = sample.evidence(rows=sample.rows()[:1], verdict=Verdict.NOT_REFUTED)
    assert finding_sentence(evidence).startswith("The only row is NOT_REFUTED; all as the plan expected.")
    assert (
        power_sentence(evidence) == "From released models this audit would have refuted ε ≥ 1.95 with probability .8."
    )


def test_plan_is_shown_as_toml_that_reads_back() -> None:
    plan = sample.evidence().plan
    read = tomllib.loads(toml(plan))
    assert read["rows"] == plan["rows"]
    assert read["task"] == plan["task"]
    assert "seed" not in read
