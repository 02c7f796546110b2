"""Rung C with further scores of released models: one line a score, over seeds, model-free.

Of every score: an event is chosen on selection runs, with runs of both sides; the counts of unlearned and of retrained
test runs with other seeds in it are compared with the claim by an exact test. A score is any map of one model, so that
nothing is assumed of its law. Test runs are reduced to their scores within their chunk.

Whether a line would have refuted doing nothing cannot be computed from weights, for the scores are not linear. It is
bounded from below by the no-op's own test runs, whose event other runs chose: the power is smallest where P(E) is at
its lower and Q(E) at its upper limit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import numpy as np
from scipy.stats import binom

from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.claim import Claim
from unlearning.record import Histogram, Line, TradeOffCurve
from unlearning.tradeoff import GaussianTradeOff
from unlearning.verdict import Outcome

from .bounds.clopper_pearson import counts
from .bounds.result import Event, LowerBound
from .bounds.runs import SelectionRuns, TestRuns
from .bounds.selection import most_telling_event
from .bounds.table import compute
from .controls import HONEST, Defect
from .curves import tradeoff_curve
from .design import Design
from .discriminator import fit_logistic
from .figures import histograms_of
from .fitted_scores import Fit, FittedScore, SelectionFeatures, TestFeatures, cross_fit
from .fleet import Array, Subject
from .likelihood_scores import fit_gaussians, fit_kernels
from .power import WAYS, Setting, smallest_mu
from .score_functions import evaluate_all
from .score_names import DISCRIMINATOR, RULI, U_LIRA
from .scores import ChunkReleases

POWER_FAILURE_PROBABILITY = 0.05  # with which some stated power of a row on doing nothing may be too large
_MISSED = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
_TITLES = {
    "forget-loss": "Loss of the forgotten records",
    "forget-margin": "Margin of the forgotten records",
    "forget-confidence": "Confidence in the forgotten records",
    DISCRIMINATOR: "Trained discriminator",
    U_LIRA: "U-LiRA of the forgotten records",
    RULI: "RULI of the forgotten records",
}
FITS: dict[str, Fit] = {DISCRIMINATOR: fit_logistic, U_LIRA: fit_gaussians, RULI: fit_kernels}

Measured = dict[str, dict[str, Array]]  # release → score → values of the runs of a chunk
Scored = dict[str, dict[str, TestRuns]]  # subject → score → test runs


@dataclass(frozen=True, slots=True, eq=False)
class ScoreChoice:
    """What selection runs fixed for one subject.

    Attributes:
        selection: scores of the selection runs, by score.
        fitted: scores that were fitted on them, by score.
    """

    selection: dict[str, SelectionRuns]
    fitted: dict[str, FittedScore] = field(default_factory=dict)


def measure_chunk(subject: Subject, design: Design, releases: ChunkReleases) -> Measured:
    """The scores of everything that a chunk released, and of its references with other seeds."""
    if not design.scores:
        return {}
    references = {name: releases.shared[name] for name in ("independent", "control independent")}
    return evaluate_all(design.scores, subject, releases.released | references)


def choose_scores(parts: Sequence[Measured], everyone: Sequence[Defect]) -> dict[str, ScoreChoice]:
    """Keep the scores of the selection runs, which choose the events, and fit what is fitted for each subject."""
    if not any(parts):
        return {}
    whole = {
        release: {score: np.concatenate([part[release][score] for part in parts]) for score in own}
        for release, own in parts[0].items()
    }
    found = {}
    for planted in everyone:
        released, reference = _sides(whole, planted)
        selection, fitted = {}, {}
        for score in released:
            if score in FITS:
                features = SelectionFeatures(released[score], reference[score])
                fitted[score], selection[score] = cross_fit(FITS[score], features)
            else:
                selection[score] = SelectionRuns(released[score], reference[score])
        found[planted.name] = ScoreChoice(selection, fitted)
    return found


def score_test_chunk(measured: Measured, chosen: Mapping[str, ScoreChoice], everyone: Sequence[Defect]) -> Scored:
    """The scores of a chunk of test runs; features of fitted scores end here."""
    found: Scored = {}
    for planted in everyone if chosen else ():
        released, reference = _sides(measured, planted)
        own = found[planted.name] = {}
        for score in released:
            fitted = chosen[planted.name].fitted.get(score)
            if fitted is None:
                own[score] = TestRuns(released[score], reference[score])
            else:
                own[score] = fitted.scores(TestFeatures(released[score], reference[score]))
    return found


def _sides(measured: Measured, planted: Defect) -> tuple[dict[str, Array], dict[str, Array]]:
    """The method meets the method's own reference, a control one with the audit's own noise."""
    return measured[planted.name], measured["control independent" if planted.name else "independent"]


def joined(parts: Sequence[Scored]) -> Scored:
    """Scores of all chunks, in the order of the chunks."""
    return {
        subject: {
            score: TestRuns(
                np.concatenate([part[subject][score].released for part in parts]),
                np.concatenate([part[subject][score].reference for part in parts]),
            )
            for score in own
        }
        for subject, own in parts[0].items()
    }


def score_lines(
    design: Design,
    planted: Defect,
    chosen: Mapping[str, ScoreChoice],
    tested: Scored,
    failure_probability: float | None = None,
) -> list[Line]:
    """One line a score for one subject.

    Guarantee: a true claim is refuted by a line with at most its failure probability.

    Args:
        design: of the row.
        planted: the subject.
        chosen: of the selection runs, by subject.
        tested: scores of the test runs, by subject and score.
        failure_probability: of each line, instead of its share of the row's; then no power is stated.
    """
    if not chosen:
        return []
    lines = []
    for score in design.scores:
        allowed = failure_probability or design.line_failure_probability(f"score-{score}")
        own = Trial(chosen[planted.name].selection[score], tested[planted.name][score].sizes, design.claim, allowed)
        line = _line(score, own.bound(tested[planted.name][score]), design.claim)
        if failure_probability is None:
            found = _detectable(bound_for(design.claim), Setting(design.claim, allowed), own.sizes)
            if "no-op" in tested:
                noop = replace(own, selection=chosen["no-op"].selection[score])
                each = POWER_FAILURE_PROBABILITY / len(design.scores)
                limit = noop.power_lower(tested["no-op"][score], failure_probability=each)
                found["noop_power"] = limit
            line = line.model_copy(update=found)
        lines.append(line)
    return lines


def _detectable(bound: str, setting: Setting, sizes: tuple[int, int]) -> dict[str, Any]:
    """The power of a line in the fields of the record."""
    mu = _smallest_mu(bound, setting, sizes)
    if mu is None:
        text = f"no Gaussian shift of the score is refuted with probability {setting.power} at {min(sizes)} runs a side"
        return {"detectable": text}
    epsilon = setting.claim.gaussian_epsilon(mu)
    return {
        "detectable_mu": mu,
        "detectable_epsilon": epsilon if math.isfinite(epsilon) else None,
        "detectable": f"a Gaussian shift of the score of μ ≥ {mu:.3g}, with probability {setting.power} "
        f"({WAYS[bound].worth})",
    }


@lru_cache(maxsize=64)
def _smallest_mu(bound: str, setting: Setting, sizes: tuple[int, int]) -> float | None:
    return smallest_mu(WAYS[bound], setting, sizes)  # the same for all scores of a row


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One line before its test runs are seen: the event is fixed, and so is the bound, by the kind of claim.

    Attributes:
        selection: scores that choose the event.
        sizes: numbers of test runs (n, m).
        claim: what is tested.
        failure_probability: of the line.
    """

    selection: SelectionRuns
    sizes: tuple[int, int]
    claim: Claim
    failure_probability: float

    def bound(self, test: TestRuns) -> LowerBound:
        """The bound on test runs."""
        name = bound_for(self.claim)
        return compute(name, self.selection, test, self.claim, failure_probability=self.failure_probability)

    def power_lower(self, earlier: TestRuns, *, failure_probability: float) -> float:
        """Lower limit on the probability that runs from the law of the earlier ones refute the claim.

        Guarantee: at most the true power, except with probability ≤ failure_probability, as refutation is monotone in
        both counts: with x₀ and y₀ quantiles of Bin(n, p_L) and Bin(m, q_U), P(x ≥ x₀ and y ≤ y₀) ≥ 1 − β, so that the
        power is at least 1 − β where (x₀, y₀) refutes. Of a few β the smallest counts.
        """
        event = most_telling_event(self.selection, self.sizes, self.claim, self.failure_probability)
        x, y = counts(earlier, event)
        n, m = self.sizes
        p_lower = float(clopper_pearson_lower(x, n, failure_probability / 2))
        q_upper = float(clopper_pearson_upper(y, m, failure_probability / 2))
        for missed in _MISSED:
            corner = binom.ppf(missed / 2, n, p_lower), binom.isf(missed / 2, m, q_upper)
            if self.bound(_runs_with(event, (int(corner[0]), int(corner[1])), self.sizes)).refuted:
                return 1 - missed
        return 0.0


def bound_for(claim: Claim) -> str:
    """Which bound of the table reads the counts: fixed by the claim, before any run.

    At 500 + 500 test runs the joint test needs the smaller difference to refute a claim at one (ε, δ); against a whole
    Gaussian trade-off neither is better everywhere, and Clopper–Pearson limits need no independence of the arms.
    """
    return "clopper-pearson" if isinstance(claim.tradeoff, GaussianTradeOff) else "joint"


def _runs_with(event: Event, inside: tuple[int, int], sizes: tuple[int, int]) -> TestRuns:
    """Test runs of which so many fall into the event."""
    step = event.orientation * (1 + abs(event.threshold))
    return TestRuns(
        *(
            np.where(np.arange(size) < number, event.threshold + step, event.threshold - step)
            for number, size in zip(inside, sizes, strict=True)
        )
    )


def _line(score: str, bound: LowerBound, claim: Claim) -> Line:
    x, y = bound.counts_released, bound.counts_reference
    n, m = bound.runs_released, bound.runs_reference
    return Line(
        rung="C",
        key=f"score-{score}",
        title=title(score),
        subject="claim",
        seeds="independent",
        deciding=True,
        outcome=Outcome.REFUTED if bound.refuted else Outcome.NOT_REFUTED,
        finding=(
            f"{x} of {n} unlearned and {y} of {m} retrained runs in the event: μ ≥ {bound.mu_lower or 0.0:.4g}, "
            f"ε ≥ {bound.epsilon_lower:.4g} at δ = {claim.delta:g}."
        ),
        failure_probability=bound.failure_probability,
        assumes="; ".join(bound.assumes) or "nothing",
        kind=bound.kind.value,
        runs_released=n,
        runs_reference=m,
        counts_released=x,
        counts_reference=y,
        event=bound.event,
        mu_lower=bound.mu_lower,
        epsilon_lower=bound.epsilon_lower,
        derivation=bound.derivation,
    )


def title(score: str) -> str:
    """A score in words."""
    return _TITLES.get(score, f"Score {score}")


def score_curves(tested: Scored) -> list[TradeOffCurve]:
    """Trade-off of every score for the method and for doing nothing."""
    return [
        tradeoff_curve(label, runs.released, runs.reference, title(score))
        for score in tested.get(HONEST.name, {})
        for label, runs in (("unlearned", tested[HONEST.name][score]), ("doing nothing", tested["no-op"][score]))
    ]


def score_histograms(tested: Scored) -> list[Histogram]:
    """Every score of the unlearned and of the retrained runs."""
    return [
        histogram
        for score, runs in tested.get(HONEST.name, {}).items()
        for histogram in histograms_of(runs.released, runs.reference, title(score))
    ]


def score_arrays(chosen: Mapping[str, ScoreChoice], tested: Scored) -> dict[str, tuple[Array, str]]:
    """Every score of the method and of doing nothing, with the selection runs that chose the event.

    From them `certunlearn scores` computes the lines again.
    """
    found: dict[str, tuple[Array, str]] = {}
    for subject, prefix, whose in ((HONEST.name, "", "unlearned"), ("no-op", "noop_", "doing nothing")):
        for score, runs in tested.get(subject, {}).items():
            name, words = f"{prefix}score-{quote(score, safe='')}", title(score)
            selection = chosen[subject].selection[score]
            found |= {
                f"{name}_released": (runs.released, f"{words}: test runs, {whose}"),
                f"{name}_reference": (runs.reference, f"{words}: test runs, retrained with other seeds"),
                f"{name}_selection_released": (selection.released, f"{words}: selection runs, {whose}"),
                f"{name}_selection_reference": (selection.reference, f"{words}: selection runs, retrained"),
            }
    return found
