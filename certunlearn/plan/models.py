"""An audit plan as frozen values, checked field by field and then against each other."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from audit.attack_names import WORDS
from audit.score_names import SHIPPED_SCORES

from .datasets import DatasetSpec, Spec
from .fields import (
    FailureProbability,
    Many,
    Name,
    Seed,
    Text,
)
from .messages import Location, closest, refuse, spell
from .rows import Replicas, RowSpec
from .tasks import RequestSpec, TaskSpec


class LawsSpec(Spec):
    """Search for a small problem that breaks a method's certified Δ, for rows with rung A."""

    problems: Annotated[int, Field(ge=0, le=10_000)] = 30  # linear ones that each law draws; 0: no search


class CodeTarget(NamedTuple):
    """Code that a plan names: where, and what."""

    where: str
    target: str


class Plan(Spec):
    """An audit plan, checked field by field; what needs the data is checked by `check_requests`."""

    title: Text
    seed: Seed = 0
    failure_probability: FailureProbability = 0.01
    control_failure_probability: FailureProbability = 0.001
    family: Literal["row", "plan"] = "row"
    laws: LawsSpec = LawsSpec()
    datasets: Annotated[dict[Name, DatasetSpec], Field(min_length=1)]
    tasks: Annotated[dict[Name, TaskSpec], Field(min_length=1)]
    rows: Annotated[Many[RowSpec], Field(min_length=1)]

    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """Folder of the plan's file, to which the code it names is relative; None: it came from elsewhere."""
        return self._folder

    def canonical(self) -> dict[str, Any]:
        """The plan as plain JSON values with all defaults filled in, for hashing and for the record."""
        return self.model_dump(mode="json")

    def with_seed(self, seed: int) -> Self:
        """The same plan with another seed."""
        return self.model_copy(update={"seed": seed})

    def with_replicas(self, replicas: int) -> Self:
        """The same plan with this many test and selection runs in every row, and at most so many for attacks."""
        few = Replicas(test=replicas, selection=replicas)
        rows = (
            row.model_copy(update={"replicas": few, "attacks": row.attacking and row.attacking.at_most(replicas)})
            for row in self.rows
        )
        return self.model_copy(update={"rows": tuple(rows)})

    def names(self) -> list[CodeTarget]:
        """Everything the plan names that has to be loaded: methods, functions of data and models, scores, attacks."""
        methods = ((("rows", i, "method"), row.method) for i, row in enumerate(self.rows))
        found = [*self._functions(), *self._own_scores(), *self._own_attacks(), *methods]
        return [CodeTarget(spell(where), target) for where, target in found]

    def _functions(self) -> list[tuple[Location, str]]:
        found: list[tuple[Location, str]] = []
        found += [(("datasets", n, "function"), d.function) for n, d in self.datasets.items() if d.source == "function"]
        return found + [(("tasks", n, "function"), task.function) for n, task in self.tasks.items() if task.function]

    def _own_scores(self) -> list[tuple[Location, str]]:
        return [
            (("rows", i, "scores", j), score)
            for i, row in enumerate(self.rows)
            for j, score in enumerate(row.scores)
            if score not in SHIPPED_SCORES
        ]

    def _own_attacks(self) -> list[tuple[Location, str]]:
        return [
            (("rows", i, "attacks", "names", j), attack)
            for i, row in enumerate(self.rows)
            for j, attack in enumerate(row.attacking.names if row.attacking else ())
            if attack not in WORDS
        ]

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        for name, task in self.tasks.items():
            if task.dataset not in self.datasets:
                _unknown("dataset", task.dataset, self.datasets, ["tasks", name, "dataset"])
            rows = self.datasets[task.dataset].rows
            if rows is not None:
                _check_size(task.request, rows, ["tasks", name, "request"])
        seen: set[str] = set()
        for position, row in enumerate(self.rows):
            if row.task not in self.tasks:
                _unknown("task", row.task, self.tasks, ["rows", position, "task"])
            if row.name in seen:
                refuse("a name that no other row has", "rename one row", at=["rows", position, "name"], got=row.name)
            seen.add(row.name)
        if info.context is not None:
            self._check_names(**info.context)
        return self

    def _check_names(self, methods: Collection[str], defined: Collection[str]) -> None:
        for position, row in enumerate(self.rows):
            known = {*methods, *defined}
            if ":" not in row.method and row.method not in known:
                way_out = f'{closest(row.method, known)}; or write "mine.py:Class"'
                refuse("the name of a method", way_out, at=["rows", position, "method"], got=row.method)
        for where, score in self._own_scores():
            known = {*SHIPPED_SCORES, *defined}
            if ":" not in score and score not in known:
                refuse("the name of a score", f'{closest(score, known)}; or write "mine.py:score"', at=where, got=score)
        for where, attack in self._own_attacks():
            known = {*WORDS, *defined}
            if ":" not in attack and attack not in known:
                way_out = f'{closest(attack, known)}; or write "mine.py:Attack"'
                refuse("the name of an attack", way_out, at=where, got=attack)
        for where, target in self._functions():
            if ":" not in target and target not in defined:
                way_out = f'write "mine.py:{target}", or --define {target}=mine.py:{target}'
                refuse('"path.py:name" or "package.module:name"', way_out, at=where, got=target)


def _unknown(what: str, word: str, known: Collection[str], at: Sequence[str | int]) -> None:
    refuse(f"the name of a {what} of this plan", closest(word, known), at=at, got=word)


def _check_size(request: RequestSpec, rows: int, at: Sequence[str | int]) -> None:
    """Refuse a request for more than the training rows, or for all of them, as far as their number tells."""
    if request.kind in ("random", "worst") and request.size >= rows:
        refuse(f"< {rows}, the number of training rows", "delete fewer records", at=[*at, "size"], got=request.size)
    if request.kind == "ids":
        for position, record in enumerate(request.ids):
            if record >= rows:
                refuse(
                    f"< {rows}, the number of training rows", "ids count from 0", at=[*at, "ids", position], got=record
                )
        if len(request.ids) >= rows:
            refuse(
                f"fewer than all {rows} training rows", "delete fewer records", at=[*at, "ids"], got=list(request.ids)
            )


def code_targets(plan: Plan) -> list[CodeTarget]:
    """The code files and modules that a plan itself names, in the plan's order."""
    return [name for name in plan.names() if ":" in name.target]
