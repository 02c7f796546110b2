"""A law: a statement that holds for every method it applies to, a body that tries it on one problem, and a search."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import Phase, reject, settings, target
from hypothesis.errors import Flaky

from unlearning.errors import BrokenMethod, PlanError
from unlearning.protocols import AnyMethod

from .base import LawBroken, LawNotApplicable, breach_by_error
from .problems import MODELS, Model, Problem, Recipe
from .reduction import reduced
from .search import search
from .strategies import LINEAR, Kind, accepted_kinds, in_single_precision, problems

Precision = Literal["float64", "float32"]
Body = Callable[[AnyMethod, Problem, str], float | None]

_NETWORKS_PER_LINEAR = 12  # a network costs about as much as this many linear models
_LEAST_JUDGED = 0.1  # of the problems that a method accepts; the shipped ones: more than a third
_SINGLE_SHARE = 0.2  # of the problems, where single precision is searched: its tolerances hide all but gross breaches


@dataclass(frozen=True, slots=True)
class Domain:
    """Which problems a law is searched on.

    Attributes:
        models: objectives; a method that refuses some is searched on the others.
        recipes: tried alone where the method accepts one of them; empty: all.
        momentum: whether recipes may have it.
        largest_request: most records to forget; n − 1 without it.
        share: of the examples that the Hypothesis profile says.
        examples: fixed problems, tried first.
        fixed: if not 0, no problems are drawn, and only so many examples are tried, the first that a method accepts.
    """

    models: tuple[Model, ...] = MODELS
    recipes: tuple[Recipe, ...] = ()
    momentum: bool = False
    largest_request: int | None = None
    share: float = 1.0
    examples: tuple[Problem, ...] = ()
    fixed: int = 0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search that found no breach: how far it looked, and how near it came.

    Attributes:
        law: its name.
        problems: problems tried.
        refused: of those, problems that the method refused to learn or to unlearn.
        tightest: largest ratio of what was measured to what the law allows; None where a law measures none.
        tightest_problem: where that was.
        seconds: of the search.
        judged: problems about which the law said something; about the others, beside the refused, it said nothing.
        kinds: of the problems tried, in the order of `Problem.kind`.
        remarks: why problems were refused, why the law said nothing about some, and what it was not tried on.
    """

    law: str
    problems: int
    refused: int
    tightest: float | None
    tightest_problem: Problem | None
    seconds: float
    judged: int
    kinds: tuple[Kind, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Law:
    """A law that any method can be held to; calling it with a method searches for a breach.

    Attributes:
        name: short, as in `declaration.exempt`.
        statement: what holds, in one sentence.
        fails_for: the kind of mistake that breaks it.
        source: theorem, definition or requirement it comes from.
        body: tries the law on one problem. It raises `LawBroken`, or returns how much of what is allowed was used (at
            most 1; 0 for laws that measure nothing), or None where the law says nothing about the problem; or it raises
            `LawNotApplicable` with another reason than `silent`.
        applies: reason why the law does not apply to a method; None where it does.
        domain: problems to search.
        measures: what the body returns, in words; None: nothing is measured.
        silent: what it means when the body says nothing.
    """

    name: str
    statement: str
    fails_for: str
    source: str
    body: Body
    domain: Domain = Domain()
    applies: Callable[[AnyMethod], str | None] = lambda method: None
    measures: str | None = None
    silent: str = "the law does not speak of them"

    @property
    def __name__(self) -> str:
        """Name of the check, as a function would have it."""
        return f"check_{self.name}"

    def __call__(self, method: AnyMethod, *, device: str = "cpu", precision: Precision = "float64") -> SearchResult:
        """Search for a breach on fixed and on drawn problems, as many as the Hypothesis profile says.

        Raises:
            LawBroken: a problem breaks the law; the smallest one found.
            LawNotApplicable: the law says nothing about this method, or about next to none of the problems; the message
                is the reason.
            Flaky: Hypothesis' own, where the same problem gave first an error and then none.
        """
        reason = self.reason(method)
        if reason is not None:
            raise LawNotApplicable(reason)
        search = _Search(self, method, device, precision)
        began = time.perf_counter()
        try:
            search.run()
        except LawBroken as broken:
            smaller = self._smaller(broken, method, device)
            raise smaller from smaller.__cause__
        except Flaky as flaky:
            found = _first_breach(flaky)
            if found is None:
                raise
            raise found from flaky
        seconds = time.perf_counter() - began
        search.check_judged()
        return search.result(seconds)

    def on(self, method: AnyMethod, problem: Problem, *, device: str = "cpu") -> float | None:
        """Try the law on one problem; None where it says nothing about it.

        Raises:
            LawBroken: the problem breaks it, or the method raises on it.
            PlanError: the method refuses the problem.
        """
        try:
            return self._told(method, problem, device)
        except LawNotApplicable:
            return None

    def _told(self, method: AnyMethod, problem: Problem, device: str) -> float | None:
        try:
            ratio = self.body(method, problem, device)
        except (LawBroken, LawNotApplicable, PlanError):
            raise
        except BrokenMethod as error:  # ours, of what the method returned
            raise LawBroken(self.name, str(error), problem) from error
        except (Exception, SystemExit) as error:  # what a method raises on a problem it accepts is a finding
            raise breach_by_error(self.name, error, problem) from error
        if ratio is not None and not ratio <= 1 + 1e-9:
            raise LawBroken(self.name, f"{self.measures} is {ratio:.6g}, allowed is 1.", problem)
        return ratio

    def _smaller(self, broken: LawBroken, method: AnyMethod, device: str) -> LawBroken:
        """The breach on a problem that a person can follow; fixed problems are left alone: on others a law may err."""
        if self.domain.fixed or Phase.shrink not in settings().phases:
            return broken
        return reduced(broken, lambda problem: self.on(method, problem, device=device))

    def reason(self, method: AnyMethod) -> str | None:
        """Why the law does not apply to a method; None where it does.

        Raises:
            LawBroken: the method's declaration raises.
        """
        try:
            return self.applies(method)
        except (Exception, SystemExit) as error:  # what a declaration raises is a finding, on any problem
            broken = breach_by_error(self.name, error, Problem())
            raise broken from error


def _first_breach(flaky: Flaky) -> LawBroken | None:
    """The breach of a method that breaks a law on a problem and, tried again, does not."""
    found = next((e for e in getattr(flaky, "exceptions", ()) if isinstance(e, LawBroken)), None)
    if found is None:
        return None
    finding = f"{found.finding} Tried again, the same problem gave something else."
    return LawBroken(found.law, finding, found.problem, found.measured)


class _Search:
    """One search of a law for a breach by a method."""

    def __init__(self, law: Law, method: AnyMethod, device: str, precision: Precision) -> None:
        self.law, self.method, self.device, self.precision = law, method, device, precision
        self.tried = self.refused = self.judged = 0
        self.ratios: list[tuple[float, Problem]] = []
        self.kinds: dict[Kind, None] = {}
        self.refusal: str | None = None  # the first one
        self.silences: Counter[str] = Counter()
        self.untried: list[str] = []

    @property
    def silence(self) -> str | None:
        """Why the law said nothing about a problem, most often; None: it said something about all."""
        return self.silences.most_common(1)[0][0] if self.silences else None

    def check_judged(self) -> None:
        """Refuse to call a law that measures not broken where it could measure next to nothing.

        Raises:
            LawNotApplicable: it said something about no problem, or about few.
        """
        if not self.judged:
            raise LawNotApplicable(f"{self.silence or self.law.silent}: on all of the problems tried")
        if self.law.measures and self.judged < _LEAST_JUDGED * (self.tried - self.refused):
            raise LawNotApplicable(
                f"it says something about {self.judged} of {self.tried} problems only ({self.silence}); refuse, with "
                "PlanError, what the theorem does not speak of"
            )

    def result(self, seconds: float) -> SearchResult:
        """What was found where no breach was."""
        ratio, problem = max(self.ratios, key=lambda found: found[0], default=(None, None))
        remarks = list(self.untried)
        if self.refusal is not None:
            remarks.append(f"refused, the first with: {self.refusal}")
        if self.silence is not None:
            remarks.append(f"not judged where {self.silence}")
        return SearchResult(
            self.law.name,
            self.tried,
            self.refused,
            ratio,
            problem,
            seconds,
            self.judged,
            tuple(self.kinds),
            tuple(remarks),
        )

    def run(self) -> None:
        """Search linear models first, then small networks, of the kinds that the method accepts."""
        domain = self.law.domain
        kinds = accepted_kinds(self.method, domain.models)
        kinds = [kind for kind in kinds if kind[1] in domain.recipes] or kinds
        linear = [kind for kind in kinds if kind[0] in LINEAR]
        deep = [kind for kind in kinds if kind[0] not in LINEAR]
        if not kinds:
            raise LawNotApplicable("the method accepts none of the problems that this law is stated for")
        if domain.fixed:
            for problem in [e for e in domain.examples if e.kind in kinds][: domain.fixed]:
                self._try(self._in_precision(problem), reject=lambda: None)
            return
        if linear:
            self._search(linear, domain.share)
        if deep:
            try:
                self._search(deep, domain.share / _NETWORKS_PER_LINEAR)
            except LawNotApplicable as refused:  # networks it accepts only in name
                if not linear:
                    raise
                self.untried.append(f"networks: {refused}")

    def _search(self, kinds: Sequence[Kind], share: float) -> None:
        domain, before = self.law.domain, (self.tried, self.refused)
        examples = [problem for problem in domain.examples if problem.kind in kinds]
        drawn = problems(kinds, momentum=domain.momentum, largest_request=domain.largest_request)

        def attempt(problem: Problem) -> None:
            self._try(self._in_precision(problem), reject=reject)

        search(attempt, drawn, examples, share=share * (_SINGLE_SHARE if self.precision == "float32" else 1))
        tried, refused = self.tried - before[0], self.refused - before[1]
        if 2 * refused > tried:  # a method may refuse what only the data can tell, but not hide from a law by refusing
            found = f"the method refuses {refused} of {tried} problems that it accepts by kind"
            raise LawNotApplicable(f"{found}, the first with: {self.refusal}")

    def _in_precision(self, problem: Problem) -> Problem:
        return in_single_precision(problem) if self.precision == "float32" else problem

    def _try(self, problem: Problem, *, reject: Callable[[], Any]) -> None:
        self.tried += 1
        self.kinds[problem.kind] = None
        try:
            ratio = self.law._told(self.method, problem, self.device)
        except PlanError as refusal:
            self.refused += 1
            self.refusal = self.refusal or str(refusal)
            reject()
            return
        except LawNotApplicable as silence:
            self.silences[str(silence)] += 1
            return
        if ratio is None:
            self.silences[self.law.silent] += 1
            return
        self.judged += 1
        if self.law.measures:
            self.ratios.append((ratio, problem))
            if not self.law.domain.fixed:
                target(min(ratio, 1e3), label=self.law.measures)
