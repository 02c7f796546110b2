"""The same numbers as an independent implementation where the definitions coincide. Run by `tox -e compare`."""

import pytest

pytest.importorskip("jax_privacy", reason="jax-privacy is not installed; run `tox -e compare`")
pytest.importorskip("dp_accounting", reason="dp-accounting is not installed; run `tox -e compare`")

from audit.mechanisms import TRUE
from benchmarks.comparison import STRATEGIES, fixed_event_difference, one_run_difference, run_theirs
from tests.audit.gates import caught


def test_clopper_pearson_at_a_fixed_threshold() -> None:
    assert fixed_event_difference(300) < 1e-9


def test_one_run_bounds() -> None:
    p_value, steinke, mahloujifar = one_run_difference(40)
    assert p_value < 1e-9
    assert steinke <= 0.011 and mahloujifar <= 0.021  # grids of .01


@pytest.mark.parametrize("name", ["Bonferroni", "Split"])
def test_their_valid_bounds_pass_our_gate(name: str) -> None:
    audits = 300
    for key in ("equal", "laplace"):
        wrong = int((run_theirs(name, TRUE[key], 500, audits) > TRUE[key].epsilon(1e-5) + 1e-9).sum())
        assert not caught(wrong, audits, 0.05)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name in ("GDP", "raw counts")])
def test_their_estimates_do_not(name: str) -> None:
    wrong = int((run_theirs(name, TRUE["equal"], 500, 200) > 1e-9).sum())
    assert caught(wrong, 200, 0.05)
