"""What a plan learns, and which records it deletes."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .datasets import Spec
from .fields import (
    Count,
    Distinct,
    Many,
    NotNegative,
    Positive,
    Text,
)
from .messages import refuse


class _DescentSpec(Spec):
    epochs: Count
    batch_size: Count
    step_size: Positive
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    divisor: Literal["fixed", "remaining"] = "remaining"
    radius: Positive | None = None


class SgdSpec(_DescentSpec):
    """Minibatch gradient descent: η_t = step_size·decay^t."""

    kind: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AdamSpec(_DescentSpec):
    """Adam: η_t = step_size·decay^t, memories β₁ = first and β₂ = second."""

    kind: Literal["adam"]
    first: Annotated[float, Field(ge=0, lt=1)] = 0.9
    second: Annotated[float, Field(ge=0, lt=1)] = 0.999
    stability: Positive = 1e-8


class MinimiseSpec(Spec):
    """The exact minimiser, to a gradient norm."""

    kind: Literal["minimise"]
    tolerance: Positive = 1e-10


class _Request(Spec):
    parts: Count = 1


class RandomRequest(_Request):
    """Records drawn by the plan's seed."""

    kind: Literal["random"]
    size: Count


class IdsRequest(_Request):
    """Training rows by number, from 0."""

    kind: Literal["ids"]
    ids: Annotated[Distinct[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class ClassRequest(_Request):
    """All training rows of one class, numbered from 0 in the sorted order of labels."""

    kind: Literal["class"]
    label: Annotated[int, Field(ge=0)]


class WorstRequest(_Request):
    """The request of this size whose forgetting goes worst, searched for in every row on seeds of its own.

    `random` requests and what other families propose are tried on `seeds` training seeds; then, `steps` times, `swaps`
    requests that differ from the worst so far in one record.
    """

    kind: Literal["worst"]
    size: Count
    random: Count = 32
    seeds: Count = 2
    steps: Annotated[int, Field(ge=0)] = 4
    swaps: Count = 16


RecipeSpec = Annotated[SgdSpec | AdamSpec | MinimiseSpec, Field(discriminator="kind")]
RequestSpec = Annotated[RandomRequest | IdsRequest | ClassRequest | WorstRequest, Field(discriminator="kind")]


class TaskSpec(Spec):
    """One learning problem and the records to delete from it."""

    dataset: Text
    model: Literal["binary-logistic", "softmax", "mlp", "module"]
    hidden: Many[Count] | None = None
    activation: Literal["tanh", "softplus", "gelu", "relu"] | None = None
    function: Text | None = None
    regularisation: NotNegative = 0.0
    dtype: Literal["float64", "float32"] = "float64"
    recipe: RecipeSpec
    request: RequestSpec

    @model_validator(mode="before")
    @classmethod
    def _default_activation(cls, data: Any) -> Any:
        return {"activation": "tanh"} | data if isinstance(data, dict) and data.get("model") == "mlp" else data

    @model_validator(mode="after")
    def _fits(self) -> Self:
        mlp, module = self.model == "mlp", self.model == "module"
        if mlp and not self.hidden:
            refuse('given for model = "mlp"', at=["hidden"], got=self.hidden)
        if module and self.function is None:
            refuse('given for model = "module"', at=["function"], got=None)
        for key, model, fits in (("hidden", "mlp", mlp), ("activation", "mlp", mlp), ("function", "module", module)):
            value = getattr(self, key)
            if value is not None and not fits:
                refuse(
                    f'left out unless model = "{model}"',
                    f"remove it, or change model {self.model}",
                    at=[key],
                    got=value,
                )
        if self.recipe.kind == "minimise":
            way_out = 'write recipe = {kind = "sgd", epochs = 10, batch_size = 32, step_size = 0.1}'
            if mlp:
                refuse(
                    '"sgd" for model = "mlp", which has no unique minimiser',
                    way_out,
                    at=["recipe", "kind"],
                    got="minimise",
                )
            if self.regularisation == 0:
                refuse("> 0 where a unique minimiser is asked for", at=["regularisation"], got=0.0)
        return self
