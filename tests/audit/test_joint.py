"""The joint test: exact type-I error by enumeration, its rounding, and how tight it is."""

import numpy as np
import pytest
from scipy.stats import binom

from audit.bounds.fixed_event import epsilon_lower_at_events, mu_lower_at_events
from audit.bounds.joint import JointTest, ratio_contour, shift_contour
from audit.bounds.runs import SelectionRuns, TestRuns
from audit.bounds.table import compute
from unlearning.tradeoff import Directions, EpsilonDelta, epsilon_lower_at_event, mu_lower_at_event

from .gates import LEVELS, TRADEOFFS, claim_of

CONTOURS = {
    "ratio": lambda n, m, level: ratio_contour(n, m, 0.5, 0.2, level),
    "shift": lambda n, m, level: shift_contour(n, m),
}


def refuting(n: int, m: int, level: float, contour: str, *, broken: bool = False) -> dict[str, np.ndarray]:
    """Whether x of n and y of m refute each claim, [n + 1, m + 1]; the broken twin tests at the observed share only."""
    found = {name: np.zeros((n + 1, m + 1), dtype=bool) for name in TRADEOFFS}
    for x in range(n + 1):
        for y in range(m + 1):
            test = JointTest(x, n, y, m, CONTOURS[contour](n, m, level), level)
            if broken:
                share = np.array([y / m])
                limits = test.numerator_lower(share), share
            else:
                cells = test.region(lambda a, b: epsilon_lower_at_events(a, b, 1e-5, Directions.BOTH))
                limits = cells.numerator_lower, cells.denominator_upper
            for name, tradeoff in TRADEOFFS.items():
                found[name][x, y] = tradeoff.refuted_at(*limits).all()
    return found


def worst_error(refuted: dict[str, np.ndarray], n: int, m: int) -> float:
    """Largest probability, over all points of the boundaries, that a claim is refuted which holds with equality."""
    q = np.concatenate([np.linspace(0, 1, 101), [1e-4, 1e-3, 0.999]])
    worst = 0.0
    for name, tradeoff in TRADEOFFS.items():
        p = 1 - tradeoff(q)
        of_x = binom.pmf(np.arange(n + 1)[:, None], n, p)
        of_y = binom.pmf(np.arange(m + 1)[:, None], m, q)
        worst = max(worst, float(np.einsum("xk,yk,xy->k", of_x, of_y, refuted[name]).max()))
    return worst


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (8, 9), (12, 5)])
def test_type_one_error_by_enumeration(n: int, m: int, level: float, contour: str) -> None:
    assert worst_error(refuting(n, m, level, contour), n, m) <= level


def test_enumeration_catches_a_nuisance_taken_as_known() -> None:
    assert worst_error(refuting(8, 9, 0.05, "ratio", broken=True), 8, 9) > 0.05


def test_limit_against_the_sum_written_out() -> None:
    n, m, x, y, level = 60, 80, 31, 9, 0.05
    test = JointTest(x, n, y, m, ratio_contour(n, m, 0.5, 0.1, level), level)
    for b in (0.05, 0.12, 0.3):
        a = float(test.numerator_lower(np.array([b]))[0])
        t = test._observed()
        every = np.arange(m + 1)
        least = np.ceil(test.contour(t, every.astype(float)) - 1e-6)
        tail = float((binom.pmf(every, m, b) * binom.sf(least - 1, n, a)).sum())
        assert 0.998 * level * (1 - 1e-3) <= tail <= level * (1 - 1e-3)


@pytest.mark.parametrize("contour", CONTOURS)
def test_contours_increase(contour: str) -> None:
    draw, y = CONTOURS[contour](50, 70, 0.05), np.arange(71.0)
    table = np.array([draw(t, y) for t in np.linspace(-3, 3, 40)])
    assert np.all(np.diff(table, axis=0) >= 0) and np.all(np.diff(table, axis=1) >= 0)


def test_many_events_at_once_are_the_events_one_by_one() -> None:
    rng = np.random.default_rng(31)
    p, q = np.append(rng.random(200), [0.0, 1.0, 0.5]), np.append(rng.random(200), [0.5, 0.5, 0.5])
    for directions in Directions:
        one = [epsilon_lower_at_event(a, b, 0.01, directions) for a, b in zip(p, q, strict=True)]
        assert np.allclose(epsilon_lower_at_events(p, q, 0.01, directions), one)
    assert np.allclose(mu_lower_at_events(p, q), [mu_lower_at_event(a, b) for a, b in zip(p, q, strict=True)])


def divided(rng: np.random.Generator, runs: int, pilot: float) -> tuple[SelectionRuns, TestRuns]:
    """A Gaussian shift of 1, a share of whose runs chooses the event."""
    sides = [rng.normal(mean, 1, runs) for mean in (1, 0)]
    orders = [side[rng.permutation(runs)] for side in sides]
    cut = round(pilot * runs)
    return SelectionRuns(*(order[:cut] for order in orders)), TestRuns(*(order[cut:] for order in orders))


@pytest.mark.parametrize(("runs", "pilot", "least", "trials"), [(1000, 0.2, 1.45, 60), (10_000, 0.1, 2.15, 20)])
def test_is_tight_in_gaussian_tails(runs: int, pilot: float, least: float, trials: int) -> None:
    # auditing.md §4; the true ε is 4.377. Two-hundred-trial version in tests/statistics
    rng, claim, found = np.random.default_rng(32), claim_of(EpsilonDelta(0.0, 1e-5)), []
    for _ in range(trials):
        selection, test = divided(rng, runs, pilot)
        found.append(compute("joint", selection, test, claim, failure_probability=0.05).epsilon_lower)
    assert np.mean(found) >= least


def test_beats_two_separate_limits() -> None:
    rng, claim = np.random.default_rng(33), claim_of(EpsilonDelta(0.0, 1e-5))
    found = {"joint": 0.0, "clopper-pearson": 0.0}
    for _ in range(20):
        selection, test = divided(rng, 400, 0.3)
        for name in found:
            found[name] += compute(name, selection, test, claim, failure_probability=0.05).epsilon_lower
    assert found["joint"] > found["clopper-pearson"]
