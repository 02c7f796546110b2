"""What can be read off a row of a record, and nothing that cannot: None is not computable, never a success."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from unlearning.claim import Status
from unlearning.record import Accuracy, ClaimFacts, Constant, Evidence, Line, Row
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff, TradeOff
from unlearning.verdict import Outcome, Verdict

RUNGS = {
    "A": ("Sensitivity", "someone who knows the training seed and the weights before noise"),
    "B": ("Noise", "someone who sees weights before and after noise, or many releases of the same model"),
    "C": ("Retrain or unlearn", "someone who knows data and request and sees released models"),
    "D": ("Identification", "someone who holds a list of candidates and must name those that were deleted"),
    "E": (
        "Attacks",
        "someone who holds released models, one or both versions, and trains shadow models alike",
    ),
}
SILENT = 0.5  # below so much power on doing nothing, finding nothing says nothing
_SOUND = (Status.PROVED, Status.CHECKED)
_NOTHING_WORDS = ("nothing", "no-op", "noop")


@dataclass(frozen=True, slots=True)
class Standing:
    """How much a promise may be called certified: one word for tables, one sentence for readers."""

    word: str
    sentence: str
    weak: tuple[Constant, ...] = ()


def standing(row: Row) -> Standing:
    """Say what the promise of a row rests on; "certified" only where every premise is proved or checked."""
    certificate = row.certificate
    by_hand = row.claim.stated_by != "certificate"
    if certificate is None:
        sentence = (
            "A person stated this claim by hand; no theorem of the method stands behind it."
            if by_hand
            else "The claim is attributed to a certificate, but the record holds none: nothing stands behind it here."
        )
        return Standing("stated by hand" if by_hand else "no certificate", sentence)
    weak = tuple(a for a in certificate.assumptions if a.status not in _SOUND)
    violated = tuple(a for a in weak if a.status is Status.VIOLATED)
    names = "; ".join(f"{a.statement.rstrip('.')} ({a.status.value})" for a in weak)
    if violated or certificate.status is Status.VIOLATED:
        found = Standing(
            "premise violated", f"The theorem does not apply here: {names or 'a premise is violated'}.", weak
        )
    elif weak or certificate.status not in _SOUND:
        found = Standing("conditional", f"Conditional on: {names or 'premises not listed in the record'}.", weak)
    elif row.verdict is Verdict.REFUTED:
        sentence = (
            "Every premise of the theorem is listed as proved or checked, yet the evidence contradicts the promise: "
            "the proof, the code or the noise is wrong."
        )
        found = Standing("contradicted", sentence, weak)
    else:
        found = Standing("certified", "Certified: every premise of the theorem is proved or was checked.", weak)
    if by_hand:
        sentence = "A person stated this claim by hand; the method’s own theorem is shown beside it. " + found.sentence
        return Standing("stated by hand", sentence, weak)
    return found


def achieved_epsilon(row: Row) -> float | None:
    """Exact ε of the noise-free distances with this noise; infinite where there is a distance and no noise."""
    found = row.distances
    if found is None:
        return None
    return found.achieved_epsilon if found.achieved_epsilon is not None else _without_noise(row, found.unlearned)


def noop_epsilon(row: Row) -> float | None:
    """The same for releasing the original model."""
    found = row.distances
    if found is None:
        return None
    return found.noop_epsilon if found.noop_epsilon is not None else _without_noise(row, found.original)


def _without_noise(row: Row, quantiles: list[float]) -> float | None:
    if row.noise_scale != 0 or not quantiles:
        return None
    return math.inf if quantiles[-1] > 0 else 0.0


def computed(line: Line) -> bool:
    """Whether a line says anything."""
    return line.outcome in (Outcome.REFUTED, Outcome.NOT_REFUTED)


def seen_from_releases(line: Line) -> bool:
    """Whether a line is a confidence statement about the claim, made from released models."""
    return line.deciding and computed(line) and "confidence" in line.kind and line.subject == "claim"


def epsilon_lower(row: Row) -> float | None:
    """Largest lower confidence limit of ε over the deciding lines; their shares add up to the row's."""
    return max((e for x in row.lines if seen_from_releases(x) and (e := x.epsilon_lower) is not None), default=None)


def detectable(row: Row) -> tuple[float, Line] | None:
    """Smallest ε that a deciding line would have refuted from releases with probability .8, and that line."""
    found = [
        (line.detectable_epsilon, place)
        for place, line in enumerate(row.lines)
        if seen_from_releases(line) and line.detectable_epsilon is not None
    ]
    if not found:
        return None
    smallest, place = min(found)
    return smallest, row.lines[place]


def noop_power(lines: Iterable[Line]) -> float | None:
    """Largest probability with which one of these deciding lines would have refuted doing nothing."""
    return max((p for x in lines if x.deciding and (p := x.noop_power) is not None), default=None)


def rung_lines(evidence: Evidence, rung: str) -> list[Line]:
    """All lines of a rung, over all rows."""
    return [line for row in evidence.rows for line in row.lines if line.rung == rung]


def worst_outcome(lines: list[Line]) -> Outcome:
    """The worst word among lines: an error, a refutation, a gap, and only then none of these."""
    order = [Outcome.ERROR, Outcome.REFUTED, Outcome.NOT_COMPUTABLE, Outcome.NOT_REFUTED]
    return min((line.outcome for line in lines), key=order.index)


def accuracy(row: Row, *names: str) -> Accuracy | None:
    """The accuracies of the first model found under one of these names."""
    known = {a.model.strip().lower(): a for a in row.accuracies}
    return next((known[name] for name in names if name in known), None)


def claimed(claim: ClaimFacts) -> TradeOff:
    """The trade-off function that a claim states."""
    if claim.kind == "gaussian" and claim.mu is not None:
        return GaussianTradeOff(claim.mu)
    return EpsilonDelta(min(claim.epsilon, 700.0), claim.delta, claim.directions)


def guess_probability(claim: ClaimFacts) -> float:
    """Largest probability of a right guess between both worlds from a prior of ½, under the (ε, δ) of a claim.

    With both directions (e^ε + δ)/(1 + e^ε) ≤ e^ε/(1 + e^ε) + δ; with one only, 1 − (1 − δ)e^−ε/2.
    """
    if claim.directions is Directions.BOTH:
        return (1 + claim.delta * math.exp(-claim.epsilon)) / (1 + math.exp(-claim.epsilon))
    return 1 - (1 - claim.delta) * math.exp(-claim.epsilon) / 2


def gaussian_guess_probability(mu: float) -> float:
    """The same for a μ-GDP claim: Φ(μ/2)."""
    return 0.5 * math.erfc(-mu / 2 / math.sqrt(2))


def from_files(row: Row) -> bool:
    """Whether the scores of a row were read from files: then nothing is known of method, task and request."""
    return row.task is None


def is_doing_nothing(label: str) -> bool:
    """Whether a curve or histogram is of releasing the original."""
    lowered = label.strip().lower()
    return lowered.startswith("original") or any(word in lowered for word in _NOTHING_WORDS)
