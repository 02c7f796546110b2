"""The pytest plugin: one definition of each option, installed or not, and out of the way of other projects."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MINE = """
from dataclasses import dataclass, replace
from methods.retrain import Retrain

@dataclass(frozen=True)
class Mine(Retrain):
    declaration = replace(Retrain.declaration, exempt={"bad_release": "it never releases"})

@dataclass(frozen=True)
class Lazy(Retrain):
    def unlearn(self, state, request, *, streams):
        return replace(super().unlearn(state, request, streams=streams), parameters=state.parameters)

@dataclass(frozen=True)
class Odd(Retrain):
    declaration = replace(Retrain.declaration, exempt={"gravity": "it floats"})
"""


def run(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HYPOTHESIS", "COV"))}
    path = os.pathsep.join(p for p in (environment.pop("PYTHONPATH", ""), str(ROOT)) if p)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=own | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """A folder on the path whose metadata register the plugin, as an installation of the project would."""
    info = tmp_path / "site" / "certunlearn-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: certunlearn\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[pytest11]\ncertunlearn = certunlearn.pytest_plugin\n")
    return str(info.parent)


def test_someones_own_method_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    targets = [f"--method={tmp_path / 'mine.py'}:{name}" for name in ("Mine", "Lazy", "Odd")]
    done = run("properties", *targets, "-k", "bad_release or effect or exemptions", "-rs", HYPOTHESIS_PROFILE="dev")
    assert done.returncode == 1, done.stdout
    assert "bad_release: exempt, it never releases" in done.stdout
    assert "Law broken: effect." in done.stdout and "Problem(" in done.stdout
    assert "got 'gravity'" in done.stdout
    assert "2 failed, 6 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize("extra", [(), ("-p", "no:certunlearn")])
def test_the_plugin_is_registered_once_where_it_is_installed(installed: str, extra: tuple[str, ...]) -> None:
    done = run("properties", "--collect-only", *extra, PYTHONPATH=installed)
    assert "ValueError" not in done.stderr + done.stdout
    if extra:  # switched off, it defines nothing
        assert "fixture 'method' not found" in done.stdout or done.returncode == 0
    else:
        assert done.returncode == 0 and "[hessian-free-sensitivity]" in done.stdout, done.stdout + done.stderr


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
        "def test_it(method):\n    assert method\n"
        "    assert 'torch' not in sys.modules and 'hypothesis.strategies' not in sys.modules\n"
    )
    done = run("test_theirs.py", "-p", "no:hypothesispytest", folder=tmp_path, PYTHONPATH=installed)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("--method", "nothing.here:Method"), {}, "--method must name an installed module"),
        ((), {"HYPOTHESIS_PROFILE": "weekly"}, "HYPOTHESIS_PROFILE must be one of dev, ci, nightly, got 'weekly'"),
    ],
)
def test_wrong_names_are_refused(arguments: tuple[str, ...], environment: dict[str, str], says: str) -> None:
    done = run("properties", "--collect-only", *arguments, **environment)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr and "INTERNALERROR" not in done.stdout + done.stderr


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
