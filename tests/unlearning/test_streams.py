"""Seed streams: a replica's numbers are its own, wherever and beside whomever it runs."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.streams import Streams

FIXED = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def test_replica_17_alone_is_replica_17_in_a_fleet() -> None:
    fleet = Streams(3, tuple(range(40))).child("training")
    alone = Streams(3, (17,)).child("training")
    np.testing.assert_array_equal(fleet.normals("noise", 9)[17], alone.normals("noise", 9)[0])
    shuffled = fleet.select([30, 17, 2])
    np.testing.assert_array_equal(
        shuffled.generators("order")[1].permutation(50), alone.generator("order", 0).permutation(50)
    )


def test_generators_are_fresh_each_time() -> None:
    streams = Streams(0, (5,))
    assert streams.generator("noise", 0).random() == streams.generator("noise", 0).random()


def test_zero_is_a_seed() -> None:
    zero, one = Streams(0, (0,)), Streams(1, (0,))
    np.testing.assert_array_equal(zero.normals("noise", 4), Streams(0, (0,)).normals("noise", 4))
    assert not np.array_equal(zero.normals("noise", 4), one.normals("noise", 4))


def test_global_streams_are_left_alone() -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    Streams(1, (0, 1)).child("a").normals("noise", 100)
    np.testing.assert_array_equal(before, np.random.get_state(legacy=False)["state"]["key"])  # noqa: NPY002


def test_parts_roles_replicas_and_seeds_are_independent() -> None:
    """Correlations of 4,000 numbers each; for independent ones |r|·√n exceeds 7 with probability 3e-12 a pair."""
    drawn = {
        (seed, path, role, replica): Streams(seed, (replica,)).child(*path).normals(role, 4000)[0]
        for seed in (0, 1)
        for path in ((), ("a",), ("b",), ("a", "b"), ("b", "a"), ("a", 0), (0,), (1,))
        for role in ("noise", "order")
        for replica in (0, 1)
    }
    for first, second in combinations(drawn, 2):
        r = float(np.corrcoef(drawn[first], drawn[second])[0, 1])
        assert abs(r) * math.sqrt(4000) < 7, (first, second)


@FIXED
@given(st.integers(0, 2**31), st.lists(st.integers(0, 10_000), min_size=1, max_size=8, unique=True), st.integers(1, 5))
def test_chunks_do_not_matter(seed: int, replicas: list[int], chunk: int) -> None:
    whole = Streams(seed, tuple(replicas)).child("test")
    parts = [whole.select(replicas[start : start + chunk]) for start in range(0, len(replicas), chunk)]
    np.testing.assert_array_equal(
        whole.normals("noise", 3), np.concatenate([part.normals("noise", 3) for part in parts])
    )


@pytest.mark.parametrize(
    ("seed", "replicas", "says"),
    [(-1, (0,), "seed must be >= 0"), (0, (-1,), "replica numbers must be >= 0"), (0, (1, 1), "must not repeat")],
)
def test_wrong_streams_are_refused(seed: int, replicas: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Streams(seed, replicas)
