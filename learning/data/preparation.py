"""Split, standardise, scale and clip, without looking at a training record.

A standardiser fitted on training records would carry the deleted ones into every model, and no unlearning of weights
would remove them; so mean, deviation and scale are those of the holdout rows, which nobody asks to forget.
"""

import math
import zlib
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from unlearning.errors import PlanError

from .dataset import Array, Dataset, RawDataset

QUANTILE = 0.95
_NEGLIGIBLE = 1e-12  # a deviation below this part of the largest entry is rounding
_SMALLEST = 1e-100

Matrix: TypeAlias = NDArray[np.float64]


def prepare(
    raw: RawDataset,
    *,
    rows: int | None = None,
    holdout: float = 0.2,
    standardise: bool = True,
    norm: float | None = 1.0,
    bias: bool = True,
    split_seed: int = 0,
) -> Dataset:
    """Make a dataset to train on: holdout split, choice of rows, standardiser, clipping, bias column.

    Rows keep the order of the source. With `norm` R, x is divided by the 95 % quantile of the holdout norms, clipped to
    norm 1, and becomes [x, 1]·R/√2 (or R·x without bias): ‖x̃‖₂ ≤ R for every row.

    Args:
        raw: records of a source.
        rows: number of training rows, chosen evenly over the classes' shares; None: all.
        holdout: part of the records held out, in (0, 1); unused where the source has a holdout.
        standardise: subtract the mean and divide by the deviation of the holdout rows; a column without deviation there
            is set to zero.
        norm: R > 0, or None: neither scaled nor clipped.
        bias: append a constant column.
        split_seed: seed of the split and of the choice of rows, ≥ 0.

    Raises:
        PlanError: an argument is out of range, there are too few records, or one class would remain.
    """
    _check_arguments(rows, holdout, norm, split_seed)
    train_rows, held_rows = _split(raw, holdout, split_seed)
    if rows is not None:
        if rows > len(train_rows):
            out = 0 if held_rows is None else len(held_rows)
            raise PlanError(
                f"rows must be at most {len(train_rows)} ({len(raw.labels)} records, {out} of them held out), got "
                f"{rows}; ask for fewer rows or a smaller holdout."
            )
        chosen = _stratified(raw.labels[train_rows], rows, _generator(split_seed, "rows"), leave=0)
        train_rows = train_rows[chosen]
    labels = raw.labels[train_rows]
    if len(np.unique(labels)) < 2:
        raise PlanError(
            f"rows must hold at least two classes, got {len(labels)} training rows of one class; ask for more rows."
        )
    train = _real(raw.features[train_rows], raw.divisor)
    if held_rows is not None:
        held, held_labels = _real(raw.features[held_rows], raw.divisor), raw.labels[held_rows]
    else:
        held, held_labels = _real(_given(raw.holdout_features), raw.divisor), _given(raw.holdout_labels)
    steps = [raw.note] if raw.note else []
    if standardise:
        train, held = _standardised(train, held)
        steps.append(f"standardised by mean and deviation of the {len(held)} holdout rows")
    if norm is not None:
        scale = _scale(held)
        train, held = (_clipped(part, scale, norm, bias) for part in (train, held))
        steps.append(f"divided by {scale:.6g}, the 95 % quantile of their norms, and clipped to norm 1")
        steps.append(f"{'[x, 1]·R/√2' if bias else 'R·x'} with R = {norm:g}")
    elif bias:
        train, held = (np.hstack([part, np.ones((len(part), 1))]) for part in (train, held))
        steps.append("a bias column of ones appended")
    return Dataset(
        name=raw.name,
        origin=raw.origin,
        features=torch.from_numpy(np.ascontiguousarray(train)),
        labels=torch.from_numpy(labels),
        holdout_features=torch.from_numpy(np.ascontiguousarray(held)),
        holdout_labels=torch.from_numpy(np.ascontiguousarray(held_labels)),
        classes=raw.classes,
        preprocessing=_sentence(steps, standardise or norm is not None),
        remark=raw.remark,
        norm_upper=norm,
        label_names=raw.label_names,
    )


def _sentence(steps: list[str], computed: bool) -> str:
    if not steps:
        return "The features are used as the source gives them."
    done = "; ".join(steps)
    because = "; computed on holdout rows only, because training rows in it would leak the deleted ones"
    return f"{done[0].upper()}{done[1:]}{because if computed else ''}."


def _check_arguments(rows: int | None, holdout: float, norm: float | None, split_seed: int) -> None:
    if rows is not None and rows < 2:
        raise PlanError(f"rows must be at least 2, got {rows}; ask for more rows.")
    if not 0 < holdout < 1:
        raise PlanError(f"holdout must be in (0, 1), got {holdout}; write the part to hold out, for example 0.2.")
    if norm is not None and not _SMALLEST <= norm <= 1 / _SMALLEST:
        raise PlanError(f"norm must be a finite number > 0, got {norm}; write for example 1.0.")
    if split_seed < 0:
        raise PlanError(f"split_seed must be >= 0, got {split_seed}; 0 is a seed.")


def _given(array: Array | None) -> Array:
    if array is None:
        raise PlanError("holdout_labels must be given together with holdout_features, got none; name both.")
    return array


def _generator(seed: int, role: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(role.encode()),))))


def _split(raw: RawDataset, holdout: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Numbers of the training rows and of the holdout rows; None: the source has its own."""
    everything = np.arange(len(raw.labels))
    if raw.holdout_features is not None:
        return everything, None
    count = round(holdout * len(everything))
    spare = len(everything) - raw.classes
    if not 1 <= count <= spare:
        raise PlanError(
            f"holdout must leave a training row of each of {raw.classes} classes and hold out one or more, got "
            f"{holdout} of {len(everything)} records; change it or give more records."
        )
    held = _stratified(raw.labels, count, _generator(seed, "holdout"), leave=1)
    return np.setdiff1d(everything, held), held


def _stratified(
    labels: NDArray[np.int64], count: int, generator: np.random.Generator, *, leave: int
) -> NDArray[np.int64]:
    """Sorted numbers of `count` rows, classes in proportion as far as possible, at least `leave` rows left of each."""
    classes, sizes = np.unique(labels, return_counts=True)
    most = sizes - leave
    quota = count * sizes / sizes.sum()
    least = np.minimum(1, most) if count >= len(classes) else np.zeros_like(sizes)
    take = np.clip(np.floor(quota).astype(np.int64), least, most)
    while take.sum() < count:
        take[np.argmax(np.where(take < most, quota - take, -np.inf))] += 1
    while take.sum() > count:
        take[np.argmin(np.where(take > least, quota - take, np.inf))] -= 1
    chosen = [
        generator.permutation(np.flatnonzero(labels == one))[:number] for one, number in zip(classes, take, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _real(features: Array, divisor: float) -> Matrix:
    return features.astype(np.float64) / divisor


def _standardised(train: Matrix, held: Matrix) -> tuple[Matrix, Matrix]:
    mean, deviation = held.mean(axis=0), held.std(axis=0)
    constant = deviation <= np.maximum(_NEGLIGIBLE * np.abs(held).max(axis=0), _SMALLEST)
    if constant.all():
        raise PlanError(
            f"standardise must be false where no column varies over the holdout rows, got {len(held)} holdout rows all "
            "alike; hold out more rows."
        )
    divisor = np.where(constant, 1.0, deviation)
    return tuple(np.where(constant, 0.0, (part - mean) / divisor) for part in (train, held))  # type: ignore[return-value]


def _norms(rows: Matrix) -> Matrix:
    """Euclidean norms, without overflow."""
    largest = np.maximum(np.abs(rows).max(axis=1), _SMALLEST)
    return np.asarray(largest * np.sqrt(np.sum((rows / largest[:, None]) ** 2, axis=1)))


def _scale(held: Matrix) -> float:
    scale = float(np.quantile(_norms(held), QUANTILE))
    return scale if scale >= _SMALLEST else 1.0


def _clipped(rows: Matrix, scale: float, norm: float, bias: bool) -> Matrix:
    """Scaled rows, clipped to norm 1, with the bias column, times R/√2 (R without bias).

    Guarantee: ‖x̃‖₂ ≤ norm for the numbers as stored. A computed norm errs by less than (d + 8)·2⁻⁵³ of itself, each
    product, quotient and root by 2⁻⁵³; dividing twice by 1 + 8·(d + 16)·2⁻⁵² is more than all of them together.
    """
    guard = 1 + 8 * (rows.shape[1] + 16) * float(np.finfo(np.float64).eps)
    scaled = rows / scale
    scaled = scaled / (np.maximum(_norms(scaled), 1.0) * guard)[:, None]
    if not bias:
        return np.asarray(scaled * (norm / guard))
    part = norm / (math.sqrt(2) * guard)
    return np.hstack([scaled * part, np.full((len(scaled), 1), part)])
