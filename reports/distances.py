"""Does the bound hold? Distances, the search for the worst request, and what the method reports of its own run."""

from collections.abc import Mapping, Sequence

from unlearning.claim import SeedPolicy
from unlearning.record import Quantity, RequestFacts, Row, TriedAgain

from . import figures
from .document import Block, Cell, Column, Details, Figure, Paragraph, Section, Table
from .evidence import answer, evidence
from .numerals import count, number, quantity
from .readings import achieved_epsilon, noop_epsilon
from .small_problems import small_problems
from .wording import (
    NOT_COMPUTABLE,
    plural,
)


def bound_section(row: Row, anchor: str, replays: Mapping[str, TriedAgain]) -> Section:
    """Distances before noise against Δ and against doing nothing, with the lines about the bound."""
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
    if row.bound_search is not None:
        blocks += small_problems(row, row.bound_search, f"{anchor}-small", replays)
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
