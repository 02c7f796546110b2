"""How near a method's certified Δ comes to breaking on small problems: the search that an audit runs.

The same problems are searched every time: on one machine, with one version of Hypothesis, the result is the same
whatever else the process has loaded or run.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hypothesis import Phase, Verbosity, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from unlearning.protocols import AnyMethod

from .base import LawBroken, LawNotApplicable
from .law import Law
from .problems import Problem
from .promises import check_sensitivity, check_sequential_sensitivity

_PROFILE = "certunlearn audit"
_PHASES = (Phase.explicit, Phase.generate, Phase.target, Phase.shrink)
_SEARCHED = ((check_sensitivity, "after one request"), (check_sequential_sensitivity, "after two requests"))


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
class LawSearched:
    """The search for a breach of one law.

    Attributes:
        law: its name.
        title: when the distance is measured.
        problems: problems tried.
        refused: of those, problems that the method refused to learn.
        ratios: (d less rounding)/Δ of every problem on which the law holds.
        tightest_problem: where the largest of them was.
        breach: None: none was found.
        reason: why nothing can be said; None where something can.
    """

    law: str
    title: str
    problems: int = 0
    refused: int = 0
    ratios: tuple[float, ...] = ()
    tightest_problem: Problem | None = None
    breach: Breach | None = None
    reason: str | None = None

    @property
    def tightest(self) -> float | None:
        """Largest of the ratios."""
        return max(self.ratios, default=None)


def search_bound(method: AnyMethod, *, problems: int, device: str = "cpu") -> tuple[LawSearched, ...]:
    """Search small problems for one on which d exceeds the certified Δ, and for the largest d/Δ.

    It stops at the first law that is broken. What the method raises, or certifies without numbers, is a reason.

    Args:
        method: with its parameters.
        problems: linear problems to draw for each law; fixed problems and a few networks come on top.
        device: where the problems are tried.
    """
    found: list[LawSearched] = []
    with _always_the_same(problems):
        for law, title in _SEARCHED:
            found.append(_search(law, title, method, device))
            if found[-1].breach is not None:
                break
    return tuple(found)


def problem_in_words(problem: Problem) -> str:
    """The problem in a line of plain words.

    >>> problem_in_words(Problem("ridge", rows=3, columns=1, geometry="spike"))
    'ridge, 3 records (spike), 1 column, λ = 0.1, R = 1, 1 to forget, trained to the minimum'
    """
    descent = problem.descent
    learned = "trained to the minimum"
    if descent is not None:
        learned = f"{_several(descent.epochs, 'epoch')} in batches of {descent.batch_size}, divisor {descent.divisor}"
        learned += "" if descent.radius is None else f", projected onto a ball of radius {descent.radius:g}"
    return (
        f"{problem.model}, {_several(problem.rows, 'record')} ({problem.geometry}), "
        f"{_several(problem.columns, 'column')}, λ = {problem.regularisation:.3g}, R = {problem.norm:g}, "
        f"{problem.request_size} to forget, {learned}"
    )


def _several(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _search(law: Law, title: str, method: AnyMethod, device: str) -> LawSearched:
    exempt = method.declaration.exempt.get(law.name)
    if exempt is not None:
        return LawSearched(law.name, title, reason=f"the method declares: {exempt}")
    tried = [0]
    ratios: list[tuple[float, Problem]] = []

    def body(method: AnyMethod, problem: Problem, device: str) -> float | None:
        tried[0] += 1
        ratio = law.body(method, problem, device)
        if ratio is not None and ratio <= 1:
            ratios.append((ratio, problem))
        return ratio

    reason, breach, refused = None, None, 0
    try:
        refused = replace(law, body=body)(method, device=device).refused
    except LawNotApplicable as silent:
        reason = str(silent)
    except LawBroken as broken:
        if _has_numbers(broken):
            breach = Breach(broken.finding, broken.problem, dict(broken.measured))
        else:
            reason = broken.finding
    except (Exception, SystemExit) as error:  # noqa: BLE001  anyone's method runs here
        reason = f"The method raised {type(error).__name__}: {error}"
    best = max(ratios, key=lambda one: one[0], default=None)
    return LawSearched(
        law.name,
        title,
        tried[0],
        refused,
        tuple(ratio for ratio, _ in ratios),
        None if best is None else best[1],
        breach,
        reason,
    )


def _has_numbers(broken: LawBroken) -> bool:
    numbers = [broken.measured.get(name) for name in ("distance", "sensitivity_upper")]
    return all(number is not None and math.isfinite(number) for number in numbers)


@contextmanager
def _always_the_same(problems: int) -> Iterator[None]:
    """Let laws search fixed numbers of fixed problems, whatever profile is loaded and whichever modules are.

    Hypothesis also tries numbers that it reads in the source of the user's modules, as far as they are loaded: another
    process would try others. There is no setting for it.
    """
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
    numbers, providers._get_local_constants = providers._get_local_constants, Constants
    providers.CONSTANTS_CACHE.cache.clear()
    try:
        yield
    finally:
        providers._get_local_constants = numbers
        providers.CONSTANTS_CACHE.cache.clear()
        settings.load_profile(before)
