"""From a TOML file, or plain values, to a plan; from whatever is wrong with it to one line."""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from unlearning.errors import PlanError

from ..registry import registered_methods
from .datasets import CanariesSpec, CsvSpec, EmbeddedSpec, FunctionSpec, NpzSpec
from .messages import Location, one_line
from .models import LawsSpec, Plan
from .rows import AttacksSpec, ClaimSpec, IdentificationSpec, Replicas, RowSpec
from .tasks import AdamSpec, ClassRequest, IdsRequest, MinimiseSpec, RandomRequest, SgdSpec, TaskSpec, WorstRequest

_SOURCES: dict[str, type[BaseModel]] = {
    "breast-cancer": EmbeddedSpec,
    "digits": EmbeddedSpec,
    "wine": EmbeddedSpec,
    "npz": NpzSpec,
    "csv": CsvSpec,
    "function": FunctionSpec,
}
_TABLES: dict[Location, type[BaseModel]] = {
    (): Plan,
    ("laws",): LawsSpec,
    **{("datasets", source): spec for source, spec in _SOURCES.items()},
    **{("datasets", source, "canaries"): CanariesSpec for source in _SOURCES},
    ("tasks",): TaskSpec,
    ("tasks", "recipe", "sgd"): SgdSpec,
    ("tasks", "recipe", "adam"): AdamSpec,
    ("tasks", "recipe", "minimise"): MinimiseSpec,
    ("tasks", "request", "random"): RandomRequest,
    ("tasks", "request", "ids"): IdsRequest,
    ("tasks", "request", "class"): ClassRequest,
    ("tasks", "request", "worst"): WorstRequest,
    ("rows",): RowSpec,
    ("rows", "claim"): ClaimSpec,
    ("rows", "replicas"): Replicas,
    ("rows", "identification"): IdentificationSpec,
    ("rows", "attacks"): AttacksSpec,
}


def _keys(location: Location) -> list[str]:
    """Known keys of the table at a pydantic place, whose second part is a name or a row."""
    return list(_TABLES[location[:1] + location[2:]].model_fields)


def read_plan(path: str | Path, *, defined: Collection[str] = ()) -> Plan:
    """Read and check a plan.

    Args:
        path: a TOML file.
        defined: names that the command line defines, which the plan may use as methods and functions.

    Raises:
        PlanError: the file is missing, no TOML, or not a plan; one line says where and what to write instead.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise PlanError(f"plan must be a readable file, got {path} ({error.strerror}); name a TOML file.") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"plan must be UTF-8 text, got {path.name} ({error.reason}); save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"plan must be TOML, got {path.name}: {error}; correct that line.") from error
    plan = parse_plan(data, defined=defined)
    plan._folder = path.absolute().parent
    return plan


def parse_plan(data: Mapping[str, Any], *, defined: Collection[str] = ()) -> Plan:
    """Check a plan given as plain values, for example `Plan.canonical()` of another one.

    Raises:
        PlanError: it is not a plan.
    """
    try:
        return Plan.model_validate(dict(data), context={"methods": registered_methods(), "defined": defined})
    except ValidationError as error:
        raise PlanError(one_line(error, _keys)) from error
