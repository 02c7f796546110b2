"""The rows of a plan side by side."""

from unlearning.record import Evidence, Row

from . import attack_figures, figures
from .attack_readings import (
    ALL_RETRAINED,
    OWN,
    Choice,
    all_retrained,
    both_versions,
    contests,
    one_version,
    refused,
    regimes,
    strongest,
    without_retrained,
)
from .attack_tables import interval_cell
from .document import Block, Cell, Column, Figure, Section, Table
from .numerals import MISSING, count, exact, number, percent
from .readings import accuracy, achieved_epsilon, detectable, epsilon_lower, noop_epsilon, standing
from .small_problems import tightest, unfinished
from .wording import expectation, plural, word


def findings_table(evidence: Evidence) -> Table:
    """Per row: the verdict, what was claimed, and what was found of ε."""
    columns = (
        Column("Row", "text", 2.2),
        Column("Verdict", "word"),
        Column("Standing", "word"),
        Column("ε claimed"),
        Column("δ"),
        Column("ε lower\u00a0bound"),
        Column("ε achieved"),
        Column("ε doing\u00a0nothing"),
        Column("would\u00a0refute ε\u00a0≥"),
    )
    rows = tuple(_finding(place, row) for place, row in enumerate(evidence.rows, start=1))
    source, distances = "released models", " Achieved and doing nothing: exact, from noise-free distances."
    if evidence.source == "files":
        source, distances = "these scores", ""
    caption = (
        f"Verdict and ε by row. Lower bound: from {source}, at the row’s failure probability.{distances} Would refute: "
        f"with probability .8. {MISSING}: not computable."
    )
    return Table(caption, columns, rows)


def _finding(place: int, row: Row) -> tuple[Cell, ...]:
    able = detectable(row)
    return (
        _name(place, row, row.method if row.method != row.name else ""),
        word(row.verdict, expectation(row)),
        Cell(standing(row).word),
        Cell(exact(row.claim.epsilon)),
        Cell(exact(row.claim.delta)),
        Cell(number(epsilon_lower(row), rounding="down")),
        Cell(number(achieved_epsilon(row))),
        Cell(number(noop_epsilon(row))),
        Cell(number(able[0], rounding="up") if able else MISSING),
    )


def _name(place: int, row: Row, note: str = "") -> Cell:
    return Cell(row.name, note, target=f"row-{place}")


def mechanism_table(evidence: Evidence) -> Table:
    """Per row: the bound and the noise beside the distances."""
    searched = any(row.bound_search for row in evidence.rows)
    columns = (
        Column("Row", "text", 2.2),
        Column("Δ budget"),
        Column("Δ largest"),
        Column("slack d/Δ"),
        *((Column("d/Δ on small\u00a0problems"),) if searched else ()),
        Column("σ"),
        Column("σ needed"),
        Column("d unlearned"),
        Column("d doing\u00a0nothing"),
    )
    rows = []
    for place, row in enumerate(evidence.rows, start=1):
        certificate, found = row.certificate, row.distances
        rows.append((
            _name(place, row),
            Cell(number(certificate.sensitivity_budget if certificate else None, rounding="up")),
            Cell(number(certificate.sensitivity_upper_largest if certificate else None, rounding="up")),
            Cell(number(found.slack_largest if found else None)),
            *((_on_small_problems(row),) if searched else ()),
            Cell(number(row.noise_scale)),
            Cell(number(certificate.noise_scale_required if certificate else None, rounding="up")),
            Cell(number(found.unlearned[-1] if found and found.unlearned else None)),
            Cell(number(found.original[-1] if found and found.original else None)),
        ))
    caption = (
        "Bound, noise and largest distance d to the claim’s reference, in units of the weights. σ needed: for the "
        "claim at the largest Δ. "
        f"{MISSING}: not computable, or no certificate."
    )
    if searched:
        caption += " Small problems: the largest d/Δ that a search for a breach reached on records of its own."
    return Table(caption, columns, tuple(rows))


def _on_small_problems(row: Row) -> Cell:
    if row.certificate is None or row.certificate.sensitivity_upper_largest is None:
        return Cell(MISSING)  # what the method certifies elsewhere is not what this row rests on
    if row.bound_search is not None and row.bound_search.counterexample is not None:
        return Cell("> 1")
    return Cell(number(tightest(row), rounding="down"), "not all could be tried" if unfinished(row) else "")


def accuracy_table(evidence: Evidence) -> Table:
    """Per row: accuracy of the released model beside the retrained one."""
    parts = ("forget", "retain", "holdout")
    columns = (
        Column("Row", "text", 2.2),
        *(Column(f"{part} {who}") for part in parts for who in ("released", "retrained")),
    )
    rows = []
    for place, row in enumerate(evidence.rows, start=1):
        released, retrained = accuracy(row, "released", "unlearned"), accuracy(row, "retrained", "reference")
        cells = [
            Cell(percent(getattr(model, part)) if model else MISSING)
            for part in parts
            for model in (released, retrained)
        ]
        rows.append((_name(place, row), *cells))
    return Table("Mean accuracy over replicas, in percent.", columns, tuple(rows))


def attacks_table(evidence: Evidence) -> Table:
    """Per row: gaps of the strongest attack of each kind to retrained, and whether doing nothing was caught."""
    columns = (
        Column("Row", "text", 1.8),
        Column("MIA-L gap"),
        Column("AUC unlearned"),
        Column("AUC doing\u00a0nothing"),
        Column("by", "text", 1.3),
        Column("MIA-U gap (one\u00a0fit for\u00a0both)"),
        Column("AUC unlearned"),
        Column("by", "text", 1.3),
    )
    rows = tuple((_name(place, row, _partly(row)), *_attacked(row)) for place, row in enumerate(evidence.rows, start=1))
    caption = (
        "Strongest attack with one released model (MIA-L, U-LiRA) and with both versions (MIA-U), and its gap to "
        "models retrained with the run’s own seed, with intervals over runs; that of MIA-U is of one attack taught by "
        "pairs of both kinds, not the difference of two AUCs. At a gap of 0 unlearned models tell what retrained ones "
        f"do. {ALL_RETRAINED.capitalize()}: no unlearned model was released. {MISSING}: not run."
    )
    return Table(caption, columns, rows)


def _attacked(row: Row) -> tuple[Cell, ...]:
    found = row.attacks
    seeds = regimes(found) if found is not None else []
    if found is None or not seeds:
        return (Cell(MISSING),) * 7
    own = contests(without_retrained(found), seeds[0])
    gone = all_retrained(found, seeds[0])
    one, both = strongest(one_version(own)), strongest(both_versions(own))
    nothing = one or strongest(one_version(own), "original")
    return (
        *_gap(one, gone and bool(one_version(own))),
        _auc(nothing, "original"),
        _by(nothing),
        *_gap(both, gone and bool(both_versions(own))),
        _by(both),
    )


def _partly(row: Row) -> str:
    found = row.attacks
    if found is None or not found.results or not refused(found, regimes(found)[0]):
        return ""
    return f"{count(refused(found, regimes(found)[0]))} of {plural(found.targets, 'run')} retrained"


def _gap(choice: Choice | None, gone: bool) -> tuple[Cell, Cell]:
    if choice is None:
        return (Cell(ALL_RETRAINED if gone else MISSING),) * 2
    return interval_cell(choice.contest.results["unlearned"].gap, least=-1.0), _auc(choice, "unlearned")


def _auc(choice: Choice | None, model: str) -> Cell:
    result = choice.contest.results.get(model) if choice else None
    return interval_cell(result.auc if result else None)


def _by(choice: Choice | None) -> Cell:
    if choice is None:
        return Cell(MISSING)
    where = "on shadow runs" if choice.beforehand else "on these runs, so biased upward"
    said = f"chosen of {choice.tried} {where}" if choice.tried > 1 else ""
    own = "" if choice.contest.shipped else OWN
    return Cell(choice.contest.title, "; ".join(filter(None, (own, said))))


def _attack_blocks(evidence: Evidence) -> list[Block]:
    """What attackers get by row, and by noise where several rows were swept."""
    attacked = [row.attacks for row in evidence.rows if row.attacks is not None]
    blocks: list[Block] = [attacks_table(evidence)] if attacked else []
    if sum(bool(found.sweep) for found in attacked) > 1:
        blocks.append(
            Figure(
                attack_figures.sweeps(evidence.rows, "sweeps"),
                "How noise buys privacy, and what it costs: AUC of an attack (above) and accuracy of unlearned models "
                "on the holdout (below) against the noise scale, with intervals, by row. Dotted: the same attack where "
                "nothing was unlearned. Of each row the attack is drawn that sees doing nothing best.",
                "Lines of AUC and accuracy by noise scale, one for each row; the numbers are in the rows’ tables.",
            )
        )
    return blocks


def comparison(evidence: Evidence) -> Section:
    """The section that compares all rows."""
    picture = Figure(
        figures.comparison(evidence) if evidence.rows else "",
        "Where every row stands: the promise, the ε that the noise really gives, the ε that releases alone refuted, "
        "and the ε of doing nothing. A promise to the right of doing nothing asks for no forgetting. "
        "A missing mark was not computable.",
        "Chart of claimed, refuted, achieved and do-nothing ε by row; the numbers are in the tables.",
    )
    blocks: list[Block] = []
    if evidence.rows:
        blocks = [picture, mechanism_table(evidence), accuracy_table(evidence)]
    if any(row.distances for row in evidence.rows):
        reach = Figure(
            figures.reach(evidence),
            "How far each row’s model lies from its reference, in units of the weights, largest over replicas. Where "
            "the bound Δ lies to the right of doing nothing, the certificate is worse than no unlearning at all; where "
            "the unlearned model does, the method is.",
            "Chart of the distances of unlearned and original models and of the certified bound by row; the numbers "
            "are in the table above.",
        )
        blocks.insert(2, reach)
    blocks += _attack_blocks(evidence)
    return Section("comparison", "How do the rows compare?", tuple(blocks))
