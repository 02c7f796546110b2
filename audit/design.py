"""The design of one row's audit: what is tested, with how many runs, at which failure probability."""

from dataclasses import dataclass

from unlearning.claim import Claim

from .attack_names import MIA_L, U_LIRA
from .bounds.identification import Game

# How a row divides its failure probability: these weights, normalised over the lines that the plan asks for. It is
# fixed before anything is run.
WEIGHTS: dict[str, float] = {
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
SCORE_WEIGHT = 0.15  # of each score that the plan adds
SEQUENTIAL_WEIGHT = 0.80  # of the e-process that takes the place of the lines of rung C
IDENTIFICATION_WEIGHT = 0.30
ATTACK_WEIGHT = 0.10

POWER = 0.8  # the power at which "could have found" is stated


@dataclass(frozen=True, slots=True)
class IdentificationDesign:
    """The game of rung D.

    Attributes:
        game: how S is drawn, how many names are given, in how many runs.
        shadows: runs with a known S, from which the adversary learns.
    """

    game: Game
    shadows: int


@dataclass(frozen=True, slots=True)
class AttackDesign:
    """The game of rung E, and what is tried in it.

    Attributes:
        keys: of the attacks.
        candidates: of which as many as the row's request has are forgotten in each run.
        shadows: runs that attacks learn from, for each regime of seeds.
        targets: runs that are attacked, for each regime of seeds.
        seeds: regimes, "fresh" and "one seed".
        population: public records at most.
        sweep: noise scales over the row's σ at which two of the attacks are tried again.
        measures: whether behavioural measures are taken.
    """

    keys: tuple[str, ...]
    candidates: int
    shadows: int = 64
    targets: int = 64
    seeds: tuple[str, ...] = ("fresh",)
    population: int = 200
    sweep: tuple[float, ...] = ()
    measures: bool = False

    @property
    def decides(self) -> bool:
        """Whether a line of the row may refute: shipped attacks on one model, over fresh seeds.

        What somebody's own attack scores might depend on who was forgotten; it is shown, and refutes nothing.
        """
        return "fresh" in self.seeds and any(key in self.keys for key in (*MIA_L, *U_LIRA))


@dataclass(frozen=True, slots=True)
class Design:
    """One row.

    Attributes:
        claim: what is tested.
        noise_scale: σ of every release, the same on both sides.
        sensitivity_budget: Δ that σ was fixed for; replicas whose certified Δ exceeds it are retrained instead.
        rungs: subset of A, B, C, D, E.
        test: runs a side for the bounds.
        selection: runs a side for choosing directions and events; never seen by a bound.
        release_calls: calls of `release` for rung B.
        failure_probability: of the whole row.
        control_failure_probability: of each line of each control.
        controls: names of the defects to plant.
        scores: further scores of released models, by name, that rung C tests over seeds.
        until_refuted: whether rung C is one e-process, and the row stops once it refutes.
        identification: the game of rung D.
        attacks: the game of rung E.
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
    controls: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    until_refuted: bool = False
    identification: IdentificationDesign | None = None
    attacks: AttackDesign | None = None

    @property
    def only_plays(self) -> bool:
        """Whether all evidence comes from games with fleets of their own: then there are no test runs."""
        return self.rungs <= {"D", "E"}

    @property
    def compares(self) -> bool:
        """Whether released models of both sides are compared: only then are there selection runs and other seeds."""
        return "C" in self.rungs

    @property
    def shares(self) -> dict[str, float]:
        """Share of the row's failure probability that each line may spend; they add up to 1."""
        weights = line_weights(
            self.rungs,
            self.scores,
            until_refuted=self.until_refuted,
            attacks_decide=self.attacks is not None and self.attacks.decides,
        )
        whole = sum(weights.values())
        return {key: weight / whole for key, weight in weights.items()}

    def line_failure_probability(self, key: str) -> float:
        """Failure probability that a line of the row may spend."""
        return self.failure_probability * self.shares[key]


def line_weights(
    rungs: frozenset[str],
    scores: tuple[str, ...] = (),
    *,
    until_refuted: bool = False,
    attacks_decide: bool = False,
) -> dict[str, float]:
    """Lines that spend failure probability, by key, with their weights."""
    weights = {key: weight for key, weight in WEIGHTS.items() if key.startswith("noise-") and "B" in rungs}
    if "C" in rungs and until_refuted:
        weights["sequential"] = SEQUENTIAL_WEIGHT
    elif "C" in rungs:
        weights |= {key: weight for key, weight in WEIGHTS.items() if not key.startswith("noise-")}
        weights |= {f"score-{name}": SCORE_WEIGHT for name in scores}
    if "D" in rungs:
        weights["identification"] = IDENTIFICATION_WEIGHT
    if "E" in rungs and attacks_decide:
        weights["attack"] = ATTACK_WEIGHT
    return weights
