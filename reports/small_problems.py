"""How near the bound comes to breaking on small problems, and the small problem that breaks it."""

from collections.abc import Iterable, Mapping

from unlearning.record import BoundSearch, BrokenBound, LawSearch, Row, TriedAgain

from . import figures
from .document import Block, Cell, Code, Column, Facts, Figure, Paragraph, Table
from .numerals import MISSING, count, exact, number
from .wording import ended, plural

_MOST_RECORDS, _MOST_COLUMNS = 12, 6  # shown; the file holds all
_SAID = {
    "distance": "Distance d to the reference",
    "sensitivity_upper": "Certified Δ",
    "distance of doing nothing": "Distance of doing nothing",
    "rounding slack": "Rounding explains at most",
}


def small_problems(
    row: Row, search: BoundSearch, salt: str, replays: Mapping[str, TriedAgain] | None = None
) -> list[Block]:
    """What the search for a breach found, and what it does not show.

    Args:
        row: of the record.
        search: the row's.
        salt: makes the picture's names its own.
        replays: how counterexamples are tried again, by their files; a record of today has it.
    """
    remarks = [Paragraph(ended(remark[:1].upper() + remark[1:]), role="note") for remark in _remarks(search)]
    if search.counterexample is not None:
        again = (replays or {}).get(search.counterexample.file)
        return [*_broken(row, search.counterexample, again), *remarks]
    blocks: list[Block] = [Paragraph(_sentence(search), "Small problems.")]
    if any(law.problems for law in search.laws):
        blocks.append(_table(search))
    blocks += remarks
    if any(law.ratios for law in search.laws):
        caption = (
            "Every small problem as a stroke, the tightest as a dot: its distance, less rounding, over the Δ certified "
            "for it. A stroke to the right of Δ would have broken the bound."
        )
        described = "Strokes of distance over Δ between 0 and 1; the largest are in the table above."
        blocks.append(Figure(figures.small_problems(search, salt), caption, described))
    return blocks


def tightest(row: Row) -> float | None:
    """Largest d/Δ on small problems; None: not searched, or nothing is certified on them, or the bound broke.

    It is the largest of what could be tried: `unfinished` says whether that was all.
    """
    search = row.bound_search
    if search is None or search.counterexample is not None:
        return None
    return max((law.tightest for law in search.laws if law.tightest is not None), default=None)


def unfinished(row: Row) -> bool:
    """Whether a law about the certified Δ could not be searched, or not to the end."""
    return row.bound_search is not None and any(law.reason for law in row.bound_search.laws)


def _sentence(search: BoundSearch) -> str:
    told = [law for law in search.laws if law.tightest is not None]
    parts = [
        f"{law.title} it "
        + (f"came up to {_ratio(law.tightest)} of Δ" if law.tightest else "was 0, rounding aside,")
        + f" on {plural(len(law.ratios), 'problem')}"
        for law in told
    ]
    if not told or any(law.reason for law in search.laws):
        silent = [law for law in search.laws if law.reason or law.tightest is None]
        reasons = _together((law.title, law.reason or "nothing was certified on any of them") for law in silent)
        before = f" Of what could be tried, the distance stayed below its Δ: {', '.join(parts)}." if parts else ""
        return f"Small problems do not show whether d stays below Δ: {ended('; '.join(reasons))}{before}"
    return (
        f"Small problems were searched for one whose distance exceeds its Δ, and none was found: {', '.join(parts)}. "
        "Every such problem had records, a request and a Δ of its own, chosen to come near the edge. It does "
        "not show that no problem breaks the bound, and says nothing of this row’s records."
    )


def _table(search: BoundSearch) -> Table:
    columns = (
        Column("Distance", "text", 1.2),
        Column("problems tried"),
        Column("refused"),
        Column("judged"),
        Column("largest d/Δ"),
        Column("on the problem", "text", 3.0),
    )
    rows = tuple(
        (
            Cell(law.title),
            Cell(count(law.problems)),
            Cell(count(law.refused)),
            Cell(count(len(law.ratios))),
            Cell(_ratio(law.tightest)),
            Cell(_where(law)),
        )
        for law in search.laws
    )
    drawn = plural(search.problems, "linear one")
    caption = f"Small problems: {drawn} drawn for each line, with fixed ones and networks."
    if any(law.problems > law.refused + len(law.ratios) for law in search.laws):
        caption += (
            " Of a problem neither refused nor judged nothing is said: it has no Δ, or Δ = ∞, or rounding would hide a "
            "breach, or it ended the search."
        )
    return Table(caption, columns, rows)


def _together(said: Iterable[tuple[str, str]]) -> list[str]:
    """What is said under titles, each thing once, behind all of its titles."""
    titles: dict[str, list[str]] = {}
    for title, what in said:
        titles.setdefault(what, []).append(title)
    return [f"{' and '.join(own)}: {what}" for what, own in titles.items()]


def _remarks(search: BoundSearch) -> list[str]:
    """What was tried of which kind, why not all of it was judged, and how it was searched."""
    found: list[str] = []
    kinds: list[tuple[str, str]] = []
    for law in search.laws:
        parts = [
            f"{count(kind.problems)} {kind.kind}" + (f" ({count(kind.refused)} refused)" if kind.refused else "")
            for kind in law.kinds
        ]
        if parts:
            kinds.append((law.title, ", ".join(parts)))
    found += [f"problems tried {told}" for told in _together(kinds)]
    found += _together((law.title, remark) for law in search.laws for remark in law.remarks)
    if search.counterexample is not None:  # where nothing broke, reasons are in the text
        found += [f"{law.title}: {law.reason}" for law in search.laws if law.reason]
    return found + search.remarks


def _where(law: LawSearch) -> str:
    if law.tightest_problem is None:
        return law.reason or MISSING
    return law.tightest_problem.words


def _ratio(value: float | None) -> str:
    return number(value, 4, rounding="down")


def _broken(row: Row, broken: BrokenBound, again: TriedAgain | None) -> list[Block]:
    d, upper = broken.measured.get("distance"), broken.measured.get("sensitivity_upper")
    shown = f"On a small problem Δ does not hold. {ended(broken.finding)} The problem: {ended(broken.problem.words)}"
    if d is not None and upper is not None:
        shown = (
            f"On a small problem the unlearned model lies {number(d)} from its reference, farther than the certified "
            f"Δ = {number(upper, rounding='up')}: {ended(broken.problem.words)}"
        )
    text = (
        f"{shown} One such problem is enough: no theorem that covers it states this Δ. It does not show by how much "
        "the bound fails on this row’s records."
    )
    measured = [
        (_SAID[name], number(value, rounding="up" if name == "sensitivity_upper" else "nearest"))
        for name, value in broken.measured.items()
        if name in _SAID
    ]
    entries = (("Learned", broken.recipe), ("Forgotten", _records(broken.forgotten)), *measured)
    where, command = "in the folder of the record", f"certunlearn replay counterexamples/{broken.file}"
    if again is not None and again.command is not None:
        where, command = "in the folder where the audit was started", again.command
    elif ":" in row.method:  # someone's own code, which only those run who have read it
        where, command = f"where {row.method} is found; the file lies beside the record", f"{command} --trust"
    return [
        Paragraph(text, "Broken on a small problem."),
        _data(broken),
        Facts(entries),
        Paragraph(f"It is tried again, alone, {where}:", role="note"),
        Code(command),
    ]


def _records(records: list[int]) -> str:
    shown = ", ".join(str(record) for record in records[:_MOST_RECORDS])
    left = len(records) - _MOST_RECORDS
    return f"record {shown}" if len(records) == 1 else f"records {shown}" + (f" and {left} more" if left > 0 else "")


def _data(broken: BrokenBound) -> Table:
    """The records, forgotten ones first where not all fit."""
    forgotten = set(broken.forgotten)
    places = sorted(range(len(broken.features)), key=lambda place: place not in forgotten)
    shown = sorted(places[:_MOST_RECORDS])
    width = len(broken.features[0]) if broken.features else 0
    inputs = range(min(width, _MOST_COLUMNS))
    columns = (Column("record"), *(Column(f"x{i + 1}") for i in inputs), Column("label"), Column("", "word"))
    rows = tuple(
        (
            Cell(count(place)),
            *(Cell(exact(broken.features[place][i])) for i in inputs),
            Cell(exact(broken.labels[place])),
            Cell("forgotten" if place in forgotten else "kept"),
        )
        for place in shown
    )
    left = [plural(len(broken.features) - len(shown), "more record")] if len(shown) < len(broken.features) else []
    left += [plural(width - len(inputs), "more column")] if len(inputs) < width else []
    more = f" The file holds {' and '.join(left)}." if left else ""
    return Table(f"The records of the small problem.{more}", columns, rows)
