"""The search that every law shares: fixed inputs first, then as many drawn ones as the Hypothesis profile says."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import reduce
from typing import TypeVar

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

Input = TypeVar("Input")


def search(
    attempt: Callable[[Input], None], drawn: SearchStrategy[Input], examples: Sequence[Input], *, share: float = 1.0
) -> None:
    """Try the examples and drawn inputs; what `attempt` raises on the smallest input that breaks is raised.

    Args:
        attempt: tries one input; it may call `hypothesis.reject` and `hypothesis.target`.
        drawn: inputs to draw.
        examples: tried first.
        share: of the examples that the profile says; at least 5 are drawn.

    Raises:
        AssertionError: what `attempt` raised.
    """
    profile = settings()
    chosen = settings(
        deadline=None,
        max_examples=max(5, round(profile.max_examples * share)),
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.nested_given],
        phases=[phase for phase in profile.phases if phase is not Phase.explain],
    )

    def law(problem: Input) -> None:
        attempt(problem)

    def run(fixed: Sequence[Input], phases: Sequence[Phase]) -> None:
        searched = settings(chosen, phases=phases)(given(problem=drawn)(law))
        with suppress(Unsatisfiable):
            reduce(lambda found, one: example(problem=one)(found), fixed, searched)()

    rest = [phase for phase in chosen.phases if phase is not Phase.explicit]
    broken = None
    if examples and Phase.explicit in chosen.phases:
        try:
            run(examples, [Phase.explicit])
        except AssertionError as found:
            broken = found
    # examples are not shrunk: a smaller breach may be found among what is drawn
    if rest and (broken is None or Phase.shrink in rest):
        run([], rest)
    if broken is not None:
        raise broken
