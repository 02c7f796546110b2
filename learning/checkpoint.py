"""Finished chunks of a long propagation on disk: a killed run that is repeated in the same folder skips them."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import DamagedState
from unlearning.streams import Streams

from .task import Task
from .vectors import VectorStore, checksum

Arrays = Mapping[str, NDArray[np.generic]]
_DIGEST = 64
_FORMAT = 2  # of what a learning run keeps in its folder
_PROBED = 8  # records on which a model is told from another


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Arrays in one file that starts with its own SHA-256; there as a whole, or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    payload = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    with draft.open("wb") as file:
        file.write(hashlib.sha256(payload).hexdigest().encode())
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put on disk which files a folder holds, where a system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Arrays that `write_arrays` wrote.

    Raises:
        DamagedState: the file is missing or damaged; the message names it.
    """
    if not path.is_file():
        raise DamagedState(f"{path} must be a file that was saved here, got nothing. Save first, or name its folder.")
    data = path.read_bytes()
    if hashlib.sha256(data[_DIGEST:]).hexdigest().encode() != data[:_DIGEST]:
        raise DamagedState(
            f"{path} is damaged: its checksum does not match. Retrain: a backup forgets what was released since."
        )
    with np.load(io.BytesIO(data[_DIGEST:]), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def read_array(path: Path, name: str) -> NDArray[np.generic]:
    """One array of those that `write_arrays` wrote, without reading the others; its own checksum is checked.

    Raises:
        DamagedState: the file is missing or damaged; the message names it.
    """
    try:
        with path.open("rb") as file:
            file.seek(_DIGEST)
            with np.load(file, allow_pickle=False) as found:
                return np.asarray(found[name])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as problem:
        raise DamagedState(f"{path} is damaged or gone: {problem}. Retrain.") from None


def fingerprint(task: Task, members: Tensor, streams: Streams, *more: object) -> str:
    """SHA-256 of everything that determines a run's vectors; the model by what it computes, not by what it is called.

    The probe holds losses, gradient and one curvature product at the first initial point, to the last bit: parameters
    that are not trained, buffers, activations and losses all show there.
    """
    digest = hashlib.sha256()
    objective = task.objective
    said = [repr(task.recipe), repr(streams), objective.description, repr(objective.regularisation), objective.size]
    where = [str(task.dtype), task.device.type]
    digest.update(json.dumps([_FORMAT, *said, *where, *map(repr, more)]).encode())
    for tensor in (task.dataset.features, task.dataset.labels, members, *_probe(task, streams)):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(repr((array.shape, str(array.dtype))).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _probe(task: Task, streams: Streams) -> tuple[Tensor, ...]:
    objective, rows = task.objective, torch.arange(0, task.rows, -(-task.rows // _PROBED))
    features = task.dataset.features[rows].to(task.device, task.dtype).unsqueeze(0)
    labels = task.dataset.labels[rows].to(task.device).unsqueeze(0)
    start = objective.initial(streams.generators("initial")[:1]).to(task.device, task.dtype)
    point = objective.at(start, features, labels)
    weights = torch.full((1, len(rows)), 1 / len(rows), dtype=task.dtype, device=task.device)
    gradient = point.gradient(weights)
    return start, point.losses(), gradient, point.hvp(weights, gradient.unsqueeze(1))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Chunks of one run in one folder, a file each.

    Attributes:
        folder: of this run alone.
    """

    folder: Path

    def _path(self, start: int) -> Path:
        return self.folder / f"chunk-{start:09d}"

    def finished(self, start: int, ids: NDArray[np.int64], store: VectorStore) -> dict[str, NDArray[Any]] | None:
        """What was kept of the chunk that starts here, its vectors checked; None where it was not finished.

        Raises:
            DamagedState: the chunk's file or a vector is damaged.
        """
        path = self._path(start)
        if not path.exists():
            return None
        found = read_arrays(path)
        if not np.array_equal(found["ids"], ids):
            raise DamagedState(f"{path} holds other records than this run's. Learn in another folder.")
        for k, replica in enumerate(store.replicas):
            slots = store.slots(ids[k])
            for record, slot, expected in zip(ids[k], slots, found["sums"][k], strict=True):
                if checksum(store.values[replica, int(slot)]) != int(expected):
                    raise DamagedState(
                        f"{self.folder / 'vectors.bin'} is damaged: the checksum of record {int(record)} does not "
                        "match. Remove the folder and learn again."
                    )
            store.rounding[replica, slots] = found["rounding"][k]
            store.checksums[replica, slots] = found["sums"][k]
        return dict(found)

    def finish(self, start: int, ids: NDArray[np.int64], store: VectorStore, arrays: Arrays) -> None:
        """Keep a chunk: its vectors first, then the file that says that they are there."""
        store.flush()
        where = [(replica, store.slots(ids[k])) for k, replica in enumerate(store.replicas)]
        rounding, sums = (np.stack([own[at] for at in where]) for own in (store.rounding, store.checksums))
        write_arrays(self._path(start), {"ids": ids, "sums": sums, "rounding": rounding, **arrays})
