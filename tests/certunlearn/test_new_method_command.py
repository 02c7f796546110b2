"""`certunlearn new-method`: what it writes works as written, and it refuses names that cannot be."""

import os
import py_compile
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from certunlearn.cli import app
from certunlearn.new_method_command import class_name
from unlearning.errors import PlanError
from unlearning.record import read_record

ROOT = Path(__file__).parents[2]
PROGRAMS = {"certunlearn": ["-m", "certunlearn"], "python": []}


def new_method(*arguments: str) -> str:
    return CliRunner().invoke(app, ["new-method", *arguments], catch_exceptions=False).output


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["new-method", *arguments])
    assert isinstance(result.exception, PlanError), result.output
    return str(result.exception)


@pytest.mark.parametrize("kind", ["--for-one-model", "--replicas"])
def test_what_is_written_is_checked_tested_and_audited_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The three commands that are printed, in a folder outside the checkout."""
    monkeypatch.chdir(tmp_path)
    printed = new_method("warm_start", kind, "--folder", "my work")
    assert sorted(path.name for path in (tmp_path / "my work").iterdir()) == [
        "test_warm_start.py",
        "warm_start.py",
        "warm_start.toml",
    ]
    commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  ")]
    assert [command[0] for command in commands] == ["certunlearn", "python", "certunlearn"]
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HYPOTHESIS", "COV"))}
    environment = own | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for command in commands:
        few = (
            ["-p", "no:cacheprovider", "-k", "not laws or bad_release"] if "pytest" in command else []
        )  # the rest is slow
        few = ["--law", "sensitivity", "--law", "sequential_sensitivity"] if "check" in command else few
        done = subprocess.run(
            [sys.executable, *PROGRAMS[command[0]], *command[1:], *few],
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    row = read_record(tmp_path / "out" / "warm_start" / "record.json").evidence.rows[0]
    assert row.verdict.value == "NOT_REFUTED" and row.certificate is not None and row.certificate.refused_replicas == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Foo", "no identifier in lower case"),
        ("a-b", "no identifier"),
        ("../up", "no identifier"),
        ("_x", "no identifier"),
        ("", "no identifier"),
        ("class", "a word of Python"),
        ("match", "a word of Python"),
        ("none", "its class None would hide"),
        ("tensor", "its class Tensor would hide"),
        ("plan_error", "its class PlanError would hide"),
        ("json", "standard library"),
        ("newton", "a registered method has it"),
        ("learning", "a package of certunlearn"),
        ("numpy", "an installed module"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, name: str, says: str) -> None:
    told = refused(name, "--replicas", "--folder", str(tmp_path))
    assert told.startswith("NAME must be that of a new module, got ") and says in told and "descent_to_delete" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("taken", ["mine.py", "test_mine.py", "mine.toml"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    assert f"{tmp_path / taken} exists" in refused("mine", "--folder", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [taken] and (tmp_path / taken).read_text() == "precious"


@pytest.mark.parametrize("name", ["descent", "a", "x2_y__z_"])
def test_names_that_can_be(tmp_path: Path, name: str) -> None:
    for kind in ("--for-one-model", "--replicas"):
        new_method(name, kind, "--folder", str(tmp_path / kind))
        for file in (f"{name}.py", f"test_{name}.py"):
            text = (tmp_path / kind / file).read_text()
            py_compile.compile(str(tmp_path / kind / file), doraise=True)
            assert "$" not in text and class_name(name) in text


def test_the_templates_keep_the_house_rules(tmp_path: Path) -> None:
    for kind in ("--for-one-model", "--replicas"):
        new_method("warm_start", kind, "--folder", str(tmp_path / kind))
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), str(tmp_path / kind)],
            capture_output=True,
            text=True,
            env=os.environ | {"RUFF_NO_CACHE": "true"},
        )
        if "No module named ruff" in done.stderr:
            pytest.skip("ruff is not installed")
        wrong = [line for line in done.stdout.splitlines() if "test_" not in line and "-->" in line]
        assert not wrong, done.stdout
