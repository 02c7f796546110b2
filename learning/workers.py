"""Local worker processes: one chunk of replicas is one task; results come back in the order of the tasks."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from unlearning.errors import BrokenMethod, CertunlearnError, ShapeMismatch

_ROUNDS = 3  # a worker killed by the system is replaced this many times

Tick = Callable[[int], None]


def run_chunks(
    function: Callable[..., Any], chunks: Sequence[tuple[Any, ...]], *, jobs: int, done: Tick = lambda index: None
) -> list[Any]:
    """function(*chunk) for every chunk; `done` is told the index of each finished one.

    Raises:
        CertunlearnError: as the function raised it.
        BrokenMethod: the function raised anything else; the message says what and where.
        TerminatedWorkerError: a worker died in every round.
    """
    results: dict[int, Any] = {}
    if jobs == 1 or len(chunks) == 1:
        for index, chunk in enumerate(chunks):
            results[index] = _result(_keyed(index, function, chunk)[1])
            done(index)
        return [results[index] for index in range(len(chunks))]
    for attempt in range(_ROUNDS):
        missing = [index for index in range(len(chunks)) if index not in results]
        if not missing:
            break
        # a fresh Parallel each round: one that lost a worker can return stale results
        pool = Parallel(n_jobs=min(jobs, len(missing)), return_as="generator_unordered")
        try:
            # read to the end even after a failure: a generator of joblib's that is dropped half-way leaves a mess
            for index, result in pool(delayed(_keyed)(index, function, chunks[index]) for index in missing):
                results[index] = result
                done(index)
        except TerminatedWorkerError:
            if attempt == _ROUNDS - 1:
                raise
    return [_result(results[index]) for index in range(len(chunks))]


@dataclass(frozen=True, slots=True)
class _Failure:
    """An exception as text: not every exception can be pickled."""

    kind: type[CertunlearnError]
    message: str


def _keyed(index: int, function: Callable[..., Any], chunk: tuple[Any, ...]) -> tuple[int, Any]:
    torch.set_num_threads(1)
    try:
        return index, function(*chunk)
    except CertunlearnError as error:
        plain = type(error).__module__ == CertunlearnError.__module__ and not isinstance(error, ShapeMismatch)
        return index, _Failure(type(error) if plain else BrokenMethod, str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001  anyone's method runs here
        return index, _Failure(BrokenMethod, told(error))


def told(error: BaseException) -> str:
    """An exception in one line: its type, file and line (the last in no installed package, if any), and message."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in Path(frame.filename).parts]
    last = (own or list(frames))[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"


def _result(result: Any) -> Any:
    if isinstance(result, _Failure):
        raise result.kind(result.message)
    return result
