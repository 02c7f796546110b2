"""Tables of what attacks found: every number with its counts and its interval."""

import math
from collections.abc import Sequence

from unlearning.record_attacks import (
    AttackResult,
    Differencing,
    Interval,
    OperatingPoint,
    PerRecord,
    Reconstruction,
    RecordGroup,
)

from .attack_readings import (
    ALL_RETRAINED,
    KINDS,
    Contest,
    between,
    classical_said,
    confidence_said,
    cut,
    named,
    runs_said,
    seeds_said,
)
from .document import Cell, Column, Table
from .numerals import MISSING, count, exact, fixed, number, power
from .wording import listing, plural

ONE_FIT = "one fit for both"
NO_LIMITS = "no limits: too few runs"
_LEAST_CHANCE = 1e-300  # what is smaller was not computed, and is not 0


def auc_table(caption: str, shown: Sequence[tuple[str, Contest]], *, gone: bool = False) -> Table:
    """Per attack: AUC on every kind of model, gap, chance of luck, and whether doing nothing was caught.

    Args:
        caption: of the table.
        shown: attacks, each with a remark.
        gone: no unlearned model was released: all runs were retrained.
    """
    columns = (
        Column("Attack", "text", 2.0),
        *(Column(f"AUC {name}".replace("doing nothing", "doing\u00a0nothing")) for name in KINDS.values()),
        Column("gap\u00a0to retrained"),
        Column("told apart"),
        Column("doing\u00a0nothing caught"),
        Column("balanced accuracy"),
    )
    rows = tuple(_auc_row(remark, contest, ALL_RETRAINED if gone else MISSING) for remark, contest in shown)
    aucs = [result.auc for _, contest in shown for result in contest.results.values()]
    return Table(f"{caption} {runs_said(aucs).capitalize()}; {confidence_said(aucs)}.", columns, rows)


def _auc_row(remark: str, contest: Contest, absent: str) -> tuple[Cell, ...]:
    results = contest.results
    unlearned, nothing = results.get("unlearned"), results.get("original")
    aucs = {kind: interval_cell(results[kind].auc if kind in results else None) for kind in KINDS}
    if unlearned is None:
        aucs["unlearned"] = Cell(absent)
    return (
        Cell(contest.title, remark),
        *aucs.values(),
        gap_cell(contest),
        _told(contest),
        _caught(nothing),
        interval_cell(unlearned.balanced_accuracy if unlearned else None),
    )


def interval_cell(found: Interval | None, places: int = 3, least: float = 0.0, most: float = 1.0) -> Cell:
    """A mean with its limits below, which are cut to what is possible."""
    if found is None:
        return Cell(MISSING)
    return Cell(fixed(found.mean, places), between(cut(found, least, most), places))


def gap_cell(contest: Contest) -> Cell:
    """Gap to retrained, and whether it is the difference of two AUCs or that of one fit."""
    result = contest.results.get("unlearned")
    cell = interval_cell(result.gap if result else None, least=-1.0)
    if result is None or result.gap is None or not contest.both_versions:
        return cell
    return Cell(cell.text, f"{cell.note}; {ONE_FIT}")


def _told(contest: Contest) -> Cell:
    result, retrained = contest.results.get("unlearned"), contest.results.get("retrained")
    if result is None:
        return Cell(MISSING)
    yes = "retrained too" if retrained is not None and retrained.caught else "yes"
    return Cell(yes if result.caught else "no", f"luck ≤ {luck(result)}")


def _caught(result: AttackResult | None) -> Cell:
    if result is None:
        return Cell(MISSING)
    stated = "power not stated" if result.power is None else f"power {power(result.power)}"
    return Cell("yes" if result.caught else "no", stated)


def luck(result: AttackResult) -> str:
    """Probability that guessing reaches this AUC, rounded up; never 0, which no finite audit shows."""
    return "1" if result.chance_upper >= 1 else number(max(result.chance_upper, _LEAST_CHANCE), 2, "up")


def points_table(caption: str, contests: Sequence[Contest]) -> Table | None:
    """True positives at small false-positive rates in full, where they are resolvable."""
    rows = tuple(
        (
            Cell(contest.title if place == 0 else ""),
            Cell(KINDS.get(kind, kind)),
            Cell(percent(point.target)),
            Cell(fixed(point.true_positive_rate), _rate_limits(point)),
            Cell(f"{count(point.true_positives)} of {count(point.positives)}"),
            Cell(fixed(point.false_positive_rate, 4), _false_limit(point)),
            Cell(f"{count(point.false_positives)} of {count(point.negatives)}"),
            Cell(number(point.threshold)),
        )
        for contest in contests
        for place, (kind, point) in enumerate(_resolved(contest))
    )
    if not rows:
        return None
    columns = (
        Column("Attack", "text", 1.6),
        Column("Model", "word"),
        Column("at most"),
        Column("true positives"),
        Column("forgotten called"),
        Column("false positives"),
        Column("others called"),
        Column("threshold"),
    )
    return Table(caption, columns, rows)


def _resolved(contest: Contest) -> list[tuple[str, OperatingPoint]]:
    return [
        (kind, point)
        for kind in KINDS
        if kind in contest.results
        for point in contest.results[kind].points
        if point.true_positives is not None
    ]


def _false_limit(point: OperatingPoint) -> str:
    upper = point.false_positive_rate_upper
    return NO_LIMITS if upper is None else f"≤ {fixed(upper, 4, 'up')}"


def _rate_limits(point: OperatingPoint) -> str:
    if point.true_positive_rate_lower is None or point.true_positive_rate_upper is None:
        return NO_LIMITS
    lower, upper = fixed(point.true_positive_rate_lower, 3, "down"), fixed(point.true_positive_rate_upper, 3, "up")
    return f"{lower} to {upper}"


def points_counted(contests: Sequence[Contest]) -> Table | None:
    """True over false positives of every attack as counts, where they are resolvable."""
    targets = sorted({point.target for c in contests for _, point in _resolved(c)}, reverse=True)
    if not targets:
        return None
    columns = (
        Column("Attack", "text", 2.0),
        *(
            Column(f"{KINDS[kind]} {percent(t)}".replace(" nothing", "\u00a0nothing"))
            for t in targets
            for kind in KINDS
        ),
    )
    rows = []
    for contest in contests:
        found = {(point.target, kind): point for kind, point in _resolved(contest)}
        cells = [_counted(found.get((target, kind))) for target in targets for kind in KINDS]
        rows.append((Cell(contest.title), *cells))
    caption = "Forgotten records called, and below them others called, at the largest rate not above the one named."
    return Table(caption, columns, tuple(rows))


def _counted(point: OperatingPoint | None) -> Cell:
    if point is None:
        return Cell(MISSING)
    return Cell(
        f"{count(point.true_positives)} of {count(point.positives)}",
        f"{count(point.false_positives)} of {count(point.negatives)}",
    )


def unresolvable(contests: Sequence[Contest]) -> list[str]:
    """Why nothing is said of true positives at some false-positive rates."""
    found = dict.fromkeys(
        (point.target, point.negatives_needed, point.negatives)
        for contest in contests
        for result in contest.results.values()
        for point in result.points
        if point.true_positives is None
    )
    return [
        f"{percent(target)} is not resolvable: it needs {count(needed)} records that were never learned, "
        f"over all runs, and has {count(negatives)}"
        for target, needed, negatives in found
    ]


def percent(rate: float) -> str:
    r"""A false-positive rate that somebody chose.

    >>> percent(0.001)
    '0.1\xa0%'
    """
    return f"{exact(float(f'{100 * rate:.6g}'))}\u00a0%"


def quantile_table(records: Sequence[PerRecord], titles: dict[str, str]) -> Table:
    """Upper quantiles over candidates of how often a per-record attack is right, all kinds of models."""
    levels = sorted({level for one in records for level in one.quantiles}, key=_level)
    columns = (
        Column("Attack", "text", 1.6),
        Column("Seeds", "word"),
        Column("Model", "word"),
        Column("right answers"),
        *(Column(f"quantile {level}" if _level(level) < math.inf else "largest") for level in levels),
    )
    rows = tuple(
        (
            Cell(named(titles, one.attack)),
            Cell(seeds_said(one.seeds)),
            Cell(KINDS.get(one.against, one.against)),
            Cell(f"{count(sum(one.right))} of {count(sum(one.answers))}", plural(len(one.right), "record")),
            *(Cell(fixed(one.quantiles.get(level))) for level in levels),
        )
        for one in records
    )
    caption = (
        "Share of right answers about each candidate, as quantiles over candidates. Of few answers a record, upper "
        "quantiles lie too high: compare with retrained models, where nothing can be known. Who always gives the same "
        f"answer is right in a share of {' or '.join(fixed(share) for share in sorted({r.guessing for r in records}))}."
    )
    return Table(caption, columns, rows)


def _level(level: str) -> float:
    """The level of a quantile; that of the largest value has a name."""
    try:
        return float(level)
    except ValueError:
        return math.inf


def group_table(records: Sequence[PerRecord], titles: dict[str, str]) -> Table | None:
    """Right answers about groups of candidates, the kinds of models side by side."""
    found: dict[tuple[str, str, str], dict[str, RecordGroup]] = {}
    for one in records:
        for group in one.groups:
            found.setdefault((one.attack, one.seeds, group.name), {})[one.against] = group
    if not found:
        return None
    kinds = [kind for kind in KINDS if any(kind in groups for groups in found.values())]
    rows = tuple(
        (
            Cell(named(titles, attack), seeds_said(seeds)),
            Cell(name, plural(next(iter(groups.values())).records, "record")),
            *(cell for kind in kinds for cell in _group_cells(groups.get(kind))),
        )
        for (attack, seeds, name), groups in found.items()
    )
    columns = (
        Column("Attack", "text", 1.4),
        Column("Records", "text", 1.4),
        *(
            Column(f"{what} {KINDS[kind]}".replace(" nothing", "\u00a0nothing"))
            for kind in kinds
            for what in ("share", "right")
        ),
    )
    means = [group.mean for one in records for group in one.groups]
    caption = f"Right answers by groups of candidates. {runs_said(means).capitalize()}; {confidence_said(means)}."
    return Table(caption, columns, rows)


def _group_cells(group: RecordGroup | None) -> tuple[Cell, Cell]:
    if group is None:
        return Cell(MISSING), Cell(MISSING)
    return interval_cell(group.mean), Cell(f"{count(group.right)} of {count(group.answers)}")


def differencing_table(caption: str, found: Sequence[Differencing], titles: dict[str, str]) -> Table:
    """Both versions in hand against one: DegCount and DegRate."""
    columns = (
        Column("Attack", "text", 1.8),
        Column("Model", "word"),
        Column("compared with", "text", 1.2),
        Column("more confident"),
        Column("DegCount"),
        Column("DegRate"),
    )
    rows = tuple(
        (
            Cell(named(titles, one.attack), seeds_said(one.seeds)),
            Cell(KINDS.get(one.against, one.against)),
            Cell(titles.get(one.classical) or classical_said(one.classical)),
            Cell(f"{count(one.wins)} of {count(one.records)}"),
            interval_cell(one.degradation_count),
            interval_cell(one.degradation_rate, least=-1.0),
        )
        for one in found
    )
    intervals = [one.degradation_count for one in found]
    return Table(f"{caption} {runs_said(intervals).capitalize()}; {confidence_said(intervals)}.", columns, rows)


def reconstruction_table(found: Sequence[Reconstruction], titles: dict[str, str]) -> Table:
    """|cosine| of the rebuilt record to the true one beside both baselines."""
    columns = (
        Column("Attack", "text", 1.4),
        Column("Model", "word"),
        Column("σ"),
        Column("|cosine|"),
        Column("average\u00a0public record"),
        Column("most\u00a0changed record"),
        Column("beats both"),
        Column("gap\u00a0to doing\u00a0nothing"),
        Column("gap allowed"),
    )
    rows = tuple(
        (
            Cell(named(titles, one.attack), _retrained(one)),
            Cell(KINDS.get(one.against, one.against)),
            Cell(number(one.noise_scale), f"{exact(one.noise_factor)} × the row’s"),
            *(interval_cell(interval) for interval in (one.cosine, one.average, one.difference)),
            Cell(f"{count(one.above_average)} of {count(one.cosine.runs)}"),
            interval_cell(one.gap, least=-1.0),
            Cell(fixed(one.gap_allowed, 3, "up")),
        )
        for one in found
    )
    intervals = [one.cosine for one in found]
    caption = (
        "|cosine| between the rebuilt record and the deleted one; beside it that of the average public record, which "
        "needs no model, and of the public record whose predictions changed most, an attack as well. Doing nothing "
        "shows what is known without a deletion; gap allowed is what the noise allows any attack beyond it. "
        f"{runs_said(intervals).capitalize()}, one deletion each; {confidence_said(intervals)}."
    )
    return Table(caption, columns, rows)


def _retrained(one: Reconstruction) -> str:
    return f"{count(one.refused)} of {plural(one.cosine.runs, 'run')} retrained" if one.refused else ""


def not_run(reasons: dict[str, str], titles: dict[str, str]) -> str:
    """Attacks that could not be run, by name."""
    return listing([named(titles, attack) for attack in reasons])
