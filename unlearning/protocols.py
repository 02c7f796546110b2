"""What the floors owe each other: the method, its declaration, its state."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from .claim import Certificate, Reference, SeedPolicy
from .streams import Streams

if TYPE_CHECKING:
    from torch import Tensor


class Regime(StrEnum):
    """Losses that a method's theorem speaks of; each contains the ones before it."""

    QUADRATIC = "quadratic"
    STRONGLY_CONVEX = "strongly convex"
    NON_CONVEX = "non-convex"


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast ‖unlearned − reference‖ vanishes, as a theorem says it.

    Attributes:
        quantity: what varies: m (request size), n (records, with m fixed) or η (step size, with the steps fixed, for
            the request of one record).
        order: p in ‖unlearned − reference‖ = O(quantity^p); negative for n.
        source: theorem or argument.
    """

    quantity: Literal["request size", "records", "step size"]
    order: float
    source: str

    @classmethod
    def in_share(cls, order: float, source: str) -> tuple["Rate", "Rate"]:
        """The orders in m and in n of an error O((m/n)^order).

        >>> [rate.order for rate in Rate.in_share(2, "Newton's error")]
        [2, -2]
        """
        return cls("request size", order, source), cls("records", -order, source)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a method says of itself, before anything is run.

    Attributes:
        title: name for people, as in the paper's title or the field's usage.
        citation: authors, venue, year, identifier.
        reference: the law its theorem compares with.
        seed_policy: which randomness its theorem speaks of.
        gaussian_noise: release = fixed weights + N(0, σ²I), the same σ on both sides; rungs A and B need it.
        stores: what the state keeps for unlearning.
        differs: what this code does otherwise than the paper, one sentence each.
        regime: the losses that its theorem speaks of: beyond them it must certify nothing. This and `divisors` speak of
            a task's loss and recipe: they say nothing of a method that brings its own (`BringsOwnLoss`).
        divisors: divisors of minibatch descent that its theorem speaks of.
        additive: requests add up: in any order they give one model to rounding.
        batch_equals_online: forgetting records one by one gives the model of forgetting them at once, to rounding.
        rates: orders at which its error vanishes.
        exact_on_quadratics: on a quadratic loss whose training finds the minimiser, the unlearned model is the
            retrained one to rounding.
        draws: unlearning draws random numbers of its own (minibatches), so that every run is unlearned anew.
        exempt: laws that do not apply, each with the reason.
    """

    title: str
    citation: str
    reference: Reference = Reference.RETRAINED
    seed_policy: SeedPolicy = SeedPolicy.PER_SEED
    gaussian_noise: bool = True
    stores: str = "the parameters"
    differs: tuple[str, ...] = ()
    regime: Regime = Regime.NON_CONVEX
    divisors: tuple[str, ...] = ("fixed", "remaining")
    additive: bool = False
    batch_equals_online: bool = False
    rates: tuple[Rate, ...] = ()
    exact_on_quadratics: bool = False
    draws: bool = False
    exempt: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One quantity that a method reports of its own run, beside its certificate: shown, and decides nothing.

    Attributes:
        name: the quantity, with its unit.
        meaning: what a reader learns from it, in one sentence.
        values: one per replica.
        is_sensitivity: the value is a bound Δ, other than the certificate's: the report says which σ it would ask for.
        failure_probability: of that bound, paid from δ.
    """

    name: str
    meaning: str
    values: tuple[float, ...]
    is_sensitivity: bool = False
    failure_probability: float = 0.0


@runtime_checkable
class State(Protocol):
    """A learned or unlearned model of K replicas, before any noise."""

    @property
    def parameters(self) -> "Tensor":
        """Parameters [K, P]."""

    def take(self, positions: list[int]) -> "State":
        """State of the replicas at these positions; a position may repeat."""


TaskT = TypeVar("TaskT", contravariant=True)
StateT = TypeVar("StateT")


@runtime_checkable
class Method(Protocol[TaskT, StateT]):
    """A learning algorithm A, its unlearning algorithm U, and the theorem that relates them."""

    @property
    def declaration(self) -> Declaration:
        """What the method says of itself."""

    def learn(self, task: TaskT, members: "Tensor", *, streams: Streams) -> StateT:
        """Run A on the records of `members`, bool [K, n]: one training set per replica."""

    def unlearn(self, state: StateT, request: "Tensor", *, streams: Streams) -> StateT:
        """Run U: forget the records of `request`, bool [K, n]: each replica its own."""

    def certify(self, state: StateT, request: "Tensor") -> Certificate | None:
        """Bound ‖unlearned − reference‖ for an unlearned state; None where no theorem applies."""

    def release(self, state: StateT, noise_scale: float, *, streams: Streams) -> "Tensor":
        """Released parameters [K, P]."""


AnyMethod = Method[Any, Any]


@runtime_checkable
class ChecksTask(Protocol):
    """A method that can tell, before anything is trained, that a task is not for it."""

    def check_task(self, task: Any) -> None:
        """Raise PlanError, with the way out, for a task this method cannot learn."""


@runtime_checkable
class HasPriorSensitivity(Protocol):
    """A method whose theorem bounds Δ from public numbers only, before any data is seen."""

    def prior_sensitivity_upper(self, task: Any, request_size: int) -> float:
        """Δ for any dataset of this size and any request of this size."""


@runtime_checkable
class HasFailureProbability(Protocol):
    """A method whose bound on Δ holds with probability 1 − ρ only; ρ is paid from the claim's δ."""

    @property
    def failure_probability(self) -> float:
        """ρ in [0, 1)."""


@runtime_checkable
class HasDiagnostics(Protocol):
    """A method that reports quantities of its own: residuals, gaps, ratios to the trivial bound."""

    def diagnostics(self, state: Any) -> tuple[Diagnostic, ...]:
        """Quantities of an unlearned state, one value per replica."""


@runtime_checkable
class BringsOwnLoss(Protocol):
    """A method that reads a task's records only: model, loss, recipe and divisor are its own.

    Nothing that a task says of these (its λ, its constants, its batches) is true of what such a method minimises.
    """

    @property
    def brings_own_loss(self) -> Literal[True]:
        """True: a method that learns the task's objective lacks this attribute."""
