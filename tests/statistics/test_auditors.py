"""Every deciding bound on every mechanism whose ε is known; auditors that break a rule must fail the same gates."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from audit.bounds.e_process import Estimate, choose_growing_event, event_log_wealth
from audit.bounds.fixed_event import EventDesign
from audit.bounds.runs import SelectionRuns, TestRuns
from audit.bounds.table import BOUNDS, compute, deciding_bounds
from audit.laws import Finite
from audit.mechanisms import BROKEN, TRUE
from benchmarks.auditors import QUICK, write
from benchmarks.trials import (
    NAIVE,
    POWER,
    TARGETS,
    Target,
    best_event_power,
    errors,
    event_runs_needed,
    fixed_runs_needed,
    generator_of,
    naive_errors,
    one_audit,
    stopping_times,
    suits,
    tightness,
)
from tests.audit.gates import LEVELS, TRIALS, agrees, caught

SHORT = ("equal-tied", "response-tied", "laplace", "gaussian-1", "gaussian-point", "one-direction")
FEW = ("response-tied", "laplace")  # for bounds that take long
# audits of each case, short and long; the rest take a millisecond or two, and TRIALS and 10,000
SHARE = {"joint": (20, 1), "folds": (50, 10), "e-process": (20, 2)}
RUNS = 200
LONG_TRIALS = 10_000

CASES = [
    (bound, name)
    for bound in deciding_bounds()
    for name in TRUE
    if suits(bound, TRUE[name]) and (bound not in SHARE or name in FEW)
]
TELLS_APART = [name for name in BROKEN if BROKEN[name].laws.tails(0.0) is not None]
RANKED = [bound for bound in deciding_bounds() if bound not in ("z", "student")]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("bound", "name"), [case for case in CASES if case[1] in SHORT])
def test_a_true_claim_is_kept(bound: str, name: str, level: float) -> None:
    trials = TRIALS // SHARE.get(bound, (1, 1))[0]
    assert not caught(errors(bound, TRUE[name], RUNS, level, trials), trials, level)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("bound", "name"), CASES)
def test_a_true_claim_is_kept_10_000_times(bound: str, name: str, level: float) -> None:
    trials = LONG_TRIALS // SHARE.get(bound, (1, 1))[1]
    assert not caught(errors(bound, TRUE[name], RUNS, level, trials), trials, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["response", "one-direction"])
@pytest.mark.parametrize("bound", [bound for bound in RANKED if bound not in ("e-process", "folds")])
def test_by_enumeration(bound: str, name: str, level: float) -> None:
    # two values: a bound is a function of the two counts, whatever chose the event
    mechanism, runs = TRUE[name], 20
    assert isinstance(mechanism.laws, Finite)
    selection = SelectionRuns(*mechanism.draw(30, generator=np.random.default_rng(3)))
    counts = np.arange(runs + 1)
    wrong = np.zeros((runs + 1, runs + 1))
    for x in counts:
        for y in counts:
            test = TestRuns(*(np.repeat([0.0, 1.0], [runs - ones, ones]) for ones in (x, y)))
            found = compute(bound, selection, test, mechanism.claim, failure_probability=level)
            wrong[x, y] = bool(found.refuted) or found.epsilon_lower > mechanism.epsilon(mechanism.claim.delta)
    p, q = mechanism.laws.tails(0.5)
    assert binom.pmf(counts, runs, p) @ wrong @ binom.pmf(counts, runs, q) <= level
    assert wrong.any() or bound == "dkw"  # some counts refute; 20 runs are too few for a band of one width


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NAIVE)
def test_a_naive_auditor_is_caught(name: str, level: float) -> None:
    refuted = naive_errors(name, level, TRIALS)
    assert caught(refuted, TRIALS, level)


@pytest.mark.parametrize("name", TELLS_APART)
def test_broken_is_refuted_at_the_stated_runs(name: str) -> None:
    mechanism, level, trials = BROKEN[name], 0.05, 400
    needed = event_runs_needed(mechanism, level)
    assert needed is not None
    runs, threshold, orientation = needed
    design, generator, refuted = EventDesign(runs, runs, level), generator_of("power", name), 0
    for _ in range(trials):
        arms = mechanism.draw(runs, generator=generator)
        inside = [int((arm >= threshold).sum() if orientation == 1 else (arm < threshold).sum()) for arm in arms]
        refuted += design.bound(inside[0], inside[1], mechanism.claim).refuted
    stated = best_event_power(mechanism, runs, level)[0]
    assert stated >= POWER
    assert agrees(refuted, trials, stated)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_is_refuted_with_a_pilot(name: str) -> None:
    # who has to choose the event needs more runs: three times those of the best event, a fifth of them to choose
    mechanism = BROKEN[name]
    needed = event_runs_needed(mechanism, 0.05) if name in TELLS_APART else (60, 0.0, 1)
    assert needed is not None
    generator, audits = generator_of("pilot", name), 40
    refuted = sum(
        bool(one_audit("clopper-pearson", mechanism, 3 * needed[0] + 10, 0.05, generator).refuted)
        for _ in range(audits)
    )
    assert refuted >= 0.5 * audits


def test_a_rare_leak_is_met_with_silence() -> None:
    # with N far below 1/η almost no run leaks, and the calculation says so before any run
    leak, runs = BROKEN["rare-leak"], 100
    stated = best_event_power(leak, runs, 0.05)[0]
    assert stated < 1e-3
    needed = event_runs_needed(leak, 0.05)
    assert needed is not None and needed[0] > 10_000
    generator = generator_of("leak")
    found = [one_audit("clopper-pearson", leak, runs, 0.05, generator) for _ in range(200)]
    assert not any(bound.refuted for bound in found)


@pytest.mark.parametrize("bound", RANKED)
def test_increasing_transforms_change_nothing(bound: str) -> None:
    mechanism, generator = TRUE["gaussian-1"], np.random.default_rng(5)
    selection, test = (mechanism.draw(150, generator=generator) for _ in range(2))
    plain = compute(bound, SelectionRuns(*selection), TestRuns(*test), mechanism.claim, failure_probability=0.1)
    bent = compute(
        bound,
        SelectionRuns(*(np.exp(arm / 2) for arm in selection)),
        TestRuns(*(np.exp(arm / 2) for arm in test)),
        mechanism.claim,
        failure_probability=0.1,
    )
    assert (bent.epsilon_lower, bent.mu_lower, bent.refuted) == (plain.epsilon_lower, plain.mu_lower, plain.refuted)


@pytest.mark.parametrize("bound", [name for name in deciding_bounds() if BOUNDS[name].needs == "nothing"])
def test_a_smaller_failure_probability_never_raises_a_bound(bound: str) -> None:
    mechanism, generator = BROKEN["half-request"], np.random.default_rng(6)
    test = TestRuns(*mechanism.draw(200, generator=generator))
    found = [
        compute(bound, None, test, mechanism.claim, failure_probability=level)
        for level in (0.5, 0.2, 0.1, 0.05, 0.01, 1e-3, 1e-6)
    ]
    for looser, tighter in zip(found, found[1:], strict=False):
        assert tighter.epsilon_lower <= looser.epsilon_lower and (tighter.mu_lower or 0) <= (looser.mu_lower or 0)
        assert bool(looser.refuted) >= bool(tighter.refuted)


@pytest.mark.parametrize("level", LEVELS)
def test_an_e_process_that_sees_its_pairs_is_caught(level: float) -> None:
    # the event is chosen on the pairs that are bet on, and the estimate with it
    mechanism, trials, generator = TRUE["equal"], 400, generator_of("seeing", level)
    refuted = 0
    for _ in range(trials):
        arms = mechanism.draw(RUNS, generator=generator)
        event = choose_growing_event(*arms, mechanism.claim.tradeoff)
        if event is not None:
            x, y = (np.cumsum(event.contains(arm)) for arm in arms)
            estimate = Estimate.of(event, *arms)
            path = event_log_wealth(x, y, np.arange(1, RUNS + 1), estimate, mechanism.claim.tradeoff)
            refuted += bool((path >= -math.log(level)).any())
    assert caught(refuted, trials, level)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BROKEN if name not in ("noise-0.9", "rare-leak")])
def test_stopping_early_takes_fewer_runs(name: str) -> None:
    fixed = fixed_runs_needed(BROKEN[name], 0.05, 200)
    assert stopping_times(BROKEN[name], 0.05, 200, fixed).mean() < fixed


@pytest.mark.slow
def test_the_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "auditors.md"
    write(page, QUICK, say=lambda _: None)
    text = page.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in [*BOUNDS, *TRUE, *BROKEN]) and "nan" not in text
    assert (tmp_path / "auditors-1.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [target for target in TARGETS if target.bound in BOUNDS],
    ids=lambda target: f"{target.bound}-{target.mechanism.name}-{target.runs}",
)
def test_tightness(target: Target) -> None:
    mean, error, _ = tightness(target.bound, target.mechanism, target.runs, 200, target.share)
    assert mean >= target.least - 2 * error
    assert math.isfinite(mean)
