"""The design of one row's audit: what is tested, with how many runs, at which failure probability."""

from dataclasses import dataclass, field

from unlearning.claim import Claim

# Shares of a row's failure probability. Every line that is computed spends its share; what a row does not run is saved.
SHARES: dict[str, float] = {
    "noise-scale": 0.05,
    "noise-coordinates": 0.03,
    "noise-calls": 0.03,
    "noise-replicas": 0.03,
    "noise-common": 0.03,
    "noise-shape": 0.03,
    "projection-z": 0.30,
    "paired-event-projection": 0.10,
    "paired-event-radius": 0.10,
    "independent-event": 0.30,
}

POWER = 0.8  # the power at which "could have found" is stated


@dataclass(frozen=True, slots=True)
class Design:
    """One row.

    Attributes:
        claim: what is tested.
        noise_scale: σ of every release, the same on both sides.
        sensitivity_budget: Δ that σ was fixed for; replicas whose certified Δ exceeds it are retrained instead.
        rungs: subset of A, B, C.
        test: runs a side for the bounds.
        selection: runs a side for choosing directions and events; never seen by a bound.
        release_calls: calls of `release` for rung B.
        failure_probability: of the whole row.
        control_failure_probability: of each line of each control.
        controls: names of the defects to plant.
    """

    claim: Claim
    noise_scale: float
    sensitivity_budget: float | None
    rungs: frozenset[str]
    test: int
    selection: int
    release_calls: int
    failure_probability: float
    control_failure_probability: float
    controls: tuple[str, ...] = field(default=())

    @property
    def compares(self) -> bool:
        """Whether released models of both sides are compared: only then are there selection runs and other seeds."""
        return "C" in self.rungs

    def line_failure_probability(self, key: str) -> float:
        """Failure probability that a line of the row may spend."""
        return self.failure_probability * SHARES[key]


def lines_of_controls(rungs: frozenset[str]) -> int:
    """How many lines that spend failure probability each control has."""
    noise = sum(key.startswith("noise-") for key in SHARES)
    return ("B" in rungs) * noise + ("C" in rungs) * (len(SHARES) - noise)
