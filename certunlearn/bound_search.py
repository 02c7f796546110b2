"""The search for a small problem that breaks a method's certified Δ: run for a plan, told as facts and as a line."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydantic import TypeAdapter

from audit.findings import Findings
from audit.verdict import decide
from learning.workers import run_chunks
from properties.base import LawBroken
from properties.counterexample import Counterexample
from properties.problems import Problem
from properties.tightness import Breach, LawSearched, problem_in_words, search_bound
from unlearning.protocols import AnyMethod, Declaration
from unlearning.record import BoundSearch, BrokenBound, LawSearch, Line, Row, SmallProblem, line_without_numbers
from unlearning.verdict import Outcome

from .building import Built, BuiltRow

KEY = "bound-on-small-problems"

_TITLE = "Search for a small problem that breaks Δ"
_PROBLEMS = TypeAdapter(Problem)
_DEVICE = "cpu"  # small problems are searched there whatever the audit runs on, so that they are the same everywhere
_NOT_OF_THIS_ROW = "this row has no certificate that holds for certain: what small problems show decides nothing here"

Told = Callable[[int, int], None]  # methods searched, methods in all


def search_bounds(built: Built, *, jobs: int, told: Told = lambda done, total: None) -> dict[str, BoundSearch]:
    """Search for every row with rung A; rows of one method with one set of parameters share a search.

    Args:
        built: the plan.
        jobs: local worker processes; it changes nothing that is found.
        told: after every search.

    Returns:
        What was found, by the name of the row; nothing where the plan asks for no problems.
    """
    problems = built.plan.laws.problems
    users = built.tried_on_small_problems
    first = [rows[0] for rows in users]
    finished = iter(range(1, len(first) + 1))

    tasks = [(row.subject.method, problems) for row in first]
    try:
        found = run_chunks(_search, tasks, jobs=jobs, done=lambda _: told(next(finished), len(first)))
    except Exception as error:  # noqa: BLE001  a method that kills its worker, or that cannot be sent to one
        found = [_failed(f"the search could not be run: {type(error).__name__}: {error}")] * len(first)
    facts = [_facts(row, searched, problems) for row, searched in zip(first, found, strict=True)]
    return {row.spec.name: fact for fact, rows in zip(facts, users, strict=True) for row in rows}


def with_search(found: Findings, built: BuiltRow, searched: BoundSearch) -> Findings:
    """The row's findings with the line of the search, which speaks against the bound where the row's own line does."""
    place = next((place for place, line in enumerate(found.lines) if line.key == "sensitivity-bound"), None)
    if place is None:
        return found
    line = _line(searched, deciding=found.lines[place].deciding)
    lines = [*found.lines[: place + 1], line, *found.lines[place + 1 :]]
    if not (line.deciding and line.outcome is Outcome.REFUTED):
        return replace(found, lines=lines)
    verdict, because = decide(lines, built.design.claim, found.distances, found.controls, refused=found.refused)
    return replace(found, lines=lines, verdict=verdict, because=because)


def write_counterexamples(rows: list[Row], folder: Path) -> list[Path]:
    """Write the counterexamples that the rows of a record name, each as the file that `certunlearn replay` reads.

    Raises:
        PlanError: the folder is a file.
    """
    files = {}
    for row in rows:
        one = None if row.bound_search is None else row.bound_search.counterexample
        if one is not None:
            broken = LawBroken(one.law, one.finding, _PROBLEMS.validate_python(one.problem.fields), one.measured)
            declared = Declaration(title=row.title, citation=row.citation)
            files[one.file] = _file(row.method, row.parameters, declared, broken)
    return [file.write(folder) for file in files.values()]


def _search(method: Any, problems: int) -> tuple[LawSearched, ...]:
    return search_bound(method, problems=problems, device=_DEVICE)


def _failed(reason: str) -> tuple[LawSearched, ...]:
    return (LawSearched("sensitivity", "after one request", reason=reason),)


def _facts(row: BuiltRow, searched: tuple[LawSearched, ...], problems: int) -> BoundSearch:
    laws = [
        LawSearch(
            law=one.law,
            title=one.title,
            problems=one.problems,
            refused=one.refused,
            ratios=list(one.ratios),
            tightest=one.tightest,
            tightest_problem=None if one.tightest_problem is None else _small(one.tightest_problem),
            reason=one.reason,
        )
        for one in searched
    ]
    broken = next(((one.law, one.breach) for one in searched if one.breach is not None), None)
    return BoundSearch(problems=problems, laws=laws, counterexample=None if broken is None else _broken(row, *broken))


def _small(problem: Problem) -> SmallProblem:
    return SmallProblem(words=problem_in_words(problem), fields=asdict(problem))


def _broken(row: BuiltRow, law: str, breach: Breach) -> BrokenBound:
    broken = LawBroken(law, breach.finding, breach.problem, breach.measured)
    declared = row.subject.method.declaration
    file = _file(row.spec.method, row.spec.parameters, declared, broken)
    replica = int(breach.measured.get("replica", 0))
    return BrokenBound(
        law=law,
        finding=breach.finding,
        problem=_small(breach.problem),
        recipe=file.data.recipe,
        features=[list(record) for record in file.data.features],
        labels=list(file.data.labels),
        replica=replica,
        forgotten=list(file.data.requests[replica]),
        measured={name: value for name, value in file.measured.items() if math.isfinite(value)},
        file=file.file_name,
    )


def _file(target: str, parameters: Mapping[str, Any], declared: Declaration, broken: LawBroken) -> Counterexample:
    return Counterexample.from_broken(
        broken,
        target=target,
        parameters=parameters,
        method=cast(AnyMethod, SimpleNamespace(declaration=declared)),  # it is asked for its title alone
        device=_DEVICE,
        precision="float64",
    )


def _line(searched: BoundSearch, *, deciding: bool) -> Line:
    broken = searched.counterexample
    reached = [law for law in searched.laws if law.tightest is not None]
    if broken is None and not reached:
        why = "; ".join(dict.fromkeys(law.reason for law in searched.laws if law.reason))
        finding = "No small problem shows how near d comes to Δ."
        return _said(Outcome.NOT_COMPUTABLE, finding, deciding=False, reason=why or "nothing was certified on any")
    reason = None if deciding else _NOT_OF_THIS_ROW
    if broken is None:
        finding = f"d ≤ Δ, rounding aside: {'; '.join(map(_reached, reached))}."
        line = _said(Outcome.NOT_REFUTED, finding, deciding=deciding, reason=reason)
        largest = max(law.tightest or 0.0 for law in reached)
        return line.model_copy(update={"statistic": largest, "threshold": 1.0})
    d, upper = broken.measured["distance"], broken.measured["sensitivity_upper"]
    finding = f"d > Δ on a small problem, d = {d:.4g} against Δ = {upper:.4g}: {broken.problem.words}."
    line = _said(Outcome.REFUTED, finding, deciding=deciding, reason=reason)
    return line.model_copy(update={"statistic": d, "threshold": upper})


def _reached(law: LawSearch) -> str:
    reached = f"d came up to {math.floor(1e4 * law.tightest) / 1e4:.4g} Δ" if law.tightest else "d was 0"
    return f"{law.title}, {reached} on {len(law.ratios)} small problems"


def _said(outcome: Outcome, finding: str, *, deciding: bool, reason: str | None) -> Line:
    return line_without_numbers(
        rung="A",
        key=KEY,
        title=_TITLE,
        subject="bound",
        seeds="paired",
        outcome=outcome,
        finding=finding,
        kind="exact",
        deciding=deciding,
        reason=reason,
    ).model_copy(update={"detectable": "any d > Δ on a problem that was tried"})
