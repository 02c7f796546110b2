"""Facts of a record: what was learned, promised, certified and requested, and what small problems showed."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .claim import Reference, Released, SeedPolicy, Status
from .tradeoff import Directions


class Value(BaseModel):
    """A part of a record: frozen, without unknown fields, without numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Constant(Value):
    """A number or premise on which a bound rests, with its status and where it came from."""

    statement: str
    value: float | None = None
    status: Status
    how: str


class DatasetFacts(Value):
    """What the models were trained on."""

    name: str
    origin: str
    sha256: str = Field(description="SHA-256 of the arrays as used")
    rows: int
    features: int
    classes: int
    holdout_rows: int
    preprocessing: str
    remark: str | None = Field(default=None, description="e.g. that images are lossy copies, or data are synthetic")


class TaskFacts(Value):
    """One learning problem: dataset, model, objective, recipe, request."""

    name: str
    dataset: DatasetFacts
    model: str
    parameters: int
    recipe: str
    regularisation: float
    request: str = Field(description="how the records to delete were chosen, in words")
    request_size: int
    request_ids: list[int]
    constants: list[Constant]


class ClaimFacts(Value):
    """The promise under test."""

    sentence: str
    kind: str = Field(description='"gaussian" (a μ-GDP trade-off) or "epsilon-delta"')
    epsilon: float
    delta: float
    mu: float | None
    reference: Reference | None = Field(default=None, description="this and what follows: None for scores from files")
    directions: Directions
    seed_policy: SeedPolicy | None = None
    request_size: int | None = None
    released: Released | None = None
    stated_by: str


class CertificateFacts(Value):
    """What the method's theorem says."""

    theorem: str
    sensitivity_budget: float | None = Field(description="Δ that the noise scale was fixed for")
    sensitivity_upper_median: float | None
    sensitivity_upper_largest: float | None
    failure_probability: float
    assumptions: list[Constant]
    status: Status
    refused_replicas: int = Field(description="replicas whose Δ exceeded the budget: retrained instead of released")
    noise_scale_required: float | None = Field(default=None, description="σ that the claim needs at the largest Δ")
    epsilon_implied: float | None = Field(
        default=None, description="ε at the claim's δ that the largest Δ and the σ used give"
    )


class RequestFamily(Value):
    """Requests of one kind that the search for the worst request tried."""

    name: str
    tried: int
    left_out: int = Field(description="requests that the method refused or failed on")
    ratio: float | None = Field(description="largest d/Δ of the others; None: there is none, or it is infinite")
    distance: float | None = Field(description="largest d of the others; None: there are none")


class RequestFacts(Value):
    """The request that was audited, and the search that chose it on training seeds of its own."""

    ids: list[int]
    family: str
    broken: bool = Field(description="whether d > Δ on the search's seeds; else it is the request of the largest d")
    ratio: float | None = Field(description="its largest d/Δ on the search's seeds; None: no Δ, or d > Δ = 0")
    distance: float = Field(description="its largest d on the search's seeds")
    families: list[RequestFamily]
    ratios: list[float | None] = Field(description="largest d/Δ before the local search and after each step")
    distances: list[float] = Field(description="largest d before the local search and after each step")
    tried: int = Field(description="different requests")
    left_out: dict[str, int] = Field(description="requests that could not be audited, by reason")
    records: int = Field(description="different records in the requests tried")
    seeds: int
    models: int


class SmallProblem(Value):
    """A problem of the search for a breach: small enough to be followed by hand."""

    words: str
    fields: dict[str, Any] = Field(description="fields that rebuild it")


class BrokenBound(Value):
    """A small problem on which the certified Δ does not bound the distance of unlearned model and reference."""

    law: str
    finding: str
    problem: SmallProblem
    recipe: str = Field(description="how the model is learned, in words")
    features: list[list[float]]
    labels: list[float]
    replica: int = Field(description="the trained copy that shows it")
    forgotten: list[int] = Field(description="records that this copy forgets")
    measured: dict[str, float] = Field(
        description="finite numbers of the finding: distance, sensitivity_upper, …; without a distance, it is infinite "
        "or there is not one Δ for every model"
    )
    file: str = Field(description="name of the file that `certunlearn replay` reruns, in the folder counterexamples")
    own_loss: bool = Field(
        default=False, description="the method brings its own loss: model and λ of the problem were offered to it"
    )


class KindSearch(Value):
    """What became of the small problems of one kind; of those neither refused nor judged nothing could be said."""

    kind: str = Field(description="model and recipe, in words")
    problems: int = Field(description="problems tried")
    refused: int = Field(description="of those, problems that the method refused")
    judged: int = Field(description="of those, problems on which the law holds")


class LawSearch(Value):
    """One law about the certified Δ, and the search for a small problem that breaks it."""

    law: str
    title: str = Field(description="when the distance is measured")
    problems: int = Field(description="problems tried, those that made a breach smaller included")
    refused: int = Field(description="of those, problems that the method refuses")
    kinds: list[KindSearch] = Field(default_factory=list, description="the same by kind; empty in older records")
    remarks: list[str] = Field(
        default_factory=list, description="why problems were refused or not judged, and what was not tried"
    )
    ratios: list[float] = Field(description="(d less rounding)/Δ of every problem on which the law holds")
    tightest: float | None = Field(description="the largest of them")
    tightest_problem: SmallProblem | None = None
    reason: str | None = Field(default=None, description="why nothing is said of the law; ratios found before are kept")


class BoundSearch(Value):
    """Search for a small problem that breaks the certified Δ; on one machine the same every time."""

    problems: int = Field(description="linear problems that the plan lets every law draw")
    laws: list[LawSearch]
    counterexample: BrokenBound | None = None
    remarks: list[str] = Field(default_factory=list, description="what a reader must know of how it was searched")
