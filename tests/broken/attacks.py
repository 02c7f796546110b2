"""Broken attacks and broken ways of attacking, as seen in public code."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from audit.attacks import fleet
from audit.attacks.likelihood import Gaussians, gaussian_fit
from audit.fleet import Subject
from learning.release import gaussian_release
from unlearning.streams import Streams

from .twin import Twin, patched

Array = np.ndarray


class NoiseOnAFreshNetwork(Twin):
    """Releases the noise on parameters that were just initialised, not on those that were learned."""

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        fresh = state.task.objective.initial(streams.generators("fresh")).to(state.parameters)
        return gaussian_release(replace(state, parameters=fresh), noise_scale, streams=streams)


def labels_in_another_order(runs: Any) -> Any:
    """Labels of the candidates sorted, as a second pass over a subset gives them; outputs in the first order."""
    return replace(runs, labels=np.sort(runs.labels))


@contextmanager
def retained_as_negatives(subject: Subject, ids: tuple[int, ...], members: Array) -> Iterator[None]:
    """Fleets whose "never learned" records are retained ones of the same class: every model has learned them."""
    labels = subject.task.labels().tolist()
    retained = [i for i in range(subject.task.rows) if i not in ids]
    instead = []
    for i in ids:
        partner = next((r for r in retained if labels[r] == labels[i] and r not in instead), None)
        instead.append(retained[0] if partner is None else partner)
    honest = fleet.outputs

    def outputs(of: Subject, _: tuple[int, ...], game: fleet.Game, released: Tensor) -> tuple[Array, Array]:
        own, public = honest(of, ids, game, released)
        return np.where(members[:, :, None], own, honest(of, tuple(instead), game, released)[0]), public

    with patched(fleet, outputs=outputs):
        yield


def modified_entropies_of_a_batch(logits: Array, labels: Array) -> Array:
    """Modified entropy that indexes [:, labels]: every column that is some record's label, in every row."""
    p = np.exp(logits - np.logaddexp.reduce(logits, -1)[..., None])
    weights, shares = p.copy(), np.log1p(-p)
    weights[..., labels] = 1 - p[..., labels]
    shares[..., labels] = np.log(p)[..., labels]
    return -(weights * shares).sum(-1)


def nearest_point(scores: Array, members: Array, target: float) -> tuple[float, float]:
    """False and true positive rate at the threshold whose false positive rate is nearest to the target."""
    thresholds = np.unique(scores)
    false = np.array([(scores[~members] >= t).mean() for t in thresholds])
    best = thresholds[np.abs(false - target).argmin()]
    return float((scores[~members] >= best).mean()), float((scores[members] >= best).mean())


def deviations_with_the_means_in_them(phi: Array, members: Array) -> Gaussians:
    """One deviation a side for all records, without taking off each record's mean."""
    found = gaussian_fit(phi, members)
    wide = [np.full(phi.shape[1], phi[side].std(ddof=1)) for side in (members, ~members)]
    return replace(found, deviation_in=wide[0], deviation_out=wide[1])
