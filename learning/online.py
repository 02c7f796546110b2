"""One deployed model whose records are deleted online: vectors added in place, releases on the books.

A deletion is one vector addition. A release is certified for the union of all deletions so far, charged to the ledger,
written to disk where the session has a folder, and only then handed out. What is on disk is checked before it is used.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import DamagedState, PlanError
from unlearning.ledger import Ledger
from unlearning.streams import Streams

from .checkpoint import read_arrays, write_arrays
from .objectives import Constants
from .recursion import ErrorRecursion, RecordNorms
from .vectors import VectorStore, checksum, open_file

_FILE = "session"
_CACHED = 2**18  # numbers of a vector that stay in a core's cache
_NORMS = tuple(f.name for f in fields(RecordNorms))


@dataclass(frozen=True, slots=True)
class OnlineCertificate:
    """Δ of any set of deletions from one learned model, without a replay.

    Attributes:
        norms: of one replica's run.
        constants: of a record's loss.
        divisor: "fixed" or "remaining".
    """

    norms: RecordNorms
    constants: Constants
    divisor: str

    def sensitivity_upper(self, deleted: NDArray[np.bool_]) -> float:
        """Δ of the deleted records, bool [n].

        Guarantee: at least ‖unlearned − retrained‖ in exact arithmetic, with vectors stored without rounding.
        """
        if not deleted.any():
            return 0.0
        trace = self.norms.trace(deleted[None], self.divisor)
        return ErrorRecursion(self.constants, self.divisor).sensitivity_upper(trace)[0]


class DeletionSession:
    """A model in service. Every method either does what it says or raises and changes nothing."""

    def __init__(
        self,
        parameters: Tensor,
        vectors: VectorStore,
        members: NDArray[np.bool_],
        ledger: Ledger,
        certificate: OnlineCertificate,
        *,
        learned: NDArray[np.bool_] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Take a learned model into service.

        Args:
            parameters: w, [P]; changed in place.
            vectors: of one replica.
            members: records still in the training set, bool [n]; changed in place.
            ledger: what was promised.
            certificate: Δ of any deletions.
            learned: the training set that the model was learned from, bool [n]; `members` without it.
            folder: where the session was saved; None until it is.

        Raises:
            ValueError: the vectors are not those of one replica, or of another size.
        """
        if len(vectors.replicas) != 1 or parameters.ndim != 1 or vectors.values.shape[2] != len(parameters):
            raise ValueError(
                f"vectors must belong to one replica with {parameters.numel()} parameters, got "
                f"{len(vectors.replicas)} of shape {list(vectors.values.shape)}."
            )
        self.parameters, self.vectors, self.members = parameters, vectors, members
        self.ledger, self.certificate, self.folder = ledger, certificate, folder
        self._learned = members.copy() if learned is None else learned
        self._rows = vectors.values[vectors.replicas[0]]
        self._slots = np.full(len(members), -1)
        self._slots[vectors.records] = np.arange(len(vectors.records))
        self._own_file = vectors.folder is not None and vectors.folder == folder

    @property
    def deleted(self) -> NDArray[np.bool_]:
        """All records deleted so far, bool [n]."""
        return np.asarray(self._learned & ~self.members)

    def sensitivity_upper(self) -> float:
        """Δ of all deletions so far, the rounding of stored vectors included.

        Guarantee: at least ‖parameters − retrained‖ in exact arithmetic.
        """
        deleted = self.deleted
        return self.certificate.sensitivity_upper(deleted) + float(self.vectors.rounding_upper(deleted[None])[0])

    def delete(self, records: Iterable[int]) -> None:
        """Forget these records: add their vectors, drop their rows; an empty request changes nothing.

        Raises:
            ValueError: a record is repeated, unknown, already deleted or without a vector, or none would be left.
            DamagedState: a vector is not finite; the weights are left as they were.
        """
        ids = list(records)
        if not ids:
            return
        self._check(ids)
        slots = self._slots[ids].tolist()
        if len(slots) == 1:
            shift = self._rows[slots[0]]
        else:
            shift = self._rows[torch.from_numpy(self._slots[ids])].to(self.parameters.dtype).sum(0)
        low, high = torch.aminmax(shift)  # one pass, and not a number if any is
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            broken = [r for r, s in zip(ids, slots, strict=True) if not bool(torch.isfinite(self._rows[s]).all())]
            raise DamagedState(
                f"The stored vector of record {(broken or ids)[0]} is not finite; the weights were left as they were. "
                "Restore the vectors, or retrain."
            )
        # a file's rows are erased after the session that no longer needs them is on disk
        erase = slots if not self._own_file else []
        for start in range(0, len(self.parameters), _CACHED):  # what was just read is erased while it is in the cache
            part = slice(start, start + _CACHED)
            self.parameters[part].add_(shift[part].to(self.parameters.device, self.parameters.dtype))
            for slot in erase:
                self._rows[slot, part].zero_()
        self.members[ids] = False

    def _check(self, ids: list[int]) -> None:
        rows = len(self.members)
        for record in ids:
            if not (isinstance(record, int | np.integer) and 0 <= record < rows):
                raise ValueError(f"request must name records from 0 to {rows - 1}, got {record!r}.")
            if not self.members[record]:
                state = "already deleted" if self._learned[record] else "never in the training set"
                raise ValueError(f"request must name records still in the training set, got {record}, {state}.")
            if self._slots[record] < 0:
                raise ValueError(
                    f"request must name records whose vectors were kept, got {record}. Retrain without it, and keep "
                    "its vector."
                )
        if len(set(ids)) < len(ids):
            raise ValueError(f"request must name each record once, got {len(ids) - len(set(ids))} repeated.")
        if len(ids) == int(self.members.sum()):
            raise ValueError("request must leave at least one record, got all of them. Delete the model instead.")

    def release(self, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I), [P], with σ of the ledger; charged and saved before they leave.

        Args:
            streams: of one replica; every release draws from a part of its own, after a restart too.

        Raises:
            BudgetExceeded: the promise on all releases would be broken; nothing is released.
            ValueError: the streams are not those of one replica.
        """
        if len(streams) != 1:
            raise ValueError(f"streams must hold 1 replica, got {len(streams)}.")
        number = len(self.ledger.releases)
        before = self.ledger
        self.ledger = before.charge(self.sensitivity_upper(), deleted=int(self.deleted.sum()))
        if self.folder is not None:
            try:
                self.save(self.folder)
            except BaseException:
                self.ledger = before
                raise
        size = len(self.parameters)
        noise = torch.from_numpy(streams.child("release", number).normals("noise", size)[0])
        noisy = self.parameters.double() + self.ledger.noise_scale * noise.to(self.parameters.device)
        return noisy.to(self.parameters.dtype)

    def save(self, folder: str | Path) -> None:
        """Put the session in a folder: vectors, then the session itself as a whole, then erase dropped rows.

        Raises:
            PlanError: the folder holds the vectors of another session.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        shape = (1, len(self.vectors.records), len(self.parameters))
        if self.folder is None or self.folder != folder:
            if (folder / _FILE).exists():
                raise PlanError(f"folder must hold no other session, got {folder}. Give an empty one.")
            (folder / "vectors.bin").unlink(missing_ok=True)
            copy = open_file(folder, shape, self.vectors.storage, create=True)
            copy[0] = self._rows.cpu()
        norms, constants = self.certificate.norms, self.certificate.constants
        arrays: dict[str, NDArray[np.generic]] = {
            "parameters": _bytes_of(self.parameters),
            "members": self.members,
            "learned": self._learned,
            "records": self.vectors.records,
            "rounding": self.vectors.rounding[[self.vectors.replicas[0]]],
            "sums": np.array([checksum(row) for row in self._rows], dtype=np.uint32),
            "said": np.array(
                json.dumps({
                    "dtype": str(self.parameters.dtype).removeprefix("torch."),
                    "storage": self.vectors.storage,
                    "divisor": self.certificate.divisor,
                    "constants": [getattr(constants, f.name) for f in fields(Constants)],
                    "ledger": self.ledger.to_json(),
                })
            ),
            **{f"norms.{name}": getattr(norms, name) for name in _NORMS},
        }
        write_arrays(folder / _FILE, arrays)
        self.folder = folder
        self._erase(open_file(folder, shape, self.vectors.storage))

    def _erase(self, rows: Tensor) -> None:
        gone = self._slots[np.flatnonzero(self.deleted)]
        rows[0, torch.from_numpy(gone)] = 0
        if self._own_file:
            self._rows[torch.from_numpy(gone)] = 0

    @staticmethod
    def load(folder: str | Path) -> "DeletionSession":
        """The session of a folder, every vector still needed checked against its checksum.

        Raises:
            DamagedState: a file is missing or damaged; the message names it.
        """
        folder = Path(folder)
        found = read_arrays(folder / _FILE)
        said = json.loads(str(found["said"]))
        parameters = _tensor_of(found["parameters"], getattr(torch, said["dtype"]))
        members, learned, records = found["members"].astype(bool), found["learned"].astype(bool), found["records"]
        values = open_file(folder, (1, len(records), len(parameters)), said["storage"])
        for slot, record in enumerate(records.tolist()):
            if members[record] and checksum(values[0, slot]) != int(found["sums"][slot]):
                raise DamagedState(
                    f"{folder / 'vectors.bin'} is damaged: the checksum of record {record} does not match. Restore it "
                    "from a backup, or retrain."
                )
        store = VectorStore(values, records.astype(np.int64), found["rounding"].astype(np.float64), (0,), folder)
        norms = RecordNorms(**{name: found[f"norms.{name}"] for name in _NORMS})  # type: ignore[arg-type]
        certificate = OnlineCertificate(norms, Constants(*said["constants"]), said["divisor"])
        ledger = Ledger.from_json(said["ledger"])
        session = DeletionSession(parameters, store, members, ledger, certificate, learned=learned, folder=folder)
        session._erase(values)  # what a stop between the session's file and this left behind
        return session


def _bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    return np.asarray(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())


def _tensor_of(data: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(data.astype(np.uint8).copy()).view(dtype)
