"""What attacks on released models found: one result type, with every count behind every number."""

from pydantic import Field

from .record_facts import Value


class Interval(Value):
    """Mean over runs with Student's interval: runs are the unit, the records are fixed."""

    mean: float
    lower: float | None = Field(description="None: fewer runs than an interval needs, or all of them with one value")
    upper: float | None
    deviation: float | None = Field(description="of the runs' values")
    runs: int
    failure_probability: float


class OperatingPoint(Value):
    """True positives at a false-positive rate that was asked for: the largest realised one that is not above it."""

    target: float = Field(description="false-positive rate that was asked for")
    negatives_needed: int = Field(description="10/target: below, the point is not resolvable")
    negatives: int
    positives: int
    threshold: float | None = Field(default=None, description="scores of at least it are called; None: none is")
    false_positives: int | None = None
    true_positives: int | None = None
    false_positive_rate: float | None = Field(default=None, description="realised; ≤ target")
    false_positive_rate_upper: float | None = None
    true_positive_rate: float | None = None
    true_positive_rate_lower: float | None = None
    true_positive_rate_upper: float | None = None
    failure_probability: float = Field(
        default=0.0, description="of each limit, over runs; None there: fewer runs than one needs"
    )


class AttackResult(Value):
    """One attack on one kind of model.

    In every run some of the candidates were forgotten and the others never learned; who is who was drawn. Scores are
    larger where the attack says "forgotten" (or "member").
    """

    attack: str = Field(description="key, as in plans")
    title: str
    family: str = Field(description='"MIA-L", "MIA-U" or "U-LiRA"')
    against: str = Field(description='"unlearned", "original" (nothing unlearned) or "retrained"')
    seeds: str = Field(description='"fresh": every run has its own training seed; "one seed": all share one')
    noise_factor: float = Field(default=1.0, description="noise over the row's σ")
    fit_runs: int = Field(description="shadow runs, from which the attack learned; none of them is scored")
    runs: int
    positives: int = Field(description="over all runs")
    negatives: int
    run_aucs: list[float] = Field(description="AUC of each run, ties half")
    auc: Interval
    gap: Interval | None = Field(
        description="less the same attack on retrained models, paired by run; MIA-U: by one fit to pairs of both kinds"
    )
    balanced_accuracy: Interval | None = Field(description="at the threshold that shadow runs chose")
    threshold: float | None = Field(default=None, description="that threshold")
    chance_upper: float = Field(description="P(AUC as large or larger) for models that do not depend on who is who, ≤")
    auc_lower: float = Field(description="of the mean AUC, without assumptions on the runs' law")
    auc_allowed: float | None = Field(description="largest mean AUC of any attack under the claim")
    failure_probability: float = Field(description="of auc_lower, and the level of catching")
    power: float | None = Field(default=None, description="of catching, stated from shadow runs beforehand")
    shadow_auc: Interval | None = Field(
        default=None, description="of shadow runs out of fold: the choice among attacks that no target run has seen"
    )
    caught: bool = Field(description="chance_upper at most failure_probability")
    points: list[OperatingPoint]
    roc_false: list[float] = Field(description="false-positive rates of the pooled scores, thinned")
    roc_true: list[float]


class RecordGroup(Value):
    """Some of the candidates: how often the per-record attack was right about each."""

    name: str
    records: int
    right: int
    answers: int
    mean: Interval


class PerRecord(Value):
    """A per-record attack: share of right answers for each candidate, and upper quantiles over candidates.

    Quantiles of few answers are biased upward: those of retrained models stand beside them.
    """

    attack: str
    against: str
    seeds: str
    candidate_ids: list[int]
    right: list[int]
    answers: list[int]
    quantiles: dict[str, float] = Field(description="of the share of right answers over candidates, by level")
    guessing: float = Field(
        default=0.5, description="share of right answers of who always answers the same: max(k, m − k)/m"
    )
    groups: list[RecordGroup] = Field(default_factory=list)


class Differencing(Value):
    """Both versions in hand against one: the comparison of Chen et al. 2021."""

    attack: str
    against: str
    seeds: str
    classical: str = Field(description="the attack on one version that it is compared with")
    wins: int = Field(description="records where it is the more confident in what is true")
    records: int
    degradation_count: Interval = Field(description="DegCount: share of records with a gain")
    degradation_rate: Interval = Field(description="DegRate: mean gain of confidence")


class Reconstruction(Value):
    """Deleted records rebuilt from the models before and after: |cosine| to the truth, one deletion a run."""

    attack: str
    against: str
    noise_factor: float
    noise_scale: float
    cosine: Interval
    average: Interval = Field(description="the same for the average record of public data")
    difference: Interval = Field(description="the same for public records whose predictions changed most")
    cosines: list[float]
    above_average: int = Field(description="runs in which it beats both baselines")
    gap: Interval | None = Field(default=None, description="less the same where nothing is unlearned, paired by run")
    gap_allowed: float | None = Field(
        default=None, description="largest mean gap of any attack given the models before noise: mean of 2Φ(d/2σ) − 1"
    )
    refused: int = Field(default=0, description="runs that released the reference: over budget")
    seconds: float | None = None


class Measure(Value):
    """A behavioural measure that papers report, not an attack, on each kind of model."""

    key: str
    title: str
    meaning: str
    unit: str = ""
    nothing: float | None = Field(default=None, description="its value for two equal models, where there is one")
    least: float | None = Field(default=None, description="no value is smaller")
    most: float | None = Field(default=None, description="no value is larger")
    models: dict[str, Interval] = Field(description="by kind of model")
    undefined: dict[str, int] = Field(default_factory=dict, description="runs without a value, by kind of model")
    capped: dict[str, int] = Field(default_factory=dict, description="runs whose value is the limit it was counted to")


class SweepPoint(Value):
    """Attack and accuracy at one noise scale."""

    noise_factor: float
    noise_scale: float
    epsilon: float | None = Field(description="that the row's Δ gives at this noise; None: infinite or no Δ")
    auc_allowed: float | None = Field(
        default=None, description="largest mean AUC under the claim with this ε; 1 where it is infinite, None: no Δ"
    )
    aucs: dict[str, dict[str, Interval]] = Field(description="attack → kind of model → AUC")
    holdout: dict[str, Interval] = Field(description="kind of model → accuracy on the holdout")


class Attacks(Value):
    """Rung E of one row: the game, and what every attack found in it."""

    candidates: int
    forgotten: int = Field(description="candidates that are forgotten in each run")
    candidate_ids: list[int]
    shadows: int
    targets: int
    refused: int = Field(description="target runs that released the reference: over budget; with the first seeds")
    refused_by: dict[str, int] = Field(default_factory=dict, description="the same by how runs were seeded")
    population: int = Field(description="public records, in no training set")
    results: list[AttackResult]
    records: list[PerRecord] = Field(default_factory=list)
    differencing: list[Differencing] = Field(default_factory=list)
    reconstructions: list[Reconstruction] = Field(default_factory=list)
    measures: list[Measure] = Field(default_factory=list)
    sweep: list[SweepPoint] = Field(default_factory=list)
    reasons: dict[str, str] = Field(default_factory=dict, description="attacks that could not be run, and why")
