"""Controls: defects planted on the released side only, over the models of any method.

An audit that does not find a planted defect it should find, or finds one where there is none, is an audit in error.
Controls test the audit, not the method: where the method says that it releases weights + N(0, σ²I), the noise of a
control is the audit's own on both sides, so that a method whose own noise is wrong cannot spoil a prediction.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from learning.release import gaussian_release
from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod, State
from unlearning.streams import Streams

from .contract import check_parameters

Source = Literal["unlearned", "original", "retrained"]


@dataclass(frozen=True, slots=True)
class Defect:
    """What is planted.

    Attributes:
        name: as in plans.
        title: for people.
        meaning: one sentence.
        source: which model is released in place of the unlearned one.
        noise_factor: released noise over claimed noise.
        frozen: the same noise in every call and replica.
    """

    name: str
    title: str
    meaning: str
    source: Source = "unlearned"
    noise_factor: float = 1.0
    frozen: bool = False

    @property
    def breaks_noise(self) -> bool:
        """Whether the defect is in the noise rather than in the model."""
        return self.frozen or self.noise_factor != 1


HONEST = Defect("", "The method as it is", "Nothing is planted.")
DEFECTS = {
    defect.name: defect
    for defect in (
        Defect("no-op", "Nothing unlearned", "The original model is released with the right noise.", source="original"),
        Defect("tenth-noise", "A tenth of the noise", "The noise has a tenth of its deviation.", noise_factor=0.1),
        Defect("half-noise", "Half the noise", "The noise has half of its deviation.", noise_factor=0.5),
        Defect("frozen-noise", "Frozen noise", "The same noise is added in every call and every replica.", frozen=True),
        Defect(
            "retrained",
            "Retrained against retrained",
            "The retrained model is released with the right noise: nothing to find.",
            source="retrained",
        ),
    )
}


def defect(name: str) -> Defect:
    """A defect by its name.

    Raises:
        PlanError: no such control.
    """
    if name not in DEFECTS:
        raise PlanError(f"controls must be among {', '.join(DEFECTS)}, got {name!r}.")
    return DEFECTS[name]


def release(method: AnyMethod, planted: Defect, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
    """What the method releases of a state, or what it would release with the defect: parameters [K, P]."""
    if not planted.name:
        own: Tensor = method.release(state, noise_scale, streams=streams)
        check_parameters(own, *state.parameters.shape, verb="release")
        return own
    add = gaussian_release if method.declaration.gaussian_noise else method.release
    if not planted.frozen:
        return add(state, noise_scale * planted.noise_factor, streams=streams)
    one = state.take([0])
    noise = add(one, noise_scale, streams=Streams(streams.seed, (0,)).child("frozen")) - one.parameters
    return state.parameters + noise.expand(state.parameters.shape[0], -1)
