"""`python -m benchmarks.properties [--quick] [--out FILE]`: tries the laws on methods and twins, docs/properties.md.

Every cell is a search that was run here, with fixed problems and seeds; only seconds differ from run to run. `--quick`
tries few problems, to see that the command works.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from certunlearn.loader import load_method, make_method
from certunlearn.registry import SHIPPED
from properties import LAWS
from properties.base import TOLERANCES
from properties.parts import PARTS, SHIPPED_PARTS
from properties.problems import Problem
from tests.broken.catalogue import CATCHES, FAULTS, PART_CATCHES, PART_FAULTS, label
from tests.broken.constants import BOUNDS, FACTORS, MEANINGS, REPORTED, WHOLE
from tests.methods.test_certified_unlearning_bounds import attained
from unlearning.protocols import AnyMethod

from . import law_trials as trials
from .law_trials import BROKEN, OBEYED, Tried
from .markdown import number, table, write_page

PAGE = Path("docs/properties.md")
OF_DELTA = {name: WHOLE for name in ("sensitivity", "sequential_sensitivity", "order", "batch_online")}
OF_DELTA["reported_bounds"] = REPORTED
FAILURE_PROBABILITY = 1e-3  # of the interval of a slope


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried.

    Attributes:
        honest: linear problems that a search draws for an honest method.
        twin: for a twin.
        power: for an understated constant.
        whole: everything; else the first methods and bounds, and each twin by the laws that must catch it.
    """

    honest: int
    twin: int
    power: int
    whole: bool = True

    def first(self, names: Iterable[str]) -> list[str]:
        """What is tried of these."""
        return list(names) if self.whole else list(names)[:3]


FULL, QUICK = Effort(100, 20, 100), Effort(5, 20, 5, whole=False)


def in_parallel(calls: Iterable[Any]) -> list[Any]:
    """Results of delayed calls, two at a time."""
    return list(Parallel(n_jobs=2)(calls))


@cache
def shipped() -> dict[str, AnyMethod]:
    """The shipped methods by their short names, as by default."""
    return {name: make_method(load_method(target, where=name), {}, where=name) for name, target in SHIPPED.items()}


# Laws -----------------------------------------------------------------------------------------------------------------


def laws_section() -> list[str]:
    """What holds, and what it is for."""
    rows = [[str(i), f"`{x.name}`", x.statement, x.fails_for, x.source] for i, x in enumerate(LAWS.values(), 1)]
    return [
        "## The laws",
        "",
        "Their numbers are the columns of the tables below. A method that is exempt from a law declares it with a "
        "reason, and the reason is printed.",
        *table(["no.", "law", "what holds", "fails for", "source"], rows, 5),
    ]


def methods_section(effort: Effort) -> tuple[list[str], dict[str, float]]:
    """The laws on the shipped methods, and the seconds that each took."""
    methods = effort.first(shipped())
    cells = [(law, name) for law in LAWS for name in methods]
    results = in_parallel(delayed(trials.by_name)(law, shipped()[name], effort.honest) for law, name in cells)
    found: dict[tuple[str, str], Tried] = dict(zip(cells, results, strict=True))
    reasons: dict[str, str] = {}
    rows, broken = [], []
    for number_, law in enumerate(LAWS, 1):
        row = [str(number_), f"`{law}`"]
        for name in methods:
            one = found[law, name]
            if one.outcome == OBEYED:
                row.append(str(one.problems) if not one.tightest else f"{one.problems} ({one.tightest:.3f})")
            elif one.outcome == BROKEN:
                row.append("**broken**")
                broken.append(f"`{law}` by {name}: {one.note}")
            else:
                row.append(f"– {reasons.setdefault(one.note, _letter(len(reasons)))}")
        rows.append(row)
    seconds = {law: sum(found[law, name].seconds for name in methods) for law in LAWS}
    lines = [
        "## The shipped methods",
        "",
        "Problems judged without a breach, and in brackets the largest share of what the law allows: 1 is the edge. –: "
        "the law says nothing, for the reason below.",
        *table(["no.", "law", *methods], rows, 2),
        *(f"* {letter}: {reason}" for reason, letter in reasons.items()),
        "",
        f"Broken: {'; '.join(broken)}." if broken else "No breach was found.",
    ]
    return lines, seconds


def _letter(place: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[place]


def tolerances_section() -> list[str]:
    """What is allowed for finite arithmetic."""
    rows = [[f"`{n}`", t.meaning, number(t.float64), number(t.float32)] for n, t in TOLERANCES.items()]
    return ["## Tolerances", *table(["", "meaning", "float64", "float32"], rows, 2)]


# Twins ----------------------------------------------------------------------------------------------------------------


def faults_section() -> list[str]:
    """Faults that are common in the field, and who finds them."""
    rows = [
        [fault, ", ".join(f"`{law}` in `{label(twin)}`" for law, twin in found)]
        for fault, found in (*FAULTS.items(), *PART_FAULTS.items())
    ]
    return [
        "## Faults, and the laws that find them",
        "",
        "A method that …; the last ones are faults of parts.",
        *table(["", "is caught by"], rows, 2),
    ]


def twins_section(effort: Effort) -> list[str]:
    """Every law on every twin."""
    must = _by_twin(CATCHES)
    cells = [(place, law) for place, (_, own) in enumerate(must) for law in LAWS if effort.whole or law in own]
    results = in_parallel(delayed(trials.by_name)(law, must[place][0], effort.twin) for place, law in cells)
    found: dict[tuple[int, str], Tried] = dict(zip(cells, results, strict=True))
    rows, missed = [], []
    for place, (twin, laws) in enumerate(must):
        row = [f"`{label(twin)}`"]
        for law in LAWS:
            outcome = found[place, law].outcome if (place, law) in found else ""
            row.append({BROKEN: "●" if law in laws else "○", OBEYED: "✗" if law in laws else "·"}.get(outcome, ""))
            if law in laws and outcome != BROKEN:
                missed.append(f"`{label(twin)}` by `{law}`")
        rows.append(row)
    return [
        "## Broken twins × laws",
        "",
        f"A twin is a shipped method with one thing wrong. All laws on all twins, {effort.twin} drawn problems a cell: "
        "● caught by a law that must catch it, ○ caught by another law too, · not caught, empty: the law says nothing "
        "about this method.",
        *table(["twin", *map(str, range(1, len(LAWS) + 1))], rows),
        f"Missed: {', '.join(missed)}." if missed else "No twin is missed by a law that must catch it.",
        "",
        "What is wrong with them:",
        *table(["twins", "what is wrong", "must be caught by"], _kinds(must), 3),
    ]


def parts_section(effort: Effort) -> list[str]:
    """The laws on parts, and their twins."""
    honest = [(law, part) for law, parts in SHIPPED_PARTS.items() for part in parts]
    twins = [(law, twin) for law, all_of in PART_CATCHES.items() for twin in all_of]
    one = delayed(trials.part_by_name)
    kept = in_parallel(
        one(law, place, effort.honest, broken=False) for law, own in SHIPPED_PARTS.items() for place in range(len(own))
    )
    lost = in_parallel(
        one(law, place, effort.twin, broken=True) for law, own in PART_CATCHES.items() for place in range(len(own))
    )
    obeyed, caught, ratio = defaultdict(list), defaultdict(list), defaultdict(float)
    for (law, part), tried in zip(honest, kept, strict=True):
        obeyed[law].append(label(part) + (" **broken**" if tried.outcome == BROKEN else ""))
        ratio[law] = max(ratio[law], tried.tightest or 0.0)
    for (law, twin), tried in zip(twins, lost, strict=True):
        caught[law].append(f"`{label(twin)}`" + ("" if tried.outcome == BROKEN else " **missed**"))
    rows = [
        [
            f"`{name}`",
            law.statement,
            ", ".join(dict.fromkeys(obeyed[name])),
            ", ".join(dict.fromkeys(caught[name])),
            f"{ratio[name]:.3f}" if law.measures else "",
        ]
        for name, law in PARTS.items()
    ]
    return [
        "## Laws on parts",
        "",
        "The same for what methods are built from, in `properties.parts`: objectives, solvers, the cubic step, the "
        "calibration of noise, projections. Tightest: the largest share of what the law allows, over the "
        "shipped parts.",
        *table(["law", "what holds", "obeyed by", "twins that it catches", "tightest"], rows, 4),
    ]


def _by_twin(catches: dict[str, list[AnyMethod]]) -> list[tuple[AnyMethod, list[str]]]:
    """Every twin once, with the laws that must catch it."""
    found: list[tuple[AnyMethod, list[str]]] = []
    for law, twins in catches.items():
        for twin in twins:
            own = next((laws for other, laws in found if other == twin), None)
            if own is None:
                found.append((twin, [law]))
            else:
                own.append(law)
    return found


def _kinds(must: list[tuple[AnyMethod, list[str]]]) -> list[list[str]]:
    """Classes of twins with their descriptions and the laws that must catch one of them."""
    laws: dict[type, dict[str, None]] = defaultdict(dict)
    for twin, own in must:
        laws[type(twin)] |= dict.fromkeys(own)
    return [
        [
            f"`{kind.__name__}`",
            (kind.__doc__ or "").partition("\n")[0].rstrip("."),
            ", ".join(f"`{law}`" for law in own),
        ]
        for kind, own in laws.items()
    ]


# Bounds ---------------------------------------------------------------------------------------------------------------


def tightness_section(effort: Effort) -> list[str]:
    """How near problems come to the edge of each bound."""
    names = effort.first(BOUNDS)
    searched = in_parallel(delayed(trials.tightest)(name, effort.honest) for name in names)
    rows = []
    for name, found in zip(names, searched, strict=True):
        ratio, _ = trials.at_examples(name)
        where = in_short(found.where) if found.where is not None else ""
        rows.append([name, where, f"{ratio:.3f}", f"{found.tightest or 0.0:.3f}"])
    own = [[name, f"{ratio:.3f}"] for name, ratio in attained().items()]
    return [
        "## How tight the bounds are",
        "",
        "Largest ‖unlearned − reference‖ / Δ: on the constructed problems of `properties.promises.NEAR_TIGHT`, and in "
        "a search from there that climbs towards 1. What keeps a ratio below 1 is in the bound: Lemma 3 of Newton's "
        "step holds a factor of 4 and the square of G, which is twice the gradient of any of these models at 0; the "
        "published bound of the Hessian-free method adds up two halves that mostly cancel; the third derivative of "
        "logistic regression is not at its largest where its Hessian is at its smallest.",
        *table(["bound", "where the search came nearest", "constructed", "found"], rows, 2),
        "Theorems of certified unlearning are attained on problems that no dataset gives "
        "(`tests/methods/test_certified_unlearning_bounds.py`):",
        *table(["term", "distance / bound"], own),
    ]


def in_short(problem: Problem) -> str:
    """A problem in a few words."""
    said = f"{problem.model}, n = {problem.rows}, d = {problem.columns}, m = {problem.request_size}, {problem.geometry}"
    return f"{said}, {problem.kind[1]}"


def power_section(effort: Effort) -> list[str]:
    """The smallest understatements that are caught."""
    names = effort.first(BOUNDS)
    of_delta = [(name, what, law) for name in names for law, what in OF_DELTA.items()]
    of_constants = [(name, constant, "sensitivity") for name in names for constant in BOUNDS[name].constants]
    cells = of_delta + of_constants
    results = in_parallel(delayed(trials.nearest_caught)(*cell, effort.power) for cell in cells)
    found: dict[tuple[str, str, str], float | None] = dict(zip(cells, results, strict=True))
    constants = [name for name in MEANINGS if name != WHOLE]

    def cell(*key: str) -> str:
        if key not in found:
            return ""
        factor = found[key]  # type: ignore[index]
        return "—" if factor is None else f"{factor:g}"

    whole = [[name, *(cell(name, what, law) for law, what in OF_DELTA.items())] for name in BOUNDS]
    each = [[name, *(cell(name, constant, "sensitivity") for constant in constants)] for name in BOUNDS]
    said = "; ".join(f"{name}: {MEANINGS[name]}" for name in constants)
    return [
        "## The suite's own power",
        "",
        f"Every certificate was made too small, by the factors {', '.join(f'{f:g}' for f in FACTORS)}; shown is the "
        f"factor nearest to 1 at which a law finds the breach with {effort.power} drawn problems. —: at none of them. "
        "First Δ as a whole, by the laws that read it, and for `reported_bounds` the bounds that a method reports "
        "beside its certificate. Where a method declares that requests add up exactly, `order` "
        "and `batch_online` ask for equality and do not read Δ.",
        *table(["bound", *(f"`{law}`" for law in OF_DELTA)], whole),
        f"Then each constant that enters it, by `sensitivity` ({said}). Empty: it does not enter.",
        *table(["bound", *constants], each),
        "A tolerance of the solver that is told too small is hardly ever caught here: on problems of this size a "
        "minimiser stops far below it, and what it adds lies under the rounding that the laws allow. A bound whose "
        "tightest ratio is r cannot be caught at a factor above r.",
    ]


# Rates and seconds ----------------------------------------------------------------------------------------------------


def rates_section() -> list[str]:
    """Measured slopes beside declared orders."""
    cells = [(name, rate) for name, method in shipped().items() for rate in method.declaration.rates]
    results = in_parallel(
        delayed(trials.slopes)(shipped()[name], rate.quantity, FAILURE_PROBABILITY) for name, rate in cells
    )
    rows = [
        [
            name,
            rate.quantity,
            in_short(problem),
            f"{rate.order:g}",
            f"{slope.mean:.2f} ({slope.low:.2f} to {slope.high:.2f})",
            f"{slope.slowest:.2f}",
            "" if slope.certificate is None else f"{slope.certificate.mean:.2f}",
        ]
        for (name, rate), found in zip(cells, results, strict=True)
        for problem, slope in found
    ]
    return [
        "## Rates",
        "",
        "Log–log slopes of the error over the quantity, mean over the seeds and Student's interval "
        f"({FAILURE_PROBABILITY:g} may fail), which decides nothing; the third slowest record, which decides; and the "
        "slope of the certified Δ in the same family.",
        *table(
            ["method", "quantity", "family made of", "declared order", "slope of the error", "slowest", "of Δ"], rows, 3
        ),
    ]


def seconds_section(seconds: dict[str, float]) -> list[str]:
    """What each law costs."""
    rows = [[f"`{law}`", f"{spent:.1f}"] for law, spent in sorted(seconds.items(), key=lambda one: -one[1])]
    rows.append(["all", f"{sum(seconds.values()):.1f}"])
    return [
        "## Seconds",
        "",
        "Of each law on all shipped methods, in one run on one core of two: another machine takes other times.",
        *table(["law", "seconds"], rows),
    ]


# The page -------------------------------------------------------------------------------------------------------------


def write(page: Path, effort: Effort, say: Callable[[str], object] = print) -> None:
    """Try everything and write the page."""
    lines = [
        "# The laws, and what they catch",
        "",
        "`pytest properties/` holds every unlearning method to the laws below, by searching for small problems that "
        "break them. A law that is broken is a finding; a law that is not broken is a search that found nothing, and "
        "this page says how much such a search finds. Written by `python -m benchmarks.properties`; problems and seeds "
        "are fixed.",
        "",
        *(
            []
            if effort.whole
            else ["**A quick run:** few problems, the first methods and bounds; what is not shown was not tried.", ""]
        ),
    ]
    seconds: dict[str, float] = {}

    def methods() -> list[str]:
        found, spent = methods_section(effort)
        seconds.update(spent)
        return found

    sections: Sequence[Callable[[], list[str]]] = (
        laws_section,
        methods,
        tolerances_section,
        faults_section,
        lambda: twins_section(effort),
        lambda: power_section(effort),
        lambda: tightness_section(effort),
        rates_section,
        lambda: parts_section(effort),
        lambda: seconds_section(seconds),
    )
    for section in sections:
        started = time.perf_counter()
        found = section()
        lines += [*found, ""]
        say(f"{time.perf_counter() - started:6.1f} s  {found[0].lstrip('# ')}")
    write_page(page, lines)


def main() -> int:
    """Write docs/properties.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.properties")
    parser.add_argument("--quick", action="store_true", help="few problems: to see that it works")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    write(arguments.out, QUICK if arguments.quick else FULL)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
