"""One section per row: promise, bound, noise, and whether unlearned can be told from retrained."""

from collections.abc import Mapping

from unlearning.record import Row, TriedAgain

from . import figures
from .attacks import attacks_section
from .distances import bound_section
from .document import Block, Bullets, Details, Facts, Figure, Paragraph, Section
from .evidence import answer, evidence, power_on_nothing
from .naming import named
from .numerals import MISSING, count, exact, number
from .readings import standing
from .wealth import stopping
from .wording import (
    NOT_COMPUTABLE,
    constants_table,
    directions,
    ended,
    pairs,
    plain_reading,
    plural,
    promise,
    reference,
    seed_policy,
    stamp,
)


def row_section(row: Row, place: int, replays: Mapping[str, TriedAgain]) -> Section:
    """Everything about one row, with the commands that try its counterexample again, by files."""
    anchor = f"row-{place}"
    facts = [
        ("Method", f"{row.title or row.method} – {row.citation}" if row.citation else row.title or row.method),
        ("Name in plans", row.method),
        ("Task", row.task or NOT_COMPUTABLE),
        ("Expected", f"{row.expected.value}, {'as found' if row.as_expected else 'not as found'}"),
        ("Stores", row.stores or "not said"),
        ("Runs", ", ".join(f"{name} {count(size)}" for name, size in sorted(row.replicas.items())) or MISSING),
    ]
    blocks: list[Block] = [stamp(row.verdict), Paragraph(ended(row.because), "Why."), Facts(tuple(facts))]
    if row.parameters:
        blocks.append(Details("Parameters", (pairs(row.parameters),)))
    if row.differs:
        blocks += [Paragraph("", "Differs from the paper"), Bullets(tuple(row.differs))]
    asked = (_promised(row, anchor), bound_section(row, anchor, replays), _noise(row, anchor), _told(row, anchor))
    sections = (*asked, *_named(row, anchor), *attacks_section(row, anchor))
    return Section(anchor, row.name, tuple(blocks), sections, label=f"Row {place}")


def _promised(row: Row, anchor: str) -> Section:
    claim, certificate = row.claim, row.certificate
    facts = [
        ("Promise", promise(row)),
        ("Compared with", reference(claim)),
        ("Directions", directions(claim)),
        ("Seeds", seed_policy(claim)),
        ("Request", plural(claim.request_size or 0, "record")),
        ("Released", claim.released.value if claim.released else "not said"),
        (
            "Stated by",
            "a theorem of the method" if claim.stated_by == "certificate" else f"{claim.stated_by} (no theorem)",
        ),
        ("Noise scale σ", f"{number(row.noise_scale)} per weight; {row.calibration}"),
    ]
    blocks: list[Block] = [
        Paragraph(ended(claim.sentence), "Claim."),
        Paragraph(plain_reading(claim), "In plain words."),
    ]
    blocks.append(Paragraph(standing(row).sentence, "What it rests on."))
    if certificate is not None:
        facts += [
            ("Theorem", certificate.theorem),
            ("Δ the noise was fixed for", number(certificate.sensitivity_budget, rounding="up")),
            ("Δ over replicas", _median_largest(row)),
            ("Theorem may fail with", f"probability {exact(certificate.failure_probability)}"),
            ("Replicas over budget", _refused(certificate.refused_replicas)),
        ]
        if certificate.noise_scale_required is not None:
            needed = number(certificate.noise_scale_required, rounding="up")
            facts.append(("σ this claim needs at the largest Δ", f"{needed}; used {number(row.noise_scale)}"))
        if certificate.epsilon_implied is not None:
            implied = number(certificate.epsilon_implied, rounding="up")
            facts.append(("ε that this Δ and the σ used imply", f"{implied}; claimed {exact(claim.epsilon)}"))
    blocks.append(Facts(tuple(facts)))
    if certificate is not None and certificate.assumptions:
        blocks.append(constants_table("Premises of the theorem.", tuple(certificate.assumptions)))
    return Section(f"{anchor}-promise", "What was promised?", tuple(blocks))


def _refused(replicas: int) -> str:
    return f"{count(replicas)}, retrained instead of released" if replicas else "none"


def _median_largest(row: Row) -> str:
    certificate = row.certificate
    if certificate is None or certificate.sensitivity_upper_largest is None:
        return NOT_COMPUTABLE
    largest = number(certificate.sensitivity_upper_largest, rounding="up")
    return f"median {number(certificate.sensitivity_upper_median, rounding='up')}, largest {largest}"


def _noise(row: Row, anchor: str) -> Section:
    lines = [line for line in row.lines if line.subject == "noise"]
    blocks = [Paragraph(answer(lines, "about the noise"), "Answer."), *evidence(lines)]
    return Section(f"{anchor}-noise", "Is the noise what it says?", tuple(blocks))


def _told(row: Row, anchor: str) -> Section:
    lines = [line for line in row.lines if line.subject not in ("bound", "noise", "attack") and line.rung not in "DE"]
    blocks: list[Block] = [Paragraph(answer(lines, "about the claim by a retrained model"), "Answer.")]
    blocks += [power_on_nothing(lines), *evidence(lines)]
    if row.wealth is not None:
        blocks += stopping(row.wealth, f"{anchor}-wealth")
    first, *others = _by_score(row)
    if any(curve.alpha for curve in first.curves):
        bands = {exact(c.band_failure_probability) for c in first.curves if c.band_alpha_lower}
        scores = sorted({c.score for c in first.curves})
        caption = (
            "Trade-off of every threshold on the score, whole and enlarged. The claim is contradicted where the band "
            f"of unlearned lies below the claim’s curve. Score: {'; '.join(scores)}."
        )
        caption += (
            f" The band holds at all thresholds at once, except with probability {', '.join(sorted(bands))}."
            if bands
            else ""
        )
        described = "Trade-off curves of unlearned and doing nothing between the claim and the diagonal."
        blocks.append(Figure(figures.tradeoff(first, f"{anchor}-tradeoff"), caption, described))
    if any(h.counts for h in first.histograms):
        described = "Histograms of the scores: " + "; ".join(h.label for h in first.histograms)
        picture = figures.histograms(first, f"{anchor}-histograms")
        blocks.append(Figure(picture, "Scores over runs.", described))
    blocks += [_further_score(own, f"{anchor}-score-{place}") for place, own in enumerate(others)]
    if row.shares:
        text = "; ".join(f"{name} {exact(share)}" for name, share in sorted(row.shares.items()))
        whole = exact(row.failure_probability)
        blocks.append(Paragraph(f"{whole} for the row, divided beforehand: {text}.", "Failure probability.", "note"))
    return Section(f"{anchor}-told", "Can the unlearned model be told from a retrained one?", tuple(blocks))


def _by_score(row: Row) -> list[Row]:
    """The row once for each of its scores, with the curves and histograms of that score; the first one always."""
    names = list(dict.fromkeys(curve.score for curve in row.curves)) or [""]
    return [
        row.model_copy(
            update={
                "curves": [c for c in row.curves if c.score == name],
                "histograms": [h for h in row.histograms if (names[0] if h.score is None else h.score) == name],
            }
        )
        for name in names
    ]


def _further_score(own: Row, salt: str) -> Details:
    score = own.curves[0].score
    pictures = (
        Figure(
            figures.tradeoff(own, f"{salt}-tradeoff"),
            f"Trade-off of every threshold on the score {score}, over seeds; drawn as above.",
            "Trade-off curves of unlearned and doing nothing between the claim and the diagonal.",
        ),
        Figure(figures.histograms(own, f"{salt}-histograms"), f"Score {score}.", f"Histograms of the score {score}."),
    )
    return Details(score, pictures)


def _named(row: Row, anchor: str) -> tuple[Section, ...]:
    lines = [line for line in row.lines if line.rung == "D"]
    if not lines:
        return ()
    blocks = [Paragraph(answer(lines, "about the records"), "Answer."), *named(row), *evidence(lines)]
    return (Section(f"{anchor}-named", "Can the forgotten records be named?", tuple(blocks)),)
