"""How near the bound comes to breaking on small problems, and the small problem that breaks it."""

from unlearning.record import BoundSearch, BrokenBound, LawSearch, Row

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


def small_problems(row: Row, search: BoundSearch, salt: str) -> list[Block]:
    """What the search for a breach found, and what it does not show."""
    if search.counterexample is not None:
        return _broken(row, search.counterexample)
    blocks: list[Block] = [Paragraph(_sentence(search), "Small problems.")]
    if any(law.ratios for law in search.laws):
        blocks.append(_table(search))
        caption = (
            "Every small problem as a stroke, the tightest as a dot: its distance, less rounding, over the Δ certified "
            "for it. A stroke to the right of Δ would have broken the bound."
        )
        described = "Strokes of distance over Δ between 0 and 1; the largest are in the table above."
        blocks.append(Figure(figures.small_problems(search, salt), caption, described))
    return blocks


def tightest(row: Row) -> float | None:
    """Largest d/Δ on small problems; None: not searched, or nothing is certified on them, or the bound broke."""
    search = row.bound_search
    if search is None or search.counterexample is not None:
        return None
    return max((law.tightest for law in search.laws if law.tightest is not None), default=None)


def _sentence(search: BoundSearch) -> str:
    told = [law for law in search.laws if law.tightest is not None]
    if not told:
        reasons = dict.fromkeys(law.reason or "nothing was certified on any of them" for law in search.laws)
        return f"Small problems do not show how near d comes to Δ: {ended('; '.join(reasons))}"
    parts = [
        f"{law.title} it "
        + (f"came up to {_ratio(law.tightest)} of Δ" if law.tightest else "was 0, rounding aside,")
        + f" on {plural(len(law.ratios), 'problem')}"
        for law in told
    ]
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
        Column("certified"),
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
    return Table(f"Small problems: {drawn} drawn for each line, with fixed ones and networks.", columns, rows)


def _where(law: LawSearch) -> str:
    if law.tightest_problem is None:
        return law.reason or MISSING
    return law.tightest_problem.words


def _ratio(value: float | None) -> str:
    return number(value, 4, rounding="down")


def _broken(row: Row, broken: BrokenBound) -> list[Block]:
    d, upper = broken.measured.get("distance"), broken.measured.get("sensitivity_upper")
    text = (
        f"On a small problem the unlearned model lies {number(d)} from its reference, farther than the certified "
        f"Δ = {number(upper, rounding='up')}: {ended(broken.problem.words)} One such problem is enough: no theorem "
        "that covers it states this Δ. It does not show by how much the bound fails on this row’s records."
    )
    measured = [
        (_SAID[name], number(value, rounding="up" if name == "sensitivity_upper" else "nearest"))
        for name, value in broken.measured.items()
        if name in _SAID
    ]
    entries = (("Learned", broken.recipe), ("Forgotten", _records(broken.forgotten)), *measured)
    again, trust = "It is tried again, alone, in the folder of the record:", ""
    if ":" in row.method:  # someone's own code, which only those run who have read it
        where = f"where {row.method} is found; the file lies beside the record"
        again, trust = f"It is tried again, alone, {where}:", " --trust"
    return [
        Paragraph(text, "Broken on a small problem."),
        _data(broken),
        Facts(entries),
        Paragraph(again, role="note"),
        Code(f"certunlearn replay counterexamples/{broken.file}{trust}"),
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
