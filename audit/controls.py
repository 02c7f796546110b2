"""Controls: defects planted on the released side only, as wrappers over any method.

An audit that does not find a planted defect it should find, or finds one where there is none, is an audit in error.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from unlearning.claim import Certificate
from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod, Declaration, State
from unlearning.streams import Streams

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


@dataclass(frozen=True, slots=True)
class Planted:
    """A method with a defect in what it releases. Its certificate is the honest method's."""

    method: AnyMethod
    defect: Defect

    @property
    def declaration(self) -> Declaration:
        """The honest method's declaration, under the defect's title."""
        own: Declaration = self.method.declaration
        return replace(own, title=f"{own.title} — {self.defect.title.lower()}")

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        """As the honest method."""
        return self.method.learn(task, members, streams=streams)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        """The model that the defect releases."""
        if self.defect.source == "original":
            return state
        if self.defect.source == "retrained":
            return self.method.learn(state.task, state.members & ~request, streams=state.streams)
        return self.method.unlearn(state, request, streams=streams)

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        """As the honest method."""
        return self.method.certify(state, request)

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """The honest release with the defect's noise."""
        if not self.defect.frozen:
            return self.method.release(state, noise_scale * self.defect.noise_factor, streams=streams)
        one = state.take([0])
        always = Streams(streams.seed, (0,)).child("frozen")
        noise = self.method.release(one, noise_scale, streams=always) - one.parameters
        return state.parameters + noise.expand(state.parameters.shape[0], -1)


def same_parameters(first: Tensor, second: Tensor) -> bool:
    """Whether two parameter arrays agree to the last bit."""
    return bool(torch.equal(first, second))
