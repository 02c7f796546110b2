"""Laws on what a method promises: its certificate, its identity, its effect, its order, its exactness."""

import math
from dataclasses import replace
from typing import Any

import torch
from hypothesis import target
from torch import Tensor

from unlearning.claim import Reference, SeedPolicy
from unlearning.protocols import AnyMethod, State

from .base import (
    LawBroken,
    LawNotApplicable,
    distances,
    linear_kinds,
    rounding_slack,
    search,
    search_accepted,
)
from .problems import Descent, Problem
from .strategies import accepted_kinds, problems

# Where a bound can be all but attained: one input direction, so that every inequality of a proof is an equality.
NEAR_TIGHT = (
    Problem("ridge", 2, 1, 0.01, 1.0, "aligned", 1, 1, 1, Descent(2, 2, 1.0, divisor="fixed")),
    Problem("ridge", 4, 1, 1.0, 1.0, "aligned", 3, 2, 2, Descent(2, 4, 0.9, divisor="fixed")),
    Problem("ridge", 3, 1, 0.01, 1.0, "spike", 1, 1, 3, Descent(2, 3, 1.0)),
    Problem("binary", 6, 2, 0.05, 3.0, "round", 2, 2, 4, Descent(1, 6, 1.99)),
    Problem("softmax", 5, 1, 0.1, 1.0, "aligned", 4, 2, 5, Descent(6, 1, 1.0)),
    Problem("binary", 6, 1, 0.05, 1.0, "round", 5, 2, 6, Descent(3, 2, 1.5)),
    Problem("binary", 12, 1, 0.474, 1.0, "aligned", 1, 8, 7),
    Problem("softmax", 40, 4, 9.0, 0.3, "aligned", 13, 2, 2, by_label=True),
    Problem("softmax", 10, 4, 9.0, 0.3, "aligned", 2, 2, 2, by_label=True),
)


def reference_state(method: AnyMethod, problem: Problem, kept: Tensor, device: str) -> State:
    """The claim's reference before noise, with the original's streams: A(D_r), or U(A(D_r), ∅)."""
    streams = problem.streams
    state: Any = method.learn(problem.task(device), kept, streams=streams)
    if method.declaration.reference is Reference.EMPTY_REQUEST:
        state = method.unlearn(state, torch.zeros_like(kept), streams=streams.child("unlearning"))
    found: State = state
    return found


def sensitivities(method: AnyMethod, state: Any, request: Tensor, problem: Problem, law: str) -> Tensor | None:
    """Certified Δ per replica, [K], or None; a certificate of the wrong length breaks the law."""
    certificate = method.certify(state, request)
    if certificate is None or certificate.failure_probability > 0:
        return None
    if len(certificate.sensitivity_upper) != problem.replicas:
        found = f"The certificate has {len(certificate.sensitivity_upper)} sensitivities for {problem.replicas} models."
        raise LawBroken(law, found, problem)
    return torch.tensor(certificate.sensitivity_upper, dtype=torch.float64)


def check_sensitivity(method: AnyMethod, *, device: str = "cpu") -> float:
    """‖unlearned − reference‖ is at most the certified Δ, for every replica; returns the largest ratio seen.

    Raises:
        LawBroken: a model lies farther from its reference than certified.
        LawNotApplicable: the method certifies nothing, or speaks of laws of random seeds rather than of models.
    """
    return _search_sensitivity(method, device, "sensitivity", parts=1)


def check_sequential_sensitivity(method: AnyMethod, *, device: str = "cpu") -> float:
    """After two requests the certified Δ covers both: it bounds the distance to the model without either.

    Raises:
        LawBroken: a model lies farther from its reference than certified.
        LawNotApplicable: as for `check_sensitivity`.
    """
    return _search_sensitivity(method, device, "sequential_sensitivity", parts=2)


def _search_sensitivity(method: AnyMethod, device: str, law: str, parts: int) -> float:
    if method.declaration.seed_policy is SeedPolicy.MARGINAL:
        raise LawNotApplicable("the claim is marginal over training seeds: paired models may lie apart")
    largest: list[float] = []

    def body(problem: Problem) -> None:
        streams, request = problem.streams, problem.request(device)
        state: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
        for number, part in enumerate(split(request, parts)):
            state = method.unlearn(state, part, streams=streams.child("unlearning", number))
        upper = sensitivities(method, state, part, problem, law)
        if upper is None:
            return
        reference = reference_state(method, problem, ~request, device)
        distance = distances(state.parameters, reference.parameters)
        slack = rounding_slack(problem, state.parameters, reference.parameters)
        ratio = float(((distance - slack).clamp(min=0) / upper.clamp(min=1e-300)).max())
        largest.append(ratio)
        target(min(ratio, 1e3), label=f"distance / sensitivity, {law}")
        if not bool((distance <= upper + slack).all()):
            worst = int((distance - upper).argmax())
            found = f"Replica {worst}: distance {distance[worst]:.6g} exceeds the certified {upper[worst]:.6g}"
            raise LawBroken(law, f"{found} (rounding slack {slack:.1g}).", problem)

    search_accepted(method, body, examples=NEAR_TIGHT)
    if not largest:
        raise LawNotApplicable("the method gives no deterministic certificate on any of these problems")
    return max(largest)


def split(request: Tensor, parts: int) -> list[Tensor]:
    """The request whole, or as two disjoint ones: all records but the last, then the last (the only one: nothing)."""
    if parts == 1:
        return [request]
    position = request.cumsum(1)
    first = request & (position < position[:, -1:].clamp(min=2))
    return [first, request & ~first]


def check_empty_request(method: AnyMethod, *, device: str = "cpu") -> None:
    """An empty request changes nothing, alone or beside replicas whose request is not empty.

    Raises:
        LawBroken: the parameters moved.
    """

    def body(problem: Problem) -> None:
        streams, request = problem.streams, problem.request(device)
        learned: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
        request[0] = False
        for what, asked in (("alone", torch.zeros_like(request)), ("beside others", request)):
            after = method.unlearn(learned, asked, streams=streams.child("unlearning"))
            quiet = ~asked.any(1)
            moved = float((after.parameters - learned.parameters)[quiet].abs().max())
            if not moved <= rounding_slack(problem, learned.parameters):
                raise LawBroken(
                    "empty_request", f"An empty request, {what}, moved a parameter by {moved:.3g}.", problem
                )

    search_accepted(method, body, momentum=True)


def check_effect(method: AnyMethod, *, device: str = "cpu") -> None:
    """Forgetting one record moves the model whenever retraining without it would.

    Raises:
        LawBroken: the model stayed where it was, up to a millionth of what retraining moves it.
    """

    def body(problem: Problem) -> None:
        streams, request = problem.streams, problem.request(device)
        learned: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
        unlearned = method.unlearn(learned, request, streams=streams.child("unlearning"))
        due = distances(reference_state(method, problem, ~request, device).parameters, learned.parameters)
        moved = distances(unlearned.parameters, learned.parameters)
        idle = (moved <= 1e-6 * due) & (due > 1e3 * rounding_slack(problem, learned.parameters))
        if bool(idle.any()):
            worst = int(idle.nonzero()[0])
            found = f"Replica {worst} moved by {moved[worst]:.3g} where retraining moves it by {due[worst]:.3g}."
            raise LawBroken("effect", found, problem)

    search_accepted(method, body, momentum=True, largest_request=1)


def check_order(method: AnyMethod, *, device: str = "cpu") -> None:
    """Two requests in either order, and both at once, give one model.

    To rounding for methods that declare `additive`; otherwise within the sum of the certified sensitivities.

    Raises:
        LawBroken: the models lie farther apart.
        LawNotApplicable: the method is not additive and certifies nothing.
    """
    additive = method.declaration.additive
    compared: list[bool] = []

    def body(problem: Problem) -> None:
        streams, request = problem.streams, problem.request(device)
        learned: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
        first, second = split(request, 2)
        ends: list[tuple[str, Any, Tensor]] = []
        for name, parts in (("at once", [request]), ("in order", [first, second]), ("reversed", [second, first])):
            state = learned
            for number, part in enumerate(parts):
                state = method.unlearn(state, part, streams=streams.child("unlearning", number))
            ends.append((name, state, parts[-1]))
        slack = rounding_slack(problem, *(state.parameters for _, state, _ in ends))
        together, *others = ends
        for name, state, last in others:
            allowed = torch.full((problem.replicas,), slack, dtype=torch.float64)
            if not additive:
                bounds = [
                    sensitivities(method, s, p, problem, "order") for s, p in ((together[1], request), (state, last))
                ]
                if bounds[0] is None or bounds[1] is None:
                    return
                allowed = allowed + bounds[0] + bounds[1]
            compared.append(True)
            apart = distances(together[1].parameters, state.parameters)
            if not bool((apart <= allowed).all()):
                worst = int((apart - allowed).argmax())
                found = (
                    f"Replica {worst}: at once and {name} lie {apart[worst]:.3g} apart, allowed {allowed[worst]:.3g}."
                )
                raise LawBroken("order", found, problem)

    search_accepted(method, body, momentum=additive)
    if not compared:
        raise LawNotApplicable("the method declares no additivity and gives no certificate that would limit the order")


def check_quadratic(method: AnyMethod, *, device: str = "cpu") -> None:
    """On a quadratic loss the unlearned model is the retrained one, to 1e-10 × condition number.

    Raises:
        LawBroken: the models differ.
        LawNotApplicable: the method does not declare `exact_on_quadratics`, or learns no quadratic loss.
    """
    if not method.declaration.exact_on_quadratics:
        raise LawNotApplicable("the method does not declare to be exact on quadratic losses")
    accepted = accepted_kinds(method, ("ridge",))
    # descent stops short of the minimiser that one Newton step finds: there only retraining is exact
    kinds = [kind for kind in accepted if kind[1] == "minimise"] or accepted
    if not kinds:
        raise LawNotApplicable("the method learns no quadratic loss")

    def body(problem: Problem) -> None:
        streams, request = problem.streams, problem.request(device)
        learned: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
        unlearned = method.unlearn(learned, request, streams=streams.child("unlearning"))
        retrained = method.learn(problem.task(device), ~request, streams=streams)
        condition = 1 + problem.norm**2 / problem.regularisation
        size = float(torch.linalg.vector_norm(retrained.parameters.double(), dim=1).max())
        apart = float(distances(unlearned.parameters, retrained.parameters).max())
        # the solver's tolerance, 1e-10 in the gradient, is worth 1e-10/λ in the parameters, n/(n−m) times
        allowed = 1e-10 * condition * (1 + size) + 1e-10 * (1 + problem.rows) / problem.regularisation
        if not apart <= allowed:
            raise LawBroken("quadratic", f"Distance {apart:.3g} exceeds {allowed:.3g}.", problem)

    search(body, problems(kinds))


def check_certificate_form(method: AnyMethod, *, device: str = "cpu") -> None:
    """A certificate has one Δ per replica, none is NaN, and before any request the learned model is its own reference.

    Raises:
        LawBroken: a certificate has another form.
        LawNotApplicable: the method accepts no linear model.
    """

    def body(problem: Problem) -> None:
        streams, request = problem.streams, problem.request(device)
        learned: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
        unlearned: Any = method.unlearn(learned, request, streams=streams.child("unlearning"))
        for state in (unlearned, unlearned.take([0] * problem.replicas)):
            upper = sensitivities(method, state, request, problem, "certificate_form")
            if upper is not None and bool(upper.isnan().any()):
                raise LawBroken("certificate_form", f"A sensitivity is no number: {upper.tolist()}.", problem)
        if not math.isfinite(float(unlearned.parameters.abs().max())):
            raise LawBroken("certificate_form", "The unlearned parameters are not finite.", problem)

    single = [replace(e, replicas=1) for e in NEAR_TIGHT if e.kind in linear_kinds(method)]
    search(body, problems(linear_kinds(method)), examples=single[:1], share=0.3)
