"""A breach kept in a file: the same after reading, tried again alone, and read from anyone."""

import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from learning.per_replica import lifted
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from properties import LAWS, LawBroken
from properties.counterexample import Counterexample, Data, Outcome, Tried, read_counterexample
from properties.explanation import explain
from properties.problems import Descent, Problem
from properties.tightness import problem_in_words
from tests.broken.bounds import Understated
from tests.broken.catalogue import CATCHES
from tests.broken.twin import Twin
from tests.broken.updates import NoOp
from unlearning.errors import PlanError, RecordError
from unlearning.protocols import AnyMethod, Declaration

NEWTON = NewtonStep()
PROBLEM = Problem("ridge", 4, 2, 0.1, seed=3)


def kept(broken: LawBroken, method: AnyMethod = NEWTON, **changed: Any) -> Counterexample:
    names: dict[str, Any] = {"target": "newton", "parameters": {}, "device": "cpu", "precision": "float64"}
    return Counterexample.from_broken(broken, method=method, **(names | changed))


def some(problem: Problem = PROBLEM, finding: str = "found", **measured: float) -> Counterexample:
    return kept(LawBroken("sensitivity", finding, problem, measured))


def written(found: Counterexample, folder: Path, **changes: Any) -> Path:
    """The file, with other values at places like problem.rows."""
    path = found.write(folder)
    content = json.loads(path.read_text(encoding="utf-8"))
    for place, value in changes.items():
        *inner, last = place.split("__")
        at = content
        for name in inner:
            at = at[name]
        at[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("law", CATCHES)
def test_a_breach_of_every_law_is_kept_and_tried_again(law: str, tmp_path: Path) -> None:
    twin = CATCHES[law][0]
    with pytest.raises(LawBroken) as caught:
        LAWS[law](twin)
    found = kept(caught.value, twin)
    again = read_counterexample(found.write(tmp_path))
    assert again == found
    assert explain(again) == explain(found)
    replayed = again.replay(twin)
    assert replayed.outcome is Outcome.BROKEN
    assert replayed.finding == found.finding
    assert replayed.measured == found.measured


def test_a_mended_method_no_longer_breaks_it(tmp_path: Path) -> None:
    with pytest.raises(LawBroken) as caught:
        LAWS["sensitivity"](Understated(NEWTON))
    replayed = kept(caught.value).replay(NEWTON)
    assert replayed.outcome is Outcome.NOT_BROKEN and "distance / Δ is 0." in replayed.finding
    with pytest.raises(LawBroken) as caught:
        LAWS["effect"](NoOp(NEWTON))
    assert kept(caught.value).replay(NEWTON).finding == "the law holds on it"


def test_a_law_that_is_not_tried_says_why() -> None:
    class Uncertified(Twin):
        def certify(self, state, request):
            return None

    class Refuses(Twin):
        def learn(self, task, members, *, streams):
            raise PlanError("rows must be even, got 4. Drop one.")

    silent = some().replay(Uncertified(NEWTON))
    assert silent.outcome is Outcome.NOT_TRIED and "says nothing" in silent.finding
    refused = some().replay(Refuses(NEWTON))
    assert refused.outcome is Outcome.NOT_TRIED and "rows must be even" in refused.finding
    inexact = kept(LawBroken("quadratic", "found", PROBLEM)).replay(Retrained())
    assert inexact.outcome is Outcome.NOT_TRIED and "does not declare" in inexact.finding


class Retrained(Retrain):
    declaration = replace(Retrain.declaration, exact_on_quadratics=False)


def test_data_that_are_no_longer_built_are_told_and_not_tried(tmp_path: Path) -> None:
    features = [[0.5, 0.5]] * PROBLEM.rows
    other = read_counterexample(written(some(), tmp_path, data__features=features))
    replayed = other.replay(NoOp(NEWTON))
    assert replayed.outcome is Outcome.NOT_TRIED
    assert "features in the file are not those" in replayed.finding
    near = [[value * (1 + 1e-13) for value in row] for row in some().data.features]
    nearly = read_counterexample(written(some(), tmp_path, data__features=near))
    assert nearly.replay(NoOp(NEWTON)).outcome is Outcome.BROKEN
    requests = [[(record + 1) % PROBLEM.rows for record in row] for row in some().data.requests]
    assert "requests" in read_counterexample(written(some(), tmp_path, data__requests=requests)).replay(NEWTON).finding


def test_the_data_are_what_the_problem_builds() -> None:
    problem = Problem("binary", 5, 3, 0.1, replicas=2, request_size=2, descent=Descent())
    data, task = Data.of(problem), problem.task()
    assert [list(row) for row in data.features] == task.dataset.features.tolist()
    assert list(data.labels) == task.dataset.labels.tolist() and all(isinstance(label, int) for label in data.labels)
    for request, mask in zip(data.requests, problem.request(), strict=True):
        assert [record in request for record in range(5)] == mask.tolist()
    assert data.recipe == str(task.recipe)


def test_numbers_that_are_not_finite_survive(tmp_path: Path) -> None:
    found = some(distance=math.inf, sensitivity_upper=math.nan, moved=-math.inf)
    path = found.write(tmp_path)
    json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)  # NaN is no JSON
    measured = read_counterexample(path).measured
    assert measured["distance"] == math.inf and math.isnan(measured["sensitivity_upper"])
    assert measured["moved"] == -math.inf
    assert "nan" in explain(found) and "inf" in explain(found)


def test_one_problem_has_one_file(tmp_path: Path) -> None:
    first, second = some(finding="one", distance=1.0).write(tmp_path), some(finding="two").write(tmp_path)
    assert first == second and [first] == list(tmp_path.iterdir())
    assert read_counterexample(first).finding == "two"
    assert some(replace(PROBLEM, seed=4)).write(tmp_path) != first
    assert kept(LawBroken("effect", "one", PROBLEM)).write(tmp_path).name.startswith("effect-newton-")


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("a/b/mine.py:Mine", "sensitivity-Mine-"),
        ("../../evil.py:../../etc/passwd", "sensitivity-etc_passwd-"),
        ("mine.py:" + "x" * 500, f"sensitivity-{'x' * 40}-"),
        ("名前.py:名前", "sensitivity-unnamed-"),
        ("C:\\mine.py:Mine", "sensitivity-Mine-"),
    ],
)
def test_names_of_files_are_plain(target: str, name: str, tmp_path: Path) -> None:
    path = kept(LawBroken("sensitivity", "found", PROBLEM), target=target).write(tmp_path / "new" / "folder")
    assert path.parent == tmp_path / "new" / "folder" and path.name.startswith(name)
    assert read_counterexample(path).method.target == target


def test_texts_cannot_move_the_cursor() -> None:
    found = kept(
        LawBroken("sensitivity", "\x1b[2Jgone \x07", PROBLEM), target="\x1b]0;title\x07", parameters={"a": "\r"}
    )
    assert not {"\x1b", "\x07", "\r"} & set(explain(found))


def test_parameters_that_no_file_holds_are_named(tmp_path: Path) -> None:
    given = {"bound": "published", "steps": [1, 2], "other": NEWTON, "far": math.inf, "on": True}
    found = kept(LawBroken("sensitivity", "found", PROBLEM), parameters=given)
    assert found.method == Tried(
        "newton", {"bound": "published", "steps": [1, 2], "on": True}, ("far", "other"), NEWTON.declaration.title
    )
    assert read_counterexample(found.write(tmp_path)) == found
    assert explain(found).startswith("newton[bound=published,steps=[1,2],on=true,far=…,other=…] breaks the law")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("\x00\x01", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "another file"),
        ("{}", "another file"),
        ('{"format": "certunlearn record"}', "another file"),
        ('{"format": "certunlearn counterexample"}', "format_version must be 1, got None"),
        ('{"format": "certunlearn counterexample", "format_version": 2}', "format_version must be 1, got 2"),
        ('{"format": "certunlearn counterexample", "format_version": 1}', "law cannot be used"),
    ],
)
def test_a_foreign_file_is_refused(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=says):
        read_counterexample(path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RecordError, match="readable file"):
            read_counterexample(path)
    path = tmp_path / "file.json"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RecordError, match="damaged"):
        read_counterexample(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"law": "gravity"}, "law must be one of sensitivity, .*got 'gravity'"),
        ({"surprise": 1}, "surprise cannot be used"),
        ({"problem__surprise": 1}, "problem.surprise cannot be used"),
        ({"problem__model": "forest"}, "problem.model cannot be used"),
        ({"problem__rows": 10**9}, "size"),
        ({"problem__rows": 5}, "numbers of records"),
        ({"problem__columns": 0}, "size"),
        ({"problem__columns": 3}, "data.features must have 3"),
        ({"problem__replicas": -1}, "size"),
        ({"problem__request_size": 4}, "request_size"),
        ({"problem__regularisation": 0}, "regularisation"),
        ({"problem__norm": "NaN"}, "norm"),
        ({"problem__seed": -1}, "seed"),
        ({"data__requests": [[7]]}, "data.requests"),
        ({"data__features": "none"}, "data.features cannot be used"),
        ({"measured": {"distance": "far"}}, "measured.distance cannot be used"),
        ({"precision": "float16"}, "precision cannot be used"),
    ],
)
def test_a_changed_file_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=says):
        read_counterexample(written(some(), tmp_path, **changes))


def test_a_file_of_an_older_problem_is_still_read(tmp_path: Path) -> None:
    path = some().write(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["problem"]["request_by"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_counterexample(path).problem == PROBLEM


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = some(finding="before").write(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="space"):
        some(finding="after").write(tmp_path)
    assert list(tmp_path.iterdir()) == [before] and read_counterexample(before).finding == "before"
    monkeypatch.undo()
    with pytest.raises(PlanError, match="must be a folder"):
        some().write(before)


def lines(found: Counterexample, **width: int) -> Iterator[str]:
    yield from explain(found, **width).splitlines()


def test_the_problem_can_be_followed() -> None:
    found = some(Problem("ridge", 3, 1, 0.5, seed=1, replicas=2), distance=0.25, sensitivity_upper=0.125, extra=3.0)
    text = explain(found)
    assert "newton breaks the law sensitivity" in text and LAWS["sensitivity"].statement in text
    assert "ridge regression, λ = 0.5; 2 models (replicas), float64 on cpu" in text
    assert "3 of 1 feature, round, largest norm 1; seed 1" in text
    assert ["distance", "to", "the", "reference", "0.25"] in [line.split() for line in lines(found)]
    assert ["certified", "Δ", "0.125"] in [line.split() for line in lines(found)]
    table = [line.split(maxsplit=3) for line in lines(found) if line[:9].strip().isdigit()]
    assert [row[0] for row in table] == ["0", "1", "2"]
    for record, row in enumerate(table):
        who = [str(replica) for replica, request in enumerate(found.data.requests) if record in request]
        told = row[3] if len(row) > 3 else ""
        assert told == ("by all" if len(who) == 2 else f"by {', '.join(who)}" if who else "")
        assert float(row[1]) == pytest.approx(found.data.features[record][0], rel=1e-4)


def test_a_large_problem_is_abbreviated_in_the_text_only(tmp_path: Path) -> None:
    problem = Problem("softmax", 40, 9, 0.5, replicas=20, request_size=30)
    found = some(problem)
    told = list(lines(found))
    records = [line for line in told if line[:9].strip().isdigit()]
    assert len(records) == 12 and all(" of 20" in line and "…" in line for line in records)
    assert "x6  … " in explain(found) and "x7" not in explain(found)
    assert any("and 28 more, in the file" in line for line in told)
    again = read_counterexample(found.write(tmp_path))
    assert len(again.data.features) == 40 and len(again.data.features[0]) == 9


def test_forgotten_records_are_shown_first() -> None:
    found = some(Problem("ridge", 40, 2, 0.5, request_size=3))
    shown = [int(line.split()[0]) for line in lines(found) if line[:9].strip().isdigit()]
    assert shown == sorted(shown) and set(found.data.requests[0]) < set(shown)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_sentences_fit_the_line(width: int) -> None:
    found = some(finding="word " * 60)
    assert all(len(line) <= width for line in lines(found, width=width))


def test_a_replay_stands_beside_the_file() -> None:
    with pytest.raises(LawBroken) as caught:
        LAWS["sensitivity"](Understated(NEWTON))
    found = kept(caught.value)
    worse = explain(found, found.replay(Understated(NEWTON, 1 / 40)))
    assert "  file      Replica 0" in worse and "  now       Replica 0" in worse
    [upper] = [line.split() for line in worse.splitlines() if line.startswith(" " * 12 + "certified Δ")]
    assert float(upper[-1]) == pytest.approx(float(upper[-2]) / 2, rel=1e-4)
    mended = explain(found, found.replay(NEWTON), file="out/one.json", tried="newton[fixed=true]")
    assert "  now       distance / Δ is 0." in mended
    assert " ".join(mended.split()).startswith(
        "out/one.json: sensitivity was broken by newton; tried again with newton[fixed=true] law "
    )
    assert "breaks the law" not in mended + worse
    cells = {line[12:39].strip(): line[39:].split() for line in mended.splitlines() if line.startswith(" " * 12)}
    assert cells[""] == ["file", "now"] and cells["certified Δ"][1] == "–"  # old numbers are never taken for new ones
    assert cells["distance / Δ"][0] == "–" and 0 < float(cells["distance / Δ"][1]) <= 1


def test_a_file_s_numbers_are_labelled_where_there_are_no_new_ones() -> None:
    found = some(distance=0.25, sensitivity_upper=0.125)
    told = explain(found, found.replay(Raises(NEWTON))).splitlines()
    assert ["file"] in [line.split() for line in told] and ["file", "now"] not in [line.split() for line in told]
    assert ["file"] not in [line.split() for line in explain(found).splitlines()]


class Raises(Twin):
    def unlearn(self, state, request, *, streams):
        raise KeyError("boo")


class Infinite(Twin):
    def unlearn(self, state, request, *, streams):
        after = self.method.unlearn(state, request, streams=streams)
        return replace(after, parameters=after.parameters * math.inf)


@pytest.mark.parametrize(
    ("finding", "measured", "method", "outcome"),
    [
        ("Replica 0: distance 0.25 …", {"distance": 0.25}, Raises, Outcome.RAISES),
        ("Replica 0: distance 0.25 …", {"distance": 0.25}, Infinite, Outcome.OTHERWISE),
        ("Replica 0: distance 0.25 …", {"distance": 0.25}, NoOp, Outcome.BROKEN),
        ("The method raised ValueError: no", {}, Raises, Outcome.BROKEN),
        ("unlearn of Mine raised ValueError: no", {}, Raises, Outcome.BROKEN),
        ("The method raised ValueError: no", {}, NoOp, Outcome.OTHERWISE),
    ],
)
def test_a_breach_of_another_kind_is_not_still_the_same(
    finding: str, measured: dict[str, float], method: type[Twin], outcome: Outcome
) -> None:
    replayed = some(finding=finding, **measured).replay(method(NEWTON))
    assert replayed.outcome is outcome, replayed.finding


class Ridge:
    """For one model, with a loss of its own."""

    declaration = Declaration(title="Ridge", citation="none")

    def learn(self, features, labels, generator):
        return features.T @ labels.to(features.dtype)

    def unlearn(self, parameters, features, labels, removed, generator):
        return parameters

    def sensitivity_upper(self, parameters, features, labels, removed):
        return 0.0


def test_nothing_is_said_of_a_loss_that_the_method_does_not_learn(tmp_path: Path) -> None:
    """Model, λ and training of the problem are offered to such a method, and are not what it does."""
    with pytest.raises(LawBroken) as caught:
        LAWS["sensitivity"](lifted(Ridge()))
    found = kept(caught.value, lifted(Ridge()))
    again = read_counterexample(found.write(tmp_path))
    assert again == found and again.own_loss and again.data.recipe == "by Ridge.learn"
    told = explain(again)
    assert "  learned   by Ridge.learn" in told and "(the method brings its own loss)" in told
    assert "\n  model  " not in told and "minimiser" not in told
    words = problem_in_words(found.problem, own_loss=True)
    assert "trained to" not in words and words.endswith("the method brings its own loss)")
    learned = some()
    assert not learned.own_loss and "brings its own" not in explain(learned) and "exact minimiser" in explain(learned)


def test_a_file_from_before_own_losses_is_still_read(tmp_path: Path) -> None:
    path = some().write(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["own_loss"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_counterexample(path) == some()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_others_may_read_it_where_they_may_read_any_new_file(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        path = some().write(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert [path] == list(tmp_path.iterdir())


def test_no_field_of_the_problem_is_lost(tmp_path: Path) -> None:
    descent = Descent(3, 4, 0.2, 0.8, 0.5, "fixed", 2.0)
    problem = Problem("network", 6, 2, 1.5, 3.0, "spike", 2, 2, 9, descent, "norm", True)
    assert len(asdict(problem)) == len(asdict(PROBLEM))
    assert read_counterexample(some(problem).write(tmp_path)).problem == problem
