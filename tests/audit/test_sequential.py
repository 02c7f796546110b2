"""Rows that stop once they refute: validity of the wealth, where they stop, what they say, and their predictions."""

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import ndtr

from audit.bounds.e_process import Estimate
from audit.bounds.result import Event
from audit.design import Design
from audit.distinguish_rung import Probabilities
from audit.findings import Findings
from audit.row import audit_row
from audit.scores import Scores
from audit.wealth import INDEPENDENT, PAIRED, PROJECTION, Bettor, rounds, stakes
from audit.wealth_power import pairs_needed, refutation_probability_lower
from certunlearn.plan.rows import RowSpec
from methods.qiao2025hessianfree import HessianFree
from unlearning.claim import SeedPolicy
from unlearning.record import Line
from unlearning.tradeoff import GaussianTradeOff
from unlearning.verdict import Outcome, Verdict

from .gates import LEVELS, Array, agrees, caught, claim_of
from .problems import NoiseInside, SecretNoOp, claim, design, subject

SMALL = {"test": 60, "selection": 20, "release_calls": 640}
WEIGHTS = {PROJECTION: 0.6, PAIRED: 0.2, INDEPENDENT: 0.2}
CLAIM = claim_of(GaussianTradeOff(1.0))
RUNS = 150


def sequential(**changed: Any) -> Design:
    return replace(design(**{**SMALL, **changed}), until_refuted=True)


def found(method: Any = None, *, chunk: int = 100, jobs: int = 1, **changed: Any) -> Findings:
    return audit_row(subject(method), sequential(**changed), chunk=chunk, jobs=jobs)


def line(findings: Findings) -> Line:
    return next(one for one in findings.lines if one.key == "sequential")


@pytest.fixture(scope="module")
def broken() -> Findings:
    return found(SecretNoOp(HessianFree()), test=200, selection=40)


@pytest.fixture(scope="module")
def honest() -> Findings:
    return found()


def test_a_broken_method_stops_after_one_round(broken: Findings) -> None:
    assert broken.verdict is Verdict.REFUTED and line(broken).outcome is Outcome.REFUTED
    assert broken.wealth is not None
    assert broken.wealth.drawn == 20 < broken.wealth.allowed == 200
    assert broken.wealth.refuted_after == line(broken).derivation["refuted_after"] <= 20
    assert line(broken).runs_released == 20 and broken.arrays["distance_unlearned"][0].size == 20
    assert {timing.models for timing in broken.timings} == {20}
    assert all(control.behaved for control in broken.controls)
    mu = line(broken).mu_lower
    assert mu is not None and 0.3 < mu < broken.distances.achieved_mu  # type: ignore[operator, union-attr]


def test_a_correct_method_runs_to_the_end(honest: Findings) -> None:
    assert honest.verdict is Verdict.NOT_REFUTED and honest.wealth is not None
    assert honest.wealth.drawn == honest.wealth.allowed == 60 and honest.wealth.refuted_after is None
    rung_c = [one for one in honest.lines if one.rung == "C"]
    assert [one.key for one in rung_c] == ["sequential"] and rung_c[0].noop_power is not None
    assert rung_c[0].noop_power > 0.99 and rung_c[0].kind == "anytime confidence"
    assert honest.curves == []  # a band holds at a number of runs fixed beforehand
    assert sum(honest.shares.values()) == pytest.approx(0.01)
    predictions = {c.name: next(p for p in c.predictions if p.line == "sequential") for c in honest.controls}
    assert predictions["retrained"].predicted is Outcome.NOT_REFUTED
    assert all(control.behaved for control in honest.controls)


def test_the_record_keeps_a_thinned_path(honest: Findings, broken: Findings) -> None:
    for findings in (honest, broken):
        assert findings.wealth is not None
        for curve in findings.wealth.curves:
            assert len(curve.pairs) == len(curve.log10_wealth) <= 200
            assert curve.pairs[-1] == findings.wealth.drawn
    assert broken.wealth is not None and broken.wealth.refuted_after in broken.wealth.curves[0].pairs


def test_chunks_and_workers_change_nothing(broken: Findings) -> None:
    other = found(SecretNoOp(HessianFree()), test=200, selection=40, chunk=3, jobs=2)
    assert other.wealth is not None and broken.wealth is not None
    assert other.wealth.drawn == broken.wealth.drawn and other.wealth.refuted_after == broken.wealth.refuted_after
    for one, two in zip(other.wealth.curves, broken.wealth.curves, strict=True):
        assert one.pairs == two.pairs and one.log10_wealth == pytest.approx(two.log10_wealth, rel=1e-9, abs=1e-9)


def test_what_is_staked_is_what_is_valid() -> None:
    marginal = claim(seed_policy=SeedPolicy.MARGINAL)
    assert set(stakes(subject(), sequential())) == {PROJECTION, PAIRED, INDEPENDENT}
    assert set(stakes(subject(), sequential(rungs="AC"))) == {PAIRED, INDEPENDENT}  # nobody looks at the noise
    assert set(stakes(subject(), sequential(promise=marginal))) == {INDEPENDENT}
    assert set(stakes(subject(NoiseInside()), sequential())) == {INDEPENDENT}
    for chosen in (sequential(), sequential(rungs="AC")):
        assert sum(stakes(subject(), chosen).values()) == pytest.approx(1)


def test_rounds_cover_every_replica_once() -> None:
    for test in (1, 19, 20, 21, 500):
        covered = [k for first, last in rounds(test) for k in range(first, last)]
        assert covered == list(range(test))


def scores_of(rng: np.random.Generator, runs: int, shift: Array | float, scatter: float, noise: float = 1.0) -> Scores:
    """Runs whose pairs are `shift` apart on both scores, seeds scattered, with noise 1 on the reference."""
    zero = np.zeros(runs)
    here, there = scatter * rng.standard_normal(runs), scatter * rng.standard_normal(runs)
    values = {name.name: zero for name in fields(Scores)} | {
        "projection_released": shift + noise * rng.standard_normal(runs),
        "projection_reference": rng.standard_normal(runs),
        "independent_released": here + shift + noise * rng.standard_normal(runs),
        "independent_reference": there + rng.standard_normal(runs),
        "pre_projection": zero + shift,
    }
    return Scores(**values)


def bettor(weights: dict[str, float] = WEIGHTS, mean: float = 2.0) -> Bettor:
    events = {PAIRED: Event(1.0), INDEPENDENT: Event(1.5)}
    return Bettor(weights, events, {PAIRED: Estimate(16, 20, 3, 20), INDEPENDENT: Estimate(13, 20, 2, 20)}, mean, 20)


def refuted(level: float, trials: int, *, shift: float, who: Bettor) -> int:
    rng = np.random.default_rng(21)
    paths = (who.log_wealth_path(scores_of(rng, RUNS, shift, 0.5), CLAIM.tradeoff, 1.0).max() for _ in range(trials))
    return sum(bool(best >= -math.log(level)) for best in paths)


@pytest.mark.parametrize("level", LEVELS)
def test_wealth_under_the_worst_stopping_rule(level: float) -> None:
    """Every pair is at the claim, and one stops at the highest wealth; the same noise serves all three processes."""
    assert not caught(refuted(level, 600, shift=1.0, who=bettor()), 600, level)


def test_a_twin_that_adds_instead_of_averaging_is_caught() -> None:
    twin = bettor({PROJECTION: 1.0, PAIRED: 1.0, INDEPENDENT: 1.0}, mean=1.0)
    assert caught(refuted(0.2, 600, shift=1.0, who=twin), 600, 0.2)


def known_of(shift: float, runs: int) -> Probabilities:
    same = np.ones(runs)
    return Probabilities(
        {"paired-event-projection": ndtr(shift - 1.0) * same, "independent-event": ndtr(shift - 1.5) * same},
        {"paired-event-projection": ndtr(-1.0) * same, "independent-event": ndtr(-1.5) * same},
        shift,
    )


@pytest.mark.parametrize("weights", [WEIGHTS, {PAIRED: 1.0}, {INDEPENDENT: 1.0}])
def test_power_is_not_overstated(weights: dict[str, float]) -> None:
    rng = np.random.default_rng(22)
    who, runs, shift, level, trials = bettor(weights), 40, 1.9, 0.01, 400
    stated = refutation_probability_lower(who, known_of(shift, runs), CLAIM, runs, level)
    assert 0.05 < stated < 0.999
    paths = [who.log_wealth_path(scores_of(rng, runs, shift, 0.0), CLAIM.tradeoff, 1.0) for _ in range(trials)]
    ever = sum(bool(path.max() >= -math.log(level)) for path in paths)
    assert agrees(ever, trials, max(stated, ever / trials))  # at least what is stated
    if len(weights) == 1:
        assert agrees(sum(bool(path[-1] >= -math.log(level)) for path in paths), trials, stated)


def test_more_pairs_find_more() -> None:
    who = bettor()
    asked = pairs_needed(who, known_of(1.5, 10), sequential(promise=CLAIM, test=10), 0.01)
    assert asked is not None and 20 <= asked <= 640
    assert pairs_needed(who, known_of(0.5, 10), sequential(promise=CLAIM, test=10), 0.01) is None


@pytest.mark.parametrize(
    ("more", "fragment"),
    [({"rungs": ["A", "B"]}, "rungs without C"), ({"scores": ["forget-loss"]}, "leave out until")],
)
def test_a_plan_that_cannot_stop_is_refused(more: dict[str, Any], fragment: str) -> None:
    row: dict[str, Any] = {
        "name": "r",
        "task": "t",
        "method": "newton",
        "claim": {"epsilon": 1.0, "delta": 1e-5},
        "budget": 0.1,
    }
    assert RowSpec(**row, until="refuted").until == "refuted"
    with pytest.raises(ValidationError) as refusal:
        RowSpec(**row, **more, until="refuted")
    assert fragment in str(refusal.value.errors()[0]["ctx"])
