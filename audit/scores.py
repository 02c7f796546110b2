"""From fleets to scores: directions and events are chosen on selection runs, test runs are reduced to numbers.

The test runs never leave their chunk as weights: only a few numbers per run do, so that memory does not grow with the
number of test replicas; selection runs are kept whole.

Scores of a run with seed k, σ the noise scale, w_k the retrained model of the same seed before noise:

    projection    ⟨u, x − w_k⟩/σ        paired; u chosen on selection runs
    radius        ‖x − w_k‖²/σ²         paired; central χ²(P) for the reference
    independent   ⟨v, x⟩                 needs no seed; v chosen on selection runs

Paired scores mean something only where release = weights + N(0, σ²I): with noise inside training, w_k holds the noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from unlearning.claim import Claim
from unlearning.protocols import State

from .bounds.e_process import choose_growing_event
from .bounds.fixed_event import EventDesign
from .bounds.result import Event
from .bounds.runs import SelectionRuns
from .bounds.selection import most_telling_event
from .controls import HONEST, Defect, defect, release
from .design import Design
from .fleet import Array, Fleet, Subject, numpy64


@dataclass(frozen=True, slots=True)
class Choice:
    """What selection runs chose for one subject: directions [P] of length 1, and events.

    `pilot` holds the scores that events were chosen on, for rows that bet: selection runs say what to bet on.
    """

    paired_direction: Array
    independent_direction: Array
    projection: Event
    radius: Event
    independent: Event
    pilot: "Scores | None" = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Numbers per test run, each [N]; `pre_` are values before noise, from which predictions are made."""

    projection_released: Array
    projection_reference: Array
    radius_released: Array
    radius_reference: Array
    independent_released: Array
    independent_reference: Array
    pre_projection: Array
    pre_distance: Array
    pre_independent_released: Array
    pre_independent_reference: Array

    @staticmethod
    def concatenate(parts: "list[Scores]") -> "Scores":
        """Scores of all chunks, in the order of the chunks."""
        return Scores(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Scores)))


@dataclass(frozen=True, slots=True)
class Releases:
    """Parameters of one chunk, [K, P]: before and after noise, for one subject."""

    pre: Array
    released: Array
    retrained: Array
    reference: Array
    pre_independent: Array
    independent: Array


@dataclass(frozen=True, slots=True)
class ChunkReleases:
    """All releases of one chunk: what the subjects share, and what each of them released.

    The method as it is meets the method's own reference; controls meet a reference with the audit's own noise.
    """

    shared: dict[str, Array]
    released: dict[str, Array]

    def of(self, planted: Defect) -> Releases:
        """Releases of one subject."""
        s, own = self.shared, "control " if planted.name else ""
        return Releases(
            s[planted.source],
            self.released[planted.name],
            s["retrained"],
            s[f"{own}reference"],
            s["pre_independent"],
            s[f"{own}independent"],
        )

    @staticmethod
    def concatenate(parts: "list[ChunkReleases]") -> "ChunkReleases":
        """Releases of all chunks, in the order of the chunks."""
        return ChunkReleases(
            {key: np.concatenate([p.shared[key] for p in parts]) for key in parts[0].shared},
            {key: np.concatenate([p.released[key] for p in parts]) for key in parts[0].released},
        )


def release_chunk(
    subject: Subject,
    fleet: Fleet,
    defects: Sequence[Defect],
    noise_scale: float,
    phase: str,
    replicas: tuple[int, ...],
) -> ChunkReleases:
    """Release one chunk for the honest method and every defect; defects are on the released side only."""
    method = subject.method

    def reference(arm: str, state: State, planted: Defect = HONEST) -> Array:
        streams = subject.noise_streams(phase, arm, replicas=replicas)
        return numpy64(release(method, planted, state, noise_scale, streams=streams))

    right = defect("retrained")
    shared = {
        "original": numpy64(fleet.original.parameters),
        "unlearned": numpy64(fleet.unlearned.parameters),
        "retrained": numpy64(fleet.retrained.parameters),
        "pre_independent": numpy64(fleet.independent.parameters),
        "reference": reference("reference", fleet.retrained),
        "independent": reference("independent", fleet.independent),
        "control reference": reference("reference", fleet.retrained, right),
        "control independent": reference("independent", fleet.independent, right),
    }
    released = {}
    for planted in defects:
        streams = subject.noise_streams(planted.name, phase, "released", replicas=replicas)
        state = fleet.state(planted.source)
        released[planted.name] = numpy64(release(method, planted, state, noise_scale, streams=streams))
    return ChunkReleases(shared, released)


def score_chunk(releases: Releases, choice: Choice, noise_scale: float) -> Scores:
    """Reduce a chunk of test runs to its scores."""
    u, v = choice.paired_direction, choice.independent_direction
    shift = releases.released - releases.retrained
    own = releases.reference - releases.retrained
    before = releases.pre - releases.retrained
    unit = noise_scale or 1.0  # without noise, distances are in the units of the parameters
    return Scores(
        shift @ u / unit,
        own @ u / unit,
        (shift**2).sum(1) / unit**2,
        (own**2).sum(1) / unit**2,
        releases.released @ v,
        releases.independent @ v,
        before @ u / unit,
        np.linalg.norm(before, axis=1),
        releases.pre @ v,
        releases.pre_independent @ v,
    )


def choose(releases: Releases, noise_scale: float, design: Design) -> Choice:
    """Choose directions on the first half of the selection runs and events on the second half."""
    half = releases.released.shape[0] // 2
    first, second = slice(None, half), slice(half, None)
    paired = _paired_direction(releases, first, second)
    independent = _independent_direction(releases, first, second, noise_scale)
    chosen = Choice(paired, independent, Event(0, 1), Event(0, 1), Event(0, 1))
    scores = score_chunk(_part(releases, second), chosen, noise_scale)

    if design.until_refuted:
        return replace(
            chosen,
            projection=_bet_on(scores.projection_released, scores.projection_reference, design.claim),
            independent=_bet_on(scores.independent_released, scores.independent_reference, design.claim),
            pilot=scores,
        )

    def event(released: Array, reference: Array, key: str) -> Event:
        return _event(released, reference, event_design(design, key), design.claim)

    return Choice(
        paired,
        independent,
        event(scores.projection_released, scores.projection_reference, "paired-event-projection"),
        event(scores.radius_released, scores.radius_reference, "paired-event-radius"),
        event(scores.independent_released, scores.independent_reference, "independent-event"),
    )


def event_design(design: Design, key: str, failure_probability: float | None = None) -> EventDesign:
    """Numbers of runs and failure probability of one fixed-event line."""
    chosen = design.line_failure_probability(key) if failure_probability is None else failure_probability
    return EventDesign(design.test, design.test, chosen)


def _event(released: Array, reference: Array, design: EventDesign, claim: Claim) -> Event:
    runs = SelectionRuns(released, reference)
    return most_telling_event(runs, (design.released, design.reference), claim, design.failure_probability)


def _bet_on(released: Array, reference: Array, claim: Claim) -> Event:
    found = choose_growing_event(released, reference, claim.tradeoff)
    return Event(float(np.median(reference))) if found is None else found  # any will do where none speaks


def _part(releases: Releases, rows: slice) -> Releases:
    return Releases(*(getattr(releases, f.name)[rows] for f in fields(Releases)))


def _unit(vector: Array) -> Array | None:
    length = np.linalg.norm(vector)
    return np.asarray(vector / length) if np.isfinite(length) and length > 0 else None


def _first_axis(size: int) -> Array:
    return np.asarray(np.eye(1, size)[0])


def _paired_direction(releases: Releases, first: slice, second: slice) -> Array:
    """The candidate that separates the second half's releases best: mean difference before noise, or after."""
    before = (releases.pre - releases.retrained)[first].mean(0)
    after = (releases.released - releases.reference)[first].mean(0)
    gap = (releases.released - releases.reference)[second].mean(0)
    candidates = [u for u in (_unit(before), _unit(after)) if u is not None]
    if not candidates:
        return _first_axis(before.size)
    return max(candidates, key=lambda u: float(gap @ u))


def _independent_direction(releases: Releases, first: slice, second: slice, noise_scale: float) -> Array:
    """Mean difference, as it is or whitened by the training scatter (Fisher's discriminant)."""
    shift = (releases.pre - releases.retrained)[first].mean(0)
    if not np.any(shift):
        shift = (releases.released - releases.independent)[first].mean(0)
    centred = releases.pre_independent[first] - releases.pre_independent[first].mean(0)
    candidates = [u for u in (_unit(shift), _unit(_whitened(shift, centred, noise_scale))) if u is not None]
    if not candidates:
        return _first_axis(shift.size)

    def separation(u: Array) -> float:
        x, y = releases.released[second] @ u, releases.independent[second] @ u
        spread = np.sqrt(x.var() + y.var())
        return float((x.mean() - y.mean()) / spread) if spread > 0 else 0.0

    return max(candidates, key=separation)


def _whitened(shift: Array, centred: Array, noise_scale: float) -> Array:
    """(S + σ²I)⁻¹ shift for the low-rank scatter S of the centred runs, by Woodbury."""
    runs = centred.shape[0]
    floor = noise_scale**2 + 1e-6 * float((centred**2).sum()) / centred.size
    if floor == 0:
        return shift
    inner = centred @ centred.T + floor * max(1, runs - 1) * np.eye(runs)
    return np.asarray(shift - centred.T @ np.linalg.solve(inner, centred @ shift))  # up to the factor 1/floor
