"""The pytest plugin: one definition of each option, installed or not, and out of the way of other projects."""

import re
from pathlib import Path
from typing import Any

import pytest

from certunlearn.law_outcomes import breach
from certunlearn.registry import SHIPPED_VARIANTS
from certunlearn.targets import load_targets
from methods.retrain import Retrain
from properties import LawBroken, checks
from unlearning.errors import PlanError

from .pytest_runs import run

MINE = """
from dataclasses import dataclass, replace
from methods.retrain import Retrain

@dataclass(frozen=True)
class Mine(Retrain):
    declaration = replace(Retrain.declaration, exempt={"bad_release": "it never releases"})

@dataclass(frozen=True)
class Lazy(Retrain):
    shift: float = 0.0
    word: str = ""

    def unlearn(self, state, request, *, streams):
        return replace(super().unlearn(state, request, streams=streams), parameters=state.parameters + self.shift)

@dataclass(frozen=True)
class Odd(Retrain):
    declaration = replace(Retrain.declaration, exempt={"gravity": "it floats"})
"""

THEIR_OPTIONS = """
def pytest_addoption(parser):
    parser.addoption("--method", choices=["get", "post"], default="get")
    parser.addoption("--device", default="phone")
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_someones_own_method_from_a_file(mine: Path) -> None:
    targets = [f"--method={mine}:{name}" for name in ("Mine", "Lazy", "Odd")]
    kept = f"--counterexamples={mine.parent / 'kept'}"
    only = ("-k", "(bad_release or effect or exemptions) and not float32", "-rs")
    done = run("properties", *targets, kept, *only, HYPOTHESIS_PROFILE="dev")
    assert done.returncode == 1, done.stdout
    assert "bad_release: exempt, it never releases" in done.stdout
    assert "breaks the law effect" in done.stdout
    assert "got 'gravity'" in done.stdout
    assert "2 failed, 6 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_broken_law_is_a_problem_to_follow_and_a_file_to_replay(mine: Path, workers: str) -> None:
    target = f"{mine}:Lazy[shift=0.0,word=so]"
    arguments = (f"--method={target}", "--counterexamples=kept", "--precision=float64", "-k", "effect or order")
    where = ("-n", workers, f"--rootdir={mine.parent}")
    done = run("--pyargs", "properties", *arguments, *where, folder=mine.parent, COLUMNS="400")
    assert done.returncode == 1, done.stdout + done.stderr
    [effect] = (mine.parent / "kept").glob("effect-*.json")
    assert f"certunlearn replay kept/{effect.name} --trust" in done.stdout
    for frame in ("Traceback", "properties/law.py", "hypothesis"):
        assert frame not in done.stdout
    table = done.stdout.partition("laws of unlearning methods")[2]
    [summary] = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert " - effect: " in summary and "float32" not in table
    assert f"BROKEN by {target}" in table and "\norder " in table


def test_a_folder_that_cannot_be_written_does_not_hide_the_breach(mine: Path) -> None:
    (mine.parent / "kept").write_text("a file")
    arguments = (f"--method={mine}:Lazy", f"--counterexamples={mine.parent / 'kept'}", "-k", "effect and not float32")
    done = run("properties", *arguments)
    assert "breaks the law effect" in done.stdout and "Not saved: " in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout and "INTERNALERROR" not in done.stdout


def test_the_run_closes_with_what_laws_cost_and_which_do_not_apply(mine: Path) -> None:
    targets = (f"--method={mine}:Mine", "--method=newton", "-k", "Mine-sensitivity or bad_release or newton-order")
    done = run("properties", *targets, "--precision=both")
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.partition("laws of unlearning methods")[2]
    heading, *lines = table.splitlines()[1:]
    assert heading.split() == ["law", "seconds", "methods", "tried", "judged", "refused", "tightest"]
    found = {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith(" ")}
    assert {"sensitivity", "sensitivity-float32", "bad_release", "all"} <= found.keys()
    assert found["bad_release"][1] == "1" and int(found["all"][1]) >= 10
    assert f"  {mine}:Mine: bad_release: exempt, it never releases" in table


def test_precision_of_the_command_line() -> None:
    def collected(*arguments: str) -> str:
        return run("properties", "--collect-only", "--method=retrain", *arguments).stdout

    both, single = collected(), collected("--precision=float32")  # float64 alone: where a law is broken, above
    assert "[retrain-order]" in both and "[retrain-order-float32]" in both
    assert "[retrain-order]" not in single and "[retrain-order-float32]" in single


@pytest.mark.parametrize("extra", [(), ("-p", "no:certunlearn")])
def test_the_plugin_is_registered_once_where_it_is_installed(installed: str, extra: tuple[str, ...]) -> None:
    done = run("properties", "--collect-only", *extra, PYTHONPATH=installed)
    assert "ValueError" not in done.stderr + done.stdout
    if extra:  # switched off, it defines nothing
        assert "fixture 'method' not found" in done.stdout or done.returncode == 0
    else:
        assert done.returncode == 0 and "[hessian-free-sensitivity]" in done.stdout, done.stdout + done.stderr
        for variant in SHIPPED_VARIANTS:
            assert f"[{variant}-sensitivity]" in done.stdout


def test_laws_run_outside_the_checkout_where_the_project_is_installed(installed: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    arguments = ("--pyargs", "properties", "--method", "methods.retrain:Retrain", "-k", "quadratic")
    done = run(*arguments, folder=tmp_path, PYTHONPATH=installed, HYPOTHESIS_PROFILE="ci")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_another_project_is_left_alone(installed: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_theirs.py").write_text(
        "import sys, pytest\n"
        "@pytest.fixture(params=[1, 2])\n"
        "def method(request): return request.param\n"
        "@pytest.mark.parametrize('check', [len])\n"
        "def test_it(method, check):\n    assert method\n"
        "    assert not {'torch', 'hypothesis.strategies', 'unlearning', 'properties'} & {*sys.modules}\n"
    )
    done = run("test_theirs.py", "-p", "no:hypothesispytest", folder=tmp_path, PYTHONPATH=installed)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
    assert "laws of unlearning methods" not in done.stdout


def test_another_projects_options_of_the_same_names_stay_theirs(installed: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(THEIR_OPTIONS)
    (tmp_path / "test_theirs.py").write_text(
        "def test_it(pytestconfig):\n"
        "    assert pytestconfig.getoption('--method') == 'post'\n"
        "    assert pytestconfig.getoption('--device') == 'phone'\n"
    )
    theirs = run("test_theirs.py", "--method=post", folder=tmp_path, PYTHONPATH=installed)
    assert theirs.returncode == 0 and "1 passed" in theirs.stdout, theirs.stdout + theirs.stderr
    ours = ("--pyargs", "properties", "--certunlearn-method=retrain", "--certunlearn-device=cpu", "-k", "quadratic")
    done = run(*ours, "--precision=float64", folder=tmp_path, PYTHONPATH=installed)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_our_options_by_either_name_without_an_installation() -> None:
    both = ("--method=retrain", "--certunlearn-method=hessian-free")
    done = run("properties", *both, "--collect-only", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for name, found in (("retrain", True), ("hessian-free", True), ("newton", False)):
        assert (f"[{name}-order]" in done.stdout) is found, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("--method", "nothing.here:Method"), {}, "--method must name an installed module"),
        (("--device", "toaster"), {}, "--device must be auto, cpu or cuda, got toaster"),
        (("--precision", "float16"), {}, "invalid choice: 'float16'"),
        ((), {"HYPOTHESIS_PROFILE": "weekly"}, "HYPOTHESIS_PROFILE must be one of dev, ci, nightly, got 'weekly'"),
    ],
)
def test_wrong_names_are_refused(arguments: tuple[str, ...], environment: dict[str, str], says: str) -> None:
    done = run("properties", "--collect-only", *arguments, **environment)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("newten", "did you mean newton"),
        ("newton[bound", "--method must be a registered method"),
        ("newton[bond=published]", "did you mean bound"),
    ],
)
def test_what_wrong_names_are_told(target: str, says: str) -> None:
    with pytest.raises(PlanError, match=re.escape(says)):
        load_targets([target], where="--method")


def test_a_mistake_that_breaks_many_laws_is_shown_once(tmp_path: Path) -> None:
    class Raises(Retrain):
        def unlearn(self, state: Any, request: Any, *, streams: Any) -> Any:
            raise KeyError(len(request[0]))

    told: dict[str, str] = {}
    texts = []
    for check in checks(["effect", "order"]):
        with pytest.raises(LawBroken) as caught:
            check(Raises())
        texts.append(breach(check, caught.value, tmp_path, tmp_path, told))
    assert "breaks the law effect" in texts[0] and "breaks the law" not in texts[1]
    assert texts[1].startswith("order: The method raised KeyError: ") and "shown in full for effect." in texts[1]
    assert "Try again  certunlearn replay order-" in texts[1] and len([*tmp_path.iterdir()]) == 2


def test_profiles(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "def pytest_collection_finish(session):\n"
        "    import torch; from hypothesis import settings; s = settings()\n"
        "    print('found', s.max_examples, s.deadline, s.derandomize, torch.get_num_threads())\n"
    )
    arguments = ("conftest.py", "--collect-only", "-p", "probe")
    by_environment = run(*arguments, PYTHONPATH=str(tmp_path), HYPOTHESIS_PROFILE="ci")
    assert "found 100 None True 1" in by_environment.stdout, by_environment.stdout
    by_option = run(*arguments, "--hypothesis-profile=nightly", PYTHONPATH=str(tmp_path), HYPOTHESIS_PROFILE="ci")
    assert "found 2000 None False 1" in by_option.stdout, by_option.stdout
