"""The command line from outside: exit statuses, messages, files, determinism, interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from unlearning.record import Record, read_record

ROOT = Path(__file__).parent.parent.parent
SMALL = """
title = "Small"
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
name = "r"
task = "t"
method = "hessian-free"
claim = { epsilon = 1.0, delta = 1e-5 }
budget = 0.02
replicas = { test = 20, selection = 20 }
release_calls = 256
controls = ["no-op", "retrained"]
"""
METHOD = """
from methods.retrain import Retrain
class Mine(Retrain):
    pass
class Broken(Retrain):
    def unlearn(self, state, request, *, streams):
        raise RuntimeError("the disk is on fire")
"""


def run(*arguments: str, cwd: Path, **extra: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "certunlearn", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        **extra,  # type: ignore[call-overload]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(SMALL)
    (tmp_path / "mine.py").write_text(METHOD)
    return tmp_path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished audit in out/."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "plan.toml").write_text(SMALL)
    done = run("audit", "plan.toml", "--out", "out", "--jobs", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_an_audit_leaves_record_arrays_and_both_reports(audited: Path) -> None:
    out = audited / "out"
    assert sorted(p.name for p in out.iterdir()) == ["arrays.npz", "record.json", "report.html", "report.pdf"]
    record = read_record(out / "record.json")
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    assert record.evidence_sha256 in (out / "report.html").read_text()
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        assert {a.name for a in record.evidence.arrays} == set(arrays.files)
    assert record.circumstances.seconds > 0


def test_same_plan_and_seed_give_the_same_evidence_with_more_workers(audited: Path, tmp_path: Path) -> None:
    done = run("audit", str(audited / "plan.toml"), "--out", str(tmp_path / "o"), "--jobs", "2", "--quiet", cwd=audited)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == ""
    first, second = (read_record(p / "record.json") for p in (audited / "out", tmp_path / "o"))
    assert first.evidence == second.evidence and first.evidence_sha256 == second.evidence_sha256


def test_another_seed_gives_other_evidence_and_replaces_its_own_output(folder: Path) -> None:
    assert run("audit", "plan.toml", "--out", "out", cwd=folder).returncode == 0
    first = read_record(folder / "out" / "record.json").evidence_sha256
    assert run("audit", "plan.toml", "--out", "out", "--seed", "7", cwd=folder).returncode == 0
    again = read_record(folder / "out" / "record.json")
    assert again.evidence.seed == 7 and again.evidence_sha256 != first


def test_another_plans_output_is_refused_unless_fresh(audited: Path, folder: Path) -> None:
    other = SMALL.replace('title = "Small"', 'title = "Other"')
    (folder / "plan.toml").write_text(other)
    out = str(audited / "out")
    before = (audited / "out" / "record.json").read_bytes()
    done = run("audit", "plan.toml", "--out", out, cwd=folder)
    assert done.returncode == 2 and "--fresh" in done.stderr and done.stderr.count("\n") == 1
    assert (audited / "out" / "record.json").read_bytes() == before


def test_reports_are_rebuilt_without_torch(audited: Path, tmp_path: Path) -> None:
    blocked = (
        "import sys; sys.modules['torch'] = None; sys.argv[1:] = "
        f"['report', {str(audited / 'out' / 'record.json')!r}, '--out', {str(tmp_path)!r}]; "
        "from certunlearn.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name in ("report.html", "report.pdf"):
        assert (tmp_path / name).read_bytes() == (audited / "out" / name).read_bytes()


def test_a_changed_byte_is_refused(audited: Path, tmp_path: Path) -> None:
    text = (audited / "out" / "record.json").read_text().replace('"seed": 0', '"seed": 1')
    (tmp_path / "record.json").write_text(text)
    done = run("report", "record.json", cwd=tmp_path)
    assert done.returncode == 2 and "was changed" in done.stderr


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ("epsilon = 1.0 => epsilon = -1.0", ["rows[0].claim.epsilon", "-1"]),
        ("delta = 1e-5 => delta = 1.5", ["rows[0].claim.delta", "(0, 1)", "1.5"]),
        ("size = 2 => size = 60", ["request", "60"]),
        ('method = "hessian-free" => method = "hessianfree"', ["hessian-free"]),
        ("epsilon = 1.0 => epsilon = 1e308", ["rows[0].claim.epsilon", "1e6"]),
        ("budget = 0.02 => noise_scale = 1e-300", ["rows[0].noise_scale", "1e-30"]),
        ("budget = 0.02 => budget = 'prior'", ["rows[0].budget", "number"]),
        ('kind = "sgd", epochs = 3, batch_size = 20, step_size = 1.0 => kind = "minimise"', ["hessian-free", "sgd"]),
    ],
)
def test_bad_plans_are_one_line_exit_2_and_write_nothing(folder: Path, change: str, fragments: list[str]) -> None:
    old, new = change.split(" => ")
    assert old in SMALL
    (folder / "plan.toml").write_text(SMALL.replace(old, new))
    done = run("audit", "plan.toml", "--out", "out", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().count("\n") == 0 and "Traceback" not in done.stderr
    assert all(fragment in done.stderr for fragment in fragments), done.stderr
    assert not (folder / "out").exists()


def test_code_in_a_plan_needs_trust_and_code_on_the_command_line_does_not(folder: Path) -> None:
    retrain = SMALL.replace("epsilon = 1.0", "epsilon = 0.5").replace("budget = 0.02", "noise_scale = 0.02")
    (folder / "plan.toml").write_text(retrain.replace('"hessian-free"', '"mine.py:Mine"'))
    refused = run("audit", "plan.toml", "--out", "out", cwd=folder)
    assert refused.returncode == 2 and "--trust" in refused.stderr and not (folder / "out").exists()
    trusted = run("audit", "plan.toml", "--out", "out", "--trust", "--jobs", "2", cwd=folder)
    assert trusted.returncode == 0, trusted.stderr
    (folder / "plan.toml").write_text(retrain.replace('"hessian-free"', '"mine"'))
    own = run("audit", "plan.toml", "--out", "out2", "--define", "mine=mine.py:Mine", cwd=folder)
    assert own.returncode == 0, own.stderr


def test_a_method_that_raises_is_an_error_of_its_row_with_the_reason(folder: Path) -> None:
    text = SMALL.replace('"hessian-free"', '"mine.py:Broken"').replace("budget = 0.02", "noise_scale = 0.02")
    (folder / "plan.toml").write_text(text)
    done = run("audit", "plan.toml", "--out", "out", "--trust", cwd=folder)
    assert done.returncode == 4
    row = read_record(folder / "out" / "record.json").evidence.rows[0]
    assert row.verdict == "ERROR" and "the disk is on fire" in row.because


def test_divergence_names_replica_step_and_cause(folder: Path) -> None:
    text = SMALL.replace("step_size = 1.0", "step_size = 1e200")
    (folder / "plan.toml").write_text(text)
    done = run("audit", "plan.toml", "--out", "out", cwd=folder)
    assert done.returncode == 4
    because = read_record(folder / "out" / "record.json").evidence.rows[0].because
    assert "replica" in because and "step" in because and "2/smoothness" in because


def test_an_unexpected_verdict_exits_1_and_says_why_even_when_quiet(folder: Path) -> None:
    (folder / "plan.toml").write_text(SMALL + 'expect = "REFUTED"\n')
    done = run("audit", "plan.toml", "--out", "out", "--quiet", cwd=folder)
    assert done.returncode == 1 and "r: NOT_REFUTED, expected REFUTED" in done.stderr


def test_an_output_folder_that_cannot_be_is_refused_before_anything_runs(folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "blocked" / "report.pdf").mkdir(parents=True)
    for out in ("file", "file/below", "blocked"):
        done = run("audit", "plan.toml", "--out", out, cwd=folder)
        assert done.returncode == 2 and "--out" in done.stderr and "row 1" not in done.stderr, done.stderr
    done = run("report", "plan.toml", cwd=folder)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_ctrl_c_leaves_a_message_and_no_record(folder: Path) -> None:
    (folder / "plan.toml").write_text(SMALL.replace("test = 20", "test = 4000").replace("epochs = 3", "epochs = 60"))
    process = subprocess.Popen(
        [sys.executable, "-m", "certunlearn", "audit", "plan.toml", "--out", "out", "--jobs", "2"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    process.stderr.readline()  # the first row has begun
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted" in err and "Traceback" not in err
    assert not (folder / "out").exists()


def test_plan_check_estimates_and_runs_nothing(folder: Path) -> None:
    done = run("plan", "plan.toml", "--check", cwd=folder)
    assert done.returncode == 0 and "models" in done.stdout and "The plan is valid." in done.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["mine.py", "plan.toml"]


def test_the_default_plan_with_twenty_replicas(tmp_path: Path) -> None:
    plan = str(ROOT / "plans" / "default.toml")
    done = run("audit", plan, "--out", "out", "--replicas", "20", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_record(tmp_path / "out" / "record.json")
    verdicts = {row.verdict.value for row in record.evidence.rows}
    assert verdicts == {"NOT_REFUTED", "VACUOUS"}
    assert all(control.behaved for control in record.evidence.controls)
    # every planted defect is found by some line even at this size
    found = {(c.name, c.verdict.value) for c in record.evidence.controls}
    assert ("tenth-noise", "REFUTED") in found and ("frozen-noise", "REFUTED") in found
    assert ("retrained", "REFUTED") not in found


def test_every_shipped_plan_is_valid_as_far_as_it_can_be_read() -> None:
    from certunlearn.plan import read_plan

    plans = sorted((ROOT / "plans").glob("*.toml"))
    assert len(plans) >= 3
    for path in plans:
        read_plan(path)


def test_the_schema_in_the_repository_is_the_records() -> None:
    stored = json.loads((ROOT / "docs" / "record.schema.json").read_text())
    assert stored == Record.model_json_schema(), "run: python -m certunlearn schema > docs/record.schema.json"


@pytest.mark.parametrize("arguments", [["audit"], ["nonsense"], ["audit", "plan.toml", "--out", "o", "--jobs", "-1"]])
def test_wrong_usage_exits_2(folder: Path, arguments: list[str]) -> None:
    done = run(*arguments, cwd=folder)
    assert done.returncode == 2 and "Traceback" not in done.stderr
