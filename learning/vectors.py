"""One vector per record, in float64, float32 or bfloat16, in memory or in a file, with the rounding error measured.

A vector that is stored in fewer bits than it was computed with differs from it; the difference is measured when it is
stored, in float64, and belongs into every bound on a model that the vector was added to.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import DamagedState, PlanError

STORAGE = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
_FILE = "vectors.bin"
_OUTWARD = 1 + 1e-12


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


@dataclass(frozen=True, slots=True)
class VectorStore:
    """Vectors of R records for each of K replicas.

    Attributes:
        values: [K', R, P] in the storage type, K' ≥ K.
        records: the R record ids, the same for every replica, ascending.
        rounding: Guarantee: at least ‖vector − stored vector‖₂, float64 [K', R]; not a number where nothing is stored.
        replicas: positions of the K replicas among the K'.
        folder: where `values` lie, None in memory.
    """

    values: Tensor
    records: NDArray[np.int64]
    rounding: NDArray[np.float64]
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
            PlanError: an unknown storage type.
            DamagedState: the folder's file has another size.
        """
        if storage not in STORAGE:
            raise PlanError(f"storage must be one of {', '.join(STORAGE)}, got {storage!r}.")
        ids = np.array(sorted(records), dtype=np.int64)
        shape = (replicas, len(ids), size)
        if folder is None:
            values = torch.zeros(shape, dtype=STORAGE[storage], device=device)
        else:
            values = open_file(folder, shape, storage, create=True)
        return VectorStore(values, ids, np.full(shape[:2], np.nan), tuple(range(replicas)), folder)

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
                f"request must name records whose vectors were kept, got record {int(records[~known][0])} and "
                f'{len(self.records)} kept. Learn with it among rows, or with vectors="request".'
            )
        return found

    def write(self, ids: NDArray[np.int64], vectors: Tensor) -> NDArray[np.uint32]:
        """Store vectors [K, r, P] of records ids [K, r] and measure what rounding does; returns checksums [K, r].

        Raises:
            DamagedState: a vector, as stored, is not finite; rows before it are written.
        """
        sums = np.empty(ids.shape, dtype=np.uint32)
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
                sums[k, i] = checksum(stored)
        return sums

    def total(self, request: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Sum of the vectors of each replica's request, bool [K, n]; [K, P].

        Raises:
            ValueError: a vector was not kept.
            DamagedState: a vector is not finite.
        """
        sums = []
        for replica, asked in zip(self.replicas, request.cpu().numpy(), strict=True):
            rows = self.values[replica, torch.from_numpy(self.slots(np.flatnonzero(asked)))]
            sums.append(rows.to(device, dtype).sum(0))
        found = torch.stack(sums)
        low, high = torch.aminmax(found, dim=1)  # one pass, and not a number if any is
        broken = ~(torch.isfinite(low) & torch.isfinite(high))
        if bool(broken.any()):
            raise self._not_finite(int(broken.nonzero()[0]), request)
        return found

    def _not_finite(self, position: int, request: Tensor) -> DamagedState:
        records = request[position].nonzero().flatten().tolist()
        rows = self.values[self.replicas[position]]
        slots = self.slots(np.array(records)).tolist()
        bad = [r for r, s in zip(records, slots, strict=True) if not bool(torch.isfinite(rows[s]).all())]
        return DamagedState(
            f"The stored vector of record {(bad or records)[0]} is not finite; the weights were left as they were. "
            "Restore the vectors, or retrain."
        )

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

    def flush(self) -> None:
        """Put on disk what a file's tensor holds."""
        if self.folder is not None:
            with (self.folder / _FILE).open("rb") as file:
                os.fsync(file.fileno())
