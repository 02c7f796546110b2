"""A bound that may fail with probability ρ: paid from δ, refused where it cannot be, and told in the record."""

from pathlib import Path

import pytest
import torch

from certunlearn.building import build
from certunlearn.plan import read_plan
from unlearning.errors import PlanError
from unlearning.gaussian import noise_scale_upper

CODE = '''
from methods.sekhari2021newton import NewtonStep
from dataclasses import replace


class MayFail:
    """The Newton step with a bound that says it may fail."""

    declaration = NewtonStep.declaration

    def __init__(self, failure_probability: float = 1e-6):
        self.failure_probability, self._own = failure_probability, NewtonStep("a-posteriori")

    def learn(self, task, members, *, streams):
        return self._own.learn(task, members, streams=streams)

    def unlearn(self, state, request, *, streams):
        return self._own.unlearn(state, request, streams=streams)

    def certify(self, state, request):
        return replace(self._own.certify(state, request), failure_probability=self.failure_probability)

    def release(self, state, noise_scale, *, streams):
        return self._own.release(state, noise_scale, streams=streams)
'''
PLAN = """
title = "A bound that may fail"
[datasets.wine]
source = "wine"
[tasks.t]
dataset = "wine"
model = "softmax"
regularisation = 0.1
recipe = {{ kind = "minimise" }}
request = {{ kind = "random", size = 2 }}
[[rows]]
name = "row"
task = "t"
method = "own.py:MayFail"
parameters = {{ failure_probability = {fails} }}
claim = {{ epsilon = 1.0, delta = 1e-5, kind = "{kind}" }}
budget = 1e-3
"""


def built(folder: Path, kind: str, fails: float) -> object:
    (folder / "own.py").write_text(CODE)
    (folder / "plan.toml").write_text(PLAN.format(kind=kind, fails=fails))
    return build(read_plan(folder / "plan.toml"), device=torch.device("cpu"), data=None, trust=True)


def test_the_noise_is_calibrated_at_what_is_left_of_delta(tmp_path: Path) -> None:
    row = built(tmp_path, "epsilon-delta", 9e-6).rows[0]
    assert row.design.noise_scale == noise_scale_upper(1e-3, 1.0, 1e-5 - 9e-6)
    assert row.design.noise_scale > 1.05 * noise_scale_upper(1e-3, 1.0, 1e-5)


@pytest.mark.parametrize(
    ("kind", "fails", "says"),
    [
        ("gaussian", 1e-6, r'rows\[0\].claim.kind must be "epsilon-delta" for a method whose bound fails'),
        ("epsilon-delta", 1e-5, r"rows\[0\].claim.delta must be > 1e-05, the probability that"),
    ],
)
def test_what_cannot_be_paid_is_refused(tmp_path: Path, kind: str, fails: float, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        built(tmp_path, kind, fails)


def test_a_row_whose_facts_cannot_be_written_is_an_error_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from certunlearn import running

    honest = running.row_facts

    def broken(row: object, *found: object) -> object:
        if row.spec.name == "row":
            raise ValueError("no such number")
        return honest(row, *found)

    monkeypatch.setattr(running, "row_facts", broken)
    (tmp_path / "own.py").write_text(CODE)
    text = PLAN.format(kind="epsilon-delta", fails=1e-6)
    (tmp_path / "plan.toml").write_text(text + text[text.index("[[rows]]") :].replace('"row"', '"other"'))
    plan = read_plan(tmp_path / "plan.toml").with_replicas(4)
    record, _ = running.run_plan(build(plan, device=torch.device("cpu"), data=None, trust=True), jobs=1)
    first, second = record.evidence.rows
    assert first.verdict.value == "ERROR" and "no such number" in first.because
    assert second.verdict.value != "ERROR"
