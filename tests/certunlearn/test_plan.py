"""Audit plans: what one says when it is wrong, in one line, and what it means when it is right."""

import json
import tomllib
from dataclasses import dataclass

import numpy as np
import pytest

from certunlearn.plan import Plan, check_requests, code_targets, parse_plan, read_plan, resolve_request
from certunlearn.plan.tasks import ClassRequest, IdsRequest, RandomRequest
from unlearning.claim import Reference
from unlearning.errors import PlanError
from unlearning.tradeoff import Directions
from unlearning.verdict import Verdict

GOOD = """
title = "Newton on digits"

[datasets.digits]
source = "digits"
rows = 300

[tasks.softmax]
dataset = "digits"
model = "softmax"
regularisation = 0.1
recipe = {kind = "minimise"}
request = {kind = "random", size = 5}

[[rows]]
name = "newton"
task = "softmax"
method = "newton"
claim = {epsilon = 1.0, delta = 1e-5}
budget = "prior"
"""

ROW = GOOD[GOOD.index("[[rows]]") :]
SGD = 'recipe = {kind = "sgd", epochs = 1, batch_size = 8, step_size = 0.1}'
ADAM = 'recipe = {kind = "adam", epochs = 1, batch_size = 8, step_size = 0.1, first = 0.9}'
CSV = 'source = "csv"\nfile = "x.csv"\nlabel = "y"'
NPZ = 'source = "npz"\nfile = "x.npz"\nfeatures = "a"\nlabels = "b"'


def parse(text: str, **options) -> Plan:
    return parse_plan(tomllib.loads(text), **options)


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_defaults():
    plan = parse(GOOD)
    row = plan.rows[0]
    assert (plan.seed, plan.failure_probability, plan.control_failure_probability) == (0, 0.01, 0.001)
    assert plan.family == "row" and row.expect is Verdict.NOT_REFUTED and row.rungs == ("A", "B", "C")
    assert row.claim.kind == "gaussian" and row.claim.directions is Directions.BOTH and row.claim.reference is None
    assert row.replicas.test == 500 and row.replicas.selection == 200 and row.release_calls == 4096
    assert row.controls == ("no-op", "tenth-noise", "half-noise", "frozen-noise", "retrained")
    assert plan.datasets["digits"].norm == 1.0


def test_the_canonical_form_is_json_with_defaults_and_reads_back():
    plan = parse(GOOD)
    form = plan.canonical()
    assert json.loads(json.dumps(form, allow_nan=False)) == form
    assert form["rows"][0]["calibration"] == "analytic" and form["rows"][0]["expect"] == "NOT_REFUTED"
    assert parse_plan(form) == plan and parse_plan(form).canonical() == form
    assert parse(changed('title = "Newton on digits"', 'title = "Newton on digits"\nseed = 0')).canonical() == form


FULL = """
title = "all of it"
seed = 3
failure_probability = 0.05
control_failure_probability = 0.01
family = "plan"
[datasets.a]
source = "npz"
file = "sub/x.npz"
features = "a"
labels = "b"
holdout_features = "c"
holdout_labels = "d"
[datasets.b]
source = "csv"
file = "x.csv"
label = -1
header = false
columns = [0, 2]
missing = "?"
delimiter = ";"
norm = "none"
bias = false
[datasets.c]
source = "function"
function = "mine.py:records"
holdout = 0.5
standardise = false
split_seed = 2
remark = "made"
[tasks.one]
dataset = "a"
model = "mlp"
hidden = [16, 8]
recipe = {kind = "sgd", epochs = 2, batch_size = 32, step_size = 1, decay = 0.99, momentum = 0.5, divisor = "fixed"}
request = {kind = "ids", ids = [3, 1]}
[tasks."two of them"]
dataset = "c"
model = "module"
function = "pack.mod:net"
dtype = "float32"
recipe = {kind = "sgd", epochs = 2, batch_size = 32, step_size = 1}
request = {kind = "class", label = 1}
[[rows]]
name = "first"
task = "one"
method = "mine.py:Mine"
parameters = {damping = 1, deep = {list = [1, "a", true]}}
noise_scale = 1e-3
rungs = ["C"]
replicas = {test = 20, selection = 10}
controls = []
expect = "REFUTED"
[rows.claim]
epsilon = 1
delta = 1e-5
kind = "epsilon-delta"
directions = "released"
reference = "empty request"
seed_policy = "marginal"
[[rows]]
name = "second"
task = "two of them"
method = "retrain"
claim = {epsilon = 0, delta = 1e-5}
budget = 0
"""


def test_every_key():
    plan = parse(FULL)
    assert parse_plan(plan.canonical()) == plan
    assert plan.tasks["one"].activation == "tanh" and plan.tasks["two of them"].activation is None
    assert plan.rows[0].claim.directions is Directions.RELEASED
    assert plan.rows[0].claim.reference is Reference.EMPTY_REQUEST
    assert plan.datasets["b"].norm is None
    assert [tuple(code) for code in code_targets(plan)] == [
        ("datasets.c.function", "mine.py:records"),
        ('tasks."two of them".function', "pack.mod:net"),
        ("rows[0].method", "mine.py:Mine"),
    ]


# old text, new text, fragments of the one line
BAD = [
    ("epsilon = 1.0", "epsilonn = 1.0", ["rows[0].claim.epsilonn", 'got "epsilonn"', "did you mean epsilon"]),
    ("epsilon = 1.0, ", "", ["rows[0].claim.epsilon must be given", "got nothing", "epsilon = 1.0"]),
    ("epsilon = 1.0", 'epsilon = "1"', ["rows[0].claim.epsilon must be a number", 'got "1"']),
    ("epsilon = 1.0", "epsilon = true", ["rows[0].claim.epsilon must be a number", "got true"]),
    ("epsilon = 1.0", "epsilon = nan", ["rows[0].claim.epsilon must be a finite number", "got nan"]),
    ("epsilon = 1.0", "epsilon = inf", ["rows[0].claim.epsilon must be a finite number", "got inf"]),
    ("epsilon = 1.0", "epsilon = -0.5", ["rows[0].claim.epsilon must be >= 0", "got -0.5"]),
    ("epsilon = 1.0", "epsilon = 0", ["rows[0].claim.epsilon must be > 0 for any method but", "got 0"]),
    ("delta = 1e-5", "delta = 1.5", ["rows[0].claim.delta must be in (0, 1)", "got 1.5", "delta = 1e-5"]),
    ("delta = 1e-5", "delta = 0", ["rows[0].claim.delta must be in (0, 1)", "got 0"]),
    ("delta = 1e-5", "delta = 1e-5, kind = 'gauss'", ["rows[0].claim.kind", 'did you mean "gaussian"']),
    ("delta = 1e-5", "delta = 1e-5, directions = 'up'", ["rows[0].claim.directions must be one of", 'got "up"']),
    ("delta = 1e-5", "delta = 1e-5, directions = 'released'", ['must be "both" for kind', 'kind = "epsilon-delta"']),
    ("delta = 1e-5", "delta = 1e-5, reference = 'x'", ["claim.reference must be one of", '"empty request"']),
    ("delta = 1e-5", "delta = 1e-5, seed_policy = 3", ["claim.seed_policy must be one of", "got 3"]),
    ("claim = {epsilon = 1.0, delta = 1e-5}", "claim = 1.0", ["rows[0].claim must be a table", "got 1.0"]),
    ("claim = {epsilon = 1.0, delta = 1e-5}", "", ["rows[0].claim must be given", "claim = {epsilon"]),
    ('budget = "prior"', "", ["rows[0].budget must be given exactly when", 'got "neither"', "noise_scale = 1e-3"]),
    ('budget = "prior"', 'budget = "prior"\nnoise_scale = 1.0', ["rows[0].budget must be given", 'got "both"']),
    ('budget = "prior"', 'budget = "post"', ['rows[0].budget must be a finite number >= 0 or "prior"', 'got "post"']),
    ('budget = "prior"', "budget = nan", ["rows[0].budget must be a finite number", "got nan"]),
    ('budget = "prior"', "budget = 0", ["rows[0].budget must be > 0 for any method but", "got 0"]),
    ('budget = "prior"', "noise_scale = 0.0", ["rows[0].noise_scale must be > 0", "got 0.0"]),
    ('budget = "prior"', "noise_scale = -1", ["rows[0].noise_scale must be >= 0", "got -1"]),
    ('method = "newton"', 'method = "newtn"', ["rows[0].method must be the name of a method", "did you mean newton"]),
    ('method = "newton"', "", ["rows[0].method must be given"]),
    ('method = "newton"', 'method = "newton"\nexpect = "PASS"', ["rows[0].expect must be one of", 'got "PASS"']),
    ('method = "newton"', 'method = "newton"\ncalibration = "exact"', ["rows[0].calibration", '"analytic"']),
    ('method = "newton"', 'method = "newton"\nrungs = []', ["rows[0].rungs must be of at least one entry"]),
    ('method = "newton"', 'method = "newton"\nrungs = ["A", "A"]', ["rows[0].rungs must be without repeated"]),
    ('method = "newton"', 'method = "newton"\nrungs = ["Z"]', ["rows[0].rungs[0] must be", 'got "Z"']),
    ('method = "newton"', 'method = "newton"\nrungs = "A"', ["rows[0].rungs must be an array", 'got "A"']),
    ('method = "newton"', 'method = "newton"\ncontrols = ["noop"]', ["rows[0].controls[0]", 'did you mean "no-op"']),
    ('method = "newton"', 'method = "newton"\nreplicas = {test = 1}', ["rows[0].replicas.test must be >= 2", "got 1"]),
    ('method = "newton"', 'method = "newton"\nreplicas = {tests = 9}', ["replicas.tests", "did you mean test"]),
    ('method = "newton"', 'method = "newton"\nrelease_calls = 1', ["rows[0].release_calls must be >= 2", "got 1"]),
    (
        'method = "newton"',
        'method = "newton"\nparameters = {a = [1, nan]}',
        ["rows[0].parameters.a[1] must be a finite"],
    ),
    (
        'method = "newton"',
        'method = "newton"\nparameters = {a = 1979-05-27}',
        ["parameters.a must be a number, string"],
    ),
    ('method = "newton"', 'method = "newton"\nparameters = 1', ["rows[0].parameters must be a table", "got 1"]),
    ('task = "softmax"', 'task = "softmx"', ["rows[0].task must be the name of a task", "did you mean softmax"]),
    ('name = "newton"', 'name = "a/b"', ["rows[0].name must be a name of 1 to 80", "rename it"]),
    (ROW, ROW + ROW, ["rows[1].name must be a name that no other row has", 'got "newton"']),
    (ROW, "", ["rows must be given", "[[rows]]"]),
    (ROW, "rows = []", ["tasks.softmax.rows must be a key of a plan"]),
    ("[[rows]]", "[rows]", ["rows must be an array", "got a table"]),
    ("title =", "titel =", ["titel must be a key of a plan", "did you mean title"]),
    ('title = "Newton on digits"', "", ["title must be given", "got nothing"]),
    ('title = "Newton on digits"', 'title = ""', ["title must be a string that is not empty"]),
    ('title = "Newton on digits"', "title = 3", ["title must be a string", "got 3"]),
    ("title =", "seed = -1\ntitle =", ["seed must be >= 0", "got -1"]),
    ("title =", "seed = 0.5\ntitle =", ["seed must be a whole number", "got 0.5"]),
    ("title =", "seed = true\ntitle =", ["seed must be a whole number", "got true"]),
    ("title =", 'family = "all"\ntitle =', ["family must be", '"row"', 'got "all"']),
    ("title =", "failure_probability = 1\ntitle =", ["failure_probability must be in (0, 1)", "got 1"]),
    ("title =", "control_failure_probability = nan\ntitle =", ["control_failure_probability must be a finite"]),
    ('source = "digits"', 'source = "digit"', ["datasets.digits.source must be one of", 'did you mean "digits"']),
    ('source = "digits"', "", ["datasets.digits.source must be given", 'source = "digits"']),
    ("rows = 300", "rows = 0", ["datasets.digits.rows must be >= 2", "got 0"]),
    ("rows = 300", "rows = 300.0", ["datasets.digits.rows must be a whole number", "got 300.0"]),
    ("rows = 300", 'file = "x.npz"', ["datasets.digits.file must be a key of a plan", "known: bias"]),
    ("rows = 300", "holdout = 1.0", ["datasets.digits.holdout must be in (0, 1)"]),
    ("rows = 300", "norm = 0.0", ["datasets.digits.norm must be > 0", '"none"']),
    ("rows = 300", "standardise = 1", ["datasets.digits.standardise must be true or false", "got 1"]),
    ('source = "digits"', NPZ.replace("x.npz", "../x.npz"), ["datasets.digits.file must be", "relative", "--data DIR"]),
    ('source = "digits"', NPZ.replace("x.npz", "/x.npz"), ["datasets.digits.file must be", 'got "/x.npz"']),
    ('source = "digits"', NPZ.replace("x.npz", "c:x.npz"), ["datasets.digits.file must be", 'got "c:x.npz"']),
    ('source = "digits"', NPZ.replace('labels = "b"', ""), ["datasets.digits.labels must be given"]),
    ('source = "digits"', NPZ + '\nholdout_labels = "c"', ["datasets.digits.holdout_features must be given"]),
    ('source = "digits"', CSV.replace('"y"', "1.5"), ["datasets.digits.label must be the name or the number"]),
    ('source = "digits"', CSV + '\ncolumns = ["a", "a"]', ["datasets.digits.columns must be without repeated"]),
    ('source = "digits"', CSV + '\ncolumns = ["a", true]', ["datasets.digits.columns[1] must be the name"]),
    ('source = "digits"', 'source = "function"\nfunction = "build"', ["datasets.digits.function", "--define build="]),
    ('dataset = "digits"', 'dataset = "mnist"', ["tasks.softmax.dataset must be the name of a dataset", "digits"]),
    ('model = "softmax"', 'model = "sofmax"', ["tasks.softmax.model", 'did you mean "softmax"']),
    ('model = "softmax"', 'model = "mlp"', ["tasks.softmax.hidden must be given", "hidden = [16]"]),
    ('model = "softmax"', 'model = "module"', ["tasks.softmax.function must be given", '"module"']),
    ('model = "softmax"', 'model = "softmax"\nhidden = [16]', ["tasks.softmax.hidden must be left out unless"]),
    ('model = "softmax"', 'model = "mlp"\nhidden = [16, 0]', ["tasks.softmax.hidden[1] must be >= 1", "got 0"]),
    ('model = "softmax"', 'model = "mlp"\nhidden = [16]', ["tasks.softmax.recipe.kind must be", "no unique minimiser"]),
    ("regularisation = 0.1", "regularisation = -0.1", ["tasks.softmax.regularisation must be >= 0", "got -0.1"]),
    ("regularisation = 0.1", "", ["tasks.softmax.regularisation must be > 0 where a unique minimiser"]),
    ('recipe = {kind = "minimise"}', "", ["tasks.softmax.recipe must be given"]),
    ('recipe = {kind = "minimise"}', "recipe = {}", ["tasks.softmax.recipe.kind must be given"]),
    ('"minimise"', '"minimize"', ["tasks.softmax.recipe.kind must be one of", 'did you mean "minimise"']),
    ('"minimise"', '"minimise", tolerance = 0.0', ["tasks.softmax.recipe.tolerance must be > 0"]),
    ('recipe = {kind = "minimise"}', SGD.replace("epochs = 1", "epochs = 0"), ["recipe.epochs must be >= 1", "got 0"]),
    ('recipe = {kind = "minimise"}', SGD.replace("0.1", "inf"), ["recipe.step_size must be a finite", "got inf"]),
    ('recipe = {kind = "minimise"}', SGD.replace("0.1", "0.1, momentum = 1"), ["recipe.momentum must be < 1", "got 1"]),
    ('recipe = {kind = "minimise"}', SGD.replace("0.1", "0.1, decay = 2"), ["recipe.decay must be <= 1", "got 2"]),
    ('recipe = {kind = "minimise"}', SGD.replace("0.1", "0.1, epoch = 2"), ["recipe.epoch", "did you mean epochs"]),
    ('recipe = {kind = "minimise"}', SGD.replace("0.1", "0.1, radius = 0.0"), ["recipe.radius must be > 0"]),
    ('recipe = {kind = "minimise"}', ADAM.replace("0.9", "1.0"), ["recipe.first must be < 1", "got 1"]),
    ('recipe = {kind = "minimise"}', ADAM.replace("0.9", "0.9, momentum = 0.5"), ["recipe.momentum must be a key"]),
    ("size = 5", "size = 5, parts = 0", ["tasks.softmax.request.parts must be >= 1", "got 0"]),
    ("size = 5", "size = 0", ["tasks.softmax.request.size must be >= 1", "got 0"]),
    ("size = 5", "size = 300", ["tasks.softmax.request.size must be < 300", "got 300", "delete fewer"]),
    ("size = 5", "sise = 5", ["tasks.softmax.request.sise", "did you mean size"]),
    ('{kind = "random", size = 5}', "5", ["tasks.softmax.request must be a table", "got 5"]),
    ('{kind = "random", size = 5}', '{kind = "ids", ids = []}', ["tasks.softmax.request.ids must be of at least one"]),
    ('{kind = "random", size = 5}', '{kind = "ids", ids = [1, 1]}', ["request.ids must be without repeated", "[1, 1]"]),
    ('{kind = "random", size = 5}', '{kind = "ids", ids = [1, -1]}', ["request.ids[1] must be >= 0", "got -1"]),
    ('{kind = "random", size = 5}', '{kind = "ids", ids = [1, 300]}', ["request.ids[1] must be < 300", "from 0"]),
    ('{kind = "random", size = 5}', '{kind = "class", label = -1}', ["request.label must be >= 0", "got -1"]),
    ("[tasks.softmax]", '[tasks."a/b"]', ['tasks."a/b" must be a name of 1 to 80']),
]


@pytest.mark.parametrize(("old", "new", "fragments"), BAD, ids=range(len(BAD)))
def test_bad_plans(old, new, fragments):
    with pytest.raises(PlanError) as caught:
        parse(changed(old, new))
    message = str(caught.value)
    for fragment in fragments:
        assert fragment in message
    assert "\n" not in message and len(message) < 300
    assert " must be " in message and ", got " in message and "; " in message and message.endswith(".")


def test_the_classical_calibration_is_for_small_epsilon():
    text = changed("epsilon = 1.0", "epsilon = 3.0").replace(
        'budget = "prior"', 'budget = 1e-3\ncalibration = "classical"'
    )
    with pytest.raises(PlanError, match=r'rows\[0\].calibration must be "analytic" unless'):
        parse(text)


def test_names_of_the_command_line_are_methods_and_functions():
    assert parse(changed('method = "newton"', 'method = "mine"'), defined={"mine"}).rows[0].method == "mine"
    text = changed('source = "digits"', 'source = "function"\nfunction = "mine"')
    assert code_targets(parse(text, defined={"mine"})) == []
    with pytest.raises(PlanError, match="did you mean mine"):
        parse(changed('method = "newton"', 'method = "mime"'), defined={"mine"})


def test_plans_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        parse(GOOD).seed = 3


def test_read_plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_plan(path).folder == tmp_path and read_plan(path) == read_plan(str(path))
    assert parse(GOOD).folder is None


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (b"title = \n", ["plan must be TOML", "plan.toml", "line 1"]),
        (b'title = "a"\ntitle = "b"\n', ["plan must be TOML", "line 2"]),
        (b'title = "\xff"\n', ["plan must be UTF-8 text"]),
    ],
)
def test_files_that_are_no_plans(tmp_path, content, fragments):
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(PlanError, match="plan must be a readable file, got .*none.toml"):
        read_plan(tmp_path / "none.toml")


LABELS = np.array([0, 1, 2, 1, 0, 1])


def test_requests_are_resolved():
    assert resolve_request(ClassRequest(kind="class", label=1), LABELS, 0) == [1, 3, 5]
    assert resolve_request(IdsRequest(kind="ids", ids=(4, 2)), LABELS, 0) == [2, 4]
    random = RandomRequest(kind="random", size=3)
    drawn = {seed: resolve_request(random, LABELS, seed) for seed in range(20)}
    assert all(len(set(ids)) == 3 and ids == sorted(ids) and set(ids) <= set(range(6)) for ids in drawn.values())
    assert drawn[0] == resolve_request(random, LABELS, 0) and len({tuple(ids) for ids in drawn.values()}) > 5


@pytest.mark.parametrize(
    ("spec", "fragments"),
    [
        (RandomRequest(kind="random", size=6), ["here.size must be < 6", "got 6", "delete fewer"]),
        (IdsRequest(kind="ids", ids=(1, 6)), ["here.ids must be < 6", "got 6"]),
        (IdsRequest(kind="ids", ids=tuple(range(6))), ["here.ids must be fewer than all 6"]),
        (ClassRequest(kind="class", label=3), ["here.label must be one of several classes", "got 3", "0, 1, 2"]),
    ],
)
def test_requests_that_do_not_fit_the_data(spec, fragments):
    with pytest.raises(PlanError) as caught:
        resolve_request(spec, LABELS, 0, where="here")
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_more_parts_than_records():
    with pytest.raises(PlanError, match=r"tasks\.softmax\.request\.parts must be at most 5, .*got 6"):
        check_requests(parse(changed("size = 5", "size = 5, parts = 6")), {"digits": Few(np.arange(300) % 3, 3)})


def test_a_class_that_is_everything():
    with pytest.raises(PlanError, match=r"request\.label must be one of several classes"):
        resolve_request(ClassRequest(kind="class", label=0), [0, 0], 0)


@dataclass
class Few:
    labels: object
    classes: int


def test_requests_are_checked_against_the_data():
    plan = parse(changed("rows = 300", ""))
    assert len(check_requests(plan, {"digits": Few(LABELS, 3)})["softmax"]) == 5
    with pytest.raises(PlanError, match=r"tasks\.softmax\.request\.size must be < 4"):
        check_requests(plan, {"digits": Few(LABELS[:4], 3)})
    binary = parse(changed('model = "softmax"', 'model = "binary-logistic"'))
    with pytest.raises(PlanError, match=r'tasks\.softmax\.model must be "softmax" or "mlp" for 3 classes'):
        check_requests(binary, {"digits": Few(LABELS, 3)})
