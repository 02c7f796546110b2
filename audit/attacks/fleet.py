"""Fleets of the attacks' game: shadow runs and target runs, reduced to the models' outputs within their chunk.

Seeds "fresh": every run trains with a seed of its own. "one seed": all runs, shadows and targets, share one training
seed: nothing but the data differs, which the adversary can imitate exactly. Unlearning draws anew in every run.

Retrained models have the run's own seed and draws, as a certificate's reference has. An attack that sees the original
as well tells whether both versions come of one seed: beside retraining with another seed even exact unlearning by
retraining would seem to leak.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from learning.influence import same_run
from unlearning.claim import Certificate
from unlearning.streams import Streams

from ..candidates import candidate_ids, learn_and_forget, model_of_rest
from ..controls import HONEST, defect, release
from ..design import Design
from ..fleet import Array, Subject, numpy64
from ..score_functions import class_logits
from .behaviour import SAME_SEED, Measured, behaviour_chunk
from .runs import FIRST, MODELS, FitRuns, Mask, ScoreRuns

KEY = "attacks"
Seeds = Literal["fresh", "one seed"]
Role = Literal["shadow", "target"]
_ANEW = "retrained with another seed"


@dataclass(frozen=True, slots=True)
class Game:
    """The attacks' game of one row.

    Attributes:
        candidates: m, of which k are forgotten in each run: as many as the row's request has.
        shadows: runs that attacks learn from.
        targets: runs that are attacked.
        population: public records at most, from the holdout.
        factors: noise scales over the row's σ at which every model is released; 1 is among them.
    """

    candidates: int
    shadows: int
    targets: int
    population: int = 200
    factors: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """What is left of one chunk: outputs by noise factor, which replicas released the reference, how models behave.

    And what the method's theorem says of the unlearned ones.
    """

    runs: dict[float, FitRuns | ScoreRuns]
    refused: NDArray[np.bool_]
    measured: Measured | None = None
    certificate: Certificate | None = None


def draw_members(subject: Subject, game: Game, role: Role, seeds: Seeds) -> Mask:
    """S_j of every run: sets of the request's size, drawn uniformly among the candidates."""
    runs = game.shadows if role == "shadow" else game.targets
    generator = subject.noise_streams(KEY, seeds, role, replicas=(0,)).generator("members", 0)
    scores = generator.random((runs, game.candidates))
    return np.asarray(scores.argsort(1).argsort(1) < len(subject.request_ids))


def attacked_ids(subject: Subject, game: Game) -> tuple[int, ...]:
    """The candidates: the row's request, and other training records."""
    return candidate_ids(subject, game.candidates, KEY)


def attack_chunk(
    subject: Subject,
    design: Design,
    game: Game,
    role: Role,
    seeds: Seeds,
    start: int,
    members: Mask,
    measures: bool = False,
) -> Chunk:
    """Learn, forget, retrain and release the runs start … of a role, and keep the models' outputs.

    Args:
        subject: method and task.
        design: of the row: noise and budget.
        game: of the row.
        role: "shadow" or "target".
        seeds: "fresh" or "one seed".
        start: number of the first run.
        members: S_j of these runs, [K, m].
        measures: measure how the models behave, too, which takes a reference of other seeds.
    """
    count = len(members)
    numbers = tuple(range(start, start + count))
    training = Streams(subject.seed, (0,)).child(subject.task.name, KEY, seeds)
    ids = attacked_ids(subject, game)
    streams = same_run(training, count) if seeds == "one seed" else training.child(role).select(numbers)

    one_run = seeds == "one seed"
    draws = training.child(role, "draws").select(numbers)
    found = learn_and_forget(
        subject, ids, members, design.sensitivity_budget, streams=streams, draws=draws, one_run=one_run, always=True
    )
    names = tuple(f"{seeds}/{role}/{number}" for number in numbers)
    kind = FitRuns if role == "shadow" else ScoreRuns
    labels, outside = _labels(subject, ids, game)
    states = {FIRST: found.original} | {model: found.state(model) for model in MODELS}
    if measures:
        states[_ANEW] = found.state("retrained")
        if not one_run:
            states[_ANEW] = model_of_rest(subject, ids, streams.child("retrained"), draws.child("retrained"))

    def released(model: str, factor: float) -> torch.Tensor:
        """Parameters; the same normals at every factor: what differs is the noise scale alone."""
        noise = subject.noise_streams(KEY, seeds, role, model, replicas=numbers)
        planted = defect("no-op") if model == "original" else HONEST
        return release(subject.method, planted, states[model], design.noise_scale * factor, streams=noise)

    runs: dict[float, FitRuns | ScoreRuns] = {}
    for factor in game.factors:
        seen = {model: outputs(subject, ids, game, released(model, factor)) for model in (FIRST, *MODELS)}
        logits, population = ({model: both[part] for model, both in seen.items()} for part in (0, 1))
        runs[factor] = kind(names, members, labels, logits, population, outside)
    measured = None
    if measures:
        kinds = {model: model for model in MODELS} | {"retrained": _ANEW, SAME_SEED: "retrained"}
        shown = {kind: released(model, 1.0) for kind, model in kinds.items()}
        before = {kind: states[model].parameters for kind, model in kinds.items()}
        measured = behaviour_chunk(subject, ids, members, shown, before)
    return Chunk(runs, found.refused, measured, found.certificate)


def outputs(subject: Subject, ids: tuple[int, ...], game: Game, released: torch.Tensor) -> tuple[Array, Array]:
    """Logits of released models [K, P] on the candidates, [K, m, c], and on public records, [K, z, c]."""
    task = subject.task
    own = class_logits(task.objective, released, task.features()[list(ids)])
    public = class_logits(
        task.objective, released, task.dataset.holdout_features[: game.population].to(task.device, task.dtype)
    )
    return numpy64(own), numpy64(public)


def _labels(subject: Subject, ids: tuple[int, ...], game: Game) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    data = subject.task.dataset
    return data.labels[list(ids)].cpu().numpy(), data.holdout_labels[: game.population].cpu().numpy()
