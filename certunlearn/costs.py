"""What a plan will cost, estimated without running it."""

from dataclasses import dataclass, replace

from audit.attack_names import RECONSTRUCTION, SWEPT
from audit.design import AttackDesign
from audit.worst_request import search_models
from learning.networks import Network
from learning.task import Descent

from .building import Built, BuiltRow

# Multiply-adds per second of one core in float64, and how much dearer unlearning is than training, both measured on
# two-core machines with softmax regression and a tanh network on digits; good to a factor of three.
_RATE = 2e9
_UNLEARNING = {
    "hessian-free": 2.5,
    "retrain": 1.0,
    "newton": 1.0,
    "certified-unlearning": 1.0,  # by conjugate gradients; LiSSA as its depth and runs have it
    "cure-newton": 3.0,
    "scure-newton": 0.5,
    "pseudo-inverse-newton": 20.0,  # the Hessian is formed
    "damped-newton": 20.0,
}
_NETWORK = 1.6  # automatic differentiation against closed form
_STEP_OVERHEAD = 4e-4  # seconds per step of a chunk, whatever its size
_SMALL_PROBLEM, _FIXED_PROBLEMS, _LAWS = 0.015, 14, 2  # seconds each, in the search for a broken bound
# Seconds of an attack on three kinds of models, and more for each candidate of each shadow and target run: by the last
# part of its key. Measured with ten classes.
_ATTACKS = {
    "svc": (0.4, 3e-5),
    "logistic": (0.1, 5e-6),
    "tree": (0.1, 7e-6),
    "forest": (1.0, 4e-5),
    "mlp": (1.0, 1e-5),
}
_ATTACK = (0.1, 4e-6)
_BASE_BYTES = 400 * 2**20  # interpreter and libraries, per process


@dataclass(frozen=True, slots=True)
class RowCost:
    """Estimated cost of one row.

    Attributes:
        name: of the row.
        models: models trained, unlearned ones included.
        seconds: of one core.
        bytes: peak memory of one process.
        at_most: whether the row may stop before it has trained so many.
    """

    name: str
    models: int
    seconds: float
    bytes: int
    at_most: bool = False


def estimate(built: Built) -> list[RowCost]:
    """Estimated cost of every row: order of magnitude, stated before anything is trained."""
    searched = {rows[0].spec.name for rows in built.tried_on_small_problems}
    small = _SMALL_PROBLEM * _LAWS * (built.plan.laws.problems + _FIXED_PROBLEMS)
    costs = {row.spec.name: _row(row) for row in built.rows}
    return [replace(cost, seconds=cost.seconds + small * (name in searched)) for name, cost in costs.items()]


def _row(row: BuiltRow) -> RowCost:
    task, design = row.subject.task, row.design
    selection = design.selection if design.compares else 0
    runs = design.test + selection
    chunks = -(-design.test // row.chunk) + -(-selection // row.chunk)
    size = task.objective.size
    width = int(task.dataset.features.shape[1])
    factor = _UNLEARNING.get(row.spec.method, 2.0)
    batch = getattr(task.recipe, "batch_size", task.rows)
    every = getattr(row.subject.method, "vectors", None) == "all"  # every record's vector is propagated in every step
    learning = 1 + 3 * task.rows / batch if every else 1.0
    if isinstance(task.recipe, Descent):
        steps = task.recipe.epochs * -(-task.rows // task.recipe.batch_size)
        work = 3 * steps * task.recipe.batch_size * size * (_NETWORK if isinstance(task.objective, Network) else 1)
        trained = 3 if design.compares else 2  # original, reference, and a reference with other seeds
        models, trainings = (trained + 1) * runs, runs * (trained * learning + (0 if every else factor))
        seconds = trainings * work / _RATE + (chunks + 1) * (trained + factor) * steps * _STEP_OVERHEAD
    else:
        work = 12 * task.rows * size * size  # a dozen Hessians
        models, trainings = 3 * chunks, 3 * chunks
        seconds = trainings * work / _RATE
    if design.only_plays:
        models, seconds, runs = 0, 0.0, 0
    if row.search is not None:
        searching = search_models(row.search, task.dataset.classes, one_model=row.subject.one_model)
        rounds = (row.search.steps + 1) * (1 if row.subject.one_model else row.search.seeds)
        models += searching
        seconds += searching * (1 + factor) / 2 * work / _RATE + rounds * (1 + learning) * work / _RATE
    if design.identification is not None:
        game = design.identification.shadows + design.identification.game.runs
        models += 2 * game
        seconds += game * (learning + factor) * work / _RATE
    if design.attacks is not None:
        played = _game_runs(design.attacks)
        models += 3 * played
        seconds += played * (1 + learning + factor) * work / _RATE + _attacking(design.attacks)
    seconds += (1 + len(design.controls)) * (runs * 3 + design.release_calls) * size / 5e7
    at_once = row.chunk
    if design.attacks is not None:
        at_once = max(at_once, min(row.largest_chunk, max(design.attacks.shadows, design.attacks.targets)))
    working = at_once * 8 * (12 * size + 6 * getattr(task.recipe, "batch_size", task.rows) * width)
    kept = selection * size * 8 * (10 + len(design.controls))
    return RowCost(row.spec.name, models, seconds, _BASE_BYTES + working + kept, design.until_refuted)


def _game_runs(asked: AttackDesign) -> int:
    """Runs of rung E: of all regimes of seeds, and of single deletions."""
    fleets = (asked.shadows + asked.targets) * len(asked.seeds) if set(asked.keys) - {RECONSTRUCTION} else 0
    return fleets + asked.targets * (RECONSTRUCTION in asked.keys)


def _attacking(asked: AttackDesign) -> float:
    """Seconds of all attacks, at the row's noise and in its sweep."""
    candidates = (asked.shadows + asked.targets) * asked.candidates

    def seconds(key: str) -> float:
        fixed, each = _ATTACKS.get(key.rpartition("/")[2], _ATTACK)
        return fixed + each * candidates

    once = sum(seconds(key) for key in asked.keys if key != RECONSTRUCTION)
    return len(asked.seeds) * once + len(asked.sweep) * sum(seconds(key) for key in SWEPT)
