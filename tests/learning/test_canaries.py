"""Planted records: what they are, that bounds survive them, and that everything says so."""

import numpy as np
import pytest
import torch

from learning.data import Dataset, embedded, plant, prepare
from unlearning.errors import PlanError


@pytest.fixture(scope="module")
def honest() -> Dataset:
    return prepare(embedded("wine"))


def test_what_is_planted_is_what_it_says(honest: Dataset) -> None:
    found = plant(honest, mislabelled=6, duplicates=4, seed=0)
    assert found.canaries is not None
    wrong, (source, *copies) = found.canaries.mislabelled, found.canaries.duplicates
    assert len(wrong) == 6 and len(copies) == 4 and not set(wrong) & {source, *copies}
    assert bool((found.labels[list(wrong)] != honest.labels[list(wrong)]).all())
    assert int(found.labels.min()) >= 0 and int(found.labels.max()) < found.classes
    assert bool((found.features[copies] == honest.features[source]).all())
    assert bool((found.labels[copies] == honest.labels[source]).all())
    rest = np.setdiff1d(np.arange(len(honest.labels)), [*wrong, *copies])
    assert torch.equal(found.features[rest], honest.features[rest])
    assert torch.equal(found.labels[rest], honest.labels[rest])
    assert torch.equal(found.holdout_features, honest.holdout_features)


def test_the_norm_bound_survives_and_the_original_is_untouched(honest: Dataset) -> None:
    before = honest.sha256
    found = plant(honest, mislabelled=3, duplicates=3, seed=1)
    assert found.norm_upper is not None and float(found.features.norm(dim=1).max()) <= found.norm_upper
    assert honest.canaries is None and Dataset.sha256.func(honest) == before  # type: ignore[attr-defined]
    assert found.sha256 != before


def test_the_remark_names_the_records(honest: Dataset) -> None:
    found = plant(honest, mislabelled=2, duplicates=1, seed=0)
    assert found.canaries is not None and found.remark is not None
    named = ", ".join(str(record) for record in found.canaries.mislabelled)
    source, copy = found.canaries.duplicates
    assert found.remark.startswith(honest.remark or "Planted")
    assert f"2 training records got another label (records {named})" in found.remark
    assert f"1 became copies of record {source} (record {copy})" in found.remark


def test_the_seed_decides(honest: Dataset) -> None:
    first, again, other = (plant(honest, mislabelled=4, duplicates=2, seed=seed) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256 and first.canaries == again.canaries


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mislabelled": -1, "duplicates": 0}, "canaries must be >= 0, got mislabelled = -1"),
        ({"mislabelled": 100, "duplicates": 60}, "canaries must take at most .* training rows, got 100 mislabelled"),
        ({"mislabelled": 0, "duplicates": 141}, "canaries must leave training rows of two classes"),
    ],
)
def test_what_cannot_be_planted(honest: Dataset, fields: dict[str, int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plant(honest, **fields, seed=0)
