"""Which records every step of a recorded run uses: drawn from the seed streams alone, without training."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearning.streams import Streams

from .task import Descent, Task


@dataclass(frozen=True, slots=True)
class Schedule:
    """Batches and step sizes of K replicas, the same that `sgd_steps` draws from the same streams.

    Attributes:
        orders: record ids in the order of an epoch, [E, K, n].
        batch_size: record ids per step.
        step_sizes: η_t, [T].
    """

    orders: NDArray[np.int64]
    batch_size: int
    step_sizes: NDArray[np.float64]

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""
        return -(-int(self.orders.shape[2]) // self.batch_size)

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.step_sizes)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Record ids of a step, [K, B]; the last batch of an epoch may be smaller."""
        epoch, turn = divmod(step, self.steps_per_epoch)
        return np.asarray(self.orders[epoch][:, turn * self.batch_size : (turn + 1) * self.batch_size])

    def sizes(self) -> NDArray[np.int64]:
        """Number of record ids of every step, [T]."""
        return np.array([self.rows(step).shape[1] for step in range(self.steps)])

    def counts(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """How many of the chosen records, bool [K, n], each step's batch holds, [K, T]."""
        found = [np.take_along_axis(chosen, self.rows(step), 1).sum(1) for step in range(self.steps)]
        return np.stack(found, 1).astype(np.float64)

    def turns(self) -> NDArray[np.int32]:
        """Number t of the step in which each record takes part, [K, E, n]: once in every epoch."""
        epochs, replicas, rows = self.orders.shape
        found = np.empty((replicas, epochs, rows), dtype=np.int32)
        turn = (np.arange(rows) // self.batch_size).astype(np.int32)
        for epoch, order in enumerate(self.orders):
            np.put_along_axis(found[:, epoch], order, turn + np.int32(epoch * self.steps_per_epoch), axis=1)
        return found

    def first_seen(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The chosen record ids, bool [n], in the order in which each replica first meets them, [K, R]."""
        return np.stack([order[chosen[order]] for order in self.orders[0]])


def orders(task: Task, streams: Streams) -> Iterator[NDArray[np.int64]]:
    """Record ids in the order of each epoch, [K, n], one epoch after the other.

    Raises:
        TypeError: the task's recipe is no gradient descent.
    """
    recipe = _descent(task)
    generators = streams.generators("order")
    for _ in range(recipe.epochs):
        yield np.stack([generator.permutation(task.rows) for generator in generators])


def schedule(task: Task, streams: Streams) -> Schedule:
    """The schedule of a gradient descent.

    Raises:
        TypeError: the task's recipe is no gradient descent.
    """
    recipe, drawn = _descent(task), np.stack(list(orders(task, streams)))
    sizes, step_size = [], recipe.step_size
    for _ in range(recipe.epochs * -(-task.rows // recipe.batch_size)):
        sizes.append(step_size)
        step_size *= recipe.decay  # as the loop does, to the last bit
    return Schedule(drawn, recipe.batch_size, np.array(sizes))


def _descent(task: Task) -> Descent:
    if not isinstance(task.recipe, Descent):
        raise TypeError(f"recipe must be SGD or Adam, got {type(task.recipe).__name__}.")
    return task.recipe
