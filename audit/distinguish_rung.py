"""Rung C: can the unlearned model be told from a retrained one? Four lines per subject."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import chi2, ncx2

from unlearning.claim import Claim, SeedPolicy
from unlearning.record import Line, line_without_numbers
from unlearning.tradeoff import GaussianTradeOff, epsilon_lower_at_event
from unlearning.verdict import Outcome

from .bounds.fixed_event import EventDesign
from .bounds.projection import (
    projection_detectable,
    projection_mu_lower,
    projection_pairs_needed,
    projection_refutation_probability,
)
from .bounds.result import Event
from .controls import Defect
from .design import POWER, Design
from .fleet import Array
from .power import claimed_mu
from .scores import Choice, Scores, event_design

_TITLES = {
    "projection-z": "Mean shift along one direction",
    "paired-event-projection": "Event on the shift, training seed known",
    "paired-event-radius": "Event on the distance, training seed known",
    "independent-event": "Event on the weights, training seed unknown",
}


_LARGE_CENTRALITY = 1e9
_MOST_RUNS = 100_000


@dataclass(frozen=True, slots=True)
class Probabilities:
    """P(E) and Q(E) of the three events given the trained models, before noise: one per test run, or one for all."""

    released: dict[str, Array]
    reference: dict[str, Array]
    projected_mu: float


def probabilities(
    scores: Scores, choice: Choice, defect: Defect, noise_scale: float, coordinates: int
) -> Probabilities:
    """What the noise will do, from noise-free weights: the basis of predictions. Not for frozen noise."""
    f = defect.noise_factor
    radius = choice.radius
    released = {
        "paired-event-projection": _gaussian_tail(scores.pre_projection, choice.projection, f),
        "paired-event-radius": _radius_tail(scores.pre_distance, radius, f, noise_scale, coordinates),
        "independent-event": _gaussian_tail(scores.pre_independent_released, choice.independent, f * noise_scale),
    }
    zero = np.zeros(1)
    reference = {
        "paired-event-projection": _gaussian_tail(zero, choice.projection, 1.0),
        "paired-event-radius": _radius_tail(zero, radius, 1.0, noise_scale, coordinates),
        "independent-event": _gaussian_tail(scores.pre_independent_reference, choice.independent, noise_scale),
    }
    return Probabilities(released, reference, float(scores.pre_projection.mean()))


def _gaussian_tail(centres: Array, event: Event, spread: float) -> Array:
    return np.asarray(ndtr(event.orientation * (centres - event.threshold) / spread))


def _radius_tail(distance: Array, event: Event, factor: float, noise_scale: float, coordinates: int) -> Array:
    centrality = (distance / (factor * noise_scale)) ** 2
    cut = event.threshold / factor**2
    tail = np.select(
        [centrality == 0, centrality < _LARGE_CENTRALITY],
        [
            chi2.sf(cut, coordinates),
            ncx2.sf(cut, coordinates, centrality.clip(1e-300, _LARGE_CENTRALITY)),
        ],
        # √(non-central χ²) ≈ N(√(centrality + P − 1), 1), to 1/√centrality
        ndtr(np.sqrt(centrality + coordinates - 1) - math.sqrt(max(0.0, cut))),
    )
    return np.asarray(tail if event.orientation == 1 else 1 - tail)


def refutation_probability(
    key: str, known: Probabilities, design: Design, failure_probability: float | None = None
) -> float:
    """Probability that a line refutes, given the models: exact for independent noise N(0, σ²I) on both sides."""
    if key == "projection-z":
        allowed = design.line_failure_probability(key) if failure_probability is None else failure_probability
        return projection_refutation_probability(known.projected_mu, claimed_mu(design.claim), design.test, allowed)
    events = event_design(design, key, failure_probability)
    return events.refutation_probability(known.released[key], known.reference[key], design.claim.tradeoff)


def distinguish_lines(
    scores: Scores,
    choice: Choice,
    design: Design,
    *,
    paired: bool = True,
    noop: Probabilities | None = None,
    failure_probability: float | None = None,
    known: Probabilities | None = None,
) -> list[Line]:
    """The four lines of one subject.

    Paired lines condition on the training seed, so that the noise must come after training: with noise inside training
    the retrained model of the same seed holds the noise, and a correct method would be refuted.

    Args:
        scores: of its test runs.
        choice: of its selection runs.
        design: of the row.
        paired: whether release = weights + N(0, σ²I) with σ > 0; without it three lines are not computable.
        noop: probabilities of doing nothing, for the power sentence.
        failure_probability: of each line, instead of its share of the row's.
        known: the subject's own probabilities, for the power of the events.
    """
    per_seed = design.claim.seed_policy is not SeedPolicy.MARGINAL
    counted = {
        "paired-event-projection": (scores.projection_released, scores.projection_reference, choice.projection),
        "paired-event-radius": (scores.radius_released, scores.radius_reference, choice.radius),
        "independent-event": (scores.independent_released, scores.independent_reference, choice.independent),
    }
    lines = []
    for key in ("projection-z", *counted):
        deciding = per_seed or key == "independent-event"
        if key != "independent-event" and not paired:
            lines.append(_not_computable(key, deciding=deciding))
        elif key == "projection-z":
            lines.append(_projection_line(scores, design, noop, failure_probability, deciding=deciding))
        else:
            lines.append(_event_line(key, *counted[key], design, noop, failure_probability, known, deciding=deciding))
    return lines


def runs_needed(noop: Probabilities, design: Design) -> int | None:
    """Runs a side at which a deciding line of this rung refutes doing nothing with power .8; None where none is found.

    The projection test decides claims for every seed, the independent event the claims over seeds.
    """
    if design.claim.seed_policy is not SeedPolicy.MARGINAL:
        allowed = design.line_failure_probability("projection-z")
        return projection_pairs_needed(noop.projected_mu, claimed_mu(design.claim), allowed, POWER)
    key = "independent-event"
    p, q = float(noop.released[key].mean()), float(noop.reference[key].mean())
    runs = design.test
    while runs <= _MOST_RUNS:
        events = EventDesign(runs, runs, design.line_failure_probability(key))
        if events.refutation_probability(p, q, design.claim.tradeoff) >= POWER:
            return runs
        runs *= 2
    return None


def _not_computable(key: str, *, deciding: bool) -> Line:
    return line_without_numbers(
        rung="C",
        key=key,
        title=_TITLES[key],
        subject="claim",
        seeds="paired",
        deciding=deciding,
        reason="the method adds no N(0, σ²I) after training, or σ is 0: its noise cannot be told from its seed",
    )


def _projection_line(
    scores: Scores, design: Design, noop: Probabilities | None, failure_probability: float | None, *, deciding: bool
) -> Line:
    key, claim, runs = "projection-z", design.claim, scores.projection_released.size
    allowed = design.line_failure_probability(key) if failure_probability is None else failure_probability
    mean = float((scores.projection_released - scores.projection_reference).mean())
    lower = projection_mu_lower(mean, runs, allowed)
    limit = claimed_mu(claim)
    detectable = projection_detectable(limit, runs, allowed, POWER)
    refuted = lower > limit
    return Line(
        rung="C",
        key=key,
        title=_TITLES[key],
        subject="claim",
        seeds="paired",
        deciding=deciding,
        outcome=Outcome.REFUTED if refuted else Outcome.NOT_REFUTED,
        finding=(
            f"mean shift {mean:.4g} σ over {runs} pairs: μ ≥ {lower:.4g}, claimed μ ≤ {limit:.4g}; "
            f"if so, ε ≥ {claim.gaussian_epsilon(lower):.4g} at δ = {claim.delta:g}."
        ),
        failure_probability=allowed,
        assumes="Gaussian noise of deviation σ (rung B)",
        kind="confidence",
        runs_released=runs,
        runs_reference=runs,
        statistic=mean,
        threshold=limit,
        mu_lower=lower,
        epsilon_lower=claim.gaussian_epsilon(lower),
        detectable_mu=detectable,
        detectable_epsilon=claim.gaussian_epsilon(detectable),
        noop_power=None if noop is None else refutation_probability(key, noop, design, failure_probability),
        derivation={"mean": mean, "pairs": runs},
    )


def _event_line(
    key: str,
    released: Array,
    reference: Array,
    event: Event,
    design: Design,
    noop: Probabilities | None,
    failure_probability: float | None,
    known: Probabilities | None,
    *,
    deciding: bool,
) -> Line:
    claim = design.claim
    events = event_design(design, key, failure_probability)
    x = int(event.contains(released).sum())
    y = int(event.contains(reference).sum())
    bound = events.bound(x, y, claim)
    q = float(known.reference[key].mean()) if known is not None else y / reference.size
    least = events.detectable(q, claim.tradeoff, POWER)
    return Line(
        rung="C",
        key=key,
        title=_TITLES[key],
        subject="claim",
        seeds="independent" if key == "independent-event" else "paired",
        deciding=deciding,
        outcome=Outcome.REFUTED if bound.refuted else Outcome.NOT_REFUTED,
        finding=(
            f"{x} of {released.size} unlearned and {y} of {reference.size} retrained runs in the event: "
            f"μ ≥ {bound.mu_lower:.4g}, ε ≥ {bound.epsilon_lower:.4g} at δ = {claim.delta:g}."
        ),
        failure_probability=events.failure_probability,
        assumes="nothing",
        kind="confidence",
        runs_released=released.size,
        runs_reference=reference.size,
        counts_released=x,
        counts_reference=y,
        event=str(event),
        statistic=bound.p_lower,
        threshold=float(1 - claim.tradeoff(bound.q_upper)),
        mu_lower=bound.mu_lower,
        epsilon_lower=bound.epsilon_lower,
        noop_power=None if noop is None else refutation_probability(key, noop, design, failure_probability),
        derivation={
            "x": x,
            "n": released.size,
            "y": y,
            "m": reference.size,
            "p_lower": bound.p_lower,
            "q_upper": bound.q_upper,
            "share_released": events.share_released,
        },
        **detectable_at_event(least, q, claim, events.released),
    )


def detectable_at_event(least: float | None, q: float, claim: Claim, runs: int) -> dict[str, Any]:
    """Fields of a line at one event, where `least` is the smallest P(E) that is refuted with the power stated.

    In the claim's own units: the ε of a Gaussian pair, or the ε that this one event proves.
    """
    if least is None:
        return {"detectable": f"no probability of the event is refuted at {runs} runs a side"}
    found: dict[str, Any] = {"detectable": f"P(E) ≥ {least:.3g} where Q(E) = {q:.3g}, with probability .8"}
    if not 0 < q < 1:
        return found
    mu = float(ndtri(least) - ndtri(q))
    gaussian = isinstance(claim.tradeoff, GaussianTradeOff)
    at_event = epsilon_lower_at_event(least, q, claim.delta, claim.directions)
    epsilon = claim.gaussian_epsilon(mu) if gaussian else at_event
    fields = (("detectable_mu", mu), ("detectable_epsilon", epsilon))
    return found | {name: value for name, value in fields if math.isfinite(value)}
