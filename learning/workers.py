"""Local worker processes: one chunk of replicas is one task; results come back in the order of the tasks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

_ROUNDS = 3  # a worker killed by the system is replaced this many times

Tick = Callable[[int], None]


def run_chunks(
    function: Callable[..., Any], chunks: Sequence[tuple[Any, ...]], *, jobs: int, done: Tick = lambda index: None
) -> list[Any]:
    """function(*chunk) for every chunk; `done` is told the index of each finished one.

    Raises:
        TerminatedWorkerError: a worker died in every round.
    """
    results: dict[int, Any] = {}
    if jobs == 1 or len(chunks) == 1:
        for index, chunk in enumerate(chunks):
            results[index] = function(*chunk)
            done(index)
        return [results[index] for index in range(len(chunks))]
    for attempt in range(_ROUNDS):
        missing = [index for index in range(len(chunks)) if index not in results]
        if not missing:
            break
        # a fresh Parallel each round: one that lost a worker can return stale results
        pool = Parallel(n_jobs=min(jobs, len(missing)), return_as="generator_unordered")
        try:
            for index, result in pool(delayed(_keyed)(index, function, chunks[index]) for index in missing):
                results[index] = result
                done(index)
        except TerminatedWorkerError:
            if attempt == _ROUNDS - 1:
                raise
    return [results[index] for index in range(len(chunks))]


def _keyed(index: int, function: Callable[..., Any], chunk: tuple[Any, ...]) -> tuple[int, Any]:
    torch.set_num_threads(1)
    return index, function(*chunk)
