"""Rung A: exact, per seed, with rounding forgiven and nothing else."""

import numpy as np
import pytest

from audit.sensitivity_rung import Measured, distances, sensitivity_lines
from unlearning.claim import Claim, Reference, SeedPolicy
from unlearning.gaussian import mu_of_epsilon_delta
from unlearning.record import Line
from unlearning.tradeoff import GaussianTradeOff
from unlearning.verdict import Outcome

from .problems import claim

SIGMA = 0.5
MU = mu_of_epsilon_delta(1.0, 1e-5)


def lines(
    d: float, bound: float | None = None, *, promise: Claim | None = None, gaussian: bool = True, sigma: float = SIGMA,
    original: float = 3.0, machine: float = 2e-16, fails: float = 0.0,
) -> tuple[Line, Line]:  # fmt: skip
    measured = Measured(
        np.array([0.0, d]), np.full(2, original), None if bound is None else np.full(2, bound), 1.0, machine, fails
    )
    first, second = sensitivity_lines(measured, promise or claim(), sigma, gaussian=gaussian)
    return first, second


@pytest.mark.parametrize(("factor", "outcome"), [(1 - 1e-6, Outcome.NOT_REFUTED), (1 + 1e-6, Outcome.REFUTED)])
def test_both_lines_turn_at_the_boundary(factor: float, outcome: Outcome) -> None:
    bound, achieved = lines(MU * SIGMA * factor, MU * SIGMA)
    assert bound.outcome is achieved.outcome is outcome
    assert achieved.epsilon_lower == pytest.approx(1.0, abs=1e-4)
    gaussian = Claim(GaussianTradeOff(MU), 1e-5, Reference.RETRAINED, SeedPolicy.DETERMINISTIC, 1)
    assert lines(MU * SIGMA * factor, promise=gaussian)[1].outcome is outcome


def test_a_bound_may_break_while_the_claim_holds() -> None:
    bound, achieved = lines(0.01, 0.001)
    assert bound.outcome is Outcome.REFUTED and bound.subject == "bound" and bound.deciding
    assert achieved.outcome is Outcome.NOT_REFUTED


def test_rounding_is_forgiven_in_both_lines() -> None:
    # float32: 10⁴ units in the last place of a norm of 1 is 2.4e-3
    bound, achieved = lines(1e-3, 0.0, promise=claim(0.0), machine=1.2e-7)
    assert bound.outcome is achieved.outcome is Outcome.NOT_REFUTED
    assert achieved.epsilon_lower == achieved.mu_lower == 0  # and proves nothing
    assert achieved.statistic == pytest.approx(1e-3 / SIGMA)  # but is shown as it is
    assert lines(1e-3, 0.0, promise=claim(0.0))[1].outcome is Outcome.REFUTED
    assert lines(0.0, original=1e-3, machine=1.2e-7)[1].noop_power == 0.0


def test_what_is_not_computable() -> None:
    bound, achieved = lines(9.0, gaussian=False)
    assert bound.outcome is Outcome.NOT_COMPUTABLE and not bound.deciding
    assert achieved.outcome is Outcome.NOT_COMPUTABLE and achieved.deciding
    marginal = lines(9.0, promise=claim(seed_policy=SeedPolicy.MARGINAL))[1]
    assert marginal.outcome is Outcome.NOT_COMPUTABLE and not marginal.deciding
    probable = lines(9.0, 1.0, fails=0.1)[0]
    assert probable.outcome is Outcome.NOT_COMPUTABLE and not probable.deciding


def test_no_noise_hides_nothing() -> None:
    assert lines(1e-6, sigma=0.0)[1].outcome is Outcome.REFUTED
    assert lines(0.0, sigma=0.0)[1].outcome is Outcome.NOT_REFUTED


def test_distances_are_quantiles() -> None:
    measured = Measured(np.linspace(0, 1, 101), np.full(101, 2.0), np.full(101, 4.0), 1.0, 2e-16)
    found = distances(measured, claim(), SIGMA, gaussian=True)
    assert found.unlearned == pytest.approx([0, 0.05, 0.5, 0.95, 1])
    assert found.slack_largest == 0.25
    assert found.achieved_mu == 2 and found.noop_mu == 4
    assert distances(measured, claim(), SIGMA, gaussian=False).noop_epsilon is None
    assert distances(measured, claim(), 0.0, gaussian=True).noop_epsilon is None
