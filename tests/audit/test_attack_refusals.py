"""Runs over budget release the reference of their own seed and draws; no true claim falls by it."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from audit.attacks.differencing import Differencing
from audit.attacks.evaluation import run_attack
from audit.attacks.fleet import Game, attack_chunk, draw_members
from audit.design import AttackDesign
from learning.task import Minimise
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from tests.broken.twin import Twin
from unlearning import Certificate, EpsilonDelta, Reference
from unlearning.tradeoff import GaussianTradeOff
from unlearning.verdict import Outcome, Verdict

from .attacks.overfit import overfit_subject
from .problems import REQUEST, design, subject, task
from .test_attack_rung import attack_design, row, row_design


@dataclass(frozen=True)
class LooseInSomeDraws(Twin):
    """Exact at equal draws. Its certificate is an upper bound of 0, and large where + was drawn and record 0 goes."""

    @property
    def declaration(self):
        return replace(self.method.declaration, draws=True, reference=Reference.EMPTY_REQUEST)

    def unlearn(self, state, request, *, streams):
        found = super().unlearn(state, request, streams=streams)
        sign = torch.from_numpy(np.sign(streams.normals("sign", 1)))
        return replace(found, parameters=found.parameters + 5 * sign)

    def certify(self, state, request):
        large = (state.parameters.sum(1) > 0) & request[:, 0]
        return Certificate("loose", tuple(large.double().tolist()))


def test_a_true_claim_is_not_refuted_where_refusals_depend_on_draws_and_request():
    of = replace(subject(LooseInSomeDraws(Retrain()), on=task(rows=60)), request_ids=(0,))
    asked = AttackDesign(("lira-online", "u-lira", "loss"), candidates=2, shadows=100, targets=400, population=5)
    exact = row_design(asked, rungs="E", epsilon=1.0, noise_scale=0.05)
    claim = replace(exact.claim, tradeoff=EpsilonDelta(0.0, 1e-5), reference=Reference.EMPTY_REQUEST)
    found = row(of, replace(exact, sensitivity_budget=0.5, claim=claim), chunk=200)
    assert 50 < found.attacks.refused < 150  # a quarter of the runs
    assert all(line.outcome is not Outcome.REFUTED for line in found.lines)


def test_a_line_that_attacked_the_reference_alone_carries_no_verdict():
    """The published bound of fewer records than the budget was made for: every run of the game is over it."""
    method = NewtonStep(bound="published")
    on = task(Minimise(1e-10), rows=60, columns=14)
    of = replace(subject(method, on=on), request_ids=REQUEST)
    asked = row_design(attack_design(("lira-online", "loss"), shadows=16, targets=16), rungs="AE", noise_scale=2e-3)
    claim = replace(asked.claim, tradeoff=EpsilonDelta(0.2, 1e-5), reference=method.declaration.reference)
    found = row(of, replace(asked, sensitivity_budget=method.prior_sensitivity_upper(on, 2), claim=claim), chunk=16)
    assert found.attacks.refused == found.attacks.targets == 16
    line = next(line for line in found.lines if line.key == "attack")
    assert line.noop_power is None and "In 16 of 16 runs the reference was released" in line.finding
    assert found.verdict is not Verdict.NOT_REFUTED


def test_an_attack_on_both_versions_finds_no_gap_for_exact_retraining():
    """Beside retraining with another seed it would: it tells whether both versions come of one seed."""
    of = overfit_subject(Retrain())
    game = Game(candidates=10, shadows=48, targets=48, population=20)
    quiet = replace(design(budget=None), noise_scale=1e-3)
    shadows, targets = (
        attack_chunk(of, quiet, game, role, "fresh", 0, draw_members(of, game, role, "fresh")).runs[1.0]
        for role in ("shadow", "target")
    )
    for attack in (Differencing("sorted-diff", "logistic"), Differencing("direct-diff", "forest")):
        found = run_attack(
            attack,
            shadows,
            targets,
            GaussianTradeOff(0.0),
            ("unlearned",),
            seeds="fresh",
            failure_probability=0.01,
            generator=np.random.default_rng(0),
        )
        gap = found[1].gap
        assert abs(gap.mean) < 0.05 and (gap.lower is None or gap.lower <= 0 <= gap.upper)  # None: equal in all runs
