"""Datasets: as a source gives them, and as the models see them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import PlanError

LARGEST = 1e100  # features beyond this would overflow when squared or standardised

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Canaries:
    """Records that were planted.

    Attributes:
        mislabelled: records that got another label, ascending.
        duplicates: equal records: first the one that was copied, then its copies.
    """

    mislabelled: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and holdout records as the models see them.

    Attributes:
        name: short name.
        origin: who made the records, or the file with its checksum.
        features: float64 [n, d]; the last column is the bias where one was asked for.
        labels: int64 [n], 0 … classes − 1.
        holdout_features: float64 [h, d], never trained on.
        holdout_labels: int64 [h].
        classes: number of classes.
        preprocessing: one sentence on what was done, and on which rows it was computed.
        remark: what a reader must know, e.g. that images are lossy copies.
        norm_upper: R. Guarantee: at least ‖x̃‖₂ of every row above, in float64, bias included; None: nothing is proved.
        label_names: the label of each class as the source wrote it.
        canaries: training records that were planted, None: none.
    """

    name: str
    origin: str
    features: Tensor
    labels: Tensor
    holdout_features: Tensor
    holdout_labels: Tensor
    classes: int
    preprocessing: str
    remark: str | None = None
    norm_upper: float | None = None
    label_names: tuple[str, ...] = ()
    canaries: Canaries | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over names, types, shapes and bytes of the four arrays as used."""
        digest = hashlib.sha256()
        for name in ("features", "labels", "holdout_features", "holdout_labels"):
            array = np.ascontiguousarray(getattr(self, name).numpy())
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {little.dtype.str} {little.shape}\n".encode())
            digest.update(little.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Records as a source gives them, checked: `prepare` makes a `Dataset` of them.

    Attributes:
        name: short name.
        origin: who made the records, or the file with its checksum.
        features: [n, d], any real type.
        labels: int64 [n], 0 … classes − 1.
        holdout_features: [h, d], or None: `prepare` splits.
        holdout_labels: int64 [h], or None.
        label_names: the label of each class as the source wrote it.
        divisor: the features are divided by this number.
        note: what the source did to the records, part of a sentence.
        remark: what a reader must know.
    """

    name: str
    origin: str
    features: Array
    labels: NDArray[np.int64]
    holdout_features: Array | None
    holdout_labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]
    divisor: float = 1.0
    note: str = ""
    remark: str | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.label_names)


def checked(
    features: object,
    labels: object,
    holdout_features: object = None,
    holdout_labels: object = None,
    *,
    name: str,
    origin: str,
    divisor: float = 1.0,
    note: str = "",
    remark: str | None = None,
) -> RawDataset:
    """Check the arrays of a source; flatten images, number the labels.

    Raises:
        PlanError: a NaN, a label that is neither a whole number nor a string, one class, shapes that disagree, nothing.
    """
    if (holdout_features is None) != (holdout_labels is None):
        given, absent = ("features", "labels") if holdout_labels is None else ("labels", "features")
        raise PlanError(
            f"holdout_{absent} must be given together with holdout_{given}, got none; name both, or neither to have a "
            "holdout chosen."
        )
    train = _features(features, "features")
    train_labels = _labels(labels, "labels", len(train))
    if holdout_features is None:
        numbers, names = _numbered([train_labels])
        return RawDataset(name, origin, train, numbers[0], None, None, names, divisor, note, remark)
    held = _features(holdout_features, "holdout_features")
    if held.shape[1] != train.shape[1]:
        raise PlanError(
            f"holdout_features must have {train.shape[1]} columns, as features, got {held.shape[1]}; "
            "take both from the same source."
        )
    held_labels = _labels(holdout_labels, "holdout_labels", len(held))
    numbers, names = _numbered([train_labels, held_labels])
    return RawDataset(name, origin, train, numbers[0], held, numbers[1], names, divisor, note, remark)


def readable(path: Path) -> bytes:
    """Read a data file whole.

    Raises:
        PlanError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PlanError(
            f"file must be in the folder of data, got {path.name!r}, not found in {path.parent.absolute()}; "
            "--data DIR or CERTUNLEARN_DATA names the folder."
        ) from error
    except OSError as error:
        raise PlanError(
            f"file must be readable, got {path} ({error.strerror}); --data DIR or CERTUNLEARN_DATA names the folder."
        ) from error


def file_origin(path: Path, content: bytes) -> str:
    """Name a file without its folder, with its checksum."""
    return f"file {path.name}, SHA-256 {hashlib.sha256(content).hexdigest()}"


def plain(value: object) -> Array:
    """NumPy array of anything array-like, tensors included."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _features(value: object, field: str) -> Array:
    array = plain(value)
    if array.dtype.kind not in "biuf":
        raise PlanError(f"{field} must be real numbers, got an array of {array.dtype}; encode them as numbers first.")
    if array.ndim < 2:
        raise PlanError(f"{field} must have shape [rows, …], got {list(array.shape)}; give one row per record.")
    if array.size == 0:
        raise PlanError(f"{field} must hold at least one row and one column, got {list(array.shape)}; give records.")
    array = array.reshape(len(array), -1)
    if array.dtype.kind == "f":
        bad = ~(np.abs(array) <= min(LARGEST, float(np.finfo(array.dtype).max)))
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise PlanError(
                f"{field} must be finite numbers of at most {LARGEST:g}, got {array[row, column]} in row {row}, column "
                f"{column}; fill or leave out such rows."
            )
    return array


def _labels(value: object, field: str, rows: int) -> Array:
    array = plain(value)
    if array.ndim != 1:
        raise PlanError(f"{field} must have shape [{rows}], got {list(array.shape)}; give one label per row.")
    if len(array) != rows:
        raise PlanError(f"{field} must have shape [{rows}], as features have rows, got [{len(array)}]; give one each.")
    if array.dtype.kind == "f":
        bad = ~(np.isfinite(array) & (array == np.round(array)))
        if bad.any():
            row = int(np.argmax(bad))
            raise PlanError(
                f"{field} must be whole numbers or strings, got {array[row]} in row {row}; audited are classifiers."
            )
        return array.astype(np.int64)
    if array.dtype.kind not in "biuU":
        raise PlanError(
            f"{field} must be whole numbers or strings, got an array of {array.dtype}; convert them with astype."
        )
    return array.astype(np.int64) if array.dtype.kind in "biu" else array


def _numbered(parts: list[Array]) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Number the labels of all parts together, 0 … c − 1, in sorted order."""
    if len({part.dtype.kind for part in parts}) > 1:
        raise PlanError(
            "holdout_labels must be of the same kind as labels, got whole numbers and strings; write both alike."
        )
    names, numbers = np.unique(np.concatenate(parts), return_inverse=True)
    if len(names) < 2:
        raise PlanError(f"labels must hold at least two classes, got only {names[0]!s}; add records of another class.")
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return [part.astype(np.int64) for part in np.split(numbers, ends)], tuple(str(name) for name in names)
