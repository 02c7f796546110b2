"""Rung E in plans: what is refused in one line, own attacks, and the command that sweeps the noise."""

import tomllib
from pathlib import Path

import pytest
import torch

from certunlearn.building import Built, build
from certunlearn.costs import estimate
from certunlearn.evidence import cannot_show
from certunlearn.plan import Plan, parse_plan, read_plan
from certunlearn.running import run_plan
from certunlearn.sweep_command import GRID, sweep_plan
from unlearning.errors import PlanError
from unlearning.record import read_record
from unlearning.verdict import Verdict

from .test_cli import METHOD, SMALL, run

ROOT = Path(__file__).parent.parent.parent
PLAN = (
    SMALL
    .replace('title = "Small"', 'title = "Attacked"\nlaws = { problems = 0 }')
    .replace('name = "r"', 'name = "first"')
    .replace("budget = 0.02", 'budget = 0.05\nrungs = ["E"]')
)
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
class Namesake(Own):
    title = "Other"
class SameTitle(Own):
    key = "other"
class Loss(Own):
    key = "loss"
class LossTitle(Own):
    title = "Loss threshold"
class Relative(Own):
    key, family = "relative", "MIA"
class Nameless(Own):
    key = 3
class Useless(Own):
    key = "useless"
    title = "Useless"
    def fit(self, runs, model, *, generator):
        return None
"""


def plan(attacks: str = "") -> Plan:
    return parse_plan(tomllib.loads(PLAN + (f"[rows.attacks]\n{attacks}\n" if attacks else "")))


def resized(rows: int, size: int) -> str:
    return PLAN.replace("rows = 60", f"rows = {rows}").replace("size = 2", f"size = {size}")


def built(of: Plan, *, trust: bool = False) -> Built:
    return build(of, device=torch.device("cpu"), data=None, trust=trust)


def test_what_is_left_out() -> None:
    asked = built(plan()).rows[0].design.attacks
    assert asked is not None and asked.decides
    assert (asked.candidates, asked.shadows, asked.targets, asked.seeds) == (10, 64, 64, ("fresh",))
    assert len(asked.keys) == 6 + 20 + 2 and asked.sweep == () and asked.measures


@pytest.mark.parametrize(("rows", "size", "candidates"), [(60, 1, 10), (60, 7, 14), (9, 1, 8), (9, 5, 8)])
def test_candidates_that_are_left_out(rows: int, size: int, candidates: int) -> None:
    """Of two candidates every run's AUC would be 0 or 1."""
    asked = built(parse_plan(tomllib.loads(resized(rows, size)))).rows[0].design.attacks
    assert asked is not None and asked.candidates == candidates


@pytest.mark.parametrize(
    ("attacks", "fragments"),
    [
        ('names = ["boundary"]', ("attacks.names[0]", "the name of an attack", "mine.py:Attack")),
        ('names = ["lira-onlin"]', ("did you mean lira-online",)),
        ("names = []", ("attacks.names", "at least one entry")),
        ('names = ["loss", "loss"]', ("without repeated entries",)),
        ('names = ["lirra"]', ("did you mean lira-online",)),
        ('names = ["lira"]', ("did you mean lira-online",)),
        ("shadows = 4", ("attacks.shadows", ">= 8", "write for example shadows = 64.")),
        ("targets = 4", ("attacks.targets", ">= 5", "write for example targets = 64.")),
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


def test_few_replicas_are_few_for_attacks_too() -> None:
    row = plan().with_replicas(20).rows[0]
    assert row.attacks is not None and (row.attacks.shadows, row.attacks.targets) == (32, 32)
    row = plan("shadows = 12\ntargets = 100").with_replicas(50).rows[0]
    assert row.attacks is not None and (row.attacks.shadows, row.attacks.targets) == (12, 50)
    assert read_plan(ROOT / "plans" / "identification.toml").with_replicas(20).rows[0].attacks is None


def test_without_the_rung_there_is_nothing_to_attack() -> None:
    text = PLAN.replace('rungs = ["E"]', 'rungs = ["A"]') + "[rows.attacks]\nshadows = 8\n"
    with pytest.raises(PlanError, match=r"rows\[0\].attacks must be left out for rungs without E.*; add rung E"):
        parse_plan(tomllib.loads(text))


@pytest.mark.parametrize(
    ("attacks", "policy", "message"),
    [
        (
            "candidates = 2",
            "per seed",
            r"candidates must be between 3 \(the request has 2 records\) and 59, got 2. Raise candidates to 10.",
        ),
        (
            "candidates = 60",
            "per seed",
            "candidates must be between 3 .* and 59, got 60. Lower candidates to 59 or less",
        ),
        (
            'seeds = ["fresh", "one seed"]',
            "marginal",
            r'seeds must be \["fresh"\] for a claim over training seeds.*or write claim.seed_policy = "per seed"',
        ),
    ],
)
def test_what_does_not_fit_the_data(attacks: str, policy: str, message: str) -> None:
    text = PLAN.replace("delta = 1e-5 }", f'delta = 1e-5, seed_policy = "{policy}" }}')
    with pytest.raises(PlanError, match=message):
        built(parse_plan(tomllib.loads(f"{text}[rows.attacks]\n{attacks}\n")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Own", None),
        ("Bare", "must have key, title, family, source, fit"),
        ("Missing", "must name something in"),
        ("Loss", "key that no other attack has, got 'loss' of .*mine.py:Loss. Change the key"),
        ("LossTitle", "title that no other attack has, got 'Loss threshold'"),
        ("Relative", "must have a family among MIA-L, MIA-U, U-LiRA, got 'MIA' of"),
        ("Nameless", "must have a key that is a text, got 3"),
    ],
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


@pytest.mark.parametrize(("other", "part"), [("Namesake", "key"), ("SameTitle", "title")])
def test_own_attacks_are_told_apart(tmp_path: Path, other: str, part: str) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    path = tmp_path / "plan.toml"
    path.write_text(f'{PLAN}[rows.attacks]\nnames = ["mine.py:Own", "mine.py:{other}"]\n')
    with pytest.raises(PlanError, match=rf"names\[1\] must have a {part} that no other attack has"):
        built(read_plan(path), trust=True)


def test_a_failure_is_told_by_the_name_in_the_plan(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    path = tmp_path / "plan.toml"
    few = "shadows = 8\ntargets = 5\nmeasures = false"
    path.write_text(f'{PLAN}[rows.attacks]\nnames = ["loss", "mine.py:Useless"]\n{few}\n')
    record, _ = run_plan(built(read_plan(path), trust=True), jobs=1)
    attacks = record.evidence.rows[0].attacks
    assert attacks is not None and list(attacks.reasons) == ["mine.py:Useless"]
    assert "fit of useless must return an object with scores" in attacks.reasons["mine.py:Useless"]


@pytest.mark.parametrize(
    ("epsilon", "targets", "said"),
    [
        (1.0, 64, []),
        (40.0, 64, ["no mean AUC in 64 target runs refutes this claim, which allows "]),
        (1.0, 5, ["no mean AUC in 5 target runs refutes this claim, which allows 0."]),
    ],
)
def test_what_attacks_cannot_show_is_said_beforehand(epsilon: float, targets: int, said: list[str]) -> None:
    text = PLAN.replace("epsilon = 1.0", f"epsilon = {epsilon}") + f"[rows.attacks]\ntargets = {targets}\n"
    row = built(parse_plan(tomllib.loads(text))).rows[0]
    found = cannot_show(2, row.design)
    assert len(found) == len(said)
    for one, beginning in zip(found, said, strict=True):
        assert one.startswith(beginning)


def test_luck_cannot_be_told_in_a_handful_of_runs_of_two_candidates() -> None:
    row = built(parse_plan(tomllib.loads(resized(60, 1) + "[rows.attacks]\ncandidates = 2\ntargets = 5\n"))).rows[0]
    assert any("is told from luck at 0.01; raise attacks.targets" in one for one in cannot_show(1, row.design))
    assert cannot_show(2, built(plan('names = ["reconstruction"]')).rows[0].design) == []


def test_a_plan_is_checked_for_it(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(f"{PLAN}[rows.attacks]\ntargets = 5\n")
    ran = run("plan", "plan.toml", "--check", cwd=tmp_path)
    assert ran.returncode == 0 and "first: no mean AUC in 5 target runs refutes this claim" in ran.stdout


class TestCost:
    def seconds(self, attacks: str, size: int = 2) -> float:
        text = resized(200, size) + f"[rows.attacks]\nmeasures = false\n{attacks}\n"
        return estimate(built(parse_plan(tomllib.loads(text))))[0].seconds

    def test_it_grows_with_runs_and_candidates(self) -> None:
        few, many = 'names = ["mia-u"]', 'names = ["mia-u"]\ncandidates = 150\nshadows = 640\ntargets = 640'
        assert self.seconds(many) > 5 * self.seconds(few)

    def test_forests_are_dearer_than_a_threshold(self) -> None:
        assert self.seconds('names = ["mia-u/l2/forest"]') > 3 * self.seconds('names = ["loss"]')

    def test_regimes_and_sweeps_count(self) -> None:
        once = self.seconds('names = ["lira-online", "mia-u/l2/mlp"]')
        assert self.seconds('names = ["lira-online", "mia-u/l2/mlp"]\nseeds = ["fresh", "one seed"]') > 1.8 * once
        assert self.seconds('names = ["lira-online", "mia-u/l2/mlp"]\nsweep = [0.0, 1.0, 2.0]') > once

    def test_reconstruction_alone_trains_its_own_runs(self) -> None:
        text = PLAN + '[rows.attacks]\nnames = ["reconstruction"]\ntargets = 12\n'
        asked = estimate(built(parse_plan(tomllib.loads(text))))[0]
        assert asked.models == 3 * 12


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
        wanted = PLAN.replace("budget = 0.05", 'budget = 0.05\nexpect = "REFUTED"')
        (tmp_path / "plan.toml").write_text(f"{wanted}[rows.attacks]\nnames = ['loss']\nshadows = 8\ntargets = 6\n")
        ran = run("sweep", "plan.toml", "--out", "out", "--jobs", "1", cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        evidence = read_record(tmp_path / "out" / "record.json").evidence
        (row,) = evidence.rows
        assert evidence.title == "Sweep: Attacked" and row.as_expected and row.expected is row.verdict
        assert row.attacks is not None
        assert [point.noise_factor for point in row.attacks.sweep] == list(GRID)
        for name in ("report.html", "report.pdf"):
            assert (tmp_path / "out" / name).stat().st_size > 10_000
        assert not any(verdict.value in ran.stdout + ran.stderr for verdict in Verdict)
        assert "expected" not in ran.stdout + ran.stderr
        first = row.attacks.sweep[0]
        aucs = " / ".join(
            f"{first.aucs['lira-online'][kind].mean:.3f}" for kind in ("unlearned", "retrained", "original")
        )
        for said in ("Sweep: Attacked", "AUC, u-lira", "doing nothing", "holdout accuracy", aucs):
            assert said in ran.stdout

    def test_a_row_that_cannot_be_run_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text(METHOD)
        text = PLAN.replace('"hessian-free"', '"mine.py:Broken"').replace("budget = 0.05", "noise_scale = 0.1")
        (tmp_path / "plan.toml").write_text(f"{text}[rows.attacks]\nnames = ['loss']\nshadows = 8\ntargets = 6\n")
        ran = run("sweep", "plan.toml", "--out", "out", "--jobs", "1", "--trust", "--quiet", cwd=tmp_path)
        assert ran.returncode == 4 and "the disk is on fire" in ran.stderr
