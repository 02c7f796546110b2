"""docs/attacks.md from records: what every attack found against every method, and against doing nothing."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reports.attack_figures import sweeps
from reports.attack_readings import (
    ALL_RETRAINED,
    Contest,
    all_retrained,
    both_versions,
    contests,
    cut,
    decided_by,
    one_version,
    strongest,
    swept_attack,
    without_retrained,
)
from reports.drawing import on_white
from reports.numerals import MISSING, fixed, number, power
from unlearning.record import Circumstances, Record, Row
from unlearning.record_attacks import Attacks, Interval, Measure, OperatingPoint

from .markdown import table, write_page

PAGE = Path("docs/attacks.md")
WORDS = """# Attacks on unlearned models

What an attacker finds in models that forgot, beside the same attack on retrained models and on models that forgot
nothing ("doing nothing"). In every run the candidates that were learned and then forgotten are drawn anew; the attacker
must tell them from the candidates that no model has seen. AUC ½ is guessing, whatever the records are; on retrained
models no attack on one model can do better. Attacks learn from shadow runs and are scored once, on target runs that
they have not seen. Every AUC is a mean over target runs with Student's interval at 95 % (in brackets: the run is the
unit, the records are fixed), cut to values that are possible. Retrained models have the run's own training seed and
draws. The gap is to them, paired by run; of an attack on both versions (MIA-U) it is that of one attack taught by pairs
of both kinds, not the difference of the AUCs beside it, whose two fits differ by luck: exact retraining has gap 0, and
may have any AUC. "Caught" means that models which do not depend on who was forgotten give so large an AUC with at most
the stated probability, by an exact law; its power was stated from shadow runs, before any target run was attacked. True
positives at 1 % false positives carry their counts, and limits that go by runs (Korn and Graubard 1998). Written by
`tox -e attacks`, never typed."""
SOURCES = """## Sources

LiRA: Carlini et al., *Membership Inference Attacks From First Principles*, S&P 2022, arXiv 2112.03570. RMIA: Zarifzadeh
et al., *Low-Cost High-Power Membership Inference Attacks*, ICML 2024, arXiv 2312.03262. U-LiRA: Hayes et al., *Inexact
Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy*, 2024, arXiv 2403.01218. RULI: Naderloui et
al., *Rectifying Privacy and Efficacy Measurements in Machine Unlearning*, USENIX Security 2025. Attacks on both
versions (MIA-U): Chen et al., *When Machine Unlearning Jeopardizes Privacy*, CCS 2021, arXiv 2005.02205. SVC efficacy:
Jia et al., *Model Sparsity Can Simplify Machine Unlearning*, NeurIPS 2023, arXiv 2304.04934. The methods' papers are
named in their files."""
KINDS = ("unlearned", "retrained", "original")
FALSE_POSITIVES = 0.01


def write(records: dict[str, Record], words: dict[str, str], page: Path = PAGE) -> None:
    """Write the page and its pictures.

    Args:
        records: of the audits, by the plan's stem.
        words: the plans' own, by stem.
        page: where.
    """
    lines = [WORDS]
    for stem, record in records.items():
        lines += ["", *_task(stem, record, words[stem], page)]
    write_page(page, [*lines, "", SOURCES])


def _task(stem: str, record: Record, words: str, page: Path) -> Iterator[str]:
    rows = [row for row in record.evidence.rows if row.attacks is not None]
    yield from (f"## {record.evidence.title}", "", words, "", *_refusals(record.evidence.rows))
    if not rows:
        return
    yield from (*_sizes(rows), *_answer(rows))
    yield from ("", "Every run with a training seed of its own:")
    yield from _attacks_table(rows, "fresh")
    yield from _one_seed(rows)
    swept = [row for row in rows if _attacks(row).sweep]
    if swept:
        name = f"{page.stem}-{stem}.svg"
        page.parent.mkdir(parents=True, exist_ok=True)
        (page.parent / name).write_text(on_white(sweeps(swept, f"attacks-{stem}")), encoding="utf-8")
        yield from (f"![AUC and accuracy against the noise scale; the numbers are in the table below.]({name})", "")
        yield "*Above, the AUC of the attack that sees doing nothing best, on each row's unlearned models (dotted: on"
        yield "its doing nothing); below, the accuracy on the holdout of what is released.*"
        yield ""
        yield from _sweep_table(swept)
    yield from _by_record(rows)
    yield from _behaviour(rows)
    yield from _made(record, rows)


def _attacks(row: Row) -> Attacks:
    if row.attacks is None:
        raise ValueError(f"attacks must be in the record, row {row.name!r} has none.")
    return without_retrained(row.attacks)


def _sizes(rows: Sequence[Row]) -> list[str]:
    head = ["row", "shadow runs", "target runs", "candidates", "forgotten", "positives", "negatives", "public", "σ"]
    cells = []
    for row in rows:
        found = _attacks(row)
        positives = found.targets * found.forgotten
        sizes = (found.shadows, found.targets, found.candidates, found.forgotten, positives)
        negatives = found.targets * found.candidates - positives
        cells.append([row.name, *map(str, (*sizes, negatives, found.population)), number(row.noise_scale, 2)])
    return table(head, cells)


def _answer(rows: Sequence[Row]) -> Iterator[str]:
    """What the numbers say, in words."""
    yield from ("", _of_nothing(rows), "", _of_retraining(rows), "")
    for row in rows:
        choice = strongest(one_version(contests(_attacks(row), "fresh")))
        if choice is None:
            continue
        result = choice.contest.results["unlearned"]
        line = decided_by(row.lines, result)
        said = f"**{row.name}.** {choice.contest.title}, chosen on shadow runs, has mean AUC {_interval(result.auc)}"
        said += "" if result.gap is None else f", {_interval(result.gap, least=-1.0)} to retrained"
        if line is not None and line.statistic is not None and line.threshold is not None:
            said += f". The claim allows {fixed(line.threshold, 3, 'up')} at most; the mean AUC is at least "
            said += f"{fixed(line.statistic, 3, 'down')}, which is wrong with probability "
            said += f"{number(line.failure_probability, 2)} at most: {line.outcome.value.replace('_', ' ')}"
        said += "."
        yield from (said, "")


def _of_nothing(rows: Sequence[Row]) -> str:
    parts = []
    for key, name in (("lira-online", "LiRA online"), ("u-lira", "U-LiRA")):
        found = [r for row in rows for r in _attacks(row).results if _is(r, key, "original")]
        if found:
            caught, least = sum(r.caught for r in found), min(r.power or 0.0 for r in found)
            parts.append(f"{name} in {caught} of {len(found)} rows (least power stated beforehand: {power(least)})")
    levels = sorted({r.failure_probability for row in rows for r in _attacks(row).results})
    level = " or ".join(number(v, 2) for v in levels)
    return f"Doing nothing is caught at level {level} by {' and by '.join(parts)}." if parts else ""


def _of_retraining(rows: Sequence[Row]) -> str:
    one = [
        r
        for row in rows
        for r in _attacks(row).results
        if r.against == "retrained" and r.family != "MIA-U" and r.noise_factor == 1
    ]
    if not one:
        return ""
    inside = sum(r.auc.lower is not None and r.auc.lower <= 0.5 <= (r.auc.upper or 0.0) for r in one)
    return (
        f"Retrained models hold nothing that an attack on one model could find: {sum(r.caught for r in one)} of "
        f"{len(one)} such results were called a leak, and {inside} of {len(one)} intervals at 95 % hold ½."
    )


def _is(result: object, key: str, against: str, seeds: str = "fresh") -> bool:
    wanted = {"attack": key, "against": against, "seeds": seeds, "noise_factor": 1.0}
    return all(getattr(result, name) == value for name, value in wanted.items())


def _refusals(rows: Iterable[Row]) -> Iterator[str]:
    """What was not run, and why."""
    for row in rows:
        if row.attacks is None:
            yield from (f"**{row.name}** was not attacked: {row.because}", "")
            continue
        if row.attacks.refused:
            some = f"{row.attacks.refused} of {row.attacks.targets}"
            gone = ": of unlearned models nothing is known" if row.attacks.refused >= row.attacks.targets else ""
            yield from (f"**{row.name}** released the reference in {some} target runs, being over budget{gone}.", "")
        for key, reason in row.attacks.reasons.items():
            yield from (f"**{row.name}**, {key}: {reason}", "")


def _shown(found: Attacks, seeds: str) -> list[tuple[str, Contest]]:
    """Attacks for the table: of those on both versions the one that shadow runs chose."""
    every = contests(found, seeds)
    shown = [(contest.title, contest) for contest in one_version(every)]
    choice = strongest(both_versions(every))
    if choice is not None:
        shown.append((f"{choice.contest.title} (of {choice.tried}, by shadow runs)", choice.contest))
    return shown


def _attacks_table(rows: Sequence[Row], seeds: str) -> list[str]:
    head = ["row", "attack", "unlearned", "retrained", "doing nothing", "gap to retrained"]
    head += ["TPR at 1 % FPR, unlearned", "doing nothing", "caught: power stated", "caught?"]
    cells = []
    for row in rows:
        for place, (name, contest) in enumerate(_shown(_attacks(row), seeds)):
            results = contest.results
            aucs = [_interval(results[kind].auc) if kind in results else MISSING for kind in KINDS]
            if "unlearned" not in results and all_retrained(_attacks(row), seeds):
                aucs[0] = ALL_RETRAINED
            own, nothing = results.get("unlearned"), results.get("original")
            gap = _interval(own.gap, least=-1.0) if own is not None and own.gap is not None else MISSING
            points = [_point(one.points) if one is not None else MISSING for one in (own, nothing)]
            stated = MISSING if nothing is None else power(nothing.power)
            caught = MISSING if nothing is None else ("yes" if nothing.caught else "no")
            cells.append([row.name if place == 0 else "", name, *aucs, gap, *points, stated, caught])
    return table(head, cells, left=2)


def _one_seed(rows: Sequence[Row]) -> list[str]:
    """The rows whose runs also shared one seed."""
    shared = [row for row in rows if any(r.seeds == "one seed" for r in _attacks(row).results)]
    if not shared:
        return []
    words = (
        "All runs, shadows and targets, with one training seed, so that nothing but the data differs. An attack that "
        "holds both versions may find the forgotten in exact retraining as well: only its gap, beside retraining with "
        "the same seed, speaks of a method."
    )
    return ["", words, *_attacks_table(shared, "one seed")]


def _sweep_table(rows: Sequence[Row]) -> list[str]:
    head = ["row", "σ", "attack", *(f"AUC, {kind}" for kind in ("unlearned", "retrained", "doing nothing"))]
    head += [f"holdout accuracy (%), {kind}" for kind in ("unlearned", "retrained")]
    cells = []
    for row in rows:
        points = sorted(_attacks(row).sweep, key=lambda point: point.noise_scale)
        attack = swept_attack(points) or ""
        for place, point in enumerate(points):
            aucs = point.aucs.get(attack, {})
            seen = [_interval(aucs[kind]) if kind in aucs else MISSING for kind in KINDS]
            held = [point.holdout.get(kind) for kind in KINDS[:2]]
            shares = [MISSING if one is None else _interval(one, scale=100, places=1) for one in held]
            name = row.name if place == 0 else ""
            cells.append([name, number(point.noise_scale, 2), attack, *seen, *shares])
    return ["<details><summary>The numbers of the figure</summary>", *table(head, cells), "</details>", ""]


def _by_record(rows: Sequence[Row]) -> Iterator[str]:
    """The candidates that are told most easily, and what a second version adds to one."""
    head = [
        "row",
        "attack",
        *(f"{kind}: {level}" for kind in ("unlearned", "retrained") for level in ("median", "90 %")),
    ]
    cells, gains = [], []
    for row in rows:
        found = _attacks(row)
        by = {(one.attack, one.against): one for one in found.records if one.seeds == "fresh"}
        for attack in dict.fromkeys(attack for attack, _ in by):
            both = [by.get((attack, kind)) for kind in KINDS[:2]]
            shares = [fixed(one.quantiles.get(level)) if one else MISSING for one in both for level in ("0.5", "0.9")]
            cells.append([row.name, attack, *shares])
        for one in found.differencing:
            if one.seeds == "fresh":
                counts = f"{_interval(one.degradation_count)} ({one.wins} of {one.records})"
                gains.append([row.name, one.attack, one.against, counts, _interval(one.degradation_rate, least=-1.0)])
    if cells or gains:
        yield from ("<details><summary>Record by record, and what a second version adds</summary>", "")
    if cells:
        yield "Share of right answers about each candidate, quantiles over candidates; few answers bias them upward,"
        yield "those of retrained models, which hold nothing to find, beside them."
        yield from table(head, cells, left=2)
    if gains:
        yield "The best attack on both versions against the classical attack on one: share of records with a gain, and"
        yield "mean gain of confidence."
        yield from table(["row", "attack", "against", "DegCount", "DegRate"], gains, left=3)
    if cells or gains:
        yield from ("</details>", "")


def _behaviour(rows: Sequence[Row]) -> Iterator[str]:
    """Measures that papers report, on each kind of model."""
    cells, meanings = [], {}
    for row in rows:
        for place, measure in enumerate(_attacks(row).measures):
            meanings[measure.title] = measure.meaning
            seen = [_measured(measure, kind) for kind in KINDS]
            unit = f" ({measure.unit})" if measure.unit else ""
            cells.append([row.name if place == 0 else "", measure.title + unit, *seen])
    if not cells:
        return
    yield from ("<details><summary>Measures of behaviour that papers report: no attacks</summary>", "")
    yield from (f"* {title}: {meaning}" for title, meaning in meanings.items())
    yield from table(["row", "measure", "unlearned", "retrained", "doing nothing"], cells, left=2)
    yield from ("</details>", "")


def _made(record: Record, rows: Sequence[Row]) -> Iterator[str]:
    """Times, and what the numbers come from."""
    circumstances: Circumstances = record.circumstances
    spent: dict[str, dict[str, str]] = {}
    for timing in circumstances.timings:
        if timing.row is not None and any(timing.row == row.name for row in rows):
            models = "" if not timing.models else f" ({1000 * timing.seconds / timing.models:.0f} ms a model)"
            spent.setdefault(timing.row, {})[timing.what] = f"{timing.seconds:.0f} s{models}"
    said = "; ".join(f"{row}: " + ", ".join(f"{k} {v}" for k, v in own.items()) for row, own in spent.items())
    yield from (
        "",
        f"{circumstances.seconds:.0f} s in all with {circumstances.jobs} workers. {said}. Evidence "
        f"`{record.evidence_sha256[:16]}`, commit `{(circumstances.commit or 'not recorded')[:12]}`, "
        f"{circumstances.date[:10]}.",
    )


def _interval(found: Interval, *, least: float = 0.0, scale: float = 1.0, places: int = 3) -> str:
    """A mean with its limits, which are cut to what is possible; signed where values may be negative."""
    mean, found = scale * found.mean, cut(found, least)
    text = ("+" if least < 0 < mean else "") + fixed(mean, places)
    if found.lower is None or found.upper is None:
        return f"{text} (no interval)"
    return f"{text} [{fixed(scale * found.lower, places, 'down')}, {fixed(scale * found.upper, places, 'up')}]"


def _measured(measure: Measure, kind: str) -> str:
    found, text = measure.models.get(kind), MISSING
    if found is not None:
        found, text = cut(found, measure.least, measure.most), number(found.mean)
    if found is not None and found.lower is not None:
        text += f" [{number(found.lower, rounding='down')}, {number(found.upper, rounding='up')}]"
    counts = (("undefined", measure.undefined.get(kind)), ("at the limit", measure.capped.get(kind)))
    told = ", ".join(f"{what} in {count}" for what, count in counts if count)
    return f"{text} ({told})" if told else text


def _point(points: Sequence[OperatingPoint]) -> str:
    """True positives at 1 % false positives, with counts."""
    found = next((point for point in points if point.target == FALSE_POSITIVES), None)
    if found is None or found.true_positive_rate is None:
        needed = MISSING if found is None else f"needs {found.negatives_needed} negatives, has {found.negatives}"
        return f"not resolvable: {needed}"
    low, high = found.true_positive_rate_lower, found.true_positive_rate_upper
    limits = "no limits" if low is None or high is None else f"[{fixed(low, 3, 'down')}, {fixed(high, 3, 'up')}]"
    return (
        f"{fixed(found.true_positive_rate)} {limits}: "
        f"{found.true_positives} of {found.positives}, FP {found.false_positives} of {found.negatives}"
    )
