"""From a checked plan to tasks, methods and designs: the only place where the plan's words become objects."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audit.attack_names import RECONSTRUCTION
from audit.design import AttackDesign, Design, IdentificationDesign
from audit.fleet import Subject
from audit.worst_request import Search
from learning.data import Dataset
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Softmax
from learning.task import SGD, Adam, Descent, Minimise, Task
from unlearning.claim import Claim, SeedPolicy
from unlearning.errors import PlanError
from unlearning.gaussian import mu_of_epsilon_delta, noise_scale_upper
from unlearning.protocols import AnyMethod, ChecksTask, HasFailureProbability, HasPriorSensitivity
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff

from .evidence import attack_design, controls_of, identification_design, lines_of, own_attacks, own_scores
from .loader import load_dataset, make_method, resolve_code, target_from_here
from .plan import Plan, RowSpec, TaskSpec, check_requests, request_size
from .registry import registered_methods

_DTYPES = {"float64": torch.float64, "float32": torch.float32}
_CHUNK_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}
_CHUNKS = 4  # at least, so that few replicas of a large model occupy several workers; never a function of them
_CHUNK_REPLICAS = {"cpu": 100, "cuda": 4096}


@dataclass(frozen=True, slots=True)
class BuiltRow:
    """One row, ready to run.

    Attributes:
        spec: as in the plan.
        subject: method, task and request.
        design: claim, noise, numbers of runs.
        calibration: how σ was fixed, in words.
        chunk: replicas trained at once.
        largest_chunk: that the memory budget allows, whatever the number of test runs.
        search: how the row searches for its request; None: the plan names it.
    """

    spec: RowSpec
    subject: Subject
    design: Design
    calibration: str
    chunk: int
    largest_chunk: int
    search: Search | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A plan with everything it names loaded.

    Attributes:
        plan: as read.
        tasks: by name.
        requests: records to forget, by the task's name.
        rows: in the plan's order.
        targets: what methods that are somebody's own are loaded by in the current folder, by their names in the plan.
    """

    plan: Plan
    tasks: dict[str, Task]
    requests: dict[str, list[int]]
    rows: list[BuiltRow]
    targets: dict[str, str] = field(default_factory=dict)

    @property
    def tried_on_small_problems(self) -> list[list[BuiltRow]]:
        """Rows with rung A, together where method and parameters are the same; none where the plan asks for none."""
        found: dict[str, list[BuiltRow]] = {}
        for row in self.rows if self.plan.laws.problems else ():
            if "A" in row.spec.rungs:
                subject = row.spec.model_dump_json(include={"method", "parameters"})
                found.setdefault(subject, []).append(row)
        return list(found.values())


def build(
    plan: Plan, *, device: torch.device, data: Path | None, trust: bool, defined: Mapping[str, str] | None = None
) -> Built:
    """Load code and data, and check what only they can tell.

    Raises:
        PlanError: something in the plan does not fit the data or the code.
        NotTrusted: the plan names code and nobody trusts it.
    """
    code = resolve_code(plan, trust=trust, defined=defined)
    shipped = registered_methods()
    used = {task.dataset for task in plan.tasks.values()}
    datasets = {name: load_dataset(plan, name, code, folder=data) for name in plan.datasets if name in used}
    requests = check_requests(plan, datasets)
    tasks = {
        name: Task(
            name,
            datasets[spec.dataset],
            _objective(name, spec, datasets[spec.dataset], code),
            _recipe(spec),
            device,
            _DTYPES[spec.dtype],
        )
        for name, spec in plan.tasks.items()
    }
    controls = sum(len(controls_of(row)) * len(lines_of(row)) for row in plan.rows)
    rows = []
    for position, spec in enumerate(plan.rows):
        method_class = code.get(spec.method)
        if method_class is None:
            raise PlanError(f"rows[{position}].method must be one of {', '.join(shipped)}, got {spec.method!r}.")
        method = make_method(method_class, spec.parameters, where=f"rows[{position}]")
        scores, attacks = own_scores(spec, code, f"rows[{position}]"), own_attacks(spec, code, f"rows[{position}]")
        row = _row(plan, position, method, tasks[spec.task], requests[spec.task], controls)
        rows.append(replace(row, subject=replace(row.subject, scores=scores, attacks=attacks)))
    named = {spec.method for spec in plan.rows} - shipped.keys()
    own = {name: (defined or {}).get(name) or target_from_here(name, plan.folder) for name in named}
    return Built(plan, tasks, requests, rows, own)


def _objective(name: str, spec: TaskSpec, dataset: Dataset, code: Mapping[str, Any]) -> Objective:
    features = int(dataset.features.shape[1])
    if spec.model == "binary-logistic":
        return BinaryLogistic(features, spec.regularisation)
    if spec.model == "softmax":
        return Softmax(features, dataset.classes, spec.regularisation)
    if spec.model == "mlp":
        return Network(
            mlp(features, spec.hidden or (), dataset.classes, spec.activation or "tanh"), spec.regularisation
        )
    try:
        module = code[str(spec.function)]()
    except Exception as error:
        raise PlanError(
            f"tasks.{name}.function must return a module when called without arguments, got "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise PlanError(f"tasks.{name}.function must return a torch.nn.Module, got {type(module).__name__}.")
    network = Network(module.to(_DTYPES[spec.dtype]), spec.regularisation)
    _try_module(name, network, dataset)
    return network


def _try_module(name: str, network: Network, dataset: Dataset) -> None:
    import numpy as np

    flat = network.initial([np.random.default_rng(0)])
    features, labels = dataset.features[:2].to(flat.dtype), dataset.labels[:2]
    try:
        out = network.logits(flat[0], features)
    except Exception as error:
        raise PlanError(
            f"tasks.{name}.function must return a module for features of shape [n, {dataset.features.shape[1]}] in "
            f"float64, got {str(error).splitlines()[0]} Reshape inside the module, or set bias = false."
        ) from error
    if tuple(out.shape) != (2, dataset.classes):
        raise PlanError(
            f"tasks.{name}.function must return logits of shape [n, {dataset.classes}], got {list(out.shape)}."
        )
    try:
        network.at(flat, features.unsqueeze(0), labels.unsqueeze(0)).gradient(torch.ones(1, 2, dtype=flat.dtype))
    except Exception as error:
        raise PlanError(
            f"tasks.{name}.function must return a module that torch.func can differentiate, got "
            f"{str(error).splitlines()[0]} Leave out randomness (dropout) and in-place changes."
        ) from error


def _recipe(spec: TaskSpec) -> Descent | Minimise:
    recipe = spec.recipe
    if recipe.kind == "minimise":
        return Minimise(recipe.tolerance)
    fields = recipe.model_dump(exclude={"kind"})
    return SGD(**fields) if recipe.kind == "sgd" else Adam(**fields)


def _row(plan: Plan, position: int, method: AnyMethod, task: Task, ids: list[int], controls: int) -> BuiltRow:
    spec = plan.rows[position]
    where = f"rows[{position}]"
    wanted = plan.tasks[spec.task].request
    size = request_size(wanted, ids)
    declared = method.declaration
    if isinstance(method, ChecksTask):
        try:
            method.check_task(task)
        except PlanError as error:
            raise PlanError(f"{where}.task must suit {spec.method}, got {spec.task}: {error}") from error
    policy = spec.claim.seed_policy or declared.seed_policy
    if task.deterministic and policy is SeedPolicy.PER_SEED and not declared.draws:
        policy = SeedPolicy.DETERMINISTIC
    game = identification_design(spec, size, task.rows, where) if "D" in spec.rungs else None
    attacks = attack_design(spec, size, task.rows, where, gaussian=declared.gaussian_noise, policy=policy)
    budget, calibration = _budget(spec, method, _smallest(task, size, game, attacks), size, where)
    fails = _failure_probability(spec, method, where)
    by_hand = spec.noise_scale is not None
    if spec.noise_scale is not None:
        noise_scale = spec.noise_scale
    elif budget == 0:
        noise_scale = 0.0
    else:
        noise_scale = noise_scale_upper(
            budget or math.nan, spec.claim.epsilon, spec.claim.delta - fails, calibration=spec.calibration
        )
    if noise_scale == 0:
        raise PlanError(
            f"{where}.noise_scale must be > 0, got 0: without noise two weights are equal or told apart. "
            "Write noise_scale = 1e-3."
        )
    tradeoff: EpsilonDelta | GaussianTradeOff
    if spec.claim.kind == "gaussian":
        tradeoff = GaussianTradeOff(
            mu_of_epsilon_delta(spec.claim.epsilon, spec.claim.delta) if spec.claim.epsilon > 0 else 0.0
        )
    else:
        tradeoff = EpsilonDelta(spec.claim.epsilon, spec.claim.delta, spec.claim.directions)
    reference = spec.claim.reference or declared.reference
    claim = Claim(
        tradeoff,
        spec.claim.delta,
        reference,
        policy,
        size,
        stated_by="hand" if by_hand and spec.claim.epsilon > 0 else "certificate",
    )
    share = plan.failure_probability / (len(plan.rows) if plan.family == "plan" else 1)
    design = Design(
        claim=claim,
        noise_scale=noise_scale,
        sensitivity_budget=budget,
        rungs=frozenset(spec.rungs),
        test=spec.replicas.test,
        selection=spec.replicas.selection,
        release_calls=spec.release_calls,
        failure_probability=share,
        control_failure_probability=plan.control_failure_probability / max(1, controls),
        controls=controls_of(spec),
        scores=spec.scores,
        until_refuted=spec.until is not None,
        identification=game,
        attacks=attacks,
    )
    subject = Subject(spec.name, method, task, tuple(ids), reference, plan.seed, wanted.parts)
    search = None
    if wanted.kind == "worst":
        search = Search(size, wanted.random, wanted.seeds, wanted.steps, wanted.swaps)
    largest = replicas_per_chunk(task)
    chunk = min(largest, -(-design.test // _CHUNKS))
    return BuiltRow(spec, subject, design, calibration, chunk, largest, search)


def _failure_probability(spec: RowSpec, method: AnyMethod, where: str) -> float:
    """ρ with which the method's bound may fail: paid from the claim's δ, and no part of a Gaussian trade-off."""
    fails = method.failure_probability if isinstance(method, HasFailureProbability) else 0.0
    if fails == 0:
        return 0.0
    if spec.claim.kind == "gaussian":
        raise PlanError(
            f'{where}.claim.kind must be "epsilon-delta" for a method whose bound fails with probability {fails:g}, '
            'got "gaussian".'
        )
    if fails >= spec.claim.delta:
        raise PlanError(
            f"{where}.claim.delta must be > {fails:g}, the probability that the method's bound fails, got "
            f"{spec.claim.delta:g}. Lower parameters.failure_probability."
        )
    return float(fails)


def _budget(spec: RowSpec, method: AnyMethod, task: Task, size: int, where: str) -> tuple[float | None, str]:
    if spec.noise_scale is not None:
        return None, "σ stated in the plan; no bound was used"
    how = f"{spec.calibration} Gaussian for (ε, δ) = ({spec.claim.epsilon:g}, {spec.claim.delta:g})"
    if spec.budget == "prior":
        if not isinstance(method, HasPriorSensitivity):
            raise PlanError(
                f"{where}.budget must be a number for {spec.method}, which bounds no Δ before it sees data, got "
                '"prior"; write budget = 1e-3.'
            )
        prior = method.prior_sensitivity_upper(task, size)
        return prior, f"{how} at Δ = {prior:.4g}, the method's bound from public numbers ({task.rows} records)"
    budget = float(spec.budget or 0.0)
    return budget, f"{how} at Δ = {budget:.4g}, a budget stated in the plan before any model was trained"


def _smallest(task: Task, size: int, game: IdentificationDesign | None, attacks: AttackDesign | None) -> Task:
    """The task with as few records as any model of the row learns from: games leave candidates out."""
    left_out = 0
    if attacks is not None:
        left_out = max(attacks.candidates - size, attacks.targets - 1 if RECONSTRUCTION in attacks.keys else 0)
    if game is not None:
        left_out = max(left_out, game.game.candidates - (game.game.members or 0))
    if not left_out:
        return task
    data, kept = task.dataset, task.rows - left_out
    return replace(task, dataset=replace(data, features=data.features[:kept], labels=data.labels[:kept]))


def replicas_per_chunk(task: Task) -> int:
    """Replicas trained at once within the memory budget; a function of the task alone."""
    kind = task.device.type
    width = int(task.dataset.features.shape[1])
    batch = task.recipe.batch_size if isinstance(task.recipe, Descent) else task.rows
    each = 8 * (12 * task.objective.size + 6 * batch * width + 4 * task.rows)
    return max(1, min(_CHUNK_REPLICAS.get(kind, 100), _CHUNK_BYTES.get(kind, 2**28) // each))
