"""Rung A: exact, from noise-free weights of paired runs. It needs no failure probability.

d_k = ‖unlearned_k − reference_k‖₂ with the same training seed. d_k > Δ_k refutes the bound; the claim is refuted when
the exact ε of N(0, σ²I) shifted by d_k exceeds the claimed one. Valid where release = weights + N(0, σ²I) on both
sides.
"""

import math
from dataclasses import dataclass

import numpy as np

from unlearning.claim import Claim, SeedPolicy
from unlearning.record import Distances, Line
from unlearning.verdict import Outcome

from .fleet import Array

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_BOUND_TITLE = "Distance against the certified Δ"


@dataclass(frozen=True, slots=True)
class Measured:
    """Noise-free numbers of all test runs, each [N].

    Attributes:
        unlearned: ‖unlearned − reference‖.
        original: ‖original − reference‖, the do-nothing distance.
        sensitivity_upper: Δ per run, None without a certificate.
        norm: largest parameter norm, for the rounding slack.
        epsilon_of_dtype: machine precision of the training dtype.
        bound_failure_probability: probability that the certified Δ itself fails in a run.
        every_draw: whether what one run shows contradicts the claim: unlearning draws nothing, or Δ holds whatever it
            draws.
    """

    unlearned: Array
    original: Array
    sensitivity_upper: Array | None
    norm: float
    epsilon_of_dtype: float
    bound_failure_probability: float = 0.0
    every_draw: bool = True

    @property
    def rounding_slack(self) -> float:
        """Allowance for rounding over a whole training run: 10⁴ units in the last place of the parameter norm."""
        return 1e4 * self.epsilon_of_dtype * (1 + self.norm)


def distances(measured: Measured, claim: Claim, noise_scale: float, *, gaussian: bool) -> Distances:
    """Quantiles of the distances, exact achieved ε and the exact ε of doing nothing."""

    def quantiles(values: Array) -> list[float]:
        return [float(q) for q in np.quantile(values, _QUANTILES)]

    bound = measured.sensitivity_upper
    slack = None
    if bound is not None and np.all(bound > 0):
        slack = float((measured.unlearned / bound).max())
    mu, noop = achieved_mu(measured, noise_scale), noop_mu(measured, noise_scale)
    known = gaussian and noise_scale > 0
    return Distances(
        unlearned=quantiles(measured.unlearned),
        original=quantiles(measured.original),
        sensitivity_upper=None if bound is None or not np.isfinite(bound).all() else quantiles(bound),
        slack_largest=slack,
        achieved_mu=mu if known else None,
        achieved_epsilon=claim.gaussian_epsilon(mu) if known else None,
        noop_mu=noop if known else None,
        noop_epsilon=claim.gaussian_epsilon(noop) if known else None,
    )


def achieved_mu(measured: Measured, noise_scale: float) -> float:
    """Largest μ = d/σ over the runs."""
    return _ratio(float(measured.unlearned.max()), noise_scale)


def noop_mu(measured: Measured, noise_scale: float) -> float:
    """Largest μ of releasing the original with the same noise."""
    return _ratio(float(measured.original.max()), noise_scale)


def _ratio(distance: float, noise_scale: float) -> float:
    if noise_scale == 0:
        return 0.0 if distance == 0 else math.inf
    return distance / noise_scale


def sensitivity_lines(measured: Measured, claim: Claim, noise_scale: float, *, gaussian: bool) -> list[Line]:
    """Two lines: the bound against the distance, the claim against the exact achieved ε."""
    return [_bound_line(measured), _claim_line(measured, claim, noise_scale, gaussian=gaussian)]


def _bound_line(measured: Measured) -> Line:
    runs = measured.unlearned.size
    bound = measured.sensitivity_upper
    if bound is None:
        return _line("sensitivity-bound", _BOUND_TITLE, "bound", Outcome.NOT_COMPUTABLE, runs).model_copy(
            update={
                "deciding": False,
                "finding": "The method states no Δ here.",
                "reason": "no certificate: there is no bound to check",
            }
        )
    excess = measured.unlearned - bound - measured.rounding_slack
    refuted = bool((excess > 0).any())
    worst = int(np.argmax(measured.unlearned - bound))
    d, delta = float(measured.unlearned[worst]), float(bound[worst])
    broken = int((excess > 0).sum())
    finding = (
        f"d > Δ in {broken} of {runs} runs, at worst d = {d:.4g} against Δ = {delta:.4g}."
        if refuted
        else f"d ≤ Δ, rounding aside, in all {runs} runs; closest d = {d:.4g} against Δ = {delta:.4g}."
    )
    outcome = Outcome.REFUTED if refuted else Outcome.NOT_REFUTED
    fails = measured.bound_failure_probability
    return _line("sensitivity-bound", _BOUND_TITLE, "bound", outcome, runs).model_copy(
        update={
            "outcome": Outcome.NOT_COMPUTABLE if fails else outcome,
            "deciding": not fails,
            "reason": f"Δ is allowed to fail with probability {fails:g} in every run" if fails else None,
            "finding": finding,
            "statistic": d,
            "threshold": delta if math.isfinite(delta) else None,
            "detectable": f"any d > Δ + {measured.rounding_slack:.2g} (rounding)",
            "derivation": {"rounding_slack": measured.rounding_slack},
        }
    )


def _claim_line(measured: Measured, claim: Claim, noise_scale: float, *, gaussian: bool) -> Line:
    runs = measured.unlearned.size
    line = _line("achieved-epsilon", "Exact ε of the distance and the noise", "claim", Outcome.NOT_COMPUTABLE, runs)
    if not gaussian:
        return line.model_copy(
            update={"finding": "Not computable.", "reason": "the release is not weights + N(0, σ²I) on both sides"}
        )
    if claim.seed_policy is SeedPolicy.MARGINAL:
        return line.model_copy(
            update={
                "deciding": False,
                "finding": "Not computable for a marginal claim.",
                "reason": "a distance at one training seed does not contradict a claim over seeds",
            }
        )
    if not measured.every_draw:
        return line.model_copy(
            update={
                "deciding": False,
                "finding": "Not computable where unlearning draws random numbers and no Δ holds in every draw.",
                "reason": "unlearning draws random numbers, and some draws may break the promise: one run's distance "
                "does not contradict a claim over all of them",
            }
        )
    mu, noop = achieved_mu(measured, noise_scale), noop_mu(measured, noise_scale)
    slack = measured.rounding_slack
    equal = float(measured.unlearned.max()) <= slack  # as far as this machine can tell
    refuted = not equal and not claim.allows_gaussian(mu)
    noop_refuted = float(measured.original.max()) > slack and not claim.allows_gaussian(noop)
    achieved, nothing = claim.gaussian_epsilon(mu), claim.gaussian_epsilon(noop)
    proved = {"epsilon_lower": 0.0 if equal else achieved, "mu_lower": 0.0 if equal else mu}
    return line.model_copy(
        update={
            "outcome": Outcome.REFUTED if refuted else Outcome.NOT_REFUTED,
            "finding": (
                f"largest exact ε over {runs} runs is {_number(achieved)}, claimed {claim.epsilon:.4g} at "
                f"δ = {claim.delta:g}; doing nothing would have {_number(nothing)}."
                + (" All distances are within rounding." if equal else "")
            ),
            "statistic": mu if math.isfinite(mu) else None,
            **{name: value if math.isfinite(value) else None for name, value in proved.items()},
            "detectable": f"any ε above the claimed one, exactly, where d > {slack:.2g} (rounding)",
            "detectable_epsilon": claim.epsilon,
            "noop_power": float(noop_refuted),
            "derivation": {
                "distance": float(measured.unlearned.max()),
                "do_nothing_distance": float(measured.original.max()),
                "noise_scale": noise_scale,
            },
        }
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "infinite"


def _line(key: str, title: str, subject: str, outcome: Outcome, runs: int) -> Line:
    return Line(
        rung="A",
        key=key,
        title=title,
        subject=subject,
        seeds="paired",
        deciding=True,
        outcome=outcome,
        finding="",
        failure_probability=0.0,
        assumes="release = weights + N(0, σ²I), rung B" if subject == "claim" else "nothing",
        kind="exact",
        runs_released=runs,
        runs_reference=runs,
    )
