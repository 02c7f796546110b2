"""From names to code: trust, the user's mistakes, and packages that hide ours."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import certunlearn.loader as loader
import certunlearn.registry as registry
from certunlearn.loader import load_dataset, load_method, load_target, make_method, parse_definitions, resolve_code
from certunlearn.plan import read_plan
from unlearning.errors import HiddenPackage, NotTrusted, PlanError
from unlearning.protocols import Method

ROOT = Path(loader.__file__).parent.parent

METHOD = """
from dataclasses import dataclass, field
from unlearning import Declaration
import beside

@dataclass(frozen=True)
class Mine:
    damping: float = 1.0
    declaration: Declaration = Declaration(title="mine", citation="me")
    def __post_init__(self):
        if self.damping < 0:
            raise ValueError(f"damping must be >= 0, got {self.damping}.")
    def learn(self, task, members, *, streams): ...
    def unlearn(self, state, request, *, streams): ...
    def certify(self, state, request): ...
    def release(self, state, noise_scale, *, streams): ...

class Half:
    def learn(self): ...
    def release(self): ...

class Uncertified:
    declaration = Declaration(title="mine", citation="me")
    def learn(self, task, members, *, streams): ...
    def unlearn(self, state, request, *, streams): ...

@dataclass(frozen=True)
class Single:
    damping: float = 1.0
    declaration = Declaration(title="mine", citation="me")
    def learn(self, features, labels, generator): ...
    def unlearn(self, parameters, features, labels, removed, generator): ...

class Short(Single):
    def learn(self, features): ...

class Reports(Single):
    def diagnostics(self, state): ...

class Undeclared(Mine):
    declaration = "nothing"
    def __init__(self, needed): ...

def records():
    return [[0.0, 1.0], [1.0, 2.0], [2.0, 1.0], [3.0, 5.0], [4.0, 0.0], [5.0, 1.0]], [0, 1, 0, 1, 0, 1]

shape = 3
"""

PLAN = """
title = "mine"
datasets.d = {{source = "function", function = "{function}", holdout = 0.4}}
[tasks.t]
dataset = "d"
model = "softmax"
regularisation = 1
recipe = {{kind = "minimise"}}
request = {{kind = "ids", ids = [0]}}
[[rows]]
name = "a"
task = "t"
method = "{method}"
claim = {{epsilon = 1, delta = 1e-5}}
budget = 1.0
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "beside.py").write_text("")
    return tmp_path


def plan_in(folder, method="mine.py:Mine", function="mine.py:records", defined=()):
    path = folder / "plan.toml"
    path.write_text(PLAN.format(method=method, function=function))
    return read_plan(path, defined=defined)


def test_code_of_a_plan_needs_trust(folder):
    plan = plan_in(folder)
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(NotTrusted) as caught:
        resolve_code(plan, trust=False)
    for fragment in (
        "mine.py:Mine (rows[0].method)",
        "mine.py:records (datasets.d.function)",
        "read that code",
        "--trust",
    ):
        assert fragment in str(caught.value)


def test_trusted_code_is_relative_to_the_plan(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = list(sys.path)
    code = resolve_code(plan_in(folder), trust=True)
    assert sys.path == path
    assert set(code) == {"mine.py:Mine", "mine.py:records"}
    assert code["mine.py:Mine"]().damping == 1.0
    data = load_dataset(plan_in(folder), "d", code, folder=None)
    assert data.features.shape == (4, 3) and data.origin == "function mine.py:records"


def test_names_of_the_command_line_need_no_trust(folder, monkeypatch):
    monkeypatch.chdir(folder)
    defined = parse_definitions(["own=mine.py:Mine", "data=mine.py:records"])
    plan = plan_in(folder, "own", "data", defined)
    code = resolve_code(plan, trust=False, defined=defined)
    assert code["own"].__name__ == "Mine" and callable(code["data"])


@pytest.mark.parametrize("text", ["mine", "mine=x", "=x.py:A", "a:b=x.py:A", "newton=x.py:A"])
def test_bad_definitions(text):
    with pytest.raises(PlanError, match="--define must"):
        parse_definitions([text])
    with pytest.raises(PlanError, match="is taken"):
        parse_definitions(["a=x.py:A", "a=x.py:B"])


def test_shipped_methods_load_without_trust():
    for name in registry.SHIPPED:
        method = load_method(name)
        assert method.__name__ == registry.SHIPPED[name].partition(":")[2]


def test_the_fallback_table_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert registry.SHIPPED == project["entry-points"][registry.GROUP]


@pytest.mark.parametrize(
    ("target", "fragments"),
    [
        ("gone.py:Mine", ["at must name an existing file", '"gone.py:Mine"', "gone.py;"]),
        ("mine.py:Min", ["at must name something in mine.py", "did you mean Mine"]),
        ("mine.py:zzz", ["at must name something", "it has"]),
        ("mine.py", ['at must be "path/to/mine.py:Name"']),
        (":Mine", ['at must be "path/to/mine.py:Name"']),
        ("mine.py:a b", ['at must be "path/to/mine.py:Name"']),
        ("nopackage.mod:Mine", ["at must name an installed module", "no module nopackage", '"path/to/mine.py:Name"']),
        ("json.nomod:Mine", ["at must name an installed module", "no module json.nomod"]),
        ("json:dumped", ["at must name something in json", "did you mean dump"]),
    ],
)
def test_targets_that_are_not_there(folder, target, fragments):
    with pytest.raises(PlanError) as caught:
        load_target(target, folder=folder, where="at")
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "fragments"),
    [
        ("import nosuchthing\n", ["ModuleNotFoundError: No module named 'nosuchthing'", "line 1 of bad.py"]),
        ("x = 1\n\ny = 1 / 0\n", ["ZeroDivisionError: division by zero", "line 3 of bad.py"]),
        ("def f(:\n", ["SyntaxError: invalid syntax", "line 1 of bad.py"]),
        ("raise SystemExit('bye')\n", ["SystemExit: bye"]),
    ],
)
def test_code_that_raises_while_it_is_imported(tmp_path, code, fragments):
    (tmp_path / "bad.py").write_text(code)
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(PlanError) as caught:
            load_target("bad.py:Mine", folder=tmp_path, where="rows[0].method")
        for fragment in ["rows[0].method must name code that can be imported", *fragments]:
            assert fragment in str(caught.value)
    assert str(tmp_path) not in sys.path


def test_installed_code_that_raises(tmp_path, monkeypatch):
    (tmp_path / "raises_on_import.py").write_text("import nosuchthing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PlanError, match="can be imported.*No module named 'nosuchthing'"):
        load_target("raises_on_import:X")


def test_a_file_is_imported_once(folder):
    assert load_target("mine.py:Mine", folder=folder) is load_target("./mine.py:Mine", folder=folder)


@pytest.mark.parametrize(
    ("target", "fragments"),
    [
        ("mine.py:Half", ["learn, unlearn and declaration", "without unlearn, declaration", "OneModel"]),
        ("mine.py:Uncertified", ["without certify, release;", "unlearning.protocols.Method"]),
        ("mine.py:records", ["must name a class", "a function"]),
        ("mine.py:shape", ["must name a class", "a int"]),
    ],
)
def test_classes_that_are_no_methods(folder, target, fragments):
    with pytest.raises(PlanError) as caught:
        load_method(target, folder=folder, where="rows[0].method")
    for fragment in ["rows[0].method must", *fragments]:
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("name", "parameters", "fragments"),
    [
        ("Mine", {"dampin": 1}, ["rows[2].parameters.dampin must be a parameter of Mine", "did you mean damping"]),
        ("Mine", {"damping": -1}, ["rows[2].parameters.damping must suit Mine", "damping = -1: damping must be >= 0"]),
        ("Mine", {"damping": "x"}, ["rows[2].parameters must suit Mine", "not supported"]),
        (
            "Short",
            {},
            ["rows[2] must be a method: Short.learn must take (features, labels, generator), got (features)"],
        ),
        (
            "Reports",
            {},
            ["rows[2] must be a method: Reports.diagnostics must be left out", "new-method NAME --replicas"],
        ),
        ("Single", {"dampin": 1}, ["rows[2].parameters.dampin must be a parameter of Single", "did you mean damping"]),
        ("Undeclared", {}, ["rows[2].parameters.needed must be given for Undeclared"]),
        ("Undeclared", {"needed": 1}, ["rows[2].method must declare itself", "got str"]),
    ],
)
def test_bad_parameters(folder, name, parameters, fragments):
    method = load_method(f"mine.py:{name}", folder=folder)
    with pytest.raises(PlanError) as caught:
        make_method(method, parameters, where="rows[2]")
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_methods_are_made(folder):
    assert make_method(load_method("mine.py:Mine", folder=folder), {"damping": 2}).damping == 2
    for name in registry.SHIPPED:
        assert make_method(load_method(name), {}).declaration.title


def test_a_method_for_one_model_is_lifted(folder):
    made = make_method(load_method("mine.py:Single", folder=folder), {"damping": 2})
    assert isinstance(made, Method) and made.one.damping == 2 and made.declaration.title == "mine"


def test_messages_of_datasets_begin_with_their_place(folder):
    path = folder / "plan.toml"
    text = PLAN.format(method="newton", function="mine.py:records")
    path.write_text(
        text.replace('source = "function", function = "mine.py:records"', 'source = "csv", file = "x.csv", label = 0')
    )
    with pytest.raises(PlanError, match=r"^datasets\.d\.file must be in the folder of data, got 'x.csv'"):
        load_dataset(read_plan(path), "d", {}, folder=folder)
    (folder / "x.csv").write_text("y,x\n" + "".join(f"{i % 2},{i}\n" for i in range(10)))
    data = load_dataset(read_plan(path), "d", {}, folder=folder)
    assert data.name == "d" and data.features.shape == (6, 2) and data.features.dtype is torch.float64


def run(code: str, *folders: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder) for folder in folders)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )


LOADING = "from certunlearn.loader import load_method; print(load_method('retrain'))"


@pytest.mark.parametrize("planted", ["methods/__init__.py", "audit.py"])
def test_a_package_that_hides_ours_is_named(tmp_path, planted):
    path = tmp_path / planted
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    done = run(LOADING, tmp_path, ROOT, cwd=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    name = planted.partition("/")[0]
    assert "HiddenPackage" in last and str(ROOT / name.removesuffix(".py")) in last and str(tmp_path / name) in last
    assert "start certunlearn outside" in last


def test_a_mere_folder_hides_nothing(tmp_path):
    (tmp_path / "methods").mkdir()
    done = run(LOADING, tmp_path, ROOT, cwd=tmp_path)
    assert "methods.retrain.Retrain" in done.stdout, done.stderr


def test_ours_that_hide_the_users_are_named(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "__init__.py").write_text("")
    (tmp_path / "methods" / "own.py").write_text("")
    (tmp_path / "mine.py").write_text("import methods.own\nclass Mine: ...\n")
    with pytest.raises(HiddenPackage) as caught:
        load_target("mine.py:Mine", folder=tmp_path)
    assert str(tmp_path / "methods") in str(caught.value) and str(ROOT / "methods") in str(caught.value)


def test_plans_are_read_without_torch(folder):
    plan_in(folder)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from certunlearn.plan import read_plan; import certunlearn.loader; print(read_plan('plan.toml').title)"
    )
    done = run(code, ROOT, cwd=folder)
    assert done.stdout.strip() == "mine", done.stderr
