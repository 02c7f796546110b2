"""What a plan audits: one method, one claim, one task to a row."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from unlearning.tradeoff import Directions
from unlearning.verdict import Verdict

from .datasets import Spec
from .fields import (
    Budget,
    Copies,
    DirectionsField,
    Distinct,
    Epsilon,
    Name,
    NoiseScale,
    Parameters,
    Probability,
    ReferenceField,
    SeedPolicyField,
    Text,
    VerdictField,
)
from .messages import refuse

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


RUNGS = Literal["A", "B", "C"]
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
    expect: VerdictField = Verdict.NOT_REFUTED

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
