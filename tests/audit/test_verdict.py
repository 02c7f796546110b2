"""Five verdicts, in the order of auditing.md §3."""

import pytest

from audit.design import Design, line_weights
from audit.verdict import decide
from unlearning.claim import SeedPolicy
from unlearning.record import Control, Distances, Line
from unlearning.verdict import Outcome, Verdict

from .problems import claim


def line(
    outcome: Outcome = Outcome.NOT_REFUTED,
    *,
    deciding: bool = True,
    noop_power: float | None = None,
    subject: str = "claim",
) -> Line:
    return Line(
        rung="C", key="projection-z", title="A line", subject=subject, seeds="paired", deciding=deciding,
        outcome=outcome, finding="Found.", failure_probability=0.01, assumes="nothing", kind="confidence",
        runs_released=10, runs_reference=10, noop_power=noop_power, reason="a reason",
    )  # fmt: skip


def distances(noop_mu: float | None) -> Distances:
    return Distances(
        unlearned=[0.0] * 5, original=[1.0] * 5, sensitivity_upper=None, slack_largest=None, achieved_epsilon=0.0,
        achieved_mu=0.0, noop_epsilon=None if noop_mu is None else 1.0, noop_mu=noop_mu,
    )  # fmt: skip


def control(behaved: bool) -> Control:
    return Control(
        row="row", name="no-op", title="Nothing unlearned", meaning="m", exact_epsilon=None, predictions=[],
        verdict=Verdict.REFUTED, behaved=behaved,
    )  # fmt: skip


KEPT, BROKEN = 0.01, 10.0  # μ of doing nothing that keeps and that breaks ε = 1
SEES = line(noop_power=0.9)
BLIND = line(noop_power=0.79)

TABLE = {
    "a contradicted control comes before everything": (
        [line(Outcome.REFUTED), line(Outcome.NOT_COMPUTABLE)], BROKEN, [control(True), control(False)], Verdict.ERROR),
    "an error comes before a refutation": ([line(Outcome.ERROR), line(Outcome.REFUTED)], BROKEN, [], Verdict.ERROR),
    "a refutation comes before what is missing": (
        [line(Outcome.NOT_COMPUTABLE), line(Outcome.REFUTED)], KEPT, [control(True)], Verdict.REFUTED),
    "a refuted bound refutes": ([SEES, line(Outcome.REFUTED, subject="bound")], BROKEN, [], Verdict.REFUTED),
    "what is missing comes before vacuity": (
        [line(Outcome.NOT_COMPUTABLE), SEES], KEPT, [], Verdict.NOT_COMPUTABLE),
    "vacuity comes before no refutation": ([SEES], KEPT, [], Verdict.VACUOUS),
    "one line that would have seen it is enough": ([BLIND, SEES], BROKEN, [control(True)], Verdict.NOT_REFUTED),
    "a blind audit says nothing": ([BLIND, line()], BROKEN, [], Verdict.NOT_COMPUTABLE),
    "no lines say nothing": ([], BROKEN, [], Verdict.NOT_COMPUTABLE),
    "no lines say nothing, whatever doing nothing keeps": ([], KEPT, [], Verdict.NOT_COMPUTABLE),
    "lines that decide nothing say nothing": (
        [line(Outcome.REFUTED, deciding=False), line(noop_power=1.0, deciding=False)], BROKEN, [],
        Verdict.NOT_COMPUTABLE),
    "an unknown distance is not vacuous": ([SEES], None, [], Verdict.NOT_REFUTED),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_order(case: str) -> None:
    lines, noop_mu, controls, expected = TABLE[case]
    verdict, because = decide(lines, claim(), distances(noop_mu), controls)
    assert verdict is expected
    assert because.endswith(".") or because.endswith("reason")


def test_every_verdict_is_reached() -> None:
    assert {expected for *_, expected in TABLE.values()} == set(Verdict)


def test_a_refutation_names_what_it_speaks_against() -> None:
    lines = [line(Outcome.REFUTED, subject=s) for s in ("noise", "bound", "claim", "noise")]
    _, because = decide(lines, claim(seed_policy=SeedPolicy.PER_SEED), distances(BROKEN), [])
    assert because.startswith("Evidence against the noise and the certified bound and the claim (rung C)")


def test_the_shares_spend_no_more_than_the_whole() -> None:
    assert sum(line_weights(frozenset("ABC")).values()) == pytest.approx(1.0)  # as if nothing were normalised
    for rungs in ("ABC", "B", "C", "D", "ABCD"):
        for until in (False, True):
            design = Design(
                claim(), 1.0, None, frozenset(rungs), 9, 9, 9, 0.01, 1e-3, scores=("margin",), until_refuted=until
            )
            assert sum(design.shares.values()) == pytest.approx(1.0)
    assert line_weights(frozenset("A")) == {}
