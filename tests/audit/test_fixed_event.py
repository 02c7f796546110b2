"""The fixed-event bound: exact type-I error, coverage at the boundary, power, invariance."""

import numpy as np
import pytest
from scipy.stats import binom

from audit.bounds.fixed_event import EventDesign, count_probabilities
from audit.bounds.result import Event
from audit.bounds.runs import SelectionRuns
from audit.bounds.selection import most_telling_event
from unlearning.claim import Claim
from unlearning.tradeoff import Directions, EpsilonDelta

from .gates import (
    LEVELS,
    TRADEOFFS,
    TRIALS,
    Array,
    agrees,
    boundary,
    caught,
    claim_of,
    event_refutations,
    peeking_refutations,
    refuted_table,
    selecting_refutations,
)

ARMS = ("independent", "seed-dependent", "same noise", "mirrored noise")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TRADEOFFS)
def test_type_one_error_is_exact_for_few_runs(name: str, level: float) -> None:
    tradeoff = TRADEOFFS[name]
    grid = np.linspace(0, 1, 201)
    for n, m in ((1, 1), (5, 5), (12, 3), (3, 12), (20, 20)):
        table = refuted_table(EventDesign(n, m, level), tradeoff)
        x = binom.pmf(np.arange(n + 1), n, boundary(tradeoff, grid)[:, None])
        y = binom.pmf(np.arange(m + 1), m, grid[:, None])
        assert np.einsum("gx,xy,gy->g", x, table, y).max() <= level * (1 + 1e-9)


@pytest.mark.parametrize("arms", ARMS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TRADEOFFS)
def test_coverage_at_the_boundary(name: str, level: float, arms: str) -> None:
    rng = np.random.default_rng([1, ARMS.index(arms), list(TRADEOFFS).index(name)])
    for q in (0.02, 0.3):
        refuted = event_refutations(TRADEOFFS[name], q, 100, level, rng, TRIALS, arms)
        assert not caught(refuted, TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("law", ["laplace", "tied", "equal"])
def test_coverage_with_an_event_chosen_on_other_runs(law: str, level: float) -> None:
    refuted = selecting_refutations(law, 100, level, np.random.default_rng(2), TRIALS)
    assert not caught(refuted, TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_gate_catches_a_naive_auditor_who_peeks(level: float) -> None:
    refuted = peeking_refutations("equal", 1000, level, np.random.default_rng(3), TRIALS)
    assert refuted / TRIALS >= 0.1
    assert caught(refuted, TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_gate_catches_rows_counted_as_runs(level: float) -> None:
    # ten records scored on each of 50 models, counted as 500 runs
    rng = np.random.default_rng(4)
    tradeoff = TRADEOFFS["nothing allowed"]
    x, y = 10 * rng.binomial(50, 0.5, (2, TRIALS))
    assert caught(int(refuted_table(EventDesign(500, 500, level), tradeoff)[x, y].sum()), TRIALS, level)


def test_the_table_is_the_bound() -> None:
    for tradeoff in TRADEOFFS.values():
        events, claim = EventDesign(7, 9, 0.1, 0.3), claim_of(tradeoff)
        table = refuted_table(events, tradeoff)
        for x in range(8):
            for y in range(10):
                bound = events.bound(x, y, claim)
                assert bound.refuted == table[x, y]
                if isinstance(tradeoff, EpsilonDelta):
                    assert bound.refuted == (bound.epsilon_lower > tradeoff.epsilon_value)
                else:
                    assert bound.refuted == (bound.mu_lower > tradeoff.mu)


@pytest.mark.parametrize("name", ["both", "released only", "reference only", "gaussian"])
def test_power_is_what_simulation_finds(name: str) -> None:
    tradeoff, rng = TRADEOFFS[name], np.random.default_rng(5)
    events = EventDesign(120, 80, 0.05)
    table = refuted_table(events, tradeoff)
    for p, q in ((0.5, 0.05), (0.97, 0.6), (0.9, 0.2)):
        x, y = rng.binomial(120, p, TRIALS), rng.binomial(80, q, TRIALS)
        assert agrees(int(table[x, y].sum()), TRIALS, events.refutation_probability(p, q, tradeoff))


def test_power_with_a_model_of_its_own_for_every_run() -> None:
    rng = np.random.default_rng(6)
    tradeoff, events = TRADEOFFS["both"], EventDesign(60, 60, 0.05)
    p, q = np.repeat([0.99, 0.1], [43, 17]), np.repeat([1.0, 0.001], [5, 55])
    x, y = (rng.random((TRIALS, 60)) < p).sum(1), (rng.random((TRIALS, 60)) < q).sum(1)
    refuted = int(refuted_table(events, tradeoff)[x, y].sum())
    assert agrees(refuted, TRIALS, events.refutation_probability(p, q, tradeoff))
    # the binomial of the averages is another number: predictions need the exact one
    assert not agrees(refuted, TRIALS, events.refutation_probability(p.mean(), q.mean(), tradeoff))


@pytest.mark.parametrize("runs", [1, 2, 3, 17, 64])
def test_counts_of_unequal_runs(runs: int) -> None:
    p = np.random.default_rng(7).random(runs)
    slow = np.ones(1)
    for each in p:
        slow = np.convolve(slow, [1 - each, each])
    assert np.allclose(count_probabilities(p, runs), slow, rtol=0, atol=1e-14)
    assert np.allclose(count_probabilities(np.full(runs, 0.3), runs), count_probabilities(0.3, runs), atol=1e-14)
    with pytest.raises(ValueError, match="p must hold 1 or"):
        count_probabilities(np.ones(runs + 2), runs)


def test_detectable_is_the_smallest_with_that_power() -> None:
    events, tradeoff = EventDesign(100, 100, 0.05), TRADEOFFS["both"]
    least = events.detectable(0.1, tradeoff, 0.8)
    assert least is not None
    assert events.refutation_probability(least, 0.1, tradeoff) >= 0.8
    assert events.refutation_probability(least - 1e-6, 0.1, tradeoff) < 0.8
    assert EventDesign(5, 5, 0.05).detectable(0.5, tradeoff, 0.8) is None


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, lambda s: 3 * s - 7, np.arctan])
def test_increasing_transforms_change_no_count(transform) -> None:  # type: ignore[no-untyped-def]
    scores = np.random.default_rng(8).standard_normal(200).round(1)
    for threshold in (-0.55, 0.25, 0.3):
        for orientation in (1, -1):
            one = Event(threshold, orientation).contains(scores)
            assert np.array_equal(one, Event(float(transform(threshold)), orientation).contains(transform(scores)))
            assert np.array_equal(one, ~Event(threshold, -orientation).contains(scores))


def chosen(released: Array, reference: Array, claim: Claim) -> Event:
    return most_telling_event(SelectionRuns(released, reference), (200, 200), claim, 0.05)


@pytest.mark.parametrize("name", ["both", "gaussian"])
def test_the_choice_follows_the_scores(name: str) -> None:
    rng, claim = np.random.default_rng(9), claim_of(TRADEOFFS[name])
    released, reference = rng.standard_normal(100) + 2, rng.standard_normal(100)
    event, turned = chosen(released, reference, claim), chosen(-released, -reference, claim)
    inside = [int(event.contains(side).sum()) for side in (released, reference)]
    assert inside[0] > inside[1]
    assert turned.orientation == -event.orientation


def test_exchanging_the_sides_takes_the_complement() -> None:
    rng, claim = np.random.default_rng(12), claim_of(TRADEOFFS["both"])
    released, reference = rng.standard_normal(100) + 2, rng.standard_normal(100)
    event, other = chosen(released, reference, claim), chosen(reference, released, claim)
    assert other == Event(event.threshold, -event.orientation)


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, np.arctan])
def test_an_increasing_transform_chooses_the_same_runs(transform) -> None:  # type: ignore[no-untyped-def]
    rng, claim = np.random.default_rng(11), claim_of(TRADEOFFS["both"])
    pilot, test = ([rng.standard_normal(300) + shift for shift in (1.0, 0.0)] for _ in range(2))
    event, moved = chosen(*pilot, claim), chosen(*map(transform, pilot), claim)
    for side in test:
        assert np.array_equal(event.contains(side), moved.contains(transform(side)))


def test_equal_scores_choose_an_event() -> None:
    assert chosen(np.zeros(5), np.zeros(5), claim_of(TRADEOFFS["both"])).threshold == 0.0


def test_the_wrong_orientation_finds_nothing() -> None:
    # a threshold that is right with an orientation that is wrong: the complement of the event
    rng, events, claim = (
        np.random.default_rng(10),
        EventDesign(200, 200, 0.05),
        claim_of(EpsilonDelta(1.0, 1e-5, Directions.RELEASED)),
    )
    released, reference = rng.standard_normal((2, 200)) + [[3.0], [0.0]]
    counts = {s: [int(Event(1.5, s).contains(scores).sum()) for scores in (released, reference)] for s in (1, -1)}
    assert events.bound(*counts[1], claim).refuted
    wrong = events.bound(*counts[-1], claim)
    assert not wrong.refuted
    assert wrong.epsilon_lower == wrong.mu_lower == 0


@pytest.mark.parametrize("runs", [10, 50])
def test_swapping_sides_mirrors(runs: int) -> None:
    events = EventDesign(runs, runs, 0.05)
    both = claim_of(TRADEOFFS["both"])
    one, other = claim_of(TRADEOFFS["released only"]), claim_of(TRADEOFFS["reference only"])
    for x in range(0, runs + 1, 3):
        for y in range(0, runs + 1, 2):
            for straight, turned in ((both, both), (one, other), (other, one)):
                a, b = events.bound(x, y, straight), events.bound(runs - y, runs - x, turned)
                assert a.epsilon_lower == pytest.approx(b.epsilon_lower, abs=1e-9)
                assert a.mu_lower == pytest.approx(b.mu_lower, abs=1e-9)


def test_a_smaller_failure_probability_never_raises_a_bound() -> None:
    claim = claim_of(TRADEOFFS["both"])
    for x, y in ((0, 0), (20, 1), (25, 0), (30, 12), (30, 30)):
        bounds = [EventDesign(30, 30, a).bound(x, y, claim) for a in (0.5, 0.2, 0.05, 1e-3, 1e-9)]
        for looser, tighter in zip(bounds, bounds[1:], strict=False):
            assert tighter.epsilon_lower <= looser.epsilon_lower
            assert tighter.mu_lower <= looser.mu_lower
            assert tighter.refuted <= looser.refuted


def test_nothing_of_n_is_a_limit() -> None:
    bound = EventDesign(100, 100, 0.05).bound(100, 0, claim_of(TRADEOFFS["both"]))
    assert bound.q_upper == pytest.approx(1 - 0.025**0.01)
    assert 3.2 < bound.epsilon_lower < 3.35
    assert np.isfinite(bound.mu_lower)
