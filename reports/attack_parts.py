"""Parts of the section on attacks: per record, both versions against one, rebuilt records, behaviour, noise."""

from collections.abc import Sequence

from unlearning.record_attacks import Attacks, Differencing, Interval, Measure, SweepPoint

from . import attack_figures as figures
from .attack_readings import (
    KINDS,
    both_versions,
    confidence_said,
    contests,
    cut,
    named,
    regimes,
    runs_said,
    spread,
    strongest,
    swept_attack,
    unlimited,
)
from .attack_tables import (
    differencing_table,
    group_table,
    interval_cell,
    quantile_table,
    reconstruction_table,
)
from .document import Block, Cell, Column, Details, Facts, Figure, Paragraph, Table
from .numerals import MISSING, count, exact, fixed, number
from .wording import plural

_MOST = 6  # comparisons of both versions with one in the open


def both_versions_against_one(found: Attacks, titles: dict[str, str]) -> list[Block]:
    """DegCount and DegRate: what the model before unlearning adds to the one after."""
    if not found.differencing:
        return []
    text = (
        "Who holds the second version as well may be more confident in what is true of a record than who holds the "
        "model before unlearning alone. DegCount is the share of records with such a gain, DegRate the mean gain. A "
        "gain says that a second release betrays records; how much of it is the method’s, retrained models tell."
    )
    caption = "Both versions in hand against one."
    chosen = _chosen(found)
    tables = [differencing_table(caption, chosen, titles)]
    if len(chosen) < len(found.differencing):
        tables.append(differencing_table(caption, found.differencing, titles))
    return [Details("What the second version adds to one", (Paragraph(text), *tables), printed=False)]


def _chosen(found: Attacks) -> list[Differencing]:
    """Those of the attack that is named in words, where there are many."""
    if len(found.differencing) <= _MOST:
        return found.differencing
    keys = {
        (regime, choice.contest.any.attack)
        for regime in regimes(found)
        if (choice := strongest(both_versions(contests(found, regime)))) is not None
    }
    return [one for one in found.differencing if (one.seeds, one.attack) in keys] or found.differencing[:_MOST]


def per_record(found: Attacks, titles: dict[str, str]) -> list[Block]:
    """Which records are easy to tell, beside the same on retrained models."""
    if not found.records:
        return []
    text = (
        "Some records are told more easily than others, which a mean over records hides. Per candidate: how often the "
        "attack was right about it, over runs in which it was forgotten or never learned."
    )
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    records = sorted(found.records, key=lambda one: (one.attack, one.seeds, kinds.get(one.against, len(kinds))))
    groups = group_table(records, titles)
    tables = (quantile_table(records, titles), *(() if groups is None else (groups,)))
    return [Details("Record by record", (Paragraph(text), *tables), printed=False)]


def rebuilt(found: Attacks, titles: dict[str, str], salt: str) -> list[Block]:
    """Deleted records rebuilt from both versions."""
    if not found.reconstructions:
        return []
    retrained = [one for one in found.reconstructions if one.noise_scale == 0 and one.against == "retrained"]
    own = [one for one in found.reconstructions if one.noise_factor == 1 and one.against == "unlearned"]
    text = (
        "From the difference of the models before and after one deletion the deleted record may be rebuilt, however "
        "exactly it was unlearned: only noise prevents it."
    )
    for members, where in ((retrained, "after exact retraining without noise"), (own, "at the row’s own noise")):
        for one in members:
            best = max(one.average.mean, one.difference.mean)
            text += (
                f" {named(titles, one.attack)} reaches |cosine| {fixed(one.cosine.mean)} {where}; "
                f"the better baseline reaches {fixed(best)}, and both are beaten in {count(one.above_average)} of "
                f"{plural(one.cosine.runs, 'run')}."
            )
    blocks: list[Block] = [Paragraph(text, "Rebuilding the record.")]
    for place, attack in enumerate(dict.fromkeys(one.attack for one in found.reconstructions)):
        members = [one for one in found.reconstructions if one.attack == attack]
        if len({one.noise_scale for one in members}) > 1:
            caption = (
                f"{named(titles, attack)}: |cosine| of the rebuilt record to the deleted one against noise, "
                "beside the average public record and the one whose predictions changed most. 1 is the record itself, "
                "its sign and size apart."
            )
            described = "Lines of |cosine| by noise scale; the numbers are in the table."
            blocks.append(Figure(figures.reconstruction(members, f"{salt}-rebuilt-{place}"), caption, described))
    table = reconstruction_table(found.reconstructions, titles)
    return [*blocks, Details("Rebuilt records in numbers", (table,), printed=False)]


def behaviour(found: Attacks) -> list[Block]:
    """Measures that papers report, each on unlearned, original and retrained models."""
    if not found.measures:
        return []
    text = (
        "How alike unlearned and retrained models behave. Alike is no evidence of forgetting, and doing nothing stands "
        "beside it to show what a measure can see at all."
    )
    meanings = Facts(tuple((one.title, one.meaning) for one in found.measures))
    shown = (Paragraph(text), _measures_table(found.measures), meanings)
    return [Details("Measures of behaviour that papers report", shown, printed=False)]


def swept(found: Attacks, titles: dict[str, str], salt: str) -> list[Block]:
    """How calibrated noise buys privacy, and what it costs."""
    attack = swept_attack(found.sweep)
    if attack is None:
        return []
    title = named(titles, attack)
    own = next((point for point in found.sweep if point.noise_factor == 1), None)
    text = "How calibrated noise buys privacy, and what it costs in accuracy."
    if own is not None and (seen := own.aucs.get(attack, {})):
        said = ", ".join(f"{fixed(seen[kind].mean)} on {KINDS[kind]}" for kind in KINDS if kind in seen)
        text += f" At the row’s own σ {title} has AUC {said}"
        held = ", ".join(
            f"{100 * own.holdout[kind].mean:.1f}\u00a0% with {KINDS[kind]}" for kind in KINDS if kind in own.holdout
        )
        text += f"; the holdout is classified right in {held}." if held else "."
    caption = (
        f"{title} (above) and accuracy on the holdout (below) against noise, with intervals, and the AUC that "
        "the row’s Δ with this noise allows. The attack drawn is the one that sees doing nothing best."
    )
    described = "Lines of AUC and accuracy by noise scale; the numbers are in the table."
    picture = figures.sweep(found.sweep, attack, f"{salt}-sweep")
    blocks: list[Block] = [Paragraph(text, "Noise and its price."), Figure(picture, caption, described)]
    others = dict.fromkeys(key for point in found.sweep for key in point.aucs if key != attack)
    tables = tuple(_sweep_table(found.sweep, key, titles) for key in (attack, *others))
    return [*blocks, Details("Noise and its price in numbers", tables, printed=False)]


def _measures_table(found: Sequence[Measure]) -> Table:
    """Behavioural measures on every kind of model that any of them was taken on."""
    kinds = [*KINDS, *dict.fromkeys(kind for one in found for kind in one.models if kind not in KINDS)]
    kinds = [kind for kind in kinds if any(kind in one.models or kind in one.undefined for one in found)]
    columns = (
        Column("Measure", "text", 2.0),
        *(Column(KINDS.get(kind, kind).replace(" ", "\u00a0")) for kind in kinds),
        Column("two\u00a0equal models"),
    )
    rows = tuple(
        (Cell(one.title, one.unit), *(_measured(one, kind) for kind in kinds), Cell(number(one.nothing)))
        for one in found
    )
    intervals = [interval for one in found for interval in one.models.values()]
    caption = (
        f"Measures that papers report; they decide nothing. {runs_said(intervals).capitalize()}; "
        f"{confidence_said(intervals)}, cut to values that are possible."
    )
    return Table(caption, columns, rows)


def _measured(one: Measure, kind: str) -> Cell:
    gone = one.undefined.get(kind, 0)
    capped = one.capped.get(kind, 0)
    remarks = [f"{count(gone)} without a value"] if gone else []
    remarks += [f"{count(capped)} at the limit"] if capped else []
    found = one.models.get(kind)
    if found is None:
        return Cell(MISSING, "; ".join(remarks))
    return Cell(number(found.mean), "; ".join([spread(cut(found, one.least, one.most)), *remarks]))


def _sweep_table(sweep: Sequence[SweepPoint], attack: str, titles: dict[str, str]) -> Table:
    """One attack and the accuracy at every noise scale."""
    kinds = [kind for kind in KINDS if any(kind in point.aucs.get(attack, {}) for point in sweep)]
    held = [kind for kind in KINDS if any(kind in point.holdout for point in sweep)]
    columns = (
        Column("σ"),
        Column("ε\u00a0of the\u00a0row’s\u00a0Δ"),
        Column("AUC allowed"),
        *(Column(f"AUC {KINDS[kind]}".replace(" nothing", "\u00a0nothing")) for kind in kinds),
        *(Column(f"holdout\u00a0% {KINDS[kind]}".replace(" nothing", "\u00a0nothing")) for kind in held),
    )
    rows = tuple(
        (
            Cell(number(point.noise_scale), f"{exact(point.noise_factor)} × the row’s"),
            Cell("∞" if unlimited(sweep, point) else number(point.epsilon, rounding="up")),
            Cell(fixed(point.auc_allowed, 3, "up")),
            *(interval_cell(point.aucs.get(attack, {}).get(kind)) for kind in kinds),
            *(_percent_cell(point.holdout.get(kind)) for kind in held),
        )
        for point in sweep
    )
    intervals = [interval for point in sweep for interval in point.aucs.get(attack, {}).values()]
    caption = (
        f"{named(titles, attack)} and accuracy on the holdout, in percent, by noise. "
        f"{runs_said(intervals).capitalize()}; {confidence_said(intervals)}."
    )
    return Table(caption, columns, rows)


def _percent_cell(found: Interval | None) -> Cell:
    if found is None:
        return Cell(MISSING)
    scaled = {name: None if (v := getattr(found, name)) is None else 100 * v for name in ("mean", "lower", "upper")}
    return interval_cell(found.model_copy(update=scaled), 1, most=100.0)
