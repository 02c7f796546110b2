"""Training shared by the rows of one run: methods that learn by the task's recipe alone learn the same models.

Only `train` on the very task object that was lent, inside `with sharing(…)`, is shared; whatever a method trains in any
other way or at any other time is trained. Results are files in a folder of the run: worker processes share them, too.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlearning.streams import Streams

from .task import Task


@dataclass(slots=True)
class Loan:
    """A task lent for sharing.

    Attributes:
        folder: of the run; None: nothing is shared.
        task: the one whose training is shared.
        seconds_saved: what the shared results cost when they were made.
    """

    folder: Path | None
    task: Task
    seconds_saved: float = 0.0


_lent: ContextVar[Loan | None] = ContextVar("_lent", default=None)


@contextmanager
def sharing(folder: Path | None, task: Task) -> Iterator[Loan]:
    """Share what `train` makes of this task in this block; without a folder nothing is shared."""
    loan = Loan(folder, task)
    token = _lent.set(loan)
    try:
        yield loan
    finally:
        _lent.reset(token)


def shared(task: Task, members: Tensor, streams: Streams, run: Callable[[], Tensor]) -> Tensor:
    """Parameters [K, P] of run(), or of an earlier run with the same task, members and streams."""
    loan = _lent.get()
    if loan is None or loan.folder is None or loan.task is not task:
        return run()
    objective = type(task.objective).__qualname__, task.objective.description, task.objective.regularisation
    said = task.name, objective, task.recipe, task.dtype, task.dataset.sha256, streams, list(members.shape)
    key = hashlib.sha256(repr(said).encode())
    key.update(np.packbits(members.cpu().numpy()).tobytes())
    path = loan.folder / f"{key.hexdigest()}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            loan.seconds_saved += float(kept["seconds"])
            return torch.from_numpy(kept["parameters"]).to(task.device, task.dtype)
    started = time.perf_counter()
    parameters = run()
    handle, name = tempfile.mkstemp(dir=loan.folder)
    with os.fdopen(handle, "wb") as stream:
        np.savez(stream, parameters=parameters.detach().cpu().numpy(), seconds=time.perf_counter() - started)
    os.replace(name, path)  # whole or not at all: another worker may write the same
    return parameters
