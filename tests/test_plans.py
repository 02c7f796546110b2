"""The plans that the project ships are valid, without their data; the code they name exists."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from audit.attacks.attack import fit_attack
from audit.attacks.measures import run_aucs
from audit.attacks.runs import FitRuns, ScoreRuns
from certunlearn.building import build
from certunlearn.plan import read_plan

from .audit.attacks.outputs import drawn_runs

ROOT = Path(__file__).parent.parent
OWN_ATTACK = """
[[rows]]
name = "own attack"
task = "cancer-descent"
method = "retrain"
claim = {{ epsilon = 0.0, delta = 1e-5 }}
noise_scale = 0.02
rungs = ["E"]
attacks = {{ names = ["{name}"] }}
"""
PLANS = sorted((ROOT / "plans").rglob("*.toml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    plan = read_plan(path)
    for where, target in plan.names():
        file, _, name = target.rpartition(":")
        if file:
            code = (path.parent / file).read_text()
            assert f"def {name}(" in code or f"class {name}(" in code, f"{where}: {target}"
    assert path.read_text().startswith("# "), "a plan begins with a comment that says what it is"


def test_the_plan_of_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "plans.md").read_text()
    path = tmp_path / "plan.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0])
    assert len(read_plan(path).rows) == 3


def test_the_attack_of_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "plans.md").read_text()
    (tmp_path / "mine.py").write_text(text.split("```python\n")[1].split("```")[0])
    (name,) = re.findall(r'names = \["(mine\.py:\w+)"\]', text)
    plan = (ROOT / "plans" / "default.toml").read_text().partition("[[rows]]")[0] + OWN_ATTACK.format(name=name)
    (tmp_path / "plan.toml").write_text(plan)
    built = build(read_plan(tmp_path / "plan.toml"), device=torch.device("cpu"), data=None, trust=True)
    ((_, attack),) = built.rows[0].subject.attacks
    shadows, targets = drawn_runs(FitRuns, 0, 32), drawn_runs(ScoreRuns, 1, 32)
    fitted = fit_attack(attack, shadows, "original", generator=np.random.default_rng(0))
    aucs = {m: run_aucs(fitted.scores(targets, m), targets.members).mean() for m in ("original", "retrained")}
    assert aucs["original"] > 0.8 and abs(aucs["retrained"] - 0.5) < 0.1


def test_there_are_plans() -> None:
    assert {path.stem for path in PLANS} >= {"default", "adult", "mnist"}
