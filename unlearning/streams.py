"""Seed streams: one integer enters at the command line, and every replica has streams of its own.

Replica 17 draws from SeedSequence(seed, spawn_key=(…path, role, 17)); so it can be rerun alone, and gives the same
numbers whatever the chunk size or the number of workers. Nothing touches a global stream. 0 is a seed.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Streams:
    """The random streams of K replicas.

    Attributes:
        seed: the one integer of the run, ≥ 0.
        replicas: global numbers of the K replicas, in the order of the replica axis.
        path: which part of the run these streams belong to.
    """

    seed: int
    replicas: tuple[int, ...]
    path: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: the seed or a replica number is negative, or a replica number is repeated.
        """
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}.")
        if any(replica < 0 for replica in self.replicas):
            raise ValueError(f"replica numbers must be >= 0, got {min(self.replicas)}.")
        if len(set(self.replicas)) != len(self.replicas):
            raise ValueError("replica numbers must not repeat: each replica is one independent run.")

    def __len__(self) -> int:
        """Return the number of replicas K."""
        return len(self.replicas)

    def child(self, *names: str | int) -> "Streams":
        """Streams of a named part of the run, independent of every other part's."""
        return replace(self, path=self.path + tuple(_number(name) for name in names))

    def select(self, replicas: Iterable[int]) -> "Streams":
        """Streams of other replicas in the same part of the run."""
        return replace(self, replicas=tuple(replicas))

    def generator(self, role: str, position: int) -> np.random.Generator:
        """Fresh generator for one role ("initial", "order", "noise", …) of the replica at a position."""
        key = (*self.path, _number(role), self.replicas[position])
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))

    def generators(self, role: str) -> list[np.random.Generator]:
        """One fresh generator per replica."""
        return [self.generator(role, position) for position in range(len(self))]

    def normals(self, role: str, size: int) -> NDArray[np.float64]:
        """Independent standard normal numbers, [K, size], drawn on the CPU in float64."""
        drawn = np.empty((len(self), size))
        for row, generator in zip(drawn, self.generators(role), strict=True):
            generator.standard_normal(out=row)
        return drawn


def _number(name: str | int) -> int:
    return name if isinstance(name, int) else zlib.crc32(name.encode())
