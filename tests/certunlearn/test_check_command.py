"""`certunlearn check` and `certunlearn replay` from outside: a broken method, its file, its repair, every mistake."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from certunlearn.cli import app, main
from certunlearn.interruption import Interruption
from properties import LAWS
from properties.parametrize import Check
from properties.profiles import PROFILES

BROKEN = '''
"""A Newton step that certifies a fifth of its Δ."""

from dataclasses import dataclass, replace

from methods.sekhari2021newton import NewtonStep


@dataclass(frozen=True)
class Mine(NewtonStep):
    share: float = 0.2

    declaration = replace(
        NewtonStep.declaration,
        title="Mine",
        exact_on_quadratics=False,
        exempt={"effect": "it is the identity on purpose", "order": "it is the identity on purpose"},
    )

    def certify(self, state, request):
        honest = super().certify(state, request)
        if honest is None:
            return None
        return replace(honest, sensitivity_upper=tuple(self.share * upper for upper in honest.sensitivity_upper))
'''
OTHERS = """

class Arguments(NewtonStep):
    def __init__(self, strength, decay): ...


class Leaves(NewtonStep):
    def __init__(self): raise SystemExit(0)
"""
OUT = Path("out/counterexamples")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder with a broken method in it, and the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PROFILES, "dev", 10)
    (tmp_path / "mine.py").write_text(BROKEN, encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command: exit status, what it prints, what stderr says."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["certunlearn", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def rows(out: str) -> dict[str, str]:
    """Outcomes by law, from the table."""
    found = re.findall(
        r"^(\w+(?:-float32)?)  +(not broken|BROKEN|raised|exempt|does not apply|ERROR)", out, re.MULTILINE
    )
    return dict(found)


def test_a_broken_method_its_file_and_its_repair(call: Call, folder: Path) -> None:
    status, out, err = call("check", "mine.py:Mine", "--law", "sensitivity", "--law", "effect", "--law", "quadratic")
    assert status == 1
    assert rows(out) == {"sensitivity": "BROKEN", "effect": "exempt", "quadratic": "does not apply"}
    assert "it is the identity on purpose" in out and "does not declare to be exact" in out
    assert "mine.py:Mine breaks the law sensitivity" in out and "exceeds the certified" in out
    assert "proves nothing" in out and "pass" not in out.lower()
    assert "1 of 3: mine.py:Mine: sensitivity" in err
    [path] = (folder / OUT).iterdir()
    assert f"certunlearn replay {path.relative_to(folder)} --trust" in out
    assert len(json.loads(path.read_text(encoding="utf-8"))["data"]["features"]) <= 4  # small enough to follow

    status, out, err = call("replay", str(path))
    assert (status, out) == (2, "") and "--trust" in err and len(err.splitlines()) == 1
    status, out, _ = call("replay", str(path), "--trust")
    assert status == 1 and "mine.py:Mine: still broken." in out and "file" in out and "now" in out
    status, out, _ = call("replay", str(path), "--method", "mine.py:Mine[share=1.0]")
    assert status == 0 and "mine.py:Mine[share=1.0]: no longer broken on this problem" in out
    status, out, _ = call("replay", str(path), "--method", "newton")
    assert status == 0


def test_the_whole_way_in_processes_of_their_own(folder: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "nightly"}
        command = [sys.executable, "-m", "certunlearn", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, env=environment)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    status, out = run("check", "mine.py:Mine", "--law", "sensitivity", "--law", "bad_release", "--out", "found")
    assert status == 1 and rows(out) == {"sensitivity": "BROKEN", "bad_release": "not broken"}
    [path] = (folder / "found").iterdir()
    assert {entry.name for entry in folder.iterdir()} <= {"mine.py", "found", "__pycache__"}
    assert run("replay", str(path), "--trust")[0] == 1
    (folder / "mine.py").write_text(BROKEN.replace("0.2", "1.0"), encoding="utf-8")
    status, out = run("replay", str(path), "--trust")
    assert status == 0 and "no longer broken" in out and "distance / Δ is" in out


def test_a_registered_method_needs_no_trust(call: Call, folder: Path) -> None:
    call("check", "mine.py:Mine", "--law", "sensitivity")
    [path] = (folder / OUT).iterdir()
    content = json.loads(path.read_text(encoding="utf-8"))
    content["method"] |= {"target": "newton", "parameters": {"bound": "published"}}
    path.write_text(json.dumps(content), encoding="utf-8")
    status, out, _ = call("replay", str(path))
    headline = "sensitivity was broken by newton[bound=published]; tried again with newton[bound=published]"
    assert status == 0 and headline in " ".join(out.split())


def test_all_laws_of_a_shipped_method(call: Call) -> None:
    status, out, _ = call("check", "retrain", "--profile", "dev")
    assert status == 0 and list(rows(out)) == list(LAWS)
    assert set(rows(out).values()) <= {"not broken", "does not apply", "exempt"}


def test_both_precisions(call: Call) -> None:
    laws = ("--law", "sensitivity", "--law", "release")
    status, out, _ = call("check", "retrain", "--precision", "both", *laws)
    assert status == 0 and list(rows(out)) == ["sensitivity", "sensitivity-float32", "release"]
    _, out, _ = call("check", "retrain", "--precision", "float32", *laws)
    assert list(rows(out)) == ["sensitivity-float32"]


def test_several_methods_with_parameters_have_a_table_each(call: Call) -> None:
    law = ("--law", "bad_release")
    status, out, _ = call("check", "newton[bound=published]", "hessian-free", "mine.py:Mine[share=1.0]", *law)
    assert status == 0
    titles = re.findall(r"^(\S+) · .* · cpu, profile dev", out, re.MULTILINE)
    assert titles == ["newton[bound=published]", "hessian-free", "mine.py:Mine[share=1.0]"]


def test_nothing_is_left_behind(call: Call, folder: Path) -> None:
    before = settings.get_current_profile_name()
    call("check", "retrain", "--law", "effect")
    assert {entry.name for entry in folder.iterdir()} <= {"mine.py", "__pycache__"}
    assert settings.get_current_profile_name() == before


def test_only_exempt_laws_are_not_success(call: Call) -> None:
    status, out, _ = call("check", "mine.py:Mine", "--law", "effect", "--law", "order")
    assert status == 3 and rows(out) == {"effect": "exempt", "order": "exempt"}


def test_a_search_that_fails_is_an_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("of the search")

    monkeypatch.setattr(Check, "__call__", fails)
    status, out, _ = call("check", "mine.py:Mine", "--law", "sensitivity", "--law", "effect")
    assert status == 4 and rows(out) == {"sensitivity": "ERROR", "effect": "exempt"}
    assert "RuntimeError: of the search" in out


def test_a_method_that_raises_on_a_problem_breaks_the_law(call: Call, folder: Path) -> None:
    code = BROKEN + "\n    def unlearn(self, state, request, *, streams):\n        raise KeyError('[bold]gone')\n"
    (folder / "mine.py").write_text(code, encoding="utf-8")
    status, out, _ = call("check", "mine.py:Mine", "--law", "sensitivity")
    assert status == 1 and "The method raised KeyError: '[bold]gone'" in out


def test_a_method_that_is_broken_now_and_then_is_told(call: Call, folder: Path) -> None:
    restless = """
    def unlearn(self, state, request, *, streams):
        after = super().unlearn(state, request, streams=streams)
        return replace(after, parameters=after.parameters + 1.0) if next(_turns) % 7 == 0 else after
"""
    code = BROKEN.replace("@dataclass(", "import itertools\n\n_turns = itertools.count(1)\n\n\n@dataclass(", 1)
    (folder / "mine.py").write_text(code + restless, encoding="utf-8")
    status, out, _ = call("check", "mine.py:Mine", "--law", "empty_request", "--profile", "ci")
    assert status == 1 and rows(out) == {"empty_request": "BROKEN"}
    assert "Tried again, the same problem gave something else." in " ".join(out.split())
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mine.py:Mine", "--law", "gravity"), "--law"),
        (("mine.py:Mine", "--law", "sensitivty"), "did you mean sensitivity"),
        (("mine.py:Mine", "--profile", "weekly"), "--profile must be one of dev, ci, nightly"),
        (("mine.py:Mine", "--device", "tpu"), "--device must be auto, cpu or cuda"),
        (("mine.py:Mine", "--law", "release", "--precision", "float32"), "tried in float32"),
        (("mine.py:Mine", "--out", "mine.py"), "--out must be a folder"),
        (("mine.py:Mime",), "did you mean Mine"),
        (("nobody.py:Mine",), "existing file"),
        (("newtom",), "did you mean newton"),
        (("newton[bound=nonsense]",), "bound"),
        (("newton[bound",), "TARGET"),
        (("no.such.module:Mine",), "installed module"),
        (("nobody.py:Mine",), "which starts at the current folder."),
        (("mine.py",), "name its class too: mine.py:Class"),
        (("mine.py:Arguments",), "write mine.py:Arguments[strength=…,decay=…]"),
        (("mine.py:Mine[shore=1.0]",), "TARGET: shore must be a parameter of Mine"),
        (("mine.py:Leaves",), "TARGET must suit Leaves, got {}: SystemExit: 0"),
    ],
)
def test_every_mistake_is_one_line(arguments: tuple[str, ...], says: str, call: Call, folder: Path) -> None:
    (folder / "mine.py").write_text(BROKEN + OTHERS, encoding="utf-8")
    status, out, err = call("check", *arguments)
    assert (status, out) == (2, "") and says in err and len(err.splitlines()) == 1 and "Traceback" not in err


def test_exemptions_must_name_laws(call: Call, folder: Path) -> None:
    (folder / "mine.py").write_text(BROKEN.replace('"effect":', '"affect":'), encoding="utf-8")
    status, _, err = call("check", "mine.py:Mine")
    assert status == 2 and "declaration.exempt of mine.py:Mine must map laws" in err and "'affect'" in err


def test_bad_files_are_one_line(call: Call, folder: Path) -> None:
    (folder / "other.json").write_text("{}", encoding="utf-8")
    for name in ("other.json", "none.json", "."):
        status, out, err = call("replay", name)
        assert (status, out) == (2, "") and len(err.splitlines()) == 1


def test_a_file_whose_method_cannot_be_built_says_so(call: Call, folder: Path) -> None:
    call("check", "mine.py:Mine", "--law", "sensitivity")
    [path] = (folder / OUT).iterdir()
    content = json.loads(path.read_text(encoding="utf-8"))
    content["method"]["unwritable"] = ["inner"]
    path.write_text(json.dumps(content), encoding="utf-8")
    status, _, err = call("replay", str(path), "--trust")
    assert status == 2 and "without inner" in err and "--method" in err


def test_a_law_that_is_not_tried_again_has_a_status_of_its_own(call: Call, folder: Path) -> None:
    call("check", "mine.py:Mine", "--law", "sensitivity")
    [path] = (folder / OUT).iterdir()
    content = json.loads(path.read_text(encoding="utf-8"))
    content["data"]["features"][0][0] += 0.5
    path.write_text(json.dumps(content), encoding="utf-8")
    status, out, _ = call("replay", str(path), "--trust")
    assert status == 3 and "not tried." in out and "the file's are what broke the law" in " ".join(out.split())


def test_an_interruption_that_a_method_swallows_still_counts(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interruption, "seen", True)
    status, out, err = call("check", "mine.py:Mine", "--law", "sensitivity")
    assert (status, out) == (130, "") and "Interrupted: nothing was written." in err
    assert not OUT.exists()


def test_a_device_that_is_not_here_is_one_line(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("check", "mine.py:Mine", "--law", "sensitivity", "--device", "cpu")
    [path] = (folder / OUT).iterdir()
    content = json.loads(path.read_text(encoding="utf-8")) | {"device": "cuda:0"}
    path.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, _, err = call("replay", str(path), "--trust")
    assert status == 2 and "write --device cpu" in err and len(err.splitlines()) == 1
    assert call("replay", str(path), "--trust", "--device", "cpu")[0] == 1


def mended(folder: Path, *bodies: str) -> None:
    """Write a method whose certificate is honest, with other parts as given."""
    code = BROKEN.replace("0.2", "1.0") + "".join(f"\n    {body}\n" for body in bodies)
    (folder / "mine.py").write_text(code, encoding="utf-8")


@pytest.mark.parametrize(
    "body",
    [
        "def unlearn(self, state, request, *, streams): raise SystemExit(0)",
        "def learn(self, task, members, *, streams): raise SystemExit(0)",
        "def certify(self, state, request): raise SystemExit(0)",
    ],
)
def test_a_method_that_exits_breaks_the_law(body: str, call: Call, folder: Path) -> None:
    mended(folder, body)
    status, out, _ = call("check", "mine.py:Mine", "--law", "sensitivity")
    assert status == 1 and rows(out) == {"sensitivity": "raised"} and "The method raised SystemExit: 0" in out
    [path] = (folder / OUT).iterdir()
    assert call("replay", str(path), "--trust")[0] == 1


def test_a_method_for_one_model_that_exits_breaks_the_law(call: Call, folder: Path) -> None:
    one = """
from unlearning import Declaration

class One:
    declaration = Declaration(title="One\\x1b[2J\\nmodel", citation="none")
    def learn(self, features, labels, generator): return features.mean(0)
    def unlearn(self, parameters, features, labels, removed, generator): raise SystemExit(0)
"""
    (folder / "one.py").write_text(one, encoding="utf-8")
    status, out, _ = call("check", "one.py:One", "--law", "effect")
    assert status == 1 and "unlearn of One raised SystemExit at one.py" in out
    assert "\x1b" not in out and "One\N{REPLACEMENT CHARACTER}[2J model · cpu" in out  # whoever wrote the title


def test_code_that_exits_elsewhere_is_no_success(call: Call, folder: Path) -> None:
    mended(folder, "@property\n    def declaration(self): raise SystemExit(0)")
    status, _, err = call("check", "mine.py:Mine", "--law", "effect")
    assert status == 4 and "ended the program (SystemExit: 0)" in err and len(err.splitlines()) == 1


def test_an_interruption_of_a_method_interrupts(call: Call, folder: Path) -> None:
    mended(folder, "def unlearn(self, state, request, *, streams): raise KeyboardInterrupt")
    status, out, err = call("check", "mine.py:Mine", "--law", "sensitivity")
    assert (status, out) == (130, "") and "Interrupted: nothing was written." in err


def test_an_interruption_leaves_what_was_found(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Check.__call__

    def stops(check: Check, method: object, *, device: str | None = None) -> object:
        if check.name == "sensitivity":
            return search(check, method, device=device)
        raise KeyboardInterrupt

    monkeypatch.setattr(Check, "__call__", stops)
    laws = ("--law", "sensitivity", "--law", "bad_release")
    status, out, err = call("check", "mine.py:Mine", "retrain", *laws)
    assert status == 130 and rows(out) == {"sensitivity": "BROKEN"} and "breaks the law sensitivity" in out
    assert f"Interrupted: 1 of 4 laws were tried, 1 counterexample kept in {OUT}." in err
    [path] = (folder / OUT).iterdir()
    assert f"certunlearn replay {path.relative_to(folder)} --trust" in out and "retrain ·" not in out


def test_a_mistake_that_breaks_many_laws_is_shown_once(call: Call, folder: Path) -> None:
    mended(
        folder,
        "def unlearn(self, state, request, *, streams): raise KeyError(len(request[0]))",
        "def release(self, state, noise_scale, *, streams): raise KeyError('other')",
    )
    laws = ("sensitivity", "inputs_untouched", "bad_release")
    status, out, _ = call("check", "mine.py:Mine", *(word for law in laws for word in ("--law", law)))
    assert status == 1 and set(rows(out).values()) == {"raised"} and rows(out).keys() == {*laws}
    assert out.count("breaks the law") == 2 and "  also      the same in inputs_untouched, a file each" in out
    assert "KeyError: 'other'" in out and len([*(folder / OUT).iterdir()]) == 3


def test_what_is_no_terminal_gets_lines_of_one_width_without_blanks_at_their_ends(call: Call) -> None:
    _, out, _ = call("check", "mine.py:Mine", "retrain", "--law", "sensitivity", "--law", "effect", "--law", "order")
    assert max(map(len, out.splitlines())) <= 120
    assert all(line == line.rstrip() for line in out.splitlines())


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_knows_no_greek_letters_gets_an_answer(encoding: str, folder: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    found = []
    for command in (
        ("check", "mine.py:Mine", "--law", "sensitivity"),
        ("power", "--epsilon", "1", "--delta", "1e-5", "--replicas", "100", "--rung", "A"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "certunlearn", *command],
            capture_output=True,
            cwd=folder,
            env=environment,
            timeout=300,
        )
        assert b"Traceback" not in done.stderr
        found.append((done.returncode, done.stdout.decode(encoding)))
    assert found[0][0] == 1 and "breaks the law sensitivity" in found[0][1]
    assert found[1][0] == 0 and "Claim: ? = 1 at ? = 1e-05" in found[1][1]


def test_help_is_for_users(call: Call) -> None:
    names = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    assert "check" in names
    for name in names:
        status, out, _ = call(name.replace("_", "-"), "--help")
        assert status == 0 and "Usage" in out and "Raises" not in out and "PlanError" not in out
