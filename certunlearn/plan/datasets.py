"""Where the records of a plan come from."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .fields import (
    Column,
    Copies,
    Distinct,
    FileName,
    Norm,
    Probability,
    Seed,
    Text,
)
from .messages import refuse


class Spec(BaseModel):
    """Frozen values of one table of a plan: no unknown key, no silent conversion, no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CanariesSpec(Spec):
    """Training records that are planted by the plan's seed: some get another label, some become copies of one."""

    mislabelled: Annotated[int, Field(ge=0)] = 0
    duplicates: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.mislabelled and not self.duplicates:
            refuse("given: canaries plant something", "write mislabelled = 5", at=["mislabelled"], got=0)
        return self


class _DatasetSpec(Spec):
    rows: Copies | None = None
    holdout: Probability = 0.2
    standardise: bool = True
    norm: Norm = 1.0
    bias: bool = True
    split_seed: Seed = 0
    remark: Text | None = None
    canaries: CanariesSpec | None = None


class EmbeddedSpec(_DatasetSpec):
    """A dataset that scikit-learn ships."""

    source: Literal["breast-cancer", "digits", "wine"]


class NpzSpec(_DatasetSpec):
    """Arrays of a NumPy archive in the folder of data."""

    source: Literal["npz"]
    file: FileName
    features: Text
    labels: Text
    holdout_features: Text | None = None
    holdout_labels: Text | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.holdout_features is None) != (self.holdout_labels is None):
            absent = "holdout_labels" if self.holdout_labels is None else "holdout_features"
            refuse("given: the source's holdout needs features and labels", at=[absent], got=None)
        return self


class CsvSpec(_DatasetSpec):
    """A CSV table in the folder of data."""

    source: Literal["csv"]
    file: FileName
    label: Column
    header: bool = True
    columns: Distinct[Column] | None = None
    missing: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None


class FunctionSpec(_DatasetSpec):
    """Records that a function of the user's returns."""

    source: Literal["function"]
    function: Text


DatasetSpec = Annotated[EmbeddedSpec | NpzSpec | CsvSpec | FunctionSpec, Field(discriminator="source")]
