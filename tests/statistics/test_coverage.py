"""Coverage with 20,000 simulated audits a case, and how tight the bounds are. Minutes: run by `tox -e statistics`."""

import numpy as np
import pytest

from audit.bounds.fixed_event import EventDesign
from audit.bounds.noise import TESTS, noise_tests
from audit.bounds.projection import projection_mu_lower
from audit.bounds.runs import SelectionRuns
from audit.bounds.selection import most_telling_event
from tests.audit.gates import (
    LAWS,
    LEVELS,
    TRADEOFFS,
    agrees,
    caught,
    claim_of,
    event_refutations,
    peeking_refutations,
    selecting_refutations,
)
from tests.audit.noises import honest
from tests.audit.test_band import LAWS as BAND_LAWS
from tests.audit.test_band import band_failures
from unlearning.gaussian import epsilon_of_delta
from unlearning.tradeoff import EpsilonDelta

TRIALS = 20_000
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("arms", ["independent", "seed-dependent", "same noise", "mirrored noise"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TRADEOFFS)
def test_fixed_event(name: str, level: float, arms: str) -> None:
    rng = np.random.default_rng(101)
    for q in (0.01, 0.1, 0.4):
        assert not caught(event_refutations(TRADEOFFS[name], q, 200, level, rng, TRIALS, arms), TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("law", LAWS)
def test_event_chosen_on_other_runs(law: str, level: float) -> None:
    refuted = selecting_refutations(law, 200, level, np.random.default_rng(102), TRIALS)
    assert not caught(refuted, TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_gate_catches_peeking(level: float) -> None:
    assert caught(peeking_refutations("equal", 1000, level, np.random.default_rng(103), TRIALS), TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mu", [0.0, 0.2681, 1.0, 4.0])
def test_projection(mu: float, level: float) -> None:
    rng = np.random.default_rng(104)
    for pairs in (2, 30, 1000):
        means = mu + np.sqrt(2 / pairs) * rng.standard_normal(TRIALS)
        refuted = sum(projection_mu_lower(float(mean), pairs, level) > mu for mean in means)
        assert not caught(refuted, TRIALS, level)
        assert agrees(refuted, TRIALS, level)


@pytest.mark.parametrize("shape", [(2, 2, 1), (3, 8, 2), (2, 4, 30)])
def test_noise(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(105)
    tests = [noise_tests(honest(rng, shape)).p_values for _ in range(TRIALS)]
    for name in TESTS:
        p = np.array([found[name] for found in tests])
        for level in (*LEVELS, 0.005):
            refuted = int((p <= level).sum())
            assert not caught(refuted, TRIALS, level)
            if name not in ("coordinates", "shape"):
                assert agrees(refuted, TRIALS, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("law", BAND_LAWS)
def test_band(law: str, level: float) -> None:
    assert not caught(band_failures(law, 200, level, np.random.default_rng(106), TRIALS), TRIALS, level)


@pytest.mark.parametrize(("pairs", "share"), [(1000, 0.91), (10_000, 0.965)])
def test_projection_is_tight(pairs: int, share: float) -> None:
    # auditing.md §4: μ = 1, δ = 1e-5, α = .05
    means = 1 + np.sqrt(2 / pairs) * np.random.default_rng(107).standard_normal(2000)
    found = np.mean([epsilon_of_delta(projection_mu_lower(float(mean), pairs, 0.05), 1e-5) for mean in means])
    assert found >= share * epsilon_of_delta(1.0, 1e-5)


def test_a_chosen_event_is_worth_its_selection_runs() -> None:
    # randomised response at ε = 1: nothing to choose but the orientation, so the loss is the limits' own
    rng, keep = np.random.default_rng(108), np.e / (1 + np.e)
    events, claim = EventDesign(1000, 1000, 0.05), claim_of(EpsilonDelta(0.0, 1e-5))
    found = []
    for _ in range(300):
        pilot, test = ((rng.random((2, 1000)) < [[keep], [1 - keep]]).astype(float) for _ in range(2))
        event = most_telling_event(SelectionRuns(*pilot), (1000, 1000), claim, 0.05)
        found.append(events.bound(*(int(event.contains(arm).sum()) for arm in test), claim).epsilon_lower)
    assert 0.83 < np.mean(found) < 1.0
