"""What a plan audits: one method, one claim, one task to a row."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from audit.attack_names import DEFAULT_ATTACKS
from unlearning.tradeoff import Directions
from unlearning.verdict import Verdict

from .datasets import Spec
from .fields import (
    Budget,
    Copies,
    Count,
    DirectionsField,
    Distinct,
    Epsilon,
    Name,
    NoiseScale,
    NotNegative,
    Parameters,
    Probability,
    ReferenceField,
    SeedPolicyField,
    Text,
    VerdictField,
)
from .messages import refuse

LEAST_ATTACKED = 32  # shadow and target runs that --replicas leaves
EXACT = "retrain"  # the one method whose promise may be ε = 0


class ClaimSpec(Spec):
    """The promise under test; what is left out is the method's own declaration."""

    epsilon: Epsilon
    delta: Probability
    kind: Literal["gaussian", "epsilon-delta"] = "gaussian"
    directions: DirectionsField = Directions.BOTH
    reference: ReferenceField | None = None
    seed_policy: SeedPolicyField | None = None

    @model_validator(mode="after")
    def _gaussian_claims_both(self) -> Self:
        if self.kind == "gaussian" and self.directions is not Directions.BOTH:
            refuse(
                '"both" for kind = "gaussian"', 'write kind = "epsilon-delta"', at=["directions"], got=self.directions
            )
        return self


class Replicas(Spec):
    """Models a side that bounds see, and models a side that choose what to measure."""

    test: Copies = 500
    selection: Copies = 200


class IdentificationSpec(Spec):
    """The game of rung D: S by fair coins over the request, or as many records as the request of more candidates."""

    sampling: Literal["coin", "fixed"] = "coin"
    candidates: Count | None = None
    guesses: Count | None = None
    runs: Count = 10
    shadows: Annotated[int, Field(ge=8)] | None = None

    @model_validator(mode="after")
    def _coins_over_the_request(self) -> Self:
        if self.sampling == "coin" and self.candidates is not None:
            way_out = 'remove it, or write sampling = "fixed"'
            refuse(
                "left out for coin flips, which go over the request", way_out, at=["candidates"], got=self.candidates
            )
        return self


class AttacksSpec(Spec):
    """The game of rung E: attacks by name, learned from shadow runs, on target runs; for each regime of seeds."""

    names: Annotated[Distinct[Text], Field(min_length=1)] = DEFAULT_ATTACKS
    candidates: Copies | None = None
    shadows: Annotated[int, Field(ge=8)] = 64
    targets: Annotated[int, Field(ge=5)] = 64
    seeds: Annotated[Distinct[Literal["fresh", "one seed"]], Field(min_length=1)] = ("fresh",)
    population: Count = 200
    sweep: Distinct[NotNegative] = ()
    measures: bool = True

    def at_most(self, runs: int) -> Self:
        """The same with at most so many shadow and target runs, but not fewer than attacks need to find anything."""
        few = max(runs, LEAST_ATTACKED)
        return self.model_copy(update={"shadows": min(self.shadows, few), "targets": min(self.targets, few)})


RUNGS = Literal["A", "B", "C", "D", "E"]
CONTROLS = Literal["no-op", "tenth-noise", "half-noise", "frozen-noise", "retrained"]


class RowSpec(Spec):
    """One method, one claim, one task."""

    name: Name
    task: Text
    method: Text
    parameters: Parameters = Field(default_factory=dict)
    claim: ClaimSpec
    budget: Budget = None
    noise_scale: NoiseScale | None = None
    calibration: Literal["analytic", "classical"] = "analytic"
    rungs: Annotated[Distinct[RUNGS], Field(min_length=1)] = ("A", "B", "C")
    replicas: Replicas = Replicas()
    release_calls: Copies = 4096
    controls: Distinct[CONTROLS] = ("no-op", "tenth-noise", "half-noise", "frozen-noise", "retrained")
    scores: Distinct[Text] = ()
    until: Literal["refuted"] | None = None
    identification: IdentificationSpec | None = None
    attacks: AttacksSpec | None = None
    expect: VerdictField | None = Verdict.NOT_REFUTED  # None: nothing is expected, as in a sweep

    @model_validator(mode="after")
    def _identification_is_rung_d(self) -> Self:
        if self.identification is not None and "D" not in self.rungs:
            refuse("left out for rungs without D", "add rung D", at=["identification"])
        return self

    @model_validator(mode="after")
    def _attacks_are_rung_e(self) -> Self:
        if self.attacks is not None and "E" not in self.rungs:
            refuse("left out for rungs without E", "add rung E", at=["attacks"])
        return self

    @property
    def attacking(self) -> AttacksSpec | None:
        """The game of rung E, with defaults where the row says nothing of it; None without the rung."""
        return (self.attacks or AttacksSpec()) if "E" in self.rungs else None

    @model_validator(mode="after")
    def _scores_are_of_rung_c(self) -> Self:
        if self.scores and "C" not in self.rungs:
            refuse(
                "empty for rungs without C, which compares scores", "add rung C", at=["scores"], got=list(self.scores)
            )
        return self

    @model_validator(mode="after")
    def _only_bets_may_stop(self) -> Self:
        if self.until is not None and "C" not in self.rungs:
            refuse("absent for rungs without C, which draws the replicas", "add rung C", at=["until"], got=self.until)
        if self.until is not None and self.scores:
            way_out = "leave out until, or scores: they are tested at a number of runs fixed beforehand"
            refuse('empty for until = "refuted"', way_out, at=["scores"], got=list(self.scores))
        return self

    @model_validator(mode="after")
    def _one_way_to_the_noise(self) -> Self:
        if (self.budget is None) == (self.noise_scale is None):
            got = "neither" if self.budget is None else "both"
            way_out = 'write either budget = "prior" or noise_scale = 1e-3'
            refuse("given exactly when noise_scale is not", way_out, at=["budget"], got=got)
        epsilon = self.claim.epsilon
        if self.method != EXACT:
            if epsilon == 0:
                refuse(f'> 0 for any method but "{EXACT}"', at=["claim", "epsilon"], got=epsilon)
            for key in ("budget", "noise_scale"):
                if getattr(self, key) == 0:
                    refuse(f'> 0 for any method but "{EXACT}"', at=[key], got=0.0)
        if self.budget is not None and self.calibration == "classical" and not 0 < epsilon <= 1:
            way_out = f'claim.epsilon is {epsilon}; write calibration = "analytic"'
            refuse('"analytic" unless 0 < claim.epsilon <= 1', way_out, at=["calibration"], got="classical")
        return self
