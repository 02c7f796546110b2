"""Laws on what a method certifies: its Δ bounds the distance, and has the form that an audit relies on."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unlearning.claim import SeedPolicy
from unlearning.protocols import AnyMethod

from .base import LawBroken, check_visible, distances
from .law import Domain, Law
from .problems import Descent, Problem
from .running import Run, split, start
from .strategies import LINEAR

# Where a bound can be all but attained: one input direction, so that every inequality of a proof is an equality.
NEAR_TIGHT = (
    Problem("ridge", 2, 1, 0.01, 1.0, "aligned", 1, 1, 1, Descent(2, 2, 1.0, divisor="fixed")),
    Problem("ridge", 4, 1, 1.0, 1.0, "aligned", 3, 2, 2, Descent(2, 4, 0.9, divisor="fixed")),
    Problem("ridge", 3, 1, 0.01, 1.0, "spike", 1, 1, 3, Descent(2, 3, 1.0)),
    Problem("binary", 6, 2, 0.05, 3.0, "round", 2, 2, 4, Descent(1, 6, 1.99)),
    Problem("softmax", 5, 1, 0.1, 1.0, "aligned", 4, 2, 5, Descent(6, 1, 1.0)),
    Problem("binary", 6, 1, 0.05, 1.0, "round", 5, 2, 6, Descent(3, 2, 1.5)),
    Problem("binary", 4, 1, 1.0, 1.0, "aligned", 1, 1, 1, Descent(2, 4, 1.99, divisor="fixed")),
    # quadratic, and every record seen once: the first order is exact, Δ = 0
    Problem("ridge", 8, 2, 0.1, 1.0, "round", 1, 4, 8, Descent(1, 1, 1.0, divisor="fixed")),
    # with momentum, of which a retrained model differs by more
    Problem("ridge", 4, 1, 0.1, 1.0, "aligned", 1, 1, 1, Descent(3, 2, 1.0, momentum=0.5)),
    # a batch removed whole, which the model gets all wrong; and one whose vector goes on moving
    Problem("binary", 4, 1, 0.001, 3.0, "aligned", 2, 8, 108, Descent(1, 2, 1.99), request_by="label"),
    Problem("binary", 2, 1, 0.001, 3.0, "aligned", 1, 4, 52, Descent(2, 1, 1.99, divisor="fixed")),
    # trained to one pole of the ball, retrained to the other; and a minimiser whose retraining ends at 0
    Problem("binary", 4, 1, 0.001, 1.0, "aligned", 3, 8, 46, Descent(1, 4, 1.99, radius=0.1)),
    Problem("ridge", 2, 1, 0.5, 1.0, "spike", 1, 1, 34),
    Problem("binary", 12, 1, 0.474, 1.0, "aligned", 1, 8, 7),
    Problem("softmax", 40, 4, 9.0, 0.3, "aligned", 13, 2, 2, request_by="label"),
    Problem("softmax", 10, 4, 9.0, 0.3, "aligned", 2, 2, 2, request_by="label"),
)


def marginal(method: AnyMethod) -> str | None:
    """Why distances of paired models say nothing about the method; None where they do."""
    if method.declaration.seed_policy is SeedPolicy.MARGINAL:
        return "the claim is marginal over training seeds: paired models may lie apart"
    return None


def _within(law: str, run: Run, reference: Any, *requests: Tensor) -> float | None:
    """Largest (distance − slack) / Δ over the replicas after these requests, of those that rounding does not hide.

    Raises:
        LawBroken: the certified Δ is exceeded.
        LawNotApplicable: rounding hides every replica.
    """
    state = run.unlearned(*requests)
    upper = run.sensitivities(state, requests[-1], law)
    if upper is None or bool(upper.isposinf().all()):
        return None
    distance, idle = (distances(own.parameters, reference.parameters) for own in (state, run.learned))
    slack = run.rounding(state.parameters, reference.parameters)
    if not bool((distance <= upper + slack).all()):
        worst = int((distance - upper).argmax())
        found = f"Replica {worst}: distance {distance[worst]:.6g} exceeds the certified {upper[worst]:.6g}"
        measured = {
            "replica": worst,
            "distance": float(distance[worst]),
            "sensitivity_upper": float(upper[worst]),
            "distance of doing nothing": float(idle[worst]),
            "rounding slack": slack,
        }
        raise LawBroken(law, f"{found} (rounding slack {slack:.1g}).", run.problem, measured)
    certified = upper.isfinite()
    check_visible(run.problem, slack, torch.maximum(upper, idle)[certified])
    return min(1.0, float(((distance - slack).clamp(min=0) / upper.clamp(min=1e-300))[certified].max()))


def _sensitivity(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    return _within("sensitivity", run, run.reference(), run.request)


def _sequential_sensitivity(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    reference, request = run.reference(), run.request
    sequences = split(request, 2), [torch.zeros_like(request), request]
    ratios = [_within("sequential_sensitivity", run, reference, *requests) for requests in sequences]
    return max((ratio for ratio in ratios if ratio is not None), default=None)


def _certificate_form(method: AnyMethod, problem: Problem, device: str) -> float | None:
    run = start(method, problem, device)
    unlearned = run.unlearned()
    for state in (unlearned, unlearned.take([0] * problem.replicas)):
        upper = run.sensitivities(state, run.request, "certificate_form")
        if upper is not None and bool(upper.isnan().any()):
            raise LawBroken("certificate_form", f"A sensitivity is no number: {upper.tolist()}.", problem)
    return 0.0


_UNCERTIFIED = "the method gives no deterministic certificate, or Δ = ∞"

check_sensitivity = Law(
    name="sensitivity",
    statement="‖unlearned − reference‖ is at most the certified Δ, in every replica.",
    fails_for="understated bounds, wrong updates, doing nothing",
    source="the definition of Δ in the method's theorem",
    body=_sensitivity,
    domain=Domain(momentum=True, examples=NEAR_TIGHT),
    applies=marginal,
    measures="distance / Δ",
    silent=_UNCERTIFIED,
)

check_sequential_sensitivity = Law(
    name="sequential_sensitivity",
    statement="After two requests the certified Δ covers both, also where the first is empty: it bounds the distance "
    "to the model without either.",
    fails_for="certificates of the last request alone",
    source="the definition of Δ, after a sequence of requests",
    body=_sequential_sensitivity,
    domain=Domain(momentum=True, examples=NEAR_TIGHT),
    applies=marginal,
    measures="distance / Δ after two requests",
    silent=_UNCERTIFIED,
)

check_certificate_form = Law(
    name="certificate_form",
    statement="A certificate has one Δ per replica, none is NaN, and the unlearned parameters are finite.",
    fails_for="one Δ for all replicas",
    source="the protocol of `certify`",
    body=_certificate_form,
    domain=Domain(
        models=LINEAR,
        momentum=True,
        share=0.3,
        examples=(*(replace(e, replicas=1) for e in NEAR_TIGHT[:1]), *NEAR_TIGHT[-1:]),
    ),
)
