"""One section per row: promise, bound, noise, and whether unlearned can be told from retrained."""

from collections.abc import Sequence

from unlearning.claim import SeedPolicy
from unlearning.record import Line, Quantity, RequestFacts, Row
from unlearning.verdict import Outcome

from . import figures
from .document import Block, Bullets, Cell, Column, Details, Facts, Figure, Paragraph, Section, Table
from .naming import named
from .numerals import MISSING, count, exact, number, quantity
from .readings import RUNGS, achieved_epsilon, best_noop_power, computed, noop_epsilon, standing, worst_outcome
from .wealth import stopping
from .wording import (
    NOT_COMPUTABLE,
    OUTCOME_MEANING,
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
    word,
)


def row_section(row: Row, place: int) -> Section:
    """Everything about one row."""
    anchor = f"row-{place}"
    facts = [
        ("Method", f"{row.title or row.method} – {row.citation}" if row.citation else row.title or row.method),
        ("Name in plans", row.method),
        ("Task", row.task or NOT_COMPUTABLE),
        ("Expected", f"{row.expected.value}, {'as found' if row.as_expected else 'not as found'}"),
        ("Stores", row.stores or "not said"),
        ("Runs a side", ", ".join(f"{name} {count(size)}" for name, size in sorted(row.replicas.items())) or MISSING),
    ]
    blocks: list[Block] = [stamp(row.verdict), Paragraph(ended(row.because), "Why."), Facts(tuple(facts))]
    if row.parameters:
        blocks.append(Details("Parameters", (pairs(row.parameters),)))
    if row.differs:
        blocks += [Paragraph("", "Differs from the paper"), Bullets(tuple(row.differs))]
    asked = (_promised(row, anchor), _bound(row, anchor), _noise(row, anchor), _told(row, anchor))
    sections = (*asked, *_named(row, anchor), *_attacked(row, anchor))
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


def _bound(row: Row, anchor: str) -> Section:
    lines = [line for line in row.lines if line.subject == "bound"]
    found = row.distances
    blocks: list[Block] = [Paragraph(answer(lines, "about the bound"), "Answer.")]
    if found is None:
        reason = next((line.reason for line in row.lines if line.rung == "A" and line.reason), None)
        text = f"The record holds no distances. {reason or ''}".strip()
        blocks.append(Paragraph(text, f"{NOT_COMPUTABLE.capitalize()}."))
    else:
        blocks.append(Paragraph(_distance_sentence(row), "Distances."))
        blocks.append(_distance_table(row))
        caption = (
            "Distance to the reference before noise, over replicas: dot median, thick 5 to 95 %, thin all. "
            "The bound holds where unlearned stays left of Δ; it is worth something where doing nothing does not."
        )
        described = "Strips of distances on a logarithmic axis; the quantiles are in the table above."
        blocks.append(Figure(figures.distances(row, f"{anchor}-distances"), caption, described))
    if row.request is not None:
        blocks += request_search(row.request, one_model=row.claim.seed_policy is SeedPolicy.DETERMINISTIC)
    if row.quantities:
        blocks.append(quantities(row))
    return Section(f"{anchor}-bound", "Does the bound hold?", tuple(blocks + evidence(lines)))


def request_search(request: RequestFacts, *, one_model: bool) -> list[Block]:
    """Which request was audited, and what the search for it tried."""
    drawn = next((one for one in request.families if one.name == "random"), None)
    why = "breaks its bound most, d > Δ" if request.broken else "lies farthest from its reference"
    tried = f"{plural(request.tried, 'request')} of {count(request.records)} different records"
    seeds = f"{plural(request.seeds, 'training seed')} of its own, which no other part of the row uses"
    if one_model:
        seeds = "the one model of each world, whose training draws nothing"
    text = (
        f"The search tried {tried} on {seeds}: {plural(request.models, 'model')}. Audited is the request that {why}, "
        f"of the family “{request.family}”: d = {number(request.distance)}{_times(request.ratio)} there."
    )
    if drawn is not None and drawn.distance is not None:
        text += f" Random requests reached d = {number(drawn.distance)}{_times(drawn.ratio)}."
    columns = (Column("Requests", "text", 1.6), *(Column(c) for c in ("tried", "left out", "largest d", "largest d/Δ")))
    rows = tuple(
        (
            Cell(one.name),
            Cell(count(one.tried)),
            Cell(count(one.left_out)),
            Cell(number(one.distance)),
            Cell(number(one.ratio)),
        )
        for one in request.families
    )
    steps: list[tuple[str, Sequence[float | None]]] = [("d", request.distances)]
    if any(ratio is not None for ratio in request.ratios):
        steps.append(("d/Δ", request.ratios))
    details = [Paragraph(f"{', '.join(str(record) for record in request.ids)}.", "Records of the request.", "note")]
    for name, values in steps:
        reached = " → ".join(number(value) for value in values)
        details.append(Paragraph(f"{reached}.", f"Largest {name} before the local search and after each step.", "note"))
    if request.left_out:
        reasons = "; ".join(f"{count(left)}: {why.rstrip('.')}" for why, left in request.left_out.items())
        details.append(Paragraph(f"{reasons}.", "Left out.", "note"))
    return [
        Paragraph(text, "Worst request."),
        Table("Requests that the search tried, each at its worst seed.", columns, rows),
        Details("Records of the request, steps of the search", tuple(details)),
    ]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f", {number(ratio)} Δ"


def _distance_sentence(row: Row) -> str:
    found = row.distances
    if found is None or not found.unlearned or not found.original:
        return f"Largest distances are {NOT_COMPUTABLE}."
    unlearned, original = found.unlearned[-1], found.original[-1]
    near = f"at most {number(unlearned)} from its reference" if unlearned > 0 else "exactly its reference"
    text = f"Before noise, the unlearned model is {near}; doing nothing would leave up to {number(original)}"
    if unlearned > 0 and original > 0:
        text += f", {number(original / unlearned)} times as far" if original >= unlearned else ", which is nearer"
    text += f". Largest d/Δ: {number(found.slack_largest)}." if found.slack_largest is not None else "."
    exactly = f" With this noise the achieved ε is {number(achieved_epsilon(row))}"
    text += exactly + f" at the claim’s δ, doing nothing would give {number(noop_epsilon(row))}."
    return text


def _distance_table(row: Row) -> Table:
    found = row.distances
    strips = [("unlearned", found.unlearned), ("doing nothing", found.original)] if found else []
    if found and found.sensitivity_upper:
        strips.append(("bound Δ", found.sensitivity_upper))
    columns = (Column("", "text"), *(Column(q) for q in ("least", "5\u00a0%", "median", "95\u00a0%", "largest")))
    rows = tuple(
        (Cell(name), *(Cell(number(v, rounding="up" if "Δ" in name else "nearest")) for v in _five(values)))
        for name, values in strips
    )
    return Table("Distances over replicas, in units of the weights.", columns, rows)


def quantities(row: Row) -> Table:
    """What the method reported of its own run."""
    columns = (Column("Quantity", "text", 1.6), Column("least"), Column("median"), Column("largest"))
    rows = tuple(
        (Cell(q.name, q.meaning + _asks(q)), *(Cell(quantity(v)) for v in (q.least, q.median, q.largest)))
        for q in row.quantities
    )
    return Table("What the method reports of its own run, over replicas; it decides nothing.", columns, rows)


def _asks(one: Quantity) -> str:
    if one.noise_scale_required is None:
        return ""
    text = f"; the claim would need σ = {number(one.noise_scale_required, rounding='up')} for it"
    if one.epsilon_implied is None:
        return text
    return text + f", and the σ used implies ε = {number(one.epsilon_implied, rounding='up')}"


def _five(values: list[float]) -> list[float | None]:
    return [*values[:5], *([None] * (5 - len(values)))]


def _noise(row: Row, anchor: str) -> Section:
    lines = [line for line in row.lines if line.subject == "noise"]
    blocks = [Paragraph(answer(lines, "about the noise"), "Answer."), *evidence(lines)]
    return Section(f"{anchor}-noise", "Is the noise what it says?", tuple(blocks))


def _told(row: Row, anchor: str) -> Section:
    lines = [line for line in row.lines if line.subject not in ("bound", "noise", "attack") and line.rung != "D"]
    blocks: list[Block] = [Paragraph(answer(lines, "about the claim by a retrained model"), "Answer.")]
    power = best_noop_power(row)
    if power is None:
        text = "Whether this audit would have caught doing nothing is not computable."
    else:
        text = f"A deciding line would have refuted doing nothing with probability {number(power, rounding='down')}."
    blocks += [Paragraph(text, "Power."), *evidence(lines)]
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


def _attacked(row: Row, anchor: str) -> tuple[Section, ...]:
    """What rung E showed, where it was asked for."""
    lines = [line for line in row.lines if line.subject == "attack"]
    if not lines:
        return ()
    columns = (Column("Attack", "text", 2.4), Column("value"), Column("from"), Column("to"), Column("runs"))
    cells = tuple(
        (
            Cell(line.title),
            *(Cell(number(v)) for v in (line.statistic, line.derivation.get("lower"), line.derivation.get("upper"))),
            Cell(count(line.runs_released)),
        )
        for line in lines
    )
    intro = (
        "An attacker who sees one released model calls a record a member where its loss is small. The table shows the "
        "area under the attacker’s curve (AUC), forgotten records against as many held-out ones: ½ says that nothing "
        "can be told. The two sets need not be alike, so that retrained models are the measure: what unlearning left "
        "behind is the difference to them. Shown only: it decides nothing."
    )
    blocks: list[Block] = [Paragraph(intro, "How."), Table("Attacks, with intervals over runs.", columns, cells)]
    reasons = [f"{line.title}: {ended(line.reason)}" for line in lines if line.reason]
    if reasons:
        blocks.append(Bullets(tuple(reasons)))
    return (Section(f"{anchor}-attacked", "What does a simple attacker see?", tuple(blocks)),)


def answer(lines: list[Line], about: str) -> str:
    """What these lines say together, the worst word first."""
    if not lines:
        return f"No line of this plan speaks {about}: there is no evidence either way."
    deciding = [line for line in lines if line.deciding]
    worst = worst_outcome(deciding or lines)
    said = sum(line.outcome is worst for line in deciding or lines)
    kind = "deciding line" if deciding else "line (none decides)"
    total = plural(len(deciding or lines), kind) if deciding else f"{len(lines)} lines, none of which decides"
    verb = OUTCOME_MEANING[worst]
    caution = "" if worst is not Outcome.NOT_REFUTED else "; that is no proof"
    return f"{worst.value}: {said} of {total} {verb}{caution}."


def evidence(lines: list[Line]) -> list[Block]:
    """These lines as a table, in words, and with what they were computed from."""
    if not lines:
        return []
    columns = (
        Column("Line of evidence", "text", 2.4),
        Column("Outcome", "word"),
        Column("ε\u00a0≥"),
        Column("μ\u00a0≥"),
        Column("would refute"),
        Column("power on doing\u00a0nothing"),
        Column("runs released\u00a0+ reference"),
        Column("failure probability"),
    )
    cells = [_line(line) for line in lines]
    told = [place for place in range(len(columns)) if any(row[place].text != MISSING for row in cells)]
    rows = tuple(tuple(row[place] for place in told) for row in cells)
    blocks: list[Block] = [Table("Lines of evidence.", tuple(columns[place] for place in told), rows)]
    blocks.append(Bullets(tuple(f"{line.title}: {_finding(line)}" for line in lines)))
    blocks.append(Details("Events, counts and derivations", tuple(_derivation(line) for line in lines)))
    return blocks


def _line(line: Line) -> tuple[Cell, ...]:
    known = computed(line)
    limit = "down" if "confidence" in line.kind else "nearest"
    return (
        Cell(f"{line.rung} · {line.title}", "" if line.deciding else "shown only, decides nothing"),
        word(line.outcome) if line.kind != "estimate" else Cell("no outcome", "an estimate", "absent"),
        Cell(number(line.epsilon_lower if known else None, rounding=limit)),
        Cell(number(line.mu_lower if known else None, rounding=limit)),
        Cell(_refutable(line)),
        Cell(number(line.noop_power, rounding="down")),
        Cell(f"{count(line.runs_released)} + {count(line.runs_reference)}"),
        Cell(exact(float(f"{line.failure_probability:.4g}"))),
    )


def _refutable(line: Line) -> str:
    if line.detectable_epsilon is not None:
        return f"ε ≥ {number(line.detectable_epsilon, rounding='up')}"
    if line.detectable_mu is not None:
        return f"μ ≥ {number(line.detectable_mu, rounding='up')}"
    return MISSING


def _finding(line: Line) -> str:
    text = ended(line.finding)
    if line.reason:
        text += f" Reason: {ended(line.reason)}"
    return text + (f" Power: {ended(line.detectable)}" if line.detectable else "")


def _derivation(line: Line) -> Paragraph:
    parts = [f"rung {line.rung} ({RUNGS[line.rung][0].lower()})" if line.rung in RUNGS else f"rung {line.rung}"]
    parts += [f"seeds {line.seeds}", f"kind {line.kind}", f"valid under: {line.assumes}", f"key {line.key}"]
    parts.append(f"event {line.event}" if line.event else "no event")
    if line.counts_released is not None:
        parts.append(f"released {count(line.counts_released)} of {count(line.runs_released)}")
    if line.counts_reference is not None:
        parts.append(f"reference {count(line.counts_reference)} of {count(line.runs_reference)}")
    parts += [
        f"{name} {_six(v)}"
        for name, v in (("statistic", line.statistic), ("threshold", line.threshold))
        if v is not None
    ]
    parts += [f"{name} = {_six(v)}" for name, v in sorted(line.derivation.items())]
    return Paragraph("; ".join(parts) + ".", f"{line.title}.", "note")


def _six(value: float) -> str:
    return exact(float(f"{value:.6g}"))
