"""An audit plan as frozen values, checked field by field and then against each other."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator

from unlearning.tradeoff import Directions
from unlearning.verdict import Verdict

from .fields import (
    Budget,
    Column,
    Copies,
    Count,
    DirectionsField,
    Distinct,
    Epsilon,
    FailureProbability,
    FileName,
    Many,
    Name,
    NoiseScale,
    Norm,
    NotNegative,
    Parameters,
    Positive,
    Probability,
    ReferenceField,
    Seed,
    SeedPolicyField,
    Text,
    VerdictField,
)
from .messages import Location, closest, refuse, spell

EXACT = "retrain"  # the one method whose promise may be ε = 0


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _DatasetSpec(_Spec):
    rows: Copies | None = None
    holdout: Probability = 0.2
    standardise: bool = True
    norm: Norm = 1.0
    bias: bool = True
    split_seed: Seed = 0
    remark: Text | None = None


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


class _DescentSpec(_Spec):
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


class MinimiseSpec(_Spec):
    """The exact minimiser, to a gradient norm."""

    kind: Literal["minimise"]
    tolerance: Positive = 1e-10


class _Request(_Spec):
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


RecipeSpec = Annotated[SgdSpec | AdamSpec | MinimiseSpec, Field(discriminator="kind")]
RequestSpec = Annotated[RandomRequest | IdsRequest | ClassRequest, Field(discriminator="kind")]


class TaskSpec(_Spec):
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


class ClaimSpec(_Spec):
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


class Replicas(_Spec):
    """Models a side that bounds see, and models a side that choose what to measure."""

    test: Copies = 500
    selection: Copies = 200


RUNGS = Literal["A", "B", "C"]
CONTROLS = Literal["no-op", "tenth-noise", "half-noise", "frozen-noise", "retrained"]


class RowSpec(_Spec):
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


class CodeTarget(NamedTuple):
    """Code that a plan names: where, and what."""

    where: str
    target: str


class Plan(_Spec):
    """An audit plan, checked field by field; what needs the data is checked by `check_requests`."""

    title: Text
    seed: Seed = 0
    failure_probability: FailureProbability = 0.01
    control_failure_probability: FailureProbability = 0.001
    family: Literal["row", "plan"] = "row"
    datasets: Annotated[dict[Name, DatasetSpec], Field(min_length=1)]
    tasks: Annotated[dict[Name, TaskSpec], Field(min_length=1)]
    rows: Annotated[Many[RowSpec], Field(min_length=1)]

    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """Folder of the plan's file, to which the code it names is relative; None: it came from elsewhere."""
        return self._folder

    def canonical(self) -> dict[str, Any]:
        """The plan as plain JSON values with all defaults filled in, for hashing and for the record."""
        return self.model_dump(mode="json")

    def with_seed(self, seed: int) -> Self:
        """The same plan with another seed."""
        return self.model_copy(update={"seed": seed})

    def with_replicas(self, replicas: int) -> Self:
        """The same plan with this many test and selection runs in every row."""
        few = Replicas(test=replicas, selection=replicas)
        return self.model_copy(update={"rows": tuple(row.model_copy(update={"replicas": few}) for row in self.rows)})

    def names(self) -> list[CodeTarget]:
        """Everything the plan names that has to be loaded: methods, functions of datasets and of models."""
        found = [*self._functions(), *((("rows", i, "method"), row.method) for i, row in enumerate(self.rows))]
        return [CodeTarget(spell(where), target) for where, target in found]

    def _functions(self) -> list[tuple[Location, str]]:
        found: list[tuple[Location, str]] = []
        found += [(("datasets", n, "function"), d.function) for n, d in self.datasets.items() if d.source == "function"]
        return found + [(("tasks", n, "function"), task.function) for n, task in self.tasks.items() if task.function]

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        for name, task in self.tasks.items():
            if task.dataset not in self.datasets:
                _unknown("dataset", task.dataset, self.datasets, ["tasks", name, "dataset"])
            rows = self.datasets[task.dataset].rows
            if rows is not None:
                _check_size(task.request, rows, ["tasks", name, "request"])
        seen: set[str] = set()
        for position, row in enumerate(self.rows):
            if row.task not in self.tasks:
                _unknown("task", row.task, self.tasks, ["rows", position, "task"])
            if row.name in seen:
                refuse("a name that no other row has", "rename one row", at=["rows", position, "name"], got=row.name)
            seen.add(row.name)
        if info.context is not None:
            self._check_names(**info.context)
        return self

    def _check_names(self, methods: Collection[str], defined: Collection[str]) -> None:
        for position, row in enumerate(self.rows):
            known = {*methods, *defined}
            if ":" not in row.method and row.method not in known:
                way_out = f'{closest(row.method, known)}; or write "mine.py:Class"'
                refuse("the name of a method", way_out, at=["rows", position, "method"], got=row.method)
        for where, target in self._functions():
            if ":" not in target and target not in defined:
                way_out = f'write "mine.py:{target}", or --define {target}=mine.py:{target}'
                refuse('"path.py:name" or "package.module:name"', way_out, at=where, got=target)


def _unknown(what: str, word: str, known: Collection[str], at: Sequence[str | int]) -> None:
    refuse(f"the name of a {what} of this plan", closest(word, known), at=at, got=word)


def _check_size(request: RandomRequest | IdsRequest | ClassRequest, rows: int, at: Sequence[str | int]) -> None:
    """Refuse a request for more than the training rows, or for all of them, as far as their number tells."""
    if request.kind == "random" and request.size >= rows:
        refuse(f"< {rows}, the number of training rows", "delete fewer records", at=[*at, "size"], got=request.size)
    if request.kind == "ids":
        for position, record in enumerate(request.ids):
            if record >= rows:
                refuse(
                    f"< {rows}, the number of training rows", "ids count from 0", at=[*at, "ids", position], got=record
                )
        if len(request.ids) >= rows:
            refuse(
                f"fewer than all {rows} training rows", "delete fewer records", at=[*at, "ids"], got=list(request.ids)
            )


def code_targets(plan: Plan) -> list[CodeTarget]:
    """The code files and modules that a plan itself names, in the plan's order."""
    return [name for name in plan.names() if ":" in name.target]
