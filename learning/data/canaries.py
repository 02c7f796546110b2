"""Canaries: training records that a plan plants, because they are the hardest to forget.

A mislabelled record pulls the model against all others; copies of one record are learned several times, and forgetting
one of them must not forget the others.
"""

import zlib
from dataclasses import replace

import numpy as np
import torch

from unlearning.errors import PlanError

from .dataset import Canaries, Dataset

_LISTED = 12  # records named in the remark


def plant(dataset: Dataset, *, mislabelled: int, duplicates: int, seed: int) -> Dataset:
    """Give some training records another label, and make others copies of one record.

    Only features and labels that the data already hold are used, so that every bound on an input's norm and the range
    of the labels stay what they were. The holdout is untouched.

    Args:
        dataset: as prepared; it is not changed.
        mislabelled: records that get another label, drawn evenly over the records and the other classes.
        duplicates: records that become copies, label included, of one more record.
        seed: of the draw, the plan's.

    Returns:
        The dataset with `canaries`, and a remark that says what was planted.

    Raises:
        PlanError: a number is negative, more records are asked for than there are, or one class would remain.
    """
    if mislabelled < 0 or duplicates < 0:
        raise PlanError(f"canaries must be >= 0, got mislabelled = {mislabelled} and duplicates = {duplicates}.")
    rows = len(dataset.labels)
    wanted = mislabelled + duplicates + (duplicates > 0)
    if wanted > rows:
        raise PlanError(
            f"canaries must take at most {rows} training rows, got {mislabelled} mislabelled and {duplicates} copies "
            "of one more; plant fewer."
        )
    key = (zlib.crc32(b"canaries"),)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
    drawn = generator.permutation(rows)[:wanted]
    wrong, copies = torch.from_numpy(drawn[:mislabelled].copy()), torch.from_numpy(drawn[mislabelled:].copy())
    features, labels = dataset.features.clone(), dataset.labels.clone()
    away = torch.from_numpy(generator.integers(1, dataset.classes, mislabelled))
    labels[wrong] = (labels[wrong] + away) % dataset.classes
    if duplicates:
        source = int(copies[0])
        features[copies[1:]], labels[copies[1:]] = dataset.features[source], dataset.labels[source]
    if len(np.unique(labels.numpy())) < 2:
        raise PlanError(f"canaries must leave training rows of two classes, got one in {dataset.name!r}; plant fewer.")
    planted = Canaries(tuple(sorted(wrong.tolist())), tuple(copies.tolist()))
    remark = " ".join(part for part in (dataset.remark, _remark(planted)) if part) or None
    return replace(dataset, features=features, labels=labels, remark=remark, canaries=planted)


def _remark(planted: Canaries) -> str:
    parts = []
    if planted.mislabelled:
        parts.append(f"{len(planted.mislabelled)} training records got another label ({_named(planted.mislabelled)})")
    if planted.duplicates:
        source, *copies = planted.duplicates
        parts.append(f"{len(copies)} became copies of record {source} ({_named(sorted(copies))})")
    return f"Planted by the plan's seed: {'; '.join(parts)}." if parts else ""


def _named(records: tuple[int, ...] | list[int]) -> str:
    more = len(records) - _LISTED
    shown = ", ".join(str(record) for record in records[:_LISTED])
    return f"{'record' if len(records) == 1 else 'records'} {shown}{f' and {more} more' if more > 0 else ''}"
