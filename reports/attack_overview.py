"""What attackers get, in one table of at most four rows and in plain words."""

from collections.abc import Sequence

from unlearning.record import Line
from unlearning.record_attacks import Attacks, Interval, PerRecord, Reconstruction
from unlearning.verdict import Outcome

from .attack_readings import (
    ALL_RETRAINED,
    KINDS,
    OWN,
    Contest,
    both_versions,
    contests,
    decided_by,
    named,
    one_version,
    refused,
    regimes,
    strongest,
)
from .attack_tables import ONE_FIT, interval_cell
from .document import Cell, Column, Table
from .numerals import MISSING, count, fixed, power
from .readings import SILENT
from .wording import plural

_LEVEL = "0.9"  # quantile over candidates: of the tenth that is told best
_Row = tuple[Cell, ...]


def overview(found: Attacks, gone: bool, lines: Sequence[Line], titles: dict[str, str]) -> Table | None:
    """The strongest attack of each kind on unlearned models, on retrained ones and where nothing was unlearned.

    Args:
        found: results, those of unlearned models only where one was released.
        gone: no unlearned model was released.
        lines: evidence of the row.
        titles: attacks by key.
    """
    seeds = regimes(found)
    every = contests(found, seeds[0]) if seeds else []
    part = _partly(found, seeds[0]) if seeds else ""
    rows = [
        _of_contests("One model", "AUC", one_version(every), lines, part, gone),
        _of_contests("Both versions", "AUC", both_versions(every), lines, part, gone),
        _of_records(found.records, titles, gone),
        _of_rebuilt(found.reconstructions, titles),
    ]
    kept = tuple(row for row in rows if row is not None)
    if not kept:
        return None
    columns = (
        Column("Who holds", "text", 1.5),
        Column("gets", "text", 1.1),
        *(Column(name.replace(" ", "\u00a0")) for name in KINDS.values()),
        Column("in plain words", "text", 3.0),
    )
    caption = (
        "The strongest attack of each kind. Retrained: models that never saw the forgotten records, with the run’s own "
        "training seed. Doing nothing: models that forgot nothing."
    )
    return Table(caption, columns, kept)


def _partly(found: Attacks, seeds: str) -> str:
    some = refused(found, seeds)
    return f"{count(some)} of {plural(found.targets, 'run')} retrained" if some else ""


def _of_contests(
    who: str, measure: str, own: Sequence[Contest], lines: Sequence[Line], part: str, gone: bool
) -> _Row | None:
    choice = strongest(own) or strongest(own, "original")
    if choice is None:
        return None
    contest = choice.contest
    cells = [interval_cell(contest.results[kind].auc if kind in contest.results else None) for kind in KINDS]
    if "unlearned" not in contest.results:
        cells[0] = Cell(ALL_RETRAINED if gone else MISSING)
    plain = _beside_retraining(contest) if contest.both_versions else _by_one(contest, lines)
    mine = "" if contest.shipped else f"; {OWN}"
    note = "; ".join(filter(None, ("½ is guessing, 1 certainty", part if "unlearned" in contest.results else "")))
    return (Cell(who, f"{contest.title}{mine}"), Cell(measure, note), *cells, Cell(plain))


def _by_one(contest: Contest, lines: Sequence[Line]) -> str:
    """What one released model gives away, or why silence says nothing."""
    result, nothing = contest.results.get("unlearned"), contest.results.get("original")
    if result is None:
        return "No unlearned model was attacked: nothing is known of them."
    line = decided_by(lines, result)
    if line is not None and line.outcome is Outcome.REFUTED:
        return "More than the claim allows: it is refuted."
    if result.caught:
        refuted = "; the claim is not contradicted" if line is not None else ""
        return f"Forgotten records are told from those never learned{refuted}."
    if nothing is None:
        return "Nothing was told apart. Doing nothing was not attacked, so this says nothing."
    stated = "" if nothing.power is None else f" (power {power(nothing.power)})"
    if nothing.caught:
        return f"Nothing was told apart where doing nothing was caught{stated}. A better attack may do it."
    weak = nothing.power is None or nothing.power < SILENT
    why = "so this says nothing" if weak else "although it was likely"
    return f"Nothing was told apart. Nor was doing nothing caught{stated}, {why}."


def _beside_retraining(contest: Contest) -> str:
    """What the second version adds to what retraining would."""
    result, retrained = contest.results.get("unlearned"), contest.results.get("retrained")
    if result is None:
        return "No unlearned model was attacked: nothing is known of them."
    leaks = " Retraining leaks to such an attacker, too." if retrained is not None and retrained.caught else ""
    gap = result.gap
    if gap is None or gap.lower is None or gap.upper is None:
        return f"Whether unlearned models give away more than retrained ones is not known.{leaks}"
    said = f"(gap {_limits(gap)}, {ONE_FIT})"
    if gap.lower > 0:
        return f"Unlearned models give away more than retrained ones {said}.{leaks}"
    if gap.upper < 0:
        return f"Retrained models give away more than unlearned ones {said}, which is no merit.{leaks}"
    return f"No difference to retrained models was seen {said}.{leaks}"


def _limits(found: Interval) -> str:
    return interval_cell(found, least=-1.0).note


def _of_records(records: Sequence[PerRecord], titles: dict[str, str], gone: bool) -> _Row | None:
    first = next((one for one in records if one.seeds == "fresh"), next(iter(records), None))
    if first is None:
        return None
    own = {one.against: one for one in records if (one.attack, one.seeds) == (first.attack, first.seeds)}
    known = {kind: one.quantiles[_LEVEL] for kind, one in own.items() if _LEVEL in one.quantiles}
    cells = [Cell(fixed(known.get(kind)), _answers(own.get(kind))) for kind in KINDS]
    if gone and "unlearned" not in own:
        cells[0] = Cell(ALL_RETRAINED)
    plain = "What luck alone reaches is not known: retrained models were not attacked."
    if "retrained" in known:
        luck = fixed(known["retrained"])
        plain = f"On retrained models only luck is right: of few answers a record, it reaches {luck}."
    who = Cell("One model, record by record", named(titles, first.attack))
    return (who, Cell("share of right answers", "of the tenth told best, at least"), *cells, Cell(plain))


def _answers(one: PerRecord | None) -> str:
    return "" if one is None else f"{count(min(one.answers, default=0))} answers a record"


def _of_rebuilt(found: Sequence[Reconstruction], titles: dict[str, str]) -> _Row | None:
    scales = [one for one in found if one.noise_factor == 1]
    if not scales:
        return None
    own = {one.against: one for one in scales if one.attack == scales[0].attack}
    cells = [interval_cell(own[kind].cosine if kind in own else None) for kind in KINDS]
    shown = own.get("unlearned", scales[0])
    best = max(shown.average.mean, shown.difference.mean)
    plain = (
        f"Two simpler ways come as near as {fixed(best)}; both are beaten in "
        f"{count(shown.above_average)} of {plural(shown.cosine.runs, 'run')}."
    )
    who = Cell("Both versions of one deletion", named(titles, shown.attack))
    return (who, Cell("|cosine| to the record", "1 is the record itself"), *cells, Cell(plain))
