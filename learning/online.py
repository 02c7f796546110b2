"""One deployed model whose records are deleted online: vectors added in place, releases on the books.

A deletion is one vector addition. A release is certified for the union of all deletions so far, charged to the ledger,
and only then handed out. Where the session has a folder, a deletion is in its journal before the weights change, and a
release on its books before the weights leave. What is on disk is checked before it is used.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import DamagedState, Diverged, PlanError
from unlearning.ledger import Ledger
from unlearning.streams import Streams

from .checkpoint import read_array, read_arrays, write_arrays
from .journal import SessionFolder
from .objectives import Constants
from .recursion import ErrorRecursion, RecordNorms
from .vectors import VectorStore, open_file, record_ids

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
    """A model in service. Every method either does what it says or raises and changes nothing.

    Until the session is saved, deletions and releases live in memory alone: save it before the first one. From then on
    each is on disk before it counts, and the folder is open in this session alone until `close` or the process's end.

    Never put an older copy of the folder into service. A backup forgets releases and deletions made since: the ledger
    would promise what is spent already, and records that somebody had deleted would be back. Retrain instead. The noise
    at least would be fresh: it depends on the weights and the books that are released, not on their number alone.
    """

    def __init__(
        self,
        parameters: Tensor,
        vectors: VectorStore,
        members: NDArray[np.bool_],
        ledger: Ledger,
        certificate: OnlineCertificate,
        *,
        learned: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take a learned model into service; the vectors become the session's, which erases what it deletes.

        Args:
            parameters: w, [P]; changed in place.
            vectors: of one replica.
            members: records still in the training set, bool [n]; changed in place.
            ledger: what was promised.
            certificate: Δ of any deletions.
            learned: the training set that the model was learned from, bool [n]; `members` without it.

        Raises:
            ValueError: the vectors are not those of one replica, or of another size.
            Diverged: a parameter is not finite.
        """
        if len(vectors.replicas) != 1 or parameters.ndim != 1 or vectors.values.shape[2] != len(parameters):
            raise ValueError(
                f"vectors must belong to one replica with {parameters.numel()} parameters, got "
                f"{len(vectors.replicas)} of shape {list(vectors.values.shape)}."
            )
        if not bool(torch.isfinite(parameters).all()):
            raise Diverged("parameters must be finite in service, got NaN or infinity. Learn again.")
        self.parameters, self.vectors, self.members = parameters, vectors, members
        self.ledger, self.certificate = ledger, certificate
        self._learned = members.copy() if learned is None else learned
        self._home: SessionFolder | None = None
        self._generation = 0  # of the session's file
        vectors.take_into_service()

    @property
    def folder(self) -> Path | None:
        """Where the session lies; None until it is saved."""
        return None if self._home is None else self._home.folder

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

        In a folder the deletion lasts from here on, and the rows leave the disk with the next save or release.

        Args:
            records: ids, a list, array or tensor.

        Raises:
            ValueError: a record is repeated, unknown, already deleted or without a vector, or none would be left.
            DamagedState: a vector is damaged or not finite; the weights are left as they were.
        """
        ids = record_ids("request", records)
        if self._home is not None:
            self._home.check_open()
        if ids:
            shift = self._shift(ids)
            if self._home is not None:
                self._home.append(self._generation, ids)
            self._add(ids, shift)

    def _shift(self, ids: list[int]) -> Tensor:
        """What deleting these records adds to the weights, everything about it checked."""
        rows = len(self.members)
        for record in ids:
            if not 0 <= record < rows:
                raise ValueError(f"request must name records from 0 to {rows - 1}, got {record}.")
            if not self.members[record]:
                state = "already deleted" if self._learned[record] else "never in the training set"
                raise ValueError(f"request must name records still in the training set, got {record}, {state}.")
        if len(set(ids)) < len(ids):
            raise ValueError(f"request must name each record once, got {len(ids) - len(set(ids))} repeated.")
        if len(ids) == int(self.members.sum()):
            raise ValueError("request must leave at least one record, got all of them. Delete the model instead.")
        return self.vectors.sum_of(0, np.array(ids), self.parameters.dtype, self.parameters.device)

    def _add(self, ids: list[int], shift: Tensor) -> None:
        # a folder's rows are erased after the session that no longer needs them is on disk
        own = self.vectors.folder is None or self.vectors.folder != self.folder
        slots = self.vectors.slots(np.array(ids)) if own else np.empty(0, dtype=np.int64)
        replica = self.vectors.replicas[0]
        for start in range(0, len(self.parameters), _CACHED):  # what was just read is erased while it is in the cache
            part = slice(start, start + _CACHED)
            self.parameters[part].add_(shift[part].to(self.parameters.device, self.parameters.dtype))
            for slot in slots.tolist():
                self.vectors.values[replica, slot, part].zero_()
        self.vectors.checksums[replica, slots] = -1
        self.members[ids] = False

    def release(self, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I), [P], with σ of the ledger; charged and saved before they leave.

        Args:
            streams: of one replica; every release draws from a part of its own, told by the weights and the books, so
                that two different releases never share their noise, whatever was restored or opened twice.

        Raises:
            BudgetExceeded: the promise on all releases would be broken; nothing is released, deletions stay.
            ValueError: the streams are not those of one replica, or the session was closed.
            DamagedState: the folder holds another file than this session put there.
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
        part = streams.child("release", number, self._generation, *self._digest())
        noise = torch.from_numpy(part.normals("noise", size)[0])
        noisy = self.parameters.double() + self.ledger.noise_scale * noise.to(self.parameters.device)
        return noisy.to(self.parameters.dtype)

    def _digest(self) -> tuple[int, ...]:
        """SHA-256 of the weights before noise and of the books, in eight numbers."""
        told = hashlib.sha256(f"{self.parameters.dtype} {self.ledger.to_json()} ".encode())
        told.update(_bytes_of(self.parameters).data)
        return tuple(np.frombuffer(told.digest(), dtype="<u4").tolist())

    def save(self, folder: str | Path) -> None:
        """Put the session in a folder, where it stays: the session's file as a whole, then erase dropped rows.

        The first save checks every vector and moves it there; vectors of a learning run leave that run's folder.

        Raises:
            PlanError: the folder holds another session, or this session lies in another folder.
            ValueError: the session was closed.
            DamagedState: a vector is damaged, or the folder holds another file than this session put there.
        """
        folder = Path(folder)
        if self._home is None:
            self._move_in(folder)
        elif folder.resolve() != self._home.folder.resolve():
            raise PlanError(
                f"folder must be the session's own, {self.folder}, got {folder}: two copies would spend one budget "
                "twice. Close the session, move its folder, and load it there."
            )
        else:
            self._write(self._home, self.vectors)

    def _move_in(self, folder: Path) -> None:
        home = SessionFolder(folder)
        try:
            if (folder / _FILE).exists():
                raise PlanError(f"folder must hold no other session, got {folder}. Give an empty one.")
            moved = self.vectors.move(folder)
            home.clear()
            self._write(home, moved)
        except BaseException:
            self._generation = 0
            home.close()
            raise
        self._home = home
        if self.vectors.folder is not None:
            self.vectors.discard()
            self.vectors = moved

    def _write(self, home: SessionFolder, stored: VectorStore) -> None:
        home.check_open()
        path = home.folder / _FILE
        if self._generation and (found := _generation(read_array(path, "said"))) != self._generation:
            raise DamagedState(
                f"{path} must be number {self._generation}, as this session left it, got number {found}: somebody put "
                "another file there. Retrain: what was deleted and released since is not on the books."
            )
        norms, constants = self.certificate.norms, self.certificate.constants
        sums = self.vectors.checksums[self.vectors.replicas[0]].copy()
        sums[self._gone()] = -1
        arrays: dict[str, NDArray[np.generic]] = {
            "parameters": _bytes_of(self.parameters),
            "members": self.members,
            "learned": self._learned,
            "records": self.vectors.records,
            "rounding": self.vectors.rounding[[self.vectors.replicas[0]]],
            "sums": sums,
            "said": np.array(
                json.dumps({
                    "generation": self._generation + 1,
                    "dtype": str(self.parameters.dtype).removeprefix("torch."),
                    "storage": self.vectors.storage,
                    "divisor": self.certificate.divisor,
                    "constants": [getattr(constants, f.name) for f in fields(Constants)],
                    "ledger": self.ledger.to_json(),
                })
            ),
            **{f"norms.{name}": getattr(norms, name) for name in _NORMS},
        }
        write_arrays(path, arrays)
        self._generation += 1
        home.clear()
        if stored.folder != home.folder:  # the session works in memory, the file only follows
            stored = replace(stored, values=open_file(home.folder, (1, *stored.values.shape[1:]), stored.storage))
        self._erase(stored.values)

    def _gone(self) -> NDArray[np.int64]:
        """Rows that belong to deleted records."""
        return np.flatnonzero(np.isin(self.vectors.records, np.flatnonzero(self.deleted)))

    def _erase(self, values: Tensor) -> None:
        values[0, torch.from_numpy(self._gone())] = 0
        self.vectors.checksums[self.vectors.replicas[0], self._gone()] = -1

    def close(self) -> None:
        """Let go of the folder, for another process or `load`; deletions and releases are on disk already."""
        if self._home is not None:
            self._home.close()

    @staticmethod
    def load(folder: str | Path) -> "DeletionSession":
        """The session of a folder: every vector still needed checked, and what the journal holds deleted again.

        Raises:
            DamagedState: a file is missing or damaged; the message names it.
            PlanError: another session holds the folder.
        """
        folder = Path(folder)
        if not (folder / _FILE).is_file():
            read_arrays(folder / _FILE)  # says so, and makes no folder
        home = SessionFolder(folder)
        try:
            return DeletionSession._load(home)
        except BaseException:
            home.close()
            raise

    @staticmethod
    def _load(home: SessionFolder) -> "DeletionSession":
        found = read_arrays(home.folder / _FILE)
        said = json.loads(str(found["said"]))
        pending = home.pending(int(said["generation"]))
        parameters = _tensor_of(found["parameters"], getattr(torch, said["dtype"]))
        members, learned = found["members"].astype(bool), found["learned"].astype(bool)
        records, sums = found["records"].astype(np.int64), found["sums"].astype(np.int64)[None]
        values = open_file(home.folder, (1, len(records), len(parameters)), said["storage"])
        store = VectorStore(values, records, found["rounding"].astype(np.float64), sums, (0,), home.folder)
        store.verify(0, records[members[records]])
        norms = RecordNorms(**{name: found[f"norms.{name}"] for name in _NORMS})  # type: ignore[arg-type]
        certificate = OnlineCertificate(norms, Constants(*said["constants"]), said["divisor"])
        ledger = Ledger.from_json(said["ledger"])
        session = DeletionSession(parameters, store, members, ledger, certificate, learned=learned)
        session._home, session._generation = home, int(said["generation"])
        session._erase(values)  # what a stop between the session's file and this left behind
        for ids in pending:
            try:
                session._add(ids, session._shift(ids))
            except ValueError as problem:
                raise DamagedState(f"The journal in {home.folder} is not this session's: {problem}") from None
        if pending:
            session.save(home.folder)  # what was deleted leaves the disk now
        return session


def _generation(said: NDArray[np.generic]) -> int:
    return int(json.loads(str(said))["generation"])


def _bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    return np.asarray(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())


def _tensor_of(data: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(data.astype(np.uint8).copy()).view(dtype)
