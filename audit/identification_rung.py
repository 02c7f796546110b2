"""Rung D: can the forgotten records be named? Unlearned models only, no retraining; one of them can be enough.

The game is that of `audit.bounds.identification`. Its models are one fleet on the replica axis: replica j learns on
R ∪ S_j and unlearns S_j. Where the claim holds for every training seed, all replicas of the game share one seed, fixed
beforehand, and the adversary trains its shadows with it; otherwise every replica has a seed of its own, and shadows
have others. Randomness that unlearning draws is never the adversary's.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from learning.influence import same_run
from unlearning.binomial import clopper_pearson_lower
from unlearning.claim import Certificate, SeedPolicy
from unlearning.record import Identification, Line, line_without_numbers
from unlearning.streams import Streams
from unlearning.verdict import Outcome

from .bounds.fixed_event import count_probabilities
from .bounds.identification import (
    Game,
    choose_needed,
    guesses_needed,
    identification_detectable,
    identification_lower,
    least_refuting,
    refuting_runs,
)
from .candidates import candidate_ids as candidates_of
from .candidates import learn_and_forget, told_refused
from .certificates import merged
from .controls import HONEST, Defect, defect, release
from .design import POWER, Design, IdentificationDesign
from .fleet import Array, Subject, numpy64
from .naming import ADVERSARIES, Adversary, Shadows, choose_adversary, success_count, success_lower

KEY = "identification"
_TITLE = "Naming the forgotten records"
_DRAWS = 4096  # of the noise, for the power of doing nothing

Run = Callable[[str, Callable[..., Any], list[tuple[Any, ...]]], list[Any]]


@dataclass(frozen=True, slots=True)
class Played:
    """The runs of the game: what the adversary never sees (S), what it sees, and what predictions are made from.

    Attributes:
        known: members and weights before noise.
        released: released weights [T, P] by the name of the defect.
        refused: runs whose Δ exceeds the budget, or in which nothing is forgotten: the reference is released.
        certificate: what the method's theorem says of the runs.
    """

    known: Shadows
    released: dict[str, Array]
    refused: NDArray[np.bool_]
    certificate: Certificate | None


@dataclass(frozen=True, slots=True)
class Strategy:
    """What shadow runs chose against one kind of released weights: the adversary, and its V on other shadow runs."""

    adversary: Adversary
    right: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Identified:
    """The game of one row: runs, and the strategies by what is released ("unlearned", "original")."""

    played: Played
    strategies: dict[str, Strategy]
    noise_scale: float  # of noise after training; 0 where the weights hold all noise
    seeds: str
    normals: Array  # [draws, m], for the power of doing nothing

    @property
    def certificate(self) -> Certificate | None:
        """What the method's theorem says of the runs."""
        return self.played.certificate

    def strategy(self, planted: Defect) -> Strategy:
        """The strategy against a defect; what is released of the reference is met by the method's own."""
        return self.strategies["original" if planted.source == "original" else "unlearned"]

    def right(self, planted: Defect) -> NDArray[np.int64]:
        """V of every run against a defect."""
        adversary = self.strategy(planted).adversary
        return adversary.right(adversary.log_odds(self.played.released[planted.name]), self.played.known.members)


def knows_seed(subject: Subject, design: Design) -> bool:
    """Whether the adversary may train with the seed of the game: the claim holds for it, and noise is not in it."""
    return subject.method.declaration.gaussian_noise and design.claim.seed_policy is not SeedPolicy.MARGINAL


def identify(subject: Subject, design: Design, planted: list[Defect], run: Run, chunk: int) -> Identified | None:
    """Play the game; None where it can refute nothing, and is not played.

    Args:
        subject: method and task.
        design: of the row, with an identification design.
        planted: defects of the controls.
        run: how chunks are run: phase, function, arguments.
        chunk: replicas trained at once.
    """
    asked = identification_design(design)
    if least_refuting(asked.game, design.claim, design.line_failure_probability(KEY)) is None:
        return None
    everyone = [HONEST, defect("no-op"), *(p for p in planted if p.name != "no-op")]
    if subject.task.deterministic:
        chunk = 1  # the Hessians of several minimisers crowd each other out of the caches: four times as slow

    def tasks(role: str, runs: int) -> list[tuple[Any, ...]]:
        drawn = asked.game.draw(runs, _game_streams(subject, role).generator("members", 0))
        starts = range(0, runs, chunk)
        return [(subject, design, role, start, drawn[start : start + chunk], everyone) for start in starts]

    shadows = [part.known for part in run("training shadows of the game", _play_chunk, tasks("shadow", asked.shadows))]
    parts = run("naming the forgotten records", _play_chunk, tasks("game", asked.game.runs))
    known = Shadows(*(np.concatenate([getattr(part, f.name) for part in shadows]) for f in fields(Shadows)))
    played = Played(
        Shadows(*(np.concatenate([getattr(part.known, f.name) for part in parts]) for f in fields(Shadows))),
        {d.name: np.concatenate([part.released[d.name] for part in parts]) for d in everyone},
        np.concatenate([part.refused for part in parts]),
        merged([part.certificate for part in parts]),
    )
    noise_scale = design.noise_scale if subject.method.declaration.gaussian_noise else 0.0
    strategies = {}
    for released in ("unlearned", "original"):
        generator = _game_streams(subject, "choice").generator(released, 0)
        chosen = choose_adversary(asked.game, known, released, noise_scale, generator=generator)
        strategies[released] = Strategy(*chosen)
    seeds = "one seed" if knows_seed(subject, design) else "independent"
    normals = _game_streams(subject, "power").generator("noise", 0).standard_normal((_DRAWS, asked.game.candidates))
    return Identified(played, strategies, noise_scale, seeds, normals)


def identification_design(design: Design) -> IdentificationDesign:
    """The row's game.

    Raises:
        ValueError: the design has none.
    """
    if design.identification is None:
        raise ValueError("identification must be given for rung D, got None.")
    return design.identification


def candidate_ids(subject: Subject, game: Game) -> tuple[int, ...]:
    """The m candidates: the request, and for a fixed k other training records."""
    return candidates_of(subject, game.candidates, KEY)


def _game_streams(subject: Subject, role: str) -> Streams:
    """Streams of the row's own game: who is drawn, and what the adversary draws."""
    return subject.noise_streams(KEY, role, replicas=(0,))


def _play_chunk(
    subject: Subject, design: Design, role: str, start: int, members: NDArray[np.bool_], everyone: list[Defect]
) -> Played:
    """Learn on R ∪ S_j, unlearn S_j, release: replicas start … of a role ("shadow", "game")."""
    asked, task = identification_design(design), subject.task
    numbers = tuple(range(start, start + len(members)))
    training = Streams(subject.seed, (0,)).child(task.name, KEY)
    known = knows_seed(subject, design)
    streams = same_run(training, len(members)) if known else training.child(role).select(numbers)
    ids = candidate_ids(subject, asked.game)

    found = learn_and_forget(
        subject,
        ids,
        members,
        design.sensitivity_budget,
        streams=streams,
        draws=training.child(role, "draws").select(numbers),  # fresh in every run
        one_run=known,
        always=role == "game" and any(d.source == "retrained" for d in everyone),
    )
    released = {}
    if role == "game":
        for planted in everyone:
            noise = subject.noise_streams(planted.name, KEY, "released", replicas=numbers)
            given = release(subject.method, planted, found.state(planted.source), design.noise_scale, streams=noise)
            released[planted.name] = numpy64(given)
    before = Shadows(members, numpy64(found.unlearned.parameters), numpy64(found.original.parameters))
    return Played(before, released, found.refused, found.certificate)


def identification_line(
    found: Identified | None, design: Design, planted: Defect, failure_probability: float | None = None
) -> Line:
    """The rung's line for one subject.

    Args:
        found: the game; None where it cannot refute.
        design: of the row.
        planted: whose releases.
        failure_probability: of the line, instead of its share of the row's; then no power is stated.
    """
    game, claim = identification_design(design).game, design.claim
    allowed = design.line_failure_probability(KEY) if failure_probability is None else failure_probability
    least = least_refuting(game, claim, allowed)
    if found is None or least is None:
        return _not_computable(game, design, allowed, least)
    needed = _needed(found, design, planted, allowed)
    right = found.right(planted)
    bound = identification_lower(game, right, claim, allowed, needed=needed)
    cut = needed or least
    detectable = identification_detectable(game, claim, allowed, cut, POWER)
    derivation = {name: float(value) for name, value in bound.derivation.items()}
    if planted.name == "no-op" and found.noise_scale > 0:
        derivation["refutation_probability_lower"] = _refutation_lower(found, design, planted, allowed)
    hits = bound.counts_released
    refused = int(found.played.refused.sum()) if planted is HONEST else 0
    event = f"V ≥ {int(bound.derivation['v'])}, which names given blindly reach with probability"
    said = (
        f"{int(right[0])} of {game.guesses} names right in one run ({event} {bound.derivation['q_v']:.3g})"
        if game.runs == 1
        else f"{hits} of {game.runs} runs with {event} {bound.derivation['q_v']:.3g}"
    )
    return Line(
        rung="D",
        key=KEY,
        title=_TITLE,
        subject="claim",
        seeds=found.seeds,
        deciding=True,
        outcome=Outcome.REFUTED if bound.refuted else Outcome.NOT_REFUTED,
        finding=f"{said}: μ ≥ {bound.mu_lower:.4g}, ε ≥ {bound.epsilon_lower:.4g} at δ = {claim.delta:g}."
        + told_refused(refused, game.runs),
        failure_probability=allowed,
        assumes="; ".join(bound.assumes),
        kind="confidence",
        runs_released=game.runs,
        runs_reference=0,
        counts_released=hits,
        event=bound.event,
        statistic=bound.derivation["p_lower"],
        threshold=float(1 - claim.tradeoff(bound.derivation["q_v"])),
        epsilon_lower=bound.epsilon_lower,
        mu_lower=bound.mu_lower,
        detectable_epsilon=None if detectable is None else detectable[0],
        detectable_mu=None if detectable is None else detectable[1],
        noop_power=_noop_power(found, design, allowed) if failure_probability is None and refused < game.runs else None,
        derivation=derivation,
    )


def _not_computable(game: Game, design: Design, allowed: float, least: int | None) -> Line:
    enough = guesses_needed(design.claim, game.runs, allowed)
    if least is not None:
        reason = "the game was not played: it cannot refute at the row's own failure probability"
    elif enough is None:
        reason = f"no number of names refutes this claim in {game.runs} runs; raise identification.runs"
    else:
        reason = (
            f"{game.guesses} right names in each of {game.runs} runs would not refute this claim; {enough} names of "
            "coin flips would: delete more records (request.size), or play more runs (identification.runs)"
        )
    return line_without_numbers(rung="D", key=KEY, title=_TITLE, subject="claim", seeds="independent", reason=reason)


def _needed(found: Identified, design: Design, planted: Defect, allowed: float) -> int | None:
    """v, chosen on shadow runs; None for one run, whose own V is a p-value."""
    game = identification_design(design).game
    if game.runs == 1:
        return None
    return choose_needed(game, found.strategy(planted).right, design.claim, allowed)


def _runs_to_refute(found: Identified, design: Design, planted: Defect, allowed: float) -> tuple[int, int] | None:
    """Names and runs: v, and the number of runs with V ≥ v that refute; None where no number does."""
    game = identification_design(design).game
    needed = _needed(found, design, planted, allowed) or least_refuting(game, design.claim, allowed)
    runs = None if needed is None else refuting_runs(game, design.claim, allowed, needed)
    return None if needed is None or runs is None else (needed, runs)


def _refutation_lower(found: Identified, design: Design, planted: Defect, allowed: float) -> float:
    """Probability that the line refutes a defect, given the models before noise.

    Guarantee: at most the true probability, for N(0, σ²I) on these models.
    """
    asked = _runs_to_refute(found, design, planted, allowed)
    if asked is None:
        return 0.0
    adversary, known = found.strategy(planted).adversary, found.played.known
    weights = known.original if planted.source == "original" else known.unlearned
    each = [
        success_lower(adversary, own, members, found.noise_scale, asked[0])
        for own, members in zip(weights, known.members, strict=True)
    ]
    return float(count_probabilities(each, len(each))[asked[1] :].sum().clip(0, 1))


def _noop_power(found: Identified, design: Design, allowed: float) -> float:
    """Probability that the line refutes releasing the original.

    Guarantee: at most the true probability given the models before noise, except with probability ≤ that of a control's
    line for each run; without noise after training, over runs.
    """
    noop, level = defect("no-op"), design.control_failure_probability
    asked = _runs_to_refute(found, design, noop, allowed)
    if asked is None:
        return 0.0
    strategy, known, runs = found.strategy(noop), found.played.known, len(found.played.known.members)
    if found.noise_scale == 0:
        hits = int((strategy.right >= asked[0]).sum())
        compared = ADVERSARIES * identification_design(design).game.guesses  # on these very runs, with every v
        p_lower = float(clopper_pearson_lower(hits, len(strategy.right), level / compared))
        return float(binom.sf(asked[1] - 1, runs, p_lower))
    each = []
    for own, members in zip(known.original, known.members, strict=True):
        hits = success_count(strategy.adversary, own, members, found.noise_scale, asked[0], found.normals)
        drawn = float(clopper_pearson_lower(hits, _DRAWS, level))
        each.append(max(drawn, success_lower(strategy.adversary, own, members, found.noise_scale, asked[0])))
    return float(count_probabilities(each, runs)[asked[1] :].sum().clip(0, 1))


def identification_facts(found: Identified, subject: Subject, design: Design) -> Identification:
    """What the record says of the game."""
    asked = identification_design(design)
    game, allowed = asked.game, design.line_failure_probability(KEY)
    return Identification(
        sampling=game.sampling,
        candidates=game.candidates,
        members=game.members,
        guesses=game.guesses,
        runs=game.runs,
        shadows=asked.shadows,
        needed=_needed(found, design, HONEST, allowed),
        least_refuting=least_refuting(game, design.claim, allowed),
        null_tail=[game.null_tail(v) for v in range(game.guesses + 1)],
        right=found.right(HONEST).tolist(),
        noop_right=found.right(defect("no-op")).tolist(),
        refused=int(found.played.refused.sum()),
        candidate_ids=list(candidate_ids(subject, game)),
    )
