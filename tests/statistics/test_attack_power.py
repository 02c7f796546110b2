"""Ten thousand draws of shadow runs: a power that they state is achieved, and broken forecasts are caught."""

import pytest

from audit.attack_lines import forecast_power
from audit.attacks.evaluation import Prepared
from audit.attacks.measures import POWER_FAILURE_PROBABILITY
from tests.audit.attacks.test_evaluation import LAWS, LEVEL, chances_of_retrained, overstated, plug_in, threefold
from tests.audit.attacks.test_measures import limits_missed
from tests.audit.gates import caught
from tests.audit.test_attack_rung import BROKEN_FORECASTS, FORECAST_LAWS, overpromised

DRAWS = 10_000
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("law", LAWS)
def test_a_stated_power_is_achieved(law: str) -> None:
    assert not caught(overstated(Prepared.power, law, DRAWS), DRAWS, POWER_FAILURE_PROBABILITY)


@pytest.mark.parametrize(("twin", "law"), [(plug_in, "coin"), (plug_in, "normal"), (threefold, "normal, known well")])
def test_a_broken_power_is_caught(twin: object, law: str) -> None:
    assert caught(overstated(twin, law, DRAWS), DRAWS, POWER_FAILURE_PROBABILITY)


@pytest.mark.parametrize("law", FORECAST_LAWS)
def test_a_forecast_promises_no_more_than_comes(law: str) -> None:
    assert not caught(overpromised(forecast_power, law, DRAWS), DRAWS, POWER_FAILURE_PROBABILITY)


@pytest.mark.parametrize("twin", BROKEN_FORECASTS)
def test_a_broken_forecast_is_caught(twin: str) -> None:
    assert caught(overpromised(BROKEN_FORECASTS[twin], "known well", 1000), 1000, POWER_FAILURE_PROBABILITY)


def test_retrained_models_are_caught_at_most_at_the_level() -> None:
    chances = chances_of_retrained(12, DRAWS)
    assert not any(caught(int((chances <= level).sum()), DRAWS, level) for level in (LEVEL, 0.05))


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_limits_of_rates_of_true_positives_hold_where_runs_differ(shift: float) -> None:
    """Those of the false ones, few and in few runs, are wrong a little more often than stated."""
    lower, upper, _ = limits_missed(shift, DRAWS)
    assert not caught(int(lower), DRAWS, 0.05 + 0.01) and not caught(int(upper), DRAWS, 0.05 + 0.01)
