"""Training fleets: K replicas at once, each with its own initial point, batch order and membership.

One loop for all: `sgd_steps` is an iterator of steps, consumed alike by plain training and by methods that must see
the trajectory. Randomness is drawn per replica outside the batched operations, so that a replica's numbers do not
depend on which others share its chunk.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import Diverged
from unlearning.streams import Streams

from .minimiser import minimise
from .objectives import Point
from .schedule import orders
from .sharing import shared
from .task import SGD, Descent, Learned, Task


@dataclass(frozen=True, slots=True)
class Step:
    """One step of K replicas.

    Attributes:
        index: t, from 0.
        step_size: η_t.
        parameters: w_t, [K, P].
        rows: record ids of the batch, [K, B].
        member: which of them are in the replica's training set, bool [K, B].
        divisor: number the batch's sum is divided by, [K]; 1 for an empty batch.
        point: the objective at w_t on this batch.
        gradient: mean gradient over the members of the batch, [K, P].
        following: w_{t+1}, [K, P].
    """

    index: int
    step_size: float
    parameters: Tensor
    rows: Tensor
    member: Tensor
    divisor: Tensor
    point: Point
    gradient: Tensor
    following: Tensor

    @property
    def weights(self) -> Tensor:
        """Membership over divisor, [K, B]."""
        return self.member.to(self.parameters.dtype) / self.divisor.unsqueeze(-1)


def sgd_steps(task: Task, members: Tensor, *, streams: Streams) -> Iterator[Step]:
    """Steps of gradient descent (or Adam) on the records of `members`, bool [K, n].

    The initial point and the order of record ids come from the replica's streams alone: training with fewer members
    and the same streams is the paired retraining.

    Raises:
        Diverged: parameters became infinite or NaN; the message names replica, step and likely cause.
        TypeError: the task's recipe is no gradient descent.
    """
    recipe = task.recipe
    if not isinstance(recipe, Descent):
        raise TypeError(f"recipe must be SGD or Adam, got {type(recipe).__name__}.")
    task.check_members(members)
    features, labels = task.features(), task.labels()
    parameters = task.objective.initial(streams.generators("initial")).to(task.device, task.dtype)
    parameters = project(parameters, recipe.radius)
    direction = descent_direction(recipe, parameters)
    diverged = torch.full((len(streams),), -1, device=task.device)
    step_size, index = recipe.step_size, 0
    for drawn in orders(task, streams):
        order = torch.from_numpy(drawn).to(task.device)
        present = members.gather(1, order)
        for start in range(0, task.rows, recipe.batch_size):
            rows = order[:, start : start + recipe.batch_size]
            member = present[:, start : start + recipe.batch_size]
            count = member.sum(1) if recipe.divisor == "remaining" else torch.full_like(diverged, rows.shape[1])
            divisor = count.clamp(min=1).to(task.dtype)
            point = task.objective.at(parameters, features[rows], labels[rows])
            gradient = point.gradient(member.to(task.dtype) / divisor.unsqueeze(-1))
            following = project(parameters - step_size * direction(gradient), recipe.radius)
            yield Step(index, step_size, parameters, rows, member, divisor, point, gradient, following)
            parameters = following
            broken = ~torch.isfinite(parameters).all(1) & (diverged < 0)
            diverged = torch.where(broken, index, diverged)
            step_size, index = step_size * recipe.decay, index + 1
        _refuse_diverged(task, diverged, streams)


def descent_direction(recipe: Descent, parameters: Tensor) -> Callable[[Tensor], Tensor]:
    """What a step subtracts, η apart, as a function of the gradient [K, P]; the memory of earlier gradients inside."""
    if isinstance(recipe, SGD):
        velocity = torch.zeros_like(parameters)

        def heavy_ball(gradient: Tensor) -> Tensor:
            nonlocal velocity
            velocity = recipe.momentum * velocity + gradient
            return velocity

        return heavy_ball if recipe.momentum else lambda gradient: gradient
    mean, square, steps = torch.zeros_like(parameters), torch.zeros_like(parameters), 0

    def adam(gradient: Tensor) -> Tensor:
        nonlocal mean, square, steps
        steps += 1
        mean = recipe.first * mean + (1 - recipe.first) * gradient
        square = recipe.second * square + (1 - recipe.second) * gradient**2
        root = (square / (1 - recipe.second**steps)).sqrt() + recipe.stability
        return mean / (1 - recipe.first**steps) / root

    return adam


def project(parameters: Tensor, radius: float | None) -> Tensor:
    """The nearest point of the ball ‖w‖ ≤ radius, [K, P]; the identity inside and without a radius."""
    if radius is None:
        return parameters
    norm = parameters.norm(dim=1, keepdim=True)
    return torch.where(norm > radius, parameters * (radius / norm), parameters)


def _refuse_diverged(task: Task, diverged: Tensor, streams: Streams) -> None:
    if not bool((diverged >= 0).any()):
        return
    position = int((diverged >= 0).nonzero()[0])
    recipe, constants = task.recipe, task.constants
    cause = "Lower recipe.step_size, or look for infinite or huge features."
    if isinstance(recipe, SGD) and constants is not None and recipe.step_size > 2 / constants.smoothness_upper:
        limit = 2 / constants.smoothness_upper
        cause = f"recipe.step_size = {recipe.step_size:g} exceeds 2/smoothness = {limit:.3g}: lower it."
    raise Diverged(
        f"Training of task {task.name!r} diverged: replica {streams.replicas[position]} is not finite after step "
        f"{int(diverged[position])}. {cause}"
    )


def train(task: Task, members: Tensor, *, streams: Streams) -> Learned:
    """Run the recipe on the records of `members`, bool [K, n]; the learning algorithm A of most methods.

    Raises:
        Diverged: gradient descent left the finite numbers.
        NotConverged: the minimiser did not reach its tolerance.
    """
    return Learned(shared(task, members, streams, lambda: _run(task, members, streams)), task, members, streams)


def _run(task: Task, members: Tensor, streams: Streams) -> Tensor:
    if isinstance(task.recipe, Descent):
        return deque(sgd_steps(task, members, streams=streams), maxlen=1).pop().following
    return minimise(task, members, task.recipe.tolerance)
