"""What two files of scores cannot do: be sorted to refute, be one another's copies, be swapped to be divided anew."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.bounds.runs import SelectionRuns, TestRuns, checked_scores, shuffled, split
from audit.bounds.table import BOUNDS, compute
from audit.score_lines import Sizes, score_line, strongest, too_few
from certunlearn.circumstances import circumstances
from certunlearn.score_audit import Runs, audit_scores, read_runs
from certunlearn.score_files import ScoreFile, refuse_overlap
from certunlearn.score_plan import ScorePlan
from reports.build import build
from reports.document import plain
from reports.evidence import answer
from reports.front import caveats
from unlearning.claim import Claim
from unlearning.errors import BadScores
from unlearning.record import line_without_numbers, sha256
from unlearning.streams import Streams
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff
from unlearning.verdict import Outcome

from ..audit.gates import LEVELS, caught, claim_of

Array = NDArray[np.float64]
STREAMS = Streams(0, (0,))


def file(values: Array, name: str) -> ScoreFile:
    return ScoreFile(name, values, values.size, None, sha256(values.tobytes()))


def refuted(released: Array, reference: Array, bound: str, level: float) -> bool:
    """By the way of the command: orders, division, bound."""
    selection, test = split(released, reference, 0.2, STREAMS)
    whole = TestRuns(shuffled(released, STREAMS), shuffled(reference, STREAMS))
    chooses = BOUNDS[bound].needs == "selection"
    claim = claim_of(EpsilonDelta(0.0, 1e-5))
    found = compute(bound, selection if chooses else None, test if chooses else whole, claim, failure_probability=level)
    return bool(found.refuted)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bound", ["joint", "folds", "e-process"])
def test_the_gate_catches_a_bound_that_sees_a_sorted_file(bound: str, level: float) -> None:
    rng, claim, trials = np.random.default_rng(71), claim_of(EpsilonDelta(0.0, 1e-5)), 60
    honest = twin = 0
    for _ in range(trials):
        x, y = np.sort(rng.standard_normal(120)), rng.standard_normal(120)  # one law
        honest += refuted(x, y, bound, level)
        runs = TestRuns(x[24:], y[24:])
        twin += bool(compute(bound, SelectionRuns(x[:24], y[:24]), runs, claim, failure_probability=level).refuted)
    assert not caught(honest, trials, level)
    if bound == "e-process":  # folds deal a sorted file out; to a joint test its first runs show the wrong side
        assert caught(twin, trials, level)


@pytest.mark.parametrize("level", LEVELS)
def test_sorted_ties_are_not_refuted_either(level: float) -> None:
    rng, trials = np.random.default_rng(72), 400
    found = 0
    for _ in range(trials):
        x, y = (np.sort(rng.random(100) < 0.3).astype(np.float64) for _ in range(2))
        found += refuted(x, y, "joint", level)
    assert not caught(found, trials, level)


def test_the_order_depends_on_numbers_and_seed_and_not_on_the_side() -> None:
    rng = np.random.default_rng(73)
    x, y = rng.standard_normal(50), rng.standard_normal(60)
    selection, test = split(x, y, 0.3, STREAMS)
    swapped, tested = split(y, x, 0.3, STREAMS)
    for one, other in ((selection, swapped), (test, tested)):
        np.testing.assert_array_equal(one.released, other.reference)
        np.testing.assert_array_equal(one.reference, other.released)
    np.testing.assert_array_equal(np.concatenate([selection.released, test.released]), shuffled(x, STREAMS))
    assert not np.array_equal(shuffled(x, STREAMS), shuffled(x, Streams(1, (0,))))
    np.testing.assert_array_equal(np.sort(shuffled(x, STREAMS)), np.sort(x))


def test_an_e_process_of_a_sorted_file_is_that_of_the_record() -> None:
    rng = np.random.default_rng(74)
    plan = ScorePlan("a", "b", 1e-5, epsilon=0.0, bounds=("e-process",))
    runs = Runs(file(np.sort(rng.standard_normal(150)), "a"), file(rng.standard_normal(150), "b"), None, None)
    record, arrays = audit_scores(plan, runs)
    assert record.evidence.verdict != "REFUTED" and record.evidence.seed == 0
    assert not np.array_equal(arrays["scores/test_released"], np.sort(arrays["scores/test_released"]))
    other = ScorePlan("a", "b", 1e-5, epsilon=0.0, bounds=("e-process",), seed=1)
    assert plan.sha256(runs.files) != other.sha256(runs.files)


@pytest.fixture
def two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("s.npy", "t.npy"):
        Path(name).touch()


def _overlap(first: Array, second: Array) -> None:
    refuse_overlap(file(first, "s.npy"), file(second, "t.npy"), option="--selection-released", other="--released")


@pytest.mark.usefixtures("two_files")
def test_copies_are_refused_in_whatever_order_and_number() -> None:
    rng = np.random.default_rng(75)
    x = rng.standard_normal(200)
    for copies in (x, rng.permutation(x), x[50:90], np.concatenate([x[:20], rng.standard_normal(80)])):
        with pytest.raises(BadScores, match="must be different scores|independent runs recur less"):
            _overlap(copies, x)
    with pytest.raises(BadScores, match="different scores"):
        _overlap(np.tile([0.0, 1.0], 20), np.tile([0.0, 1.0], 20))  # tied, and yet the same sequence


@pytest.mark.usefixtures("two_files")
def test_discrete_scores_recur_and_are_not_refused() -> None:
    """The rule on its own terms: independent runs of one law, on grids from coarse to fine."""
    rng, refusals, trials = np.random.default_rng(76), 0, 0
    for values in (1, 2, 5, 30, 200, 2000, 100_000):
        for n, m in ((10, 10), (20, 400), (300, 300)):
            for _ in range(20):
                trials += 1
                x, y = (rng.integers(0, values, size).astype(np.float64) for size in (n, m))
                try:
                    _overlap(x, y)
                except BadScores:
                    refusals += 1
    assert not caught(refusals, trials, 1e-3)


def test_integers_that_float64_does_not_hold_are_refused() -> None:
    assert checked_scores("x", np.array([2**53, 2**60])).tolist() == [2.0**53, 2.0**60]
    for integers in (np.array([0, 2**53 + 1]), np.array([0, 2**64 - 1], dtype=np.uint64), np.array([0, -(2**63) + 1])):
        with pytest.raises(BadScores, match=r"float64 holds exactly, got .* at position 1. Subtract"):
            checked_scores("x", integers)


def test_no_number_of_runs_is_said_once() -> None:
    claim = claim_of(EpsilonDelta(30.0, 1e-5))
    said = too_few("joint", Sizes((50, 50), (12, 12)), claim, 0.05)
    assert said == "perfectly separated runs would not refute the claim, and not even 1000000 a side would"


@pytest.mark.parametrize("tradeoff", [EpsilonDelta(0.1, 1e-5), GaussianTradeOff(0.1)])
def test_the_strongest_line_is_quoted(tradeoff: EpsilonDelta | GaussianTradeOff) -> None:
    rng = np.random.default_rng(77)
    claim: Claim = claim_of(tradeoff)
    test, sizes = TestRuns(rng.normal(3, 1, 200), rng.standard_normal(200)), Sizes((200, 200), (50, 50))
    selection = SelectionRuns(rng.normal(3, 1, 50), rng.standard_normal(50))
    lines = [
        score_line(
            compute(name, selection, test, claim, failure_probability=0.02), sizes, claim, key=name, generator=rng
        )
        for name in ("dkw", "joint", "z")
    ]
    best = strongest(lines, claim)
    name = "mu_lower" if isinstance(tradeoff, GaussianTradeOff) else "epsilon_lower"
    assert getattr(best, name) == max(getattr(line, name) for line in lines) and best is not lines[0]


def test_a_report_on_files_speaks_of_files_only() -> None:
    rng = np.random.default_rng(78)
    plan = ScorePlan("a", "b", 1e-5, epsilon=1.0)
    record, _ = audit_scores(
        plan, Runs(file(rng.standard_normal(200), "a"), file(rng.standard_normal(200), "b"), None, None)
    )
    said: list[str] = []
    plain(build(record), lambda text: said.append(text) or text)  # type: ignore[func-returns-value]
    page = "\n".join(said)
    for never in ("caught doing nothing", "threat model", "knows data and request", "VACUOUS", "changes no verdict"):
        assert never not in page, never
    assert caveats(record.evidence)[0].startswith("Files hold no model that did nothing")
    assert "Seed 0 put the runs" in page


def test_answers_are_grammatical() -> None:
    def lines(number: int, deciding: bool) -> list:  # type: ignore[type-arg]
        return [
            line_without_numbers(
                rung="C", key="k", title="t", subject="claim", seeds="s", reason="r", deciding=deciding
            )
        ] * number

    assert answer(lines(1, False), "") == "NOT_COMPUTABLE: the only line, which decides nothing, could say nothing."
    assert "2 of 2 lines, none of which decides, could" in answer(lines(2, False), "")
    for number, word in ((1, "1 of 1 deciding line contradicts"), (3, "3 of 3 deciding lines contradict ")):
        found = [line.model_copy(update={"outcome": Outcome.REFUTED}) for line in lines(number, True)]
        assert word in answer(found, "")


def test_a_command_with_blanks_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["certunlearn", "scores", "--title", "two words"])
    assert circumstances(1, 0.0, []).command == "certunlearn scores --title 'two words'"


def test_the_four_files_are_compared_with_each_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(79)
    x = rng.standard_normal(100)
    for name, values in (("a", x), ("b", x[::-1] + 1), ("sa", rng.standard_normal(40)), ("sb", x[30:60])):
        np.save(tmp_path / f"{name}.npy", values)
    names = {side: str(tmp_path / f"{side}.npy") for side in ("a", "b", "sa", "sb")}
    plan = ScorePlan(
        names["a"],
        names["b"],
        1e-5,
        epsilon=1.0,
        selection_released=names["sa"],
        selection_reference=names["sb"],
    )
    with pytest.raises(BadScores, match="--selection-reference and --released must hold different runs"):
        read_runs(plan)


def test_the_order_of_files_is_taken_only_where_it_is_said_to_be_that_of_drawing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = [tmp_path / name for name in ("a.npy", "b.npy")]
    np.save(files[0], np.sort(rng.standard_normal(300)))
    np.save(files[1], rng.standard_normal(300))
    asked = ScorePlan(str(files[0]), str(files[1]), delta=1e-5, epsilon=0.1, bounds=("e-process",))
    found = {}
    for in_order in (False, True):
        plan = replace(asked, in_order=in_order)
        record, _ = audit_scores(plan, read_runs(plan))
        found[in_order] = next(line for line in record.evidence.rows[0].lines if line.key == "e-process")
        assert any("order in which they were drawn" in remark for remark in record.evidence.rows[0].remarks) == in_order
    assert found[False].kind == "confidence" and found[False].outcome is Outcome.NOT_REFUTED
    assert found[True].kind == "anytime confidence" and found[True].outcome is Outcome.REFUTED  # sorted: as warned
