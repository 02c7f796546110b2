"""Certificates computed from one constant that is too small: how the suite's own power is measured."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from learning import newton as second_order
from learning.full import FullObjective
from learning.objectives import Constants
from learning.recursion import ErrorRecursion, Trace, a_posteriori_upper
from learning.task import Minimise, Task
from methods import qiao2025hessianfree as hf
from methods import sekhari2021newton as newton
from methods.bui2026cure import CureNewton
from methods.newton_baselines import DampedNewton, PseudoInverseNewton
from methods.qiao2025hessianfree import HessianFree
from methods.sekhari2021newton import NewtonStep
from methods.zhang2024certified import CertifiedUnlearning
from methods.zhang2024step import Step
from properties.problems import Problem, Recipe
from unlearning.claim import Certificate
from unlearning.protocols import AnyMethod
from unlearning.streams import Streams

from .bounds import Understated
from .scope import ReportsLess
from .twin import Twin, patched

FACTORS = (0.95, 0.9, 0.8, 0.5, 0.2, 0.05)
WHOLE, REPORTED = "Δ", "reported Δ"

_FIELDS = {"L": "smoothness_upper", "C": "hessian_lipschitz_upper", "G": "gradient_bound_upper"}

MEANINGS = {
    WHOLE: "the certified sensitivity as a whole",
    "L": "smoothness",
    "C": "Lipschitz constant of the Hessian",
    "G": "bound on gradients",
    "1/λ": "inverse of the strong convexity: λ is overstated",
    "R": "radius of the ball of all models",
    "τ": "tolerance of the solver",
    "residual": "gradients measured at the unlearned model",
    "start": "distance of the unlearned model from the initial point",
    "injection": "what the removed records' gradients put into the vectors",
}


@dataclass(frozen=True)
class Misinformed(Task):
    """A task that tells its constants wrongly, with λ ≤ L still."""

    constant: str = ""
    factor: float = 1.0

    @property
    def constants(self) -> Constants | None:
        honest = self.objective.constants(self.dataset.norm_upper)
        if honest is None:
            return None
        if self.constant == "1/λ":
            least = min(honest.strong_convexity / self.factor, honest.smoothness_upper)
            return replace(honest, strong_convexity=least)
        name = _FIELDS.get(self.constant)
        value = getattr(honest, name) if name else None
        if name is None or value is None:
            return honest
        least = honest.strong_convexity if self.constant == "L" else 0.0
        return replace(honest, **{name: max(self.factor * value, least)})


@dataclass(frozen=True)
class Misjudged(Twin):
    """Certifies with a share of one constant; updates are the honest ones."""

    constant: str
    factor: float

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        with _measured_wrongly(self.constant, self.factor):
            after = self.method.unlearn(self._misinformed(state), request, streams=streams)
        return replace(after, task=state.task)

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        with _measured_wrongly(self.constant, self.factor, certifying=True):
            return self.method.certify(self._misinformed(state), request)

    def _misinformed(self, state: Any) -> Any:
        task = state.task
        recipe = task.recipe
        if self.constant == "τ" and isinstance(recipe, Minimise):
            recipe = Minimise(self.factor * recipe.tolerance)
        told = Misinformed(
            task.name, task.dataset, task.objective, recipe, task.device, task.dtype, self.constant, self.factor
        )
        return replace(state, task=told)


@contextmanager
def _measured_wrongly(constant: str, factor: float, *, certifying: bool = False) -> Iterator[None]:
    """What is no constant of the task, but measured on the way, taken for a share of itself."""
    with ExitStack() as stack:
        if constant == "residual":
            stack.enter_context(patched(hf, batch_gradients=_scaled(hf.batch_gradients, factor)))
            stack.enter_context(patched(newton, full_gradient=_scaled(newton.full_gradient, factor)))
            stack.enter_context(patched(Step, bounds=_with_residuals(Step.bounds, factor)))
            if certifying:  # the update itself reads the same gradients
                stack.enter_context(patched(second_order, FullObjective=_objective(factor)))
        if constant == "R":
            stack.enter_context(patched(Step, report=_in_a_ball(Step.report, factor)))
        if constant == "start":
            stack.enter_context(patched(hf, a_posteriori_upper=_from_nearer(factor)))
        if constant == "injection":
            stack.enter_context(patched(hf, ErrorRecursion=_injecting(factor)))
        yield


def _scaled(function: Any, factor: float) -> Any:
    return lambda *args: factor * function(*args)


def _objective(factor: float) -> type:
    class Flatter(FullObjective):
        def gradient(self) -> Tensor:
            return factor * super().gradient()

    return Flatter


def _with_residuals(honest: Any, factor: float) -> Any:
    def bounds(step: Step, before: float, after: float, left: float, *rest: Any) -> tuple[float, float, float]:
        return honest(step, factor * before, factor * after, factor * left, *rest)

    return bounds


def _in_a_ball(honest: Any, factor: float) -> Any:
    def report(step: Step, *args: Any) -> Any:  # the step itself is projected onto the honest ball
        step.known = replace(step.known, radius=factor * step.known.radius)
        return honest(step, *args)

    return report


def _from_nearer(factor: float) -> Any:
    def upper(constants: Constants, trace: Trace, start: Any, residual: Any, *, fixed: bool) -> tuple[float, ...]:
        return a_posteriori_upper(constants, trace, factor * start, residual, fixed=fixed)

    return upper


def _injecting(factor: float) -> type:
    class Weaker(ErrorRecursion):
        def sensitivity_upper(self, trace: Trace) -> tuple[float, ...]:
            return super().sensitivity_upper(replace(trace, injection=factor * trace.injection))

    return Weaker


def understated(method: AnyMethod, constant: str, factor: float) -> AnyMethod:
    """The method with a share of one constant, of Δ as a whole, or of the bounds that it reports beside it."""
    if constant == REPORTED:
        return ReportsLess(method, factor)
    return Understated(method, factor) if constant == WHOLE else Misjudged(method, constant, factor)


@dataclass(frozen=True)
class Bound:
    """One bound of a shipped method.

    Attributes:
        method: whose certificate states it.
        constants: that enter it, beside Δ as a whole.
        divisor: of the recipes it is tried on; None: of any.
        recipe: it is tried on; None: on any.
    """

    method: AnyMethod
    constants: tuple[str, ...]
    divisor: str | None = None
    recipe: Recipe | None = None

    def on(self, problem: Problem) -> Problem | None:
        """The problem as this bound is tried on it; None where it is not."""
        if self.recipe is not None and problem.kind[1] != self.recipe:
            return None
        if self.divisor is None or problem.descent is None:
            return problem
        return replace(problem, descent=replace(problem.descent, divisor=self.divisor))


_RECURSION = ("L", "C", "1/λ", "injection")
_PUBLISHED = ("L", "G", "1/λ")
_POSTERIOR = ("L", "1/λ", "residual", "start")

BOUNDS: dict[str, Bound] = {
    f"hessian-free, {name}, {divisor} divisor": Bound(method, constants, divisor)
    for name, method, constants in (
        ("recursion", HessianFree(), _RECURSION),
        ("recursion by norms", HessianFree("all"), _RECURSION),
        ("published", HessianFree(bound="published"), _PUBLISHED),
        ("a-posteriori", HessianFree(bound="a-posteriori"), _POSTERIOR),
    )
    for divisor in ("fixed", "remaining")
} | {
    "newton, error": Bound(NewtonStep(), ("C", "1/λ", "τ")),
    "newton, published": Bound(NewtonStep("published"), ("C", "G", "1/λ", "τ")),
    "newton, a-posteriori": Bound(NewtonStep("a-posteriori"), ("1/λ", "τ", "residual")),
    # with damping: an undamped step leaves next to nothing for these bounds to cover
    "certified-unlearning, theorem 3.4": Bound(
        CertifiedUnlearning(100.0), ("C", "G", "1/λ", "R", "τ"), recipe="minimise"
    ),
    "certified-unlearning, measured": Bound(
        CertifiedUnlearning(bound="measured"), ("C", "G", "1/λ", "R", "τ", "residual")
    ),
    "certified-unlearning, trivial": Bound(CertifiedUnlearning(1e4, bound="trivial"), ("G", "R")),
    "cure-newton, a-posteriori": Bound(CureNewton(), ("1/λ", "τ", "residual")),
    "pseudo-inverse-newton, a-posteriori": Bound(PseudoInverseNewton(), ("1/λ", "τ", "residual")),
    "damped-newton, a-posteriori": Bound(DampedNewton(), ("1/λ", "τ", "residual")),
}
