"""Claims, certificates, verdicts: small values with sharp edges."""

import math

import pytest

from unlearning.claim import Assumption, Certificate, Claim, Reference, SeedPolicy, Status
from unlearning.gaussian import delta_of_epsilon, mu_of_epsilon_delta
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff
from unlearning.verdict import MEANING, Verdict, worst


def claim(tradeoff: EpsilonDelta | GaussianTradeOff, delta: float = 1e-5) -> Claim:
    return Claim(tradeoff, delta, Reference.RETRAINED, SeedPolicy.PER_SEED, 1)


def test_a_gaussian_pair_keeps_a_claim_up_to_its_mu() -> None:
    for stated, mu in (
        (claim(GaussianTradeOff(0.7)), 0.7),
        (claim(EpsilonDelta(1.0, 1e-5)), mu_of_epsilon_delta(1.0, 1e-5)),
    ):
        assert stated.allows_gaussian(mu) and stated.allows_gaussian(0.0) and stated.allows_gaussian(1e-300)
        assert not stated.allows_gaussian(mu * (1 + 1e-6)) and not stated.allows_gaussian(math.inf)
        assert not stated.allows_gaussian(math.nan)


def test_epsilon_of_a_claim() -> None:
    assert claim(EpsilonDelta(1.0, 1e-5)).epsilon == 1.0
    assert delta_of_epsilon(0.7, claim(GaussianTradeOff(0.7)).epsilon) == pytest.approx(1e-5, rel=1e-9)


def test_certificates_check_themselves() -> None:
    assert Certificate("t", (0.0, math.inf)).largest == math.inf
    for bad in (-1e-9, math.nan):
        with pytest.raises(ValueError, match=r"sensitivity_upper\[1\] must be >= 0"):
            Certificate("t", (0.0, bad))
    with pytest.raises(ValueError, match="failure_probability must be in"):
        Certificate("t", (0.0,), failure_probability=1.0)


def test_the_weakest_assumption_counts() -> None:
    parts = [Assumption("a", status, "h") for status in (Status.PROVED, Status.ASSUMED, Status.CHECKED)]
    assert Certificate("t", (0.0,), tuple(parts)).status is Status.ASSUMED
    assert Certificate("t", (0.0,)).status is Status.PROVED


def test_verdicts_are_ordered_and_missing_evidence_is_none() -> None:
    assert worst([Verdict.NOT_REFUTED, Verdict.VACUOUS]) is Verdict.VACUOUS
    assert worst(list(Verdict)) is Verdict.ERROR
    with pytest.raises(ValueError, match="must not be empty"):
        worst([])
    assert set(MEANING) == set(Verdict)
