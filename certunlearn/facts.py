"""From what was built and found to the facts of the record."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.design import Design
from audit.findings import Findings
from audit.worst_request import Searched
from learning.task import Task
from unlearning.claim import Assumption, Certificate, Status
from unlearning.gaussian import epsilon_of_delta, noise_scale_upper
from unlearning.protocols import Diagnostic
from unlearning.record import (
    BoundSearch,
    CertificateFacts,
    Constant,
    DatasetFacts,
    Quantity,
    RequestFacts,
    RequestFamily,
    Row,
    TaskFacts,
    line_without_numbers,
)
from unlearning.verdict import Outcome, Verdict

from .building import BuiltRow
from .claim_facts import claim_facts
from .plan import TaskSpec, request_size


def task_facts(task: Task, spec: TaskSpec, ids: list[int]) -> TaskFacts:
    """Dataset, model, recipe, request and constants of a task."""
    data = task.dataset
    kinds = {
        "random": "drawn at random by the plan's seed",
        "ids": "named in the plan",
        "class": "one whole class",
        "worst": "the worst that each row's search finds",
    }
    size = request_size(spec.request, ids)
    return TaskFacts(
        name=task.name,
        dataset=DatasetFacts(
            name=data.name,
            origin=data.origin,
            sha256=data.sha256,
            rows=task.rows,
            features=int(data.features.shape[1]),
            classes=data.classes,
            holdout_rows=int(data.holdout_features.shape[0]),
            preprocessing=data.preprocessing,
            remark=data.remark,
        ),
        model=task.objective.description,
        parameters=task.objective.size,
        recipe=str(task.recipe),
        regularisation=task.objective.regularisation,
        request=f"{size} of {task.rows} training records, {kinds[spec.request.kind]}" + _in_parts(spec.request.parts),
        request_size=size,
        request_ids=ids,
        constants=_constants(task),
    )


def _in_parts(parts: int) -> str:
    return f", deleted in {parts} successive requests" if parts > 1 else ""


def _constants(task: Task) -> list[Constant]:
    constants = task.constants
    if constants is None:
        smooth = Status.ASSUMED if task.objective.smooth else Status.VIOLATED
        how = task.objective.smoothness_note
        return [
            Constant(statement="the loss is smooth", value=None, status=smooth, how=how),
            Constant(
                statement="strong convexity, smoothness, Lipschitz Hessian",
                value=None,
                status=Status.VIOLATED,
                how="nothing is proved of this model: no Δ follows from theory here",
            ),
        ]
    proved = [
        ("R, norm of the inputs, bias included", constants.norm_upper, "rows are clipped to R"),
        ("λ, strong convexity", constants.strong_convexity, "½λ‖w‖² in the loss of every record"),
        ("L, smoothness", constants.smoothness_upper, "closed form in R and λ"),
        ("C, Lipschitz constant of the Hessian", constants.hessian_lipschitz_upper, "closed form in R"),
    ]
    found = [Constant(statement=s, value=v, status=Status.PROVED, how=h) for s, v, h in proved]
    if constants.gradient_bound_upper is not None:
        found.append(
            Constant(
                statement="G, gradient of a record at any regularised optimum",
                value=constants.gradient_bound_upper,
                status=Status.PROVED,
                how="closed form in R",
            )
        )
    return found


def certificate_facts(certificate: Certificate, built: BuiltRow, findings: Findings) -> CertificateFacts:
    """The method's theorem, with the largest Δ over all test runs."""
    bounds = findings.arrays.get("sensitivity_upper")
    values = None if bounds is None else bounds[0]
    prior = built.spec.budget == "prior"
    stated = "σ" if built.spec.budget is None else "the budget"
    budget = Assumption(
        "σ does not depend on the data",
        Status.PROVED if prior else Status.ASSUMED,
        "Δ comes from public numbers"
        if prior
        else f"the plan states {stated}; that it was chosen without looking at the data cannot be checked",
    )
    assumptions = (*certificate.assumptions, budget)
    order = list(Status)
    return CertificateFacts(
        theorem=certificate.theorem,
        sensitivity_budget=built.design.sensitivity_budget,
        sensitivity_upper_median=_finite(values, np.median),
        sensitivity_upper_largest=_finite(values, np.max),
        failure_probability=certificate.failure_probability,
        assumptions=[Constant(statement=a.statement, value=a.value, status=a.status, how=a.how) for a in assumptions],
        status=max((a.status for a in assumptions), key=order.index),
        refused_replicas=findings.refused,
        **_noise_for(built, certificate.largest, certificate.failure_probability),
    )


def _noise_for(built: BuiltRow, sensitivity: float, failure_probability: float) -> dict[str, float | None]:
    """σ that the claim needs at this Δ, and ε that Δ and the σ used give; ρ is paid from δ."""
    claim = built.design.claim
    delta = claim.delta - failure_probability
    if not math.isfinite(sensitivity) or delta <= 0:
        return {}
    required = None
    if claim.epsilon > 0:
        required = 0.0
        if sensitivity > 0:
            calibration = built.spec.calibration if claim.epsilon <= 1 else "analytic"
            required = noise_scale_upper(sensitivity, claim.epsilon, delta, calibration=calibration)
    noise_scale = built.design.noise_scale
    implied = epsilon_of_delta(sensitivity / noise_scale, delta) if noise_scale > 0 else None
    finite = implied if implied is not None and math.isfinite(implied) else None
    return {"noise_scale_required": required, "epsilon_implied": finite}


def _finite(values: NDArray[np.float64] | None, reduce: Callable[[NDArray[np.float64]], Any]) -> float | None:
    """A number of the record; None where there is none or it is infinite."""
    if values is None:
        return None
    found = float(reduce(values))
    return found if math.isfinite(found) else None


def request_facts(searched: Searched) -> RequestFacts:
    """The request that was chosen, and what else was tried."""

    def finite(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    return RequestFacts(
        ids=list(searched.chosen.ids),
        family=searched.chosen.family,
        broken=searched.trial.broken,
        ratio=finite(searched.trial.ratio),
        distance=searched.trial.distance,
        families=[
            RequestFamily(
                name=one.name,
                tried=one.tried,
                left_out=one.left_out,
                ratio=finite(one.ratio),
                distance=one.distance,
            )
            for one in searched.families
        ],
        ratios=[finite(value) for value in searched.ratios],
        distances=list(searched.distances),
        tried=searched.tried,
        left_out=searched.left_out,
        records=searched.records,
        seeds=searched.seeds,
        models=searched.models,
    )


def row_facts(
    built: BuiltRow, findings: Findings, searched: Searched | None = None, bound_search: BoundSearch | None = None
) -> Row:
    """Everything the record says of one row, of the search for its request, and of the search for a broken bound."""
    declared = built.subject.method.declaration
    certificate = findings.certificate
    return Row(
        **_identity(built, findings.verdict, certified=certificate is not None),
        certificate=None if certificate is None else certificate_facts(certificate, built, findings),
        lines=findings.lines,
        distances=findings.distances,
        accuracies=findings.accuracies,
        curves=findings.curves,
        histograms=findings.histograms,
        quantities=[_quantity(one, built) for one in findings.diagnostics],
        identification=findings.identification,
        wealth=findings.wealth,
        attacks=findings.attacks,
        shares=findings.shares,
        request=None if searched is None else request_facts(searched),
        bound_search=bound_search,
        stores=declared.stores,
        verdict=findings.verdict,
        because=findings.because,
        as_expected=built.spec.expect in (None, findings.verdict),
    )


def _quantity(one: Diagnostic, built: BuiltRow) -> Quantity:
    values = np.asarray(one.values, dtype=np.float64)
    return Quantity(
        name=one.name,
        meaning=one.meaning,
        least=_finite(values, np.min),
        median=_finite(values, np.median),
        largest=_finite(values, np.max),
        **(_noise_for(built, float(values.max()), one.failure_probability) if one.is_sensitivity else {}),
    )


def failed_row(built: BuiltRow, reason: str) -> Row:
    """A row whose audit could not be run: ERROR, with the reason."""
    line = line_without_numbers(
        rung="A",
        key="run",
        title="Running the row",
        subject="claim",
        seeds="paired",
        outcome=Outcome.ERROR,
        finding="The row could not be run.",
        kind="exact",
        reason=reason,
    )
    return Row(
        **_identity(built, Verdict.ERROR, certified=False),
        certificate=None,
        lines=[line],
        distances=None,
        accuracies=[],
        curves=[],
        histograms=[],
        shares={},
        stores=built.subject.method.declaration.stores,
        verdict=Verdict.ERROR,
        because=reason,
        as_expected=built.spec.expect is Verdict.ERROR,
    )


def _identity(built: BuiltRow, verdict: Verdict, *, certified: bool) -> dict[str, Any]:
    method, spec, design = built.subject.method, built.spec, built.design
    claim = design.claim if certified else replace(design.claim, stated_by="hand")
    declared = method.declaration
    return {
        "name": spec.name,
        "task": spec.task,
        "method": spec.method,
        "title": declared.title,
        "citation": declared.citation,
        "parameters": spec.model_dump(mode="json")["parameters"],
        "differs": list(declared.differs),
        "claim": claim_facts(claim, built.subject.task.rows),
        "noise_scale": design.noise_scale,
        "calibration": built.calibration,
        "failure_probability": design.failure_probability,
        "replicas": _replicas(design),
        "expected": spec.expect or verdict,
    }


def _replicas(design: Design) -> dict[str, int]:
    """Runs by what they are for."""
    found = {}
    if not design.only_plays:
        found["test"] = design.test
    if design.compares:
        found["selection"] = design.selection
    if design.identification is not None:
        found |= {"game": design.identification.game.runs, "shadow": design.identification.shadows}
    if design.attacks is not None:
        found |= {"attacked": design.attacks.targets, "attack shadow": design.attacks.shadows}
    return found
