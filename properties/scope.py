"""Laws on where a method's numbers hold: the bounds it reports beside its certificate, its regime, its prior bound."""

import math
from dataclasses import replace

import torch

from unlearning.errors import PlanError
from unlearning.protocols import (
    AnyMethod,
    BringsOwnLoss,
    HasDiagnostics,
    HasFailureProbability,
    HasPriorSensitivity,
    Regime,
)

from .base import LawBroken, check_visible, distances, solver_slack
from .law import Domain, Law
from .problems import Descent, Model, Problem
from .promises import NEAR_TIGHT, marginal
from .running import start

_REGIMES: dict[Model, Regime] = {
    "ridge": Regime.QUADRATIC,
    "binary": Regime.STRONGLY_CONVEX,
    "softmax": Regime.STRONGLY_CONVEX,
    "network": Regime.NON_CONVEX,
}
_SAME = 1e-9  # relative: a prior bound of the same public numbers is the same but for the rounding of norms


def _beyond(method: AnyMethod, problem: Problem) -> str | None:
    """What about the problem the method's theorem does not speak of; None where it does."""
    declared, order = method.declaration, list(Regime)
    regime = _REGIMES[problem.model]
    if order.index(regime) > order.index(declared.regime):
        return f"a {regime} loss, where the declared regime is {declared.regime}"
    if problem.descent is not None and problem.descent.divisor not in declared.divisors:
        return f'the divisor "{problem.descent.divisor}", where {", ".join(declared.divisors) or "none"} is declared'
    return None


def _own_loss(method: AnyMethod) -> str | None:
    if isinstance(method, BringsOwnLoss):
        return "the method brings its own loss and training: the problems' say nothing of its regime or divisors"
    return None


def _regime(method: AnyMethod, problem: Problem, device: str) -> float | None:
    beyond = _beyond(method, problem)
    if beyond is None:
        return None
    run = start(method, problem, device)
    certificate = method.certify(run.unlearned(), run.request)
    certified = () if certificate is None else certificate.sensitivity_upper
    if any(math.isfinite(upper) for upper in certified):
        found = f"Δ = {min(certified):.6g} is certified for {beyond}. Certify nothing (None, or inf), or declare it."
        raise LawBroken("regime", found, problem, {"sensitivity_upper": min(certified)})
    return 0.0


def _reports_nothing(method: AnyMethod) -> str | None:
    if not isinstance(method, HasDiagnostics):
        return "the method reports no diagnostics"
    return marginal(method)


def _reported_bounds(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    state = run.unlearned()
    reported = method.diagnostics(state) if isinstance(method, HasDiagnostics) else ()
    bounds = [one for one in reported if one.is_sensitivity and one.failure_probability == 0]
    bounds = [one for one in bounds if not all(value == math.inf for value in one.values)]
    if not bounds:
        return None
    reference = run.reference()
    distance, idle = (distances(own.parameters, reference.parameters) for own in (state, run.learned))
    slack = run.rounding(state.parameters, reference.parameters)
    slack += solver_slack(
        problem, state.parameters, method=method
    )  # published bounds speak of exact minimisers and exact solves
    tightest = 0.0
    for bound in bounds:
        if len(bound.values) != problem.replicas:
            found = f"{bound.name!r} has {len(bound.values)} values for {problem.replicas} models."
            raise LawBroken("reported_bounds", found, problem)
        upper = torch.tensor(bound.values, dtype=torch.float64)
        if not bool((distance <= upper + slack).all()):
            worst = int((distance - upper).nan_to_num(nan=math.inf).argmax())
            found = f"Replica {worst}: distance {distance[worst]:.6g} exceeds {bound.name!r}, {upper[worst]:.6g}"
            measured = {
                "replica": worst,
                "distance": float(distance[worst]),
                "reported bound": float(upper[worst]),
                "rounding slack": slack,
            }
            raise LawBroken("reported_bounds", f"{found} (slack {slack:.1g}).", problem, measured)
        check_visible(problem, slack, torch.maximum(upper, idle))
        tightest = max(tightest, float(((distance - slack).clamp(min=0) / upper.clamp(min=1e-300)).max()))
    return min(1.0, tightest)


def _no_prior(method: AnyMethod) -> str | None:
    if not isinstance(method, HasPriorSensitivity):
        return "the method has no bound from public numbers"
    return marginal(method)


def _prior(method: AnyMethod, problem: Problem, size: int, device: str) -> float:
    """The prior Δ for requests of this size.

    Raises:
        LawBroken: it is negative or no number.
        PlanError: the method has none for the task.
    """
    if not isinstance(method, HasPriorSensitivity):
        raise PlanError("the method has no bound from public numbers")
    upper = float(method.prior_sensitivity_upper(problem.task(device), size))
    if not upper >= 0:
        raise LawBroken("prior_sensitivity", f"The prior Δ must be >= 0, got {upper} for {size} records.", problem)
    return upper


def _prior_sensitivity(method: AnyMethod, problem: Problem, device: str) -> float | None:
    size = problem.request_size
    try:
        upper = _prior(method, problem, size, device)
    except PlanError:  # no bound before the data for this task
        return None
    sizes = sorted({1, max(1, size // 2), size, problem.rows - 1})
    grown = [_prior(method, problem, m, device) for m in sizes]
    for place, (less, more) in enumerate(zip(grown, grown[1:], strict=False)):
        if more < less * (1 - _SAME):
            found = f"Δ falls from {less:.6g} for {sizes[place]} records to {more:.6g} for {sizes[place + 1]}."
            raise LawBroken("prior_sensitivity", found, problem)
    other = replace(problem, seed=problem.seed + 1, geometry="round")
    elsewhere = _prior(method, other, size, device)
    if not (elsewhere == upper or abs(elsewhere - upper) <= _SAME * upper):
        found = f"Δ = {upper:.6g}, but {elsewhere:.6g} for other records of the same number and largest norm."
        raise LawBroken("prior_sensitivity", found, problem)
    if isinstance(method, HasFailureProbability) and method.failure_probability > 0:
        return 0.0
    run = start(method, problem, device)
    state, reference = run.unlearned(), run.reference()
    distance = float(distances(state.parameters, reference.parameters).max())
    slack = run.rounding(state.parameters, reference.parameters)
    if not distance <= upper + slack:
        found = f"Distance {distance:.6g} exceeds the prior Δ = {upper:.6g} (rounding slack {slack:.1g})."
        measured = {"distance": distance, "sensitivity_upper": upper, "rounding slack": slack}
        raise LawBroken("prior_sensitivity", found, problem, measured)
    idle = distances(run.learned.parameters, reference.parameters)
    check_visible(problem, slack, idle.clamp(min=upper))
    return min(1.0, max(0.0, distance - slack) / max(upper, 1e-300))


# beyond every regime but the widest, and with each divisor
_CORNERS = (
    *(
        Problem(model, 6, 2, descent=Descent(1, 3, 0.1, divisor=divisor))
        for model in ("network", "softmax", "ridge")
        for divisor in ("remaining", "fixed")
    ),
    *(Problem(model, 6, 2) for model in ("softmax", "ridge")),
)

check_regime = Law(
    name="regime",
    statement="Beyond the losses and the divisors that it declares a method certifies nothing: None, or Δ = ∞.",
    fails_for="a theorem for convex losses applied to networks, one divisor's bound applied to the other",
    source="the premises of the method's theorem, as `declaration.regime` and `declaration.divisors` name them",
    body=_regime,
    domain=Domain(momentum=True, examples=_CORNERS, share=0.3),
    applies=_own_loss,
    silent="the declared regime and divisors cover what the method accepts",
)

check_reported_bounds = Law(
    name="reported_bounds",
    statement="Every bound on the distance that a method reports beside its certificate holds too.",
    fails_for="a published bound shown where its premises fail",
    source="the theorem that the diagnostic names",
    body=_reported_bounds,
    domain=Domain(momentum=True, examples=NEAR_TIGHT, share=0.5),
    applies=_reports_nothing,
    measures="distance / reported bound",
    silent="the method reports no bound that holds for certain",
)

check_prior_sensitivity = Law(
    name="prior_sensitivity",
    statement="Δ from public numbers covers the distance, does not fall as the request grows, and does not depend on "
    "the records.",
    fails_for="bounds that read the data, or take another request's size",
    source="the definition of an a-priori bound (`HasPriorSensitivity`)",
    body=_prior_sensitivity,
    domain=Domain(momentum=True, examples=NEAR_TIGHT, share=0.5),
    applies=_no_prior,
    measures="distance / prior Δ",
    silent="the method gives no bound from public numbers",
)
