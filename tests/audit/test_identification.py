"""Rung D's bounds: the null against enumeration, the gate at the boundary, and broken twins that it catches."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from audit.bounds.identification import (
    Game,
    choose_needed,
    guesses_needed,
    identification_cap,
    identification_detectable,
    identification_lower,
    least_refuting,
    refutes_throughout,
    refuting_runs,
)
from audit.bounds.one_run import (
    mahloujifar_estimate,
    mahloujifar_refutes,
    steinke_estimate,
    steinke_p_value_upper,
)
from audit.bounds.result import Kind
from unlearning.binomial import clopper_pearson_lower
from unlearning.claim import Claim
from unlearning.errors import BadScores
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

from .gates import LEVELS, TRIALS, caught, claim_of

Array = np.ndarray
COIN = Game("coin", 12, 6)
FIXED = Game("fixed", 12, 4, members=6)
CLAIMS = (claim_of(EpsilonDelta(1.0, 1e-5)), claim_of(EpsilonDelta(8.0, 1e-5)), claim_of(GaussianTradeOff(1.0)))


@pytest.mark.parametrize("names", ["blind", "by content"])
def test_the_null_of_coins_is_what_enumeration_says(names: str) -> None:
    """Whatever the names are, over all 2^m draws: their number right has one law."""
    game, rng = Game("coin", 7, 3), np.random.default_rng(0)
    every = np.array(list(itertools.product([False, True], repeat=7)))
    places = [0, 1, 2] if names == "blind" else rng.choice(7, 3, replace=False)
    said = np.ones(3, bool) if names == "blind" else rng.random(3) < 0.5
    right = (every[:, places] == said).sum(1)
    assert [game.null_tail(v) for v in range(5)] == [float((right >= v).mean()) for v in range(5)]


def test_the_null_of_a_fixed_number_is_what_enumeration_says() -> None:
    game = Game("fixed", 7, 3, members=4)
    right = np.array([len({1, 4, 6} & set(members)) for members in itertools.combinations(range(7), 4)])
    assert [game.null_tail(v) for v in range(5)] == pytest.approx([float((right >= v).mean()) for v in range(5)])


def test_the_null_agrees_with_the_closed_forms() -> None:
    for v in range(21):
        assert Game("coin", 40, 20).null_tail(v) == pytest.approx(binom.sf(v - 1, 20, 0.5), rel=1e-12)
        drawn = Game("fixed", 80, 20, members=40)
        assert drawn.null_tail(v) == pytest.approx(hypergeom.sf(v - 1, 80, 40, 20), rel=1e-8)


@pytest.mark.parametrize("game", [COIN, FIXED])
def test_members_are_drawn_as_the_game_says(game: Game) -> None:
    drawn = game.draw(4000, np.random.default_rng(0))
    assert drawn.shape == (4000, 12)
    assert np.abs(drawn.mean(0) - 0.5).max() < 0.05
    if game.members is not None:
        assert (drawn.sum(1) == 6).all()


def test_one_run_is_a_p_value() -> None:
    """The closed forms of the module, and the cap."""
    claim, game = claim_of(EpsilonDelta(8.0, 1e-5, Directions.RELEASED)), Game("coin", 40, 20)
    for right in (0, 10, 17, 20):
        bound = identification_lower(game, [right], claim, 0.05)
        q = game.null_tail(max(1, right))
        assert bound.epsilon_lower == pytest.approx(max(0.0, math.log((0.05 - 1e-5) / q)))
        assert bound.refuted == (math.exp(8) * q + 1e-5 < 0.05)
    cap = identification_cap(game, claim, 0.05)
    assert cap == pytest.approx((bound.epsilon_lower, bound.mu_lower))
    assert cap[0] == pytest.approx(20 * math.log(2) + math.log(0.05 - 1e-5))


def _curator(claim: Claim, game: Game, needed: int) -> Callable[[int, np.random.Generator], Array]:
    """A mechanism at the boundary of a claim: for every S it names `needed` or more right as often as f allows.

    Under the reference nothing is known of S, and under the released law the names are drawn again from the names that
    are good for S so often that P[V ≥ needed] = 1 − f(q): a likelihood ratio of two values.
    """
    q = game.null_tail(needed)
    p = float(1 - claim.tradeoff(q))
    of = np.array([game.null_tail(v) - game.null_tail(v + 1) for v in range(game.guesses + 1)])
    good = np.arange(game.guesses + 1) >= needed
    law = np.where(good, of * p / q, of * (1 - p) / (1 - q))

    def right(runs: int, rng: np.random.Generator) -> Array:
        return rng.choice(game.guesses + 1, size=runs, p=law / law.sum())

    return right


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: f"{c.tradeoff}")
@pytest.mark.parametrize("sampling", ["coin", "fixed"])
@pytest.mark.parametrize("runs", [1, 10])
def test_the_bound_covers_at_the_boundary(level: float, claim: Claim, sampling: str, runs: int) -> None:
    members = 24 if sampling == "fixed" else None
    game = Game(sampling, 48, 20, runs, members)  # type: ignore[arg-type]
    needed = least_refuting(game, claim, level)
    if needed is None:
        pytest.skip("a game that cannot refute refutes nothing")
    right = _curator(claim, game, needed)(TRIALS * runs, np.random.default_rng(20)).reshape(TRIALS, runs)
    gaussian, refuted, above = isinstance(claim.tradeoff, GaussianTradeOff), 0, 0
    seen, times = np.unique(right if runs == 1 else right >= needed, axis=0, return_counts=True)
    for row, count in zip(seen, times.tolist(), strict=True):
        played = row if runs == 1 else row * needed
        bound = identification_lower(game, played, claim, level, needed=None if runs == 1 else needed)
        refuted += count * bool(bound.refuted)
        above += count * bool((bound.mu_lower or 0.0) > 1.0 if gaussian else bound.epsilon_lower > claim.epsilon)
    assert not caught(refuted, TRIALS, level)
    assert not caught(above, TRIALS, level)
    assert refuted > 0  # at the boundary, not far inside


def _responses(epsilon: float, members: Array, rng: np.random.Generator) -> Array:
    """Randomised response of every candidate by itself: each answer is right with probability e^ε/(1 + e^ε)."""
    return members ^ (rng.random(members.shape) > 1 / (1 + math.exp(-epsilon)))


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_randomised_response_of_the_whole_is_covered(epsilon: float) -> None:
    """Every bit at ε/m against a fair coin: the whole is at most ε from the reference, whatever S."""
    game, rng, level = Game("coin", 16, 16), np.random.default_rng(21), 0.2
    claim = claim_of(EpsilonDelta(epsilon, 1e-5))
    keep = min(1.0, 0.5 * math.exp(epsilon / 16))  # P/Q of a right answer is keep/½ ≤ e^{ε/m}
    members = game.draw(TRIALS, rng)
    right = (rng.random(members.shape) < keep).sum(1)
    refuted = _refutations(game, right, claim, level)
    assert not caught(refuted, TRIALS, level)


LEVEL = 0.2
TRUE = claim_of(EpsilonDelta(1e-9, 1e-9))  # equal laws: released models that know nothing of S


def _blind(game: Game, rng: np.random.Generator, runs: int) -> tuple[Array, Array]:
    """Members and the answers of somebody who knows nothing."""
    return game.draw(runs, rng), rng.random((runs, game.candidates)) < 0.5


def _refutations(game: Game, right: Array, claim: Claim = TRUE, level: float = LEVEL) -> int:
    times = np.bincount(right)
    return sum(times[v] * bool(identification_lower(game, [v], claim, level).refuted) for v in np.flatnonzero(times))


def test_an_honest_player_is_not_caught() -> None:
    game, rng = Game("coin", 24, 12), np.random.default_rng(22)
    members, said = _blind(game, rng, TRIALS)
    refuted = _refutations(game, (members == said)[:, :12].sum(1))
    assert 0 < refuted and not caught(refuted, TRIALS, LEVEL)


def test_guesses_chosen_after_v_was_seen_are_caught() -> None:
    rng, found = np.random.default_rng(23), 0
    members, said = _blind(Game("coin", 24, 24), rng, TRIALS)
    least = {r: least_refuting(Game("coin", 24, r), TRUE, LEVEL) or 25 for r in range(4, 25)}
    for right in np.cumsum(members == said, axis=1):
        found += any(right[r - 1] >= v for r, v in least.items())
    assert caught(found, TRIALS, LEVEL)


def test_the_null_of_a_wrong_number_of_guesses_is_caught() -> None:
    rng = np.random.default_rng(24)
    members, said = _blind(Game("coin", 24, 14), rng, TRIALS)
    right = np.minimum((members == said)[:, :14].sum(1), 12)  # 14 names, taken for 12
    assert caught(_refutations(Game("coin", 24, 12), right), TRIALS, LEVEL)


def test_an_adversary_that_sees_members_is_caught() -> None:
    rng = np.random.default_rng(25)
    members, said = _blind(Game("coin", 24, 12), rng, TRIALS)
    said[:, 0] = members[:, 0]  # a single leaked coin
    assert caught(_refutations(Game("coin", 24, 12), (members == said)[:, :12].sum(1)), TRIALS, LEVEL)


def test_the_null_of_a_fixed_number_is_caught_when_coins_were_flipped() -> None:
    game, rng = Game("fixed", 48, 44, members=24), np.random.default_rng(26)
    members = Game("coin", 48, 44).draw(TRIALS, rng)
    right = np.minimum(members[:, :44].sum(1), 24)  # all of them named "member": a wider spread under coins
    assert caught(_refutations(game, right), TRIALS, LEVEL)


def test_v_chosen_on_the_runs_themselves_is_caught() -> None:
    game, rng, found = Game("coin", 24, 12, 10), np.random.default_rng(27), 0
    runs = {v: refuting_runs(game, TRUE, LEVEL, v) for v in range(1, 13)}
    for _ in range(TRIALS):
        members, said = _blind(game, rng, 10)
        right = (members == said)[:, :12].sum(1)
        found += any(x is not None and (right >= v).sum() >= x for v, x in runs.items())
    assert caught(found, TRIALS, LEVEL)


def test_more_runs_prove_more() -> None:
    claim = claim_of(EpsilonDelta(8.0, 1e-5))
    caps = [identification_cap(Game("coin", 40, 20, runs), claim, 0.01)[0] for runs in (1, 3, 10, 100)]
    assert caps == sorted(caps)
    assert caps[-1] < 20 * math.log(2)


def test_a_smaller_failure_probability_never_raises_a_bound() -> None:
    claim = claim_of(EpsilonDelta(1.0, 1e-5))
    for right, game, needed in (([17], Game("coin", 40, 20), None), ([17, 20, 12], Game("coin", 40, 20, 3), 16)):
        found = [identification_lower(game, right, claim, a, needed=needed).epsilon_lower for a in (0.2, 0.05, 1e-4)]
        assert found == sorted(found, reverse=True)


def test_a_claim_of_the_reverse_direction_alone_needs_many_runs() -> None:
    """Q ≤ e^ε P + δ bounds P[V ≥ v] by 1 − e^−ε(1 − δ − q): no single run can contradict it."""
    claim = claim_of(EpsilonDelta(1.0, 1e-5, Directions.REFERENCE))
    assert least_refuting(Game("coin", 40, 20), claim, 0.05) is None
    assert least_refuting(Game("coin", 40, 20, 20), claim, 0.05) is not None


def test_a_game_states_what_it_can_refute() -> None:
    claim, game = claim_of(EpsilonDelta(8.0, 1e-5)), Game("coin", 40, 20)
    assert least_refuting(game, claim, 0.01) == 20
    assert least_refuting(Game("coin", 40, 16), claim, 0.01) is None
    needed = guesses_needed(claim, 1, 0.01)
    assert needed == 19
    assert refutes_throughout(Game("coin", 19, 19), claim, 0.01)
    assert guesses_needed(claim_of(EpsilonDelta(1.0, 1e-5, Directions.REFERENCE)), 1, 0.05) is None
    assert identification_detectable(Game("coin", 40, 16), claim, 0.01, 16, 0.8) is None


def test_the_detectable_epsilon_has_the_power_it_states() -> None:
    claim, game = claim_of(EpsilonDelta(4.0, 1e-5, Directions.RELEASED)), Game("coin", 40, 20, 10)
    found = identification_detectable(game, claim, 0.01, 18, 0.8)
    assert found is not None
    runs = refuting_runs(game, claim, 0.01, 18)
    p = math.exp(found[0]) * game.null_tail(18) + 1e-5
    assert runs is not None
    assert binom.sf(runs - 1, 10, p) == pytest.approx(0.8)


def test_v_is_chosen_where_it_refutes() -> None:
    claim, game = claim_of(EpsilonDelta(8.0, 1e-5)), Game("coin", 40, 20, 10)
    for right in ([20] * 20, [16] * 20, [10] * 20):
        v = choose_needed(game, right, claim, 0.01)
        assert refuting_runs(game, claim, 0.01, v) is not None
    assert choose_needed(game, [20] * 20, claim, 0.01) == 20


@pytest.mark.parametrize(
    ("right", "message"),
    [([], "one number per run"), ([21], "whole numbers from 0 to 20"), ([-1], "from 0"), ([1.5], "whole numbers")],
)
def test_bad_counts_are_refused(right: list[float], message: str) -> None:
    with pytest.raises(BadScores, match=message):
        identification_lower(Game("coin", 40, 20), right, claim_of(EpsilonDelta(1.0, 1e-5)), 0.05)


def test_bad_games_are_refused() -> None:
    for arguments in (("die", 4, 2), ("coin", 4, 5), ("coin", 4, 0), ("coin", 4, 2, 0)):
        with pytest.raises(ValueError, match="must be"):
            Game(*arguments)
    for members in (None, 0, 4):
        with pytest.raises(ValueError, match="members must be"):
            Game("fixed", 4, 2, members=members)
    with pytest.raises(ValueError, match="members must be"):
        Game("coin", 4, 2, members=2)
    with pytest.raises(ValueError, match="needed must be fixed"):
        identification_lower(Game("coin", 4, 2, 2), [1, 1], claim_of(EpsilonDelta(1.0, 1e-5)), 0.05)
    with pytest.raises(ValueError, match="needed must be between"):
        identification_lower(Game("coin", 4, 2, 1), [1], claim_of(EpsilonDelta(1.0, 1e-5)), 0.05, needed=0)


def test_a_two_sample_event_cannot_do_it() -> None:
    """30 + 30 perfectly separated runs and the best single event prove less than ε = 8; one run of the game does."""
    p_lower = float(clopper_pearson_lower(30, 30, 0.005))
    two_sample = math.log((p_lower - 1e-5) / (1 - p_lower))
    assert two_sample < 2
    game = identification_lower(Game("coin", 40, 20), [20], claim_of(EpsilonDelta(8.0, 1e-5)), 0.01)
    assert game.refuted and game.epsilon_lower > 8


# ---- one-run bounds of other games ----------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_steinke_covers_randomised_response(epsilon: float) -> None:
    rng, claim = np.random.default_rng(28), claim_of(EpsilonDelta(epsilon, 1e-9))
    members = Game("coin", 60, 60).draw(500, rng)
    right = (members == _responses(epsilon, members, rng)).sum(1)
    values = {v: steinke_p_value_upper(v, 60, 60, epsilon, claim.delta) for v in set(right.tolist())}
    assert not caught(sum(values[v] <= 0.2 for v in right.tolist()), 500, 0.2)


def test_mahloujifar_covers_gaussian_mechanisms() -> None:
    """Each record moves one coordinate by 1 under N(0, 1/μ²): the surest 20 of 60 are guessed."""
    rng, mu = np.random.default_rng(29), 1.0
    members = Game("coin", 60, 60).draw(500, rng)
    seen = members - 0.5 + rng.standard_normal(members.shape) / mu
    surest = np.argsort(-np.abs(seen), axis=1)[:, :20]
    right = (np.take_along_axis(seen, surest, 1) > 0) == np.take_along_axis(members, surest, 1)
    counts = right.sum(1).tolist()
    refuting = {v: mahloujifar_refutes(v, 20, 60, mu, 0.2) for v in set(counts)}
    assert not caught(sum(refuting[v] for v in counts), 500, 0.2)
    assert mahloujifar_refutes(20, 20, 60, 0.1, 0.05)


def test_one_run_bounds_decide_nothing() -> None:
    claim = claim_of(EpsilonDelta(1.0, 1e-5))
    for bound in (steinke_estimate(20, 20, 40, claim, 0.05), mahloujifar_estimate(20, 20, 40, claim, 0.05)):
        assert bound.kind is Kind.ESTIMATE and bound.refuted is None
        assert "another game" in bound.assumes[0]
        assert 1 < bound.epsilon_lower < identification_lower(Game("coin", 40, 20), [20], claim, 0.05).epsilon_lower
    with pytest.raises(BadScores, match="0 <= right"):
        steinke_estimate(21, 20, 40, claim, 0.05)
