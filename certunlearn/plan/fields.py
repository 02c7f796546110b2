"""Types of a plan's fields: what a value must be, and what to write instead."""

import math
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from unlearning.claim import Reference, SeedPolicy
from unlearning.tradeoff import Directions
from unlearning.verdict import Verdict

from .messages import refuse, show

T = TypeVar("T")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _distinct(value: tuple[T, ...]) -> tuple[T, ...]:
    for entry in value:
        if value.count(entry) > 1:
            refuse("without repeated entries", f"remove one {show(entry)}")
    return value


def _probability(value: float) -> float:
    return value if 0 < value < 1 else refuse("in (0, 1)")


def _failure_probability(value: float) -> float:
    _probability(value)
    return value if value >= 1e-12 else refuse("at least 1e-12", "write for example 0.01")


def _epsilon(value: float) -> float:
    return value if value <= 1e6 else refuse("at most 1e6", "an ε as large promises nothing")


def _noise_scale(value: float) -> float:
    return value if value == 0 or 1e-30 <= value <= 1e30 else refuse("in [1e-30, 1e30]", "write for example 1e-3")


def _file_name(value: str) -> str:
    parts = PurePosixPath(value), PureWindowsPath(value)
    if not value or any(part.is_absolute() or part.drive or ".." in part.parts for part in parts):
        refuse("a file name relative to the folder of data", "--data DIR or CERTUNLEARN_DATA names the folder")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[^/\\\x00-\x1f]{1,80}", value) or value != value.strip():
        refuse("a name of 1 to 80 characters without / and \\", "rename it")
    return value


def _column(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        refuse("the name or the number of a column")
    return value


def _budget(value: Any) -> Any:
    if value is None or value == "prior":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        refuse('a finite number >= 0 or "prior"')
    return _noise_scale(float(value))


def _norm(value: Any) -> Any:
    return None if value == "none" else value


def _member(kind: type[StrEnum]) -> Callable[[Any], Any]:
    """Make a member of its value as TOML writes it; directions also of their short names."""
    words = {member.value: member for member in kind}
    short = {"released": Directions.RELEASED, "reference": Directions.REFERENCE} if kind is Directions else {}

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str) or value not in words | short:
            refuse(f"one of {', '.join(show(str(word)) for word in ({'both': 0} | short if short else words))}", None)
        return (words | short)[value]

    return convert


def plain(value: Any) -> Any:
    """Refuse what canonical JSON cannot hold."""
    if isinstance(value, dict):
        for key, entry in value.items():
            _at(key, entry)
    elif isinstance(value, list | tuple):
        for position, entry in enumerate(value):
            _at(position, entry)
    elif isinstance(value, float) and not math.isfinite(value):
        refuse("a finite number", "change the value")
    elif value is not None and not isinstance(value, bool | int | float | str):
        refuse("a number, string, boolean, array or table", "write it as a string", got=str(value))
    return value


def _at(key: str | int, value: Any) -> None:
    try:
        plain(value)
    except PydanticCustomError as error:
        context = dict(error.context or {})
        context["at"] = (key, *context["at"])
        context.setdefault("got", value)
        raise PydanticCustomError("plan", "plan", context) from error


Many = Annotated[tuple[T, ...], BeforeValidator(_tuple)]
Distinct = Annotated[tuple[T, ...], BeforeValidator(_tuple), AfterValidator(_distinct)]
Probability = Annotated[float, AfterValidator(_probability)]
FailureProbability = Annotated[float, AfterValidator(_failure_probability)]
Epsilon = Annotated[float, Field(ge=0), AfterValidator(_epsilon)]
NoiseScale = Annotated[float, Field(ge=0), AfterValidator(_noise_scale)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Copies = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_name)]
FileName = Annotated[str, AfterValidator(_file_name)]
Column = Annotated[str | int, BeforeValidator(_column)]
Budget = Annotated[float | Literal["prior"] | None, BeforeValidator(_budget)]
Norm = Annotated[Positive | None, BeforeValidator(_norm)]
Parameters = Annotated[dict[str, Any], AfterValidator(plain)]
DirectionsField = Annotated[Directions, BeforeValidator(_member(Directions))]
ReferenceField = Annotated[Reference, BeforeValidator(_member(Reference))]
SeedPolicyField = Annotated[SeedPolicy, BeforeValidator(_member(SeedPolicy))]
VerdictField = Annotated[Verdict, BeforeValidator(_member(Verdict))]
