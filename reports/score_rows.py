"""The section of a row whose scores were read from files: promise, how the evidence arose, and what it shows."""

from unlearning.record import Row

from . import figures
from .document import Block, Bullets, Facts, Figure, Paragraph, Section
from .evidence import answer, evidence
from .numerals import count, exact
from .wording import NOT_COMPUTABLE, directions, ended, plain_reading, promise, reference, seed_policy, stamp


def score_section(row: Row, place: int) -> Section:
    """Everything about one pair of files."""
    anchor = f"row-{place}"
    facts = (
        ("Method", "not known: scores were read from files"),
        ("Expected", f"{row.expected.value}, {'as found' if row.as_expected else 'not as found'}"),
        ("Runs a side", ", ".join(f"{name} {count(size)}" for name, size in sorted(row.replicas.items()))),
    )
    blocks: list[Block] = [
        stamp(row.verdict, from_files=True),
        Paragraph(ended(row.because), "Why."),
        Facts(facts),
    ]
    sections = (_promised(row, anchor), _arose(row, anchor), _told(row, anchor))
    return Section(anchor, row.name, tuple(blocks), sections, label=f"Row {place}")


def _promised(row: Row, anchor: str) -> Section:
    claim = row.claim
    facts = (
        ("Promise", promise(row)),
        ("Compared with", reference(claim)),
        ("Directions", directions(claim)),
        ("Random is", seed_policy(claim)),
        ("Stated by", "hand (no theorem)"),
        ("Request, noise, distances", f"{NOT_COMPUTABLE}: files of scores do not hold them"),
    )
    return Section(
        f"{anchor}-promise",
        "What was promised?",
        (Paragraph(ended(claim.sentence), "Claim."), Paragraph(plain_reading(claim), "In plain words."), Facts(facts)),
    )


def _arose(row: Row, anchor: str) -> Section:
    return Section(f"{anchor}-files", "Where do the scores come from?", (Bullets(tuple(row.remarks)),))


def _told(row: Row, anchor: str) -> Section:
    blocks: list[Block] = [Paragraph(answer(row.lines, "about the claim"), "Answer."), *evidence(row.lines)]
    for curve in row.curves[:1]:
        caption = (
            "Trade-off of every threshold on the score, whole and enlarged. The claim is contradicted where the band "
            f"lies below the claim’s curve. Score: {curve.score}. The band holds at all thresholds at once, except "
            f"with probability {exact(curve.band_failure_probability)}; it is drawn and decides nothing."
        )
        described = "Trade-off curve of the scores between the claim and the diagonal."
        blocks.append(Figure(figures.tradeoff(row, f"{anchor}-tradeoff"), caption, described))
    if row.histograms:
        picture = figures.histograms(row, f"{anchor}-histograms")
        blocks.append(Figure(picture, "Scores over runs.", "Histograms of released and reference scores."))
    text = "; ".join(f"{name} {exact(share)}" for name, share in sorted(row.shares.items()))
    whole = exact(row.failure_probability)
    blocks.append(Paragraph(f"{whole} in all, divided beforehand: {text}.", "Failure probability.", "note"))
    return Section(f"{anchor}-told", "Can the released models be told from the reference?", tuple(blocks))
