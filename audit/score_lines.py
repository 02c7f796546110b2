"""From bounds on scores to lines of evidence: outcome, power, and how many runs it takes where there are too few."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unlearning.claim import Claim
from unlearning.record import Line
from unlearning.tradeoff import GaussianTradeOff
from unlearning.verdict import Outcome, Verdict

from .bounds.result import Kind, LowerBound
from .bounds.runs import SelectionRuns, TestRuns
from .bounds.table import BOUNDS, compute
from .design import POWER
from .piloted import smallest_mu_with_pilot
from .power import WAYS, Setting, smallest_mu

Orientation = Literal[1, -1] | None

_WORTH = {
    "exact": "exactly",
    "best event": "approximately",
    "equal traces": "exactly, for traces of one length at right angles",
    "approximation": "approximately",
    "lower bound": "at least",
}
_FAR = 1e6
_GOLDEN = (math.sqrt(5) - 1) / 2
_MOST_RUNS = 1_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of runs (n, m) that are tested and that choose."""

    test: tuple[int, int]
    selection: tuple[int, int]

    def scaled(self, runs: int) -> "Sizes":
        """The same division of so many test runs a side."""
        factor = runs / max(self.test)
        return Sizes((runs, runs), tuple(max(1, round(factor * own)) for own in self.selection))  # type: ignore[arg-type]


def score_line(
    bound: LowerBound,
    sizes: Sizes,
    claim: Claim,
    *,
    key: str,
    generator: np.random.Generator,
    orientation: Orientation = 1,
) -> Line:
    """One line of the record from one bound.

    A bound that could not have refuted the claim even from perfectly separated runs is NOT_COMPUTABLE, with the number
    of runs it takes; an estimate decides nothing.

    Args:
        bound: on the test runs.
        sizes: of test and selection runs.
        claim: what was tested.
        key: of the line.
        generator: of the pilots over which power is averaged.
        orientation: as given to the bound.
    """
    entry = BOUNDS[bound.name]
    deciding = bound.refuted is not None
    mu = _detectable(bound, sizes, claim, orientation, generator) if deciding else None
    outcome, reason = Outcome.REFUTED if bound.refuted else Outcome.NOT_REFUTED, None
    if deciding and not bound.refuted:
        reason = too_few(bound.name, sizes, claim, bound.failure_probability, orientation)
        outcome = outcome if reason is None else Outcome.NOT_COMPUTABLE
    return Line(
        rung="C",
        key=key,
        title=entry.title,
        subject="claim",
        seeds="independent",
        deciding=deciding,
        outcome=outcome,
        finding=_finding(bound, claim),
        failure_probability=bound.failure_probability,
        assumes="; ".join((*([] if bound.model == "none" else [bound.model]), *bound.assumes)) or "nothing",
        kind=_kind(bound.kind),
        runs_released=bound.runs_released,
        runs_reference=bound.runs_reference,
        counts_released=bound.counts_released,
        counts_reference=bound.counts_reference,
        event=bound.event,
        epsilon_lower=None if bound.name == "klom" else bound.epsilon_lower,
        mu_lower=bound.mu_lower,
        detectable_mu=mu,
        detectable_epsilon=None if mu is None else claim.gaussian_epsilon(mu),
        detectable=_power_in_words(bound.name, mu) if deciding and reason is None else None,
        reason=reason,
        derivation=bound.derivation,
    )


def _kind(kind: Kind) -> str:
    return "estimate" if kind in (Kind.CREDIBLE, Kind.ESTIMATE) else str(kind)


def _finding(bound: LowerBound, claim: Claim) -> str:
    text = f"{bound.runs_released} released and {bound.runs_reference} reference runs"
    if bound.counts_released is not None and bound.counts_reference is not None:
        text = (
            f"{bound.counts_released} of {bound.runs_released} released and {bound.counts_reference} of "
            f"{bound.runs_reference} reference runs in the event"
        )
    if bound.event is not None:
        text += f" {bound.event}"
    if bound.name == "klom":  # a divergence, and no ε
        return f"{text}: " + ", ".join(f"{name} = {value:.4g}" for name, value in bound.derivation.items()) + "."
    word = "≥" if bound.refuted is not None else "estimated at"
    text += f": ε {word} {bound.epsilon_lower:.4g} at δ = {claim.delta:g}"
    if bound.mu_lower is not None:
        text += f", μ {word} {bound.mu_lower:.4g}"
        if isinstance(claim.tradeoff, GaussianTradeOff):
            text += (
                f", claimed μ ≤ {claim.tradeoff.mu:.4g}; ε ≥ {claim.gaussian_epsilon(bound.mu_lower):.4g} if Gaussian"
            )
    return text + "."


def _detectable(
    bound: LowerBound, design: Sizes, claim: Claim, orientation: Orientation, generator: np.random.Generator
) -> float | None:
    way = WAYS.get(bound.name)
    if way is None:
        return None
    unknown = orientation is None and BOUNDS[bound.name].needs == "orientation"
    setting = Setting(claim, bound.failure_probability / (2 if unknown else 1))
    if way.chooses and way.seeks_event:
        found = smallest_mu_with_pilot(way, setting, design.test, design.selection, generator)
    else:
        found = smallest_mu(way, setting, design.test)
    return found if found is not None and math.isfinite(claim.gaussian_epsilon(found)) else None


def _power_in_words(name: str, mu: float | None) -> str:
    if name not in WAYS:
        return "not computed for this bound"
    if mu is None:
        return f"no Gaussian shift is refuted with probability {POWER}"
    return f"a Gaussian shift of μ ≥ {mu:.3g} is refuted with probability {POWER} ({_WORTH[WAYS[name].worth]})"


def could_refute(
    name: str, sizes: Sizes, claim: Claim, failure_probability: float, orientation: Orientation = 1
) -> bool:
    """Whether a bound refutes the claim from runs of these sizes that are perfectly separated, on either side."""
    for sign in (1, -1) if orientation is None or BOUNDS[name].needs == "selection" else (orientation,):
        selection, test = ((sign * (_FAR + _unsorted(n)), _unsorted(m)) for n, m in (sizes.selection, sizes.test))
        bound = compute(
            name,
            SelectionRuns(*selection),
            TestRuns(*test),
            claim,
            failure_probability=failure_probability,
            orientation=orientation,
        )
        if bound.refuted:
            return True
    return False


def _unsorted(runs: int) -> NDArray[np.float64]:
    """Different numbers in [0, 1), evenly spread in every stretch: no order that a bound could starve in."""
    return np.asarray(np.arange(runs) * _GOLDEN % 1)


def too_few(
    name: str, sizes: Sizes, claim: Claim, failure_probability: float, orientation: Orientation = 1
) -> str | None:
    """Why a design could not have refuted the claim, and the runs a side it takes; None where it could have."""
    if could_refute(name, sizes, claim, failure_probability, orientation):
        return None
    low = high = max(2, *sizes.test)
    while not could_refute(name, sizes.scaled(high), claim, failure_probability, orientation):
        if high >= _MOST_RUNS:
            return f"perfectly separated runs would not refute the claim, and not even {high} a side would"
        low, high = high, min(2 * high, _MOST_RUNS)
    while high - low > 1:
        middle = (low + high) // 2
        if could_refute(name, sizes.scaled(middle), claim, failure_probability, orientation):
            high = middle
        else:
            low = middle
    return (
        f"{sizes.test[0]} and {sizes.test[1]} test runs would not refute the claim even if they were perfectly "
        f"separated; it takes at least {high} a side"
    )


def strongest(lines: list[Line], claim: Claim) -> Line:
    """The line with the largest lower limit: of μ for a Gaussian claim, of ε for others."""
    gaussian = isinstance(claim.tradeoff, GaussianTradeOff)

    def limits(line: Line) -> tuple[float, float]:
        mu, epsilon = line.mu_lower or 0.0, line.epsilon_lower or 0.0
        return (mu, epsilon) if gaussian else (epsilon, mu)

    return max(lines, key=limits)


def decide_scores(lines: list[Line], claim: Claim) -> tuple[Verdict, str]:
    """The verdict on two files of scores and one sentence why: there is no no-op to compare with, so never VACUOUS."""
    deciding = [line for line in lines if line.deciding]
    refuting = [line for line in deciding if line.outcome is Outcome.REFUTED]
    if refuting:
        best = strongest(refuting, claim)
        return Verdict.REFUTED, f"Evidence against the claim ({best.title.lower()}): {best.finding}"
    missing = [line for line in deciding if line.outcome is Outcome.NOT_COMPUTABLE]
    if missing or not deciding:
        return Verdict.NOT_COMPUTABLE, (
            f"{missing[0].title}: {missing[0].reason}." if missing else "No bound that decides was asked for."
        )
    found = [line.detectable_epsilon for line in deciding if line.detectable_epsilon is not None]
    power = f"these runs would have refuted ε ≥ {min(found):.4g} with probability {POWER}" if found else "power unknown"
    return Verdict.NOT_REFUTED, f"No bound contradicts ε ≤ {claim.epsilon:.4g} at δ = {claim.delta:g}; {power}."
