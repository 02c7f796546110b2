"""How near a method's certified Δ comes to breaking on small problems: the search that an audit runs.

The same problems are searched every time: on one machine, with one version of Hypothesis, the result is the same
whatever else the process has loaded or run (where Hypothesis lets it: `same_everywhere`).

What is found here refutes a method in public, so that it must not be rounding. A law allows for rounding by the task's
conditioning; a method with a loss of its own may be conditioned worse. Here d − Δ must exceed `ROUNDING`·(1 + ‖w‖) as
well, half the digits of float64; problems on which that is no small share of what happens say nothing.
"""

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType

import torch
from hypothesis import Phase, Verbosity, settings

from unlearning.errors import BrokenMethod, PlanError
from unlearning.protocols import AnyMethod

from .base import LawBroken, LawNotApplicable, check_visible
from .law import Law
from .problems import Problem, Recipe
from .promises import check_sensitivity, check_sequential_sensitivity
from .running import split, start
from .strategies import Kind

ROUNDING = 2.0**-26  # distance that a breach must exceed, per unit of 1 + ‖w‖

_PROFILE = "certunlearn audit"
_PHASES = (Phase.explicit, Phase.generate, Phase.target, Phase.shrink)
_SEARCHED = ((check_sensitivity, 1, "after one request"), (check_sequential_sensitivity, 2, "after two requests"))
_LEARNED: dict[Recipe, str] = {
    "minimise": "to the minimum",
    "descent": "by descent",
    "projected": "by projected descent",
}


@dataclass(frozen=True, slots=True)
class Breach:
    """A small problem on which the certified Δ is exceeded.

    Attributes:
        finding: in one or two sentences.
        problem: the smallest one found.
        measured: numbers of the finding by name: replica, distance, sensitivity_upper, …
    """

    finding: str
    problem: Problem
    measured: dict[str, float]


@dataclass(frozen=True, slots=True)
class KindSearched:
    """What became of the problems of one kind.

    Attributes:
        kind: model and recipe, in words.
        problems: tried.
        refused: of those, problems that the method refused.
        judged: of those, problems of which the law said something.
    """

    kind: str
    problems: int
    refused: int
    judged: int


@dataclass(frozen=True, slots=True)
class LawSearched:
    """The search for a breach of one law.

    Attributes:
        law: its name.
        title: when the distance is measured.
        kinds: what became of the problems, by model and recipe.
        remarks: why problems were refused or not judged, and what was not tried.
        ratios: (d less rounding)/Δ of every problem on which the law holds.
        tightest_problem: where the largest of them was.
        breach: None: none was found.
        reason: why nothing can be said, or not of all problems; None where something can.
    """

    law: str
    title: str
    kinds: tuple[KindSearched, ...] = ()
    remarks: tuple[str, ...] = ()
    ratios: tuple[float, ...] = ()
    tightest_problem: Problem | None = None
    breach: Breach | None = None
    reason: str | None = None

    @property
    def problems(self) -> int:
        """Problems tried, those that made a breach smaller included."""
        return sum(kind.problems for kind in self.kinds)

    @property
    def refused(self) -> int:
        """Problems that the method refused."""
        return sum(kind.refused for kind in self.kinds)

    @property
    def judged(self) -> int:
        """Problems of which the law said something, and that do not break it."""
        return len(self.ratios)

    @property
    def tightest(self) -> float | None:
        """Largest of the ratios."""
        return max(self.ratios, default=None)


def search_bound(method: AnyMethod, *, problems: int, device: str = "cpu") -> tuple[LawSearched, ...]:
    """Search small problems for one on which d exceeds the certified Δ, and for the largest d/Δ.

    It stops at the first law that is broken. Broken is Δ where d exceeds it by more than rounding, where the unlearned
    parameters are not finite and Δ is, and where there is not one Δ for every model. What the method raises, or
    certifies as NaN, is a reason.

    Args:
        method: with its parameters.
        problems: linear problems to draw for each law; fixed problems and a few networks come on top.
        device: where the problems are tried.
    """
    found: list[LawSearched] = []
    with _always_the_same(problems):
        for law, parts, title in _SEARCHED:
            found.append(_search(law, parts, title, method, device))
            if found[-1].breach is not None:
                break
    return tuple(found)


def problem_in_words(problem: Problem, *, own_loss: bool = False) -> str:
    """The problem in a line of plain words.

    Args:
        problem: any.
        own_loss: the method brings its own loss: model, λ and training of the problem are offered, and not used.

    >>> problem_in_words(Problem("ridge", rows=3, columns=1, geometry="spike"))
    'ridge, 3 records (spike), 1 column, λ = 0.1, R = 1, 1 to forget, trained to the minimum'
    """
    shape = f"{_several(problem.rows, 'record')} ({problem.geometry}), {_several(problem.columns, 'column')}, "
    request = f"R = {problem.norm:g}, {problem.request_size} to forget"
    weight = f"λ = {problem.regularisation:.3g}"
    if own_loss:
        return f"{shape}{request} (task offered: {problem.model}, {weight}; the method brings its own loss)"
    descent = problem.descent
    learned = "trained to the minimum"
    if descent is not None:
        learned = f"{_several(descent.epochs, 'epoch')} in batches of {descent.batch_size}, divisor {descent.divisor}"
        learned += "" if descent.radius is None else f", projected onto a ball of radius {descent.radius:g}"
    return f"{problem.model}, {shape}{weight}, {request}, {learned}"


def _several(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def same_everywhere() -> bool:
    """Whether another process would try the same problems, whatever modules it has loaded."""
    return _pool() is not None


@dataclass(slots=True)
class _Tally:
    """What became of the problems of one search so far."""

    kinds: dict[Kind, list[int]] = field(default_factory=dict)  # tried, refused, judged
    ratios: list[tuple[float, Problem]] = field(default_factory=list)

    def count(self, problem: Problem, place: int) -> None:
        self.kinds.setdefault(problem.kind, [0, 0, 0])[place] += 1

    def told(
        self, law: Law, title: str, remarks: tuple[str, ...], breach: Breach | None, reason: str | None
    ) -> LawSearched:
        return LawSearched(
            law.name,
            title,
            tuple(KindSearched(f"{model} {_LEARNED[way]}", *counts) for (model, way), counts in self.kinds.items()),
            remarks,
            tuple(ratio for ratio, _ in self.ratios),
            max(self.ratios, key=lambda one: one[0], default=(0.0, None))[1],
            breach,
            reason,
        )


def _search(law: Law, parts: int, title: str, method: AnyMethod, device: str) -> LawSearched:
    exempt = method.declaration.exempt.get(law.name)
    if exempt is not None:
        return LawSearched(law.name, title, reason=f"the method declares: {exempt}")
    tally = _Tally()

    def body(method: AnyMethod, problem: Problem, device: str) -> float | None:
        tally.count(problem, 0)
        try:
            ratio = _beyond_rounding(law, parts, method, problem, device)
        except PlanError:
            tally.count(problem, 1)
            raise
        if ratio is not None and ratio <= 1:
            tally.count(problem, 2)
            tally.ratios.append((ratio, problem))
        return ratio

    reason, breach = None, None
    remarks: tuple[str, ...] = ()
    try:
        remarks = replace(law, body=body)(method, device=device).remarks
    except LawNotApplicable as silent:
        reason = str(silent)
    except LawBroken as broken:
        if _breaks_the_bound(broken):
            breach = Breach(broken.finding, broken.problem, dict(broken.measured))
        else:
            reason = broken.finding
    except (Exception, SystemExit) as error:  # noqa: BLE001  anyone's method runs here
        reason = f"the search ended in {type(error).__name__}: {error}"
    return tally.told(law, title, remarks, breach, reason)


def _beyond_rounding(law: Law, parts: int, method: AnyMethod, problem: Problem, device: str) -> float | None:
    """The law on one problem, where a distance that rounding may explain breaks nothing, and an infinite one does."""
    try:
        return law.body(method, problem, device)
    except BrokenMethod:
        infinite = _not_finite(law, parts, method, problem, device)
        if infinite is None:
            raise
        raise infinite from None
    except LawBroken as broken:
        d, upper = (broken.measured.get(name, math.nan) for name in ("distance", "sensitivity_upper"))
        if not (math.isfinite(d) and math.isfinite(upper)):
            raise
        run = start(method, problem, device)
        states = (run.learned.parameters, run.reference().parameters)
        slack = ROUNDING * (1 + d + max(float(torch.linalg.vector_norm(s.double(), dim=1).max()) for s in states))
        if d > upper + slack:
            raise
        check_visible(problem, slack, torch.tensor([upper, broken.measured.get("distance of doing nothing", 0.0)]))
        return min(1.0, max(0.0, d - slack) / max(upper, 1e-300))


def _not_finite(law: Law, parts: int, method: AnyMethod, problem: Problem, device: str) -> LawBroken | None:
    """The breach where the unlearned parameters are not finite, and Δ and the reference are."""
    run = start(method, problem, device)
    requests = split(run.request, parts)
    state = run.learned
    for number, request in enumerate(requests):
        state = method.unlearn(state, request, streams=run.streams(number, len(requests)))
    parameters = getattr(state, "parameters", None)
    run.reference()
    if not isinstance(parameters, torch.Tensor) or parameters.shape != run.learned.parameters.shape:
        return None
    upper = run.sensitivities(state, requests[-1], law.name)
    broken = [] if upper is None else (~torch.isfinite(parameters).all(1).cpu() & upper.isfinite()).nonzero().tolist()
    if upper is None or not broken:
        return None
    worst = broken[0][0]
    found = f"Replica {worst}: the unlearned parameters are not finite, but the certified Δ is: {upper[worst]:.6g}."
    return LawBroken(law.name, found, problem, {"replica": worst, "sensitivity_upper": float(upper[worst])})


def _breaks_the_bound(broken: LawBroken) -> bool:
    """Whether the law itself is broken: nothing was raised, and no Δ is NaN."""
    return not math.isnan(broken.measured.get("sensitivity_upper", 0.0)) and (
        "sensitivity_upper" in broken.measured or broken.__cause__ is None
    )


def _pool() -> tuple[ModuleType, type] | None:
    """Where Hypothesis keeps the numbers that it reads in the user's modules; None where a version keeps none there."""
    try:
        providers = importlib.import_module("hypothesis.internal.conjecture.providers")
        empty = importlib.import_module("hypothesis.internal.constants_ast").Constants
        empty()
        return (providers, empty) if callable(providers._get_local_constants) else None
    except (ImportError, AttributeError, TypeError):
        return None


def _forget_numbers(providers: ModuleType) -> None:
    cache = getattr(getattr(providers, "CONSTANTS_CACHE", None), "cache", None)
    if cache is not None:
        cache.clear()


@contextmanager
def _always_the_same(problems: int) -> Iterator[None]:
    """Let laws search fixed numbers of fixed problems, whatever profile is loaded and whichever modules are."""
    before = settings.get_current_profile_name()
    settings.register_profile(
        _PROFILE,
        max_examples=problems,
        derandomize=True,
        database=None,
        deadline=None,
        phases=_PHASES,
        verbosity=Verbosity.quiet,
        print_blob=False,
    )
    settings.load_profile(_PROFILE)
    try:
        with _without_numbers_of_modules():
            yield
    finally:
        settings.load_profile(before)


@contextmanager
def _without_numbers_of_modules() -> Iterator[None]:
    """Keep Hypothesis from trying numbers that it reads in the source of the user's modules, as far as they are loaded.

    Another process would try others. There is no setting for it; where a version has nothing to exchange, they stay.
    """
    pool = _pool()
    if pool is None:
        yield
        return
    providers, empty = pool
    numbers = providers._get_local_constants
    providers._get_local_constants = lambda *_, **__: empty()  # type: ignore[attr-defined]
    _forget_numbers(providers)
    try:
        yield
    finally:
        providers._get_local_constants = numbers  # type: ignore[attr-defined]
        _forget_numbers(providers)
