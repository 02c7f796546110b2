"""One vector per record, in float64, float32 or bfloat16, in memory or in a file, with the rounding error measured.

A vector that is stored in fewer bits than it was computed with differs from it; the difference is measured when it is
stored, in float64, and belongs into every bound on a model that the vector was added to. Its checksum is made then too,
and never again: what is damaged later cannot pass for what was stored.
"""

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import DamagedState, PlanError

STORAGE = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
_FILE = "vectors.bin"
_TAKEN = "in-service"
_OUTWARD = 1 + 1e-12


def record_ids(name: str, values: object) -> list[int]:
    """Record ids of a list, array or tensor.

    Raises:
        ValueError: it is no collection of whole numbers; the message starts with `name`.
    """
    found = values.tolist() if isinstance(values, Tensor | np.ndarray) else values
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        way_out = f" Give [{found}]." if isinstance(found, Integral) else ""
        raise ValueError(f"{name} must be a list of record ids, got {found!r}.{way_out}")
    ids = list(found)
    for record in ids:
        if isinstance(record, bool) or not isinstance(record, Integral):
            raise ValueError(f"{name} must be a list of record ids, whole numbers, got {record!r} among them.")
    return [int(record) for record in ids]


def open_file(folder: Path, shape: tuple[int, int, int], storage: str, *, create: bool = False) -> Tensor:
    """Vectors [K, R, P] in a file of this folder, as a tensor that reads and writes it.

    Raises:
        DamagedState: the file has another size; the message names it.
    """
    path, dtype = folder / _FILE, STORAGE[storage]
    wanted = dtype.itemsize * shape[0] * shape[1] * shape[2]
    if create and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(wanted)
    found = path.stat().st_size if path.exists() else None
    if found != wanted:
        raise DamagedState(
            f"{path} must hold {wanted} bytes, {shape[1]} vectors of {shape[2]} numbers in {storage} for {shape[0]} "
            f"replicas, got {'no file' if found is None else f'{found} bytes'}. Restore it, or learn again in another "
            "folder."
        )
    flat = np.memmap(path, dtype=np.uint8, mode="r+", shape=(wanted,))
    return torch.from_numpy(flat).view(dtype).view(shape)


def checksum(row: Tensor) -> int:
    """CRC-32 of a vector's bytes."""
    data = row.detach().cpu().contiguous().view(torch.uint8).numpy()
    return zlib.crc32(data.data)


def check_folder(name: str, value: object) -> None:
    """Refuse what is no path of a folder, or of one that can be made; None is fine.

    Raises:
        ValueError: it is none.
    """
    if value is None:
        return
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError(f"{name} must be a path, got {value!r}.")
    if Path(value).exists() and not Path(value).is_dir():
        raise ValueError(f"{name} must be a folder, or not exist yet, got the file {str(value)!r}.")


@dataclass(frozen=True, slots=True)
class VectorStore:
    """Vectors of R records for each of K replicas.

    Attributes:
        values: [K', R, P] in the storage type, K' ≥ K.
        records: the R record ids, the same for every replica, ascending.
        rounding: Guarantee: at least ‖vector − stored vector‖₂, float64 [K', R]; not a number where nothing is stored.
        checksums: of each vector when it was stored, int64 [K', R]; -1 where nothing is stored, or no longer.
        replicas: positions of the K replicas among the K'.
        folder: where `values` lie, None in memory.
    """

    values: Tensor
    records: NDArray[np.int64]
    rounding: NDArray[np.float64]
    checksums: NDArray[np.int64]
    replicas: tuple[int, ...]
    folder: Path | None = None

    @staticmethod
    def create(
        replicas: int,
        records: Sequence[int] | NDArray[np.int64],
        size: int,
        storage: str,
        *,
        device: torch.device,
        folder: Path | None = None,
    ) -> "VectorStore":
        """An empty store, or the one that this folder already holds.

        Raises:
            PlanError: an unknown storage type, or a session took the folder's vectors into service.
            DamagedState: the folder's file has another size.
        """
        if storage not in STORAGE:
            raise PlanError(f"storage must be one of {', '.join(STORAGE)}, got {storage!r}.")
        ids = np.array(sorted(records), dtype=np.int64)
        shape = (replicas, len(ids), size)
        if folder is None:
            values = torch.zeros(shape, dtype=STORAGE[storage], device=device)
        elif (folder / _TAKEN).exists():
            raise PlanError(
                f"folder must hold vectors that are still as they were learned, got {folder}, whose vectors a deletion "
                "session took into service. Go on with that session, or learn in another folder."
            )
        else:
            values = open_file(folder, shape, storage, create=True)
        none = np.full(shape[:2], -1, dtype=np.int64)
        return VectorStore(values, ids, np.full(shape[:2], np.nan), none, tuple(range(replicas)), folder)

    @property
    def storage(self) -> str:
        """Name of the storage type."""
        return next(name for name, dtype in STORAGE.items() if dtype == self.values.dtype)

    def slots(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of these records.

        Raises:
            ValueError: no vector is kept for one of them.
        """
        found = np.searchsorted(self.records, records)
        known = found < len(self.records)
        known[known] = self.records[found[known]] == records[known]
        if not known.all():
            raise ValueError(
                f"request must name records whose vectors were kept, got record {int(records[~known][0])}; "
                f"{len(self.records)} records have one. Retrain without it, or learn with it among rows."
            )
        return found

    def write(self, ids: NDArray[np.int64], vectors: Tensor) -> None:
        """Store vectors [K, r, P] of records ids [K, r], measure what rounding does, and keep their checksums.

        Raises:
            DamagedState: a vector, as stored, is not finite; rows before it are written.
        """
        for k, replica in enumerate(self.replicas):
            for i, slot in enumerate(self.slots(ids[k]).tolist()):
                stored = vectors[k, i].to(self.values.dtype).to(self.values.device)
                difference = vectors[k, i].double() - stored.to(vectors.device).double()
                error = float(torch.linalg.vector_norm(difference)) * _OUTWARD
                if not np.isfinite(error):
                    raise DamagedState(
                        f"The vector of record {int(ids[k, i])} is not finite in {self.storage}. Lower "
                        "recipe.step_size, or store float64."
                    )
                self.values[replica, slot] = stored
                self.rounding[replica, slot] = error
                self.checksums[replica, slot] = checksum(stored)

    def verify(self, position: int, records: NDArray[np.int64]) -> None:
        """Refuse the vectors of these records in one replica unless they are what was stored.

        Raises:
            ValueError: a vector was not kept.
            DamagedState: a vector was erased, or does not match its checksum.
        """
        replica = self.replicas[position]
        for record, slot in zip(records.tolist(), self.slots(records).tolist(), strict=True):
            kept = int(self.checksums[replica, slot])
            if kept < 0:
                raise DamagedState(
                    f"The vector of record {record} is gone: a session deleted the record, or took the vectors into "
                    "its own folder. Go on with that session, or learn again."
                )
            if checksum(self.values[replica, slot]) != kept:
                where = "The store" if self.folder is None else str(self.folder / _FILE)
                raise DamagedState(
                    f"{where} is damaged: the checksum of record {record}'s vector does not match; the weights were "
                    "left as they were. Retrain, or learn again in another folder."
                )

    def sum_of(self, position: int, records: NDArray[np.int64], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Sum of these records' vectors in one replica, [P]; of a single record a view, as it is stored.

        A file's vectors are checked against the checksums made when they were stored.

        Raises:
            ValueError: a vector was not kept.
            DamagedState: a vector is damaged, erased or not finite.
        """
        replica, slots = self.replicas[position], self.slots(records)
        rows = self.values[replica]
        if self.folder is not None or bool((self.checksums[replica, slots] < 0).any()):
            self.verify(position, records)
        found = rows[int(slots[0])] if len(slots) == 1 else rows[torch.from_numpy(slots)].to(device, dtype).sum(0)
        low, high = torch.aminmax(found)  # one pass, and not a number if any is
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            bad = [r for r, s in zip(records, slots, strict=True) if not bool(torch.isfinite(rows[int(s)]).all())]
            raise DamagedState(
                f"The stored vector of record {(bad or list(records))[0]} is not finite; the weights were left as they "
                "were. Retrain, or learn again."
            )
        return found

    def total(self, request: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Sum of the vectors of each replica's request, bool [K, n]; [K, P].

        Raises:
            ValueError: a vector was not kept.
            DamagedState: a vector is damaged, erased or not finite.
        """
        asked = [np.flatnonzero(own) for own in request.cpu().numpy()]
        sums = [self.sum_of(k, ids, dtype, device).to(device, dtype) for k, ids in enumerate(asked)]
        return torch.stack(sums)

    def rounding_upper(self, request: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What storing the vectors of each replica's request, bool [K, n], adds to any bound, [K].

        Guarantee: at least ‖Σ vectors − Σ stored vectors‖₂, by the triangle inequality.
        """
        found = [
            self.rounding[replica, self.slots(np.flatnonzero(asked))].sum()
            for replica, asked in zip(self.replicas, request, strict=True)
        ]
        return np.array(found) * _OUTWARD

    def take(self, positions: list[int]) -> "VectorStore":
        """The store of the replicas at these positions: a view, nothing is copied."""
        return replace(self, replicas=tuple(self.replicas[p] for p in positions))

    def take_into_service(self) -> None:
        """Say in the folder, where there is one, that a session changes its vectors from now on."""
        if self.folder is not None:
            (self.folder / _TAKEN).write_text("A deletion session took these vectors into service.\n")

    def move(self, folder: Path) -> "VectorStore":
        """A checked copy of a one-replica store in another folder, on disk; `discard` ends the move.

        Raises:
            DamagedState: a vector that was not erased does not match its checksum.
        """
        (replica,) = self.replicas
        there = self.checksums[replica] >= 0
        self.verify(0, self.records[there])
        (folder / _FILE).unlink(missing_ok=True)
        values = open_file(folder, (1, *self.values.shape[1:]), self.storage, create=True)
        values[0] = self.values[replica].cpu()
        rounding, sums = self.rounding[[replica]], self.checksums[[replica]]
        copied = VectorStore(values, self.records, rounding, sums, (0,), folder)
        copied.flush()
        return copied

    def discard(self) -> None:
        """Drop what was moved to another folder: the file, or this replica's rows in a file of several."""
        (replica,) = self.replicas
        self.checksums[replica] = -1
        if self.folder is not None and len(self.values) > 1:
            self.values[replica] = 0
        elif self.folder is not None:
            (self.folder / _FILE).unlink(missing_ok=True)

    def flush(self) -> None:
        """Put on disk what a file's tensor holds."""
        if self.folder is not None:
            with (self.folder / _FILE).open("rb") as file:
                os.fsync(file.fileno())
