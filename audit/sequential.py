"""Rung C of a row that stops once it refutes: one line, its predictions for controls, and the path for the record."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearning.claim import Claim
from unlearning.gaussian import mu_of_epsilon_delta
from unlearning.record import Line, Wealth, WealthCurve
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff
from unlearning.verdict import Outcome

from .bounds.e_process import EPSILONS, largest_rejected, mu_grid
from .controls import HONEST, Defect
from .design import Design
from .distinguish_rung import Probabilities
from .fleet import Array
from .power import claimed_mu
from .scores import Scores
from .wealth import INDEPENDENT, KEY, PROJECTION, Bettor, Counts
from .wealth_power import Planted, detectable, pairs_needed, predicted_probabilities, refutation_probability_lower

_POINTS = 200  # of a path kept in the record


def sequential_line(
    bettor: Bettor,
    scores: Scores,
    design: Design,
    *,
    noop: tuple[Bettor, Probabilities] | None = None,
    failure_probability: float | None = None,
    planted: Planted | None = None,
) -> Line:
    """The one line of rung C, for the runs drawn so far.

    Args:
        bettor: of the subject.
        scores: of its test runs, in the order of their numbers.
        design: of the row.
        noop: who bets against doing nothing, and its probabilities given the models drawn, for the power sentence.
        failure_probability: instead of the row's share: of a control.
        planted: what is known of a control, for its prediction.
    """
    claim = design.claim
    alpha = design.line_failure_probability(KEY) if failure_probability is None else failure_probability
    path = bettor.log_wealth_path(scores, claim.tradeoff, claimed_mu(claim))
    needed, pairs = -math.log(alpha), path.size
    hits = np.flatnonzero(path >= needed)
    highest = int(np.argmax(path))
    said = f"reached {_power_of_ten(path[highest])} at its highest, after {highest + 1} of {pairs} pairs"
    if hits.size:
        said = f"reached {_power_of_ten(path[hits[0]])} after {hits[0] + 1} pairs"
    finding = f"the wealth {said}, of at most {design.test}; {_power_of_ten(needed)} refutes"
    found: dict[str, Any] = {"finding": f"{finding}."}
    if failure_probability is None:  # a control is refuted or not: nobody asks for more
        mu_lower, epsilon_lower = _lower_limits(bettor, scores, claim, alpha)
        found = detectable(bettor, claim, design.test, alpha) | {
            "finding": f"{finding}: μ ≥ {mu_lower:.4g}, ε ≥ {epsilon_lower:.4g} at δ = {claim.delta:g}.",
            "mu_lower": mu_lower,
            "epsilon_lower": epsilon_lower,
            "noop_power": None if noop is None else refutation_probability_lower(*noop, claim, pairs, alpha),
        }
    return Line(
        rung="C",
        key=KEY,
        title="Bets against the claim, replica by replica",
        subject="claim",
        seeds="independent" if set(bettor.weights) == {INDEPENDENT} else "paired",
        deciding=True,
        outcome=Outcome.REFUTED if hits.size else Outcome.NOT_REFUTED,
        failure_probability=alpha,
        assumes="the two arms are independent, given the seed"
        + ("; Gaussian noise of deviation σ (rung B)" if PROJECTION in bettor.weights else ""),
        kind="anytime confidence",
        runs_released=pairs,
        runs_reference=pairs,
        event="; ".join(f"{name}: {bettor.events[name]}" for name in bettor.weights if name != PROJECTION),
        statistic=float(path[highest]),
        threshold=needed,
        derivation=_derivation(bettor, scores)
        | ({"refuted_after": int(hits[0]) + 1} if hits.size else {})
        | ({} if planted is None else predicted_probabilities(bettor, planted, design, pairs, alpha)),
        **found,
    )


def _power_of_ten(log_wealth: float) -> str:
    return f"{math.exp(log_wealth):.4g}" if log_wealth < 14 else f"10^{log_wealth / math.log(10):.1f}"


def _lower_limits(bettor: Bettor, scores: Scores, claim: Claim, alpha: float) -> tuple[float, float]:
    """Anytime lower limits on μ and ε, each valid with probability 1 − α."""
    counts = Counts.of(bettor, scores)
    looks = counts.at(_thinned(counts.pairs.size))

    def of_mu(values: Array) -> Array:
        return bettor.highest_log_wealths(looks, [GaussianTradeOff(float(v)) for v in values], values)

    def of_epsilon(values: Array) -> Array:
        claims = [EpsilonDelta(float(v), claim.delta, claim.directions) for v in values]
        shifts = np.array([mu_of_epsilon_delta(float(v), claim.delta) for v in values])
        return bettor.highest_log_wealths(looks, claims, shifts)

    return largest_rejected(mu_grid(counts.pairs.size), of_mu, alpha), largest_rejected(EPSILONS, of_epsilon, alpha)


def _thinned(pairs: int, points: int = _POINTS) -> Array:
    return np.unique(np.linspace(0, pairs - 1, min(pairs, points)).round())


def _derivation(bettor: Bettor, scores: Scores) -> dict[str, float]:
    counts = Counts.of(bettor, scores)
    found: dict[str, float] = {f"weight_{name}": weight for name, weight in bettor.weights.items()}
    if PROJECTION in bettor.weights:
        found |= {"total": float(counts.total[-1]), "selection_mean": bettor.mean, "selection_runs": bettor.runs}
    for name in bettor.weights:
        if name != PROJECTION:
            x, y = counts.inside[name]
            found |= {f"{name}_x": int(x[-1]), f"{name}_y": int(y[-1])}
    return found


@dataclass(frozen=True, slots=True)
class Betting:
    """Rung C of one row that may stop: who bets on what, and the runs drawn so far.

    Attributes:
        design: of the row.
        bettors: by subject: the method as it is, doing nothing, the controls.
        scores: of their test runs.
        known: probabilities given the models before noise, where they are known.
    """

    design: Design
    bettors: dict[str, Bettor]
    scores: dict[str, Scores]
    known: dict[str, Probabilities]

    def line(self, subject: Defect, failure_probability: float | None) -> Line:
        """The line of one subject, at the row's share of the failure probability or at a control's."""
        known, scores = self.known.get(subject.name), self.scores[subject.name]
        planted = None
        if subject.name and known is not None:
            largest = float(scores.pre_distance.max()) / self.design.noise_scale
            planted = Planted(known, not subject.breaks_noise, largest)
        return sequential_line(
            self.bettors[subject.name],
            scores,
            self.design,
            noop=None if "no-op" not in self.known else (self.bettors["no-op"], self.known["no-op"]),
            failure_probability=failure_probability,
            planted=planted,
        )

    def pairs_needed(self) -> int | None:
        """Pairs at which doing nothing would be refuted with power .8, as far as the runs drawn tell."""
        allowed = self.design.line_failure_probability(KEY)
        return pairs_needed(self.bettors["no-op"], self.known["no-op"], self.design, allowed)

    def facts(self) -> Wealth:
        """The wealth against the method and against doing nothing, thinned, for the record."""
        design, needed = self.design, -math.log(self.design.line_failure_probability(KEY))
        curves, after = [], None
        for label, name in (("unlearned", HONEST.name), ("doing nothing", "no-op")):
            path = self.bettors[name].log_wealth_path(
                self.scores[name], design.claim.tradeoff, claimed_mu(design.claim)
            )
            hits = np.flatnonzero(path >= needed)
            if name == HONEST.name and hits.size:
                after = int(hits[0]) + 1
            shown = np.union1d(_thinned(path.size, _POINTS - 1), hits[:1]).astype(int)
            curves.append(
                WealthCurve(
                    label=label,
                    pairs=[int(place) + 1 for place in shown],
                    log10_wealth=[float(value) / math.log(10) for value in path[shown]],
                )
            )
        return Wealth(
            allowed=design.test,
            drawn=self.scores[HONEST.name].projection_released.size,
            refuted_after=after,
            log10_needed=needed / math.log(10),
            weights=self.bettors[HONEST.name].weights,
            curves=curves,
        )
