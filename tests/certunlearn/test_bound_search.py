"""Small problems in an audit: a broken bound refutes, what cannot be said decides nothing, a record says which."""

import json
from pathlib import Path

import pytest
import torch

import reports
from certunlearn.bound_search import KEY, search_bounds
from certunlearn.building import build
from certunlearn.output import write_output
from certunlearn.plan import parse_plan, read_plan
from certunlearn.running import run_plan
from properties.counterexample import Outcome as Replayed
from properties.counterexample import read_counterexample
from unlearning.errors import PlanError
from unlearning.record import Record, Row, read_record
from unlearning.verdict import Outcome, Verdict

CODE = '''
from dataclasses import replace

from methods.sekhari2021newton import NewtonStep


class Mine:
    """A Newton step whose bound is a share of the true one."""

    declaration = NewtonStep.declaration

    def __init__(self, share: float = 1.0, mode: str = ""):
        self.share, self.mode, self.own = share, mode, NewtonStep("a-posteriori")

    def check_task(self, task):
        self.own.check_task(task)

    def learn(self, task, members, *, streams):
        return self.own.learn(task, members, streams=streams)

    def unlearn(self, state, request, *, streams):
        if self.mode == "fails beyond 8" and request.shape[1] in range(9, 100):
            raise RuntimeError("no more than eight")
        found = self.own.unlearn(state, request, streams=streams)
        if self.mode == "infinite beyond 8" and request.shape[1] in range(9, 100) and request.any():
            found = replace(found, parameters=found.parameters * float("inf"))
        return found

    def release(self, state, noise_scale, *, streams):
        return self.own.release(state, noise_scale, streams=streams)

    def certify(self, state, request):
        small = state.parameters.shape[1] < 42
        if self.mode == "raises" and small:
            raise RuntimeError("no small problems here")
        if self.mode == "nothing" or self.mode == "only small" and not small:
            return None
        found = self.own.certify(state, request)
        values = tuple(self.share * value for value in found.sensitivity_upper)
        return replace(found, sensitivity_upper=values * 2 if self.mode == "two for one" and small else values)
'''
PLAN = """
title = "Bounds on small problems"
[laws]
problems = 12
[datasets.wine]
source = "wine"
[tasks.t]
dataset = "wine"
model = "softmax"
regularisation = 0.1
recipe = { kind = "minimise" }
request = { kind = "random", size = 2 }
"""
ROW = """
[[rows]]
name = "{name}"
task = "t"
method = "own.py:Mine"
parameters = {parameters}
claim = {{ epsilon = 1.0, delta = 1e-5 }}
{noise}
rungs = {rungs}
replicas = {{ test = 6, selection = 6 }}
release_calls = 256
controls = []
"""


def row(name: str, parameters: str = "{}", noise: str = "budget = 1e-3", rungs: str = '["A", "B"]') -> str:
    return ROW.format(name=name, parameters=parameters, noise=noise, rungs=rungs)


ROWS = {
    "true": row("true"),
    "understated": row("understated", "{ share = 0.75 }"),
    "raises": row("raises", '{ mode = "raises" }'),
    "fails beyond 8": row("fails beyond 8", '{ mode = "fails beyond 8" }'),
    "infinite beyond 8": row("infinite beyond 8", '{ mode = "infinite beyond 8" }'),
    "two for one": row("two for one", '{ mode = "two for one" }'),
    "nothing certified": row("nothing certified", '{ mode = "nothing" }', "noise_scale = 0.004"),
    "certified elsewhere": row("certified elsewhere", '{ mode = "only small", share = 0.5 }', "noise_scale = 0.004"),
    "by hand": row("by hand", "{ share = 0.75 }", "noise_scale = 0.004"),
    "without rung A": row("without rung A", rungs='["B"]'),
}


def audited(folder: Path, text: str) -> Record:
    (folder / "own.py").write_text(CODE)
    (folder / "plan.toml").write_text(text)
    built = build(read_plan(folder / "plan.toml"), device=torch.device("cpu"), data=None, trust=True)
    record, arrays = run_plan(built, jobs=1)
    write_output(folder / "out", record, arrays)
    return record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bounds")


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, Row]:
    record = audited(folder, PLAN + "".join(ROWS.values()))
    return {found.name: found for found in record.evidence.rows}


def line(found: Row):
    return next((line for line in found.lines if line.key == KEY), None)


def test_an_understated_bound_is_refuted_by_a_small_problem_alone(rows: dict[str, Row]) -> None:
    """d/Δ of the row itself is below 0.75: its own distances would have refuted nothing."""
    found = rows["understated"]
    assert found.verdict is Verdict.REFUTED and "small problem" in found.because and "certified bound" in found.because
    refuting = [one.key for one in found.lines if one.outcome is Outcome.REFUTED]
    assert refuting == [KEY] and line(found).deciding and line(found).failure_probability == 0
    broken = found.bound_search.counterexample
    assert broken.measured["distance"] > broken.measured["sensitivity_upper"] > 0
    assert len(broken.features) == len(broken.labels) > max(broken.forgotten)
    assert found.bound_search.problems == 12


def test_a_true_bound_keeps_its_verdict_and_tells_the_ratio(rows: dict[str, Row]) -> None:
    found = rows["true"]
    assert line(found).outcome is Outcome.NOT_REFUTED and line(found).deciding and line(found).noop_power is None
    assert found.verdict is Verdict.NOT_REFUTED and "small problem" not in found.because
    one, two = found.bound_search.laws
    assert 0.9 < one.tightest <= 1 and 0.9 < two.tightest <= 1
    assert line(found).statistic == max(one.tightest, two.tightest)
    assert found.bound_search.counterexample is None


def test_what_a_method_raises_on_small_problems_decides_nothing(rows: dict[str, Row]) -> None:
    found = rows["raises"]
    assert line(found).outcome is Outcome.NOT_COMPUTABLE and not line(found).deciding
    assert "no small problems here" in line(found).reason
    assert found.verdict is rows["true"].verdict


def test_a_failure_on_some_problems_is_no_bound_that_holds(rows: dict[str, Row]) -> None:
    """The others are judged, and stay below Δ; nothing is known of those where the method fails."""
    found = rows["fails beyond 8"]
    assert line(found).outcome is Outcome.NOT_COMPUTABLE and not line(found).deciding
    assert "no more than eight" in line(found).reason and "came up to" in line(found).finding
    assert found.verdict is rows["true"].verdict and found.bound_search.counterexample is None
    law = found.bound_search.laws[0]
    assert law.reason and law.ratios and "after one request" in line(found).reason


@pytest.mark.parametrize(("name", "says"), [("infinite beyond 8", "not finite"), ("two for one", "2 sensitivities")])
def test_a_bound_breaks_without_a_finite_distance_too(rows: dict[str, Row], name: str, says: str) -> None:
    found = rows[name]
    assert line(found).outcome is Outcome.REFUTED and line(found).deciding and says in line(found).finding
    assert found.verdict is Verdict.REFUTED and says in found.because
    assert "distance" not in found.bound_search.counterexample.measured and line(found).statistic is None


def test_what_was_tried_is_counted_by_kind(rows: dict[str, Row]) -> None:
    for name in ("true", "fails beyond 8", "understated"):
        for law in rows[name].bound_search.laws:
            assert sum(kind.problems for kind in law.kinds) == law.problems > 0
            assert sum(kind.refused for kind in law.kinds) == law.refused
            assert sum(kind.judged for kind in law.kinds) == len(law.ratios)


def test_a_method_without_a_certificate_keeps_its_verdict(rows: dict[str, Row]) -> None:
    found = rows["nothing certified"]
    assert line(found).outcome is Outcome.NOT_COMPUTABLE and not line(found).deciding
    assert found.verdict is Verdict.NOT_REFUTED and found.claim.stated_by == "hand"


def test_a_bound_that_the_row_does_not_rest_on_is_shown_and_decides_nothing(rows: dict[str, Row]) -> None:
    found = rows["certified elsewhere"]
    assert line(found).outcome is Outcome.REFUTED and not line(found).deciding and "certif" in line(found).reason
    assert found.verdict is Verdict.NOT_REFUTED


def test_noise_by_hand_beside_a_certificate_follows_the_row_s_own_bound_line(rows: dict[str, Row]) -> None:
    found = rows["by hand"]
    own = next(one for one in found.lines if one.key == "sensitivity-bound")
    assert own.deciding and line(found).deciding and found.verdict is Verdict.REFUTED


def test_rows_without_rung_a_are_not_searched(rows: dict[str, Row]) -> None:
    assert rows["without rung A"].bound_search is None and line(rows["without rung A"]) is None


def test_the_counterexample_is_a_file_that_breaks_again(rows: dict[str, Row], folder: Path, monkeypatch) -> None:
    from certunlearn.loader import load_method

    searches = [found.bound_search for found in rows.values() if found.bound_search]
    named = {search.counterexample.file for search in searches if search.counterexample}
    written = folder / "out" / "counterexamples"
    assert {path.name for path in written.iterdir()} == named and named
    monkeypatch.chdir(folder)
    found = read_counterexample(written / rows["understated"].bound_search.counterexample.file)
    method = load_method("own.py:Mine")(**found.method.parameters)
    assert found.replay(method).outcome is Replayed.BROKEN
    assert found.replay(load_method("own.py:Mine")()).outcome is Replayed.NOT_BROKEN


def test_every_number_is_in_both_reports(rows: dict[str, Row], folder: Path) -> None:
    page = reports.render_html(read_record(folder / "out" / "record.json"))
    broken = rows["understated"].bound_search.counterexample
    assert broken.problem.words in page and f"counterexamples/{broken.file}" in page and broken.recipe in page
    for name in ("infinite beyond 8", "two for one"):
        assert f"counterexamples/{rows[name].bound_search.counterexample.file}" in page
    assert "no more than eight" in page and "not all could be tried" in page
    for law in rows["true"].bound_search.laws:
        assert law.tightest_problem.words in page
        assert f"{int(1e4 * law.tightest) / 1e4:.4f}" in page


def test_workers_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "plan.toml").write_text(PLAN + ROWS["true"] + ROWS["understated"] + ROWS["by hand"])
    built = build(read_plan(tmp_path / "plan.toml"), device=torch.device("cpu"), data=None, trust=True)
    told: list[tuple[int, int]] = []
    alone = search_bounds(built, jobs=1, told=lambda done, total: told.append((done, total)))
    assert alone == search_bounds(built, jobs=2) and alone.keys() == {"true", "understated", "by hand"}
    assert told == [(0, 2), (1, 2), (2, 2)]  # rows of one method and its parameters share a search
    assert alone["understated"] is alone["by hand"]


def test_numbers_of_modules_that_cannot_be_kept_out_are_told(tmp_path: Path, monkeypatch) -> None:
    from hypothesis.internal.conjecture import providers

    monkeypatch.delattr(providers, "_get_local_constants")
    monkeypatch.setattr("certunlearn.bound_search._search", lambda method, problems: ())
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "plan.toml").write_text(PLAN + ROWS["true"])
    built = build(read_plan(tmp_path / "plan.toml"), device=torch.device("cpu"), data=None, trust=True)
    (remark,) = search_bounds(built, jobs=1)["true"].remarks
    assert "other processes may try other problems" in remark


def test_an_interrupt_ends_the_search(tmp_path: Path) -> None:
    code = CODE.replace('raise RuntimeError("no small problems here")', "raise KeyboardInterrupt")
    (tmp_path / "own.py").write_text(code)
    (tmp_path / "plan.toml").write_text(PLAN + ROWS["raises"])
    built = build(read_plan(tmp_path / "plan.toml"), device=torch.device("cpu"), data=None, trust=True)
    with pytest.raises(KeyboardInterrupt):
        search_bounds(built, jobs=1)


def test_no_problems_no_search(tmp_path: Path) -> None:
    found = audited(tmp_path, PLAN.replace("= 12", "= 0") + ROWS["understated"]).evidence.rows[0]
    assert found.bound_search is None and line(found) is None and found.verdict is Verdict.NOT_REFUTED
    assert not (tmp_path / "out" / "counterexamples").exists()


def test_a_method_that_kills_its_worker_is_a_reason(tmp_path: Path, monkeypatch) -> None:
    from certunlearn import bound_search

    def killed(*_, **__):
        raise MemoryError("a worker was killed")

    monkeypatch.setattr(bound_search, "run_chunks", killed)
    found = audited(tmp_path, PLAN + ROWS["true"]).evidence.rows[0]
    assert line(found).outcome is Outcome.NOT_COMPUTABLE and "a worker was killed" in line(found).reason
    assert found.verdict is Verdict.NOT_REFUTED


def test_a_record_from_before_the_search_renders(folder: Path, rows: dict[str, Row], tmp_path: Path) -> None:
    from unlearning.record import canonical, sha256

    old = json.loads((folder / "out" / "record.json").read_text())
    for one in old["evidence"]["rows"]:
        del one["bound_search"]
        one["lines"] = [line for line in one["lines"] if line["key"] != KEY]
    del old["evidence"]["plan"]["laws"]
    old["evidence_sha256"] = sha256(canonical(old["evidence"]))
    (tmp_path / "record.json").write_text(json.dumps(old))
    page = reports.render_html(read_record(tmp_path / "record.json"))
    assert "small problem " not in page and "Small problems" not in page


@pytest.mark.parametrize(
    ("laws", "says"),
    [({"problems": -1}, r"laws.problems must be .*0.*got -1"), ({"problem": 3}, r"laws.problem"), (3, r"laws must be")],
)
def test_laws_of_a_plan_are_checked(laws: object, says: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN + ROWS["true"])
    plain = read_plan(tmp_path / "plan.toml").canonical()
    with pytest.raises(PlanError, match=says):
        parse_plan(plain | {"laws": laws})
    assert parse_plan({key: value for key, value in plain.items() if key != "laws"}).laws.problems == 30
