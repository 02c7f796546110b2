"""Finished chunks of a long propagation on disk: a killed run that is repeated in the same folder skips them."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import DamagedState
from unlearning.streams import Streams

from .task import Task
from .vectors import VectorStore, checksum

Arrays = Mapping[str, NDArray[np.generic]]
_DIGEST = 64


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


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Arrays that `write_arrays` wrote.

    Raises:
        DamagedState: the file is missing or damaged; the message names it.
    """
    if not path.is_file():
        raise DamagedState(f"{path} must be a file that was saved here, got nothing. Save first, or name its folder.")
    data = path.read_bytes()
    if hashlib.sha256(data[_DIGEST:]).hexdigest().encode() != data[:_DIGEST]:
        raise DamagedState(f"{path} is damaged: its checksum does not match. Restore it from a backup, or retrain.")
    with np.load(io.BytesIO(data[_DIGEST:]), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def fingerprint(task: Task, members: Tensor, streams: Streams, *more: object) -> str:
    """SHA-256 of everything that determines a run's vectors."""
    digest = hashlib.sha256()
    objective = task.objective
    said = [str(task.recipe), repr(task.recipe), repr(streams), objective.description, repr(objective.regularisation)]
    digest.update(json.dumps([*said, str(task.dtype), *map(repr, more)]).encode())
    for tensor in (task.dataset.features, task.dataset.labels, members):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(repr((array.shape, str(array.dtype))).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


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
        return dict(found)

    def finish(
        self, start: int, ids: NDArray[np.int64], store: VectorStore, sums: NDArray[np.uint32], arrays: Arrays
    ) -> None:
        """Keep a chunk: its vectors first, then the file that says that they are there."""
        store.flush()
        rounding = np.stack([store.rounding[r, store.slots(ids[k])] for k, r in enumerate(store.replicas)])
        write_arrays(self._path(start), {"ids": ids, "sums": sums, "rounding": rounding, **arrays})
