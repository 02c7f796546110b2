"""Stored vectors: three types, memory and file, the measured rounding, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learning.vectors import VectorStore, record_ids
from unlearning.errors import DamagedState, PlanError

CPU = torch.device("cpu")


def filled(storage: str, folder: Path | None, scale: float = 1.0) -> tuple[VectorStore, torch.Tensor]:
    store = VectorStore.create(2, [1, 4, 5], 6, storage, device=CPU, folder=folder)
    vectors = scale * torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    store.write(np.array([[4, 1, 5], [5, 4, 1]]), vectors)
    exact = torch.zeros(2, 7, 6, dtype=torch.float64)
    exact[0, [4, 1, 5]], exact[1, [5, 4, 1]] = vectors[0], vectors[1]
    return store, exact


REQUEST = torch.tensor([[0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0]], dtype=torch.bool)


@pytest.mark.parametrize("storage", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("scale", [1.0, 1e-40, 1e-42], ids=["normal", "subnormal", "all but underflowing"])
def test_sums_lie_within_the_measured_rounding(storage: str, where: str, scale: float, tmp_path: Path) -> None:
    store, exact = filled(storage, tmp_path / "new" if where == "file" else None, scale)
    total = store.total(REQUEST, torch.float64, CPU)
    wanted = torch.stack([exact[k, REQUEST[k]].sum(0) for k in range(2)])
    apart, upper = (total - wanted).norm(dim=1).numpy(), store.rounding_upper(REQUEST.numpy())
    assert (apart <= upper).all()
    if storage == "float64":
        assert (upper == 0).all()
    else:
        # one record: the measured rounding is the distance itself
        assert apart[1] == pytest.approx(upper[1], rel=1e-9) and upper[1] > 0
        unit = {"float32": 2**-24, "bfloat16": 2**-8}[storage]
        assert scale < 1 or upper[1] <= unit * float(exact[1, 5].norm())


def test_file_and_memory_agree_and_a_file_is_found_again(tmp_path: Path) -> None:
    for storage in ("float64", "bfloat16"):
        memory, _ = filled(storage, None)
        filled(storage, tmp_path / storage)[0].flush()
        again = VectorStore.create(2, [1, 4, 5], 6, storage, device=CPU, folder=tmp_path / storage)
        assert torch.equal(again.values, memory.values) and again.storage == storage


def test_take_is_a_view() -> None:
    store, exact = filled("float64", None)
    taken = store.take([1, 0, 1])
    assert taken.values is store.values
    total = taken.total(REQUEST[[1, 0, 1]], torch.float64, CPU)
    assert torch.equal(total[0], exact[1, 5]) and torch.equal(total[2], exact[1, 5])


def test_unknown_records_and_types() -> None:
    store, _ = filled("float64", None)
    with pytest.raises(ValueError, match="whose vectors were kept, got record 0; 3 records have one"):
        store.total(~REQUEST, torch.float64, CPU)
    with pytest.raises(ValueError, match="got record 6"):
        store.slots(np.array([6]))
    with pytest.raises(PlanError, match="storage must be one of float64, float32, bfloat16, got 'float16'"):
        VectorStore.create(1, [0], 2, "float16", device=CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_what_cannot_be_stored_is_refused_by_record(value: float) -> None:
    store = VectorStore.create(1, [3], 2, "float32", device=CPU)
    with pytest.raises(DamagedState, match="vector of record 3 is not finite in float32"):
        store.write(np.array([[3]]), torch.tensor([[[1.0, value]]], dtype=torch.float64))


def test_a_damaged_vector_is_named() -> None:
    store, _ = filled("bfloat16", None)
    store.values[0, 1, 2] = float("nan")
    with pytest.raises(DamagedState, match="vector of record 4 is not finite; the weights were left as they were"):
        store.total(REQUEST, torch.float64, CPU)
    REQUEST[0, 4] = False
    try:
        store.total(REQUEST, torch.float64, CPU)  # a neighbour's damage does not spread
    finally:
        REQUEST[0, 4] = True


def test_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    filled("float32", tmp_path)
    with pytest.raises(DamagedState, match=r"vectors\.bin must hold 288 bytes.*got 144 bytes"):
        VectorStore.create(2, [1, 4, 5], 6, "float64", device=CPU, folder=tmp_path)


def test_a_file_is_held_to_the_checksums_of_its_writing(tmp_path: Path) -> None:
    store, _ = filled("float64", tmp_path)
    store.values[0, 1, 2] += 1e-9  # finite, and wrong
    with pytest.raises(DamagedState, match=r"vectors\.bin is damaged: the checksum of record 4's vector"):
        store.total(REQUEST, torch.float64, CPU)
    memory, _ = filled("float64", None)
    memory.checksums[0, 1] = -1
    with pytest.raises(DamagedState, match="vector of record 4 is gone: a session deleted the record"):
        memory.total(REQUEST, torch.float64, CPU)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_move_leaves_nothing_behind(where: str, replicas: int, tmp_path: Path) -> None:
    old, new = tmp_path / "old" if where == "file" else None, tmp_path / "new"
    new.mkdir()
    store = VectorStore.create(replicas, [1, 4], 3, "float64", device=CPU, folder=old)
    store.write(np.array([[1, 4]] * replicas), torch.arange(6.0 * replicas).double().view(replicas, 2, 3) + 1)
    one = store.take([replicas - 1])
    moved = one.move(new)
    assert torch.equal(moved.values[0], store.values[replicas - 1]) and moved.folder == new
    one.discard()
    moved.verify(0, np.array([1, 4]))
    with pytest.raises(DamagedState, match="record 4 is gone"):
        one.sum_of(0, np.array([4]), torch.float64, CPU)
    if old is not None:
        left = np.fromfile(old / "vectors.bin").reshape(replicas, -1) if replicas > 1 else None
        assert (old / "vectors.bin").exists() is (replicas > 1)
        assert left is None or (left[0].all() and not left[1].any())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (5, r"ids must be a list of record ids, got 5\. Give \[5\]"),
        ("12", "got '12'"),
        ([1.0], "whole numbers, got 1.0 among them"),
        (np.array([True, False]), "whole numbers, got True among them"),
        (torch.tensor([[1]]), r"whole numbers, got \[1\] among them"),
        (None, "got None"),
    ],
)
def test_what_is_no_list_of_ids(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record_ids("ids", values)


def test_lists_of_ids() -> None:
    for values in ([1, 2], range(1, 3), np.array([1, 2], dtype=np.uint8), torch.tensor([1, 2]), iter([1, np.int64(2)])):
        assert record_ids("ids", values) == [1, 2]
