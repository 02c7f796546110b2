"""Rung E in plans: what is refused in one line, own attacks, and the command that sweeps the noise."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from certunlearn.building import Built, build
from certunlearn.plan import Plan, parse_plan, read_plan
from certunlearn.sweep_command import GRID, sweep_plan
from unlearning.errors import PlanError
from unlearning.record import read_record

ROOT = Path(__file__).parent.parent.parent
PLAN = """
title = "Attacked"
laws = { problems = 0 }
[datasets.d]
source = "breast-cancer"
rows = 60
[tasks.t]
dataset = "d"
model = "binary-logistic"
regularisation = 0.1
recipe = { kind = "sgd", epochs = 3, batch_size = 20, step_size = 1.0 }
request = { kind = "random", size = 2 }
[[rows]]
name = "first"
task = "t"
method = "hessian-free"
claim = { epsilon = 1.0, delta = 1e-5 }
budget = 0.05
rungs = ["E"]
controls = ["no-op", "retrained"]
"""
OWN = """
import numpy as np
class Own:
    key, title, family, source = "own", "Own", "MIA-L", "nobody"
    def fit(self, runs, model, *, generator):
        return self
    def scores(self, runs, model):
        return runs.of(model)[:, :, 0]
class Bare:
    pass
"""


def plan(attacks: str = "") -> Plan:
    return parse_plan(tomllib.loads(PLAN + (f"[rows.attacks]\n{attacks}\n" if attacks else "")))


def built(of: Plan, *, trust: bool = False) -> Built:
    return build(of, device=torch.device("cpu"), data=None, trust=trust)


def test_what_is_left_out() -> None:
    asked = built(plan()).rows[0].design.attacks
    assert asked is not None and asked.decides
    assert (asked.candidates, asked.shadows, asked.targets, asked.seeds) == (4, 64, 64, ("fresh",))
    assert len(asked.keys) == 6 + 20 + 2 and asked.sweep == () and asked.measures


@pytest.mark.parametrize(
    ("attacks", "fragments"),
    [
        ('names = ["lira"]', ("attacks.names[0]", "the name of an attack", "mine.py:Attack")),
        ('names = ["lira-onlin"]', ("did you mean lira-online",)),
        ("names = []", ("attacks.names", "at least one entry")),
        ('names = ["loss", "loss"]', ("without repeated entries",)),
        ("shadows = 4", ("attacks.shadows", ">= 8")),
        ("targets = 4", ("attacks.targets", ">= 5")),
        ("seeds = [1]", ("attacks.seeds[0]", '"fresh" or "one seed"', 'seeds = ["fresh", "one seed"]')),
        ("sweep = [-1.0]", ("attacks.sweep[0]", ">= 0")),
        ("measures = 1", ("attacks.measures", "true or false")),
        ("swep = [1.0]", ("swep", "sweep")),
        ("candidates = 1", ("attacks.candidates", ">= 2")),
    ],
)
def test_what_is_no_plan(attacks: str, fragments: tuple[str, ...]) -> None:
    with pytest.raises(PlanError) as caught:
        plan(attacks)
    assert "\n" not in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value), str(caught.value)


def test_without_the_rung_there_is_nothing_to_attack() -> None:
    text = PLAN.replace('rungs = ["E"]', 'rungs = ["A"]') + "[rows.attacks]\nshadows = 8\n"
    with pytest.raises(PlanError, match=r"rows\[0\].attacks must be left out for rungs without E.*; add rung E"):
        parse_plan(tomllib.loads(text))


@pytest.mark.parametrize(
    ("attacks", "policy", "message"),
    [
        ("candidates = 2", "per seed", "candidates must be between 3 .the request has 2 records. and 59, got 2"),
        ("candidates = 60", "per seed", "candidates must be between 3 .* and 59, got 60"),
        ('seeds = ["fresh", "one seed"]', "marginal", r'seeds must be \["fresh"\] for hessian-free'),
    ],
)
def test_what_does_not_fit_the_data(attacks: str, policy: str, message: str) -> None:
    text = PLAN.replace("delta = 1e-5 }", f'delta = 1e-5, seed_policy = "{policy}" }}')
    with pytest.raises(PlanError, match=message):
        built(parse_plan(tomllib.loads(f"{text}[rows.attacks]\n{attacks}\n")))


@pytest.mark.parametrize(
    ("name", "message"),
    [("Own", None), ("Bare", "must have key, title, family, source, fit"), ("Missing", "must name something in")],
)
def test_own_attacks(tmp_path: Path, name: str, message: str | None) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    path = tmp_path / "plan.toml"
    path.write_text(f'{PLAN}[rows.attacks]\nnames = ["mine.py:{name}"]\n')
    with pytest.raises(PlanError, match="unless you trust the plan"):
        built(read_plan(path))
    if message is None:
        row = built(read_plan(path), trust=True).rows[0]
        assert [key for key, _ in row.subject.attacks] == ["mine.py:Own"]
        assert row.design.attacks is not None and not row.design.attacks.decides
    else:
        with pytest.raises(PlanError, match=message):
            built(read_plan(path), trust=True)


class TestSweep:
    def test_rows_have_rung_e_alone(self) -> None:
        swept = sweep_plan(read_plan(ROOT / "plans" / "default.toml"))
        for row in swept.rows:
            assert row.rungs == ("E",) and row.identification is None and row.attacks is not None
            assert row.attacks.sweep == GRID and {"lira-online", "u-lira"} <= {*row.attacks.names}
        assert parse_plan(swept.canonical()).canonical() == swept.canonical()

    def test_rows_are_chosen_by_name(self) -> None:
        assert [row.name for row in sweep_plan(plan(), ("first",)).rows] == ["first"]
        with pytest.raises(
            PlanError, match="--row must be the name of a row of the plan, got 'frist'; did you mean first"
        ):
            sweep_plan(plan(), ("frist",))

    def test_own_numbers_are_kept(self) -> None:
        row = sweep_plan(plan('names = ["loss"]\nsweep = [2.0]\ntargets = 9')).rows[0]
        assert row.attacks is not None
        assert (row.attacks.names, row.attacks.sweep, row.attacks.targets) == (
            ("loss", "lira-online", "u-lira"),
            (2.0,),
            9,
        )

    def test_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "plan.toml").write_text(f"{PLAN}[rows.attacks]\nnames = ['loss']\nshadows = 8\ntargets = 6\n")
        ran = subprocess.run(
            [sys.executable, "-m", "certunlearn", "sweep", "plan.toml", "--out", "out", "--jobs", "1", "--quiet"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert ran.returncode == 0, ran.stderr
        (row,) = read_record(tmp_path / "out" / "record.json").evidence.rows
        assert row.attacks is not None
        assert [point.noise_factor for point in row.attacks.sweep] == list(GRID)
        for name in ("report.html", "report.pdf"):
            assert (tmp_path / "out" / name).stat().st_size > 10_000
