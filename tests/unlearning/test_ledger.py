"""The ledger: μ² adds up, the budget refuses with the way out, and the text survives."""

import json
import math

import numpy as np
import pytest

from unlearning.errors import BudgetExceeded, DamagedState
from unlearning.gaussian import delta_of_epsilon, epsilon_of_delta
from unlearning.ledger import Ledger, Release


def test_two_releases_compose_as_gaussians_do() -> None:
    ledger = Ledger(4.0, 1e-5, 0.1).charge(0.03, deleted=1).charge(0.04, deleted=3)
    assert [release.mu for release in ledger.releases] == pytest.approx([0.3, 0.4])
    assert ledger.mu_total == pytest.approx(0.5, rel=1e-11) and ledger.mu_total >= 0.5
    assert ledger.epsilon_spent == pytest.approx(epsilon_of_delta(0.5, 1e-5), rel=1e-9)


def test_composition_against_simulated_likelihood_ratios() -> None:
    # releases N(0, 1) against N(μ_k, 1): δ(ε) = E[max(0, 1 − e^{ε − L})] under the first law of all releases together
    mus, epsilon = np.array([0.3, 0.7, 0.5]), 0.5
    ledger = Ledger(5.0, 1e-3, 1.0)
    for count, mu in enumerate(mus):
        ledger = ledger.charge(float(mu), deleted=count + 1)
    x = np.random.default_rng(0).standard_normal((400_000, 3)) + mus
    loss = (x * mus - mus**2 / 2).sum(1)
    simulated = np.maximum(0, 1 - np.exp(epsilon - loss)).mean()
    assert simulated == pytest.approx(delta_of_epsilon(ledger.mu_total, epsilon), abs=4e-3)


@pytest.mark.parametrize("compose", [max, sum], ids=["largest alone", "sum of mu"])
def test_the_wrong_composition_would_differ(compose) -> None:
    ledger = Ledger(5.0, 1e-3, 1.0).charge(0.3, deleted=1).charge(0.4, deleted=2)
    assert abs(compose(r.mu for r in ledger.releases) - ledger.mu_total) > 0.05


def test_beyond_the_budget_it_says_retrain_and_stays_as_it_was() -> None:
    ledger = Ledger(1.0, 1e-5, 1.0)
    one = ledger.mu_budget * 0.7
    ledger = ledger.charge(one, deleted=1).charge(one, deleted=2)
    with pytest.raises(BudgetExceeded, match=r"budget is spent: mu 0\.\d+ > 0\.268.*Retrain"):
        ledger.charge(one, deleted=3)
    assert len(ledger.releases) == 2
    assert ledger.charge(0.0, deleted=2).mu_total == ledger.mu_total  # its own reference costs nothing


def test_without_noise_only_an_exact_model_leaves() -> None:
    ledger = Ledger(0.5, 1e-5, 0.0)
    assert ledger.charge(0.0, deleted=0).mu_total == 0.0
    with pytest.raises(BudgetExceeded, match="Retrain"):
        ledger.charge(1e-9, deleted=1)


@pytest.mark.parametrize("upper", [math.inf, 1e300])
def test_an_infinite_sensitivity_is_refused(upper: float) -> None:
    with pytest.raises(BudgetExceeded, match="Retrain"):
        Ledger(1.0, 1e-5, 1.0).charge(upper, deleted=1)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="delta must be in"):
        Ledger(1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="noise_scale must be a finite number >= 0, got -1"):
        Ledger(1.0, 1e-5, -1.0)
    with pytest.raises(ValueError, match="sensitivity_upper must be >= 0, got nan"):
        Ledger(1.0, 1e-5, 1.0).charge(math.nan, deleted=1)
    with pytest.raises(ValueError, match="deleted must count all deletions so far, and 3 were"):
        Ledger(1.0, 1e-5, 1.0).charge(0.01, deleted=3).charge(0.01, deleted=2)


def test_text_and_back() -> None:
    ledger = Ledger(1.0, 1e-5, 0.3, (Release(0.01, 0.3, 2), Release(1 / 3, 7.0, 5)))
    assert Ledger.from_json(ledger.to_json()) == ledger
    for broken in ("", "{}", '{"epsilon": 1, "delta": 2, "noise_scale": 1, "releases": []}', '{"releases": [[1]]}'):
        with pytest.raises(DamagedState, match="ledger cannot be read"):
            Ledger.from_json(broken)


@pytest.mark.parametrize(
    "row", [[math.nan, 0.1, 1], [-5, 0.1, 1], [1.0, 0, 1], [1.0, 0.1, math.inf], [math.inf, 0.1, 1]]
)
def test_rows_that_would_spend_nothing_are_refused(row: list[float]) -> None:
    said = json.dumps({"epsilon": 1.0, "delta": 1e-5, "noise_scale": 0.1, "releases": [row]})
    with pytest.raises(DamagedState, match="ledger cannot be read"):
        Ledger.from_json(said)
