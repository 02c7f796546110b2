"""Audit plans: what to train, what to delete, which method, what is claimed, how hard to look. One TOML file."""

from .datasets import CsvSpec, DatasetSpec, EmbeddedSpec, FunctionSpec, NpzSpec
from .models import CodeTarget, Plan, code_targets
from .reading import parse_plan, read_plan
from .requests import check_requests, resolve_request
from .rows import ClaimSpec, Replicas, RowSpec
from .tasks import ClassRequest, IdsRequest, MinimiseSpec, RandomRequest, RecipeSpec, RequestSpec, SgdSpec, TaskSpec

__all__ = [
    "ClaimSpec",
    "ClassRequest",
    "CodeTarget",
    "CsvSpec",
    "DatasetSpec",
    "EmbeddedSpec",
    "FunctionSpec",
    "IdsRequest",
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
    "check_requests",
    "code_targets",
    "parse_plan",
    "read_plan",
    "resolve_request",
]
