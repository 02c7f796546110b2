"""An audit's counterexample, tried again by the very command that record and report show."""

import html
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certunlearn.cli import main

CODE = '''
import torch

from unlearning import Declaration


class Ridge:
    """Forgets by one Newton step, and takes the mean of the gradients for their sum."""

    declaration = Declaration(title="Ridge", citation="none")

    def __init__(self, share=0.0):
        self.share = share

    def learn(self, features, labels, generator):
        return torch.linalg.solve(self.hessian(features), features.T @ labels.to(features.dtype) / len(features))

    def unlearn(self, parameters, features, labels, removed, generator):
        gone, targets, left = features[removed], labels[removed].to(features.dtype), int((~removed).sum())
        gradients = (gone @ parameters - targets)[:, None] * gone + 0.1 * parameters
        return parameters + torch.linalg.solve(self.hessian(features[~removed]), gradients.mean(0) / left)

    def sensitivity_upper(self, parameters, features, labels, removed):
        """One Newton step finds the minimiser."""
        return self.share

    def hessian(self, features):
        return features.T @ features / len(features) + 0.1 * torch.eye(features.shape[1]).to(features)
'''
PLAN = """
title = "Half"
[laws]
problems = 4
[datasets.cancer]
source = "breast-cancer"
rows = 60
[tasks.cancer]
dataset = "cancer"
model = "binary-logistic"
regularisation = 0.1
recipe = { kind = "minimise" }
request = { kind = "random", size = 3 }
"""
ROW = """
[[rows]]
name = "{name}"
task = "cancer"
method = "{method}"
parameters = {{ share = 1e-9 }}
claim = {{ epsilon = 1.0, delta = 1e-5 }}
budget = 0.001
rungs = ["A"]
replicas = {{ test = 2, selection = 2 }}
controls = []
expect = "REFUTED"
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in a scratch folder: exit status, what it prints, what stderr says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["certunlearn", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def test_the_command_in_the_report_works_where_the_audit_was_started(call: Call, tmp_path: Path) -> None:
    """The file of a name that --define gave, and of code beside a plan in another folder."""
    plans = tmp_path / "my plans"
    plans.mkdir()
    (tmp_path / "ridge.py").write_text(CODE, encoding="utf-8")
    (plans / "theirs.py").write_text(CODE, encoding="utf-8")
    rows = ROW.format(name="defined", method="half") + ROW.format(name="named", method="theirs.py:Ridge")
    (plans / "plan.toml").write_text(PLAN + rows, encoding="utf-8")
    define = ("--define", "half=ridge.py:Ridge")
    status, _, err = call("audit", "my plans/plan.toml", *define, "--trust", "--out", "out/a b", "--jobs", "1")
    assert status == 0, err

    record = json.loads((tmp_path / "out/a b/record.json").read_text(encoding="utf-8"))
    page = (tmp_path / "out/a b/report.html").read_text(encoding="utf-8")
    commands = [html.unescape(found) for found in re.findall("certunlearn replay [^<]+", page)]
    assert commands == [again["command"] for again in record["circumstances"]["replays"].values()]
    assert str(tmp_path) not in json.dumps(record["evidence"]), "the same plan in another place is the same evidence"
    for command, target in zip(commands, ("ridge.py:Ridge", "my plans/theirs.py:Ridge"), strict=True):
        _, *arguments = shlex.split(command)
        assert arguments[-2:] == ["--method", f"{target}[share=1e-09]"]
        status, out, err = call(*arguments)
        assert status == 1 and "still broken." in out, err
        status, out, err = call(*arguments[:-2], "--trust")  # the file says by what the method is loaded
        assert status == 1 and f"{target}[share=1e-09]: still broken." in out, err
        assert json.loads(Path(arguments[1]).read_text(encoding="utf-8"))["own_loss"] is True
    broken = record["evidence"]["rows"][0]["bound_search"]["counterexample"]
    assert broken["own_loss"] and broken["recipe"] == "by Ridge.learn" and broken["recipe"] in page
    assert "trained to the minimum" not in page and "the method brings its own loss)" in broken["problem"]["words"]


def test_a_file_that_names_no_code_says_what_to_add(call: Call, tmp_path: Path) -> None:
    """As audits wrote it where --define had given the name."""
    (tmp_path / "ridge.py").write_text(CODE, encoding="utf-8")
    call("check", "ridge.py:Ridge", "--law", "sensitivity")
    [path] = (tmp_path / "out" / "counterexamples").iterdir()
    content = json.loads(path.read_text(encoding="utf-8"))
    content["method"]["target"] = "half"
    path.write_text(json.dumps(content), encoding="utf-8")
    status, out, err = call("replay", str(path), "--trust")
    assert (status, out) == (2, "") and "got half; add --method path.py:Class" in err
    assert call("replay", str(path), "--method", "ridge.py:Ridge")[0] == 1


def test_a_method_that_raises_where_it_was_too_far_away_is_not_still_broken(call: Call, tmp_path: Path) -> None:
    (tmp_path / "ridge.py").write_text(CODE, encoding="utf-8")
    call("check", "ridge.py:Ridge", "--law", "sensitivity")
    [path] = (tmp_path / "out" / "counterexamples").iterdir()
    (tmp_path / "raises.py").write_text(CODE.replace("gone, targets", "gone, targetz"), encoding="utf-8")
    status, out, _ = call("replay", str(path), "--method", "raises.py:Ridge")
    assert status == 1 and "raises.py:Ridge: raises now." in out and "still broken" not in out and "NameError" in out
