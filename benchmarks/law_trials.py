"""What the page on laws is made of: laws tried on shipped methods, on broken twins, and on understated constants."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from hypothesis import Phase, settings

from properties import LAWS, LawBroken, LawNotApplicable
from properties.base import RAISED
from properties.law import Law
from properties.parts import PARTS, SHIPPED_PARTS, PartBroken
from properties.problems import Problem
from properties.promises import NEAR_TIGHT
from properties.rates import Quantity, Slope, law_name, measured_slope
from properties.strategies import accepted_kinds
from tests.broken import catalogue
from tests.broken.constants import BOUNDS, FACTORS, Bound, understated
from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod

OBEYED, BROKEN, SILENT = "obeyed", "broken", "says nothing"


@dataclass(frozen=True, slots=True)
class Tried:
    """A law tried on something.

    Attributes:
        outcome: obeyed, broken, or says nothing.
        note: the finding, or the reason.
        problems: problems judged, without a breach.
        tightest: largest share of what the law allows.
        where: on this problem.
        seconds: of the search.
    """

    outcome: str
    note: str = ""
    problems: int = 0
    tightest: float | None = None
    where: Problem | None = None
    seconds: float = 0.0


@contextmanager
def searching(examples: int) -> Iterator[None]:
    """Search so many problems, the same every time, and shrink none."""
    torch.set_num_threads(1)
    before = settings.get_current_profile_name()
    phases = [Phase.explicit, Phase.generate, Phase.target]
    settings.register_profile(
        "page", max_examples=examples, deadline=None, derandomize=True, database=None, phases=phases
    )
    settings.load_profile("page")
    try:
        yield
    finally:
        settings.load_profile(before)


def tried(law: Law, method: AnyMethod, examples: int) -> Tried:
    """The law on a method, honest or not."""
    with searching(examples):
        try:
            found = law(method)
        except LawBroken as broken:
            return Tried(BROKEN, broken.finding)
        except LawNotApplicable as reason:
            return Tried(SILENT, str(reason))
    return Tried(OBEYED, "", found.judged, found.tightest, found.tightest_problem, found.seconds)


def by_name(name: str, method: AnyMethod, examples: int) -> Tried:
    """The law of this name on a method; what the method is exempt from is not tried."""
    reason = method.declaration.exempt.get(name)
    return tried(LAWS[name], method, examples) if reason is None else Tried(SILENT, reason)


def part_by_name(name: str, place: int, examples: int, *, broken: bool) -> Tried:
    """The law on parts of this name on a shipped part or on one of its twins, by its place: parts need not pickle."""
    part: Any = (catalogue.PART_CATCHES if broken else SHIPPED_PARTS)[name][place]
    with searching(examples):
        try:
            found = PARTS[name](part)
        except PartBroken as broken:
            return Tried(BROKEN, broken.finding)
        except LawNotApplicable as reason:
            return Tried(SILENT, str(reason))
    return Tried(OBEYED, "", found.cases - found.refused, found.tightest, None, found.seconds)


def of_bound(law: Law, bound: Bound) -> Law:
    """The law on the problems that the bound is about."""

    def body(method: AnyMethod, problem: Problem, device: str) -> float | None:
        own = bound.on(problem)
        return None if own is None else law.body(method, own, device)

    return replace(law, body=body)


def tightest(name: str, examples: int) -> Tried:
    """How near the search comes to the edge of a bound."""
    bound = BOUNDS[name]
    found = tried(of_bound(LAWS["sensitivity"], bound), bound.method, examples)
    return found if found.where is None else replace(found, where=bound.on(found.where))


def at_examples(name: str) -> tuple[float, Problem]:
    """Largest distance / Δ of a bound on the constructed problems, and where."""
    bound, found = BOUNDS[name], []
    for problem in filter(None, map(bound.on, NEAR_TIGHT)):
        with suppress(PlanError):
            ratio = LAWS["sensitivity"].on(bound.method, problem)
            found += [(ratio, problem)] if ratio is not None else []
    return max(found, key=lambda one: one[0])


def nearest_caught(name: str, constant: str, law: str, examples: int) -> float | None:
    """The share of a constant nearest to 1 at which the law finds the breach; None: at none of `FACTORS`."""
    bound = BOUNDS[name]
    own = of_bound(LAWS[law], bound)

    def caught(factor: float) -> bool:
        found = tried(own, understated(bound.method, constant, factor), examples)
        return found.outcome == BROKEN and not found.note.startswith(RAISED)

    return max(
        takewhile(caught, sorted(FACTORS)), default=None
    )  # from below: a breach is found sooner than its absence


def slopes(method: AnyMethod, quantity: Quantity, failure_probability: float) -> list[tuple[Problem, Slope]]:
    """Measured slopes of the law's own families, those above rounding."""
    domain = LAWS[law_name(quantity)].domain
    kinds = accepted_kinds(method)
    kinds = [kind for kind in kinds if kind[1] in domain.recipes] or kinds  # as the law chooses
    found = []
    for problem in [problem for problem in domain.examples if problem.kind in kinds][: domain.fixed]:
        slope = measured_slope(method, quantity, problem, failure_probability=failure_probability)
        found += [(problem, slope)] if slope is not None else []
    return found
