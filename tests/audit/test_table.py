"""What every bound in the table is held to: coverage, invariance, types, and limits where nothing is left to count."""

import math

import numpy as np
import pytest

from audit.bounds.result import DECIDING
from audit.bounds.runs import Array, SelectionRuns, TestRuns
from audit.bounds.table import BOUNDS, compute, deciding_bounds
from unlearning.claim import Claim, Reference, SeedPolicy
from unlearning.errors import BadScores
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

from .gates import LAWS, LEVELS, caught, claim_of, laplace, tied

RANK_BASED = ("clopper-pearson", "joint", "band", "dkw", "folds")
CLAIMS = {
    "both": EpsilonDelta(0.3, 1e-5),
    "released": EpsilonDelta(0.3, 0.01, Directions.RELEASED),
    "reference": EpsilonDelta(0.3, 0.01, Directions.REFERENCE),
    "gaussian": GaussianTradeOff(0.5),
}
FIXED = [name for name in deciding_bounds() if name != "e-process"]  # that one has its own gates
TRIALS = 150  # the long version is in tests/statistics


def drawn(rng: np.random.Generator, runs: int = 60) -> tuple[SelectionRuns, TestRuns]:
    selection = SelectionRuns(rng.normal(1.5, 1, 40), rng.normal(0, 1, 40))
    return selection, TestRuns(rng.normal(1.5, 1, runs), rng.normal(0, 1, runs - 10))


def randomised_response(rng: np.random.Generator, runs: int) -> tuple[Array, Array]:
    keep = math.e / (1 + math.e)
    return (rng.random(runs) < keep).astype(float), (rng.random(runs) > keep).astype(float)


COVERED = LAWS | {"randomised response": (randomised_response, EpsilonDelta(1.0, 1e-5))}


def refutations(bound: str, law: str, level: float, rng: np.random.Generator, trials: int, runs: int = 60) -> int:
    """Refutations of a claim that holds, with equality where the law allows, and of the same bound ε ≤ ε."""
    draw, tradeoff = COVERED[law]
    claim, found = claim_of(tradeoff), 0
    for _ in range(trials):
        selection, test = SelectionRuns(*draw(rng, runs // 3)), TestRuns(*draw(rng, runs))
        outcome = compute(bound, selection, test, claim, failure_probability=level)
        found += bool(outcome.refuted or outcome.epsilon_lower > claim.epsilon * (1 + 1e-9))
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("law", COVERED)
@pytest.mark.parametrize("bound", RANK_BASED)
def test_true_claims_are_rarely_refuted(bound: str, law: str, level: float) -> None:
    trials = TRIALS // 5 if bound == "folds" else TRIALS
    assert not caught(refutations(bound, law, level, np.random.default_rng(71), trials), trials, level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_gate_catches_selection_on_the_runs_that_are_tested(level: float) -> None:
    rng, claim, found = np.random.default_rng(72), claim_of(EpsilonDelta(0.0, 1e-5)), 0
    for _ in range(400):
        x, y = rng.standard_normal(300), rng.standard_normal(300)
        found += bool(compute("joint", SelectionRuns(x, y), TestRuns(x, y), claim, failure_probability=level).refuted)
    assert caught(found, 400, level)


@pytest.mark.parametrize("bound", FIXED)
def test_orientation_nobody_knows(bound: str) -> None:
    rng, claim = np.random.default_rng(73), claim_of(EpsilonDelta(0.0, 1e-5))
    selection, test = drawn(rng, 120)
    flipped = SelectionRuns(-selection.released, -selection.reference), test.flipped()
    if BOUNDS[bound].needs == "selection":
        for runs in ((selection, test), flipped):  # it finds the side itself
            assert compute(bound, *runs, claim, failure_probability=0.05).epsilon_lower > 0.4
        return
    known = compute(bound, None, test, claim, failure_probability=0.05)
    unknown = compute(bound, None, test, claim, failure_probability=0.05, orientation=None)
    assert unknown.epsilon_lower <= known.epsilon_lower
    assert unknown.failure_probability == 0.05
    again = compute(bound, None, flipped[1], claim, failure_probability=0.05, orientation=-1)
    assert again.epsilon_lower == known.epsilon_lower
    assert (
        compute(bound, None, flipped[1], claim, failure_probability=0.05, orientation=None).epsilon_lower
        == unknown.epsilon_lower
    )


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("bound", RANK_BASED)
def test_increasing_transforms_change_nothing(bound: str, claim: str) -> None:
    selection, test = drawn(np.random.default_rng(74))
    # thresholds are midpoints of selection scores: the others are moved affinely, so that midpoints stay midpoints
    move = (lambda scores: np.exp(3 * scores)) if bound in ("band", "dkw") else (lambda scores: 8 * scores + 4)
    moved = [type(runs)(move(runs.released), move(runs.reference)) for runs in (selection, test)]
    here = compute(bound, selection, test, claim_of(CLAIMS[claim]), failure_probability=0.05)
    there = compute(bound, *moved, claim_of(CLAIMS[claim]), failure_probability=0.05)
    assert (here.epsilon_lower, here.mu_lower) == (there.epsilon_lower, there.mu_lower)


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("bound", FIXED)
def test_a_smaller_failure_probability_never_raises_a_bound(bound: str, claim: str) -> None:
    selection, test = drawn(np.random.default_rng(75))
    found = [
        compute(bound, selection, test, claim_of(CLAIMS[claim]), failure_probability=level).epsilon_lower
        for level in (0.4, 0.2, 0.05, 0.01, 1e-3, 1e-6)
    ]
    # the tolerance is the rounding of the joint test's cells and of the event that is chosen for another level
    slack = 0.0 if bound in ("z", "student", "band", "dkw") else 0.2
    assert np.all(np.diff(found) <= slack)


@pytest.mark.parametrize("bound", ["z", "student", "clopper-pearson", "joint", "band", "dkw", "folds"])
def test_swapping_the_sides_mirrors(bound: str) -> None:
    selection, test = drawn(np.random.default_rng(76), 80)
    claim = claim_of(EpsilonDelta(0.3, 1e-5))
    here = compute(bound, selection, test, claim, failure_probability=0.05)
    sign = -1 if BOUNDS[bound].needs == "orientation" else 1  # the others find the orientation themselves
    mirrored = [(sign * runs.reference, sign * runs.released) for runs in (selection, test)]
    there = compute(bound, SelectionRuns(*mirrored[0]), TestRuns(*mirrored[1]), claim, failure_probability=0.05)
    assert there.epsilon_lower == pytest.approx(here.epsilon_lower, abs=0.01 if bound in ("joint", "folds") else 1e-9)
    assert there.refuted == here.refuted


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    "scores",
    [
        (np.arange(40) + 50.0, np.arange(25.0)),
        (np.arange(40.0), np.arange(25) + 50.0),
        (np.ones(20), np.ones(15)),
        (np.ones(20), np.zeros(15)),
        (np.ones(1), np.zeros(1)),
        (np.zeros(1), np.ones(300)),
        (np.full(5, 1e308), np.full(4, -1e308)),
    ],
    ids=["apart", "swapped", "constant", "two values", "one run", "one against many", "huge"],
)
def test_always_a_finite_number_or_a_clear_error(scores: tuple[Array, Array], bound: str, claim: str) -> None:
    for orientation in (1, -1, None):
        try:
            found = compute(
                bound,
                SelectionRuns(*scores),
                TestRuns(*scores),
                claim_of(CLAIMS[claim]),
                failure_probability=0.05,
                orientation=orientation,
            )
        except BadScores as error:
            assert bound in ("z", "student", "folds") and "must" in str(error)
        else:
            assert math.isfinite(found.epsilon_lower) and found.epsilon_lower >= 0
            assert all(math.isfinite(value) for value in found.derivation.values())
            assert (found.refuted is None) == (BOUNDS[bound].kind not in DECIDING)
            assert found.kind is BOUNDS[bound].kind and found.name == bound


def test_perfect_separation_proves_the_exact_limits() -> None:
    # auditing.md §3: two limits, and both counts jointly (512 a side)
    claim = claim_of(EpsilonDelta(1.0, 1e-5))
    runs = SelectionRuns([1.0, 1.0], [0.0, 0.0]), TestRuns(np.ones(512), np.zeros(512))
    assert compute("clopper-pearson", *runs, claim, failure_probability=0.05).epsilon_lower == pytest.approx(
        4.93, abs=0.01
    )
    joint = compute("joint", *runs, claim, failure_probability=0.05).epsilon_lower
    assert 5.75 <= joint <= 5.84


def test_types_and_ranges() -> None:
    selection, test = drawn(np.random.default_rng(77))
    claim = claim_of(EpsilonDelta(0.3, 1e-5))
    with pytest.raises(TypeError, match="must be given TestRuns, got SelectionRuns"):
        compute("band", None, selection, claim, failure_probability=0.05)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="selection must be SelectionRuns or None, got TestRuns"):
        compute("joint", test, test, claim, failure_probability=0.05)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="selection must be given for 'joint'"):
        compute("joint", None, test, claim, failure_probability=0.05)
    with pytest.raises(ValueError, match=r"got 'bnad'. Did you mean band"):
        compute("bnad", None, test, claim, failure_probability=0.05)
    with pytest.raises(ValueError, match=r"failure_probability must be in \(0, 1\), got 1"):
        compute("band", None, test, claim, failure_probability=1)
    with pytest.raises(ValueError, match="orientation must be 1, -1 or None, got 0"):
        compute("band", None, test, claim, failure_probability=0.05, orientation=0)  # type: ignore[arg-type]
    other = Claim(EpsilonDelta(0.3, 1e-5), 1e-6, Reference.RETRAINED, SeedPolicy.PER_SEED, 1)
    with pytest.raises(ValueError, match="delta must be the claim's, 1e-05, got 1e-06"):
        compute("band", None, test, other, failure_probability=0.05)
    with pytest.raises(BadScores, match="at least 2 runs a side for 'folds', got 1"):
        compute("folds", None, TestRuns([1.0], [0.0, 1.0]), claim, failure_probability=0.05)


def test_runs_may_be_many() -> None:
    # products of counts pass 2^31
    runs = 200_000
    rng = np.random.default_rng(78)
    pair = SelectionRuns(*laplace(rng, 1000)), TestRuns(*laplace(rng, runs))
    for bound in ("clopper-pearson", "joint", "band", "dkw"):
        found = compute(bound, *pair, claim_of(EpsilonDelta(0.5, 1e-5)), failure_probability=0.05)
        assert found.refuted and 0.8 < found.epsilon_lower <= 1.0
    assert tied(rng, 3)[0].size == 3
