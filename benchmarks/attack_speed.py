"""Rows of docs/benchmarks.md on attacks: shadow fleets against one run after another, attacks against loops."""

import math
import statistics

import numpy as np
import torch

from audit.attacks.attack import fit_attack
from audit.attacks.fleet import Game, attack_chunk, draw_members
from audit.attacks.lira import LiRA
from audit.attacks.runs import FIRST, MODELS, FitRuns, ScoreRuns
from audit.design import Design
from audit.fleet import Subject
from learning.data import embedded, prepare
from learning.networks import Network, mlp
from learning.objectives import Objective, Softmax
from learning.task import SGD, Task
from methods.retrain import Retrain
from unlearning.claim import Claim, Reference, SeedPolicy
from unlearning.tradeoff import Directions, EpsilonDelta

from .ratios import milliseconds, ratio, timed

SHADOWS = 256
RECORDS, CHUNK = 300, 64


def shadow_row(name: str, objective: Objective) -> list[str]:
    """256 shadow runs of the attacks' game (original, unlearned and retrained model) against one run after another."""
    data = prepare(embedded("digits"), rows=RECORDS, bias=not isinstance(objective, Network))
    task = Task("bench", data, objective, SGD(10, 30, 0.5), torch.device("cpu"))
    subject = Subject("bench", Retrain(), task, tuple(range(20)), Reference.RETRAINED, 0)
    game = Game(candidates=40, shadows=SHADOWS, targets=1)
    promise = EpsilonDelta(0.0, 1e-5, Directions.BOTH)
    claim = Claim(promise, 1e-5, Reference.RETRAINED, SeedPolicy.PER_SEED, request_size=20)
    design = Design(claim, 0.01, None, frozenset("E"), 1, 0, 0, 0.01, 0.001)
    members = draw_members(subject, game, "shadow", "fresh")

    def runs(start: int, count: int) -> FitRuns | ScoreRuns:
        return attack_chunk(subject, design, game, "shadow", "fresh", start, members[start : start + count]).runs[1.0]

    one, several = runs(1, 1), runs(0, 3)
    assert all(np.allclose(one.of(kind)[0], several.of(kind)[1], atol=1e-9) for kind in MODELS)
    slow, fast, times = ratio(
        lambda: timed(lambda: [runs(start, 1) for start in range(3)], 3),
        lambda: timed(lambda: [runs(start, CHUNK) for start in range(0, SHADOWS, CHUNK)], SHADOWS),
    )
    what = f"{SHADOWS} shadow runs of three models, {name}, n = {RECORDS} ({SHADOWS * fast:.0f} s in all)"
    return [what, "one run after another", milliseconds(slow), milliseconds(fast), f"{times:.1f}×"]


def lira_row(candidates: int = 400, targets: int = 64) -> list[str]:
    """LiRA on all records and runs at once against a loop over both."""
    generator = np.random.default_rng(0)
    fit, score = (
        _drawn(kind, runs, candidates, generator) for kind, runs in ((FitRuns, SHADOWS), (ScoreRuns, targets))
    )

    def at_once() -> np.ndarray:
        return fit_attack(LiRA(), fit, "original", generator=generator).scores(score, "original")

    few = range(4)
    assert np.allclose(at_once()[:, few], _looped(fit, score, few), atol=1e-6)
    slow, fast, times = ratio(
        lambda: timed(lambda: _looped(fit, score, few), len(few)), lambda: timed(at_once, candidates)
    )
    what = f"LiRA, {SHADOWS} shadow and {targets} target runs, {candidates} records, per record"
    return [what, "a loop over runs and records", milliseconds(slow), milliseconds(fast), f"{times:.0f}×"]


def _drawn(kind: type, runs: int, candidates: int, generator: np.random.Generator) -> FitRuns | ScoreRuns:
    members = generator.random((runs, candidates)).argsort(1) < candidates // 2
    labels = generator.integers(0, 10, candidates)
    logits = generator.standard_normal((runs, candidates, 10)) + members[..., None] * (np.arange(10) == labels[:, None])
    every = dict.fromkeys((FIRST, *MODELS), logits)
    public = dict.fromkeys(every, np.zeros((runs, 1, 10)))
    names = tuple(f"{kind.__name__} {run}" for run in range(runs))
    found: FitRuns | ScoreRuns = kind(names, members, labels, every, public, np.zeros(1, dtype=np.int64))
    return found


def _looped(fit: FitRuns, score: ScoreRuns, records: range) -> np.ndarray:
    """The log likelihood ratio of some records, one confidence at a time, [K, len(records)]."""

    def confidence(runs: FitRuns | ScoreRuns, run: int, record: int) -> float:
        logits, label = runs.of("original")[run, record].tolist(), int(runs.labels[record])
        others = math.log(sum(math.exp(z) for c, z in enumerate(logits) if c != label))
        return float(logits[label] - others)

    found = np.empty((len(score), len(records)))
    for place, record in enumerate(records):
        sides: dict[bool, list[float]] = {True: [], False: []}
        for run in range(len(fit)):
            sides[bool(fit.members[run, record])].append(confidence(fit, run, record))
        laws = {side: statistics.NormalDist.from_samples(values) for side, values in sides.items()}
        for run in range(len(score)):
            phi = confidence(score, run, record)
            inside, outside = (-0.5 * law.zscore(phi) ** 2 - math.log(law.stdev) for law in (laws[True], laws[False]))
            found[run, place] = inside - outside
    return found


def attack_rows() -> list[list[str]]:
    """All of them."""
    return [
        shadow_row("softmax regression, 650 parameters", Softmax(65, 10, 0.02)),
        shadow_row("tanh network 64-16-10", Network(mlp(64, [16], 10), 0.001)),
        lira_row(),
    ]
