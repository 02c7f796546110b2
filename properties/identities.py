"""Laws on what unlearning does: nothing for an empty request, something otherwise, and the same in any order."""

from typing import Any

import torch
from torch import Tensor

from unlearning.claim import Reference
from unlearning.protocols import AnyMethod

from .base import TOLERANCES, LawBroken, check_visible, distances, solver_slack
from .law import Domain, Law
from .problems import Problem
from .promises import marginal
from .running import Run, checked, split, start

_MOST_PARTS = 6  # records forgotten one by one, before the rest at once
_AS_DESIGNED = (
    " Reference.EMPTY_REQUEST does not ask for U(w, ∅) = w: where the method moves by design, declare "
    'exempt = {"empty_request": the reason}.'
)


def _empty_request(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    others = run.request
    others[0] = False
    slack = run.rounding(run.learned.parameters)
    cases = {"alone": torch.zeros_like(others)} | ({"beside others": others} if problem.replicas > 1 else {})
    for what, asked in cases.items():
        quiet = ~asked.any(1)
        moved = float((run.unlearned(asked).parameters - run.learned.parameters)[quiet].abs().max())
        if not moved <= slack:
            found = f"An empty request, {what}, moved a parameter by {moved:.3g}."
            if method.declaration.reference is Reference.EMPTY_REQUEST:
                found += _AS_DESIGNED
            raise LawBroken("empty_request", found, problem, {"moved": moved})
    check_visible(problem, slack, distances(run.reference().parameters, run.learned.parameters))
    return 0.0


def _effect(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    due = distances(run.reference().parameters, run.learned.parameters)
    moved = distances(run.unlearned().parameters, run.learned.parameters)
    share = TOLERANCES["standstill"].of(problem)
    rounding = run.rounding(run.learned.parameters)
    slack = rounding + solver_slack(problem, run.learned.parameters, method=method)
    idle = (moved <= share * due) & (due > 10 * slack)
    if bool(idle.any()):
        worst = int(idle.nonzero()[0])
        found = f"Replica {worst} moved by {moved[worst]:.3g} where retraining moves it by {due[worst]:.3g}."
        measured = {"replica": worst, "moved": float(moved[worst]), "moved by retraining": float(due[worst])}
        raise LawBroken("effect", found, problem, measured)
    check_visible(problem, rounding, due)
    return 0.0


def _same_end(
    law: str, run: Run, first: tuple[str, list[Tensor]], second: tuple[str, list[Tensor]], *, exactly: bool
) -> float | None:
    """How far apart two ways of unlearning end: to rounding, or within the sum of their certificates.

    Raises:
        LawBroken: further than that.
        LawNotApplicable: retraining moves the model so little that rounding hides the rest.
    """
    ends = [(name, run.unlearned(*parts), parts[-1]) for name, parts in (first, second)]
    apart = distances(ends[0][1].parameters, ends[1][1].parameters)
    slack = run.rounding(*(state.parameters for _, state, _ in ends))
    allowed = torch.full_like(apart, slack)
    if not exactly:
        for _, state, last in ends:
            upper = run.sensitivities(state, last, law)
            if upper is None:
                return None
            allowed = allowed + upper
        if bool(allowed.isposinf().all()):
            return None
    if not bool((apart <= allowed).all()):
        worst = int((apart - allowed).argmax())
        found = f"Replica {worst}: {ends[0][0]} and {ends[1][0]} lie {apart[worst]:.3g} apart"
        measured = {"replica": worst, "apart": float(apart[worst]), "allowed": float(allowed[worst])}
        raise LawBroken(law, f"{found}, allowed {allowed[worst]:.3g}.", run.problem, measured)
    due = distances(run.reference().parameters, run.learned.parameters)
    check_visible(run.problem, slack, torch.maximum(due, allowed - slack))
    return 0.0


def _paired_ends(method: AnyMethod, *, exactly: bool) -> str | None:
    """Why certificates do not limit how far two ways of unlearning end apart; None where they do, or none is asked."""
    return None if exactly else marginal(method)


def _order_says_nothing(method: AnyMethod) -> str | None:
    return _paired_ends(method, exactly=method.declaration.additive)


def _order(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    parts = split(run.request, 2)
    additive = method.declaration.additive
    return _same_end("order", run, ("in order", parts), ("reversed", parts[::-1]), exactly=additive)


def _batch_online_says_nothing(method: AnyMethod) -> str | None:
    return _paired_ends(method, exactly=method.declaration.batch_equals_online)


def _batch_online(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    one_by_one = split(run.request, min(problem.request_size, _MOST_PARTS))
    same = method.declaration.batch_equals_online
    return _same_end("batch_online", run, ("at once", [run.request]), ("one by one", one_by_one), exactly=same)


def _inexact(method: AnyMethod) -> str | None:
    if not method.declaration.exact_on_quadratics:
        return "the method does not declare to be exact on quadratic losses"
    return None


def _quadratic(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    unlearned = run.unlearned()
    again: Any = method.learn(problem.task(device), ~run.request, streams=problem.streams)
    retrained = checked(again, problem, "learn")
    apart = float(distances(unlearned.parameters, retrained.parameters).max())
    slack = run.rounding(unlearned.parameters, retrained.parameters)
    allowed = solver_slack(problem, retrained.parameters, method=method) + slack
    if not apart <= allowed:
        measured = {"distance": apart, "allowed": allowed}
        raise LawBroken("quadratic", f"Distance {apart:.3g} exceeds {allowed:.3g}.", problem, measured)
    check_visible(problem, slack, distances(run.learned.parameters, retrained.parameters))
    return 0.0


check_empty_request = Law(
    name="empty_request",
    statement="An empty request changes nothing, alone or beside replicas whose request is not empty. A method that is "
    "compared with its own empty request and moves on it by design declares itself exempt.",
    fails_for="updates that ignore the request",
    source="identity of the update, or the short-circuit of methods compared with A(D_r) + noise",
    body=_empty_request,
    domain=Domain(momentum=True),
)

check_effect = Law(
    name="effect",
    statement="Forgetting one record moves the model wherever retraining without it would, by 1e-4 of that way or "
    "more. A method that is meant to move less declares itself exempt.",
    fails_for="doing nothing",
    source="a model that stays where it was can be told from a retrained one as σ → 0",
    body=_effect,
    domain=Domain(momentum=True, largest_request=1),
)

check_order = Law(
    name="order",
    statement="Two requests in either order give one model: to rounding where the method declares `additive`, else "
    "within the sum of the two certificates.",
    fails_for="updates that depend on the order without saying so",
    source="additivity of the update (Qiao et al. 2025), or the triangle inequality",
    body=_order,
    domain=Domain(momentum=True),
    applies=_order_says_nothing,
    silent="the method declares no additivity and gives no certificate that would limit the order",
)

check_batch_online = Law(
    name="batch_online",
    statement="Records forgotten one by one and at once give one model: to rounding where the method declares "
    "`batch_equals_online`, else within the sum of the two certificates.",
    fails_for="updates per request in place of updates per record",
    source="additivity over records (Qiao et al. 2025), or the triangle inequality",
    body=_batch_online,
    domain=Domain(momentum=True, share=0.5),
    applies=_batch_online_says_nothing,
    silent="the method declares no batch_equals_online and gives no certificate that would limit the difference",
)

check_quadratic = Law(
    name="quadratic",
    statement="On a quadratic loss the unlearned model is the retrained one, to 1e-10 × condition number.",
    fails_for="wrong Hessians, divisors, regularisers",
    source="one Newton step finds the minimiser of a quadratic",
    body=_quadratic,
    domain=Domain(models=("ridge",), recipes=("minimise",)),  # descent stops short of the minimiser
    applies=_inexact,
)
