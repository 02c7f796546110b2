"""Audit plans: what to train, what to delete, which method, what is claimed, how hard to look. One TOML file."""

from .datasets import CsvSpec, DatasetSpec, EmbeddedSpec, FunctionSpec, NpzSpec
from .models import CodeTarget, LawsSpec, Plan, code_targets
from .reading import parse_plan, read_plan
from .requests import check_requests, request_size, resolve_request
from .rows import AttacksSpec, ClaimSpec, IdentificationSpec, Replicas, RowSpec
from .tasks import (
    ClassRequest,
    IdsRequest,
    MinimiseSpec,
    RandomRequest,
    RecipeSpec,
    RequestSpec,
    SgdSpec,
    TaskSpec,
    WorstRequest,
)

__all__ = [
    "AttacksSpec",
    "ClaimSpec",
    "ClassRequest",
    "CodeTarget",
    "CsvSpec",
    "DatasetSpec",
    "EmbeddedSpec",
    "FunctionSpec",
    "IdentificationSpec",
    "IdsRequest",
    "LawsSpec",
    "MinimiseSpec",
    "NpzSpec",
    "Plan",
    "RandomRequest",
    "RecipeSpec",
    "Replicas",
    "RequestSpec",
    "RowSpec",
    "SgdSpec",
    "TaskSpec",
    "WorstRequest",
    "check_requests",
    "code_targets",
    "parse_plan",
    "read_plan",
    "request_size",
    "resolve_request",
]
