"""A law on something that methods are built from: an objective, a solver, a calibration, a projection."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hypothesis import reject, target
from hypothesis.strategies import SearchStrategy

from unlearning.errors import NotConverged, PlanError

from ..base import LawNotApplicable
from ..search import search

Part = TypeVar("Part")
Case = TypeVar("Case")

_REFUSALS = (PlanError, NotConverged)


class PartBroken(AssertionError):
    """A part breaks a law on a case.

    Attributes:
        law: name of the law.
        finding: what was found, in one or two sentences.
        case: the input; its repr, which the message ends in, builds it again.
        measured: the numbers of the finding by name.
    """

    def __init__(self, law: str, finding: str, case: object, measured: Mapping[str, float] | None = None) -> None:
        """Name the law, what was found, and the case."""
        super().__init__(f"Law broken: {law}. {finding}\nCase that broke it: {case!r}")
        self.law, self.finding, self.case, self.measured = law, finding, case, dict(measured or {})


@dataclass(frozen=True, slots=True)
class PartResult:
    """A search that found no breach: how far it looked, and how near it came.

    Attributes:
        law: its name.
        cases: inputs tried.
        refused: of those, inputs that the part refused.
        tightest: largest ratio of what was measured to what the law allows; None where a law measures none.
        tightest_case: where that was.
        seconds: of the search.
    """

    law: str
    cases: int
    refused: int
    tightest: float | None
    tightest_case: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class PartLaw(Generic[Part, Case]):
    """A law that a part can be held to; calling it with a part searches for a breach.

    Attributes:
        name: short; unique among all laws on parts.
        statement: what holds, in one sentence.
        fails_for: the kind of mistake that breaks it.
        source: theorem or definition it comes from.
        body: tries the law on one case. It raises `PartBroken`, or returns how much of what is allowed was used (at
            most 1; 0 for laws that measure nothing), or None where the law says nothing about the case.
        cases: what to draw for a part.
        examples: fixed cases, tried first; made for a part, as its numbers may lie anywhere.
        applies: reason why the law does not apply to a part; None where it does.
        share: of the examples that the Hypothesis profile says.
        measures: what the body returns, in words; None: nothing is measured.
        refusals: errors by which a part refuses a case; every other error is a finding.
    """

    name: str
    statement: str
    fails_for: str
    source: str
    body: Callable[[Part, Case], float | None]
    cases: Callable[[Part], SearchStrategy[Case]]
    examples: Callable[[Part], tuple[Case, ...]] = lambda part: ()
    applies: Callable[[Part], str | None] = lambda part: None
    share: float = 1.0
    measures: str | None = None
    refusals: tuple[type[Exception], ...] = _REFUSALS

    @property
    def __name__(self) -> str:
        """Name of the check, as a function would have it."""
        return f"check_{self.name}"

    def __call__(self, part: Part) -> PartResult:
        """Search for a breach on fixed and on drawn cases, as many as the Hypothesis profile says.

        Raises:
            PartBroken: a case breaks the law; the smallest one found.
            LawNotApplicable: the law says nothing about this part; the message is the reason.
        """
        reason = self.applies(part)
        if reason is not None:
            raise LawNotApplicable(reason)
        tried, refusals, ratios = 0, list[Exception](), list[tuple[float, Case]]()

        def attempt(case: Case) -> None:
            nonlocal tried
            tried += 1
            try:
                ratio = self.on(part, case)
            except self.refusals as refusal:
                refusals.append(refusal)
                reject()
            if ratio is not None:
                ratios.append((ratio, case))
                if self.measures:
                    target(min(ratio, 1e3), label=self.measures)

        began = time.perf_counter()
        search(attempt, self.cases(part), self.examples(part), share=self.share)
        seconds = time.perf_counter() - began
        if 2 * len(refusals) > tried:
            raise LawNotApplicable(f"the part refuses {len(refusals)} of {tried} cases, the last with: {refusals[-1]}")
        if not ratios:
            raise LawNotApplicable("the law says nothing about any of the cases tried")
        tightest, case = max(ratios, key=lambda found: found[0]) if self.measures else (None, None)
        return PartResult(self.name, tried, len(refusals), tightest, case, seconds)

    def on(self, part: Part, case: Case) -> float | None:
        """Try the law on one case.

        Raises:
            PartBroken: the case breaks it, or the part raises on it something that is no refusal.
        """
        try:
            ratio = self.body(part, case)
        except Exception as error:  # what a part raises on a case it accepts is a finding
            if isinstance(error, (PartBroken, *self.refusals)):
                raise
            raise PartBroken(self.name, f"The part raised {type(error).__name__}: {error}", case) from error
        if ratio is not None and not ratio <= 1 + 1e-9:
            raise PartBroken(self.name, f"{self.measures} is {ratio:.9g}, allowed is 1.", case)
        return ratio
