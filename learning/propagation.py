r"""First-order effect of removing records from a recorded gradient descent: vectors along the trajectory.

    a_{t+1} = (I − η_t H_t) a_t + η_t · injection_t,    a_0 = 0,    H_t = ∇² of the batch's mean loss at w_t

    divisor "fixed":      injection_t = 1[u∈B_t] ∇ℓ(w_t; u) / |B_t|
    divisor "remaining":  injection_t = 1[u∈B_t] (∇ℓ(w_t; u) − ∇F_{B_t}(w_t)) / (c_t − 1),   c_t members in the batch

With momentum, v ← βv + Ha − injection and a ← a − ηv. The newest factor multiplies from the left, and u's own injection
is not multiplied by its own step's factor.

`propagate_groups` carries one vector per group of records; `propagate_records` one per record, in chunks of records to
a memory budget. Each chunk replays the run, which the streams determine; what a chunk has finished can be kept on disk.
A record's vector is zero until the record is first seen: chunks are cut in that order, and what is zero is skipped.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import PlanError, ShapeMismatch
from unlearning.streams import Streams

from .checkpoint import Checkpoint
from .objectives import Point
from .recursion import GradientBounds, RecordNorms, Trace
from .schedule import Schedule, schedule
from .solvers import lanczos
from .task import SGD, Task
from .training import Step, sgd_steps
from .vectors import VectorStore

_CACHED = 2**18  # numbers of a block of a linear model's vectors that stay in a core's cache
_FEW = 1024  # norms per record that are kept whatever the size of a vector
_COPIES = 6  # arrays as large as a chunk's vectors that are alive at once


def plain_descent(task: Task) -> SGD:
    """The recipe, if its steps are those of the recursion above.

    Raises:
        PlanError: the recipe is no gradient descent, or projects its steps.
    """
    recipe = task.recipe
    if not isinstance(recipe, SGD):
        raise PlanError(
            f'Hessian-free vectors follow plain gradient descent, which needs recipe.kind = "sgd", got {recipe}. '
            "Choose it, or another method."
        )
    if recipe.radius is not None:
        raise PlanError(
            f"Hessian-free vectors have no theorem for projected steps, got recipe.radius = {recipe.radius:g}. Leave "
            "radius out."
        )
    return recipe


def _check_replicas(members: Tensor, streams: Streams) -> None:
    if len(streams) != members.shape[0]:
        raise ValueError(f"streams must hold {members.shape[0]} replicas, got {len(streams)}.")


@dataclass(frozen=True, slots=True)
class Propagated:
    """The end of a replay.

    Attributes:
        parameters: w_T, [K, P].
        vectors: a_T of every group, [K, R, P].
        trace: of the last group.
    """

    parameters: Tensor
    vectors: Tensor
    trace: Trace


def injection(step: Step, chosen: Tensor, divisor: str) -> Tensor:
    """What each group's vector receives in this step, [K, R, P], for the chosen records, bool [K, R, B]."""
    weights = chosen.to(step.parameters.dtype)
    if divisor == "fixed":
        return step.point.gradients(weights / step.divisor[:, None, None])
    present = step.member.sum(1)
    # a batch of one record that is removed: the retraining skips the step, and the record's own gradient comes back
    alone = (present == 1).to(weights.dtype)
    removed = weights.sum(2, keepdim=True)
    below = (present - 1).clamp(min=1).to(weights.dtype)[:, None, None]
    total = step.point.gradients(weights / below)
    return total - (1 - alone)[:, None, None] * removed / below * step.gradient.unsqueeze(1)


def propagate_groups(task: Task, members: Tensor, groups: Tensor, streams: Streams) -> Propagated:
    """Replay the run on `members` with one vector per group, groups bool [K, R, n]; the trace is the last group's.

    Raises:
        PlanError: the recipe is no plain gradient descent.
        ShapeMismatch: members or groups have another shape.
        ValueError: streams and replicas differ in number.
        Diverged: the run left the finite numbers.
    """
    recipe = plain_descent(task)
    task.check_members(members)
    _check_replicas(members, streams)
    if groups.ndim != 3 or (groups.shape[0], groups.shape[2]) != tuple(members.shape):
        raise ShapeMismatch("groups", [len(members), "R", task.rows], list(groups.shape))
    replicas, count, _ = groups.shape
    vectors = torch.zeros(replicas, count, task.objective.size, dtype=task.dtype, device=task.device)
    velocity = torch.zeros_like(vectors)
    numbers: list[tuple[Tensor, ...]] = []
    parameters = vectors[:, 0]
    for step in sgd_steps(task, members, streams=streams):
        chosen = groups.gather(2, step.rows.unsqueeze(1).expand(-1, count, -1)) & step.member.unsqueeze(1)
        received = injection(step, chosen, recipe.divisor)
        change = step.point.hvp(step.weights, vectors) - received
        if recipe.momentum:
            velocity = recipe.momentum * velocity + change
            change = velocity
        vectors = vectors - step.step_size * change
        parameters = step.following
        sizes = step.member.sum(1).double(), chosen[:, -1].sum(1).double()
        numbers.append((*sizes, _norm(received[:, -1]), _norm(step.gradient), _norm(vectors[:, -1])))
    found = [torch.stack(column, 1).cpu().numpy() for column in zip(*numbers, strict=True)]
    plan = schedule(task, streams)
    return Propagated(parameters, vectors, Trace(plan.step_sizes, plan.sizes().astype(np.float64), *found))


def propagate_records(
    task: Task,
    members: Tensor,
    streams: Streams,
    store: VectorStore,
    *,
    memory: int,
    norms: bool,
    checkpoint: Checkpoint | None = None,
) -> tuple[Tensor, RecordNorms | None]:
    """Fill the store with the vectors of its records, all of them propagated along the run on `members`.

    Args:
        task: what is learned; linear models in closed form, any other by products with the batch's Hessian.
        members: the training set of each replica, bool [K, n].
        streams: of the run.
        store: which records; a record outside a replica's training set gets the zero vector there.
        memory: bytes that a chunk's vectors and what is computed from them may take, roughly; a chunk has at least one
            record.
        norms: whether to return the norms that certify any request.
        checkpoint: where finished chunks are kept, and found when a killed run is repeated.

    Returns:
        w_T [K, P], and the norms.

    Raises:
        PlanError: the recipe is no plain gradient descent.
        ShapeMismatch: members have another shape.
        ValueError: the store is for no record, or streams and replicas differ in number.
        Diverged: the run left the finite numbers.
        DamagedState: a vector is not finite as stored, or a finished chunk is damaged.
    """
    plain_descent(task)
    task.check_members(members)
    _check_replicas(members, streams)
    plan = schedule(task, streams)
    chosen = np.zeros(task.rows, dtype=bool)
    chosen[store.records] = True
    ids = plan.first_seen(chosen)  # [K, R]
    size = chunk_rows(task, len(streams), memory)
    kept = _empty_norms(plan, task, members, len(streams)) if norms else None
    parameters: Tensor | None = None
    for start in range(0, ids.shape[1], size):
        part = ids[:, start : start + size]
        if checkpoint is not None and (found := checkpoint.finished(start, part, store)) is not None:
            if kept is not None:
                _keep(kept, part, found["injection"], found["vector"], found["gradient"])
            parameters = torch.from_numpy(found["parameters"]).to(task.device)
            continue
        chunk = _Chunk(task, members, plan, part, norms=norms)
        parameters = chunk.run(streams)
        store.write(part, chunk.vectors[:, : part.shape[1]])
        arrays = {"parameters": parameters.cpu().numpy()}
        if kept is not None:
            arrays |= {"injection": chunk.injections, "vector": chunk.vector_norms(), "gradient": chunk.gradients()}
            _keep(kept, part, arrays["injection"], arrays["vector"], arrays["gradient"])
        if checkpoint is not None:
            checkpoint.finish(start, part, store, arrays)
    if parameters is None:
        raise ValueError("rows must name at least one record, got none.")
    return parameters, kept


def chunk_rows(task: Task, replicas: int, memory: int) -> int:
    """Records whose vectors fit a memory budget in bytes, at least one."""
    momentum = 1 if plain_descent(task).momentum else 0
    each = task.dtype.itemsize * replicas * task.objective.size * (_COPIES + momentum)
    return max(1, memory // each)


class _Chunk:
    """Vectors of r records [K, r], in the order in which they are first seen, and one row that nobody reads."""

    def __init__(self, task: Task, members: Tensor, plan: Schedule, ids: NDArray[np.int64], *, norms: bool) -> None:
        self.task, self.members, self.plan = task, members, plan
        self.features, self.labels = task.features(), task.labels()
        replicas, count = ids.shape
        shape = (replicas, count + 1, task.objective.size)
        self.vectors = torch.zeros(shape, dtype=task.dtype, device=task.device)
        self.velocity = torch.zeros_like(self.vectors) if plain_descent(task).momentum else None
        self.slots = np.full((replicas, task.rows), -1, dtype=np.int64)
        np.put_along_axis(self.slots, ids, np.arange(count)[None], axis=1)
        self.norms = norms
        self.injections = np.zeros((replicas, plan.orders.shape[0], count)) if norms else np.empty(0)
        self.marks = set(marks(plan, task.objective.size).tolist())
        self._measured: list[Tensor] = []
        self._gradients: list[Tensor] = []
        self._received: list[tuple[int, NDArray[np.int64], Tensor]] = []
        self.active = 0  # vectors beyond are still zero in every replica

    def run(self, streams: Streams) -> Tensor:
        """Replay the run; w_T, [K, P]."""
        recipe = plain_descent(self.task)
        parameters = self.vectors[:, 0]
        for step in sgd_steps(self.task, self.members, streams=streams):
            positions, slots = self._in_batch(step.index)
            self._contract(step, recipe)
            if positions.shape[1]:
                self._inject(step, recipe, positions, slots)
            if self.norms:
                self._gradients.append(_norm(step.gradient))
                if step.index in self.marks:
                    self._measured.append(_norm(self.vectors[:, :-1]))
            parameters = step.following
        for epoch, slots, lengths in self._received:
            padded = np.concatenate([self.injections[:, epoch], np.zeros((len(slots), 1))], 1)
            np.put_along_axis(padded, slots, lengths.cpu().numpy(), axis=1)
            self.injections[:, epoch] = padded[:, :-1]
        return parameters

    def vector_norms(self) -> NDArray[np.float64]:
        """‖a‖ at the marks, [K, M, r]."""
        return np.asarray(torch.stack(self._measured, 1).cpu().numpy())

    def gradients(self) -> NDArray[np.float64]:
        """‖∇F_B(w_t)‖, [K, T]."""
        return np.asarray(torch.stack(self._gradients, 1).cpu().numpy())

    def _in_batch(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where in the batch the chunk's records stand, and their slots, [K, w]; padded with the unread row."""
        slots = np.take_along_axis(self.slots, self.plan.rows(index), axis=1)
        width = int((slots >= 0).sum(1).max())
        positions = np.argsort(slots < 0, axis=1, kind="stable")[:, :width]
        slots = np.take_along_axis(slots, positions, axis=1)
        if index < self.plan.steps_per_epoch and width:
            self.active = max(self.active, int(slots.max()) + 1)
        return positions, np.where(slots < 0, self.vectors.shape[1] - 1, slots)

    def _contract(self, step: Step, recipe: SGD) -> None:
        """A ← a − ηHa, or v ← βv + Ha and a ← a − ηv, in place, for the vectors that are not zero."""
        if not self.active:
            return
        block = self.active
        if hasattr(self.task.objective, "scores") and not self.vectors.is_cuda:
            block = max(1, _CACHED // self.vectors[:, 0].numel())
        for start in range(0, self.active, block):
            part = slice(start, min(start + block, self.active))
            vectors = self.vectors[:, part]
            product = step.point.hvp(step.weights, vectors)
            if self.velocity is not None:
                product = self.velocity[:, part].mul_(recipe.momentum).add_(product)
            vectors.sub_(product, alpha=step.step_size)

    def _inject(self, step: Step, recipe: SGD, positions: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        device, dtype = self.task.device, self.task.dtype
        where, target = torch.from_numpy(positions).to(device), torch.from_numpy(slots).to(device)
        own = step.member.gather(1, where) & (target < self.vectors.shape[1] - 1)
        records = step.rows.gather(1, where)
        received = record_gradients(self.task, step.parameters, self.features[records], self.labels[records])
        if recipe.divisor == "fixed":
            received = received * (own.to(dtype) / step.divisor.unsqueeze(1)).unsqueeze(2)
        else:
            present = step.member.sum(1)
            several = (present > 1).to(dtype)[:, None, None]  # a lone record gets its own gradient back
            below = (present - 1).clamp(min=1).to(dtype)[:, None, None]
            received = own.to(dtype).unsqueeze(2) * (received - several * step.gradient.unsqueeze(1)) / below
        if self.norms:
            self._received.append((step.index // self.plan.steps_per_epoch, slots, _norm(received)))
        flat = (target + torch.arange(len(target), device=device).unsqueeze(1) * self.vectors.shape[1]).flatten()
        rows = received.flatten(0, 1)
        if self.velocity is not None:
            self.velocity.flatten(0, 1).index_add_(0, flat, rows, alpha=-1)
        self.vectors.flatten(0, 1).index_add_(0, flat, rows, alpha=step.step_size)


def counts(task: Task, members: Tensor, deleted: Tensor, streams: Streams) -> Trace:
    """The trace of a request as far as the batches alone tell it; the norms are zero."""
    plan = schedule(task, streams)
    present, removed = (plan.counts(mask.cpu().numpy()) for mask in (members, deleted))
    zero = np.zeros_like(present)
    return Trace(plan.step_sizes, plan.sizes().astype(np.float64), present, removed, zero, zero, zero)


def batch_gradients(task: Task, parameters: Tensor, members: Tensor, plan: Schedule) -> NDArray[np.float64]:
    """‖mean gradient over the members of every batch‖ at one point [K, P], over the recipe's divisor, [K, T]."""
    features, labels = task.features(), task.labels()
    found = []
    for step in range(plan.steps):
        rows = torch.from_numpy(plan.rows(step)).to(task.device)
        member = members.gather(1, rows).to(task.dtype)
        divisor = rows.shape[1] if plain_descent(task).divisor == "fixed" else member.sum(1, keepdim=True).clamp(min=1)
        found.append(_norm(task.objective.at(parameters, features[rows], labels[rows]).gradient(member / divisor)))
    return np.asarray(torch.stack(found, 1).cpu().numpy())


def estimated_gradient_bounds(
    task: Task, members: Tensor, streams: Streams, *, lanczos_steps: int = 6
) -> GradientBounds:
    """Contraction and gradients measured along the run on `members` alone: estimates, where nothing is proved.

    ρ_t comes from the extreme Ritz values of the batch's Hessian and errs from inside; G_t is the largest gradient of a
    record of the batches so far.
    """
    contraction, largest, spread = [], [], []
    most = torch.zeros(len(streams), dtype=torch.float64, device=task.device)
    features, labels = task.features(), task.labels()
    for step in sgd_steps(task, members, streams=streams):
        point, weights = step.point, step.weights

        def product(vector: Tensor, point: Point = point, weights: Tensor = weights) -> Tensor:
            return point.hvp(weights, vector.unsqueeze(1)).squeeze(1)

        values = lanczos(product, step.gradient, steps=lanczos_steps).eigenvalues().double()
        contraction.append((1 - step.step_size * values).abs().amax(1))
        own = record_gradients(task, step.parameters, features[step.rows], labels[step.rows])
        most = torch.maximum(most, (_norm(own) * step.member).amax(1))
        largest.append(most)
        spread.append(2 * most)
    columns = (np.asarray(torch.stack(column, 1).cpu().numpy()) for column in (contraction, largest, spread))
    return GradientBounds(*columns)


def record_gradients(task: Task, parameters: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """∇ℓ of every record [K, w, …] at parameters [K, P], [K, w, P]: one objective of one record each."""
    replicas, width = labels.shape
    point = task.objective.at(
        parameters.repeat_interleave(width, 0), features.flatten(0, 1).unsqueeze(1), labels.reshape(-1, 1)
    )
    one = torch.ones(replicas * width, 1, dtype=parameters.dtype, device=parameters.device)
    return point.gradient(one).view(replicas, width, -1)


def marks(plan: Schedule, size: int) -> NDArray[np.int64]:
    """Steps after which ‖a‖ is kept: all of them where that takes little room beside the vectors, else epoch ends."""
    every = np.arange(plan.steps)
    return every if plan.steps <= max(size, _FEW) else every[plan.steps_per_epoch - 1 :: plan.steps_per_epoch]


def _empty_norms(plan: Schedule, task: Task, members: Tensor, replicas: int) -> RecordNorms:
    epochs, rows, where = plan.orders.shape[0], task.rows, marks(plan, task.objective.size)
    return RecordNorms(
        step_sizes=plan.step_sizes,
        batch=plan.sizes().astype(np.float64),
        turns=plan.turns(),
        members=members.cpu().numpy(),
        present=plan.counts(members.cpu().numpy()),
        gradient=np.zeros((replicas, plan.steps)),
        injection=np.full((replicas, epochs, rows), np.nan),
        marks=where,
        vector=np.full((replicas, len(where), rows), np.nan),
    )


def _keep(
    norms: RecordNorms,
    ids: NDArray[np.int64],
    injections: NDArray[np.float64],
    vectors: NDArray[np.float64],
    gradient: NDArray[np.float64],
) -> None:
    np.put_along_axis(norms.injection, ids[:, None], injections, axis=2)
    np.put_along_axis(norms.vector, ids[:, None], vectors, axis=2)
    norms.gradient[:] = gradient


def _norm(vectors: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(vectors, dim=-1, dtype=torch.float64)
    return found
