"""Requests that a search for the worst one begins with: proposals only, so that nothing here has to be exact.

Whatever a family proposes is measured; a bad proposal costs two models and proves nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning.minimiser import full_hessian
from learning.propagation import record_gradients
from learning.task import Task

RANDOM = "random"

_LARGEST_DENSE = 2048  # parameters whose Hessian is decomposed
_POOL = 2048  # records of the largest gradients, for which influence and neighbours are computed
_WIDTH = 64  # gradients of records computed at once
_LEAST_CURVATURE = 1e-3  # of the largest: an indefinite Hessian of a network is made positive

Request = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Proposals:
    """Requests by family, and records in the order in which they are worth swapping in.

    Attributes:
        families: requests of one size, ids ascending; a family that has none is left out.
        ranking: records, the most influential first.
    """

    families: dict[str, tuple[Request, ...]]
    ranking: tuple[int, ...]


def propose(task: Task, parameters: Tensor, size: int, *, random: int, generator: np.random.Generator) -> Proposals:
    """Requests of `size` records.

    Args:
        task: what is learned.
        parameters: a trained model, [1, P].
        size: records in a request.
        random: number of random requests.
        generator: of the random requests.
    """
    norms = torch.cat([gradients.norm(dim=1) for gradients in _gradients(task, parameters, range(task.rows))])
    by_gradient = norms.argsort(descending=True, stable=True).tolist()
    pool = by_gradient[: max(_POOL, size)]
    found = {
        RANDOM: random_requests(task.rows, size, random, generator),
        "largest gradient": [tuple(by_gradient[:size])],
    }
    ranking = by_gradient
    if task.objective.size <= _LARGEST_DENSE:
        vectors = influence_vectors(task, parameters, pool)
        order = vectors.norm(dim=1).argsort(descending=True, stable=True).tolist()
        ranking = [pool[place] for place in order] + by_gradient[len(pool) :]
        found["largest influence"] = [tuple(ranking[:size])]
        found["aligned influence"] = [tuple(pool[place] for place in aligned(vectors, size))]
    features, labels = task.features().flatten(1).double(), task.labels()
    found["one class"] = list(_of_one_class(features, labels, size))
    if size > 1:
        found["near duplicates"] = [tuple(pool[place] for place in closest(features[pool], size))]
    canaries = task.dataset.canaries
    if canaries is not None:
        for name, planted in (("mislabelled canaries", canaries.mislabelled), ("planted copies", canaries.duplicates)):
            if planted:
                found[name] = [_filled(planted, ranking, size)]
    return Proposals(
        {name: tuple(tuple(sorted(ids)) for ids in requests) for name, requests in found.items() if requests},
        tuple(ranking),
    )


def random_requests(rows: int, size: int, count: int, generator: np.random.Generator) -> list[Request]:
    """Random requests cut from random orders of the records.

    Each is a uniform draw; together they meet every record once `count`·`size` reaches `rows`, so that a record that
    goes wrong whatever is deleted with it is met for certain.

    >>> met = {record for ids in random_requests(12, 3, 4, np.random.default_rng(0)) for record in ids}
    >>> len(met)
    12
    """
    found: list[Request] = []
    while len(found) < count:
        order = generator.permutation(rows)
        cuts = range(0, rows - size + 1, size)
        found += [tuple(int(record) for record in order[start : start + size]) for start in cuts]
    return found[:count]


def influence_vectors(task: Task, parameters: Tensor, records: list[int]) -> Tensor:
    """H⁻¹∇ℓ_i for these records, [R, P] in float64: where removing each of them moves the model, to first order.

    Eigenvalues of H are taken by their size and at least a thousandth of the largest: at a network's end H is no
    minimiser's Hessian.
    """
    hessian = full_hessian(task, parameters, task.everyone(1))[0].double()
    values, basis = torch.linalg.eigh(hessian)
    size = values.abs()
    inverse = basis / size.clamp(min=_LEAST_CURVATURE * float(size.max())) @ basis.mT
    vectors: Tensor = torch.cat(list(_gradients(task, parameters, records))).double() @ inverse
    return vectors


def aligned(vectors: Tensor, size: int) -> list[int]:
    """Positions whose vectors [R, P] have a long sum: the longest first, then whatever lengthens the sum most."""
    squares = (vectors**2).sum(1)
    chosen: list[int] = []
    total = torch.zeros_like(vectors[0])
    for _ in range(size):
        gain = squares + 2 * vectors @ total
        gain[chosen] = -torch.inf
        chosen.append(int(gain.argmax()))
        total = total + vectors[chosen[-1]]
    return chosen


def closest(features: Tensor, size: int) -> list[int]:
    """Positions of the row of features [R, d] whose size − 1 nearest others are nearest, and of those."""
    distances = torch.cdist(features, features).fill_diagonal_(-1.0)  # a row is its own nearest, whatever its copies
    near = distances.topk(size, dim=1, largest=False)
    centre = int(near.values[:, -1].argmin())
    return [int(place) for place in near.indices[centre]]


def _gradients(task: Task, parameters: Tensor, records: "list[int] | range") -> Iterator[Tensor]:
    """∇ℓ of these records, by chunks [w, P]."""
    features, labels = task.features(), task.labels()
    for start in range(0, len(records), _WIDTH):
        part = list(records[start : start + _WIDTH])
        yield record_gradients(task, parameters, features[part].unsqueeze(0), labels[part].unsqueeze(0))[0]


def _of_one_class(features: Tensor, labels: Tensor, size: int) -> Iterator[Request]:
    """Of each class that has enough records the whole of it, or those nearest to its mean."""
    for label in np.unique(labels.numpy(force=True)):
        own = (labels == int(label)).nonzero().flatten()
        if size <= len(own) < len(labels):
            away = (features[own] - features[own].mean(0)).norm(dim=1)
            yield tuple(own[away.argsort(stable=True)[:size]].tolist())


def _filled(planted: Request, ranking: list[int], size: int) -> Request:
    """The planted records of the highest rank, and others of the highest rank where these are too few."""
    place: NDArray[np.int64] = np.empty(len(ranking), dtype=np.int64)
    place[ranking] = np.arange(len(ranking))
    first = sorted(planted, key=lambda record: int(place[record]))
    return tuple([*first, *(record for record in ranking if record not in planted)][:size])
