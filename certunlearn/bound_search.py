"""The search for a small problem that breaks a method's certified Δ: run for a plan, told as facts and as a line."""

import math
import shlex
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
from properties.counterexample import Counterexample, Tried
from properties.explanation import method_in_words
from properties.problems import Problem
from properties.tightness import Breach, LawSearched, problem_in_words, same_everywhere, search_bound
from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod, BringsOwnLoss, Declaration
from unlearning.record import (
    BoundSearch,
    BrokenBound,
    KindSearch,
    LawSearch,
    Line,
    Row,
    SmallProblem,
    TriedAgain,
    line_without_numbers,
)
from unlearning.verdict import Outcome

from .building import Built, BuiltRow
from .targets import parse_target

KEY = "bound-on-small-problems"

_TITLE = "Search for a small problem that breaks Δ"
_PROBLEMS = TypeAdapter(Problem)
_DEVICE = "cpu"  # small problems are searched there whatever the audit runs on, so that they are the same everywhere
_NOT_THE_SAME = (
    "this version of Hypothesis also tries numbers that it reads in the modules of the process, and nothing keeps it "
    "from it: other processes may try other problems"
)
_NOT_OF_THIS_ROW = "this row has no certificate that holds for certain: what small problems show decides nothing here"

Told = Callable[[int, int], None]  # methods searched, methods in all


def search_bounds(built: Built, *, jobs: int, told: Told = lambda done, total: None) -> dict[str, BoundSearch]:
    """Search for every row with rung A; rows of one method with one set of parameters share a search.

    Args:
        built: the plan.
        jobs: local worker processes; it changes nothing that is found.
        told: before the first search and after every one.

    Returns:
        What was found, by the name of the row; nothing where the plan asks for no problems.
    """
    problems = built.plan.laws.problems
    users = built.tried_on_small_problems
    first = [rows[0] for rows in users]
    finished = iter(range(1, len(first) + 1))

    if first:
        told(0, len(first))
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


def replays(rows: list[Row], targets: Mapping[str, str], folder: Path | None) -> dict[str, TriedAgain]:
    """How the counterexamples of these rows are tried again, by their files.

    Args:
        rows: of a record.
        targets: what methods of somebody's own are loaded by, by their names in the plan.
        folder: where the files will be written; None: nobody knows yet.
    """
    found = {}
    for row in rows:
        one = None if row.bound_search is None else row.bound_search.counterexample
        if one is not None:
            target = targets.get(row.method, row.method)
            command = None if folder is None else _command(folder / one.file, target, row.parameters)
            found[one.file] = TriedAgain(target=target, command=command)
    return found


def _command(file: Path, target: str, parameters: Mapping[str, Any]) -> str | None:
    """What tries a counterexample again; None where a command line cannot say the parameters."""
    command = f"certunlearn replay {shlex.quote(str(file))}"
    if ":" not in target:
        return command
    words = method_in_words(Tried(target, dict(parameters), (), ""))
    try:
        same = parse_target(words) == (target, dict(parameters))
    except PlanError:
        same = False
    return f"{command} --method {shlex.quote(words)}" if same else None


def write_counterexamples(rows: list[Row], folder: Path, again: Mapping[str, TriedAgain]) -> list[Path]:
    """Write the counterexamples that the rows of a record name, each as the file that `certunlearn replay` reads.

    Args:
        rows: of the record.
        folder: made where there is none.
        again: by what their methods are loaded, by the files' names; by the plan's name where it is missing.

    Raises:
        PlanError: the folder is a file.
    """
    files = {}
    for row in rows:
        one = None if row.bound_search is None else row.bound_search.counterexample
        if one is not None:
            broken = LawBroken(one.law, one.finding, _PROBLEMS.validate_python(one.problem.fields), one.measured)
            declared = Declaration(title=row.title, citation=row.citation)
            target = again[one.file].target if one.file in again else row.method
            method = cast(AnyMethod, SimpleNamespace(declaration=declared))  # it is asked for its title alone
            file = _file(target, row.parameters, method, broken)
            files[one.file] = replace(file, data=replace(file.data, recipe=one.recipe), own_loss=one.own_loss)
    return [file.write(folder, name) for name, file in files.items()]


def _search(method: Any, problems: int) -> tuple[LawSearched, ...]:
    return search_bound(method, problems=problems, device=_DEVICE)


def _failed(reason: str) -> tuple[LawSearched, ...]:
    return (LawSearched("sensitivity", "after one request", reason=reason),)


def _facts(row: BuiltRow, searched: tuple[LawSearched, ...], problems: int) -> BoundSearch:
    own_loss = isinstance(row.subject.method, BringsOwnLoss)
    laws = [
        LawSearch(
            law=one.law,
            title=one.title,
            problems=one.problems,
            refused=one.refused,
            kinds=[KindSearch(**asdict(kind)) for kind in one.kinds],
            remarks=list(one.remarks),
            ratios=list(one.ratios),
            tightest=one.tightest,
            tightest_problem=None if one.tightest_problem is None else _small(one.tightest_problem, own_loss=own_loss),
            reason=None if one.reason is None else " ".join(one.reason.split()),
        )
        for one in searched
    ]
    broken = next(((one.law, one.breach) for one in searched if one.breach is not None), None)
    return BoundSearch(
        problems=problems,
        laws=laws,
        counterexample=None if broken is None else _broken(row, *broken),
        remarks=[] if same_everywhere() else [_NOT_THE_SAME],
    )


def _small(problem: Problem, *, own_loss: bool) -> SmallProblem:
    return SmallProblem(words=problem_in_words(problem, own_loss=own_loss), fields=asdict(problem))


def _broken(row: BuiltRow, law: str, breach: Breach) -> BrokenBound:
    broken = LawBroken(law, breach.finding, breach.problem, breach.measured)
    file = _file(row.spec.method, row.spec.parameters, row.subject.method, broken)
    replica = int(breach.measured.get("replica", 0))
    return BrokenBound(
        law=law,
        finding=breach.finding,
        problem=_small(breach.problem, own_loss=file.own_loss),
        recipe=file.data.recipe,
        features=[list(record) for record in file.data.features],
        labels=list(file.data.labels),
        replica=replica,
        forgotten=list(file.data.requests[replica]),
        measured={name: value for name, value in file.measured.items() if math.isfinite(value)},
        file=file.file_name,
        own_loss=file.own_loss,
    )


def _file(target: str, parameters: Mapping[str, Any], method: AnyMethod, broken: LawBroken) -> Counterexample:
    return Counterexample.from_broken(
        broken,
        target=target,
        parameters=parameters,
        method=method,
        device=_DEVICE,
        precision="float64",
    )


def _line(searched: BoundSearch, *, deciding: bool) -> Line:
    reason = None if deciding else _NOT_OF_THIS_ROW
    if searched.counterexample is not None:
        return _refuting(searched.counterexample, deciding=deciding, reason=reason)
    reached = [law for law in searched.laws if law.tightest is not None]
    missing = "; ".join(f"{law.title}: {law.reason}" for law in searched.laws if law.reason)
    if missing or not reached:
        finding = "Small problems do not show whether d stays below Δ."
        if reached:
            finding += f" Before the search ended: {'; '.join(map(_reached, reached))}."
        why = missing or "nothing was certified on any"
        return _said(Outcome.NOT_COMPUTABLE, finding, deciding=False, reason=why)
    finding = f"d ≤ Δ, rounding aside: {'; '.join(map(_reached, reached))}."
    line = _said(Outcome.NOT_REFUTED, finding, deciding=deciding, reason=reason)
    largest = max(law.tightest or 0.0 for law in reached)
    return line.model_copy(update={"statistic": largest, "threshold": 1.0})


def _refuting(broken: BrokenBound, *, deciding: bool, reason: str | None) -> Line:
    d, upper = broken.measured.get("distance"), broken.measured.get("sensitivity_upper")
    finding = f"Δ does not hold on a small problem: {broken.finding.rstrip('.')}; {broken.problem.words}."
    if d is not None and upper is not None:
        finding = f"d > Δ on a small problem, d = {d:.4g} against Δ = {upper:.4g}: {broken.problem.words}."
    line = _said(Outcome.REFUTED, finding, deciding=deciding, reason=reason)
    return line.model_copy(update={"statistic": d, "threshold": upper})


def _reached(law: LawSearch) -> str:
    reached = f"d came up to {math.floor(1e4 * law.tightest) / 1e4:.4g} Δ" if law.tightest else "d was 0"
    refused = f", {law.refused} refused" if law.refused else ""
    return f"{law.title}, {reached} on {len(law.ratios)} of {law.problems} small problems{refused}"


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
    ).model_copy(update={"detectable": "any d > Δ, by more than rounding, on a problem that was tried"})
