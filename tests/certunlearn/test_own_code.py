"""Someone else's data, model and method, end to end, in worker processes."""

from pathlib import Path

import pytest

from unlearning.record import read_record

from .test_cli import run

CODE = '''
import numpy as np
import torch
from torch import nn

from beside import mean_of
from unlearning import Declaration, SeedPolicy


def load():
    generator = np.random.default_rng(1)
    images = generator.random((80, 8, 8))
    labels = (images[:, :4].sum((1, 2)) > images[:, 4:].sum((1, 2))).astype(int)
    return torch.tensor(images).flatten(1), torch.tensor(labels)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.out = nn.Linear(2 * 36, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.conv(x.view(-1, 1, 8, 8))).flatten(1))


def build():
    return Small()


class Averages:
    """Class means, one model at a time: unlearning is exact, and nothing is known of replicas."""

    declaration = Declaration(title="Class means", citation="this test", seed_policy=SeedPolicy.PER_SEED)

    def learn(self, features, labels, generator):
        return torch.stack([mean_of(features[labels == c]) for c in (0, 1)]).flatten()

    def unlearn(self, parameters, features, labels, removed, generator):
        return self.learn(features[~removed], labels[~removed], generator)
'''
BESIDE = """
def mean_of(features):
    return features.mean(0)
"""
PLAN = """
title = "Own code"
[datasets.d]
source = "function"
function = "own.py:load"
bias = false
[tasks.net]
dataset = "d"
model = "module"
function = "own.py:build"
regularisation = 0.01
recipe = { kind = "sgd", epochs = 2, batch_size = 16, step_size = 0.3 }
request = { kind = "ids", ids = [3] }
[tasks.means]
dataset = "d"
model = "softmax"
regularisation = 0.01
recipe = { kind = "sgd", epochs = 1, batch_size = 16, step_size = 0.3 }
request = { kind = "random", size = 3 }
[[rows]]
name = "network"
task = "net"
method = "hessian-free"
claim = { epsilon = 4.0, delta = 1e-5, kind = "epsilon-delta" }
noise_scale = 0.002
replicas = { test = 8, selection = 8 }
release_calls = 256
[[rows]]
name = "means"
task = "means"
method = "own.py:Averages"
claim = { epsilon = 0.5, delta = 1e-5 }
noise_scale = 0.001
replicas = { test = 8, selection = 8 }
release_calls = 256
"""


@pytest.mark.parametrize(("jobs", "runs"), [("1", 8), ("2", 110)])
def test_own_data_model_and_method_are_audited(tmp_path: Path, jobs: str, runs: int) -> None:
    """More runs than one chunk holds: the user's modules have to reach worker processes."""
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "plan.toml").write_text(PLAN.replace("test = 8", f"test = {runs}"))
    done = run("audit", "plan.toml", "--out", "out", "--trust", "--jobs", jobs, cwd=tmp_path)
    record = read_record(tmp_path / "out" / "record.json")
    assert done.returncode == 0, done.stderr + str([row.because for row in record.evidence.rows])
    assert [row.verdict.value for row in record.evidence.rows] == ["NOT_REFUTED", "NOT_REFUTED"]
    assert record.evidence.rows[0].claim.stated_by == "hand"
    assert record.evidence.tasks[0].dataset.rows == 64


@pytest.mark.parametrize(
    ("old", "new", "fragment"),
    [
        ("nn.Linear(2 * 36, 2)", "nn.Linear(2 * 36, 5)", "[n, 2]"),
        ("return Small()", "raise OSError('no disk')", "no disk"),
        ("torch.tanh(", "nn.functional.dropout(", "dropout"),
        ("return Small()", "return 3", "int"),
    ],
)
def test_a_module_that_cannot_be_used_is_one_line(tmp_path: Path, old: str, new: str, fragment: str) -> None:
    assert old in CODE
    (tmp_path / "own.py").write_text(CODE.replace(old, new))
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "plan.toml").write_text(PLAN)
    done = run("audit", "plan.toml", "--out", "out", "--trust", cwd=tmp_path)
    assert done.returncode == 2 and "tasks.net.function" in done.stderr and fragment in done.stderr, done.stderr
    assert done.stderr.strip().count("\n") == 0
